//! What groups committed, and the epoch that each group reached.
//!
//! The file `groups` is a [`Journal`]; its entries begin with a kind:
//!
//! | kind | entry |
//! |---|---|
//! | 1 | commit: group, topic, partition, offset, leader epoch, end of the log at the time, metadata |
//! | 2 | epoch of a group, and its kind (absent: consumer); always synced, because epochs fence |
//! | 3 | a topic is gone, and with it all that was committed for it; always synced, before the topic goes |
//! | 4 | a group is gone, and with it all that it committed; always synced |
//! | 5 | a commit is gone: group, topic, partition; always synced |
//!
//! Metadata may speak of records above the committed offset. If a crash cut the log below where it
//! ended when the commit was made, other records will stand there: such a commit loses its
//! metadata, and its offset is lowered to the end of the log, before anybody can read it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use onrush_runtime::{Disk, Fault, File};

use crate::groups::Kind;
use crate::journal::{Entries, Journal, put_string, take_string};
use crate::topics::Place;
use crate::{BrokerError, Fsync};

const FILE: &str = "groups";

const COMMIT: u8 = 1;
const EPOCH: u8 = 2;
const TOPIC_GONE: u8 = 3;
const GROUP_GONE: u8 = 4;
const COMMIT_GONE: u8 = 5;

/// Most bytes that commits take in memory: of 10,000 partitions with full metadata in six groups.
const MAX_WEIGHT: usize = 256 * 1024 * 1024;

/// What a commit takes besides its metadata.
const COMMIT_WEIGHT: usize = 128;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Offset of the next record to be processed.
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    /// Where the log ended when this was committed.
    pub(crate) log_end: i64,
}

type OfGroup = BTreeMap<Place, Committed>;

/// All committed offsets.
#[derive(Debug)]
pub(crate) struct Offsets {
    journal: Journal,
    current: Current,
    fsync: Fsync,
}

#[derive(Debug, Default)]
struct Current {
    offsets: BTreeMap<Arc<str>, OfGroup>,
    epochs: BTreeMap<Arc<str>, (i32, Kind)>,
    /// Bytes that the commits take.
    weight: usize,
}

impl Committed {
    fn weight(&self) -> usize {
        COMMIT_WEIGHT + self.metadata.len()
    }
}

impl Offsets {
    /// Opens the file and corrects what speaks of records that are not there: `log_end` knows where
    /// logs end.
    pub(crate) fn open(
        disk: &Disk,
        fsync: Fsync,
        log_end: impl Fn(&Place) -> Option<i64>,
    ) -> Result<Self, BrokerError> {
        let mut current = Current::default();
        let journal = Journal::open(disk, FILE, |entry| current.replay(entry))?;
        let mut offsets = Self { journal, current, fsync };
        offsets.correct(log_end).map_err(BrokerError::storage("write", FILE))?;
        Ok(offsets)
    }

    fn correct(&mut self, log_end: impl Fn(&Place) -> Option<i64>) -> io::Result<()> {
        let mut entries = Entries::default();
        let mut dropped = 0;
        for (group, offsets) in &mut self.current.offsets {
            let before = offsets.len();
            offsets.retain(|place, _| log_end(place).is_some());
            dropped += before - offsets.len();
            for (place, committed) in offsets {
                let Some(end) = log_end(place).filter(|end| *end < committed.log_end) else {
                    continue;
                };
                tracing::error!(
                    %group, topic = %place.topic, place.partition, committed.offset, end, code = %Fault::LogCut,
                    "a crash cut the log below where it ended at this commit: lowered the offset to the end at most, dropped its metadata"
                );
                committed.offset = committed.offset.min(end);
                committed.metadata.clear();
                committed.log_end = end;
                put_commit(&mut entries, group, place, committed);
            }
        }
        self.current.weigh();
        if dropped == 0 {
            return self.journal.append(entries, Fsync::Always);
        }
        self.current.offsets.retain(|_, offsets| !offsets.is_empty());
        // Were they left in the file, they would be taken for commits of a later topic.
        tracing::warn!(dropped, "dropped commits for partitions that are not there");
        self.journal.rewrite(self.current.entries())
    }

