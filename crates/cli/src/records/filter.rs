//! Which records are wanted, by their keys and headers.
//!
//! `VALUE` is met by the same bytes, `~REGEX` by bytes in which the expression is found. What is null meets neither.

use std::str::FromStr;

use onrush_record::{Record, RecordError};
use regex::bytes::Regex;

/// What bytes must be.
#[derive(Clone, Debug)]
pub(crate) enum Matcher {
    Equal(Vec<u8>),
    Found(Regex),
}

impl FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('~') {
            None => Ok(Self::Equal(text.as_bytes().to_vec())),
            Some(regex) => Regex::new(regex).map(Self::Found).map_err(|error| error.to_string()),
        }
    }
}

impl Matcher {
    pub(crate) fn is_met(&self, bytes: Option<&[u8]>) -> bool {
        bytes.is_some_and(|bytes| match self {
            Self::Equal(equal) => equal == bytes,
            Self::Found(regex) => regex.is_match(bytes),
        })
    }
}

/// What a header must be: `NAME`, `NAME=VALUE` or `NAME=~REGEX`.
#[derive(Clone, Debug)]
pub(crate) struct HeaderMatcher {
    name: String,
    value: Option<Matcher>,
}

impl FromStr for HeaderMatcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.split_once('=') {
            None => Self { name: text.to_owned(), value: None },
            Some((name, value)) => Self { name: name.to_owned(), value: Some(value.parse()?) },
        })
    }
}

/// One of the keys (if there are any) and all of the headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) keys: Vec<Matcher>,
    pub(crate) headers: Vec<HeaderMatcher>,
}

impl Filter {
    pub(crate) fn accepts(&self, record: &Record<'_>) -> Result<bool, RecordError> {
        if !self.keys.is_empty() && !self.keys.iter().any(|key| key.is_met(record.key)) {
            return Ok(false);
        }
        for wanted in &self.headers {
            if !wanted.is_met(record)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl HeaderMatcher {
    /// Whether one of the headers with the name has the value.
    fn is_met(&self, record: &Record<'_>) -> Result<bool, RecordError> {
        for header in record.headers {
            let header = header?;
            let value_is_met =
                || self.value.as_ref().is_none_or(|value| value.is_met(header.value));
            if header.key == self.name && value_is_met() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use onrush_kafka::Header;
    use onrush_record::{BatchBuilder, Compression, Compressor, RawBatch, records};

    use super::*;

    fn accepted(keys: &[&str], headers: &[&str], key: Option<&[u8]>) -> bool {
        let mut builder = BatchBuilder::new(Compression::None);
        let of_record = [
            Header { key: "type", value: Some(b"created") },
            Header { key: "type", value: Some(b"changed") },
            Header { key: "empty", value: None },
        ];
        builder.append(0, key, None, &of_record).expect("small");
        let batch = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("one record");
        let raw = RawBatch::parse(&batch).expect("sealed");
        let record = records(raw.body(), &raw.header).next().expect("one").expect("whole");
        let filter = Filter {
            keys: keys.iter().map(|key| key.parse().expect("valid")).collect(),
            headers: headers.iter().map(|header| header.parse().expect("valid")).collect(),
        };
        filter.accepts(&record).expect("sound")
    }

    #[test]
    fn one_key_and_every_header_must_be_met() {
        let key = Some(&b"N1\xff"[..]);
        assert!(accepted(&[], &[], None));
        assert!(accepted(&["~^N"], &[], key) && accepted(&["x", "~(?-u:\\xff)$"], &[], key));
        assert!(!accepted(&["N1"], &[], key) && !accepted(&["~^1"], &[], key));
        assert!(accepted(&["N1"], &[], Some(b"N1")) && accepted(&[""], &[], Some(b"")));
        assert!(!accepted(&[""], &[], None) && !accepted(&["~"], &[], None));
        assert!(accepted(&[], &["type", "type=changed", "type=~^cr", "empty"], None));
        assert!(!accepted(&[], &["type=changed", "type=deleted"], None));
        assert!(!accepted(&[], &["empty="], None) && !accepted(&[], &["Type"], None));
        assert!(!accepted(&["x"], &["type"], key));
    }

    #[test]
    fn an_expression_that_is_none_is_refused() {
        assert!("~(".parse::<Matcher>().is_err());
        assert!("a=~[".parse::<HeaderMatcher>().is_err());
    }
}
