//! One file of a log: whole batches, nothing else, and a sparse index of them.
//!
//! The file is named by the first offset in it. What stands behind [`Segment::visible`] is not shown to readers: it waits
//! to be synced, and is taken back if that fails.

pub(crate) mod index;

use std::io;

use bytes::Bytes;
use onrush_record::{BatchHeader, HEADER_LEN};
use onrush_runtime::{Disk, Fault, File};

pub(crate) use self::index::Index;
use crate::producers::Claim;

/// Ends the name of every segment file.
pub(crate) const SEGMENT_SUFFIX: &str = ".log";

/// One file of a log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    path: String,
    file: File,
    /// Bytes of whole batches. The file is longer only if a failed append could not be taken back
    /// yet.
    pub(crate) len: u64,
    /// Bytes of them that readers see.
    visible: u64,
    index: Index,
    pub(crate) max_timestamp: i64,
    /// Latest time in the first batch.
    first_timestamp: Option<i64>,
}

/// Whether the first batch of a read may exceed the limit, so that a batch longer than any limit
/// can still be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oversized {
    Allowed,
    Refused,
}

/// A place in a segment between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offset of the next record.
    pub(crate) offset: i64,
    pub(crate) position: u64,
    /// Latest time below.
    pub(crate) max_timestamp: i64,
}

impl Mark {
    /// The beginning of a segment.
    pub(crate) fn at_start(base: i64) -> Self {
        Self { offset: base, position: 0, max_timestamp: i64::MIN }
    }
}

impl Segment {
    /// Begins an empty segment.
    pub(crate) fn create(disk: &Disk, dir: &str, base: i64) -> io::Result<Self> {
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
        Self {
            base,
            path,
            file,
            len: 0,
            visible: 0,
            index: Index::default(),
            max_timestamp: i64::MIN,
            first_timestamp: None,
        }
    }

    /// Notes a batch that stands at the end of the file.
    pub(crate) fn note(&mut self, header: &BatchHeader, size: u64) {
        self.index.note(header, self.len, self.max_timestamp);
        if self.len == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        self.len += size;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Takes the bytes up to `mark` for read, with this index. Readers see them. Otherwise nothing is done, and the error is
    /// the place where other bytes stand than were noted there.
    pub(crate) fn restore(&mut self, index: Index, mark: &Mark) -> io::Result<Result<(), u64>> {
        let mut first_timestamp = None;
        if let Some(last) = index.last_place() {
            match self.batch_at(0)?.filter(|first| first.base_offset == self.base) {
                Some(first) => first_timestamp = Some(first.max_timestamp),
                None => return Ok(Err(0)),
            }
            if let Some(astray) = self.astray(last, mark)? {
                return Ok(Err(astray));
            }
        }
        self.first_timestamp = first_timestamp;
        self.index = index;
        self.len = mark.position;
        self.visible = mark.position;
        self.max_timestamp = mark.max_timestamp;
        Ok(Ok(()))
    }

    /// The place from which the batches do not lead to `mark`, if they do not from this offset and position on.
    fn astray(&self, from: (i64, u64), mark: &Mark) -> io::Result<Option<u64>> {
        let (mut next, mut position) = from;
        while position < mark.position {
            let found = self.batch_at(position)?.filter(|found| found.base_offset == next);
            let Some(header) = found else { return Ok(Some(position)) };
            let end = position + header.total_len() as u64;
            next = header.last_offset().saturating_add(1);
            if end > mark.position || end == mark.position && next != mark.offset {
                return Ok(Some(position));
            }
            position = end;
        }
        Ok(None)
    }

    /// The header of a batch that should stand there.
    fn batch_at(&self, position: u64) -> io::Result<Option<BatchHeader>> {
        Ok(BatchHeader::parse(&self.file.read_at(position, HEADER_LEN)?).ok())
    }

    /// Latest time in the first batch, if there is one.
    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        self.first_timestamp
    }

    /// The index up to `mark`.
    pub(crate) fn index_up_to(&self, mark: &Mark) -> Index {
        let mut index = self.index.clone();
        index.cut(mark);
        index
    }

    /// Shows readers everything up to `position`. Returns how many bytes are new to them.
    pub(crate) fn show(&mut self, position: u64) -> u64 {
        let before = self.visible;
        self.visible = position.clamp(before, self.len);
        self.visible - before
    }

    /// Takes back what stands behind `mark`.
    pub(crate) fn cut(&mut self, mark: &Mark) {
        self.index.cut(mark);
        self.len = self.len.min(mark.position);
        self.visible = self.visible.min(self.len);
        self.max_timestamp = mark.max_timestamp;
        self.first_timestamp = self.first_timestamp.filter(|_| self.len > 0);
        // If this fails, the next append tries again before it writes.
        if let Err(error) = self.take_back() {
            tracing::error!(path = self.path, code = %Fault::BrokerStorage, %error, "cannot cut a segment");
        }
    }