    /// Stores commits of one group, all or none.
    pub(crate) fn commit(
        &mut self,
        group: &str,
        commits: Vec<(Place, Committed)>,
    ) -> io::Result<()> {
        self.check_room(group, &commits)?;
        let mut entries = Entries::default();
        for (place, committed) in &commits {
            put_commit(&mut entries, group, place, committed);
        }
        self.journal.append(entries, self.fsync)?;
        if !commits.is_empty() {
            self.current.put(group, commits);
        }
        self.journal.rewrite_if_grown(|| self.current.entries());
        Ok(())
    }

    fn check_room(&self, group: &str, commits: &[(Place, Committed)]) -> io::Result<()> {
        let more: usize = commits.iter().map(|(_, committed)| committed.weight()).sum();
        if self.current.weight + more <= MAX_WEIGHT {
            return Ok(());
        }
        let before = commits.iter().filter_map(|(place, _)| self.get(group, place));
        let less: usize = before.map(Committed::weight).sum();
        if more <= less {
            return Ok(());
        }
        let reason = format!("committed offsets take {MAX_WEIGHT} bytes, the limit: delete groups");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, reason))
    }

    /// Stores the epoch of a group of a kind.
    pub(crate) fn reach_epoch(
        &mut self,
        group: &Arc<str>,
        epoch: i32,
        kind: Kind,
    ) -> io::Result<()> {
        if self.current.epochs.get(group) == Some(&(epoch, kind)) {
            return Ok(());
        }
        let mut entries = Entries::default();
        put_epoch(&mut entries, group, epoch, kind);
        self.journal.append(entries, Fsync::Always)?;
        self.current.epochs.insert(group.clone(), (epoch, kind));
        self.journal.rewrite_if_grown(|| self.current.entries());
        Ok(())
    }

    /// The epoch that a group reached; 0 for one that is not known.
    pub(crate) fn epoch(&self, group: &str) -> i32 {
        self.current.epochs.get(group).map_or(0, |(epoch, _)| *epoch)
    }

    /// Whether a group of that name ever had members or offsets.
    pub(crate) fn knows(&self, group: &str) -> bool {
        self.current.epochs.contains_key(group) || self.current.offsets.contains_key(group)
    }

    /// How many groups are known.
    pub(crate) fn count(&self) -> usize {
        let Current { offsets, epochs, .. } = &self.current;
        epochs.len() + offsets.keys().filter(|group| !epochs.contains_key(*group)).count()
    }

    /// The groups that have an epoch or offsets; some twice.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.current.epochs.keys().chain(self.current.offsets.keys())
    }

    /// The groups whose epoch is known, with that and their kind.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, (i32, Kind))> {
        self.current.epochs.iter().map(|(group, reached)| (group, *reached))
    }

    /// What a group committed for a partition.
    pub(crate) fn get(&self, group: &str, place: &Place) -> Option<&Committed> {
        self.current.offsets.get(group)?.get(place)
    }

    /// All that a group committed.
    pub(crate) fn of_group(&self, group: &str) -> impl Iterator<Item = (&Place, &Committed)> {
        self.current.offsets.get(group).into_iter().flatten()
    }

    /// Forgets a group, for good.
    pub(crate) fn forget_group(&mut self, group: &str) -> io::Result<()> {
        let mut entries = Entries::default();
        entries.push(|buffer| {
            buffer.put_u8(GROUP_GONE);
            put_string(buffer, group);
        });
        self.journal.append(entries, Fsync::Always)?;
        self.current.forget_group(group);
        Ok(())
    }

    /// Forgets what a group committed for some partitions, for good.
    pub(crate) fn delete(&mut self, group: &str, places: &[Place]) -> io::Result<()> {
        let mut entries = Entries::default();
        for place in places.iter().filter(|place| self.get(group, place).is_some()) {
            entries.push(|buffer| {
                buffer.put_u8(COMMIT_GONE);
                put_string(buffer, group);
                put_string(buffer, &place.topic);
                buffer.put_i32(place.partition);
            });
        }
        self.journal.append(entries, Fsync::Always)?;
        places.iter().for_each(|place| self.current.forget_commit(group, place));
        Ok(())
    }

    /// Forgets what was committed for a topic, for good.
    pub(crate) fn forget_topic(&mut self, topic: &str) -> io::Result<()> {
        let mut entries = Entries::default();
        entries.push(|buffer| {
            buffer.put_u8(TOPIC_GONE);
            put_string(buffer, topic);
        });
        self.journal.append(entries, Fsync::Always)?;
        self.current.forget_topic(topic);
        Ok(())
    }

    /// The file, if there is something to be synced in it that was not taken before.
    pub(crate) fn take_dirty(&mut self) -> Option<File> {
        self.journal.take_dirty()
    }

    /// Notes that the file that was taken is synced.
    pub(crate) fn synced(&mut self) {
        self.journal.synced();
    }

    /// Notes that the file could not be synced.
    pub(crate) fn sync_failed(&mut self) {
        self.journal.sync_failed();
    }

    /// Writes everything anew if a sync has failed.
    pub(crate) fn heal(&mut self) -> io::Result<()> {
        if self.journal.is_doubtful() {
            self.journal.rewrite(self.current.entries())
        } else {
            Ok(())
        }
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.heal()?;
        self.journal.sync()
    }
}

