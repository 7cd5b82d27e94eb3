//! Which state of a partition is committed.
//!
//! The ledger's version is the dirty flag: what was proposed carries the version it was taken at,
//! and only that version becomes clean when the broker accepts it. Notes that change count as a
//! change of state too: the version is the ledger's and the notes' together. An outcome that comes while a
//! commit is on its way has another version, so the partition stays dirty (trap 5). A refusal
//! changes nothing (traps 9 and 13): the next proposal is a new snapshot. A ledger that began again
//! counts its versions anew under a new token; proposals of the one before are not sent any more,
//! and their answers have no meaning.

use onrush_kafka::{Commit, TopicPartition};

use crate::completed::METADATA_LIMIT;
use crate::ledger::Snapshot;
use crate::metadata::{self, Note};

/// Metadata limits below this leave no room for a set; then none is committed, and what is done
/// above the offset is repeated.
pub const METADATA_FLOOR: usize = 64;

/// A commit on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The ledger's: that of the assignment, or a later one if the log was cut since.
    pub token: u64,
    /// The offset.
    pub offset: i64,
    /// The encoded completed-set and notes.
    pub metadata: String,
    /// What it was taken at; see [`CommitState::version`].
    pub version: u64,
}

impl Proposal {
    /// As the client sends it.
    pub(crate) fn commit(&self) -> Commit {
        Commit {
            partition: self.partition.clone(),
            offset: self.offset,
            leader_epoch: -1,
            metadata: self.metadata.clone(),
        }
    }
}

/// What the broker said to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Committed.
    Accepted,
    /// Not committed.
    Refused,
    /// Not committed, because the metadata is too long for this broker.
    MetadataTooLarge,
}

/// What is committed of one assignment.
#[derive(Debug)]
pub struct CommitState {
    committed: Option<i64>,
    clean: Option<u64>,
    limit: usize,
    notes: Vec<Note>,
    /// How often the notes have changed.
    changes: u64,
}

impl CommitState {
    /// Starts with what was `committed` when the ledger had `version`, and the notes that came with
    /// it.
    pub fn new(committed: Option<i64>, version: u64, notes: Vec<Note>) -> Self {
        let clean = committed.map(|_| version);
        Self { committed, clean, limit: METADATA_LIMIT, notes, changes: 0 }
    }

    /// These notes belong to the next commit.
    pub fn note(&mut self, notes: Vec<Note>) {
        if self.notes != notes {
            self.notes = notes;
            self.changes += 1;
        }
    }

    /// Changes whenever a commit would, for a ledger of this version.
    pub fn version(&self, ledger: u64) -> u64 {
        // Both only grow, so their sum is another one whenever one of them is.
        ledger + self.changes
    }

    /// The offset that the broker has.
    pub fn committed(&self) -> Option<i64> {
        self.committed
    }

    /// Characters of metadata that the broker takes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the notes are committed with a ledger of this version.
    pub fn is_clean(&self, ledger: u64) -> bool {
        self.clean == Some(self.version(ledger))
    }

    /// The log was cut by the cluster, so that a smaller offset is the right one.
    pub fn restart(&mut self) {
        (self.committed, self.clean) = (None, None);
        self.notes.clear();
    }

    /// Metadata for `snapshot`, or `None` if there is nothing to commit.
    pub fn propose(&self, snapshot: &Snapshot) -> Option<String> {
        if self.is_clean(snapshot.version)
            || self.committed.is_some_and(|committed| snapshot.offset < committed)
        {
            return None;
        }
        Some(metadata::encode(snapshot.offset, &snapshot.completed, &self.notes, self.limit))
    }

