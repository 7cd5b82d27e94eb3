//! The log of one partition: record batches as they came from producers, in segment files.
//!
//! Offsets are dense, so the next segment starts where this one ends. A batch gets its offset and leader
//! epoch in its header before it is appended, which its checksum does not cover.
//!
//! Two offsets end a log: [`Log::next_offset`], which the next batch gets, and [`Log::end`], up to which readers see (Kafka's
//! high watermark). They differ only under [`Fsync::Always`], by what is written and not yet synced:
//!
//! ```text
//! start ... segments that are synced ... | active segment: synced ... | unsynced ... |
//!                                                                    end        next_offset
//! ```
//!
//! The syncer takes what is [`Unsynced`] and reports back. When a sync fails, the system may take the bytes for written, and
//! a second sync says nothing about them. So what nobody has seen is taken back ([`Log::sync_failed`]), the producers'
//! state with it; what was acknowledged before (the other policies) is written once more, and until that has
//! worked the log refuses to grow.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use onrush_record::BatchHeader;
use onrush_runtime::{Disk, Fault, File};
use onrush_wire::ErrorCode;

use crate::checkpoint::{Draft, Writer};
use crate::producers::{Producers, Verdict};
use crate::recovery::{self, Recovered};
use crate::segment::{Mark, claim};
pub(crate) use crate::segment::{Oversized, Segment};
use crate::{BrokerError, Fsync};

/// A segment is nearly full when this part of it is left.
const NEARLY: u64 = 8;

/// The settings that logs share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    pub(crate) segment_bytes: u64,
    /// A segment is closed when a record comes whose time is so far behind that of its first.
    pub(crate) segment_age: Duration,
    pub(crate) fsync: Fsync,
}

/// What a log may drop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Records that are older.
    pub(crate) age: Option<Duration>,
    /// What is more than that.
    pub(crate) bytes: Option<u64>,
}

/// A partition's log.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Disk,
    dir: String,
    limits: LogLimits,
    /// Oldest first; nothing is written to them any more.
    closed: VecDeque<Segment>,
    /// Bytes in them.
    closed_bytes: u64,
    active: Segment,
    producers: Producers,
    next_offset: i64,
    /// First offset that readers see, if records were deleted above the start of the first segment.
    deleted_below: i64,
    /// Up to where the active segment is on the disk.
    synced: Mark,
    /// How far the last checkpoint reaches.
    checkpointed: i64,
    /// Checkpoints that were begun: one that was overtaken is not put in place.
    drafts: u64,
    /// Acknowledged bytes whose sync failed; until they are on the disk, nothing is appended.
    failed: Option<Unsynced>,
    /// Syncs that failed. One that was begun before the last of them says nothing: the system tells an error of a file to
    /// one of those who sync it, and what is taken back meanwhile is not what was synced.
    failures: u64,
    /// Whether the removal of a segment may be undone by a crash.
    removal_unsynced: bool,
    /// Bytes that readers see since [`Log::take_shown`] was last called.
    shown: u64,
}

/// Bytes of one segment that are to be synced.
#[derive(Clone, Debug)]
pub(crate) struct Unsynced {
    file: File,
    /// Of the segment.
    base: i64,
    from: u64,
    to: Mark,
    /// Whether a sync of them has failed.
    again: bool,
    /// Syncs of the log that had failed when they were taken.
    failures: u64,
}

impl Unsynced {
    /// Forces them to the disk. Takes long: not to be called under a lock.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.again {
            recovery::verify(&self.file, self.from, self.to.position)?;
            self.file.rewrite(self.from, self.to.position)?;
        }
        self.file.sync()
    }
}

/// What a read found.
#[derive(Debug)]
pub(crate) enum Slice {
    /// Whole batches, the first of which contains the offset asked for; empty at the end of the
    /// log.
    Records(Bytes),
    /// The offset is below the start or above the end.
    OutOfRange,
}

