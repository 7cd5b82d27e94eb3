//! Values as they are, with a delimiter after each, and maybe a key before.

use memchr::memmem::Finder;
use onrush_record::Record;

use super::malformed::{Malformed, Place, Reason};
use super::{Fields, Step};

/// What stands between records and between their parts.
#[derive(Clone, Debug)]
pub(crate) struct Delimiters {
    /// Ends a record.
    pub(crate) record: Vec<u8>,
    /// Ends the key; without it there are values only.
    pub(crate) key: Option<Vec<u8>>,
    /// Stands for no key or no value.
    pub(crate) null: Option<Vec<u8>>,
}

/// Reads values.
#[derive(Debug)]
pub(crate) struct RawDecoder {
    record: Finder<'static>,
    key: Option<Finder<'static>>,
    null: Option<Vec<u8>>,
    read: u64,
}

impl RawDecoder {
    pub(crate) fn new(delimiters: &Delimiters) -> Self {
        let finder = |bytes: &Vec<u8>| Finder::new(bytes).into_owned();
        Self {
            record: finder(&delimiters.record),
            key: delimiters.key.as_ref().map(finder),
            null: delimiters.null.clone(),
            read: 0,
        }
    }

    /// The record at the start of `input`; at the end of the input, the last delimiter may be missing.
    pub(crate) fn next<'a>(&mut self, input: &'a [u8], ends: bool) -> Step<'a> {
        let (length, consumed) = match self.record.find(input) {
            Some(at) => (at, at + self.record.needle().len()),
            None if ends && !input.is_empty() => (input.len(), input.len()),
            None => return Step::default(),
        };
        self.read += 1;
        let row = &input[..length];
        let (key, value) = match self.key.as_ref().and_then(|key| Some((key, key.find(row)?))) {
            Some((key, at)) => (self.unless_null(&row[..at]), &row[at + key.needle().len()..]),
            None => (None, row),
        };
        let value = self.unless_null(value);
        Step { consumed, record: Some(Fields { key, value, ..Fields::default() }) }
    }

    fn unless_null<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        (self.null.as_deref() != Some(bytes)).then_some(bytes)
    }

    /// The record that was read last.
    pub(crate) fn place(&self) -> Place {
        Place::Line(self.read)
    }

    /// The one after it is too long.
    pub(crate) fn too_large(&self, limit: usize) -> Malformed {
        Malformed { place: Place::Line(self.read + 1), reason: Reason::TooLarge { limit } }
    }
}

/// Writes a record's key, where keys are wanted, and its value.
pub(crate) fn write(out: &mut Vec<u8>, record: &Record<'_>, delimiters: &Delimiters) {
    let null = delimiters.null.as_deref().unwrap_or_default();
    if let Some(key) = &delimiters.key {
        out.extend_from_slice(record.key.unwrap_or(null));
        out.extend_from_slice(key);
    }
    out.extend_from_slice(record.value.unwrap_or(null));
    out.extend_from_slice(&delimiters.record);
}

/// Reads a delimiter as it is typed: `\n`, `\r`, `\t`, `\0`, `\\` and `\xNN` stand for bytes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, length) = match rest {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return Err("\\x needs two hexadecimal digits".to_owned()),
            },
            _ => return Err("after \\ may stand n, r, t, 0, \\ or xNN".to_owned()),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    if bytes.is_empty() {
        return Err("a delimiter has at least one byte".to_owned());
    }
    Ok(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

    /// Decodes `input`, given in pieces of `size` bytes.
    fn decoded(delimiters: &Delimiters, input: &[u8], size: usize) -> Vec<Pair> {
        let mut decoder = RawDecoder::new(delimiters);
        let (mut pairs, mut start, mut end) = (Vec::new(), 0, 0);
        loop {
            let step = decoder.next(&input[start..end], end == input.len());
            if let Some(fields) = step.record {
                pairs.push((fields.key.map(<[u8]>::to_vec), fields.value.map(<[u8]>::to_vec)));
                start += step.consumed;
            } else if end == input.len() {
                assert_eq!(start, end);
                return pairs;
            } else {
                end = input.len().min(end + size);
            }
        }
    }

    fn delimiters(record: &str, key: Option<&str>, null: Option<&str>) -> Delimiters {
        let bytes = |text: &str| unescape(text).expect("valid");
        Delimiters {
            record: bytes(record),
            key: key.map(bytes),
            null: null.map(|null| null.as_bytes().to_vec()),
        }
    }

    fn some(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    #[test]
    fn lines_are_values_in_whatever_pieces_they_come() {
        let lines = delimiters("\\n", None, None);
        for size in 1..8 {
            let values: Vec<_> =
                decoded(&lines, b"one\n\r\n\xff\n\nlast", size).into_iter().map(|p| p.1).collect();
            assert_eq!(
                values,
                [some(b"one"), some(b"\r"), some(b"\xff"), some(b""), some(b"last")]
            );
        }
        assert!(decoded(&lines, b"", 1).is_empty());
        assert_eq!(decoded(&lines, b"\n", 1), [(None, some(b""))]);
    }

    #[test]
    fn a_key_stands_before_its_delimiter_and_null_is_told_from_empty() {
        let keyed = delimiters("||", Some("::"), Some("NULL"));
        let pairs = decoded(&keyed, b"k::v||bare||::x||NULL::y||k::||k::NULL||a::b::c||", 3);
        let expected: [Pair; 7] = [
            (some(b"k"), some(b"v")),
            (None, some(b"bare")),
            (some(b""), some(b"x")),
            (None, some(b"y")),
            (some(b"k"), some(b"")),
            (some(b"k"), None),
            (some(b"a"), some(b"b::c")),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn delimiters_are_typed_with_escapes() {
        assert_eq!(unescape("a\\t\\x00\\xfF\\\\"), Ok(b"a\t\0\xff\\".to_vec()));
        for wrong in ["", "\\", "\\q", "\\x0", "\\xzz"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
