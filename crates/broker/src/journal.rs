//! A small append-only file of checksummed entries, for what the broker must remember besides
//! records.
//!
//! ```text
//! entry: length u32 | CRC-32C of the payload u32 | payload
//! ```
//!
//! Entries are appended in batches, one write and one sync each. On opening, the file is read from its start up to the
//! first entry that is cut off or fails its checksum. That may be where a crash tore what was not synced yet, in whatever
//! order the system wrote it, with whole entries behind. So entries that follow a sync begin with a *mark*, an entry of our own
//! that says up to where the file was on the disk:
//!
//! ```text
//! payload of a mark: 0 u8 | position u64          all others begin with a kind from 1 on
//! ```
//!
//! With no mark behind it that reaches further, the rest of the file is the torn tail of a crash, which was never acknowledged or
//! not to be relied upon, and is cut. Else bytes changed that were on the disk: then the journal is not opened and not touched.
//!
//! When it has grown to twice what it was after the last time, [`Journal::rewrite`] replaces it: the new file is complete
//! and synced before it takes the old one's name.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use onrush_record::crc32c;
use onrush_runtime::{Disk, Fault, File};

use crate::{BrokerError, Fsync};

const ENTRY_HEADER: usize = 8;

/// The kind of a mark.
const MARK: u8 = 0;

const MARK_LEN: usize = 9;

/// Longest entry: what a member can make us write is limited by the longest request without
/// records.
const MAX_ENTRY: usize = 2 * onrush_wire::limits::MAX_REQUEST_MESSAGE;

/// A shorter file is not rewritten.
const REWRITE_FROM: u64 = 4 * 1024 * 1024;

/// Bytes that are searched at a time for a mark behind a damaged place.
const SEARCH_CHUNK: usize = 1024 * 1024;

/// What to do about a damaged journal.
const REMEDY: &str =
    "restore the file from a copy, or cut it at this byte and give up all that stands behind";

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Disk,
    path: String,
    file: File,
    /// Bytes of whole entries. The file is longer only if a failed append could not be taken back
    /// yet.
    len: u64,
    /// Length after the last rewrite.
    rewritten: u64,
    /// Whether entries were appended that were not synced since.
    dirty: bool,
    /// Where the file ended when it was taken to be synced, while that is under way.
    taken: Option<u64>,
    /// Whether a sync of such entries failed: a second one says nothing about them.
    doubtful: bool,
    /// Whether the path may name the file before the last rewrite, after a crash.
    unplaced: bool,
    /// Up to where the file is known to be on the disk.
    synced: u64,
    /// What the last mark says.
    marked: u64,
}

/// Entries to be appended together.
#[derive(Debug, Default)]
pub(crate) struct Entries(BytesMut);

impl Entries {
    /// Adds the entry whose payload `write` writes: a kind, which is not 0, and what belongs to it.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.0.len();
        self.0.put_bytes(0, ENTRY_HEADER);
        write(&mut self.0);
        let payload = start + ENTRY_HEADER;
        let length = (self.0.len() - payload) as u32;
        let crc = crc32c(&self.0[payload..]);
        self.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.0[start + 4..payload].copy_from_slice(&crc.to_be_bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of these entries behind a mark.
    fn behind(self, synced: u64) -> Bytes {
        let mut marked = Self::default();
        marked.push(|buffer| {
            buffer.put_u8(MARK);
            buffer.put_u64(synced);
        });
        marked.0.extend_from_slice(&self.0);
        marked.0.freeze()
    }
}

impl Journal {
    /// Opens or creates the journal at `path` and shows each entry to `replay`, which says what it
    /// cannot understand.
    pub(crate) fn open(
        disk: &Disk,
        path: &str,
        mut replay: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Self, BrokerError> {
        if !disk.exists(path) {
            let file = disk.create(path).map_err(BrokerError::storage("create", path))?;
            disk.sync_dir("").map_err(BrokerError::storage("sync the directory of", path))?;
            return Ok(Self::over(disk, path, file, 0));
        }
        let file = disk.open(path).map_err(BrokerError::storage("open", path))?;
        let found = file.len();
        let mut len = 0;
        while let Some(payload) =
            read_entry(&file, len, found).map_err(BrokerError::storage("read", path))?
        {
            let size = (ENTRY_HEADER + payload.len()) as u64;
            if mark_in(&payload).is_none() {
                replay(payload).map_err(|reason| BrokerError::Format {
                    path: path.to_owned(),
                    position: len,
                    reason,
                })?;
            }
            len += size;
        }
        if len < found {
            refuse_damage(&file, path, len, found)?;
            tracing::warn!(path, at = len, bytes = found - len, "cut the torn tail of a journal");
            file.truncate(len).map_err(BrokerError::storage("truncate", path))?;
        }
        // What the life before did not sync, or could not, may be in the memory of the machine only.
        let kept = file.rewrite(0, len).and_then(|()| file.sync());
        kept.map_err(BrokerError::storage("sync", path))?;
        Ok(Self::over(disk, path, file, len))
    }

    fn over(disk: &Disk, path: &str, file: File, len: u64) -> Self {
        let rewritten = len.max(REWRITE_FROM);
        Self {
            disk: disk.clone(),
            path: path.to_owned(),
            file,
            len,
            rewritten,
            dirty: false,
            taken: None,
            doubtful: false,
            unplaced: false,
            synced: len,
            marked: 0,
        }
    }

    /// Bytes of the file.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `entries`. After an error none of them is in the journal.
    pub(crate) fn append(&mut self, entries: Entries, fsync: Fsync) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let result = self.try_append(entries, fsync);
        if let Err(error) = &result {
            tracing::error!(path = self.path, code = %Fault::BrokerStorage, %error, "cannot append to a journal");
            // If this fails too, the next append tries again before it writes.
            let _ = self.take_back();
        }
        result
    }

