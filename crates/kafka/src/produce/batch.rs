//! A sealed batch on its way from an appender to the log.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use onrush_record::header::set_producer;
use onrush_runtime::Instant;

use super::memory::Reservation;
use super::{AckSink, Acked, ProduceError};
use crate::partition::TopicPartition;

pub(super) struct Batch {
    /// Its number at the appender.
    pub(super) id: u64,
    pub(super) partition: TopicPartition,
    /// The bytes of the batch; producer and sequence are written into them when it is first sent.
    pub(super) bytes: Bytes,
    pub(super) count: u32,
    /// When its first record was appended.
    pub(super) since: Instant,
    pub(super) ack: Arc<dyn AckSink>,
    /// Returned when the batch is dropped; none in tests.
    pub(super) reservation: Option<Reservation>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Batch {{ id: {}, partition: {}, count: {} }}",
            self.id, self.partition, self.count
        )
    }
}

impl Batch {
    /// Writes producer and sequence into the header, under the CRC. Without a copy, unless an
    /// earlier request with these bytes is still being written.
    pub(super) fn number(&mut self, producer_id: i64, epoch: i16, sequence: i32) {
        let mut bytes = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        set_producer(&mut bytes, producer_id, epoch, sequence);
        self.bytes = bytes.freeze();
    }

    pub(super) fn acknowledge(self, outcome: Result<i64, ProduceError>) {
        let Self { id, partition, count, ack, reservation, .. } = self;
        ack.acked(Acked { batch: id, partition, outcome, count });
        // After the sink, so that memory that is free means an acknowledgement that was told.
        drop(reservation);
    }
}
