//! The log of one partition: record batches as they came from producers, in segment files.
//!
//! A segment file is named by the first offset in it and holds whole batches, nothing else; offsets
//! are dense, so the next segment starts where this one ends. A batch gets its offset and leader
//! epoch in its header before it is appended, which its checksum does not cover. What readers see
//! ends at [`Log::end`], which moves only after the batch is in the file (and on the disk, when
//! that is asked for).
//!
//! In memory a segment has a sparse index: at most one entry per [`INDEX_INTERVAL`] bytes. Opening
//! a log reads all of it ([`recovery`]): the index and the producers' state come from there.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use onrush_record::{BatchHeader, HEADER_LEN};
use onrush_runtime::{Disk, File};
use onrush_wire::ErrorCode;

use crate::producers::{Claim, Producers, Verdict};
use crate::recovery::{self, Recovered};
use crate::{BrokerError, Fsync};

/// Bytes between two entries of a segment's index: what a read searches through at most, besides
/// one batch.
const INDEX_INTERVAL: u64 = 4 * 1024;

/// The settings that logs share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    pub(crate) segment_bytes: u64,
    pub(crate) fsync: Fsync,
}

/// A partition's log.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Disk,
    dir: String,
    limits: LogLimits,
    /// Oldest first; nothing is written to them any more.
    closed: VecDeque<Segment>,
    active: Segment,
    producers: Producers,
    end: i64,
}

/// One file of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    path: String,
    file: File,
    /// Bytes of whole batches. The file is longer only if a failed append could not be taken back
    /// yet.
    pub(crate) len: u64,
    index: Vec<IndexEntry>,
    pub(crate) max_timestamp: i64,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: i64,
    position: u64,
    /// Latest time in the segment up to the next entry.
    max_timestamp: i64,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// Bytes that the log grew by; 0 for a batch that was there already.
    pub(crate) bytes: usize,
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
        let mut producers = Producers::default();
        let Recovered { segments: mut closed, end } =
            recovery::recover(disk, &dir, &mut producers)?;
        let active = match closed.pop_back() {
            Some(last) => last,
            None => Segment::create(disk, &dir, end)
                .map_err(BrokerError::storage("create a segment in", &dir))?,
        };
        Ok(Self { disk: disk.clone(), dir, limits, closed, active, producers, end })
    }

    /// First offset that can be read.
    pub(crate) fn start(&self) -> i64 {
        self.closed.front().unwrap_or(&self.active).base
    }

    /// Offset of the next record.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// Whether a segment can be dropped without closing the one that is written to.
    pub(crate) fn has_closed_segments(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Bytes of records.
    pub(crate) fn size(&self) -> u64 {
        self.segments().map(|segment| segment.len).sum()
    }

    /// What to do with a checked batch: append, or answer with what is known of it.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, ErrorCode> {
        claim(header).map_or(Ok(Verdict::Append), |claim| self.producers.check(claim))
    }

    /// Appends one whole batch whose header names [`Log::end`] as its base offset. After an error
    /// the log is as before.
    pub(crate) fn append(&mut self, header: &BatchHeader, batch: Bytes) -> io::Result<Appended> {
        debug_assert_eq!(header.base_offset, self.end);
        let size = batch.len();
        self.make_room(size as u64)?;
        if let Err(error) = self.active.append(batch, self.limits.fsync) {
            // If this fails too, the next append tries again before it writes.
            let _ = self.active.take_back();
            return Err(error);
        }
        self.active.note(header, size as u64);
        self.end = header.last_offset() + 1;
        if let Some(claim) = claim(header) {
            self.producers.appended(claim, header.base_offset, header.last_offset());
        }
        Ok(Appended { base_offset: header.base_offset, bytes: size })
    }

    /// Batches from the one that contains `offset` on, up to `max` bytes. The first one is whole
    /// even if it is longer, when `oversized_first` says so.
    pub(crate) fn read(
        &self,
        offset: i64,
        max: usize,
        oversized_first: Oversized,
    ) -> io::Result<Slice> {
        if offset < self.start() || offset > self.end {
            return Ok(Slice::OutOfRange);
        }
        if offset == self.end {
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
        if let Some(oldest) = self.closed.front() {
            // First, so that no later one is removed while this one stays: that would be a gap.
            self.disk.remove(&oldest.path)?;
        }
        if let Some(oldest) = self.closed.pop_front() {
            let start = self.start();
            self.producers.dropped_below(start);
            self.disk.sync_dir(&self.dir)?;
            tracing::debug!(path = oldest.path, start, "dropped the oldest segment");
        }
        Ok(())
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // The others were synced when they were closed.
        self.active.file.sync()
    }

    /// Begins a new segment if `size` more bytes would make this one too long.
    fn make_room(&mut self, size: u64) -> io::Result<()> {
        let Segment { len, .. } = self.active;
        if len > 0 && len.saturating_add(size) > self.limits.segment_bytes {
            self.roll()
        } else {
            Ok(())
        }
    }

    fn roll(&mut self) -> io::Result<()> {
        self.active.take_back()?;
        // Not left to the policy: by the next file recovery knows that all below its offset was on
        // the disk.
        self.active.file.sync()?;
        let next = Segment::create(&self.disk, &self.dir, self.end)?;
        self.closed.push_back(std::mem::replace(&mut self.active, next));
        Ok(())
    }
}