    /// The broker's answer to what was proposed at `version`.
    pub fn answered(&mut self, offset: i64, version: u64, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => {
                self.committed =
                    Some(self.committed.map_or(offset, |committed| committed.max(offset)));
                self.clean = Some(self.clean.map_or(version, |clean| clean.max(version)));
            }
            Verdict::Refused => {}
            Verdict::MetadataTooLarge => {
                self.limit = if self.limit / 2 < METADATA_FLOOR { 0 } else { self.limit / 2 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completed::{CompletedSet, OffsetRun};
    use crate::ledger::Ledger;
    use crate::metadata::Metadata;

    fn taken(count: i64) -> Ledger {
        let mut ledger = Ledger::resume(1, 0, &CompletedSet::empty(), METADATA_LIMIT);
        ledger.take(0, count - 1).unwrap();
        ledger
    }

    #[test]
    fn trap_05_an_outcome_that_races_a_commit_is_committed_next() {
        let mut ledger = taken(10);
        let mut state = CommitState::new(Some(0), ledger.version(), Vec::new());
        ledger.finish(1, OffsetRun::new(0, 4)).unwrap();
        let on_its_way = ledger.snapshot();
        assert!(state.propose(&on_its_way).is_some());
        ledger.finish(1, OffsetRun::new(5, 9)).unwrap();
        state.answered(on_its_way.offset, on_its_way.version, Verdict::Accepted);
        assert_eq!(state.committed(), Some(5));
        assert!(state.propose(&ledger.snapshot()).is_some());
        state.answered(10, ledger.version(), Verdict::Accepted);
        assert_eq!(state.propose(&ledger.snapshot()), None);
    }

    #[test]
    fn trap_09_a_refused_commit_is_not_a_success_and_never_goes_backwards() {
        let mut ledger = taken(10);
        let mut state = CommitState::new(None, ledger.version(), Vec::new());
        ledger.finish(1, OffsetRun::new(0, 4)).unwrap();
        let first = ledger.snapshot();
        state.answered(first.offset, first.version, Verdict::Refused);
        assert_eq!(state.committed(), None);
        ledger.finish(1, OffsetRun::new(5, 5)).unwrap();
        let second = ledger.snapshot();
        state.answered(second.offset, second.version, Verdict::Accepted);
        assert_eq!(state.propose(&first), None);
        state.answered(first.offset, first.version, Verdict::Accepted);
        assert_eq!((state.committed(), state.propose(&second)), (Some(6), None));
    }

    #[test]
    fn trap_18_a_broker_with_a_lower_limit_gets_shorter_metadata() {
        let mut ledger = taken(4_000);
        for n in 0..2_000 {
            ledger.finish(1, OffsetRun::new(2 * n + 1, 2 * n + 1)).unwrap();
        }
        let mut state = CommitState::new(None, 0, Vec::new());
        let snapshot = ledger.snapshot();
        let long = state.propose(&snapshot).unwrap();
        state.answered(0, snapshot.version, Verdict::MetadataTooLarge);
        assert!(long.len() > 600);
        for _ in 0..3 {
            assert!(state.propose(&snapshot).unwrap().len() <= state.limit());
            state.answered(0, snapshot.version, Verdict::MetadataTooLarge);
        }
        (0..9).for_each(|_| state.answered(0, snapshot.version, Verdict::MetadataTooLarge));
        assert_eq!(state.propose(&snapshot).unwrap(), "");
    }

    #[test]
    fn notes_that_change_are_committed_although_nothing_is_done() {
        let ledger = taken(10);
        let mut state = CommitState::new(Some(0), ledger.version(), Vec::new());
        assert_eq!(state.propose(&ledger.snapshot()), None);
        let mut note = Note { attempts: 3, error: "no".to_owned(), ..Note::default() };
        for _ in 0..2 {
            state.note(vec![note.clone()]);
            let metadata = state.propose(&ledger.snapshot()).unwrap();
            assert_eq!(Metadata::decode(0, &metadata).unwrap().notes, [note.clone()]);
            state.answered(0, state.version(ledger.version()), Verdict::Accepted);
            state.note(vec![note.clone()]);
            assert_eq!(state.propose(&ledger.snapshot()), None);
            note.attempts += 1;
        }
    }
}
