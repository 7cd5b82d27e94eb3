//! An encoder of each format behind one face: records go in as they lie in their batch, bytes are appended to one buffer.

use onrush_record::{Record, RecordError};

use super::envelope::EnvelopeWriter;
use super::lengths;
use super::raw::{self, Delimiters};

/// How records are written.
#[derive(Debug)]
pub(crate) enum Encoder {
    Raw(Delimiters),
    Json(EnvelopeWriter),
    Length,
}

impl Encoder {
    /// The next records are this partition's.
    pub(crate) fn enter(&mut self, topic: &str, partition: i32) {
        if let Self::Json(envelope) = self {
            envelope.enter(topic, partition);
        }
    }

    /// Writes a record; `append_time` if its timestamp is the broker's. After an error, `out` has a part of it.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        record: &Record<'_>,
        append_time: bool,
    ) -> Result<(), RecordError> {
        match self {
            Self::Raw(delimiters) => raw::write(out, record, delimiters),
            Self::Json(envelope) => return envelope.write(out, record, append_time),
            Self::Length => lengths::write(out, record),
        }
        Ok(())
    }
}
