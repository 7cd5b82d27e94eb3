//! The journals of the proof: what the handler was called with, in the order of the calls, on memory-mapped files.
//!
//! One file per assignment, that is, per time that a member holds a partition: `p{partition}-a{assignment}.journal`.
//! Assignments of a partition are numbered from 0 across members and processes: a file is made under a temporary name and
//! then linked to the next free number, which succeeds for one process only.
//!
//! | bytes | content (little-endian) |
//! |---|---|
//! | 0..4096 | the header, see [`header`]; it changes in the count of entries, and when the partition is let go |
//! | 4096.. | entries of 8 bytes, see [`entry`]; 0 is a call that reserved its place and did not come to write it |
//!
//! Writing: a call takes the next place by adding to the count, then stores its entry there. Both are single atomic
//! instructions on shared pages, so workers of one assignment write without a lock, a place is in the order of the calls, and
//! what was written outlives the process, however it ends. The file is sparse up to its capacity and mapped once; before a
//! place is used, blocks of zeros are written over it as a file, so that a full disk is an error here and not a signal there.
//!
//! Overlap: a new assignment records how many entries its predecessor had when it began. If the predecessor has more in the
//! end, its owner was still calling the handler.
#![expect(unsafe_code, reason = "atomic access to a shared file mapping")]

pub(crate) mod cost;
pub(crate) mod entry;
pub(crate) mod file;
pub(crate) mod header;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{MmapOptions, MmapRaw};

use entry::Entry;
use header::{COUNT_AT, HEADER_BYTES, Header, LET_GO_AT};

/// Entries of a journal at most, unless the run asks for less: 512 MiB of address space, sparse on disk.
pub(crate) const MAX_ENTRIES: u64 = 64 << 20;

/// Entries for which disk space is taken at once: 512 KiB.
const BLOCK_ENTRIES: u64 = 64 << 10;

/// Tries to get a number while other processes take numbers of the same partition.
const MAX_NUMBERING_TRIES: u32 = 1_000;

static ZEROS: [u8; BLOCK_ENTRIES as usize * Entry::BYTES] = [0; _];

/// A journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The file system refused.
    #[error("journal {}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// More calls than the run can have.
    #[error("journal {}: full after {capacity} entries", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Its capacity.
        capacity: u64,
    },
    /// Not a journal, or a damaged one.
    #[error("journal {}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Other processes took every number that was tried.
    #[error("journal {}: no assignment number to be had for partition {partition}", path.display())]
    Numbering {
        /// The folder.
        path: PathBuf,
        /// The partition.
        partition: i32,
    },
}

impl JournalError {
    fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }
}

/// A partition held by a member: what one journal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding<'a> {
    /// The partition.
    pub(crate) partition: i32,
    /// Id of the member, at most [`header::MAX_MEMBER_BYTES`] of it are kept.
    pub(crate) member: &'a str,
    /// The epoch of the group under which it holds the partition.
    pub(crate) epoch: i32,
    /// Where it starts to read.
    pub(crate) start_offset: i64,
}

/// The folder of a run's journals, as one process sees it.
#[derive(Debug)]
pub(crate) struct Journals {
    folder: PathBuf,
    capacity: u64,
    open: Mutex<Open>,
}

/// Who holds the journal of which partition under which epoch.
type Open = BTreeMap<(i32, i32, String), Weak<Journal>>;

impl Journals {
    /// Uses a folder, which is made if it is not there; a journal takes up to `capacity` entries.
    pub(crate) fn new(folder: &Path, capacity: u64) -> Result<Self, JournalError> {
        std::fs::create_dir_all(folder).map_err(JournalError::io(folder, "make the folder"))?;
        Ok(Self {
            folder: folder.to_owned(),
            capacity: capacity.clamp(1, MAX_ENTRIES),
            open: Mutex::new(BTreeMap::new()),
        })
    }

    /// The journal of a holding. Workers that are told of the same one share its journal, as long as one of them keeps it;
    /// after that, a new assignment begins.
    pub(crate) fn assignment(&self, holding: &Holding<'_>) -> Result<Arc<Journal>, JournalError> {
        let key = (holding.partition, holding.epoch, holding.member.to_owned());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(journal);
        }
        let journal = Arc::new(Journal::begin(&self.folder, holding, self.capacity)?);
        open.retain(|_, journal| journal.strong_count() > 0);
        open.insert(key, Arc::downgrade(&journal));
        Ok(journal)
    }
}

