//! The headers of a record, walked when they are asked for.

use crate::error::{RecordError, RecordFault};
use crate::varint::Cursor;

/// The fewest bytes of a header: an empty key and a null value.
const MIN_HEADER_LEN: usize = 2;

/// A name and a value beside a record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; names may repeat.
    pub key: &'a str,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// Iterator over the headers of a record, in their order. It ends after its first error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    remaining: i32,
    /// Where the record ends in its batch's records.
    end: usize,
    base_offset: i64,
}

impl<'a> Headers<'a> {
    /// Takes what the cursor has left: the number of headers, which must be possible, and their
    /// bytes, which are checked when they are walked.
    #[inline(always)]
    pub(crate) fn parse(
        cursor: &mut Cursor<'a>,
        end: usize,
        base_offset: i64,
    ) -> Option<Headers<'a>> {
        let start = cursor.rest();
        let remaining = cursor.varint()?;
        let rest = cursor.rest();
        if remaining == 0 && !rest.is_empty() {
            return cursor.fail(rest, RecordFault::TrailingBytes(rest.len()));
        }
        if remaining != 0 && !fits(remaining, rest.len()) {
            return cursor.fail(start, RecordFault::HeaderCount(remaining));
        }
        Some(Headers { rest, remaining, end, base_offset })
    }

    /// Headers that were not returned yet, as the record states it.
    pub fn len(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(0)
    }

    /// Whether no headers are left.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    fn step(&self, cursor: &mut Cursor<'a>) -> Option<Header<'a>> {
        let start = cursor.rest();
        let Ok(key) = std::str::from_utf8(cursor.required()?) else {
            return cursor.fail(start, RecordFault::HeaderKey);
        };
        let value = cursor.nullable()?;
        let rest = cursor.rest();
        if self.remaining == 1 && !rest.is_empty() {
            return cursor.fail(rest, RecordFault::TrailingBytes(rest.len()));
        }
        Some(Header { key, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let mut cursor = Cursor::new(self.rest);
        let header = self.step(&mut cursor);
        self.rest = cursor.rest();
        self.remaining = if header.is_some() { self.remaining - 1 } else { 0 };
        Some(header.ok_or_else(|| RecordError::Record {
            position: self.end - self.rest.len(),
            base_offset: self.base_offset,
            fault: cursor.fault(),
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.len()))
    }
}

impl std::iter::FusedIterator for Headers<'_> {}

fn fits(count: i32, bytes: usize) -> bool {
    usize::try_from(count).is_ok_and(|count| count <= bytes / MIN_HEADER_LEN)
}
