//! What is known of a log up to a place that is on the disk, so that opening it reads only what stands behind.
//!
//! The file `checkpoint` in the directory of a partition:
//!
//! ```text
//! first offset that can be read i64 | base of a segment i64 | mark in it: offset i64, position u64, latest time i64
//! | index of the segment up to the mark (segment/index.rs) | producers at the mark (producers.rs)
//! ```
//!
//! It is written when a segment is closed, from time to time by the syncer, and at a clean end: then it reaches the end of
//! the log, and nothing is read. A new one is synced before it takes the place of the old one. Below the mark nothing
//! can be torn: what is missing there is damage. Without a checkpoint all of the log is read.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_runtime::Disk;

use crate::producers::Producers;
use crate::segment::{Index, Mark};
use crate::snapshot;

/// The name of the file.
pub(crate) const FILE: &str = "checkpoint";

/// Who writes a checkpoint. Two may do so at a time, so each has a name of its own until it is put in place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Writer {
    /// The syncer, outside of the lock of all requests.
    Syncer,
    /// Whoever holds that lock.
    Request,
}

impl Writer {
    const ALL: [Self; 2] = [Self::Syncer, Self::Request];

    fn path_in(self, dir: &str) -> String {
        match self {
            Self::Syncer => format!("{dir}/{FILE}.draft"),
            Self::Request => format!("{dir}/{FILE}.new"),
        }
    }
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) start: i64,
    /// Of the segment with the mark.
    pub(crate) base: i64,
    pub(crate) mark: Mark,
    pub(crate) index: Index,
    pub(crate) producers: Producers,
}

/// The path of the checkpoint of the log in `dir`.
pub(crate) fn path_in(dir: &str) -> String {
    format!("{dir}/{FILE}")
}

impl Checkpoint {
    /// The checkpoint of the log in `dir`, if there is a whole one.
    pub(crate) fn read(disk: &Disk, dir: &str) -> io::Result<Option<Self>> {
        for fresh in Writer::ALL.map(|writer| writer.path_in(dir)) {
            if disk.exists(&fresh) {
                disk.remove(&fresh)?;
            }
        }
        Ok(snapshot::read(disk, &path_in(dir))?.and_then(|mut payload| Self::take(&mut payload)))
    }

    fn take(bytes: &mut Bytes) -> Option<Self> {
        let checkpoint = Self {
            start: bytes.try_get_i64().ok()?,
            base: bytes.try_get_i64().ok()?,
            mark: Mark::take(bytes)?,
            index: Index::take(bytes)?,
            producers: Producers::take(bytes)?,
        };
        checkpoint.is_sound().then_some(checkpoint)
    }

    /// Whether its parts are of one log.
    fn is_sound(&self) -> bool {
        let Self { start, base, mark, index, .. } = self;
        (0..=mark.offset).contains(start)
            && (0..=mark.offset).contains(base)
            && index.is_within(*base, mark)
    }
}

/// A checkpoint that is to be written.
#[derive(Debug)]
pub(crate) struct Draft {
    disk: Disk,
    dir: String,
    writer: Writer,
    pub(crate) number: u64,
    pub(crate) mark: Mark,
    payload: BytesMut,
}

impl Draft {
    pub(crate) fn new(
        disk: &Disk,
        dir: &str,
        (writer, number): (Writer, u64),
        (start, base): (i64, i64),
        mark: Mark,
        index: &Index,
        producers: &Producers,
    ) -> Self {
        let mut payload = BytesMut::new();
        payload.put_i64(start);
        payload.put_i64(base);
        mark.put(&mut payload);
        index.put(&mut payload);
        producers.put(&mut payload);
        Self { disk: disk.clone(), dir: dir.to_owned(), writer, number, mark, payload }
    }

    /// Puts it on the disk, not yet in its place. Takes long: not to be called under a lock.
    pub(crate) fn write(&self) -> io::Result<()> {
        snapshot::write(&self.disk, &self.fresh(), &self.payload)?.sync()
    }

    /// Puts it in its place after [`Draft::write`].
    pub(crate) fn put_in_place(&self) -> io::Result<()> {
        self.disk.rename(&self.fresh(), &path_in(&self.dir))
    }

    /// Makes its place survive a crash.
    pub(crate) fn sync_place(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }

    fn fresh(&self) -> String {
        self.writer.path_in(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(start: i64, base: i64, offset: i64, position: u64) -> Option<Checkpoint> {
        let disk = Disk::memory();
        disk.create_dir("t-0").expect("created");
        let mark = Mark { offset, position, max_timestamp: 0 };
        let parts = (Index::default(), Producers::default());
        let draft =
            Draft::new(&disk, "t-0", (Writer::Request, 1), (start, base), mark, &parts.0, &parts.1);
        draft.write().expect("written");
        assert!(
            Checkpoint::take(&mut draft.payload.clone().freeze()).is_none_or(|it| it.base == base)
        );
        draft.put_in_place().expect("placed");
        Checkpoint::read(&disk, "t-0").expect("read")
    }

    #[test]
    fn a_checkpoint_is_read_back_and_one_that_cannot_be_is_none() {
        let read = stored(3, 5, 5, 0).expect("sound");
        assert_eq!((read.start, read.base, read.mark.offset), (3, 5, 5));
        for (start, base, offset, position) in
            [(6, 5, 5, 0), (-1, 5, 5, 0), (3, 6, 5, 0), (3, -1, 5, 0), (3, 5, 5, 9), (3, 4, 5, 0)]
        {
            let read = stored(start, base, offset, position);
            assert!(read.is_none(), "{start} {base} {offset} {position}");
        }
    }

    #[test]
    fn one_that_was_not_put_in_place_is_not_read() {
        for writer in Writer::ALL {
            let disk = Disk::memory();
            disk.create_dir("t-0").expect("created");
            let (index, producers) = (Index::default(), Producers::default());
            let mark = Mark::at_start(0);
            let draft = Draft::new(&disk, "t-0", (writer, 1), (0, 0), mark, &index, &producers);
            draft.write().expect("written");
            assert!(Checkpoint::read(&disk, "t-0").expect("read").is_none());
            assert_eq!(disk.list("t-0").expect("listed"), [""; 0]);
        }
    }
}