impl Log {
    /// Opens the log in `dir`, or begins one.
    pub(crate) fn open(disk: &Disk, dir: String, limits: LogLimits) -> Result<Self, BrokerError> {
        if !disk.exists(&dir) {
            disk.create_dir(&dir).map_err(BrokerError::storage("create", &dir))?;
            disk.sync_dir("").map_err(BrokerError::storage("sync the directory of", &dir))?;
        }
        let recovered = recovery::recover(disk, &dir)?;
        let Recovered { segments: mut closed, synced, end, start, producers, scanned } = recovered;
        if scanned > 0 {
            tracing::info!(dir, bytes = scanned, "read the end of a log back");
        }
        let active = match closed.pop_back() {
            Some(last) => last,
            None => Segment::create(disk, &dir, end)
                .map_err(BrokerError::storage("create a segment in", &dir))?,
        };
        let mut log = Self {
            disk: disk.clone(),
            dir,
            limits,
            closed_bytes: closed.iter().map(|segment| segment.len).sum(),
            closed,
            deleted_below: start,
            checkpointed: synced.map_or(-1, |mark| mark.offset),
            drafts: 0,
            // Whatever stands above in the file may be in the memory of the machine only.
            synced: synced
                .filter(|mark| mark.offset >= active.base)
                .unwrap_or(Mark::at_start(active.base)),
            active,
            producers,
            next_offset: end,
            failed: None,
            failures: 0,
            removal_unsynced: false,
            shown: 0,
        };
        log.write_again();
        if log.shows_synced_only() {
            // What was written and never acknowledged is about to be seen.
            log.sync().map_err(BrokerError::storage("sync", log.active.path()))?;
        }
        Ok(log)
    }

    /// Writes what may not be on the disk over itself: a sync of it may have failed in the life before, after which the
    /// system takes it for written.
    fn write_again(&mut self) {
        let Some(unsynced) = self.unsynced().filter(|_| self.limits.fsync != Fsync::Never) else {
            return;
        };
        if let Err(error) = unsynced.file.rewrite(unsynced.from, unsynced.to.position) {
            tracing::error!(path = self.active.path(), code = %Fault::BrokerStorage, %error, "cannot write the end of a log again");
            self.failed = Some(Unsynced { again: true, ..unsynced });
        }
    }

    /// Puts other limits in force, for what comes from now on.
    pub(crate) fn set_limits(&mut self, limits: LogLimits) {
        self.limits = limits;
    }

    /// First offset that can be read.
    pub(crate) fn start(&self) -> i64 {
        self.closed.front().unwrap_or(&self.active).base.max(self.deleted_below)
    }

    /// The offset up to which readers see.
    pub(crate) fn end(&self) -> i64 {
        if self.shows_synced_only() { self.synced.offset } else { self.next_offset }
    }

