//! What was known of a member process at the moment of its death: a line of `kills.jsonl`, written before the signal.
//!
//! The victim is stopped (SIGSTOP) before anything is looked at, and not continued: its journals stand still from then on, and
//! it can commit nothing more. What the group has committed is read after that, so a commit that was on its way may count or
//! not; if not, the bound is the larger, and still one. An entry of a victim's journal that the committed offset and
//! completed-set do not cover is an event that was *marked after the last acknowledged commit*: whoever gets the partition
//! next may run it once more, and nothing else.
use std::io::Write;
use std::path::Path;

use onrush_engine::Metadata;
use serde::{Deserialize, Serialize};

use super::journal::entry::Entry;
use super::journal::file::JournalFile;

/// The file of the notes below the run's folder.
pub(crate) const DEATHS_FILE: &str = "kills.jsonl";

/// One member process, as it was when it was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Death {
    /// Counts the kills of a run from 1.
    pub(crate) kill: u64,
    /// Milliseconds since the first event was sent.
    pub(crate) after_ms: u64,
    /// Its id.
    pub(crate) process: u32,
    /// Id of the member.
    pub(crate) member: String,
    /// What it held.
    pub(crate) left: Vec<Left>,
}

/// A partition that a victim held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// The partition.
    pub(crate) partition: i32,
    /// The assignment, which is also the number of the journal.
    pub(crate) assignment: u32,
    /// Entries of its journal.
    pub(crate) entries: u64,
    /// The group's committed offset; -1 for none.
    pub(crate) committed: i64,
    /// What is committed as done above it: first and last offset of runs.
    pub(crate) completed: Vec<(i64, i64)>,
    /// Events in the journal that neither covers.
    pub(crate) uncommitted: u64,
}

impl Left {
    /// What a victim leaves of the partition of `journal`, of which `committed` and `metadata` are committed.
    pub(crate) fn new(journal: &JournalFile, committed: i64, metadata: &str) -> Self {
        let set = Metadata::decode(committed, metadata).unwrap_or_default().completed;
        let mut left = Self {
            partition: journal.header.partition,
            assignment: journal.header.assignment,
            entries: journal.entries.len() as u64,
            committed,
            completed: set.runs().iter().map(|run| (run.first, run.last)).collect(),
            uncommitted: 0,
        };
        left.uncommitted = left.uncovered(&journal.entries).len() as u64;
        left
    }

    /// The numbers of the events among `entries` that the commit does not cover, each once.
    pub(crate) fn uncovered(&self, entries: &[u64]) -> Vec<u64> {
        let numbers = entries.iter().filter_map(|bits| Entry::from_bits(*bits)).map(Entry::number);
        let mut numbers: Vec<u64> = numbers.filter(|number| !self.covers(*number)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Whether an event counts as done by the commit. The topic is new and has only the run's events, so that an event's
    /// number is its offset.
    fn covers(&self, number: u64) -> bool {
        let Ok(offset) = i64::try_from(number) else { return false };
        let above = self.completed.partition_point(|(_, last)| *last < offset);
        offset < self.committed || self.completed.get(above).is_some_and(|run| run.0 <= offset)
    }
}

/// Adds a death to the notes of a run.
pub(crate) fn note(folder: &Path, death: &Death) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(death)?;
    line.push(b'\n');
    let mut options = std::fs::File::options();
    options.create(true).append(true).open(folder.join(DEATHS_FILE))?.write_all(&line)
}

/// The notes of a run; none, if nobody was killed.
pub(crate) fn read_all(folder: &Path) -> std::io::Result<Vec<Death>> {
    let text = match std::fs::read_to_string(folder.join(DEATHS_FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};

    use super::super::journal::Holding;
    use super::super::journal::header::Header;
    use super::super::series::Series;
    use super::*;

    fn journal(numbers: &[u64]) -> JournalFile {
        let holding = Holding { partition: 2, member: "m", epoch: 1, start_offset: 0 };
        let series = Series::from_index(3).expect("known");
        let bits = |number: &u64| Entry::new(*number, series, None, 0).expect("in range").bits();
        let mut entries: Vec<u64> = numbers.iter().map(bits).collect();
        entries.push(0);
        JournalFile { header: Header::new(&holding, 100, None), entries }
    }

    #[test]
    fn what_is_committed_is_below_the_offset_or_in_the_set() {
        let journal = journal(&[7, 8, 9, 10, 11, 12, 13, 14, 12]);
        let mut set = CompletedSet::empty();
        set.push(OffsetRun::new(11, 11));
        set.push(OffsetRun::new(13, 20));
        let metadata = Metadata { completed: set, notes: Vec::new() };
        let left = Left::new(&journal, 9, &metadata.encode(9, METADATA_LIMIT));
        assert_eq!((left.entries, left.uncommitted), (10, 3));
        assert_eq!(left.uncovered(&journal.entries), [9, 10, 12]);
        assert_eq!(Left::new(&journal, -1, "").uncommitted, 8);
        assert_eq!(Left::new(&journal, 15, "").uncommitted, 0);
    }

    #[test]
    fn notes_are_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read_all(folder.path()).expect("no file"), []);
        let left = Left::new(&journal(&[1, 2]), 1, "");
        let first =
            Death { kill: 1, after_ms: 1_000, process: 7, member: "m".into(), left: vec![left] };
        let second = Death { kill: 2, left: Vec::new(), ..first.clone() };
        for death in [&first, &second] {
            note(folder.path(), death).expect("written");
        }
        assert_eq!(read_all(folder.path()).expect("own file"), [first, second]);
    }
}