    /// Removes the file of the index of a segment that was removed.
    pub(crate) fn remove_index(&self, disk: &Disk) {
        let path = index::path_of(&self.path);
        if disk.exists(&path)
            && let Err(error) = disk.remove(&path)
        {
            tracing::warn!(path, %error, "cannot remove the index of a segment that is gone");
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes behind what is noted. After an error the segment is as before.
    pub(crate) fn append(&self, batch: Bytes) -> io::Result<()> {
        self.take_back()?;
        let written = self.file.append(batch).map(drop);
        if written.is_err() {
            // If this fails too, the next append tries again before it writes.
            let _ = self.take_back();
        }
        written
    }

    /// Cuts what a failed append left in the file.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        if self.file.len() > self.len { self.file.truncate(self.len) } else { Ok(()) }
    }

    pub(crate) fn read(
        &self,
        offset: i64,
        max: usize,
        oversized_first: Oversized,
    ) -> io::Result<Bytes> {
        let Some((position, size)) = self.find(offset)? else {
            return Err(self.damaged(self.visible, &format!("no batch with offset {offset}")));
        };
        let limit = match oversized_first {
            Oversized::Allowed => max.max(size),
            Oversized::Refused => max,
        };
        if size > limit {
            return Ok(Bytes::new());
        }
        // The index says where batches end, so the slice ends with one without looking at them.
        let reach = position.saturating_add(limit as u64);
        let end = if reach >= self.visible {
            self.visible
        } else {
            self.index.before_position(reach).max(position + size as u64)
        };
        let length = usize::try_from(end - position).unwrap_or(usize::MAX);
        Ok(in_order(self.file.read_at(position, length)?))
    }

    /// Where the batch that contains `offset` stands, and its length.
    fn find(&self, offset: i64) -> io::Result<Option<(u64, usize)>> {
        let Some(mut position) = self.index.before_offset(offset) else { return Ok(None) };
        while position < self.visible {
            let header = self.header_at(position)?;
            if header.last_offset() >= offset {
                // No checksum covers the offset of a batch.
                if header.base_offset > offset {
                    let first = header.base_offset;
                    let reason = format!("a batch with offset {first} where {offset} must be");
                    return Err(self.damaged(position, &reason));
                }
                return Ok(Some((position, header.total_len())));
            }
            position += header.total_len() as u64;
        }
        Ok(None)
    }

    /// The first batch with a record not older than `timestamp`.
    pub(crate) fn first_since(&self, timestamp: i64) -> io::Result<Option<Bytes>> {
        let Some(mut position) = self.index.before_time(timestamp) else { return Ok(None) };
        while position < self.visible {
            let header = self.header_at(position)?;
            if header.max_timestamp >= timestamp {
                return self.file.read_at(position, header.total_len()).map(Some);
            }
            position += header.total_len() as u64;
        }
        Ok(None)
    }

    /// The latest time of what readers see from offset `from` on; `i64::MIN` for none.
    pub(crate) fn latest_since(&self, from: i64) -> io::Result<i64> {
        if from <= self.base && self.visible == self.len {
            return Ok(self.max_timestamp);
        }
        let mut latest = i64::MIN;
        let found = self.find(from.max(self.base))?;
        let mut position = found.map_or(self.visible, |(position, _)| position);
        while position < self.visible {
            let header = self.header_at(position)?;
            latest = latest.max(header.max_timestamp);
            position += header.total_len() as u64;
        }
        Ok(latest)
    }

    /// The header of the batch at `position`, of which readers see all.
    fn header_at(&self, position: u64) -> io::Result<BatchHeader> {
        let bytes = self.file.read_at(position, HEADER_LEN)?;
        let header = BatchHeader::parse(&bytes)
            .map_err(|error| self.damaged(position, &error.to_string()))?;
        let length = header.total_len() as u64;
        if length > self.visible - position {
            let reason = format!("a batch of {length} bytes, more than there are");
            return Err(self.damaged(position, &reason));
        }
        Ok(header)
    }

    fn damaged(&self, position: u64, reason: &str) -> io::Error {
        let reason = format!("{} at byte {position}: {reason}", self.path);
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }
}

/// What is whole of `slice`, up to the first batch that does not follow the one before: a read that begins there says so.
fn in_order(slice: Bytes) -> Bytes {
    let (mut position, mut next) = (0, None);
    while let Some(Ok(header)) = slice.get(position..).map(BatchHeader::parse) {
        let end = position + header.total_len();
        if next.is_some_and(|next| header.base_offset != next) || end > slice.len() {
            break;
        }
        (position, next) = (end, Some(header.last_offset().saturating_add(1)));
    }
    slice.slice(..position)
}

/// The name of the segment that starts at `base`.
pub(crate) fn segment_path(dir: &str, base: i64) -> String {
    format!("{dir}/{base:020}{SEGMENT_SUFFIX}")
}

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

