//! The records of a batch, walked in place.
//!
//! A record is its length and then: attributes i8 (unused), timestamp delta, offset delta, key,
//! value, number of headers, headers. All numbers but the attributes are varints, and a length of
//! -1 stands for null. A walk may be taken up again at any record: see [`record_at`].

use crate::error::{RecordError, RecordFault};
use crate::header::BatchHeader;
use crate::record_headers::Headers;
use crate::varint::Cursor;

/// A record, borrowed from its batch's records.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970: the producer's, or the broker's where the topic says so.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, not walked yet.
    pub headers: Headers<'a>,
}

/// Walks `payload`, the decompressed records of the batch with this header.
pub fn records<'a>(payload: &'a [u8], header: &BatchHeader) -> Records<'a> {
    Records {
        payload,
        position: 0,
        found: 0,
        lowest: 0,
        origin: Origin::of(header),
        stated: header.record_count,
        done: false,
    }
}

/// Reads the record at `position` once more, and tells where the next one starts.
///
/// Positions come from [`Records::position`]; any other is an error or bytes that happen to read
/// as a record, never a panic.
pub fn record_at<'a>(
    payload: &'a [u8],
    position: usize,
    header: &BatchHeader,
) -> Result<(Record<'a>, usize), RecordError> {
    let origin = Origin::of(header);
    if position >= payload.len() {
        return Err(origin.error(position, RecordFault::Position));
    }
    let (record, _, next) = origin.read(payload, position, 0)?;
    Ok((record, next))
}

/// Iterator over the records of a batch; see [`records`]. It ends after its first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    payload: &'a [u8],
    position: usize,
    found: i32,
    lowest: i32,
    stated: i32,
    origin: Origin,
    done: bool,
}

impl<'a> Records<'a> {
    /// Where the next record starts, for [`record_at`].
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// All stated records were read: nothing may follow them.
    #[cold]
    fn finish(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        let rest = self.payload.len() - self.position;
        if self.done || rest == 0 {
            return None;
        }
        self.fail(RecordFault::TrailingBytes(rest))
    }

    #[cold]
    fn fail(&mut self, fault: RecordFault) -> Option<Result<Record<'a>, RecordError>> {
        self.done = true;
        self.found = self.stated;
        Some(Err(self.origin.error(self.position, fault)))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.found == self.stated {
            return self.finish();
        }
        if self.position == self.payload.len() {
            return self.fail(RecordFault::RecordCount { stated: self.stated, found: self.found });
        }
        match self.origin.read(self.payload, self.position, self.lowest) {
            Ok((record, delta, next)) => {
                self.found += 1;
                self.lowest = delta.saturating_add(1);
                self.position = next;
                Some(Ok(record))
            }
            Err(error) => {
                self.done = true;
                self.found = self.stated;
                Some(Err(error))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.stated - self.found).ok().map(|most| most + 1))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// What a record's fields are relative to.
#[derive(Debug, Clone, Copy)]
struct Origin {
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    last_offset_delta: i32,
}

impl Origin {
    #[inline]
    fn of(header: &BatchHeader) -> Origin {
        Origin {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: header
                .attributes
                .timestamp_type_log_append()
                .then_some(header.max_timestamp),
            last_offset_delta: header.last_offset_delta,
        }
    }

    /// Reads the record at `start`, which is inside; returns it, its offset delta and where the
    /// next one starts.
    #[inline(always)]
    fn read<'a>(
        &self,
        payload: &'a [u8],
        start: usize,
        lowest: i32,
    ) -> Result<(Record<'a>, i32, usize), RecordError> {
        let mut frame = Cursor::new(&payload[start..]);
        let Some(body) = frame.required() else {
            return Err(self.error(start, frame.fault()));
        };
        let next = payload.len() - frame.remaining();
        let mut cursor = Cursor::new(body);
        match self.fields(&mut cursor, lowest, next) {
            Some((record, delta)) => Ok((record, delta, next)),
            None => Err(self.error(next - cursor.remaining(), cursor.fault())),
        }
    }

    #[inline(always)]
    fn fields<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        lowest: i32,
        end: usize,
    ) -> Option<(Record<'a>, i32)> {
        cursor.skip_byte()?;
        let timestamp_delta = cursor.varlong()?;
        let start = cursor.rest();
        let delta = cursor.varint()?;
        if delta < lowest || delta > self.last_offset_delta {
            let highest = self.last_offset_delta;
            return cursor.fail(start, RecordFault::OffsetDelta { delta, lowest, highest });
        }
        let record = Record {
            offset: self.base_offset.wrapping_add(i64::from(delta)),
            timestamp: match self.append_time {
                Some(append_time) => append_time,
                None => self.base_timestamp.wrapping_add(timestamp_delta),
            },
            key: cursor.nullable()?,
            value: cursor.nullable()?,
            headers: Headers::parse(cursor, end, self.base_offset)?,
        };
        Some((record, delta))
    }

    #[cold]
    fn error(&self, position: usize, fault: RecordFault) -> RecordError {
        RecordError::Record { position, base_offset: self.base_offset, fault }
    }
}