impl Current {
    fn replay(&mut self, mut entry: Bytes) -> Result<(), String> {
        let cut_off = |error: bytes::TryGetError| error.to_string();
        match entry.try_get_u8().map_err(cut_off)? {
            COMMIT => {
                let group = take_string(&mut entry)?;
                let topic = take_string(&mut entry)?.into();
                let place = Place { topic, partition: entry.try_get_i32().map_err(cut_off)? };
                let committed = Committed {
                    offset: entry.try_get_i64().map_err(cut_off)?,
                    leader_epoch: entry.try_get_i32().map_err(cut_off)?,
                    log_end: entry.try_get_i64().map_err(cut_off)?,
                    metadata: take_string(&mut entry)?,
                };
                self.put(&group, vec![(place, committed)]);
            }
            EPOCH => {
                let group = take_string(&mut entry)?;
                let epoch = entry.try_get_i32().map_err(cut_off)?;
                let kind = match entry.first() {
                    None | Some(0) => Kind::Consumer,
                    Some(1) => Kind::Classic,
                    Some(kind) => return Err(format!("a group of the unknown kind {kind}")),
                };
                self.epochs.insert(group.into(), (epoch, kind));
            }
            GROUP_GONE => self.forget_group(&take_string(&mut entry)?),
            COMMIT_GONE => {
                let group = take_string(&mut entry)?;
                let topic = take_string(&mut entry)?.into();
                let place = Place { topic, partition: entry.try_get_i32().map_err(cut_off)? };
                self.forget_commit(&group, &place);
            }
            TOPIC_GONE => self.forget_topic(&take_string(&mut entry)?),
            kind => return Err(format!("entry of the unknown kind {kind}")),
        }
        Ok(())
    }

    fn put(&mut self, group: &str, commits: Vec<(Place, Committed)>) {
        let offsets = self.offsets.entry(group.into()).or_default();
        for (place, committed) in commits {
            self.weight += committed.weight();
            let before = offsets.insert(place, committed);
            self.weight -= before.map_or(0, |before| before.weight());
        }
    }

    fn weigh(&mut self) {
        self.weight = self.offsets.values().flat_map(BTreeMap::values).map(Committed::weight).sum();
    }

    fn forget_group(&mut self, group: &str) {
        let offsets = self.offsets.remove(group);
        self.weight -= offsets.iter().flatten().map(|(_, before)| before.weight()).sum::<usize>();
        self.epochs.remove(group);
    }

    fn forget_topic(&mut self, topic: &str) {
        self.offsets.retain(|_, offsets| {
            offsets.retain(|place, _| &*place.topic != topic);
            !offsets.is_empty()
        });
        self.weigh();
    }

    /// A group of which nothing is left is not there any more.
    fn forget_commit(&mut self, group: &str, place: &Place) {
        let Some(offsets) = self.offsets.get_mut(group) else { return };
        self.weight -= offsets.remove(place).map_or(0, |before| before.weight());
        if offsets.is_empty() {
            self.offsets.remove(group);
        }
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        for (group, (epoch, kind)) in &self.epochs {
            put_epoch(&mut entries, group, *epoch, *kind);
        }
        for (group, offsets) in &self.offsets {
            for (place, committed) in offsets {
                put_commit(&mut entries, group, place, committed);
            }
        }
        entries
    }
}

