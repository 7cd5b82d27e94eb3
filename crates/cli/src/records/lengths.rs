//! Key and value, each with its length before it: a 32-bit signed integer, big-endian, -1 for none. It is what kcat writes
//! with `%R` before a value, and rpk with `%K{big32}%k%V{big32}%v` where nothing is null.

use onrush_record::Record;

use super::malformed::{Malformed, Place, Reason};
use super::{Fields, Step};

const LENGTH: usize = 4;
const NONE: i32 = -1;

/// Reads pairs of key and value.
#[derive(Debug)]
pub(crate) struct LengthsDecoder {
    /// Bytes of the records before.
    consumed: u64,
    /// Where the record that was read last starts.
    last: u64,
    limit: usize,
}

impl LengthsDecoder {
    pub(crate) fn new(limit: usize) -> Self {
        Self { consumed: 0, last: 0, limit }
    }

    pub(crate) fn next<'a>(&mut self, input: &'a [u8], ends: bool) -> Result<Step<'a>, Malformed> {
        let mut rest = input;
        let pair = match self.field(input, &mut rest, "key")? {
            Some(key) => self.field(input, &mut rest, "value")?.map(|value| (key, value)),
            None => None,
        };
        match pair {
            Some((key, value)) => {
                let consumed = input.len() - rest.len();
                self.last = self.consumed;
                self.consumed += u64::try_from(consumed).unwrap_or(u64::MAX);
                Ok(Step { consumed, record: Some(Fields { key, value, ..Fields::default() }) })
            }
            None if ends && !input.is_empty() => {
                Err(Malformed { place: Place::Byte(self.consumed), reason: Reason::Cut })
            }
            None => Ok(Step::default()),
        }
    }

    /// Takes a field off `rest`, if all of it is there.
    fn field<'a>(
        &self,
        input: &[u8],
        rest: &mut &'a [u8],
        field: &'static str,
    ) -> Result<Option<Option<&'a [u8]>>, Malformed> {
        let Some((length, after)) = rest.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let fault = |reason| {
            let before = u64::try_from(input.len() - rest.len()).unwrap_or(0);
            Malformed { place: Place::Byte(self.consumed + before), reason }
        };
        if length == NONE {
            *rest = after;
            return Ok(Some(None));
        }
        let Ok(bytes) = usize::try_from(length) else {
            return Err(fault(Reason::Length { field, length }));
        };
        if bytes > self.limit {
            return Err(fault(Reason::TooLarge { limit: self.limit }));
        }
        Ok(after.split_at_checked(bytes).map(|(bytes, after)| {
            *rest = after;
            Some(bytes)
        }))
    }

    /// The record that was read last.
    pub(crate) fn place(&self) -> Place {
        Place::Byte(self.last)
    }
}

/// Writes a record's key and value.
pub(crate) fn write(out: &mut Vec<u8>, record: &Record<'_>) {
    for field in [record.key, record.value] {
        // A field of a batch is shorter than 2 GiB.
        let length = field.map_or(NONE, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(field.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &[u8] =
        b"\0\0\0\x01k\0\0\0\x02\xff\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\xff\xff\xff\xff";

    #[test]
    fn pairs_come_whole_in_whatever_pieces_they_come() {
        for size in 1..INPUT.len() {
            let mut decoder = LengthsDecoder::new(100);
            let (mut pairs, mut start, mut end) = (Vec::new(), 0, 0);
            while start < INPUT.len() {
                let step = decoder.next(&INPUT[start..end], end == INPUT.len()).expect("valid");
                if let Some(fields) = step.record {
                    pairs.push((fields.key, fields.value, decoder.place()));
                    start += step.consumed;
                } else {
                    end = INPUT.len().min(end + size);
                }
            }
            let expected = [
                (Some(&b"k"[..]), Some(&b"\xff\0"[..]), Place::Byte(0)),
                (None, Some(&b""[..]), Place::Byte(11)),
                (Some(&b""[..]), None, Place::Byte(19)),
            ];
            assert_eq!(pairs, expected);
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_byte() {
        let fault = |input: &[u8]| {
            let mut decoder = LengthsDecoder::new(100);
            decoder.next(input, true).map(|step| step.consumed).expect_err("wrong").to_string()
        };
        assert!(
            fault(b"\0\0\0\x01k\xff\xff\xff\xfe")
                .starts_with("byte 5: the length of the value is -2")
        );
        assert!(fault(b"\0\0\0\x65").starts_with("byte 0: a record of more than 100 bytes"));
        assert_eq!(fault(b"\0\0\0\x01k\0\0"), "byte 0: the input ends inside of a record");
        assert!(LengthsDecoder::new(1).next(b"", true).expect("no fault").record.is_none());
    }
}