/// Whether the first batch of a read may exceed the limit, so that a batch longer than any limit
/// can still be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oversized {
    Allowed,
    Refused,
}

impl Segment {
    /// Begins an empty segment.
    fn create(disk: &Disk, dir: &str, base: i64) -> io::Result<Self> {
        let path = segment_path(dir, base);
        // What a failed roll left behind holds nothing that was acknowledged.
        if disk.exists(&path) {
            disk.remove(&path)?;
        }
        let file = disk.create(&path)?;
        disk.sync_dir(dir)?;
        Ok(Self::over(path, base, file))
    }

    /// A segment over a file of which nothing is known yet.
    pub(crate) fn over(path: String, base: i64, file: File) -> Self {
        Self { base, path, file, len: 0, index: Vec::new(), max_timestamp: i64::MIN }
    }

    /// Notes a batch that stands at the end of the file.
    pub(crate) fn note(&mut self, header: &BatchHeader, size: u64) {
        if self.index.last().is_none_or(|last| self.len - last.position >= INDEX_INTERVAL) {
            self.index.push(IndexEntry {
                offset: header.base_offset,
                position: self.len,
                max_timestamp: self.max_timestamp,
            });
        }
        self.len += size;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        if let Some(last) = self.index.last_mut() {
            last.max_timestamp = self.max_timestamp;
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn append(&self, batch: Bytes, fsync: Fsync) -> io::Result<()> {
        self.take_back()?;
        self.file.append(batch)?;
        match fsync {
            Fsync::Always => self.file.sync(),
            Fsync::Never => Ok(()),
        }
    }

    fn take_back(&self) -> io::Result<()> {
        if self.file.len() > self.len { self.file.truncate(self.len) } else { Ok(()) }
    }

    fn read(&self, offset: i64, max: usize, oversized_first: Oversized) -> io::Result<Bytes> {
        let Some((position, size)) = self.find(offset)? else { return Ok(Bytes::new()) };
        let limit = match oversized_first {
            Oversized::Allowed => max.max(size),
            Oversized::Refused => max,
        };
        if size > limit {
            return Ok(Bytes::new());
        }
        // The index says where batches end, so the slice ends with one without looking at them.
        let reach = position.saturating_add(limit as u64);
        let end = if reach >= self.len {
            self.len
        } else {
            let after = self.index.partition_point(|entry| entry.position <= reach);
            let indexed = after.checked_sub(1).and_then(|last| self.index.get(last));
            indexed.map_or(0, |entry| entry.position).max(position + size as u64)
        };
        let length = usize::try_from(end - position).unwrap_or(usize::MAX);
        self.file.read_at(position, length)
    }

    /// Where the batch that contains `offset` stands, and its length.
    fn find(&self, offset: i64) -> io::Result<Option<(u64, usize)>> {
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        let Some(entry) = after.checked_sub(1).and_then(|at| self.index.get(at)) else {
            return Ok(None);
        };
        let mut position = entry.position;
        while position < self.len {
            let Some(header) = self.header_at(position)? else { break };
            if header.last_offset() >= offset {
                return Ok(Some((position, header.total_len())));
            }
            position += header.total_len() as u64;
        }
        Ok(None)
    }

    /// The first batch with a record not older than `timestamp`.
    pub(crate) fn first_since(&self, timestamp: i64) -> io::Result<Option<Bytes>> {
        let Some(mut position) = self.indexed_since(timestamp) else { return Ok(None) };
        while position < self.len {
            let Some(header) = self.header_at(position)? else { break };
            if header.max_timestamp >= timestamp {
                return self.file.read_at(position, header.total_len()).map(Some);
            }
            position += header.total_len() as u64;
        }
        Ok(None)
    }

    /// The last place known from the index before the first batch with a record not older than
    /// `timestamp`.
    fn indexed_since(&self, timestamp: i64) -> Option<u64> {
        // The times in the index never fall.
        let at = self.index.partition_point(|entry| entry.max_timestamp < timestamp);
        self.index.get(at).map(|entry| entry.position)
    }

    fn header_at(&self, position: u64) -> io::Result<Option<BatchHeader>> {
        let bytes = self.file.read_at(position, HEADER_LEN)?;
        BatchHeader::parse(&bytes).map(Some).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} at byte {position}: {error}", self.path),
            )
        })
    }
}

