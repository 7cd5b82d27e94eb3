//! Files of the machine of which the end of the process takes what a power cut would take.
//!
//! The operating system keeps what a killed process wrote, synced or not. Here appended bytes stay in the process's
//! memory until their file is synced, and names until their directory is; only then they reach the machine. Once between
//! two syncs a part of the unsynced bytes may do so before, cut anywhere, as when the system writes on its own account:
//! that is how torn tails come about.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::files::{FileDisk, FileLock, RealFile};
use crate::Random;

/// Ends the name of a file that is being put in place.
const STAGED: &str = ".staged";

/// One of so many appends, but only one between two syncs, takes a part of what is unsynced to the machine.
const LEAK: u64 = 8;

/// A directory of the machine that forgets; clones share it.
#[derive(Clone, Debug)]
pub struct VolatileDisk {
    machine: FileDisk,
    random: Random,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    dirs: BTreeSet<String>,
    current: BTreeMap<String, Shared>,
    /// Those on the machine.
    durable: BTreeMap<String, Shared>,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Content {
    /// None before a directory with its name was synced.
    machine: Option<RealFile>,
    /// Bytes that are on the machine.
    written: u64,
    /// By position; contiguous from `written` on.
    pieces: BTreeMap<u64, Bytes>,
    len: u64,
    /// Bytes that are to be on the machine as soon as a name is.
    synced: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VolatileDisk {
    pub(super) fn open(machine: FileDisk, random: Random) -> io::Result<Self> {
        let mut names = Names::default();
        load(&machine, "", &mut names)?;
        names.durable = names.current.clone();
        Ok(Self { machine, random, names: Arc::new(Mutex::new(names)) })
    }

    /// The directory of the machine.
    pub(super) fn machine(&self) -> &FileDisk {
        &self.machine
    }

    pub(super) fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.machine.create_dir(dir)?;
        let above = dir.match_indices('/').map(|(end, _)| dir[..end].to_owned());
        locked(&self.names).dirs.extend(above.chain([dir.to_owned()]));
        Ok(())
    }

    pub(super) fn create(&self, path: &str) -> io::Result<VolatileFile> {
        let mut names = locked(&self.names);
        if names.current.contains_key(path) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, path.to_owned()));
        }
        let content = Shared::default();
        names.current.insert(path.to_owned(), content.clone());
        Ok(self.file(content))
    }

    pub(super) fn open_file(&self, path: &str) -> io::Result<VolatileFile> {
        let content = locked(&self.names).current.get(path).cloned();
        content.map(|content| self.file(content)).ok_or_else(|| not_found(path))
    }

    fn file(&self, content: Shared) -> VolatileFile {
        VolatileFile { content, random: self.random.clone() }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        let content = names.current.remove(from).ok_or_else(|| not_found(from))?;
        names.current.insert(to.to_owned(), content);
        Ok(())
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        locked(&self.names).current.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    pub(super) fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        if !names.dirs.remove(dir) {
            return Err(not_found(dir));
        }
        let inside = format!("{dir}/");
        names.dirs.retain(|name| !name.starts_with(&inside));
        names.current.retain(|name, _| !name.starts_with(&inside));
        names.durable.retain(|name, _| !name.starts_with(&inside));
        self.machine.remove_dir(dir)
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let names = locked(&self.names);
        if !dir.is_empty() && !names.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let all = names.current.keys().chain(&names.dirs);
        let sorted: BTreeSet<&str> = all.filter_map(|name| directly_in(dir, name)).collect();
        Ok(sorted.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        let names = locked(&self.names);
        names.current.contains_key(path) || names.dirs.contains(path)
    }

    /// Puts the names in a directory on the machine, each at once or not at all.
    pub(super) fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut names = locked(&self.names);
        let Names { current, durable, .. } = &mut *names;
        for (name, content) in current.iter().filter(|(name, _)| directly_in(dir, name).is_some()) {
            if durable.get(name).is_some_and(|before| Arc::ptr_eq(before, content)) {
                continue;
            }
            let before = durable.iter().find(|(_, other)| Arc::ptr_eq(other, content));
            match before.map(|(before, _)| before.clone()) {
                Some(before) => {
                    self.machine.rename(&before, name)?;
                    durable.remove(&before);
                }
                None => locked(content).put_in_place(&self.machine, name)?,
            }
            durable.insert(name.clone(), content.clone());
        }
        let gone = durable.extract_if(.., |name, _| {
            directly_in(dir, name).is_some() && !current.contains_key(name)
        });
        for (name, _) in gone {
            self.machine.remove(&name)?;
        }
        self.machine.sync_dir(dir)
    }

    pub(super) fn lock(&self, path: &str) -> io::Result<FileLock> {
        self.machine.lock(path)
    }
}

