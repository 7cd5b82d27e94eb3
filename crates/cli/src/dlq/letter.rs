//! A dead letter, out of its batch.

use std::fmt;

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use onrush_engine::dead_letter::{
    ATTEMPTS, CODE, ERROR, ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_TOPIC,
};
use onrush_kafka::TopicPartition;
use onrush_record::{Record, RecordError};
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

/// What all headers of Onrush begin with: those of a dead letter do not go back with the event.
pub(super) const OWN_HEADERS: &str = "onrush.";

/// Where the event was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset } = self;
        write!(f, "{topic} {partition}:{offset}")
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// The dead-letter topic's partition, and where in it the letter is.
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    /// Of the event, milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    /// None if a stranger wrote the record.
    pub(super) origin: Option<Origin>,
}

impl Letter {
    pub(super) fn of(partition: &TopicPartition, record: &Record<'_>) -> Result<Self, RecordError> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers: Result<Vec<_>, _> = record
            .headers
            .map(|header| header.map(|header| (header.key.to_owned(), owned(header.value))))
            .collect();
        let mut letter = Self {
            partition: partition.clone(),
            offset: record.offset,
            timestamp: record.timestamp,
            key: owned(record.key),
            value: owned(record.value),
            headers: headers?,
            origin: None,
        };
        letter.origin = letter.origin_in_headers();
        Ok(letter)
    }

    fn origin_in_headers(&self) -> Option<Origin> {
        Some(Origin {
            topic: self.text(ORIGIN_TOPIC)?,
            partition: self.text(ORIGIN_PARTITION)?.parse().ok()?,
            offset: self.text(ORIGIN_OFFSET)?.parse().ok()?,
        })
    }

    /// The value of a header as text. An event that failed a second time after it was sent back may have a header twice: the
    /// last one was written last.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub(super) fn error(&self) -> String {
        self.text(ERROR).unwrap_or_default()
    }

    pub(super) fn code(&self) -> String {
        self.text(CODE).unwrap_or_default()
    }

    pub(super) fn attempts(&self) -> String {
        self.text(ATTEMPTS).unwrap_or_default()
    }

    /// As `onrush dlq show` takes it.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.partition.partition, self.offset)
    }
}

/// Bytes as a person reads them.
pub(super) fn shown(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) => match str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("base64 {}", STANDARD.encode(bytes)),
        },
    }
}

/// Bytes as `docs/records.md` says.
pub(super) struct Bytes<'a>(pub(super) Option<&'a [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else { return serializer.serialize_none() };
        match str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(bytes))?;
                map.end()
            }
        }
    }
}

struct Headers<'a>(&'a [(String, Option<Vec<u8>>)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(key, value)| Named(key, value.as_deref())))
    }
}

struct Named<'a>(&'a str, Option<&'a [u8]>);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut header = serializer.serialize_struct("Header", 2)?;
        header.serialize_field("key", self.0)?;
        header.serialize_field("value", &Bytes(self.1))?;
        header.end()
    }
}

/// The envelope of `docs/records.md`, and beside it what the headers say.
impl Serialize for Letter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut letter = serializer.serialize_struct("Letter", 13)?;
        letter.serialize_field("topic", &*self.partition.topic)?;
        letter.serialize_field("partition", &self.partition.partition)?;
        letter.serialize_field("offset", &self.offset)?;
        letter.serialize_field("timestamp", &self.timestamp)?;
        let origin = self.origin.as_ref();
        letter.serialize_field("origin_topic", &origin.map(|origin| &origin.topic))?;
        letter.serialize_field("origin_partition", &origin.map(|origin| origin.partition))?;
        letter.serialize_field("origin_offset", &origin.map(|origin| origin.offset))?;
        letter.serialize_field("attempts", &self.attempts().parse::<u64>().ok())?;
        letter.serialize_field("code", &self.text(CODE))?;
        letter.serialize_field("error", &self.text(ERROR))?;
        letter.serialize_field("key", &Bytes(self.key.as_deref()))?;
        letter.serialize_field("value", &Bytes(self.value.as_deref()))?;
        letter.serialize_field("headers", &Headers(&self.headers))?;
        letter.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &[(&str, &[u8])]) -> Letter {
        let headers =
            headers.iter().map(|(key, value)| ((*key).to_owned(), Some(value.to_vec()))).collect();
        let mut letter = Letter {
            partition: TopicPartition::new("t.dead-letter", 3),
            offset: 17,
            timestamp: 5,
            key: Some(b"k".to_vec()),
            value: Some(b"\xff".to_vec()),
            headers,
            origin: None,
        };
        letter.origin = letter.origin_in_headers();
        letter
    }

    #[test]
    fn the_last_failure_counts_and_strangers_have_no_origin() {
        let failed_twice: [(&str, &[u8]); 4] = [
            (ORIGIN_TOPIC, b"t"),
            (ORIGIN_PARTITION, b"3"),
            (ORIGIN_OFFSET, b"7"),
            (ORIGIN_OFFSET, b"9"),
        ];
        let origin = Origin { topic: "t".to_owned(), partition: 3, offset: 9 };
        assert_eq!(letter(&failed_twice).origin, Some(origin));
        assert_eq!(letter(&failed_twice[..2]).origin, None);
        assert_eq!(
            letter(&[(ORIGIN_TOPIC, b"t"), (ORIGIN_PARTITION, b"x"), (ORIGIN_OFFSET, b"1")]).origin,
            None
        );
    }

    #[test]
    fn json_keeps_every_byte() {
        let letter = letter(&[(ATTEMPTS, b"5"), ("own", b"\xfe")]);
        let json = serde_json::to_value(&letter).expect("it serializes");
        assert_eq!(json["value"]["base64"], "/w==");
        assert_eq!(json["headers"][1]["value"]["base64"], "/g==");
        assert_eq!(
            (&json["attempts"], &json["origin_topic"]),
            (&5.into(), &serde_json::Value::Null)
        );
    }
}