    fn try_append(&mut self, entries: Entries, fsync: Fsync) -> io::Result<()> {
        self.take_back()?;
        self.place()?;
        if fsync == Fsync::Always && self.doubtful {
            self.write_again()?;
        }
        let marked = self.synced;
        let bytes = if marked > self.marked { entries.behind(marked) } else { entries.0.freeze() };
        let size = bytes.len() as u64;
        self.file.append(bytes)?;
        if fsync == Fsync::Always
            && let Err(error) = self.file.sync()
        {
            self.sync_failed();
            return Err(error);
        }
        self.marked = marked;
        self.len += size;
        self.dirty = fsync != Fsync::Always;
        if !self.dirty && !self.doubtful {
            self.synced = self.len;
        }
        Ok(())
    }

    /// Makes sure that a crash leaves the path with this file.
    fn place(&mut self) -> io::Result<()> {
        if self.unplaced {
            self.disk.sync_dir("")?;
            self.unplaced = false;
            // All of it was synced before it was named, and nothing was appended since.
            self.doubtful = false;
        }
        Ok(())
    }

    /// Writes all that is there over itself, if it can still be read: behind a place that is lost an entry is lost, too.
    fn write_again(&mut self) -> io::Result<()> {
        let mut position = 0;
        while let Some(payload) = read_entry(&self.file, position, self.len)? {
            position += (ENTRY_HEADER + payload.len()) as u64;
        }
        if position < self.len {
            let reason = format!("{}: a failed sync lost the entry at byte {position}", self.path);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.file.rewrite(0, self.len)?;
        self.file.sync()?;
        (self.doubtful, self.dirty, self.taken, self.synced) = (false, false, None, self.len);
        Ok(())
    }

    /// Replaces the content by `entries`.
    pub(crate) fn rewrite(&mut self, entries: Entries) -> io::Result<()> {
        let fresh = format!("{}.new", self.path);
        if self.disk.exists(&fresh) {
            self.disk.remove(&fresh)?;
        }
        let file = self.disk.create(&fresh)?;
        let len = entries.0.len() as u64;
        file.append(entries.0.freeze())?;
        file.sync()?;
        self.disk.rename(&fresh, &self.path)?;
        // From here on the path names the new file, whether or not the directory could be synced. Until it is, a crash may
        // bring the old one back, without what was appended since and, perhaps, without what was not synced in it.
        let (disk, path) = (&self.disk, &self.path);
        *self = Self { unplaced: true, doubtful: true, ..Self::over(disk, path, file, len) };
        self.place()
    }

    /// Replaces the content by what is current when it has grown to twice what it was.
    pub(crate) fn rewrite_if_grown(&mut self, current: impl FnOnce() -> Entries) {
        if self.len < self.rewritten.saturating_mul(2) {
            return;
        }
        if let Err(error) = self.rewrite(current()) {
            tracing::error!(path = self.path, code = %Fault::BrokerStorage, %error, "cannot rewrite a journal; it grows on");
            self.rewritten = self.len;
        }
    }

    /// The file, if there is something to be synced in it that was not taken before.
    pub(crate) fn take_dirty(&mut self) -> Option<File> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        self.taken = Some(self.len);
        Some(self.file.clone())
    }

