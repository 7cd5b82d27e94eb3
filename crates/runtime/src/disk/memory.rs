//! A disk in memory that forgets, when it is crashed, what was not synced.
//!
//! A file is a list of the byte strings that were appended, so an append copies nothing and a read inside of one string
//! is a slice of it. `crash` moves the disk to its next life: handles and locks of the earlier life fail from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::{Random, Trace};

/// A disk in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    life: u64,
    capacity: Option<u64>,
    /// Syncs that go well before those that fail.
    spared_syncs: u32,
    sync_failures: u32,
    dirs: BTreeSet<String>,
    names: BTreeMap<String, u64>,
    /// What `names` will be after a crash.
    durable_names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    locks: BTreeSet<String>,
    trace: Trace,
}

#[derive(Debug, Default)]
struct Content {
    /// By position; contiguous.
    pieces: BTreeMap<u64, Bytes>,
    len: u64,
    synced: u64,
    /// From where to where bytes are taken for written although a sync of them failed.
    forsaken: Option<(u64, u64)>,
}

impl MemoryDisk {
    /// An empty disk whose operations are lines of `trace`.
    pub fn traced(trace: Trace) -> Self {
        let disk = Self::default();
        disk.state().trace = trace;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on an append that would hold more than `bytes` in all fails with `StorageFull`.
    pub fn limit(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The next `count` syncs fail, as the operating system's do: a later sync says nothing about the bytes, which a
    /// crash takes unless they were cut or written again.
    pub fn fail_syncs(&self, count: u32) {
        self.fail_syncs_after(0, count);
    }

    /// Of the next syncs, `spared` go well and then `count` fail.
    pub fn fail_syncs_after(&self, spared: u32, count: u32) {
        let mut state = self.state();
        (state.spared_syncs, state.sync_failures) = (spared, count);
    }

    /// Bytes held in all files.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Loses power: unsynced names are gone, and of unsynced bytes only a drawn prefix is left, a part of which may
    /// read as zeros (blocks that were allocated but not written, in whatever order). Returns how many bytes were lost.
    pub fn crash(&self, random: &Random) -> u64 {
        let mut state = self.state();
        let state = &mut *state;
        state.life += 1;
        state.locks.clear();
        state.names = state.durable_names.clone();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        let mut lost = 0;
        state.files.retain(|id, content| {
            lost += if named.contains(id) { content.tear(random) } else { content.len };
            named.contains(id)
        });
        let life = state.life;
        state.trace.line(|| format!("disk crash life {life} lost {lost}"));
        lost
    }

    pub(super) fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        let mut end = 0;
        while let Some(next) = dir[end..].find('/') {
            state.dirs.insert(dir[..end + next].to_owned());
            end += next + 1;
        }
        state.dirs.insert(dir.to_owned());
        Ok(())
    }

    pub(super) fn create(&self, path: &str) -> io::Result<MemoryFile> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, path.to_owned()));
        }
        let id = state.next_file;
        state.next_file += 1;
        state.names.insert(path.to_owned(), id);
        state.files.insert(id, Content::default());
        state.trace.line(|| format!("disk create {path}"));
        Ok(MemoryFile { disk: self.clone(), life: state.life, id })
    }

    pub(super) fn open_file(&self, path: &str) -> io::Result<MemoryFile> {
        let state = self.state();
        let id = state.names.get(path).copied().ok_or_else(|| not_found(path))?;
        Ok(MemoryFile { disk: self.clone(), life: state.life, id })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.remove(from).ok_or_else(|| not_found(from))?;
        if let Some(replaced) = state.names.insert(to.to_owned(), id) {
            state.forget(replaced);
        }
        state.trace.line(|| format!("disk rename {from} {to}"));
        Ok(())
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.remove(path).ok_or_else(|| not_found(path))?;
        state.forget(id);
        state.trace.line(|| format!("disk remove {path}"));
        Ok(())
    }

    pub(super) fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.dirs.remove(dir) {
            return Err(not_found(dir));
        }
        let inside = format!("{dir}/");
        state.dirs.retain(|name| !name.starts_with(&inside));
        state.durable_names.retain(|name, _| !name.starts_with(&inside));
        let gone: Vec<u64> = state
            .names
            .extract_if(.., |name, _| name.starts_with(&inside))
            .map(|(_, id)| id)
            .collect();
        for id in gone {
            state.forget(id);
        }
        state.trace.line(|| format!("disk remove {dir}/"));
        Ok(())
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        if !dir.is_empty() && !state.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let inside = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let names = state.names.keys().chain(&state.dirs).filter_map(|name| {
            let rest = name.strip_prefix(&inside)?;
            (!rest.is_empty() && !rest.contains('/')).then(|| rest.to_owned())
        });
        let sorted: BTreeSet<String> = names.collect();
        Ok(sorted.into_iter().collect())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        let state = self.state();
        state.names.contains_key(path) || state.dirs.contains(path)
    }

    pub(super) fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.sync_allowed()?;
        let inside = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let directly =
            |name: &str| name.strip_prefix(&inside).is_some_and(|rest| !rest.contains('/'));
        let now: Vec<_> = state
            .names
            .iter()
            .filter(|(name, _)| directly(name))
            .map(|(n, id)| (n.clone(), *id))
            .collect();
        let before = state.durable_names.extract_if(.., |name, _| directly(name));
        let before: Vec<u64> = before.map(|(_, id)| id).collect();
        state.durable_names.extend(now);
        for id in before {
            state.forget(id);
        }
        Ok(())
    }

    pub(super) fn lock(&self, path: &str) -> io::Result<MemoryLock> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(MemoryLock { disk: self.clone(), life: state.life, path: path.to_owned() })
    }
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{path}: no such file or directory"))
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|content| content.len).sum()
    }

    /// Drops a file's content once no name, now or after a crash, leads to it.
    fn forget(&mut self, id: u64) {
        let named =
            self.names.values().chain(self.durable_names.values()).any(|named| *named == id);
        if !named {
            self.files.remove(&id);
        }
    }

    fn sync_allowed(&mut self) -> io::Result<()> {
        match (self.sync_failures, self.spared_syncs) {
            (0, _) => Ok(()),
            (_, 1..) => {
                self.spared_syncs -= 1;
                Ok(())
            }
            _ => {
                self.sync_failures -= 1;
                Err(io::Error::other("sync failed (injected)"))
            }
        }
    }
}