/// The journal of one assignment, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    map: MmapRaw,
    file: std::fs::File,
    path: PathBuf,
    capacity: u64,
    /// Entries for which there is disk space.
    backed: AtomicU64,
    backing: Mutex<()>,
}

impl Journal {
    /// Makes the file of the next assignment of a partition.
    fn begin(folder: &Path, holding: &Holding<'_>, capacity: u64) -> Result<Self, JournalError> {
        let draft = Draft::create(folder, holding.partition, capacity)?;
        for _ in 0..MAX_NUMBERING_TRIES {
            let predecessor = file::latest(folder, holding.partition)?;
            let header = Header::new(holding, capacity, predecessor);
            draft.write(&header)?;
            let path = folder.join(file::name(holding.partition, header.assignment));
            if draft.publish(&path)? {
                return draft.map(path, capacity);
            }
        }
        Err(JournalError::Numbering { path: folder.to_owned(), partition: holding.partition })
    }

    /// Notes a call of the handler. Callable from several threads at once.
    pub(crate) fn append(&self, entry: Entry) -> Result<(), JournalError> {
        let place = self.count().fetch_add(1, Ordering::Relaxed);
        if place >= self.backed.load(Ordering::Acquire) {
            self.back(place)?;
        }
        let at = HEADER_BYTES + place as usize * Entry::BYTES;
        self.word(at).store(entry.bits().to_le(), Ordering::Release);
        Ok(())
    }

    /// How many places were taken.
    pub(crate) fn entries(&self) -> u64 {
        self.count().load(Ordering::Relaxed)
    }

    /// Takes disk space up to and including a place.
    #[cold]
    fn back(&self, place: u64) -> Result<(), JournalError> {
        if place >= self.capacity {
            return Err(JournalError::Full { path: self.path.clone(), capacity: self.capacity });
        }
        let _backing = self.backing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut backed = self.backed.load(Ordering::Acquire);
        while backed <= place {
            let entries = BLOCK_ENTRIES.min(self.capacity - backed);
            let zeros = &ZEROS[..entries as usize * Entry::BYTES];
            let at = HEADER_BYTES as u64 + backed * Entry::BYTES as u64;
            // No entry lies here yet: places from `backed` on are stored to only after this loop.
            self.file
                .write_all_at(zeros, at)
                .map_err(JournalError::io(&self.path, "take disk space for entries"))?;
            backed += entries;
            self.backed.store(backed, Ordering::Release);
        }
        Ok(())
    }

    fn count(&self) -> &AtomicU64 {
        self.word(COUNT_AT)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.map.len(), "outside of the journal");
        // SAFETY: the word lies inside the mapping (asserted), which starts at a page and lives as long as `self`; it is
        // aligned to 8 bytes. While a file is mapped nobody shortens it, and its words are reached through atomics only;
        // `back` writes to the file where no thread has stored yet.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }
}

impl Drop for Journal {
    /// Says that the partition is let go, and cuts the file to what was used, so that copies of the folder are small;
    /// readers go by the count, not by the length. A process that is killed does neither.
    fn drop(&mut self) {
        self.word(LET_GO_AT).store(1_u64.to_le(), Ordering::Release);
        let entries = self.entries().min(self.capacity);
        // No access follows: this is the only mapping, and it is dropped right after. If cutting fails, the file stays sparse.
        let _ = self.file.set_len(HEADER_BYTES as u64 + entries * Entry::BYTES as u64);
    }
}

/// A journal's file before it has its number.
struct Draft {
    file: std::fs::File,
    path: PathBuf,
}

impl Draft {
    fn create(folder: &Path, partition: i32, capacity: u64) -> Result<Self, JournalError> {
        let (file, path) = Self::unused(folder, partition)?;
        let draft = Self { file, path };
        draft
            .file
            .set_len(HEADER_BYTES as u64 + capacity * Entry::BYTES as u64)
            .map_err(JournalError::io(&draft.path, "set the length"))?;
        Ok(draft)
    }