    /// A segment of batches of one record of 1,000 bytes, at these times.
    fn segment_of(times: &[i64]) -> Segment {
        let disk = Disk::memory();
        disk.create_dir("t-0").expect("created");
        let mut segment = Segment::create(&disk, "t-0", 0).expect("created");
        for (offset, time) in (0..).zip(times) {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.append(*time, None, Some(&[7; 1_000]), &[]).expect("fits");
            let mut batch = builder.seal(-1, -1, -1, &mut Compressor::default()).expect("sealed");
            set_base_offset(&mut batch, offset);
            let header = BatchHeader::parse(&batch).expect("a batch");
            let size = batch.len() as u64;
            segment.append(batch.freeze()).expect("appended");
            segment.note(&header, size);
        }
        segment.show(u64::MAX);
        segment
    }

    #[test]
    fn a_time_is_looked_up_near_its_place_also_when_times_go_back() {
        let times: Vec<i64> =
            (0..100).map(|at| if at % 7 == 3 { at / 2 } else { at * 10 }).collect();
        let segment = segment_of(&times);
        for timestamp in 0..1_000 {
            let expected = times.iter().position(|time| *time >= timestamp);
            let found = segment.first_since(timestamp).expect("read");
            let offset =
                found.map(|batch| BatchHeader::parse(&batch).expect("a batch").base_offset);
            assert_eq!(offset, expected.map(|at| at as i64), "time {timestamp}");
            let Some(offset) = offset else { continue };
            let (position, _) = segment.find(offset).expect("read").expect("there");
            let from = segment.index.before_time(timestamp).expect("indexed");
            let searched = position.checked_sub(from).expect("not behind it");
            assert!(searched <= index::INTERVAL + 1_100, "time {timestamp}: {searched} bytes");
        }
    }

    #[test]
    fn a_length_that_changed_on_the_disk_is_not_believed() {
        let segment = segment_of(&[0, 10, 20]);
        let second = segment.len / 3;
        let mut bytes = segment.file.read_at(0, 10_000).expect("read").to_vec();
        bytes[usize::try_from(second).expect("small") + 8] = 0x7f;
        segment.file.truncate(0).expect("cut");
        segment.file.append(bytes.into()).expect("written");
        for found in
            [segment.read(2, 10_000, Oversized::Allowed), segment.read(1, 1, Oversized::Allowed)]
        {
            assert_eq!(found.expect_err("damaged").kind(), io::ErrorKind::InvalidData);
        }
        assert!(segment.first_since(5).is_err() && segment.latest_since(1).is_err());
    }

    #[test]
    fn a_mark_is_believed_only_where_batches_lead_to_it() {
        let written = segment_of(&[0, 10, 20]);
        let length = written.len / 3;
        let mark = |offset, position| Mark { offset, position, max_timestamp: 20 };
        let restored = |base, mark: &Mark| {
            let mut segment = Segment::over(String::new(), base, written.file.clone());
            segment.restore(written.index_up_to(mark), mark).expect("read")
        };
        for (offset, position) in [(3, 3 * length), (2, 2 * length), (0, 0)] {
            assert_eq!(restored(0, &mark(offset, position)), Ok(()));
        }
        for (offset, position, astray) in
            [(2, 3 * length, 2 * length), (4, 3 * length, 2 * length), (2, 2 * length - 1, length)]
        {
            assert_eq!(restored(0, &mark(offset, position)), Err(astray), "{offset} {position}");
        }
        assert_eq!(restored(1, &mark(3, 3 * length)), Err(0));
    }

    #[test]
    fn an_offset_that_changed_on_the_disk_is_not_served() {
        let segment = segment_of(&[0, 10, 20]);
        let second = segment.len / 3;
        let mut bytes = segment.file.read_at(0, 10_000).expect("read").to_vec();
        bytes[usize::try_from(second).expect("small") + 5] = 1;
        segment.file.truncate(0).expect("cut");
        segment.file.append(bytes.into()).expect("written");
        let read = |offset| segment.read(offset, 10_000, Oversized::Allowed);
        assert_eq!(read(0).expect("intact").len() as u64, second);
        for offset in [1, 2] {
            let error = read(offset).expect_err("damaged");
            assert!(error.to_string().contains(&format!("at byte {second}: ")), "{error}");
        }
    }

    #[test]
    fn a_cut_segment_is_as_if_the_rest_had_never_been_written() {
        let whole: Vec<i64> = (0..40).map(|at| at * 10).collect();
        let short = segment_of(&whole[..23]);
        let mark = Mark { offset: 23, position: short.len, max_timestamp: short.max_timestamp };
        let mut cut = segment_of(&whole);
        cut.cut(&mark);
        assert_eq!((cut.len, cut.file.len()), (short.len, short.len));
        assert_eq!(cut.max_timestamp, short.max_timestamp);
        for timestamp in 0..400 {
            let [of_cut, of_short] =
                [&cut, &short].map(|segment| segment.first_since(timestamp).expect("read"));
            assert_eq!(of_cut, of_short, "time {timestamp}");
        }
    }
}
