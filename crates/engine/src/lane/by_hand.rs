//! Events that somebody dead-lettered by hand: they have their outcome, whatever their handler still
//! does with them.

use onrush_kafka::TopicPartition;
use onrush_runtime::Instant;

use super::{Lane, stop};
use crate::completed::OffsetRun;
use crate::error::StopReason;
use crate::partition::Partition;

impl Lane {
    /// Counts the event at `offset` as dead-lettered; `None` if the partition is not here.
    ///
    /// If it waits, for its turn or for another try, it is not called any more, and what was behind it
    /// goes on. If it is at work, its key goes on when its handler returns; what the handler says then
    /// is not listened to.
    pub(super) fn settle_by_hand(
        &mut self,
        name: &TopicPartition,
        offset: i64,
        now: Instant,
    ) -> Option<Result<(), String>> {
        let index = *self.indexes.get(name)? as usize;
        // Taken out, so that the partition and the lane can be borrowed apart.
        let mut partition = self.partitions[index].take()?;
        let settled = self.settle_open(&mut partition, offset, now);
        self.partitions[index] = Some(partition);
        Some(settled)
    }

    fn settle_open(
        &self,
        partition: &mut Partition,
        offset: i64,
        now: Instant,
    ) -> Result<(), String> {
        let name = &partition.holding.partition;
        if !partition.takes_data() {
            return Err(format!("{name} is leaving or stopped; ask its next owner"));
        }
        if offset >= partition.ledger.taken() {
            return Err(format!("offset {offset} of {name} has not been taken yet"));
        }
        if partition.ledger.has_outcome(offset) {
            return Err(format!("offset {offset} of {name} is finished already"));
        }
        if let Err(error) = partition.ledger.settle(OffsetRun::new(offset, offset)) {
            let told = error.to_string();
            stop(partition, StopReason::Ledger(error), &self.control);
            return Err(told);
        }
        self.cells.dead_lettered.add(1);
        match partition.parked.waiting(offset) {
            Some(line) => {
                self.released(partition, line, now);
                // It may be what the partition was paused for.
                partition.held &= partition.parked.paused() > 0;
            }
            None if partition.drop_waiting(offset) => {}
            None => _ = partition.by_hand.insert(offset),
        }
        Ok(())
    }
}
