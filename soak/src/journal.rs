//! What a member did, call by call, in a file that outlives it however it ends.
//!
//! Entries of 40 bytes (little-endian), each written by one append, which is one system call and so whole and in the order
//! of the calls: `kind u8 | 3 zeros | partition i32 | offset i64 | number u64 | key u32 | epoch i32 | micros u64`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

const ENTRY_BYTES: usize = 40;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A handler was told that it gets events of the partition.
    Assigned = 1,
    /// A handler was called.
    Started,
    /// It returned.
    Done,
    /// It failed or panicked.
    Failed,
    /// A handler was told that the partition has gone.
    Revoked,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Assigned, Self::Started, Self::Done, Self::Failed, Self::Revoked];
}

/// See the module. Of `Assigned` and `Revoked`, offset, number and key mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) number: u64,
    pub(crate) key: u32,
    pub(crate) epoch: i32,
    pub(crate) micros: u64,
}

impl Entry {
    fn bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.partition.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.key.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.micros.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let kind = *Kind::ALL.get(usize::from(*bytes.first()?).checked_sub(1)?)?;
        let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        let eight = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
        Some(Self {
            kind,
            partition: i32::from_le_bytes(four(4)?),
            offset: i64::from_le_bytes(eight(8)?),
            number: u64::from_le_bytes(eight(16)?),
            key: u32::from_le_bytes(four(24)?),
            epoch: i32::from_le_bytes(four(28)?),
            micros: u64::from_le_bytes(eight(32)?),
        })
    }
}

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// Writes an entry. A member that cannot must not go on: what it did would be lost in the verdict.
    pub(crate) fn note(&self, entry: Entry) {
        if let Err(error) = (&self.0).write_all(&entry.bytes()) {
            eprintln!("error: the journal cannot be written: {error}");
            std::process::abort();
        }
    }
}

/// All entries of a file. One that was cut off by a kill is none.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.chunks_exact(ENTRY_BYTES).filter_map(Entry::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_but_for_one_that_was_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let entry = |kind, number| Entry {
            kind,
            partition: 3,
            offset: -1,
            number,
            key: 9,
            epoch: 4,
            micros: 1 << 50,
        };
        let journal = Journal::create(&path).expect("it opens");
        let entries = Kind::ALL.map(|kind| entry(kind, kind as u64));
        entries.iter().for_each(|entry| journal.note(*entry));
        assert_eq!(read(&path).expect("it reads"), entries);
        let bytes = std::fs::read(&path).expect("it reads");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("it writes");
        assert_eq!(read(&path).expect("it reads"), entries[..4]);
    }
}
