//! How the byte budget of a member is divided.
//!
//! ```text
//! budget = parked + pool
//! parked   copies of events that wait for another try: what their policy allows, an eighth at most
//! pool     one credit for everything else that is alive of what was fetched: requests on their way,
//!          responses as long as a slice of them is in use, decompressed batches, copies of slices
//! ```
//!
//! Fetches leave a quarter of the pool alone, so that there always is room to decompress what is
//! here. While more than half of the pool is lent, memory is *short*, and a partition that holds more
//! than its share is not asked for: a quarter of the pool divided by the partitions for what it has
//! fetched, and as much for what it has decompressed. So the slow ones together hold half of the
//! pool, and the other half is for those that go on. While memory is not short nobody is held back.
//!
//! Above the pool is only what nobody knows before it is there: the last batch that a lane has
//! decompressed, and a response whose first batch is longer than is configured.

use crate::config::PARTITION_SHARE_MIN;

const PARKED_PART: usize = 8;
const RESERVE_PART: usize = 4;
const SHARES_PART: usize = 4;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// For copies of events that wait for another try.
    pub(crate) parked: usize,
    /// For everything else.
    pub(crate) pool: usize,
}

impl Budget {
    /// Divides `bytes`, of which `parked` may be used for events that wait for another try.
    pub(crate) fn new(bytes: usize, parked: usize) -> Self {
        let parked = parked.min(bytes / PARKED_PART);
        Self { parked, pool: bytes - parked }
    }

    /// What fetches leave alone.
    pub(crate) fn reserve(self) -> usize {
        self.pool / RESERVE_PART
    }

    /// The share of each of so many partitions.
    pub(crate) fn share(self, partitions: usize) -> usize {
        (self.pool / SHARES_PART / partitions.max(1)).max(PARTITION_SHARE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BYTE_BUDGET;
    use crate::engine::BYTE_BUDGET_MIN;

    #[test]
    fn all_parts_are_within_the_budget() {
        for bytes in [BYTE_BUDGET_MIN, BYTE_BUDGET, usize::MAX / 2] {
            for parked in [0, 1 << 20, usize::MAX] {
                let budget = Budget::new(bytes, parked);
                assert_eq!(budget.parked + budget.pool, bytes);
                assert!(budget.parked <= bytes / 8);
                for partitions in [1, 6, 24] {
                    let shares = partitions * budget.share(partitions) * 2;
                    assert!(shares <= budget.pool / 2, "{partitions} of {bytes}");
                }
            }
        }
    }
}
