//! Reading and writing of the protocol's primitive types, with positions for errors.
//!
//! [`Encoding`] is the one thing that differs between versions of a type: fixed-width lengths, or varint lengths with a
//! section of tagged fields after each struct.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{MAX_ELEMENTS, MAX_RESERVED};
use crate::{KafkaString, Uuid, WireError, frame, uuid};

/// Bytes of the longest `u32` varint.
const VARINT_MAX: usize = 5;

/// How lengths are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `i16` before strings, `i32` before bytes and arrays, -1 for null; no tagged fields.
    Fixed,
    /// A varint of length + 1, 0 for null; tagged fields after each struct.
    Compact,
}

impl Encoding {
    pub(crate) const fn flexible(flexible: bool) -> Self {
        if flexible { Self::Compact } else { Self::Fixed }
    }
}

/// A cursor over a buffer that slices and never copies. Every read names its field for the error.
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
    /// Where `bytes` starts in the buffer that positions are told of.
    base: usize,
    encoding: Encoding,
    /// How many array elements may still come, in this and all nested arrays.
    elements: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, encoding: Encoding) -> Self {
        Self { bytes, at: 0, base: 0, encoding, elements: MAX_ELEMENTS }
    }

    pub(crate) fn position(&self) -> usize {
        self.base + self.at
    }

    /// Lengths of what follows are of this encoding.
    pub(crate) fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes that were not read.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes.slice(self.at..)
    }

    /// Ends the decode of `field`: nothing may be left.
    pub(crate) fn finish(&self, field: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(WireError::Trailing { field, position: self.position(), left }),
        }
    }

    fn advance(&mut self, needed: usize, field: &'static str) -> Result<usize, WireError> {
        let left = self.left();
        if needed > left {
            return Err(WireError::Truncated { field, position: self.position(), needed, left });
        }
        let from = self.at;
        self.at += needed;
        Ok(from)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let from = self.advance(N, field)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[from..from + N]);
        Ok(array)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, WireError> {
        self.array(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        self.array(field).map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<Uuid, WireError> {
        self.array(field).map(uuid::from_bytes)
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, WireError> {
        let position = self.position();
        let mut value = 0u64;
        for index in 0..VARINT_MAX {
            let [byte] = self.array(field)?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::BadVarint { field, position });
            }
        }
        Err(WireError::BadVarint { field, position })
    }

    /// A length of bytes or elements; `None` is null.
    fn length(&mut self, field: &'static str) -> Result<Option<usize>, WireError> {
        let position = self.position();
        let length = match self.encoding {
            Encoding::Fixed => i64::from(self.i32(field)?),
            Encoding::Compact => i64::from(self.varint(field)?) - 1,
        };
        nullable(length, field, position)
    }

    fn slice(&mut self, length: usize, field: &'static str) -> Result<Bytes, WireError> {
        let from = self.advance(length, field)?;
        Ok(self.bytes.slice(from..from + length))
    }

    pub(crate) fn nullable_bytes(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Bytes>, WireError> {
        self.length(field)?.map(|length| self.slice(length, field)).transpose()
    }

    pub(crate) fn nullable_string(
        &mut self,
        field: &'static str,
    ) -> Result<Option<KafkaString>, WireError> {
        let position = self.position();
        let length = match self.encoding {
            Encoding::Fixed => nullable(i64::from(self.i16(field)?), field, position)?,
            Encoding::Compact => self.length(field)?,
        };
        let Some(length) = length else { return Ok(None) };
        let bytes = self.slice(length, field)?;
        KafkaString::new(bytes).map(Some).map_err(|_| WireError::BadUtf8 { field, position })
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<KafkaString, WireError> {
        let position = self.position();
        self.nullable_string(field)?.ok_or(WireError::BadLength { field, position, length: -1 })
    }

    /// An array, each element read by `element`; null is an error.
    pub(crate) fn elements<T>(
        &mut self,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let position = self.position();
        self.nullable_elements(field, element)?.ok_or(WireError::BadLength {
            field,
            position,
            length: -1,
        })
    }

    /// An array or null. Every element has at least one byte, so a count above the bytes that are left is refused
    /// before the first element.
    pub(crate) fn nullable_elements<T>(
        &mut self,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let position = self.position();
        let Some(count) = self.length(field)? else { return Ok(None) };
        if count > self.left() {
            return Err(WireError::Truncated { field, position, needed: count, left: self.left() });
        }
        self.elements = self.elements.checked_sub(count).ok_or(WireError::TooLarge {
            field,
            length: count,
            limit: MAX_ELEMENTS,
        })?;
        let mut all = Vec::with_capacity(count.min(MAX_RESERVED));
        for _ in 0..count {
            all.push(element(self)?);
        }
        Ok(Some(all))
    }

    /// The tagged fields that end a struct. `known` reads the ones it knows, wholly, and answers whether it did.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<Tag, WireError>,
    ) -> Result<(), WireError> {
        if self.encoding == Encoding::Fixed {
            return Ok(());
        }
        let mut above = None;
        for _ in 0..self.varint("tagged fields")? {
            let position = self.position();
            let tag = self.varint("tag")?;
            if above.is_some_and(|above| tag <= above) {
                return Err(WireError::TagOrder { tag, position });
            }
            above = Some(tag);
            let length = self.varint("length of a tagged field")? as usize;
            let base = self.position();
            let bytes = self.slice(length, "tagged field")?;
            let mut field =
                Self { bytes, at: 0, base, encoding: self.encoding, elements: self.elements };
            if known(tag, &mut field)? == Tag::Read {
                field.finish("tagged field")?;
            }
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub(crate) fn no_tags(&mut self) -> Result<(), WireError> {
        self.tags(|_, _| Ok(Tag::Unknown))
    }
}

/// What became of a tagged field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Read,
    Unknown,
}

fn nullable(length: i64, field: &'static str, position: usize) -> Result<Option<usize>, WireError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length)
            .ok()
            .filter(|length| *length <= i32::MAX as usize)
            .map(Some)
            .ok_or(WireError::BadLength { field, position, length }),
    }
}

/// A frame under construction: small fields go into one buffer, record batches are remembered at their place in it and
/// never copied.
pub(crate) struct Writer {
    head: BytesMut,
    encoding: Encoding,
    /// What to splice in, and before which byte of `head`.
    splices: Vec<(usize, Bytes)>,
}

impl Writer {
    /// A writer whose first four bytes are kept for the length.
    pub(crate) fn frame(encoding: Encoding) -> Self {
        let mut head = BytesMut::with_capacity(256);
        head.put_bytes(0, frame::PREFIX);
        Self { head, encoding, splices: Vec::new() }
    }

    pub(crate) fn head(&mut self) -> &mut BytesMut {
        &mut self.head
    }

    /// Lengths of what follows are of this encoding.
    pub(crate) fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.head.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.head.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.head.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.head.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.head.put_slice(&value.to_bytes());
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.head.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.head.put_u8(value as u8);
    }

    fn length(&mut self, length: Option<usize>, field: &'static str) -> Result<(), WireError> {
        let value = match length {
            None => -1,
            Some(length) => {
                i32::try_from(length).map_err(|_| too_large(field, length, i32::MAX as usize))?
            }
        };
        match self.encoding {
            Encoding::Fixed => self.i32(value),
            Encoding::Compact => self.varint((value + 1).cast_unsigned()),
        }
        Ok(())
    }

    pub(crate) fn nullable_string(
        &mut self,
        value: Option<&KafkaString>,
        field: &'static str,
    ) -> Result<(), WireError> {
        let length = value.map(KafkaString::len);
        match self.encoding {
            Encoding::Compact => self.length(length, field)?,
            Encoding::Fixed => self.i16(match length {
                None => -1,
                Some(length) => i16::try_from(length)
                    .map_err(|_| too_large(field, length, i16::MAX as usize))?,
            }),
        }
        self.head.put_slice(value.map_or(&[], KafkaString::as_bytes));
        Ok(())
    }

    pub(crate) fn string(
        &mut self,
        value: &KafkaString,
        field: &'static str,
    ) -> Result<(), WireError> {
        self.nullable_string(Some(value), field)
    }

    /// Length-prefixed bytes that stay where they are.
    pub(crate) fn splice(
        &mut self,
        value: Option<&Bytes>,
        field: &'static str,
    ) -> Result<(), WireError> {
        self.length(value.map(Bytes::len), field)?;
        if let Some(bytes) = value.filter(|bytes| !bytes.is_empty()) {
            self.splices.push((self.head.len(), bytes.clone()));
        }
        Ok(())
    }

    pub(crate) fn elements<T>(
        &mut self,
        all: &[T],
        field: &'static str,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.length(Some(all.len()), field)?;
        all.iter().try_for_each(|one| element(self, one))
    }

    pub(crate) fn null_elements(&mut self, field: &'static str) -> Result<(), WireError> {
        self.length(None, field)
    }

    /// The end of a struct without tagged fields.
    pub(crate) fn no_tags(&mut self) {
        if self.encoding == Encoding::Compact {
            self.varint(0);
        }
    }

    /// The end of a struct with at most one tagged field of a fixed length, written by `value`.
    pub(crate) fn tag(&mut self, tag: u32, length: u32, value: impl FnOnce(&mut Self)) {
        self.varint(1);
        self.varint(tag);
        self.varint(length);
        let from = self.head.len();
        value(self);
        debug_assert_eq!(self.head.len() - from, length as usize, "tagged field {tag}");
    }

    /// The frame as segments in order; the first starts with the length of all.
    pub(crate) fn finish(mut self) -> Result<Vec<Bytes>, WireError> {
        let spliced: usize = self.splices.iter().map(|(_, bytes)| bytes.len()).sum();
        let prefix = frame::frame_prefix(self.head.len() - frame::PREFIX + spliced)?;
        self.head[..frame::PREFIX].copy_from_slice(&prefix);
        let mut head = self.head.freeze();
        let mut segments = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut taken = 0;
        for (before, bytes) in self.splices {
            if before > taken {
                segments.push(head.split_to(before - taken));
                taken = before;
            }
            segments.push(bytes);
        }
        if !head.is_empty() {
            segments.push(head);
        }
        Ok(segments)
    }

    /// The frame as one buffer, for messages without record batches.
    pub(crate) fn finish_whole(mut self) -> Result<Bytes, WireError> {
        debug_assert!(self.splices.is_empty(), "record batches are written as segments");
        let prefix = frame::frame_prefix(self.head.len() - frame::PREFIX)?;
        self.head[..frame::PREFIX].copy_from_slice(&prefix);
        Ok(self.head.freeze())
    }
}

