//! The data directory of a process.
//!
//! Paths are relative to its root, with `/` between parts. Every operation blocks and every operation may fail. What a
//! crash keeps: bytes of a file up to its last [`File::sync`], and names up to the last [`Disk::sync_dir`] of their
//! directory. The memory form keeps exactly that (and perhaps a part of the rest, perhaps torn) when it is crashed, and
//! *is* the in-memory mode of the embedded broker.

pub mod files;
pub mod memory;
pub mod volatile;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

pub use self::files::FileDisk;
pub use self::memory::MemoryDisk;
pub use self::volatile::VolatileDisk;
use crate::Random;

/// A directory tree of append-only files.
#[derive(Clone, Debug)]
pub enum Disk {
    /// A directory of the machine.
    Files(FileDisk),
    /// Memory; lost with the process, or as told by [`MemoryDisk::crash`].
    Memory(MemoryDisk),
    /// A directory of the machine that keeps, when the process ends, what a power cut would have left.
    Volatile(VolatileDisk),
}

impl Disk {
    /// The directory `root`, created if it is not there.
    ///
    /// # Errors
    /// It cannot be created or read; the message names it.
    pub fn files(root: impl Into<PathBuf>) -> io::Result<Self> {
        FileDisk::open(root.into()).map(Self::Files)
    }

    /// The directory `root` as it would survive power cuts: what was not synced ends with the process. For tests.
    ///
    /// # Errors
    /// It cannot be created or read; the message names it.
    pub fn volatile(root: impl Into<PathBuf>) -> io::Result<Self> {
        VolatileDisk::open(FileDisk::open(root.into())?, Random::from_entropy()).map(Self::Volatile)
    }

    /// An empty disk in memory.
    pub fn memory() -> Self {
        Self::Memory(MemoryDisk::default())
    }

    /// What to call the disk in a message.
    pub fn describe(&self) -> String {
        match self {
            Self::Files(disk) => disk.root().display().to_string(),
            Self::Volatile(disk) => disk.machine().root().display().to_string(),
            Self::Memory(_) => "memory".to_owned(),
        }
    }

    /// Creates a directory and those above it; no error if it is there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create_dir(&self, dir: &str) -> io::Result<()> {
        match self {
            Self::Files(disk) => disk.create_dir(dir),
            Self::Memory(disk) => disk.create_dir(dir),
            Self::Volatile(disk) => disk.create_dir(dir),
        }
    }

    /// Creates an empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, or the operating system's.
    pub fn create(&self, path: &str) -> io::Result<File> {
        Ok(match self {
            Self::Files(disk) => File::Real(disk.create(path)?),
            Self::Memory(disk) => File::Memory(disk.create(path)?),
            Self::Volatile(disk) => File::Volatile(disk.create(path)?),
        })
    }

    /// Opens a file for reading and appending.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's.
    pub fn open(&self, path: &str) -> io::Result<File> {
        Ok(match self {
            Self::Files(disk) => File::Real(disk.open_file(path)?),
            Self::Memory(disk) => File::Memory(disk.open_file(path)?),
            Self::Volatile(disk) => File::Volatile(disk.open_file(path)?),
        })
    }

    /// Gives a file another name, in place of what has that name.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Self::Files(disk) => disk.rename(from, to),
            Self::Memory(disk) => disk.rename(from, to),
            Self::Volatile(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file. Handles that are open stay readable.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        match self {
            Self::Files(disk) => disk.remove(path),
            Self::Memory(disk) => disk.remove(path),
            Self::Volatile(disk) => disk.remove(path),
        }
    }

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's.
    pub fn remove_dir(&self, dir: &str) -> io::Result<()> {
        match self {
            Self::Files(disk) => disk.remove_dir(dir),
            Self::Memory(disk) => disk.remove_dir(dir),
            Self::Volatile(disk) => disk.remove_dir(dir),
        }
    }

    /// The names in a directory (`""` is the root), sorted.
    ///
    /// # Errors
    /// `NotFound`, or the operating system's.
    pub fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        match self {
            Self::Files(disk) => disk.list(dir),
            Self::Memory(disk) => disk.list(dir),
            Self::Volatile(disk) => disk.list(dir),
        }
    }

    /// Whether there is a file or directory of that name.
    pub fn exists(&self, path: &str) -> bool {
        match self {
            Self::Files(disk) => disk.exists(path),
            Self::Memory(disk) => disk.exists(path),
            Self::Volatile(disk) => disk.exists(path),
        }
    }

    /// Makes the names in a directory survive a crash.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self {
            Self::Files(disk) => disk.sync_dir(dir),
            Self::Memory(disk) => disk.sync_dir(dir),
            Self::Volatile(disk) => disk.sync_dir(dir),
        }
    }

    /// Takes the exclusive lock `path` until the guard is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when another process (or another user of this memory disk) holds it.
    pub fn lock(&self, path: &str) -> io::Result<Lock> {
        Ok(match self {
            Self::Files(disk) => Lock { _held: Held::Real(disk.lock(path)?) },
            Self::Memory(disk) => Lock { _held: Held::Memory(disk.lock(path)?) },
            Self::Volatile(disk) => Lock { _held: Held::Real(disk.lock(path)?) },
        })
    }
}

/// An exclusive lock on a data directory.
#[derive(Debug)]
pub struct Lock {
    _held: Held,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their Drop")]
enum Held {
    Real(files::FileLock),
    Memory(memory::MemoryLock),
}

/// An open file: append at the end, read anywhere. Clones share it.
#[derive(Clone, Debug)]
pub enum File {
    /// Of the machine.
    Real(files::RealFile),
    /// Of a memory disk.
    Memory(memory::MemoryFile),
    /// Of a volatile disk.
    Volatile(volatile::VolatileFile),
}

impl File {
    /// Writes `bytes` at the end and returns the position they start at. On an error the file is as before.
    ///
    /// # Errors
    /// `StorageFull`, or the operating system's.
    pub fn append(&self, bytes: Bytes) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.append(&bytes),
            Self::Memory(file) => file.append(bytes),
            Self::Volatile(file) => file.append(bytes),
        }
    }

    /// Reads up to `len` bytes from `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        match self {
            Self::Real(file) => file.read_at(position, len),
            Self::Memory(file) => file.read_at(position, len),
            Self::Volatile(file) => file.read_at(position, len),
        }
    }

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.truncate(len),
            Self::Memory(file) => file.truncate(len),
            Self::Volatile(file) => file.truncate(len),
        }
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a length on disk, not a collection")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Real(file) => file.len(),
            Self::Memory(file) => file.len(),
            Self::Volatile(file) => file.len(),
        }
    }

    /// Writes the bytes from `from` to `to` over themselves, so that the next sync writes them: after a failed one the
    /// system may take them for written.
    ///
    /// # Errors
    /// The operating system's.
    pub fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.rewrite(from, to),
            Self::Memory(file) => file.rewrite(from, to),
            // What it has written survives the end of the process, whatever becomes of a sync.
            Self::Volatile(_) => Ok(()),
        }
    }

    /// Makes the bytes survive a crash.
    ///
    /// # Errors
    /// The operating system's. What was not synced must then be taken as lost.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync(),
            Self::Memory(file) => file.sync(),
            Self::Volatile(file) => file.sync(),
        }
    }
}