fn put_commit(entries: &mut Entries, group: &str, place: &Place, committed: &Committed) {
    entries.push(|buffer| {
        buffer.put_u8(COMMIT);
        put_string(buffer, group);
        put_string(buffer, &place.topic);
        buffer.put_i32(place.partition);
        buffer.put_i64(committed.offset);
        buffer.put_i32(committed.leader_epoch);
        buffer.put_i64(committed.log_end);
        put_string(buffer, &committed.metadata);
    });
}

fn put_epoch(entries: &mut Entries, group: &str, epoch: i32, kind: Kind) {
    entries.push(|buffer| {
        buffer.put_u8(EPOCH);
        put_string(buffer, group);
        buffer.put_i32(epoch);
        buffer.put_u8(match kind {
            Kind::Consumer => 0,
            Kind::Classic => 1,
        });
    });
}

#[cfg(test)]
mod tests {
    use onrush_runtime::Random;
    use onrush_runtime::disk::MemoryDisk;

    use super::*;

    fn place() -> Place {
        Place { topic: "t".into(), partition: 1 }
    }

    fn committed(offset: i64, log_end: i64) -> Committed {
        Committed { offset, leader_epoch: 3, metadata: "above".to_owned(), log_end }
    }

    fn open(disk: &Disk, end: i64) -> Offsets {
        Offsets::open(disk, Fsync::Always, |_| Some(end)).expect("opens")
    }

