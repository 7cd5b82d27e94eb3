//! A small append-only file of checksummed entries, for what the broker must remember besides
//! records.
//!
//! ```text
//! entry: length u32 | CRC-32C of the payload u32 | payload
//! ```
//!
//! Entries are appended in batches, one write and one sync each. On opening, the file is read from
//! its start. An entry that is cut off or fails its checksum with nothing valid behind it is the torn
//! tail of a crash, which was never acknowledged, and is cut. With a whole entry behind it, bytes
//! changed that were on the disk: then the journal is not opened and not touched. When it has grown to twice what it was after the last
//! time, [`Journal::rewrite`] replaces it: the new file is complete and synced before it takes the
//! old one's name.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use onrush_record::crc32c;
use onrush_runtime::{Disk, Fault, File};

use crate::{BrokerError, Fsync};

const ENTRY_HEADER: usize = 8;

/// Longest entry: what a member can make us write is limited by the longest request without
/// records.
const MAX_ENTRY: usize = 2 * onrush_wire::limits::MAX_REQUEST_MESSAGE;

/// A shorter file is not rewritten.
const REWRITE_FROM: u64 = 4 * 1024 * 1024;

/// Bytes that are searched at a time for an entry behind a damaged place.
const SEARCH_CHUNK: usize = 1024 * 1024;

/// Bytes whose checksum is computed in that search at most: what looks like the length of an entry
/// may stand anywhere.
const SEARCH_BUDGET: usize = 256 * 1024 * 1024;

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
    /// Whether a sync of such entries failed: a second one says nothing about them.
    doubtful: bool,
}

/// Entries to be appended together.
#[derive(Debug, Default)]
pub(crate) struct Entries(BytesMut);

impl Entries {
    /// Adds the entry whose payload `write` writes.
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
            replay(payload).map_err(|reason| BrokerError::Format {
                path: path.to_owned(),
                position: len,
                reason,
            })?;
            len += size;
        }
        if len < found {
            refuse_damage(&file, path, len, found)?;
            tracing::warn!(path, at = len, bytes = found - len, "cut the torn tail of a journal");
            file.truncate(len).map_err(BrokerError::storage("truncate", path))?;
            file.sync().map_err(BrokerError::storage("sync", path))?;
        }
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
            doubtful: false,
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
        self.take_back()?;
        let size = entries.0.len() as u64;
        let written = self.file.append(entries.0.freeze());
        let written = written.and_then(|_| match fsync {
            Fsync::Always => self.file.sync(),
            Fsync::Interval(_) | Fsync::Never => Ok(()),
        });
        match written {
            Ok(()) => {
                self.len += size;
                self.dirty = fsync != Fsync::Always;
                Ok(())
            }
            Err(error) => {
                tracing::error!(path = self.path, code = %Fault::BrokerStorage, %error, "cannot append to a journal");
                self.doubtful |= self.dirty;
                // If this fails too, the next append tries again before it writes.
                let _ = self.take_back();
                Err(error)
            }
        }
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
        // From here on the path names the new file, whether or not the directory could be synced.
        self.file = file;
        self.len = len;
        self.rewritten = len.max(REWRITE_FROM);
        self.dirty = false;
        self.doubtful = false;
        self.disk.sync_dir("")
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
        std::mem::take(&mut self.dirty).then(|| self.file.clone())
    }

    /// Notes that a file which was taken could not be synced.
    pub(crate) fn sync_failed(&mut self) {
        self.doubtful = true;
    }

    /// Whether only [`Journal::rewrite`] makes sure that all entries are on the disk.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
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
    let behind = entry_behind(file, position, end).map_err(BrokerError::storage("read", path))?;
    behind.map_or(Ok(()), |behind| {
        Err(BrokerError::Damaged {
            path: path.to_owned(),
            position,
            reason: format!("no valid entry, but one stands behind it at byte {behind}"),
            remedy: REMEDY,
        })
    })
}

/// Where the first whole entry behind a damaged place stands. Its length cannot be trusted, so
/// every byte is tried.
fn entry_behind(file: &File, damaged: u64, end: u64) -> io::Result<Option<u64>> {
    let mut budget = SEARCH_BUDGET;
    let mut from = damaged + 1;
    loop {
        let chunk = file.read_at(from, SEARCH_CHUNK)?;
        if chunk.len() < ENTRY_HEADER {
            return Ok(None);
        }
        for (position, header) in (from..).zip(chunk.windows(ENTRY_HEADER)) {
            let Some((length, _)) = stated(header, position, end) else { continue };
            if read_entry(file, position, end)?.is_some() {
                return Ok(Some(position));
            }
            let Some(left) = budget.checked_sub(length) else { return Ok(None) };
            budget = left;
        }
        from += (chunk.len() - ENTRY_HEADER + 1) as u64;
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
    use super::*;

    fn entries(values: &[&str]) -> Entries {
        let mut entries = Entries::default();
        values.iter().for_each(|value| entries.push(|buffer| put_string(buffer, value)));
        entries
    }

    fn reopened(disk: &Disk) -> Vec<String> {
        let mut seen = Vec::new();
        Journal::open(disk, "j", |mut payload| {
            seen.push(take_string(&mut payload)?);
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
    fn damage_with_a_whole_entry_behind_it_is_refused_and_left_alone() {
        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, "j", |_| Ok(())).expect("opens");
        journal.append(entries(&["a", "b", "c"]), Fsync::Always).expect("appends");
        let file = disk.open("j").expect("opens");
        let intact = file.read_at(0, 1_000).expect("read");
        let entry = intact.len() / 3;
        // In the length, the checksum and the payload of the second entry.
        for at in [entry, entry + 3, entry + 5, 2 * entry - 1] {
            let mut flipped = BytesMut::from(&intact[..]);
            flipped[at] ^= 0x10;
            file.truncate(0).expect("cut");
            file.append(flipped.clone().freeze()).expect("appends");
            let error = Journal::open(&disk, "j", |_| Ok(())).expect_err("refused");
            let BrokerError::Damaged { path, position, .. } = &error else { panic!("{error}") };
            assert_eq!((path.as_str(), *position), ("j", entry as u64), "{error}");
            assert_eq!(file.read_at(0, 1_000).expect("read"), flipped, "byte {at}");
        }
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