    /// Notes that a file which was taken is synced.
    pub(crate) fn synced(&mut self) {
        // None if it is another file since, or if another sync of it has failed meanwhile.
        if let Some(taken) = self.taken.take().filter(|_| !self.doubtful) {
            self.synced = taken.max(self.synced);
        }
    }

    /// Notes that entries could not be synced.
    pub(crate) fn sync_failed(&mut self) {
        self.doubtful |= self.taken.take().is_some() || self.dirty;
    }

    /// Whether only [`Journal::rewrite`] makes sure that all entries are on the disk.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Forces everything to the disk, if it is not doubtful.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.place()?;
        self.file.sync()
    }

    fn take_back(&self) -> io::Result<()> {
        if self.file.len() > self.len { self.file.truncate(self.len) } else { Ok(()) }
    }
}

/// The entry at `position`, or `None` at the end or a torn tail.
fn read_entry(file: &File, position: u64, end: u64) -> io::Result<Option<Bytes>> {
    let header = file.read_at(position, ENTRY_HEADER)?;
    let Some((length, crc)) = stated(&header, position, end) else { return Ok(None) };
    let payload = file.read_at(position + ENTRY_HEADER as u64, length)?;
    Ok((payload.len() == length && crc32c(&payload) == crc).then_some(payload))
}

/// The length and checksum that the header of an entry at `position` states, if it can be one.
fn stated(header: &[u8], position: u64, end: u64) -> Option<(usize, u32)> {
    let value = u64::from_be_bytes(*header.first_chunk::<ENTRY_HEADER>()?);
    let (length, crc) = ((value >> 32) as usize, value as u32);
    let room = end.saturating_sub(position + ENTRY_HEADER as u64);
    // An empty entry is never written; zeros of a torn write look like one.
    ((1..=MAX_ENTRY).contains(&length) && length as u64 <= room).then_some((length, crc))
}

/// An error if what cannot be read at `position` is no torn tail.
fn refuse_damage(file: &File, path: &str, position: u64, end: u64) -> Result<(), BrokerError> {
    let behind = mark_behind(file, position, end).map_err(BrokerError::storage("read", path))?;
    behind.map_or(Ok(()), |(behind, synced)| {
        Err(BrokerError::Damaged {
            path: path.to_owned(),
            position,
            reason: format!(
                "no valid entry, although the one at byte {behind} says that all below byte {synced} was on the disk"
            ),
            remedy: REMEDY,
        })
    })
}

/// What a mark says, if this is the payload of one.
fn mark_in(payload: &[u8]) -> Option<u64> {
    let (kind, position) = <&[u8; MARK_LEN]>::try_from(payload).ok()?.split_first()?;
    (*kind == MARK).then_some(u64::from_be_bytes(position.try_into().ok()?))
}

/// Where a mark stands behind a damaged place that says that this place was on the disk, and what it says. No length can
/// be trusted, so every byte is tried.
fn mark_behind(file: &File, damaged: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    const WHOLE: usize = ENTRY_HEADER + MARK_LEN;
    let mut from = damaged + 1;
    loop {
        let chunk = file.read_at(from, SEARCH_CHUNK)?;
        for (position, whole) in (from..).zip(chunk.windows(WHOLE)) {
            let (header, payload) = whole.split_at(ENTRY_HEADER);
            let Some(synced) = mark_in(payload).filter(|it| (damaged + 1..=position).contains(it))
            else {
                continue;
            };
            if stated(header, position, end) == Some((MARK_LEN, crc32c(payload))) {
                return Ok(Some((position, synced)));
            }
        }
        if chunk.len() < SEARCH_CHUNK {
            return Ok(None);
        }
        from += (chunk.len() - WHOLE + 1) as u64;
    }
}

/// Writes a string with its length.
pub(crate) fn put_string(buffer: &mut BytesMut, value: &str) {
    buffer.put_u32(value.len() as u32);
    buffer.put_slice(value.as_bytes());
}