    #[test]
    fn commits_and_epochs_survive() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        offsets.commit("g", vec![(place(), committed(10, 100))]).expect("stored");
        offsets.commit("g", vec![(place(), committed(20, 100))]).expect("stored");
        offsets.reach_epoch(&"g".into(), 7, Kind::Classic).expect("stored");
        let offsets = open(&disk, 100);
        assert_eq!(offsets.get("g", &place()), Some(&committed(20, 100)));
        assert_eq!((offsets.epoch("g"), offsets.epoch("other")), (7, 0));
        let group = "g".into();
        assert_eq!(offsets.groups().collect::<Vec<_>>(), [(&group, (7, Kind::Classic))]);
    }

    #[test]
    fn a_commit_above_what_a_crash_left_is_lowered_for_good() {
        let disk = Disk::memory();
        open(&disk, 100).commit("g", vec![(place(), committed(90, 100))]).expect("stored");
        let lowered = Committed { metadata: String::new(), ..committed(50, 50) };
        assert_eq!(open(&disk, 50).get("g", &place()), Some(&lowered));
        // The log has grown again, over other records.
        assert_eq!(open(&disk, 200).get("g", &place()), Some(&lowered));
    }

    #[test]
    fn metadata_that_may_speak_of_lost_records_is_dropped_although_the_offset_stands() {
        let disk = Disk::memory();
        open(&disk, 100).commit("g", vec![(place(), committed(40, 100))]).expect("stored");
        let kept = Committed { metadata: String::new(), ..committed(40, 50) };
        assert_eq!(open(&disk, 50).get("g", &place()), Some(&kept));
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        const MAX_METADATA: usize = 4_096;
        const LONGEST: u64 = 9 * 1024 * 1024;
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        let long = Committed { metadata: "m".repeat(MAX_METADATA), ..committed(1, 100) };
        let mut written = 0;
        while written < 3 * LONGEST {
            offsets.commit("g", vec![(place(), long.clone())]).expect("stored");
            written += MAX_METADATA as u64;
        }
        assert!(offsets.journal.len() < LONGEST);
        assert_eq!(open(&disk, 100).get("g", &place()), Some(&long));
    }

    #[test]
    fn commits_for_a_topic_that_is_not_there_are_dropped_for_good() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        let other = Place { topic: "other".into(), partition: 0 };
        let commits = vec![(place(), committed(10, 100)), (other.clone(), committed(30, 100))];
        offsets.commit("g", commits).expect("stored");
        let end = |place: &Place| (&*place.topic == "other").then_some(100);
        Offsets::open(&disk, Fsync::Always, end).expect("opens");
        // A topic of the same name has been created.
        let offsets = open(&disk, 100);
        assert_eq!(offsets.get("g", &place()), None);
        assert_eq!(offsets.get("g", &other), Some(&committed(30, 100)));
    }

    #[test]
    fn a_topic_is_forgotten_on_the_disk_under_every_policy_or_not_at_all() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut offsets = Offsets::open(&disk, Fsync::Never, |_| Some(100)).expect("opens");
        offsets.commit("g", vec![(place(), committed(10, 100))]).expect("stored");
        memory.fail_syncs(1);
        offsets.forget_topic("t").expect_err("not synced");
        assert_eq!(offsets.get("g", &place()), Some(&committed(10, 100)));
        offsets.sync().expect("synced");
        offsets.forget_topic("t").expect("stored");
        for seed in 0..10 {
            memory.crash(&Random::seeded(seed));
            assert_eq!(open(&disk, 100).of_group("g").count(), 0);
        }
    }

    #[test]
    fn a_deleted_topic_leaves_nothing() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        offsets.commit("g", vec![(place(), committed(10, 100))]).expect("stored");
        offsets.forget_topic("t").expect("stored");
        assert_eq!(open(&disk, 100).of_group("g").count(), 0);
    }

    #[test]
    fn a_deleted_group_and_a_deleted_commit_stay_deleted() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        let other = Place { topic: "t".into(), partition: 2 };
        for group in ["g", "h"] {
            let commits = vec![(place(), committed(10, 100)), (other.clone(), committed(20, 100))];
            offsets.commit(group, commits).expect("stored");
            offsets.reach_epoch(&group.into(), 7, Kind::Consumer).expect("stored");
        }
        offsets.delete("h", &[place()]).expect("stored");
        offsets.forget_group("g").expect("stored");
        for offsets in [offsets, open(&disk, 100)] {
            assert!(!offsets.knows("g") && offsets.epoch("g") == 0);
            assert_eq!(offsets.get("h", &place()), None);
            assert_eq!(offsets.get("h", &other), Some(&committed(20, 100)));
            assert_eq!(offsets.epoch("h"), 7);
        }
    }

    #[test]
    fn a_group_whose_last_commit_is_gone_is_not_there() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        for group in ["g", "h"] {
            offsets.commit(group, vec![(place(), committed(10, 100))]).expect("stored");
        }
        offsets.delete("g", &[place()]).expect("stored");
        assert!(!offsets.knows("g") && !open(&disk, 100).knows("g"));
        offsets.forget_topic("t").expect("stored");
        assert!(!offsets.knows("h") && !open(&disk, 100).knows("h"));
    }

    #[test]
    fn there_is_a_limit_to_what_commits_take() {
        let disk = Disk::memory();
        let mut offsets = open(&disk, 100);
        let other = Place { topic: "t".into(), partition: 2 };
        let long = Committed { metadata: "m".repeat(1_000), ..committed(1, 100) };
        let both =
            vec![(place(), long.clone()), (other.clone(), long.clone()), (place(), long.clone())];
        offsets.commit("g", both).expect("stored");
        offsets.commit("h", vec![(place(), long.clone())]).expect("stored");
        assert_eq!(offsets.current.weight, 3 * long.weight());
        // What is there can be written anew, but nothing is added.
        offsets.current.weight = MAX_WEIGHT;
        let refused = offsets.commit("new", vec![(place(), long.clone())]).expect_err("no room");
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        offsets.commit("g", vec![(place(), long.clone())]).expect("stored");
        let mut offsets = open(&disk, 100);
        assert_eq!(offsets.current.weight, 3 * long.weight());
        offsets.delete("g", &[other, place()]).expect("stored");
        assert_eq!(offsets.current.weight, long.weight());
        offsets.forget_group("h").expect("stored");
        assert_eq!(offsets.current.weight, 0);
        offsets.commit("g", vec![(place(), long)]).expect("stored");
        offsets.forget_topic("t").expect("stored");
        assert_eq!(offsets.current.weight, 0);
    }
}