/// Notes what is on the machine.
fn load(machine: &FileDisk, dir: &str, names: &mut Names) -> io::Result<()> {
    for name in machine.list(dir)? {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        if machine.is_dir(&path) {
            load(machine, &path, names)?;
            names.dirs.insert(path);
        } else if path.ends_with(STAGED) {
            machine.remove(&path)?;
        } else {
            let file = machine.open_file(&path)?;
            let len = file.len();
            let content = Content {
                machine: Some(file),
                written: len,
                len,
                synced: len,
                ..Content::default()
            };
            names.current.insert(path, Arc::new(Mutex::new(content)));
        }
    }
    Ok(())
}

fn directly_in<'a>(dir: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(dir)?;
    let rest = if dir.is_empty() { rest } else { rest.strip_prefix('/')? };
    (!rest.is_empty() && !rest.contains('/')).then_some(rest)
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{path}: no such file or directory"))
}

impl Content {
    fn put_in_place(&mut self, machine: &FileDisk, name: &str) -> io::Result<()> {
        let staged = format!("{name}{STAGED}");
        if machine.exists(&staged) {
            machine.remove(&staged)?;
        }
        self.machine = Some(machine.create(&staged)?);
        self.write(self.synced)?;
        machine.rename(&staged, name)
    }

    /// Takes bytes up to `end` to the machine.
    fn write(&mut self, end: u64) -> io::Result<()> {
        let Some(file) = &self.machine else { return Ok(()) };
        while self.written < end {
            let Some((start, mut piece)) = self.pieces.pop_first() else { break };
            let room = usize::try_from(end - self.written).unwrap_or(usize::MAX);
            let rest = piece.split_off(room.min(piece.len()));
            let size = piece.len() as u64;
            let written = file.append(&piece);
            match &written {
                Ok(_) => self.written += size,
                Err(_) => drop(self.pieces.insert(self.written, piece)),
            }
            if !rest.is_empty() {
                self.pieces.insert(start + size, rest);
            }
            written?;
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if let Some(file) = self.machine.as_ref().filter(|_| self.written > len) {
            file.truncate(len)?;
        }
        drop(self.pieces.split_off(&len));
        if let Some(mut last) = self.pieces.last_entry() {
            let keep = usize::try_from(len - last.key()).unwrap_or(usize::MAX);
            last.get_mut().truncate(keep);
        }
        self.written = self.written.min(len);
        self.len = self.len.min(len);
        self.synced = self.synced.min(len);
        Ok(())
    }

    fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let end = self.len.min(position.saturating_add(len as u64));
        let want = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::with_capacity(want);
        if position < self.written
            && let Some(file) = &self.machine
        {
            let there = usize::try_from(self.written - position).unwrap_or(usize::MAX);
            bytes.extend_from_slice(&file.read_at(position, want.min(there))?);
        }
        for (start, piece) in self.pieces.range(..end) {
            let at = position + bytes.len() as u64;
            let skip = usize::try_from(at.saturating_sub(*start)).unwrap_or(usize::MAX);
            let rest = piece.get(skip..).unwrap_or_default();
            bytes.extend_from_slice(&rest[..rest.len().min(want - bytes.len())]);
        }
        Ok(bytes.freeze())
    }
}

/// An open file of a [`VolatileDisk`].
#[derive(Clone, Debug)]
pub struct VolatileFile {
    content: Shared,
    random: Random,
}

impl VolatileFile {
    pub(super) fn append(&self, bytes: Bytes) -> io::Result<u64> {
        let mut content = locked(&self.content);
        let position = content.len;
        if !bytes.is_empty() {
            content.len += bytes.len() as u64;
            content.pieces.insert(position, bytes);
        }
        // Once between two syncs: more would leave a disk that is never synced nearly whole.
        let has_leaked = content.written > content.synced;
        if !has_leaked && self.random.chance(1, LEAK) {
            let unwritten = content.len - content.written;
            let end = content.written + self.random.below(unwritten + 1);
            // Nobody asked for it; if it fails, the next sync says so.
            let _ = content.write(end);
        }
        Ok(position)
    }

