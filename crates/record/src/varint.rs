//! Zig-zag varints: seven bits a byte, the lowest first.
//!
//! Fields of 32 and of 64 bits share the encoding, because zig-zag gives a value the same bits in
//! both widths.

use crate::error::RecordFault;

/// Longest encoding of a 32-bit value.
pub(crate) const MAX_LEN_32: usize = 5;
/// Longest encoding of a 64-bit value.
pub(crate) const MAX_LEN_64: usize = 10;

/// Bytes that `value` takes.
#[inline(always)]
pub(crate) fn len(value: i64) -> usize {
    (70 - (zigzag(value) | 1).leading_zeros() as usize) / 7
}

/// Writes `value` at `at`, and returns the place after it.
#[inline(always)]
pub(crate) fn put(bytes: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        bytes[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    bytes[at] = rest as u8;
    at + 1
}

#[inline(always)]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline(always)]
const fn unzigzag(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

/// A place in record bytes. After an error it is where the field that is wrong starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], position: usize) -> Cursor<'a> {
        Cursor { bytes, position }
    }

    /// The bytes that the cursor is in, which end where it must.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Steps over a byte whose value does not matter.
    #[inline(always)]
    pub(crate) fn skip_byte(&mut self) -> Result<(), RecordFault> {
        if self.remaining() == 0 {
            return Err(RecordFault::Truncated);
        }
        self.position += 1;
        Ok(())
    }

    /// A varint of 32 bits; one and two bytes are what lengths and deltas nearly always take.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<i32, RecordFault> {
        if let Some(value) = self.short() {
            return Ok(value as i32);
        }
        let (bits, end) = long(self.bytes, self.position, MAX_LEN_32)?;
        let bits = u32::try_from(bits).map_err(|_| RecordFault::Varint)?;
        self.position = end;
        Ok(unzigzag(u64::from(bits)) as i32)
    }

    /// A varint of 64 bits.
    #[inline(always)]
    pub(crate) fn varlong(&mut self) -> Result<i64, RecordFault> {
        if let Some(value) = self.short() {
            return Ok(value);
        }
        let (bits, end) = long(self.bytes, self.position, MAX_LEN_64)?;
        self.position = end;
        Ok(unzigzag(bits))
    }

    /// A varint of one or two bytes.
    #[inline(always)]
    fn short(&mut self) -> Option<i64> {
        let first = *self.bytes.get(self.position)?;
        if first < 0x80 {
            self.position += 1;
            return Some(unzigzag(u64::from(first)));
        }
        let second = *self.bytes.get(self.position + 1)?;
        if second < 0x80 {
            self.position += 2;
            return Some(unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7));
        }
        None
    }

    /// Bytes after their length, which is -1 for none.
    #[inline(always)]
    pub(crate) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        let start = self.position;
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        self.take(start, length).map(Some)
    }

    /// Bytes after their length.
    #[inline(always)]
    pub(crate) fn required(&mut self) -> Result<&'a [u8], RecordFault> {
        let start = self.position;
        let length = self.varint()?;
        self.take(start, length)
    }

    #[inline(always)]
    fn take(&mut self, start: usize, length: i32) -> Result<&'a [u8], RecordFault> {
        let found =
            usize::try_from(length).map_err(|_| RecordFault::Length(length)).and_then(|length| {
                let end = self.position.saturating_add(length);
                self.bytes.get(self.position..end).ok_or(RecordFault::Truncated)
            });
        match found {
            Ok(bytes) => self.position += bytes.len(),
            Err(_) => self.position = start,
        }
        found
    }
}

/// Decodes up to `limit` bytes; returns the bits and the place after them.
#[cold]
fn long(bytes: &[u8], start: usize, limit: usize) -> Result<(u64, usize), RecordFault> {
    let rest = bytes.get(start..).unwrap_or_default();
    let mut bits = 0u64;
    for (index, byte) in rest.iter().take(limit).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shifted = group << (7 * index);
        if shifted >> (7 * index) != group {
            return Err(RecordFault::Varint);
        }
        bits |= shifted;
        if byte & 0x80 == 0 {
            return Ok((bits, start + index + 1));
        }
    }
    Err(if rest.len() < limit { RecordFault::Truncated } else { RecordFault::Varint })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut bytes = [0; MAX_LEN_64];
        let end = put(&mut bytes, 0, value);
        bytes[..end].to_vec()
    }

    #[test]
    fn known_encodings() {
        let cases: [(i64, &[u8]); 7] = [
            (0, &[0]),
            (-1, &[1]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (value, bytes) in cases {
            assert_eq!(encoded(value), bytes);
        }
    }

    #[test]
    fn more_bits_than_the_type_are_refused() {
        let case = |bytes: &[u8]| (Cursor::new(bytes, 0).varint(), Cursor::new(bytes, 0).varlong());
        let sixth = [0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(case(&sixth).0, Err(RecordFault::Varint));
        assert!(case(&sixth).1.is_ok());
        assert_eq!(case(&[0xff, 0xff, 0xff, 0xff, 0x1f]).0, Err(RecordFault::Varint));
        assert_eq!(case(&[0xff; 11]), (Err(RecordFault::Varint), Err(RecordFault::Varint)));
        let high = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(case(&high).1, Err(RecordFault::Varint));
        assert_eq!(case(&[0x80, 0x80]), (Err(RecordFault::Truncated), Err(RecordFault::Truncated)));
        assert_eq!(case(&[]), (Err(RecordFault::Truncated), Err(RecordFault::Truncated)));
    }

    proptest! {
        #[test]
        fn long_values_come_back(value: i64) {
            let bytes = encoded(value);
            let mut cursor = Cursor::new(&bytes, 0);
            prop_assert_eq!(bytes.len(), len(value));
            prop_assert_eq!(cursor.varlong(), Ok(value));
            prop_assert_eq!(cursor.remaining(), 0);
        }

        #[test]
        fn int_values_come_back(value: i32, shift in 0..32u32) {
            let value = value >> shift;
            let bytes = encoded(i64::from(value));
            prop_assert!(bytes.len() <= MAX_LEN_32);
            prop_assert_eq!(Cursor::new(&bytes, 0).varint(), Ok(value));
        }
    }
}
