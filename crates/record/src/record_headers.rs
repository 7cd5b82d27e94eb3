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
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    position: usize,
    remaining: i32,
    base_offset: i64,
}

impl<'a> Headers<'a> {
    /// Takes what the cursor has left: the number of headers, which must be possible, and their
    /// bytes, which are checked when they are walked.
    #[inline(always)]
    pub(crate) fn parse(
        cursor: &mut Cursor<'a>,
        base_offset: i64,
    ) -> Result<Headers<'a>, RecordFault> {
        let start = *cursor;
        let remaining = cursor.varint()?;
        let rest = cursor.remaining();
        if remaining == 0 && rest != 0 {
            return Err(RecordFault::TrailingBytes(rest));
        }
        if remaining != 0 && !fits(remaining, rest) {
            *cursor = start;
            return Err(RecordFault::HeaderCount(remaining));
        }
        Ok(Headers { bytes: cursor.bytes(), position: cursor.position(), remaining, base_offset })
    }

    /// Headers that were not returned yet, as the record states it.
    pub fn len(&self) -> usize {
        usize::try_from(self.remaining).unwrap_or(0)
    }

    /// Whether no headers are left.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    fn step(&self, cursor: &mut Cursor<'a>) -> Result<Header<'a>, RecordFault> {
        let start = *cursor;
        let key = match std::str::from_utf8(cursor.required()?) {
            Ok(key) => key,
            Err(_) => {
                *cursor = start;
                return Err(RecordFault::HeaderKey);
            }
        };
        let value = cursor.nullable()?;
        if self.remaining == 1 && cursor.remaining() != 0 {
            return Err(RecordFault::TrailingBytes(cursor.remaining()));
        }
        Ok(Header { key, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let mut cursor = Cursor::new(self.bytes, self.position);
        let step = self.step(&mut cursor);
        self.position = cursor.position();
        self.remaining = if step.is_ok() { self.remaining - 1 } else { 0 };
        Some(step.map_err(|fault| RecordError::Record {
            position: self.position,
            base_offset: self.base_offset,
            fault,
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
