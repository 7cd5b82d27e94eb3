//! The files of a data directory, as parts of an input: path, NUL, content.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use onrush_record::header::set_producer;
use onrush_record::{batches, crc32c};
use onrush_runtime::Disk;

use super::log_files::{CHECKPOINT, INDEX, SEGMENT};

/// Files by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directory(BTreeMap<String, Vec<u8>>);

impl Directory {
    /// All files on a disk.
    pub(super) fn of(disk: &Disk) -> Self {
        let mut directory = Self::default();
        directory.add_below(disk, "");
        directory
    }

    fn add_below(&mut self, disk: &Disk, dir: &str) {
        for name in disk.list(dir).unwrap_or_default() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            match disk.open(&path) {
                Ok(file) => {
                    let content = file.read_at(0, file.len() as usize).expect("memory is read");
                    self.add(path, content.to_vec());
                }
                Err(_) => self.add_below(disk, &path),
            }
        }
    }

    pub(super) fn add(&mut self, path: String, content: Vec<u8>) {
        self.0.insert(path, content);
    }

    /// The files that parts of an input describe; what is no file is left out.
    pub(super) fn from_parts(parts: &[&[u8]]) -> Self {
        let file = |part: &&[u8]| {
            let end = part.iter().position(|byte| *byte == 0)?;
            let path = std::str::from_utf8(&part[..end]).ok()?;
            Some((path.to_owned(), part[end + 1..].to_vec()))
        };
        Self(parts.iter().filter_map(file).collect())
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(|(path, content)| [path.as_bytes(), &[0], content].concat())
    }

    /// A disk with these files, all of them synced.
    pub(super) fn disk(&self) -> Disk {
        let disk = Disk::memory();
        for (path, content) in &self.0 {
            // A changed path may be one that no disk takes.
            let _ = write(&disk, path, content);
        }
        disk
    }

    pub(super) fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// The files in a directory, by name.
    pub(super) fn files_in(&self, dir: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(move |(path, content)| {
            let name = path.strip_prefix(dir)?.strip_prefix('/')?;
            (!name.contains('/')).then_some((name, content.as_slice()))
        })
    }

    /// Paths of the files and names of the directories.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let dirs = self.0.keys().filter_map(|path| Some(path.rsplit_once('/')?.0));
        self.0.keys().map(String::as_str).chain(dirs).collect()
    }

    /// Gives everything the checksum of its bytes.
    pub(super) fn put_right(&mut self) {
        for (path, content) in &mut self.0 {
            if path.ends_with(SEGMENT) {
                put_all_right(content, put_batch_right);
            } else if path.ends_with(INDEX) || path.ends_with(CHECKPOINT) {
                put_snapshot_right(content);
            } else {
                put_all_right(content, put_entry_right);
            }
        }
    }
}

fn write(disk: &Disk, path: &str, content: &[u8]) -> io::Result<()> {
    if let Some((dir, _)) = path.rsplit_once('/') {
        disk.create_dir(dir)?;
        disk.sync_dir("")?;
    }
    let file = disk.create(path)?;
    file.append(Bytes::copy_from_slice(content))?;
    file.sync()
}

/// As far as there are whole ones.
fn put_all_right(mut rest: &mut [u8], one: impl Fn(&mut [u8]) -> Option<usize>) {
    while let Some(length) = one(rest) {
        rest = &mut rest[length..];
    }
}

/// The first batch of a segment; its length.
fn put_batch_right(segment: &mut [u8]) -> Option<usize> {
    let (header, length) = match batches(segment).next()? {
        Ok(batch) => (batch.header, batch.bytes.len()),
        Err(_) => return None,
    };
    let batch = &mut segment[..length];
    set_producer(batch, header.producer_id, header.producer_epoch, header.base_sequence);
    Some(length)
}

/// The first entry of a journal; its length.
fn put_entry_right(journal: &mut [u8]) -> Option<usize> {
    const HEADER: usize = 8;
    let length = u32::from_be_bytes(*journal.first_chunk()?) as usize;
    let crc = crc32c(journal.get(HEADER..)?.get(..length)?);
    journal[4..HEADER].copy_from_slice(&crc.to_be_bytes());
    Some(HEADER + length)
}

fn put_snapshot_right(file: &mut [u8]) {
    if let Some((crc, rest)) = file.split_first_chunk_mut::<4>() {
        *crc = crc32c(rest).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back() {
        let disk = Disk::memory();
        for (path, content) in [("a", "1"), ("t-0/b", ""), ("t-0/c", "\0\0")] {
            write(&disk, path, content.as_bytes()).unwrap();
        }
        let directory = Directory::of(&disk);
        let parts: Vec<Vec<u8>> = directory.parts().collect();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(Directory::from_parts(&parts), directory);
        assert_eq!(Directory::of(&directory.disk()), directory);
        assert_eq!(
            directory.names().into_iter().collect::<Vec<_>>(),
            ["a", "t-0", "t-0/b", "t-0/c"]
        );
        let in_dir: Vec<_> = directory.files_in("t-0").collect();
        assert_eq!(in_dir, [("b", &b""[..]), ("c", b"\0\0")]);
    }
}
