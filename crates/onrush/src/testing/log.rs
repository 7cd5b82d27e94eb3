//! What stands in the topics of a test bed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use onrush_engine::dead_letter;
use onrush_kafka::{
    At, Client, ClientError, FetchConfig, FetchEvent, FetchSink, Fetched, Fetcher, TopicPartition,
};
use onrush_record::{Decompressor, RecordError, batches, records};
use tokio::sync::mpsc;

/// Most bytes of a batch after decompression.
const BATCH_BYTES: usize = 64 << 20;

/// A record of a topic.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, in virtual time.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The key as text; bytes that are none are escaped, and no key is no text.
    pub fn key_text(&self) -> String {
        text(self.key.as_deref())
    }

    /// The value as text; bytes that are none are escaped, and no value is no text.
    pub fn value_text(&self) -> String {
        text(self.value.as_deref())
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        value.as_deref()
    }

    fn header_text(&self, name: &str) -> String {
        text(self.header(name))
    }

    fn header_number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        std::str::from_utf8(self.header(name)?).ok()?.parse().ok()
    }

    /// Where it was before it failed: topic, partition, offset.
    pub(super) fn origin(&self) -> Option<(String, i32, i64)> {
        let topic = std::str::from_utf8(self.header(dead_letter::ORIGIN_TOPIC)?).ok()?.to_owned();
        let partition = self.header_number(dead_letter::ORIGIN_PARTITION)?;
        Some((topic, partition, self.header_number(dead_letter::ORIGIN_OFFSET)?))
    }

    pub(super) fn place(&self) -> (String, i32, i64) {
        (self.topic.clone(), self.partition, self.offset)
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => String::new(),
        Some(Ok(text)) => text.to_owned(),
        Some(Err(_)) => bytes.unwrap_or_default().escape_ascii().to_string(),
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, .. } = self;
        write!(f, "{topic}-{partition}@{offset} {:?}={:?}", self.key_text(), self.value_text())
    }
}

/// An event whose handler failed, as it stands in the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The letter: key and value are the event's, and the headers say the rest.
    pub record: Record,
    /// The event's partition.
    pub partition: i32,
    /// The event's offset.
    pub offset: i64,
    /// What the handler said.
    pub error: String,
    /// The error's code (`onrush explain CODE`).
    pub code: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl DeadLetter {
    /// The letters among `records` that come from `topic`.
    pub(super) fn of(topic: &str, records: Vec<Record>) -> Vec<Self> {
        let letters = records.into_iter().filter_map(|record| {
            let (from, partition, offset) = record.origin()?;
            (from == topic).then(|| Self {
                partition,
                offset,
                error: record.header_text(dead_letter::ERROR),
                code: record.header_text(dead_letter::CODE),
                attempts: record.header_number(dead_letter::ATTEMPTS).unwrap_or(0),
                record,
            })
        });
        letters.collect()
    }
}

/// The partitions of a topic; none if it does not exist.
pub(super) async fn partitions(
    client: &Client,
    topic: &str,
) -> Result<Vec<TopicPartition>, ClientError> {
    client.refresh(&[Arc::from(topic)]).await?;
    let count = client.topic(topic).map_or(0, |topic| topic.partitions.len());
    Ok((0..).take(count).map(|partition| TopicPartition::new(topic, partition)).collect())
}

struct Channel(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Channel {
    fn deliver(&self, event: FetchEvent) {
        // A reader that is gone has read enough.
        let _ = self.0.send(event);
    }
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the fetcher ended before the topic did")]
    Ended,
}

/// Every record of a topic, by partition and offset; none if it does not exist.
pub(super) async fn read(client: &Client, topic: &str) -> Result<Vec<Record>, ReadError> {
    let partitions = partitions(client, topic).await?;
    let starts = client.list_offsets(&partitions, At::Earliest).await?;
    let ends = client.list_offsets(&partitions, At::Latest).await?;
    let (sender, mut events) = mpsc::unbounded_channel();
    let (sink, fetcher) =
        (Arc::new(Channel(sender)), Fetcher::start(client, FetchConfig::default()));
    let mut open = BTreeMap::new();
    for partition in partitions {
        let offset = |offsets: &BTreeMap<TopicPartition, onrush_kafka::ListedOffset>| {
            offsets.get(&partition).map_or(0, |listed| listed.offset)
        };
        let (start, end) = (offset(&starts), offset(&ends));
        if start < end {
            fetcher.assign(partition.clone(), 0, start, sink.clone());
            open.insert(partition, end);
        }
    }
    let mut log = Vec::new();
    while !open.is_empty() {
        let fetched = match events.recv().await.ok_or(ReadError::Ended)? {
            FetchEvent::Records(fetched) => fetched,
            FetchEvent::Failed { error, .. } => return Err(error.into()),
            FetchEvent::OutOfRange { .. } => return Err(ReadError::Ended),
        };
        let next = read_slice(&fetched, &mut log)?;
        open.retain(|partition, end| *partition != fetched.partition || next < *end);
    }
    fetcher.close().await;
    log.sort_by_key(|record: &Record| (record.partition, record.offset));
    Ok(log)
}

/// Appends the records of a slice to `log`, and says which offset comes after them.
fn read_slice(fetched: &Fetched, log: &mut Vec<Record>) -> Result<i64, RecordError> {
    let mut decompressor = Decompressor::new(BATCH_BYTES);
    let (mut decompressed, mut next) = (Vec::new(), fetched.fetch_offset);
    for raw in batches(&fetched.records) {
        let raw = raw?;
        raw.verify_crc()?;
        let decoded = decompressor.payload(&raw, &mut decompressed)?;
        for record in records(decoded.bytes(&raw, &decompressed), &raw.header) {
            log.push(owned(&fetched.partition, &record?)?);
        }
        next = raw.header.last_offset() + 1;
    }
    Ok(next)
}

fn owned(
    partition: &TopicPartition,
    record: &onrush_record::Record<'_>,
) -> Result<Record, RecordError> {
    let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = record.headers.map(|header| {
        let header = header?;
        Ok((header.key.to_owned(), bytes(header.value)))
    });
    Ok(Record {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset: record.offset,
        timestamp: record.timestamp,
        key: bytes(record.key),
        value: bytes(record.value),
        headers: headers.collect::<Result<_, RecordError>>()?,
    })
}