impl Content {
    fn truncate(&mut self, len: u64) {
        drop(self.pieces.split_off(&len));
        if let Some(mut last) = self.pieces.last_entry() {
            let keep = usize::try_from(len - last.key()).unwrap_or(usize::MAX);
            last.get_mut().truncate(keep);
        }
        self.len = self.len.min(len);
        // A cut is taken as durable at once: what a crash brings back of a cut tail is the log's own, checksummed bytes.
        self.synced = self.synced.min(len);
        self.forsaken =
            self.forsaken.map(|(from, to)| (from, to.min(len))).filter(|(from, to)| from < to);
    }

    fn rewrite(&mut self, from: u64, to: u64) {
        self.forsaken = self.forsaken.filter(|(start, end)| *start < from || *end > to);
    }

    fn tear(&mut self, random: &Random) -> u64 {
        let before = self.len;
        if let Some((from, _)) = self.forsaken {
            self.truncate(from);
        }
        let unsynced = self.len - self.synced;
        let keep = if random.chance(1, 2) { 0 } else { random.below(unsynced + 1) };
        let kept = self.synced + keep;
        self.truncate(kept);
        let from = self.synced + random.below(keep + 1);
        let to = match random.chance(1, 2) {
            true => kept,
            false => from + random.below(kept - from + 1),
        };
        let zeros = if random.chance(1, 4) { to - from } else { 0 };
        if zeros > 0 {
            let rest = self.read(to, (kept - to) as usize);
            self.truncate(from);
            for piece in [BytesMut::zeroed(zeros as usize).freeze(), rest] {
                let len = piece.len() as u64;
                if len > 0 {
                    self.pieces.insert(self.len, piece);
                    self.len += len;
                }
            }
        }
        self.synced = self.len;
        before - kept + zeros
    }

    fn read(&self, position: u64, len: usize) -> Bytes {
        let end = self.len.min(position.saturating_add(len as u64));
        let Some((start, first)) =
            self.pieces.range(..=position).next_back().filter(|_| position < end)
        else {
            return Bytes::new();
        };
        let from = (position - start) as usize;
        let want = (end - position) as usize;
        if first.len() - from >= want {
            return first.slice(from..from + want);
        }
        let mut bytes = BytesMut::with_capacity(want);
        bytes.extend_from_slice(&first[from..]);
        for piece in self.pieces.range(position + 1..end).map(|(_, piece)| piece) {
            let left = want - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(left)]);
        }
        bytes.freeze()
    }
}

