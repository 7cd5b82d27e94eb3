//! The envelope of `--json`; the head of [`super`] says what it is.

use std::fmt;
use std::ops::Range;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use onrush_kafka::Header;
use onrush_record::{Record, RecordError};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::malformed::{Malformed, Place, Reason};
use super::{Fields, Step};

/// The base64 of others may lack the padding that ours has.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Writes envelopes of one partition, whose unchanging part is written once.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeWriter {
    prefix: Vec<u8>,
}

impl EnvelopeWriter {
    /// The next records are this partition's.
    pub(crate) fn enter(&mut self, topic: &str, partition: i32) {
        self.prefix.clear();
        self.prefix.extend_from_slice(b"{\"topic\":");
        write_string(&mut self.prefix, topic);
        self.prefix.extend_from_slice(b",\"partition\":");
        write_number(&mut self.prefix, i64::from(partition));
        self.prefix.extend_from_slice(b",\"offset\":");
    }

    /// Writes a record as a line.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        record: &Record<'_>,
        append_time: bool,
    ) -> Result<(), RecordError> {
        out.extend_from_slice(&self.prefix);
        write_number(out, record.offset);
        out.extend_from_slice(b",\"timestamp\":");
        write_number(out, record.timestamp);
        out.extend_from_slice(match append_time {
            false => b",\"timestamp_type\":\"create\",\"key\":",
            true => b",\"timestamp_type\":\"append\",\"key\":",
        });
        write_bytes(out, record.key);
        out.extend_from_slice(b",\"value\":");
        write_bytes(out, record.value);
        out.extend_from_slice(b",\"headers\":[");
        for (index, header) in record.headers.enumerate() {
            let header = header?;
            out.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
            write_string(out, header.key);
            out.extend_from_slice(b",\"value\":");
            write_bytes(out, header.value);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}\n");
        Ok(())
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return out.extend_from_slice(b"null") };
    if let Ok(text) = str::from_utf8(bytes) {
        return write_string(out, text);
    }
    out.extend_from_slice(b"{\"base64\":\"");
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is what base64 takes, to the byte.
    let _ = STANDARD.encode_slice(bytes, &mut out[start..]);
    out.extend_from_slice(b"\"}");
}

/// What stands after the backslash for a byte that a JSON string cannot have as it is; 0 for all others.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[b'\n' as usize] = b'n';
    escapes[b'\r' as usize] = b'r';
    escapes[b'\t' as usize] = b't';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// Writes a JSON string.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Reads envelopes, a line each, into one buffer.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeDecoder {
    found: Found,
    line: u64,
}

/// The fields of one envelope: their bytes, one after the other, and where each of them is.
#[derive(Debug, Default)]
struct Found {
    bytes: Vec<u8>,
    key: Span,
    value: Span,
    headers: Vec<(Range<usize>, Span)>,
    partition: Option<i32>,
    timestamp: Option<i64>,
}

/// None is null.
type Span = Option<Range<usize>>;

impl EnvelopeDecoder {
    /// The line at the start of `input`.
    pub(crate) fn next<'a>(&'a mut self, input: &[u8], ends: bool) -> Result<Step<'a>, Malformed> {
        let (line, consumed) = match memchr::memchr(b'\n', input) {
            Some(at) => (&input[..at], at + 1),
            None if ends && !input.is_empty() => (input, input.len()),
            None => return Ok(Step::default()),
        };
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(Step { consumed, record: None });
        }
        self.found.clear();
        let mut json = serde_json::Deserializer::from_slice(line);
        let read = EnvelopeSeed(&mut self.found).deserialize(&mut json).and_then(|()| json.end());
        match read {
            Ok(()) => Ok(Step { consumed, record: Some(self.found.fields()) }),
            Err(error) => Err(Malformed { place: self.place(), reason: reason(&error) }),
        }
    }

    /// The line that was read last.
    pub(crate) fn place(&self) -> Place {
        Place::Line(self.line)
    }

    /// The one after it is too long.
    pub(crate) fn too_large(&self, limit: usize) -> Malformed {
        Malformed { place: Place::Line(self.line + 1), reason: Reason::TooLarge { limit } }
    }
}

/// The library tells the place as one of many lines; here it is always the first.
fn reason(error: &serde_json::Error) -> Reason {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let hint = match message.starts_with("unknown field") {
        true => "; documents that are values themselves are --format raw",
        false => "",
    };
    Reason::Envelope { message: format!("{message}{hint}"), column: error.column() }
}

impl Found {
    fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
        (self.key, self.value, self.partition, self.timestamp) = (None, None, None, None);
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn span(&self, span: &Span) -> Option<&[u8]> {
        span.clone().map(|range| &self.bytes[range])
    }