    /// A name that no other draft has: the process's id, and the first number that is free.
    fn unused(folder: &Path, partition: i32) -> Result<(std::fs::File, PathBuf), JournalError> {
        for number in 0.. {
            let path = folder.join(format!("p{partition}-{}-{number}.draft", std::process::id()));
            #[expect(
                clippy::disallowed_types,
                reason = "the journal is the command's own file, mapped"
            )]
            let created =
                std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            match created {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && number < MAX_NUMBERING_TRIES => {}
                Err(error) => return Err(JournalError::io(&path, "create the file")(error)),
                Ok(file) => return Ok((file, path)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn write(&self, header: &Header) -> Result<(), JournalError> {
        self.file
            .write_all_at(&header.encode(), 0)
            .map_err(JournalError::io(&self.path, "write the header"))
    }

    /// Gives the file its name, unless another file has it.
    fn publish(&self, path: &Path) -> Result<bool, JournalError> {
        match std::fs::hard_link(&self.path, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(JournalError::io(path, "link the file")(error)),
        }
    }

    fn map(&self, path: PathBuf, capacity: u64) -> Result<Journal, JournalError> {
        let map = MmapOptions::new()
            .map_raw(&self.file)
            .map_err(JournalError::io(&path, "map the file"))?;
        let file = self.file.try_clone().map_err(JournalError::io(&path, "keep the file open"))?;
        Ok(Journal {
            map,
            file,
            path,
            capacity,
            backed: AtomicU64::new(0),
            backing: Mutex::new(()),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // a left-over draft is ignored by every reader
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::Series;
    use super::file::{self, JournalFile};
    use super::*;

    fn holding(partition: i32, epoch: i32) -> Holding<'static> {
        Holding { partition, member: "member-1", epoch, start_offset: 7 }
    }

    fn entry(number: u64) -> Entry {
        let series = Series::new("UA", "EWR").expect("known");
        Entry::new(number, series, Some(3), 0xabc).expect("in range")
    }

    fn read(folder: &Path) -> Vec<JournalFile> {
        file::read_all(folder).expect("own files")
    }

    #[test]
    fn entries_are_read_back_in_the_order_of_the_calls() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Journals::new(folder.path(), 200_000).expect("journals");
        let journal = journals.assignment(&holding(2, 5)).expect("journal");
        for number in 0..150_000 {
            journal.append(entry(number)).expect("room");
        }
        // Read while it is open, as after SIGKILL: nothing has been flushed or closed.
        let files = read(folder.path());
        assert_eq!(files.len(), 1);
        assert!(
            files[0]
                .entries
                .iter()
                .eq((0..150_000).map(|n| entry(n).bits()).collect::<Vec<_>>().iter())
        );
        let header = &files[0].header;
        assert_eq!((header.partition, header.assignment, header.epoch), (2, 0, 5));
        assert_eq!((&*header.member, header.start_offset), ("member-1", 7));
        drop(journal);
        assert_eq!(read(folder.path())[0].entries.len(), 150_000);
        let length = std::fs::metadata(folder.path().join("p2-a0.journal")).expect("file").len();
        assert_eq!(length, 4096 + 8 * 150_000);
    }

    #[test]
    fn an_assignment_names_its_predecessor_and_where_it_stood() {
        let folder = tempfile::tempdir().expect("a folder");
        // Two processes see the folder through two values of their own.
        let one = Journals::new(folder.path(), 100).expect("journals");
        let two = Journals::new(folder.path(), 100).expect("journals");
        let first = one.assignment(&holding(0, 1)).expect("journal");
        first.append(entry(0)).expect("room");
        first.append(entry(1)).expect("room");
        let second = two.assignment(&holding(0, 2)).expect("journal");
        first.append(entry(2)).expect("room");
        drop(second);
        two.assignment(&holding(1, 2)).expect("another partition");
        let files = read(folder.path());
        let headers: Vec<_> = files
            .iter()
            .map(|f| (f.header.partition, f.header.assignment, f.header.predecessor))
            .collect();
        assert_eq!(headers, [(0, 0, None), (0, 1, Some((0, 2))), (1, 0, None)]);
        assert_eq!(files[0].entries.len(), 3);
    }

    #[test]
    fn workers_of_one_holding_share_its_journal_until_all_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Journals::new(folder.path(), 1_000_000).expect("journals");
        let first = journals.assignment(&holding(0, 1)).expect("journal");
        let again = journals.assignment(&holding(0, 1)).expect("journal");
        assert!(Arc::ptr_eq(&first, &again));
        std::thread::scope(|scope| {
            for start in [0, 100_000] {
                let journal = &first;
                scope.spawn(move || {
                    for number in start..start + 100_000 {
                        journal.append(entry(number)).expect("room");
                    }
                });
            }
        });
        drop((first, again));
        let mut entries = read(folder.path()).remove(0).entries;
        entries.sort_unstable();
        assert!(entries.into_iter().eq((0..200_000).map(|number| entry(number).bits())));
        let later = journals.assignment(&holding(0, 1)).expect("journal");
        assert!(later.path.ends_with("p0-a1.journal"));
    }

    #[test]
    fn what_a_process_holds_is_what_it_has_not_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Journals::new(folder.path(), 100).expect("journals");
        let process = std::process::id();
        let held = || {
            let held = file::held_by(folder.path(), process).expect("own files");
            let named = |file: &JournalFile| (file.header.partition, file.header.assignment);
            held.iter().map(named).collect::<Vec<_>>()
        };
        let zero = journals.assignment(&holding(0, 1)).expect("journal");
        let one = journals.assignment(&holding(1, 1)).expect("journal");
        one.append(entry(0)).expect("room");
        assert_eq!(held(), [(0, 0), (1, 0)]);
        assert_eq!(file::held_by(folder.path(), process + 1).expect("own files").len(), 0);
        drop(zero);
        assert_eq!(held(), [(1, 0)]);
        let later = journals.assignment(&holding(1, 2)).expect("journal");
        later.append(entry(1)).expect("room");
        assert_eq!(held(), [(1, 1)], "an earlier assignment is not held any more");
        assert_eq!(file::total_entries(folder.path()).expect("own files"), 2);
    }

    #[test]
    fn a_full_journal_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Journals::new(folder.path(), 2).expect("journals");
        let journal = journals.assignment(&holding(3, 1)).expect("journal");
        journal.append(entry(0)).expect("room");
        journal.append(entry(1)).expect("room");
        let error = journal.append(entry(2)).expect_err("full").to_string();
        assert!(error.ends_with("p3-a0.journal: full after 2 entries"), "{error}");
        drop(journal);
        assert_eq!(read(folder.path())[0].entries.len(), 2);
    }