/// A lock of a [`MemoryDisk`].
#[derive(Debug)]
pub(super) struct MemoryLock {
    disk: MemoryDisk,
    life: u64,
    path: String,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    life: u64,
    id: u64,
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the disk has crashed since this file was opened"));
        }
        if !state.files.contains_key(&self.id) {
            return Err(not_found("removed file"));
        }
        act(&mut state, self.id)
    }

    pub(super) fn append(&self, bytes: Bytes) -> io::Result<u64> {
        self.with(|state, id| {
            if let Some(capacity) = state.capacity
                && state.used() + bytes.len() as u64 > capacity
            {
                return Err(io::Error::new(ErrorKind::StorageFull, "no space left (memory limit)"));
            }
            let Some(content) = state.files.get_mut(&id) else { return Err(not_found("file")) };
            let (position, len) = (content.len, bytes.len());
            if len > 0 {
                content.pieces.insert(position, bytes);
                content.len += len as u64;
            }
            state.trace.line(|| format!("disk append {id} {position}+{len}"));
            Ok(position)
        })
    }

    pub(super) fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.with(|state, id| {
            Ok(state.files.get(&id).map_or_else(Bytes::new, |c| c.read(position, len)))
        })
    }

    pub(super) fn truncate(&self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            if let Some(content) = state.files.get_mut(&id) {
                content.truncate(len);
            }
            state.trace.line(|| format!("disk truncate {id} {len}"));
            Ok(())
        })
    }

    pub(super) fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        self.with(|state, id| {
            if let Some(content) = state.files.get_mut(&id) {
                content.rewrite(from, to);
            }
            Ok(())
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.disk.state().files.get(&self.id).map_or(0, |content| content.len)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            if let Err(error) = state.sync_allowed() {
                if let Some(content) =
                    state.files.get_mut(&id).filter(|content| content.synced < content.len)
                {
                    let from = content.forsaken.map_or(content.synced, |(from, _)| from);
                    content.forsaken = Some((from, content.len));
                }
                return Err(error);
            }
            if let Some(content) = state.files.get_mut(&id) {
                content.synced = content.len;
                let len = content.len;
                state.trace.line(|| format!("disk sync {id} {len}"));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn the_same_on(disk: &Disk) {
        disk.create_dir("t-0").unwrap();
        let file = disk.create("t-0/a").unwrap();
        assert_eq!(disk.create("t-0/a").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(file.append(bytes("hello ")).unwrap(), 0);
        assert_eq!(file.append(bytes("world")).unwrap(), 6);
        assert_eq!(&file.read_at(4, 100).unwrap()[..], b"o world");
        assert_eq!(&file.read_at(1, 3).unwrap()[..], b"ell");
        assert!(file.read_at(11, 4).unwrap().is_empty());
        file.truncate(8).unwrap();
        assert_eq!(file.append(bytes("!")).unwrap(), 8);
        assert_eq!(&file.read_at(0, 100).unwrap()[..], b"hello wo!");
        disk.rename("t-0/a", "t-0/b").unwrap();
        file.sync().unwrap();
        disk.sync_dir("t-0").unwrap();
        assert_eq!(disk.list("t-0").unwrap(), ["b"]);
        assert_eq!(disk.open("t-0/b").unwrap().len(), 9);
        assert_eq!(disk.open("t-0/a").unwrap_err().kind(), ErrorKind::NotFound);
        let lock = disk.lock("lock").unwrap();
        assert_eq!(disk.lock("lock").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock);
        disk.lock("lock").unwrap();
        disk.remove("t-0/b").unwrap();
        disk.remove_dir("t-0").unwrap();
        assert!(!disk.exists("t-0"));
    }

    #[test]
    fn all_disks_do_the_same() {
        the_same_on(&Disk::memory());
        let dir = tempfile::tempdir().unwrap();
        the_same_on(&Disk::files(dir.path()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        the_same_on(&Disk::volatile(dir.path()).unwrap());
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_at_most_what_was_written() {
        let mut torn_inside = 0;
        for seed in 0..200 {
            let random = Random::seeded(seed);
            let memory = MemoryDisk::default();
            let disk = Disk::Memory(memory.clone());
            let file = disk.create("f").unwrap();
            file.append(bytes("synced")).unwrap();
            file.sync().unwrap();
            disk.sync_dir("").unwrap();
            file.append(bytes("unsynced")).unwrap();
            disk.create("unnamed").unwrap().append(bytes("x")).unwrap();
            let lost = memory.crash(&random);
            assert!(lost >= 1);
            assert!(file.append(bytes("x")).is_err(), "a handle of the earlier life must fail");
            let after = disk.open("f").unwrap().read_at(0, 100).unwrap();
            assert!(after.starts_with(b"synced") && after.len() <= 14);
            assert!(!disk.exists("unnamed"));
            let hole = after.iter().position(|byte| *byte == 0);
            torn_inside += u32::from(hole.is_some() && !after.ends_with(&[0]));
        }
        assert!(torn_inside > 3, "{torn_inside}");
    }

    #[test]
    fn a_sync_after_a_failed_one_says_nothing_of_its_bytes() {
        for rewritten in [false, true] {
            let memory = MemoryDisk::default();
            let disk = Disk::Memory(memory.clone());
            let file = disk.create("f").unwrap();
            disk.sync_dir("").unwrap();
            file.append(bytes("synced")).unwrap();
            file.sync().unwrap();
            file.append(bytes("not")).unwrap();
            memory.fail_syncs(1);
            file.sync().unwrap_err();
            if rewritten {
                file.rewrite(6, 9).unwrap();
            }
            file.sync().unwrap();
            memory.crash(&Random::seeded(1));
            assert_eq!(disk.open("f").unwrap().len(), if rewritten { 9 } else { 6 });
        }
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let memory = MemoryDisk::default();
        let file = Disk::Memory(memory.clone()).create("f").unwrap();
        memory.limit(Some(4));
        assert_eq!(file.append(bytes("12345")).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.len(), 0);
        memory.limit(None);
        file.append(bytes("12345")).unwrap();
    }
}