/// The name of the segment that starts at `base`.
fn segment_path(dir: &str, base: i64) -> String {
    format!("{dir}/{base:020}{SEGMENT_SUFFIX}")
}

/// Ends the name of every segment file.
pub(crate) const SEGMENT_SUFFIX: &str = ".log";

/// What a batch says of its producer, if that is an idempotent one.
pub(crate) fn claim(header: &BatchHeader) -> Option<Claim> {
    (header.producer_id >= 0).then_some(Claim {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        count: header.record_count,
    })
}

#[cfg(test)]
mod tests {
    use onrush_record::header::set_base_offset;
    use onrush_record::{BatchBuilder, Compression, Compressor};

    use super::*;

    /// A log of batches of one record of 1,000 bytes, at these times.
    fn log_of(times: &[i64]) -> Log {
        let limits = LogLimits { segment_bytes: 1 << 20, fsync: Fsync::Always };
        let mut log = Log::open(&Disk::memory(), "t-0".to_owned(), limits).expect("opens");
        for time in times {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.append(*time, None, Some(&[7; 1_000]), &[]).expect("fits");
            let sealed = builder.seal(-1, -1, -1, &mut Compressor::default()).expect("sealed");
            let mut batch = sealed;
            set_base_offset(&mut batch, log.end());
            let header = BatchHeader::parse(&batch).expect("a batch");
            log.append(&header, batch.freeze()).expect("appended");
        }
        log
    }

    #[test]
    fn a_time_is_looked_up_near_its_place_also_when_times_go_back() {
        let times: Vec<i64> =
            (0..100).map(|at| if at % 7 == 3 { at / 2 } else { at * 10 }).collect();
        let log = log_of(&times);
        for timestamp in 0..1_000 {
            let expected = times.iter().position(|time| *time >= timestamp);
            let found = log.active.first_since(timestamp).expect("read");
            let offset =
                found.map(|batch| BatchHeader::parse(&batch).expect("a batch").base_offset);
            assert_eq!(offset, expected.map(|at| at as i64), "time {timestamp}");
            let Some(offset) = offset else { continue };
            let (position, _) = log.active.find(offset).expect("read").expect("there");
            let from = log.active.indexed_since(timestamp).expect("indexed");
            let searched = position.checked_sub(from).expect("not behind it");
            assert!(searched <= INDEX_INTERVAL + 1_100, "time {timestamp}: {searched} bytes");
        }
    }
}