    pub(super) fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        locked(&self.content).read(position, len)
    }

    pub(super) fn truncate(&self, len: u64) -> io::Result<()> {
        locked(&self.content).truncate(len)
    }

    pub(super) fn len(&self) -> u64 {
        locked(&self.content).len
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let file = {
            let mut content = locked(&self.content);
            content.synced = content.len;
            let end = content.len;
            content.write(end)?;
            content.machine.clone()
        };
        // Not under the lock: it takes long, as on any disk.
        file.map_or(Ok(()), |file| file.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn text(disk: &Disk, path: &str) -> Option<String> {
        let file = disk.open(path).ok()?;
        Some(String::from_utf8(file.read_at(0, 1_000).unwrap().to_vec()).unwrap())
    }

    #[test]
    fn only_what_was_synced_is_there_for_the_next_process() {
        let (mut torn, mut lost) = (0, 0);
        for _ in 0..200 {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::volatile(dir.path()).unwrap();
            disk.create_dir("t-0").unwrap();
            let file = disk.create("t-0/a").unwrap();
            file.append(bytes("syn")).unwrap();
            file.append(bytes("ced")).unwrap();
            file.sync().unwrap();
            disk.sync_dir("t-0").unwrap();
            file.append(bytes(" and not ")).unwrap();
            file.append(bytes("synced")).unwrap();
            assert_eq!(text(&disk, "t-0/a").unwrap(), "synced and not synced");
            let unnamed = disk.create("t-0/b").unwrap();
            unnamed.append(bytes("x")).unwrap();
            unnamed.sync().unwrap();

            let next = Disk::volatile(dir.path()).unwrap();
            assert_eq!(next.list("t-0").unwrap(), ["a"]);
            let found = text(&next, "t-0/a").unwrap();
            assert!("synced and not synced".starts_with(&found) && found.len() >= 6, "{found}");
            torn += u32::from((7..21).contains(&found.len()));
            lost += u32::from(found.len() == 6);
        }
        assert!(torn > 0 && lost > 0, "{torn} torn, {lost} lost");
    }

    #[test]
    fn a_file_takes_the_place_of_another_with_its_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::volatile(dir.path()).unwrap();
        let put = |name: &str, content: &str| {
            let file = disk.create(name).unwrap();
            file.append(bytes(content)).unwrap();
            file.sync().unwrap();
        };
        put("j", "old");
        disk.sync_dir("").unwrap();
        put("j.new", "fresh");
        disk.rename("j.new", "j").unwrap();
        assert_eq!(text(&disk, "j").unwrap(), "fresh");
        assert_eq!(text(&Disk::volatile(dir.path()).unwrap(), "j").unwrap(), "old");
        disk.sync_dir("").unwrap();
        let next = Disk::volatile(dir.path()).unwrap();
        assert_eq!((text(&next, "j").unwrap().as_str(), next.exists("j.new")), ("fresh", false));
        disk.rename("j", "k").unwrap();
        disk.sync_dir("").unwrap();
        disk.remove("k").unwrap();
        assert_eq!(text(&Disk::volatile(dir.path()).unwrap(), "k").unwrap(), "fresh");
        disk.sync_dir("").unwrap();
        assert_eq!(Disk::volatile(dir.path()).unwrap().list("").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_in_memory_can_be_cut_and_read_across_the_border() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::volatile(dir.path()).unwrap();
        let file = disk.create("f").unwrap();
        disk.sync_dir("").unwrap();
        file.append(bytes("0123")).unwrap();
        file.sync().unwrap();
        for piece in ["45", "67", "89"] {
            file.append(bytes(piece)).unwrap();
        }
        file.truncate(7).unwrap();
        assert_eq!(file.append(bytes("x")).unwrap(), 7);
        for from in 0..8 {
            for len in 0..10 {
                let end = (from + len).min(8);
                let expected = &b"0123456x"[from..end];
                assert_eq!(&file.read_at(from as u64, len).unwrap()[..], expected);
            }
        }
        file.truncate(2).unwrap();
        file.append(bytes("y")).unwrap();
        file.sync().unwrap();
        assert_eq!(text(&Disk::volatile(dir.path()).unwrap(), "f").unwrap(), "01y");
    }
}
