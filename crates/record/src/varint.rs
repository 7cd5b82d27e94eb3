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
    match zigzag(value) {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        bits => (70 - bits.leading_zeros() as usize) / 7,
    }
}

/// Writes `value` at `at`, and returns the place after it.
#[inline(always)]
pub(crate) fn put(bytes: &mut [u8], at: usize, value: i64) -> usize {
    match zigzag(value) {
        bits @ 0..0x80 => {
            bytes[at] = bits as u8;
            at + 1
        }
        bits @ 0x80..0x4000 => {
            bytes[at..at + 2].copy_from_slice(&[bits as u8 | 0x80, (bits >> 7) as u8]);
            at + 2
        }
        bits => put_long(bytes, at, bits),
    }
}

#[inline(never)]
fn put_long(bytes: &mut [u8], mut at: usize, mut bits: u64) -> usize {
    while bits >= 0x80 {
        bytes[at] = bits as u8 | 0x80;
        bits >>= 7;
        at += 1;
    }
    bytes[at] = bits as u8;
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

/// A place in record bytes.
///
/// What cannot be read is `None`; then [`Cursor::fault`] is the reason and [`Cursor::remaining`]
/// counts from the start of the field that is wrong. The reason stands beside the value, since
/// carrying it in a `Result` doubles the time of a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    fault: RecordFault,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes, fault: RecordFault::Truncated }
    }

    #[inline(always)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Why the last step failed.
    #[inline(always)]
    pub(crate) fn fault(&self) -> RecordFault {
        self.fault
    }

    /// Fails for a reason, at a place before.
    #[inline(always)]
    pub(crate) fn fail<T>(&mut self, at: &'a [u8], fault: RecordFault) -> Option<T> {
        self.rest = at;
        self.fault = fault;
        None
    }

    /// Steps over a byte whose value does not matter.
    #[inline(always)]
    pub(crate) fn skip_byte(&mut self) -> Option<()> {
        self.rest = self.rest.get(1..)?;
        Some(())
    }

    /// A varint of 32 bits; one and two bytes are what lengths and deltas nearly always take.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Option<i32> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(u64::from(*first)) as i32)
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(two(*first, *second)) as i32)
            }
            start => match long(start, u32::BITS) {
                Ok((bits, rest)) => {
                    self.rest = rest;
                    Some(unzigzag(bits) as i32)
                }
                Err(fault) => self.fail(start, fault),
            },
        }
    }

    /// A varint of 64 bits.
    #[inline(always)]
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        match self.rest {
            [first @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(u64::from(*first)))
            }
            [first, second @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Some(unzigzag(two(*first, *second)))
            }
            start => match long(start, u64::BITS) {
                Ok((bits, rest)) => {
                    self.rest = rest;
                    Some(unzigzag(bits))
                }
                Err(fault) => self.fail(start, fault),
            },
        }
    }

    /// Bytes after their length, which is -1 for none.
    #[inline(always)]
    pub(crate) fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        let start = self.rest;
        match self.varint()? {
            -1 => Some(None),
            length => Some(Some(self.take(start, length)?)),
        }
    }

    /// Bytes after their length.
    #[inline(always)]
    pub(crate) fn required(&mut self) -> Option<&'a [u8]> {
        let start = self.rest;
        let length = self.varint()?;
        self.take(start, length)
    }

    #[inline(always)]
    fn take(&mut self, start: &'a [u8], length: i32) -> Option<&'a [u8]> {
        // A negative length is above every slice's, so one comparison serves both faults.
        match self.rest.split_at_checked(length as usize) {
            Some((taken, rest)) => {
                self.rest = rest;
                Some(taken)
            }
            None if length < 0 => self.fail(start, RecordFault::Length(length)),
            None => self.fail(start, RecordFault::Truncated),
        }
    }
}

#[inline(always)]
fn two(first: u8, second: u8) -> u64 {
    u64::from(first & 0x7f) | u64::from(second) << 7
}

/// Decodes a varint of any length whose value has at most `width` bits; returns its bits and what
/// follows it.
#[inline(never)]
fn long(bytes: &[u8], width: u32) -> Result<(u64, &[u8]), RecordFault> {
    let mut bits = 0u64;
    let mut shift = 0;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let group = u64::from(byte & 0x7f);
        if shift >= width || (width - shift < 7 && group >> (width - shift) != 0) {
            return Err(RecordFault::Varint);
        }
        bits |= group << shift;
        if byte & 0x80 == 0 {
            return Ok((bits, after));
        }
        shift += 7;
        rest = after;
    }
    Err(if shift < width { RecordFault::Truncated } else { RecordFault::Varint })
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
        let int = |bytes: &[u8]| {
            let mut cursor = Cursor::new(bytes);
            cursor.varint().ok_or_else(|| cursor.fault())
        };
        let long = |bytes: &[u8]| {
            let mut cursor = Cursor::new(bytes);
            cursor.varlong().ok_or_else(|| cursor.fault())
        };
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(RecordFault::Varint));
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(RecordFault::Varint));
        assert!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_ok());
        let high = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(long(&high), Err(RecordFault::Varint));
        assert_eq!(int(&[0xff; 11]), Err(RecordFault::Varint));
        assert_eq!(long(&[0xff; 11]), Err(RecordFault::Varint));
        for cut in [&[][..], &[0x80], &[0x80, 0x80]] {
            assert_eq!(int(cut), Err(RecordFault::Truncated));
            assert_eq!(long(cut), Err(RecordFault::Truncated));
        }
    }

    proptest! {
        #[test]
        fn long_values_come_back(value: i64) {
            let bytes = encoded(value);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(bytes.len(), len(value));
            prop_assert_eq!(cursor.varlong(), Some(value));
            prop_assert_eq!(cursor.remaining(), 0);
        }

        #[test]
        fn int_values_come_back(value: i32, shift in 0..32u32) {
            let value = value >> shift;
            let bytes = encoded(i64::from(value));
            prop_assert!(bytes.len() <= MAX_LEN_32);
            prop_assert_eq!(Cursor::new(&bytes).varint(), Some(value));
        }
    }
}