    fn fields(&self) -> Fields<'_> {
        let header = |(key, value): &(Range<usize>, Span)| Header {
            // It came as a string.
            key: str::from_utf8(&self.bytes[key.clone()]).unwrap_or_default(),
            value: self.span(value),
        };
        Fields {
            key: self.span(&self.key),
            value: self.span(&self.value),
            headers: self.headers.iter().map(header).collect(),
            partition: self.partition,
            timestamp: self.timestamp,
        }
    }
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    Key,
    Value,
    Headers,
}

impl Name {
    const ALL: [&str; 8] =
        ["topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers"];
}

struct EnvelopeSeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope: {\"key\": …, \"value\": …, …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let found = self.0;
        let mut seen = [false; Name::ALL.len()];
        while let Some(name) = map.next_key::<Name>()? {
            if std::mem::replace(&mut seen[name as usize], true) {
                return Err(Error::duplicate_field(Name::ALL[name as usize]));
            }
            match name {
                Name::Topic | Name::Offset | Name::TimestampType => {
                    map.next_value::<IgnoredAny>()?;
                }
                Name::Partition => found.partition = map.next_value()?,
                Name::Timestamp => found.timestamp = map.next_value()?,
                Name::Key => found.key = map.next_value_seed(BytesSeed(found))?,
                Name::Value => found.value = map.next_value_seed(BytesSeed(found))?,
                Name::Headers => map.next_value_seed(HeadersSeed(found))?,
            }
        }
        if seen[Name::Value as usize] {
            Ok(())
        } else {
            Err(Error::custom("there is no field \"value\"; write null for a tombstone"))
        }
    }
}

/// Bytes, or null.
struct BytesSeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for BytesSeed<'_> {
    type Value = Span;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Span, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BytesSeed<'_> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, null or {\"base64\": \"…\"}")
    }

    fn visit_unit<E: Error>(self) -> Result<Span, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        Ok(Some(self.0.push(text.as_bytes())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Span, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Encoding {
            Base64,
        }
        let Some(Encoding::Base64) = map.next_key()? else {
            return Err(Error::invalid_length(0, &self));
        };
        let range = map.next_value_seed(Base64Seed(self.0))?;
        match map.next_key::<Encoding>()? {
            None => Ok(Some(range)),
            Some(Encoding::Base64) => Err(Error::duplicate_field("base64")),
        }
    }
}

struct Base64Seed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Base64Seed<'_> {
    type Value = Range<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Base64Seed<'_> {
    type Value = Range<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string in base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Range<usize>, E> {
        let start = self.0.bytes.len();
        LENIENT.decode_vec(text, &mut self.0.bytes).map_err(Error::custom)?;
        Ok(start..self.0.bytes.len())
    }
}

struct HeadersSeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for HeadersSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for HeadersSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of headers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(HeaderSeed(self.0))?.is_some() {}
        Ok(())
    }
}

struct HeaderSeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header: {\"key\": \"…\", \"value\": …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Part {
            Key,
            Value,
        }
        let (mut key, mut value) = (None, None);
        while let Some(part) = map.next_key()? {
            match part {
                Part::Key if key.is_some() => return Err(Error::duplicate_field("key")),
                Part::Value if value.is_some() => return Err(Error::duplicate_field("value")),
                Part::Key => key = Some(map.next_value_seed(TextSeed(self.0))?),
                Part::Value => value = Some(map.next_value_seed(BytesSeed(self.0))?),
            }
        }
        let key = key.ok_or_else(|| Error::missing_field("key"))?;
        let value = value.ok_or_else(|| Error::missing_field("value"))?;
        self.0.headers.push((key, value));
        Ok(())
    }
}