/// Reads what [`put_string`] wrote.
pub(crate) fn take_string(payload: &mut Bytes) -> Result<String, String> {
    use bytes::Buf;
    let length = payload.try_get_u32().map_err(|error| error.to_string())? as usize;
    if length > payload.len() {
        return Err(format!("a string of {length} bytes with {} left", payload.len()));
    }
    String::from_utf8(payload.split_to(length).into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use onrush_runtime::Random;
    use onrush_runtime::disk::MemoryDisk;

    use super::*;

    fn entries(values: &[&str]) -> Entries {
        let mut entries = Entries::default();
        for value in values {
            entries.push(|buffer| {
                buffer.put_u8(1);
                put_string(buffer, value);
            });
        }
        entries
    }

    fn reopened(disk: &Disk) -> Vec<String> {
        let mut seen = Vec::new();
        Journal::open(disk, "j", |payload| {
            seen.push(take_string(&mut payload.slice(1..))?);
            Ok(())
        })
        .expect("opens");
        seen
    }

    #[test]
    fn what_was_appended_is_replayed() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a", "b"]), Fsync::Always).expect("appends");
        journal.append(entries(&["c"]), Fsync::Never).expect("appends");
        assert_eq!(reopened(&disk), ["a", "b", "c"]);
    }

    #[test]
    fn the_tail_is_cut_at_the_first_bad_entry() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a", "b"]), Fsync::Always).expect("appends");
        let file = disk.open("j").expect("opens");
        let good = file.len();
        file.append(Bytes::from_static(&[0, 0, 0, 5, 1, 2, 3, 4, b'x'])).expect("appends");
        assert_eq!(reopened(&disk), ["a", "b"]);
        assert_eq!(disk.open("j").expect("opens").len(), good);
    }

    #[test]
    fn damage_below_what_a_mark_says_is_refused_and_left_alone() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        let mut ends = Vec::new();
        for value in ["a", "b", "c"] {
            journal.append(entries(&[value]), Fsync::Always).expect("appends");
            ends.push(journal.len);
        }
        let file = disk.open("j").expect("opens");
        let intact = file.read_at(0, 1_000).expect("read");
        let entry = ends[0] as usize;
        // In the length, the checksum and the payload of the mark before the second entry, and in that entry.
        for (at, damaged) in [
            (entry, entry),
            (entry + 3, entry),
            (entry + 5, entry),
            (entry + 9, entry),
            (ends[1] as usize - 1, entry + ENTRY_HEADER + MARK_LEN),
        ] {
            let mut flipped = BytesMut::from(&intact[..]);
            flipped[at] ^= 0x10;
            file.truncate(0).expect("cut");
            file.append(flipped.clone().freeze()).expect("appends");
            let error = Journal::open(&disk, "j", |_| Ok(())).expect_err("refused");
            let BrokerError::Damaged { path, position, .. } = &error else { panic!("{error}") };
            assert_eq!((path.as_str(), *position), ("j", damaged as u64), "{error}");
            assert_eq!(file.read_at(0, 1_000).expect("read"), flipped, "byte {at}");
        }
    }

    #[test]
    fn what_was_not_synced_may_be_torn_anywhere_and_is_cut() {
        let values: Vec<String> = (0..40).map(|at| format!("value {at}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for fsync in [Fsync::Always, Fsync::default()] {
            let disk = Disk::memory();
            let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
            journal.append(entries(&["a"]), Fsync::Always).expect("appends");
            let synced = journal.len as usize;
            // In one batch, or one by one within an interval.
            if fsync == Fsync::Always {
                journal.append(entries(&values), fsync).expect("appends");
            } else {
                values.iter().for_each(|value| {
                    journal.append(entries(&[value]), fsync).expect("appends");
                });
            }
            let file = disk.open("j").expect("opens");
            let whole = file.read_at(0, 10_000).expect("read");
            for hole in (synced..whole.len()).step_by(64) {
                let mut torn = BytesMut::from(&whole[..]);
                let end = (hole + 64).min(torn.len());
                torn[hole..end].fill(0);
                file.truncate(0).expect("cut");
                file.append(torn.freeze()).expect("appends");
                let seen = reopened(&disk);
                assert_eq!(seen[0], "a", "{fsync:?}, byte {hole}");
                assert!(values.starts_with(&seen[1..].iter().map(|it| &**it).collect::<Vec<_>>()));
                assert!(file.len() <= hole as u64, "{fsync:?}, byte {hole}");
            }
        }
    }

    #[test]
    fn what_an_interval_synced_is_marked() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a"]), Fsync::default()).expect("appends");
        journal.take_dirty().expect("dirty").sync().expect("synced");
        journal.synced();
        journal.append(entries(&["b"]), Fsync::default()).expect("appends");
        let file = disk.open("j").expect("opens");
        let mut flipped = BytesMut::from(&file.read_at(0, 1_000).expect("read")[..]);
        flipped[9] ^= 1;
        file.truncate(0).expect("cut");
        file.append(flipped.freeze()).expect("appends");
        Journal::open(&disk, "j", |_| Ok(())).expect_err("refused");
    }

    #[test]
    fn what_a_failed_sync_left_in_the_file_is_written_again_when_it_is_opened() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a", "b"]), Fsync::default()).expect("appends");
        memory.fail_syncs(1);
        journal.take_dirty().expect("dirty").sync().expect_err("failed");
        drop(journal);
        assert_eq!(reopened(&disk), ["a", "b"]);
        memory.crash(&Random::seeded(1));
        assert_eq!(reopened(&disk), ["a", "b"]);
    }

    #[test]
    fn a_failed_sync_of_one_entry_makes_those_before_doubtful() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a"]), Fsync::default()).expect("appends");
        let taken = journal.take_dirty().expect("dirty");
        memory.fail_syncs(1);
        journal.append(entries(&["b"]), Fsync::Always).expect_err("failed");
        // The error was told to the other sync.
        taken.sync().expect("synced");
        journal.synced();
        assert!(journal.is_doubtful());
        journal.rewrite(entries(&["a"])).expect("rewrites");
        assert!(!journal.is_doubtful());
        memory.crash(&Random::seeded(1));
        assert_eq!(reopened(&disk), ["a"]);
    }

    #[test]
    fn what_is_synced_at_once_is_not_left_behind_what_may_be_lost() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a"]), Fsync::default()).expect("appends");
        memory.fail_syncs(1);
        journal.take_dirty().expect("dirty").sync().expect_err("failed");
        journal.sync_failed();
        journal.append(entries(&["b"]), Fsync::Always).expect("appends");
        assert!(!journal.is_doubtful());
        memory.crash(&Random::seeded(1));
        assert_eq!(reopened(&disk), ["a", "b"]);
    }

    #[test]
    fn nothing_is_appended_to_a_file_that_a_crash_may_take_the_name_of() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a"]), Fsync::Always).expect("appends");
        // The new file can be synced, its directory cannot.
        memory.fail_syncs_after(1, 2);
        journal.rewrite(entries(&["a"])).expect_err("failed");
        journal.append(entries(&["b"]), Fsync::Always).expect_err("failed");
        journal.append(entries(&["c"]), Fsync::Always).expect("appends");
        memory.crash(&Random::seeded(1));
        assert_eq!(reopened(&disk), ["a", "c"]);
    }

    #[test]
    fn a_torn_batch_of_entries_is_cut_wherever_it_ends() {
        for (kept, zeros) in (0..60).flat_map(|kept| [(kept, 0), (kept, 7), (kept, 40)]) {
            let disk = Disk::memory();
            let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
            journal.append(entries(&["a"]), Fsync::Always).expect("appends");
            let torn = entries(&["bb", "ccc", "dddd", "eeeee"]).0.freeze();
            let mut tail = BytesMut::from(&torn[..kept]);
            tail.put_bytes(0, zeros);
            disk.open("j").expect("opens").append(tail.freeze()).expect("appends");
            let seen = reopened(&disk);
            assert!(
                ["a", "bb", "ccc", "dddd", "eeeee"]
                    .starts_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()[..]),
                "{seen:?}"
            );
            assert!(!seen.is_empty());
        }
    }

    #[test]
    fn a_rewrite_replaces_all() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a", "b"]), Fsync::Always).expect("appends");
        journal.rewrite(entries(&["z"])).expect("rewrites");
        journal.append(entries(&["y"]), Fsync::Always).expect("appends");
        assert_eq!(reopened(&disk), ["z", "y"]);
    }

    #[test]
    fn an_entry_that_is_not_understood_is_an_error_that_names_the_place() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a"]), Fsync::Always).expect("appends");
        let error = Journal::open(&disk, "j", |_| Err("kind 9".to_owned())).expect_err("refused");
        assert!(error.to_string().contains("j at byte 0: kind 9"), "{error}");
    }
}
