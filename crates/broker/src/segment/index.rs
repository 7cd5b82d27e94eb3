//! The sparse index of a segment: where some of its batches stand, and the latest time up to the next of them.
//!
//! Of a closed segment it is kept in a file next to it, so that the segment needs not be read when the log is opened:
//!
//! ```text
//! base i64 | offset after the last record i64 | bytes u64 | latest time i64 | entries
//! entries: count u32 | (offset i64 | position u64 | latest time i64)*
//! ```
//!
//! The file is not synced. One that is missing, not whole or of a segment of another length is made anew from the
//! segment.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_record::BatchHeader;
use onrush_runtime::Disk;

use super::{Mark, Segment};
use crate::snapshot;

/// Bytes between two entries of a segment's index: what a read searches through at most, besides
/// one batch.
pub(super) const INTERVAL: u64 = 4 * 1024;

/// Ends the name of every index file.
pub(crate) const SUFFIX: &str = ".index";

const ENTRY: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: i64,
    position: u64,
    /// Latest time in the segment up to the next entry.
    max_timestamp: i64,
}

/// The index of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index(Vec<Entry>);

impl Index {
    /// Notes a batch at `position`, before which the latest time was `max_timestamp`.
    pub(super) fn note(&mut self, header: &BatchHeader, position: u64, max_timestamp: i64) {
        if self.0.last().is_none_or(|last| position - last.position >= INTERVAL) {
            self.0.push(Entry { offset: header.base_offset, position, max_timestamp });
        }
        if let Some(last) = self.0.last_mut() {
            last.max_timestamp = max_timestamp.max(header.max_timestamp);
        }
    }

    /// Forgets what stands behind `mark`.
    pub(super) fn cut(&mut self, mark: &Mark) {
        self.0.retain(|entry| entry.position < mark.position);
        if let Some(last) = self.0.last_mut() {
            last.max_timestamp = mark.max_timestamp;
        }
    }

    /// The last known place not behind `offset`.
    pub(super) fn before_offset(&self, offset: i64) -> Option<u64> {
        let after = self.0.partition_point(|entry| entry.offset <= offset);
        Some(self.0.get(after.checked_sub(1)?)?.position)
    }

    /// Offset and position of the last known place; none in an empty segment.
    pub(super) fn last_place(&self) -> Option<(i64, u64)> {
        self.0.last().map(|entry| (entry.offset, entry.position))
    }

    /// The last known place not behind `position`.
    pub(super) fn before_position(&self, position: u64) -> u64 {
        let after = self.0.partition_point(|entry| entry.position <= position);
        let last = after.checked_sub(1).and_then(|last| self.0.get(last));
        last.map_or(0, |entry| entry.position)
    }

    /// The last known place before the first batch with a record not older than `timestamp`.
    pub(super) fn before_time(&self, timestamp: i64) -> Option<u64> {
        // The times in the index never fall.
        let at = self.0.partition_point(|entry| entry.max_timestamp < timestamp);
        self.0.get(at).map(|entry| entry.position)
    }

    /// Whether it can be that of a segment from `base` to `mark`. An index without entries is of an empty one.
    pub(crate) fn is_within(&self, base: i64, mark: &Mark) -> bool {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => {
                first.offset == base
                    && first.position == 0
                    && last.offset < mark.offset
                    && last.position < mark.position
            }
            _ => base == mark.offset && mark.position == 0,
        }
    }

    pub(crate) fn put(&self, buffer: &mut BytesMut) {
        buffer.reserve(4 + self.0.len() * ENTRY);
        buffer.put_u32(self.0.len() as u32);
        for entry in &self.0 {
            buffer.put_i64(entry.offset);
            buffer.put_u64(entry.position);
            buffer.put_i64(entry.max_timestamp);
        }
    }

    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let count = bytes.try_get_u32().ok()? as usize;
        if bytes.len() / ENTRY < count {
            return None;
        }
        let entry = |_| {
            let offset = bytes.try_get_i64().ok()?;
            let position = bytes.try_get_u64().ok()?;
            Some(Entry { offset, position, max_timestamp: bytes.try_get_i64().ok()? })
        };
        let entries = (0..count).map(entry).collect::<Option<Vec<_>>>()?;
        let rises =
            |pair: &[Entry]| pair[0].offset < pair[1].offset && pair[0].position < pair[1].position;
        entries.windows(2).all(rises).then_some(Self(entries))
    }
}

impl Mark {
    pub(crate) fn put(&self, buffer: &mut BytesMut) {
        buffer.put_i64(self.offset);
        buffer.put_u64(self.position);
        buffer.put_i64(self.max_timestamp);
    }

    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let offset = bytes.try_get_i64().ok()?;
        let position = bytes.try_get_u64().ok()?;
        Some(Self { offset, position, max_timestamp: bytes.try_get_i64().ok()? })
    }
}

/// The path of the index of a segment.
pub(crate) fn path_of(segment: &str) -> String {
    let stem = segment.strip_suffix(super::SEGMENT_SUFFIX).unwrap_or(segment);
    format!("{stem}{SUFFIX}")
}

impl Segment {
    /// Writes the index of a segment that ends at `end` to its file.
    pub(crate) fn store_index(&self, disk: &Disk, end: i64) -> io::Result<()> {
        let mut payload = BytesMut::new();
        payload.put_i64(self.base);
        let mark = Mark { offset: end, position: self.len, max_timestamp: self.max_timestamp };
        mark.put(&mut payload);
        self.index.put(&mut payload);
        snapshot::write(disk, &path_of(&self.path), &payload).map(drop)
    }

    /// Takes what the file of the index says, if it is of all bytes of the segment. Returns the offset after the last
    /// record.
    pub(crate) fn load_index(&mut self, disk: &Disk) -> io::Result<Option<i64>> {
        let Some(mut payload) = snapshot::read(disk, &path_of(&self.path))? else {
            return Ok(None);
        };
        if payload.try_get_i64() != Ok(self.base) {
            return Ok(None);
        }
        let stored = Mark::take(&mut payload).zip(Index::take(&mut payload));
        let of_all = |(mark, index): &(Mark, Index)| {
            mark.position == self.file.len() && index.is_within(self.base, mark)
        };
        let Some((mark, index)) = stored.filter(of_all) else { return Ok(None) };
        Ok(self.restore(index, &mark)?.is_ok().then_some(mark.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index(vec![
            Entry { offset: 0, position: 0, max_timestamp: 5 },
            Entry { offset: 7, position: 4_200, max_timestamp: 9 },
        ])
    }

    #[test]
    fn an_index_is_read_back() {
        let mut buffer = BytesMut::new();
        index().put(&mut buffer);
        assert_eq!(Index::take(&mut buffer.freeze()), Some(index()));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let mut buffer = BytesMut::new();
        index().put(&mut buffer);
        for len in 0..buffer.len() {
            assert_eq!(Index::take(&mut buffer.clone().freeze().slice(..len)), None, "{len} bytes");
        }
        let mut endless = Bytes::from_static(&[0xff; 60]);
        assert_eq!(Index::take(&mut endless), None);
        let mut falling = BytesMut::new();
        Index(index().0.into_iter().rev().collect()).put(&mut falling);
        assert_eq!(Index::take(&mut falling.freeze()), None);
    }
}
