//! Files of the machine.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the seam")]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes that are written over themselves at a time.
const REWRITE_CHUNK: usize = 1024 * 1024;

/// A directory of the machine.
#[derive(Clone, Debug)]
pub struct FileDisk {
    root: PathBuf,
}

impl FileDisk {
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        create_root(&root).and_then(|()| fs::read_dir(&root).map(drop)).map_err(named(&root))?;
        Ok(Self { root })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn create_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir);
        fs::create_dir_all(&path).map_err(named(&path))
    }

    pub(super) fn create(&self, path: &str) -> io::Result<RealFile> {
        let path = self.path(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        RealFile::new(file.map_err(named(&path))?, path)
    }

    pub(super) fn open_file(&self, path: &str) -> io::Result<RealFile> {
        let path = self.path(path);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        RealFile::new(file.map_err(named(&path))?, path)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.path(from);
        fs::rename(&from, self.path(to)).map_err(named(&from))
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        fs::remove_file(&path).map_err(named(&path))
    }

    pub(super) fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir);
        fs::remove_dir_all(&path).map_err(named(&path))
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let path = self.path(dir);
        let mut names = fs::read_dir(&path)
            .map_err(named(&path))?
            // A name that is not UTF-8 is none of ours.
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        self.path(path).is_dir()
    }

    pub(super) fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.path(dir);
        fs::File::open(&path).and_then(|dir| dir.sync_all()).map_err(named(&path))
    }

    pub(super) fn lock(&self, path: &str) -> io::Result<FileLock> {
        let path = self.path(path);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(named(&path))?;
        file.try_lock().map_err(|error| named(&path)(error.into()))?;
        Ok(FileLock { _file: file })
    }
}

/// Creates a directory and those above it, so that none of their names is gone after a crash.
fn create_root(root: &Path) -> io::Result<()> {
    let root = std::path::absolute(root)?;
    let missing: Vec<&Path> = root.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(&root)?;
    let parents = missing.iter().rev().filter_map(|created| created.parent());
    // One that may be written to but not read cannot be synced.
    let mut readable = parents.filter_map(|parent| fs::File::open(parent).ok());
    readable.try_for_each(|parent| parent.sync_all())
}

/// Puts the path in front of the operating system's message.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// An advisory lock, released by the operating system when the file is closed.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: fs::File,
}

/// An open file of the machine.
#[derive(Clone, Debug)]
pub struct RealFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: fs::File,
    path: PathBuf,
    /// What was appended in full; what a failed write left behind it does not count and is overwritten.
    len: AtomicU64,
    syncs: Syncs,
}

/// Keeps a failed sync in mind: the system tells of it once, to one of those who sync the file, and takes the bytes for
/// written from then on.
#[derive(Debug, Default)]
struct Syncs {
    /// Whether one has failed, and the bytes were neither cut nor written again since. Held during a sync, so that another
    /// cannot go well because this one took the error.
    failed: Mutex<bool>,
}

impl Syncs {
    fn failed(&self) -> MutexGuard<'_, bool> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut failed = self.failed();
        if *failed {
            return Err(io::Error::other(
                "an earlier sync failed, and the bytes were not written again since",
            ));
        }
        let result = sync();
        *failed = result.is_err();
        result
    }

    /// Notes that the bytes were cut or written again.
    fn begin_anew(&self) {
        *self.failed() = false;
    }
}

impl RealFile {
    fn new(file: fs::File, path: PathBuf) -> io::Result<Self> {
        let len = AtomicU64::new(file.metadata().map_err(named(&path))?.len());
        Ok(Self { inner: Arc::new(Inner { file, path, len, syncs: Syncs::default() }) })
    }

    fn named(&self) -> impl Fn(io::Error) -> io::Error {
        named(&self.inner.path)
    }

    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let position = self.len();
        if let Err(error) = self.inner.file.write_all_at(bytes, position) {
            // Best effort: if this fails too, the torn tail is found by CRC when the file is next opened.
            let _ = self.inner.file.set_len(position);
            return Err(self.named()(error));
        }
        self.inner.len.store(position + bytes.len() as u64, Ordering::Release);
        Ok(position)
    }

    pub(super) fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let there = self.len().saturating_sub(position);
        let len = usize::try_from(there).map_or(len, |there| there.min(len));
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = position + bytes.len() as u64;
            let spare = rustix::buffer::spare_capacity(&mut bytes);
            match rustix::io::pread(&self.inner.file, spare, at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.named()(error.into())),
            }
        }
        // The allocator may have given more room than was asked for.
        bytes.truncate(len);
        Ok(bytes.into())
    }

    pub(super) fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        let mut position = from;
        while position < to {
            let left = usize::try_from(to - position).unwrap_or(usize::MAX);
            let bytes = self.read_at(position, left.min(REWRITE_CHUNK))?;
            if bytes.is_empty() {
                return Err(self.named()(io::ErrorKind::UnexpectedEof.into()));
            }
            self.inner.file.write_all_at(&bytes, position).map_err(self.named())?;
            position += bytes.len() as u64;
        }
        self.inner.syncs.begin_anew();
        Ok(())
    }

    pub(super) fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.file.set_len(len).map_err(self.named())?;
        self.inner.syncs.begin_anew();
        self.inner.len.store(len, Ordering::Release);
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.inner.len.load(Ordering::Acquire)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.inner.syncs.run(|| self.inner.file.sync_data()).map_err(self.named())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_after_a_failed_one_fails_until_the_bytes_were_written_again() {
        let syncs = Syncs::default();
        syncs.run(|| Ok(())).unwrap();
        syncs.run(|| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        // The system would say that all is well.
        syncs.run(|| Ok(())).unwrap_err();
        syncs.begin_anew();
        syncs.run(|| Ok(())).unwrap();
    }

    #[test]
    fn what_cannot_be_synced_is_tried_again_once_it_is_cut_or_written_again() {
        // It takes and gives bytes, but nothing syncs it.
        let file = RealFile::new(
            OpenOptions::new().read(true).write(true).open("/dev/null").unwrap(),
            "/dev/null".into(),
        )
        .unwrap();
        let refused = file.sync().unwrap_err().kind();
        let again = || file.sync().unwrap_err().kind();
        assert_ne!(again(), refused, "by us, not by the system");
        file.rewrite(0, 0).unwrap();
        assert_eq!(again(), refused);
    }

    #[test]
    fn directories_above_the_root_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b/c");
        FileDisk::open(root.clone()).unwrap();
        FileDisk::open(root.clone()).unwrap();
        assert!(root.is_dir());
    }
}
