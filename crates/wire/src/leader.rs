//! The leader that a response points to, in a tagged field (KIP-951).

use crate::WireError;
use crate::primitive::{Reader, Writer};

/// The leader of a partition and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker's id.
    pub id: i32,
    /// The leader epoch.
    pub epoch: i32,
}

impl CurrentLeader {
    const UNKNOWN: Self = Self { id: -1, epoch: -1 };
    /// Bytes of it as a tagged field: two integers and an empty section of tagged fields.
    const TAGGED_LENGTH: u32 = 4 + 4 + 1;

    pub(crate) fn decode(reader: &mut Reader) -> Result<Option<Self>, WireError> {
        let leader = Self { id: reader.i32("leader id")?, epoch: reader.i32("leader epoch")? };
        reader.no_tags()?;
        Ok(Some(leader).filter(|leader| *leader != Self::UNKNOWN))
    }

    pub(crate) fn encode(self, tag: u32, writer: &mut Writer) {
        writer.tag(tag, Self::TAGGED_LENGTH, |writer| {
            writer.i32(self.id);
            writer.i32(self.epoch);
            writer.no_tags();
        });
    }
}
