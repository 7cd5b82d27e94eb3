//! Values as they are, with a delimiter after each, and maybe a key before.

use std::str::FromStr;

use memchr::memmem::Finder;
use onrush_record::Record;

use super::malformed::{Malformed, Place, Reason};
use super::{Fields, Step};

/// What stands between records and between their parts.
#[derive(Clone, Debug)]
pub(crate) struct Delimiters {
    /// Ends a record.
    pub(crate) record: Delimiter,
    /// Ends the key; without it there are values only.
    pub(crate) key: Option<Delimiter>,
    /// Stands for no key or no value.
    pub(crate) null: Option<String>,
}

/// At least one byte. As it is typed, `\n`, `\r`, `\t`, `\0`, `\\` and `\xNN` stand for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delimiter(Vec<u8>);

impl Delimiter {
    pub(crate) fn line_end() -> Self {
        Self(b"\n".to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Delimiter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
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
                    _ => return Err("\\x needs two hexadecimal digits"),
                },
                _ => return Err("after \\ may stand n, r, t, 0, \\ or xNN"),
            };
            bytes.push(byte);
            rest = &rest[length..];
        }
        if bytes.is_empty() {
            return Err("a delimiter has at least one byte");
        }
        Ok(Self(bytes))
    }
}

/// Reads values.
#[derive(Debug)]
pub(crate) struct RawDecoder {
    record: Finder<'static>,
    key: Option<Finder<'static>>,
    null: Option<String>,
    read: u64,
}

impl RawDecoder {
    pub(crate) fn new(delimiters: &Delimiters) -> Self {
        let finder = |delimiter: &Delimiter| Finder::new(delimiter.bytes()).into_owned();
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
        let null = self.null.as_ref().map(String::as_bytes);
        (null != Some(bytes)).then_some(bytes)
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
    let null = delimiters.null.as_deref().unwrap_or_default().as_bytes();
    if let Some(key) = &delimiters.key {
        out.extend_from_slice(record.key.unwrap_or(null));
        out.extend_from_slice(key.bytes());
    }
    out.extend_from_slice(record.value.unwrap_or(null));
    out.extend_from_slice(delimiters.record.bytes());
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
        let typed = |text: &str| text.parse().expect("valid");
        Delimiters { record: typed(record), key: key.map(typed), null: null.map(str::to_owned) }
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
        let typed: Delimiter = "a\\t\\x00\\xfF\\\\".parse().expect("valid");
        assert_eq!(typed.bytes(), b"a\t\0\xff\\");
        for wrong in ["", "\\", "\\q", "\\x0", "\\xzz"] {
            assert!(wrong.parse::<Delimiter>().is_err(), "{wrong}");
        }
    }
}