    #[test]
    fn numbers_are_unique_when_many_begin_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for epoch in 0..8 {
                let folder = folder.path();
                scope.spawn(move || {
                    let journals = Journals::new(folder, 10).expect("journals");
                    for step in 0..10 {
                        journals.assignment(&holding(0, epoch * 10 + step)).expect("journal");
                    }
                });
            }
        });
        let files = read(folder.path());
        let numbers: Vec<_> = files.iter().map(|f| f.header.assignment).collect();
        assert_eq!(numbers, (0..80).collect::<Vec<_>>());
        for file in &files[1..] {
            let (predecessor, _) = file.header.predecessor.expect("one");
            assert_eq!(predecessor + 1, file.header.assignment);
        }
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("folder")
            .filter(|f| {
                f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "draft"))
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Where the child of the next test writes; the child is this test binary, started again.
    const CHILD_FOLDER: &str = "ONRUSH_TEST_JOURNAL_FOLDER";

    /// Entries that the child writes at least.
    const CHILD_ENTRIES: u64 = 100_000;

    #[test]
    fn entries_outlive_a_process_that_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "demo::journal::tests::child_appends_until_it_is_killed"])
            .arg("--nocapture")
            .env(CHILD_FOLDER, folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a child");
        let output = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let ready =
            std::io::BufRead::lines(output).any(|line| line.is_ok_and(|line| line == "ready"));
        child.kill().expect("SIGKILL");
        child.wait().expect("ended");
        assert!(ready, "the child ended early");
        let entries = read(folder.path()).remove(0).entries;
        let stood = entries.len() as u64;
        assert!(stood >= CHILD_ENTRIES);
        // The kill may fall between the count and the entry of the last call.
        let written = if entries.last() == Some(&0) { stood - 1 } else { stood };
        let expected = (0..written).map(|number| entry(number).bits());
        assert!(entries[..written as usize].iter().copied().eq(expected));
        let next = Journals::new(folder.path(), 10).expect("journals");
        next.assignment(&holding(0, 2)).expect("journal");
        assert_eq!(read(folder.path())[1].header.predecessor, Some((0, stood)));
    }

    /// Does nothing unless the test above starts it.
    #[test]
    fn child_appends_until_it_is_killed() {
        let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
            return;
        };
        let journals = Journals::new(Path::new(&folder), MAX_ENTRIES).expect("journals");
        let journal = journals.assignment(&holding(0, 1)).expect("journal");
        for number in 0.. {
            if number == CHILD_ENTRIES {
                println!("\nready");
            }
            journal.append(entry(number)).expect("room");
        }
    }
}
