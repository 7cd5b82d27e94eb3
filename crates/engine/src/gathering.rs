//! What the lanes want to have committed, gathered per interval into one commit.
//!
//! A round asks the lanes and ends when all of them answered, or when the next round begins. A lane
//! that has not answered by then is in user code: the rounds after it do not wait for it, and do
//! not ask it again, until it answers. So a handler that hangs holds back the commits of the
//! partitions of its own lane, and none of another's (trap 12).

use std::collections::BTreeSet;

use onrush_kafka::TopicPartition;

use crate::commit::Proposal;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// Lanes that were asked in this round and have not answered.
    awaited: BTreeSet<usize>,
    /// Lanes that were asked in an earlier one.
    silent: BTreeSet<usize>,
    gathered: Vec<Proposal>,
}

impl Gathering {
    /// Ends a round, with what was said in it.
    pub(crate) fn close(&mut self) -> Option<Vec<Proposal>> {
        self.silent.append(&mut self.awaited);
        self.take()
    }

    /// Begins a round: the lanes to ask, of so many.
    pub(crate) fn open(&mut self, lanes: usize) -> Vec<usize> {
        self.awaited = (0..lanes).filter(|lane| !self.silent.contains(lane)).collect();
        self.awaited.iter().copied().collect()
    }

    /// A lane answered; all that was gathered, if no other is awaited.
    pub(crate) fn answered(
        &mut self,
        lane: usize,
        proposals: Vec<Proposal>,
    ) -> Option<Vec<Proposal>> {
        self.awaited.remove(&lane);
        self.silent.remove(&lane);
        self.gathered.extend(proposals);
        if self.awaited.is_empty() { self.take() } else { None }
    }

    /// A partition's last commit comes: what was gathered of it is older.
    pub(crate) fn forget(&mut self, partition: &TopicPartition) {
        self.gathered.retain(|proposal| proposal.partition != *partition);
    }

    fn take(&mut self) -> Option<Vec<Proposal>> {
        let gathered = std::mem::take(&mut self.gathered);
        (!gathered.is_empty()).then_some(gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(partition: i32, offset: i64) -> Proposal {
        let partition = TopicPartition::new("t", partition);
        Proposal { partition, token: 1, offset, metadata: String::new(), version: 1 }
    }

    #[test]
    fn a_round_is_one_commit_of_all_lanes() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.open(2), [0, 1]);
        assert_eq!(gathering.answered(1, vec![proposal(1, 5)]), None);
        let all = vec![proposal(1, 5), proposal(0, 7)];
        assert_eq!(gathering.answered(0, vec![proposal(0, 7)]), Some(all));
        assert_eq!(gathering.close(), None);
    }

    #[test]
    fn trap_12_a_lane_that_does_not_answer_holds_back_no_other() {
        let mut gathering = Gathering::default();
        gathering.open(2);
        assert_eq!(gathering.answered(1, vec![proposal(1, 5)]), None);
        assert_eq!(gathering.close(), Some(vec![proposal(1, 5)]), "at the latest with the next");
        for offset in 6..9 {
            assert_eq!(gathering.open(2), [1], "it has been asked");
            let said = vec![proposal(1, offset)];
            assert_eq!(gathering.answered(1, said.clone()), Some(said), "and is not waited for");
            assert_eq!(gathering.close(), None);
        }
        assert_eq!(gathering.answered(0, vec![proposal(0, 3)]), Some(vec![proposal(0, 3)]));
        assert_eq!(gathering.open(2), [0, 1]);
    }

    #[test]
    fn what_was_gathered_of_a_partition_goes_before_its_last_commit() {
        let mut gathering = Gathering::default();
        gathering.open(2);
        gathering.answered(0, vec![proposal(0, 3), proposal(2, 4)]);
        gathering.forget(&TopicPartition::new("t", 0));
        assert_eq!(gathering.answered(1, Vec::new()), Some(vec![proposal(2, 4)]));
    }
}
