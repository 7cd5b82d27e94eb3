//! What a lane does with a batch that was bad twice: it stops the partition, or, by policy, lets the
//! batch leave for the dead letters as it came and passes its offsets.
//!
//! The offsets are those that the header states. If the checksum holds they are right; if not, they
//! count only if they end where the next batch begins, or before it, so that no record that could be
//! read is ever passed.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use onrush_record::{RawBatch, RecordError};
use onrush_runtime::Fault;

use super::{Lane, dead_letter_topic, stop};
use crate::completed::OffsetRun;
use crate::departure::{Bucket, Departure, Leaving, Unread};
use crate::error::StopReason;
use crate::partition::Partition;
use crate::retry::BadBatch;

/// What is to be passed of a bad batch.
enum Extent {
    /// Up to this offset.
    Through(i64),
    /// What follows has to be seen before.
    Unknown,
    /// The header states what cannot be.
    Implausible,
}

impl Lane {
    pub(super) fn bad_again(&mut self, partition: &mut Partition, error: RecordError) {
        match (self.config.failures.bad_batch, partition.source.suspect()) {
            (BadBatch::Skip, Some(bytes)) => {
                partition.cursor = None;
                partition.unread = Some((bytes, error));
            }
            _ => stop(partition, StopReason::Batch(error), &self.control),
        }
    }

    /// Lets the batch leave that was bad twice; false if that has to wait.
    pub(super) fn skip(&mut self, partition: &mut Partition) -> bool {
        let Some((bytes, error)) = partition.unread.take() else { return true };
        let first = partition.ledger.taken();
        let last = match extent(partition, &bytes, first) {
            Extent::Through(last) if partition.ledger.has_room(last) => last,
            Extent::Through(_) | Extent::Unknown => {
                partition.unread = Some((bytes, error));
                return false;
            }
            Extent::Implausible => {
                stop(partition, StopReason::Batch(error), &self.control);
                return false;
            }
        };
        if let Err(error) = partition.ledger.take(first, last) {
            stop(partition, StopReason::Ledger(error), &self.control);
            return false;
        }
        let name = &partition.holding.partition;
        tracing::warn!(partition = %name, first, last, code = %Fault::CorruptBatch, %error, "a batch that cannot be read is skipped and goes to the dead letters");
        let configured = self.config.dead_letter_topic.as_deref();
        let topic = dead_letter_topic(configured, &partition.rung.origin).into();
        let unread = Unread {
            bytes,
            run: OffsetRun::new(first, last),
            error: error.to_string(),
            found_millis: self.config.clock.wall_millis(),
        };
        let leaving = Leaving::Batch(unread);
        partition.gate(Bucket::Undecodable).push(Departure { leaving, topic, paid: false });
        // It waits for a token and for room before anything else is taken.
        false
    }
}

fn extent(partition: &Partition, bytes: &Bytes, first: i64) -> Extent {
    let Ok(raw) = RawBatch::parse(bytes) else { return Extent::Implausible };
    let last = raw.header.last_offset();
    let end = partition.cells.end.load(Ordering::Relaxed);
    if raw.header.base_offset > first || last < first {
        return Extent::Implausible;
    }
    match partition.source.next_base() {
        _ if raw.verify_crc().is_ok() => Extent::Through(last),
        Some(next) if last < next => Extent::Through(last),
        Some(_) => Extent::Implausible,
        None if last + 1 == end => Extent::Through(last),
        None if last + 1 > end => Extent::Implausible,
        None => Extent::Unknown,
    }
}