fn too_large(field: &'static str, length: usize, limit: usize) -> WireError {
    WireError::TooLarge { field, length, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes), Encoding::Compact)
    }

    fn fixed(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes), Encoding::Fixed)
    }

    #[test]
    fn varints_round_trip_and_stop_after_five_bytes() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x0fff_ffff, 0x1000_0000, u32::MAX] {
            let mut writer = Writer::frame(Encoding::Compact);
            writer.varint(value);
            let frame = writer.finish_whole().expect("short");
            let mut reader = Reader::new(frame.slice(frame::PREFIX..), Encoding::Compact);
            assert_eq!(reader.varint("value"), Ok(value));
            assert_eq!(reader.finish("value"), Ok(()));
        }
        let bad = Err(WireError::BadVarint { field: "value", position: 0 });
        assert_eq!(compact(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint("value"), bad);
        assert_eq!(compact(&[0x80; 6]).varint("value"), bad);
    }

    #[test]
    fn a_hostile_count_is_refused_before_the_first_element() {
        let announced = [
            (fixed(&[0x7f, 0xff, 0xff, 0xff, 0]), i32::MAX as usize),
            (compact(&[0x80, 0x80, 0x80, 0x80, 0x08, 0]), i32::MAX as usize),
            (fixed(&[0, 0, 0, 2, 0]), 2),
        ];
        for (mut reader, needed) in announced {
            let read =
                reader.elements("all", |_| -> Result<(), WireError> { panic!("no element") });
            assert_eq!(
                read,
                Err(WireError::Truncated { field: "all", position: 0, needed, left: 1 })
            );
        }
        let length = i64::from(u32::MAX) - 1;
        assert_eq!(
            compact(&[0xff, 0xff, 0xff, 0xff, 0x0f]).nullable_bytes("records"),
            Err(WireError::BadLength { field: "records", position: 0, length })
        );
        assert_eq!(
            fixed(&[0xff, 0xff, 0xff, 0xfe]).nullable_bytes("records"),
            Err(WireError::BadLength { field: "records", position: 0, length: -2 })
        );
    }

    #[test]
    fn elements_are_counted_over_all_nested_arrays() {
        // Arrays of as many elements as are allowed in all, twice.
        let count = i32::try_from(MAX_ELEMENTS).expect("fits").to_be_bytes();
        let mut bytes = BytesMut::new();
        for _ in 0..2 {
            bytes.put_slice(&count);
            bytes.put_bytes(0, MAX_ELEMENTS);
        }
        let mut reader = Reader::new(bytes.freeze(), Encoding::Fixed);
        let mut read = || reader.elements("all", |reader| reader.i8("one")).map(|all| all.len());
        assert_eq!(read(), Ok(MAX_ELEMENTS));
        let too_large =
            WireError::TooLarge { field: "all", length: MAX_ELEMENTS, limit: MAX_ELEMENTS };
        assert_eq!(read(), Err(too_large));
    }

    #[test]
    fn null_is_an_error_where_the_schema_has_none() {
        let null = |position| WireError::BadLength { field: "name", position, length: -1 };
        assert_eq!(fixed(&[0xff, 0xff]).string("name"), Err(null(0)));
        assert_eq!(compact(&[0]).string("name"), Err(null(0)));
        assert_eq!(compact(&[0]).elements("name", |reader| reader.i8("one")), Err(null(0)));
        assert_eq!(compact(&[0]).nullable_string("name"), Ok(None));
    }

    #[test]
    fn strings_are_utf8() {
        let bad = WireError::BadUtf8 { field: "name", position: 0 };
        assert_eq!(compact(&[3, 0xc3, 0x28]).string("name"), Err(bad));
    }

    #[test]
    fn tagged_fields_ascend_and_are_read_wholly() {
        let one = |tag: u32, reader: &mut Reader| match tag {
            1 => reader.i8("one").map(|_| Tag::Read),
            _ => Ok(Tag::Unknown),
        };
        assert_eq!(compact(&[2, 1, 1, 7, 9, 2, 0, 0]).tags(one), Ok(()));
        assert_eq!(
            compact(&[2, 2, 0, 2, 0]).tags(one),
            Err(WireError::TagOrder { tag: 2, position: 3 })
        );
        let trailing = WireError::Trailing { field: "tagged field", position: 4, left: 1 };
        assert_eq!(compact(&[1, 1, 2, 7, 7]).tags(one), Err(trailing));
        let cut = WireError::Truncated { field: "tagged field", position: 3, needed: 9, left: 1 };
        assert_eq!(compact(&[1, 1, 9, 7]).tags(one), Err(cut));
    }

    #[test]
    fn segments_keep_order_and_leave_out_nothing() {
        let mut writer = Writer::frame(Encoding::Fixed);
        writer.splice(Some(&Bytes::from_static(b"ab")), "first").expect("short");
        writer.splice(Some(&Bytes::new()), "empty").expect("short");
        writer.splice(None, "null").expect("short");
        writer.splice(Some(&Bytes::from_static(b"c")), "last").expect("short");
        let segments = writer.finish().expect("short");
        assert_eq!(segments.len(), 4);
        assert_eq!(segments.concat(), b"\0\0\0\x13\0\0\0\x02ab\0\0\0\0\xff\xff\xff\xff\0\0\0\x01c");
    }
}