/// A string.
struct TextSeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Range<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = Range<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Range<usize>, E> {
        Ok(self.0.push(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use onrush_record::{BatchBuilder, Compression, Compressor, RawBatch, records};

    use super::*;

    /// What `record` is as a line.
    fn line(fields: &Fields<'_>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        let timestamp = fields.timestamp.unwrap_or(0);
        builder.append(timestamp, fields.key, fields.value, &fields.headers).expect("small");
        let batch = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("one record");
        let raw = RawBatch::parse(&batch).expect("sealed");
        let record = records(raw.body(), &raw.header).next().expect("one").expect("whole");
        let (mut writer, mut out) = (EnvelopeWriter::default(), Vec::new());
        writer.enter("flights", fields.partition.unwrap_or(0));
        writer.write(&mut out, &record, false).expect("sound headers");
        out
    }

    fn bytes() -> Vec<Option<Vec<u8>>> {
        let every: Vec<u8> = (0..=255).collect();
        let texts =
            ["", "{\"base64\":\"AA==\"}", "\u{0}\u{1f}\u{7f}\"\\/\n\r\t", "ü \u{2028} 🛩", "null"];
        let raw = [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", &every];
        let texts = texts.iter().map(|text| text.as_bytes());
        let some = texts.chain(raw).map(|bytes| Some(bytes.to_vec()));
        some.chain([None]).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for key in bytes() {
            for value in bytes() {
                let headers =
                    [("b", &value), ("a", &key), ("b", &None), ("", &value), ("\"ü", &key)];
                let fields = Fields {
                    key: key.as_deref(),
                    value: value.as_deref(),
                    headers: headers
                        .map(|(key, value)| Header { key, value: value.as_deref() })
                        .to_vec(),
                    partition: Some(3),
                    timestamp: Some(1_754_006_400_123),
                };
                let line = line(&fields);
                let mut decoder = EnvelopeDecoder::default();
                let step = decoder.next(&line, false).expect("valid");
                assert_eq!(step.consumed, line.len());
                assert_eq!(step.record.expect("a record"), fields);
                assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1), "one line each");
            }
        }
    }

    #[test]
    fn the_envelope_has_this_shape() {
        let fields = Fields {
            key: Some(b"N1\""),
            value: Some(b"\0\xff"),
            headers: vec![
                Header { key: "source", value: None },
                Header { key: "source", value: Some(b"") },
            ],
            partition: Some(3),
            timestamp: Some(-1),
        };
        let expected = "{\"topic\":\"flights\",\"partition\":3,\"offset\":0,\"timestamp\":-1,\
            \"timestamp_type\":\"create\",\"key\":\"N1\\\"\",\"value\":{\"base64\":\"AP8=\"},\
            \"headers\":[{\"key\":\"source\",\"value\":null},{\"key\":\"source\",\"value\":\"\"}]}\n";
        assert_eq!(String::from_utf8(line(&fields)).expect("text"), expected);
        let tombstone = String::from_utf8(line(&Fields::default())).expect("text");
        assert!(
            tombstone.ends_with("\"key\":null,\"value\":null,\"headers\":[]}\n"),
            "{tombstone}"
        );
    }

    #[test]
    fn little_is_needed_and_blank_lines_are_skipped() {
        let mut decoder = EnvelopeDecoder::default();
        let input = b"\n \r\n{ \"value\" : {\"base64\":\"AP8\"} }\r\n{\"value\":null}";
        let mut start = 0;
        let mut values = Vec::new();
        while start < input.len() {
            let step = decoder.next(&input[start..], true).expect("valid");
            start += step.consumed;
            values.extend(step.record.map(|record| record.value.map(<[u8]>::to_vec)));
        }
        assert_eq!(values, [Some(vec![0, 255]), None]);
        assert_eq!(decoder.place(), Place::Line(4));
    }

    #[test]
    fn what_is_no_envelope_is_named_with_line_and_column() {
        let refused = [
            ("{\"key\":\"a\"}", "there is no field \"value\"; write null for a tombstone"),
            ("{\"value\":1}", "invalid type: integer `1`, expected a string, null or"),
            ("{\"vlaue\":\"a\"}", "unknown field `vlaue`, expected one of `topic`"),
            ("{\"value\":\"a\",\"value\":\"b\"}", "duplicate field `value`"),
            ("{\"value\":{}}", "invalid length 0, expected a string, null or"),
            ("{\"value\":{\"hex\":\"00\"}}", "unknown field `hex`, expected `base64`"),
            ("{\"value\":{\"base64\":\"*\"}}", "Invalid symbol"),
            ("{\"value\":{\"base64\":\"AA==\",\"base64\":\"\"}}", "duplicate field `base64`"),
            ("{\"value\":\"a\",\"headers\":[{\"key\":\"a\"}]}", "missing field `value`"),
            ("{\"value\":\"a\",\"headers\":[{\"key\":null,\"value\":null}]}", "invalid type: null"),
            ("{\"value\":\"a\",\"partition\":2147483648}", "invalid value: integer `2147483648`"),
            ("{\"value\":\"\\ud800\"}", "unexpected end of hex escape"),
            ("{\"value\":\"a\"} x", "trailing characters"),
            ("{\"value\":\"a\"", "EOF while parsing an object"),
            ("[]", "invalid type: sequence, expected an envelope"),
        ];
        for (line, message) in refused {
            let mut decoder = EnvelopeDecoder::default();
            let fault = decoder.next(line.as_bytes(), true).map(|step| step.consumed);
            let said = fault.expect_err(line).to_string();
            assert!(said.starts_with("line 1: ") && said.contains(message), "{line}: {said}");
            assert!(said.contains("(column "), "{said}");
        }
        let mut decoder = EnvelopeDecoder::default();
        assert!(decoder.next(b"{\"value\":\"\xff\"}", true).is_err());
    }
}
