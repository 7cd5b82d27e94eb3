//! Assigned partitions and where each of them stands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use onrush_wire::Uuid;

use super::FetchSink;
use crate::cluster::Leader;
use crate::partition::TopicPartition;

/// Where a slot stands; see the states in [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Unplaced,
    Ready(Leader),
    Stale,
    OutOfRange { resolving: bool },
    Stopped,
}

#[derive(Clone)]
pub(super) struct Slot {
    pub(super) token: u64,
    /// The next offset to ask for.
    pub(super) offset: i64,
    pub(super) sink: Arc<dyn FetchSink>,
    pub(super) status: Status,
    pub(super) paused: bool,
    /// The last response for this offset was damaged.
    pub(super) damaged: bool,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Slot {{ token: {}, offset: {}, status: {:?} }}",
            self.token, self.offset, self.status
        )
    }
}

impl Slot {
    /// Follows the leader that the metadata names.
    pub(super) fn place(&mut self, leader: Option<Leader>) -> Status {
        if let Status::Unplaced | Status::Ready(_) = self.status {
            self.status = leader.map_or(Status::Stale, Status::Ready);
        }
        self.status
    }
}

/// What one fetch asks of one broker.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) topics: Vec<PlannedTopic>,
    pub(super) any_paused: bool,
}

#[derive(Debug)]
pub(super) struct PlannedTopic {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Planned>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) index: i32,
    pub(super) token: u64,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
}

#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<TopicPartition, Slot>);

impl Slots {
    pub(super) fn assign(
        &mut self,
        partition: TopicPartition,
        token: u64,
        offset: i64,
        sink: Arc<dyn FetchSink>,
    ) {
        let slot =
            Slot { token, offset, sink, status: Status::Unplaced, paused: false, damaged: false };
        self.0.insert(partition, slot);
    }

    pub(super) fn unassign(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }

    /// Returns the broker that leads the partition, if that is known.
    pub(super) fn set_paused(&mut self, partition: &TopicPartition, paused: bool) -> Option<i32> {
        let slot = self.0.get_mut(partition)?;
        slot.paused = paused;
        match slot.status {
            Status::Ready(leader) => Some(leader.node),
            _ => None,
        }
    }

    /// Moves the slot, if it is still the same assignment.
    pub(super) fn put(&mut self, partition: &TopicPartition, token: u64, status: Status) -> bool {
        match self.0.get_mut(partition) {
            Some(slot) if slot.token == token => {
                slot.status = status;
                true
            }
            _ => false,
        }
    }

    /// The metadata is new: what it refused before is looked up again.
    pub(super) fn refreshed(&mut self) {
        for slot in self.0.values_mut().filter(|slot| slot.status == Status::Stale) {
            slot.status = Status::Unplaced;
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Slot)> {
        self.0.iter_mut()
    }

    /// The slot that this part of a fetch was asked for, if it is still the same assignment at the
    /// same offset.
    pub(super) fn asked(
        &mut self,
        partition: &TopicPartition,
        planned: &Planned,
    ) -> Option<&mut Slot> {
        self.0
            .get_mut(partition)
            .filter(|slot| slot.token == planned.token && slot.offset == planned.offset)
    }

    /// What to ask `node` for, with topics and partitions rotated by `turn`.
    pub(super) fn plan(&self, node: i32, turn: usize) -> Plan {
        let mut plan = Plan::default();
        for (partition, slot) in &self.0 {
            let Status::Ready(leader) = slot.status else { continue };
            if leader.node != node {
                continue;
            }
            if slot.paused {
                plan.any_paused = true;
                continue;
            }
            let planned = Planned {
                index: partition.partition,
                token: slot.token,
                offset: slot.offset,
                leader_epoch: leader.epoch,
            };
            match plan.topics.last_mut().filter(|topic| topic.name == partition.topic) {
                Some(topic) => topic.partitions.push(planned),
                None => plan.topics.push(PlannedTopic {
                    name: Arc::clone(&partition.topic),
                    id: leader.topic_id,
                    partitions: vec![planned],
                }),
            }
        }
        rotate(&mut plan.topics, turn);
        for topic in &mut plan.topics {
            rotate(&mut topic.partitions, turn);
        }
        plan
    }
}

fn rotate<T>(items: &mut [T], turn: usize) {
    if !items.is_empty() {
        items.rotate_left(turn % items.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::FetchEvent;

    struct Nowhere;

    impl FetchSink for Nowhere {
        fn deliver(&self, _: FetchEvent) {}
    }

    fn slots(count: i32) -> Slots {
        let mut slots = Slots::default();
        for partition in 0..count {
            slots.assign(TopicPartition::new("t", partition), 1, 10, Arc::new(Nowhere));
        }
        for (_, slot) in slots.iter_mut() {
            slot.place(Some(Leader { node: 1, epoch: 3, topic_id: Uuid::ZERO }));
        }
        slots
    }

    fn order(plan: &Plan) -> Vec<i32> {
        plan.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.index)).collect()
    }

    #[test]
    fn the_order_rotates_and_paused_partitions_are_left_out() {
        let mut slots = slots(3);
        assert_eq!(order(&slots.plan(1, 0)), [0, 1, 2]);
        assert_eq!(order(&slots.plan(1, 1)), [1, 2, 0]);
        assert_eq!(order(&slots.plan(1, 5)), [2, 0, 1]);
        assert!(order(&slots.plan(2, 0)).is_empty());
        assert_eq!(slots.set_paused(&TopicPartition::new("t", 1), true), Some(1));
        let plan = slots.plan(1, 0);
        assert_eq!((order(&plan), plan.any_paused), (vec![0, 2], true));
    }

    #[test]
    fn trap_34_a_pause_ends_with_its_assignment() {
        let mut slots = slots(2);
        let partition = TopicPartition::new("t", 1);
        slots.set_paused(&partition, true);
        assert_eq!(order(&slots.plan(1, 0)), [0]);
        slots.unassign(&partition);
        assert_eq!(slots.set_paused(&partition, true), None, "it is nobody's");
        slots.assign(partition, 2, 10, Arc::new(Nowhere));
        for (_, slot) in slots.iter_mut() {
            slot.place(Some(Leader { node: 1, epoch: 3, topic_id: Uuid::ZERO }));
        }
        assert_eq!(order(&slots.plan(1, 0)), [0, 1]);
    }

    #[test]
    fn what_was_asked_for_an_old_assignment_finds_no_slot() {
        let mut slots = slots(1);
        let partition = TopicPartition::new("t", 0);
        let planned = slots.plan(1, 0).topics[0].partitions[0];
        assert!(slots.asked(&partition, &planned).is_some());
        slots.assign(partition.clone(), 2, 10, Arc::new(Nowhere));
        assert!(slots.asked(&partition, &planned).is_none());
        assert!(!slots.put(&partition, 1, Status::Stopped));
    }
}
