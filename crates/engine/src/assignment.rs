//! Partitions that this member holds, and who of its lanes has them.
//!
//! A partition is held under a *token*, which no other assignment in this process has, and under
//! the group's member *epoch*, which compares across members. Internally results carry the token:
//! an epoch may stay the same when a partition goes and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use onrush_kafka::TopicPartition;

/// Tokens of assignments are so far apart: a lane numbers readings of a partition, and restarts of
/// its ledger, from the token on.
pub const TOKEN_STRIDE: u64 = 1 << 32;

/// What a handler is told of a partition that comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The member epoch under which the partition is held.
    pub epoch: i32,
    /// The offset from which it is read; what is above may be finished in part.
    pub start: i64,
    /// The member of the group, as the broker knows it.
    pub member: Arc<str>,
}

/// Names an assignment of a partition on its lane; stale after the partition left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which lane.
    pub lane: u32,
    /// Where the lane keeps the partition.
    pub index: u32,
    /// Under which token.
    pub token: u64,
}

/// A partition in hand, shared with the workers that run its events.
#[derive(Debug)]
pub struct Holding {
    /// What handlers are told.
    pub assignment: Assignment,
    /// The same partition, as the client names it.
    pub partition: TopicPartition,
    /// Tells this assignment from any other.
    pub token: u64,
    /// Its events failed elsewhere, and wait here for another try.
    pub is_retry_topic: bool,
    withdrawn: AtomicBool,
}

impl Holding {
    /// The partition of `assignment`, held under `token`.
    pub fn new(assignment: Assignment, token: u64) -> Self {
        let partition = TopicPartition::new(Arc::clone(&assignment.topic), assignment.partition);
        let withdrawn = AtomicBool::new(false);
        Self { assignment, partition, token, is_retry_topic: false, withdrawn }
    }

    /// Says whether its topic is a retry topic.
    pub(crate) fn in_retry_topic(self, is_retry_topic: bool) -> Self {
        Self { is_retry_topic, ..self }
    }

    /// No event of it is started any more.
    pub fn withdraw(&self) {
        // Relaxed: a worker that sees it late starts one event more, for which the drain waits.
        self.withdrawn.store(true, Ordering::Relaxed);
    }

    /// Whether events must not be started.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }
}

/// Which lane has which partition.
#[derive(Debug)]
pub struct Placement {
    lanes: Vec<usize>,
    placed: BTreeMap<TopicPartition, usize>,
}

impl Placement {
    /// No partition on any of `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Self { lanes: vec![0; lanes.max(1)], placed: BTreeMap::new() }
    }

    /// The lane of `partition`: the one it is on, or the one with the fewest partitions.
    pub fn place(&mut self, partition: &TopicPartition) -> usize {
        if let Some(lane) = self.placed.get(partition) {
            return *lane;
        }
        let lane = (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane]).unwrap_or(0);
        self.lanes[lane] += 1;
        self.placed.insert(partition.clone(), lane);
        lane
    }

    /// The partition has gone.
    pub fn remove(&mut self, partition: &TopicPartition) {
        if let Some(lane) = self.placed.remove(partition) {
            self.lanes[lane] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_spread_over_the_lanes_and_stay_where_they_are() {
        let mut placement = Placement::new(2);
        let partitions: Vec<_> = (0..4).map(|n| TopicPartition::new("flights", n)).collect();
        let lanes: Vec<_> = partitions.iter().map(|partition| placement.place(partition)).collect();
        assert_eq!(lanes, [0, 1, 0, 1]);
        placement.remove(&partitions[0]);
        assert_eq!(placement.place(&partitions[1]), 1);
        assert_eq!(placement.place(&TopicPartition::new("flights", 9)), 0);
    }
}