    /// Offset of the next record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    fn shows_synced_only(&self) -> bool {
        self.limits.fsync == Fsync::Always
    }

    /// Whether a segment can be dropped without closing the one that is written to.
    pub(crate) fn has_closed_segments(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Bytes of records.
    pub(crate) fn size(&self) -> u64 {
        self.closed_bytes + self.active.len
    }

    /// What to do with a checked batch: append, or answer with what is known of it.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, ErrorCode> {
        claim(header).map_or(Ok(Verdict::Append), |claim| self.producers.check(claim))
    }

    /// Appends one whole batch whose header names [`Log::next_offset`] as its base offset. After an error
    /// it is not in the log; nor, if a sync failed, is what nobody has seen yet.
    pub(crate) fn append(&mut self, header: &BatchHeader, batch: Bytes) -> io::Result<()> {
        debug_assert_eq!(header.base_offset, self.next_offset);
        if self.failed.is_some() {
            return Err(io::Error::other("the last sync of the log failed; it is tried again"));
        }
        let size = batch.len();
        self.make_room(header, size as u64)?;
        self.active.append(batch)?;
        self.active.note(header, size as u64);
        self.next_offset = header.last_offset() + 1;
        let held = self.shows_synced_only();
        if !held {
            self.shown += self.active.show(u64::MAX);
        }
        if let Some(claim) = claim(header) {
            self.producers.appended(claim, header.base_offset, header.last_offset(), held);
        }
        Ok(())
    }

    /// Batches from the one that contains `offset` on, up to `max` bytes. The first one is whole
    /// even if it is longer, when `oversized_first` says so.
    pub(crate) fn read(
        &self,
        offset: i64,
        max: usize,
        oversized_first: Oversized,
    ) -> io::Result<Slice> {
        if offset < self.start() || offset > self.end() {
            return Ok(Slice::OutOfRange);
        }
        if offset == self.end() {
            return Ok(Slice::Records(Bytes::new()));
        }
        let after = self.closed.partition_point(|segment| segment.base <= offset);
        let segment = match after.checked_sub(1).and_then(|at| self.closed.get(at)) {
            Some(closed) if offset < self.active.base => closed,
            _ => &self.active,
        };
        segment.read(offset, max, oversized_first).map(Slice::Records)
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.closed.iter().chain(std::iter::once(&self.active))
    }

    /// Drops the oldest segment, whatever readers still want of it. The records after it stay; the
    /// end stays where it is.
    pub(crate) fn drop_oldest(&mut self) -> io::Result<()> {
        if self.closed.is_empty() && self.active.len > 0 {
            self.roll()?;
        }
        self.sync_removal()?;
        if let Some(oldest) = self.closed.front() {
            // First, so that no later one is removed while this one stays: that would be a gap.
            self.disk.remove(oldest.path())?;
        }
        if let Some(oldest) = self.closed.pop_front() {
            self.removal_unsynced = true;
            self.closed_bytes -= oldest.len;
            // Nobody misses what could not be synced of it.
            self.failed.take_if(|failed| failed.base == oldest.base);
            oldest.remove_index(&self.disk);
            self.sync_removal()?;
            let start = self.start();
            tracing::debug!(path = oldest.path(), start, "dropped the oldest segment");
        }
        Ok(())
    }

    /// Makes the last removal survive a crash, before another: one that comes back without those after it leaves a gap.
    fn sync_removal(&mut self) -> io::Result<()> {
        if self.removal_unsynced {
            self.disk.sync_dir(&self.dir)?;
            self.removal_unsynced = false;
        }
        Ok(())
    }

    /// Deletes the records below `offset`, for good: segments that have no others go, and the rest is not shown any more.
    pub(crate) fn delete_below(&mut self, offset: i64) -> io::Result<()> {
        let before = self.deleted_below;
        self.deleted_below = offset.min(self.end()).max(before);
        if let Err(error) = self.sync().and_then(|()| self.checkpoint()) {
            self.deleted_below = before;
            return Err(error);
        }
        while self.closed.front().is_some_and(|oldest| self.end_of(oldest) <= self.deleted_below) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// The offset after the last record of the oldest segments.
    fn end_of(&self, oldest: &Segment) -> i64 {
        let next = self.closed.iter().find(|segment| segment.base > oldest.base);
        next.unwrap_or(&self.active).base
    }

    /// Drops segments that are too old, or that the log can do without. `now` is the time of day.
    pub(crate) fn retain(&mut self, now: i64, retention: &Retention) -> io::Result<()> {
        while self.oldest_may_go(now, retention) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn oldest_may_go(&self, now: i64, retention: &Retention) -> bool {
        let oldest = self.closed.front().unwrap_or(&self.active);
        let expired = retention.age.is_some_and(|age| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            // Records without a time do not age.
            oldest.max_timestamp >= 0 && oldest.max_timestamp < now.saturating_sub(age)
        });
        let beyond = retention.bytes.is_some_and(|bytes| self.size() - oldest.len >= bytes);
        match self.closed.is_empty() {
            // Nothing follows the segment that is written to: it goes only with all of its records.
            true => expired && oldest.len > 0,
            false => expired || beyond,
        }
    }

    /// What the syncer has to force to the disk now; `None` if everything is there.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        let active = Unsynced {
            file: self.active.file().clone(),
            base: self.active.base,
            from: self.synced.position,
            to: self.written(),
            again: false,
            failures: self.failures,
        };
        match &self.failed {
            // The failed sync may have been one of all that is in the file now.
            Some(failed) if failed.base == active.base => Some(Unsynced { again: true, ..active }),
            Some(failed) => Some(Unsynced { failures: self.failures, ..failed.clone() }),
            None => (self.synced.position < self.active.len).then_some(active),
        }
    }

    /// Whether so much was written that a new segment will soon be begun, which syncs this one.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.active.len >= self.limits.segment_bytes - self.limits.segment_bytes / NEARLY
    }

    /// Whether acknowledged bytes may be missing on the disk because a sync failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn written(&self) -> Mark {
        Mark {
            offset: self.next_offset,
            position: self.active.len,
            max_timestamp: self.active.max_timestamp,
        }
    }

    /// How many bytes readers see that they did not see at the last call.
    pub(crate) fn take_shown(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.shown)).unwrap_or(usize::MAX)
    }

    /// Notes that what was [`Log::unsynced`] is on the disk.
    pub(crate) fn synced(&mut self, done: &Unsynced) {
        if done.failures != self.failures {
            return;
        }
        if self.failed.take_if(|failed| failed.base == done.base && done.again).is_some() {
            tracing::info!(dir = self.dir, "the log could be synced again");
        }
        // Else a roll has synced more meanwhile.
        if done.base == self.active.base && done.to.position > self.synced.position {
            self.synced = done.to;
            self.producers.kept_below(done.to.offset);
            self.shown += self.active.show(done.to.position);
        }
    }

    /// Notes that what was [`Log::unsynced`] may not be on the disk. Takes back what readers have not seen.
    pub(crate) fn sync_failed(&mut self, tried: &Unsynced) {
        if self.segments().next().is_some_and(|oldest| tried.base < oldest.base) {
            // It was dropped meanwhile.
            return;
        }
        self.failures += 1;
        // A checkpoint that was begun speaks of what may be gone.
        self.drafts += 1;
        if self.shows_synced_only() && tried.base == self.active.base && !tried.again {
            self.producers.take_back_from(self.synced.offset);
            self.next_offset = self.synced.offset;
            self.active.cut(&self.synced);
        } else {
            self.failed = Some(Unsynced { again: true, ..tried.clone() });
        }
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        // Twice at most: what could not be synced of a closed segment comes before what is in this one.
        while let Some(unsynced) = self.unsynced() {
            let result = unsynced.sync();
            match &result {
                Ok(()) => self.synced(&unsynced),
                Err(_) => self.sync_failed(&unsynced),
            }
            result?;
        }
        Ok(())
    }

    /// Begins a new segment if a batch of `size` bytes would make this one too long, or comes too late for it.
    fn make_room(&mut self, header: &BatchHeader, size: u64) -> io::Result<()> {
        let len = self.active.len;
        let age = i64::try_from(self.limits.segment_age.as_millis()).unwrap_or(i64::MAX);
        let first = self.active.first_timestamp();
        let is_old = first.is_some_and(|first| header.max_timestamp.saturating_sub(first) >= age);
        let is_full = len.saturating_add(size) > self.limits.segment_bytes;
        if len > 0 && (is_full || is_old) { self.roll() } else { Ok(()) }
    }

    fn roll(&mut self) -> io::Result<()> {
        self.active.take_back()?;
        // Not left to the policy: by the next file recovery knows that all below its offset was on
        // the disk.
        self.sync()?;
        if let Err(error) = self.active.store_index(&self.disk, self.next_offset) {
            tracing::warn!(path = self.active.path(), %error, "cannot write an index; it will be made anew");
        }
        let next = Segment::create(&self.disk, &self.dir, self.next_offset)?;
        self.synced = Mark { max_timestamp: i64::MIN, position: 0, ..self.synced };
        self.closed_bytes += self.active.len;
        self.closed.push_back(std::mem::replace(&mut self.active, next));
        if let Err(error) = self.checkpoint() {
            tracing::warn!(dir = self.dir, %error, "cannot write a checkpoint; the last one stays");
        }
        Ok(())
    }

    /// A checkpoint of all that is written; it may be put in place once that is synced.
    pub(crate) fn draft(&mut self, writer: Writer) -> Draft {
        self.drafts += 1;
        let mark = self.written();
        let index = self.active.index_up_to(&mark);
        let from = (self.deleted_below, self.active.base);
        let number = (writer, self.drafts);
        Draft::new(&self.disk, &self.dir, number, from, mark, &index, &self.producers)
    }

    /// Whether a checkpoint of what is written would be of use.
    pub(crate) fn is_behind(&self) -> bool {
        self.checkpointed < self.next_offset
    }

    /// Puts a checkpoint that was written in its place, unless there is a later one.
    pub(crate) fn place(&mut self, draft: &Draft) -> io::Result<()> {
        if draft.number == self.drafts {
            draft.put_in_place()?;
            self.checkpointed = draft.mark.offset;
        }
        Ok(())
    }

    /// Writes a checkpoint now; all that is written must be synced.
    fn checkpoint(&mut self) -> io::Result<()> {
        let draft = self.draft(Writer::Request);
        draft.write()?;
        self.place(&draft)?;
        draft.sync_place()
    }

    /// Forces everything to the disk, so that nothing has to be read when the log is opened again.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.sync()?;
        if self.is_behind() { self.checkpoint() } else { Ok(()) }
    }
}
