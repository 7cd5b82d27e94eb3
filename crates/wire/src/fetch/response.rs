//! What was fetched.

use bytes::Bytes;

use super::{CurrentLeader, LOG_START_OFFSET, RACK, SESSIONS, known};
use crate::header;
use crate::primitive::{Reader, Tag, Writer};
use crate::{ApiKey, ErrorCode, KafkaString, Uuid, WireError, topic};

const CURRENT_LEADER: i16 = 12;
const CURRENT_LEADER_TAG: u32 = 1;

/// Batches of the partitions asked for; in a session only of those that have something new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchResponse {
    /// How long the client should stay silent.
    pub throttle_ms: i32,
    /// An error of the fetch as a whole (version 7).
    pub error_code: ErrorCode,
    /// The session (version 7); 0 for none.
    pub session_id: i32,
    /// The results by topic.
    pub topics: Vec<FetchedTopic>,
}

/// Results of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The name; on the wire below version 13, else empty when decoded.
    pub name: KafkaString,
    /// The id; on the wire from version 13 on, else zero when decoded.
    pub topic_id: Uuid,
    /// The results by partition.
    pub partitions: Vec<FetchedPartition>,
}

/// The result of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub index: i32,
    /// Whether it could be read.
    pub error_code: ErrorCode,
    /// The end of what is replicated: the offset after the last record that may be read.
    pub high_watermark: i64,
    /// The offset from which on transactions are undecided.
    pub last_stable_offset: i64,
    /// The first offset that is still in the log (version 5).
    pub log_start_offset: i64,
    /// The aborted transactions in `records`; an empty list is null on the wire.
    pub aborted: Vec<AbortedTransaction>,
    /// The replica to read from instead (version 11); -1 if none.
    pub preferred_read_replica: i32,
    /// Who leads the partition, if it is not the broker that was asked (version 12).
    pub current_leader: Option<CurrentLeader>,
    /// Whole batches, and perhaps the beginning of one more; null on the wire is empty here.
    pub records: Bytes,
}

impl FetchedPartition {
    /// The result of a partition that could not be read.
    #[must_use]
    pub fn failed(index: i32, error_code: ErrorCode) -> Self {
        Self {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: Vec::new(),
            preferred_read_replica: -1,
            current_leader: None,
            records: Bytes::new(),
        }
    }
}

/// A transaction whose records a consumer of committed ones skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Its first offset; it ends at the abort marker.
    pub first_offset: i64,
}

impl FetchResponse {
    /// The frame of the response as segments in order, for a vectored write; the first starts with the length of all.
    ///
    /// # Errors
    /// The version is not known, or a length does not fit.
    pub fn encode(&self, correlation_id: i32, version: i16) -> Result<Vec<Bytes>, WireError> {
        let version = known(version)?;
        let mut writer = header::begin_response(correlation_id, ApiKey::FETCH, version);
        writer.i32(self.throttle_ms);
        if version >= SESSIONS {
            writer.i16(self.error_code.0);
            writer.i32(self.session_id);
        }
        writer.elements(&self.topics, "topics", |writer, topic| topic.encode(version, writer))?;
        writer.no_tags();
        writer.finish()
    }

    /// A response from its frame (without the length prefix), and its correlation id. The records are slices of it.
    ///
    /// # Errors
    /// The version is not known, or the frame is malformed.
    pub fn decode(version: i16, frame: Bytes) -> Result<(i32, Self), WireError> {
        let version = known(version)?;
        let (correlation_id, mut reader) = header::open_response(frame, ApiKey::FETCH, version)?;
        let mut response = Self { throttle_ms: reader.i32("throttle time")?, ..Self::default() };
        if version >= SESSIONS {
            response.error_code = ErrorCode(reader.i16("error code")?);
            response.session_id = reader.i32("session id")?;
        }
        response.topics =
            reader.elements("topics", |reader| FetchedTopic::decode(version, reader))?;
        reader.no_tags()?;
        reader.finish("fetch response")?;
        Ok((correlation_id, response))
    }
}

impl FetchedTopic {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        topic::encode(version, &self.name, self.topic_id, writer)?;
        writer.elements(&self.partitions, "partitions", |writer, partition| {
            partition.encode(version, writer)
        })?;
        writer.no_tags();
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let (name, topic_id) = topic::decode(version, reader)?;
        let partitions =
            reader.elements("partitions", |reader| FetchedPartition::decode(version, reader))?;
        reader.no_tags()?;
        Ok(Self { name, topic_id, partitions })
    }
}

impl FetchedPartition {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        writer.i32(self.index);
        writer.i16(self.error_code.0);
        writer.i64(self.high_watermark);
        writer.i64(self.last_stable_offset);
        if version >= LOG_START_OFFSET {
            writer.i64(self.log_start_offset);
        }
        match self.aborted.as_slice() {
            [] => writer.null_elements("aborted transactions")?,
            aborted => {
                writer.elements(aborted, "aborted transactions", |writer, transaction| {
                    writer.i64(transaction.producer_id);
                    writer.i64(transaction.first_offset);
                    writer.no_tags();
                    Ok(())
                })?
            }
        }
        if version >= RACK {
            writer.i32(self.preferred_read_replica);
        }
        writer.splice(Some(&self.records), "records")?;
        match self.current_leader {
            Some(leader) if version >= CURRENT_LEADER => leader.encode(CURRENT_LEADER_TAG, writer),
            _ => writer.no_tags(),
        }
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let mut partition =
            Self::failed(reader.i32("partition")?, ErrorCode(reader.i16("error code")?));
        partition.high_watermark = reader.i64("high watermark")?;
        partition.last_stable_offset = reader.i64("last stable offset")?;
        if version >= LOG_START_OFFSET {
            partition.log_start_offset = reader.i64("log start offset")?;
        }
        partition.aborted = reader
            .nullable_elements("aborted transactions", AbortedTransaction::decode)?
            .unwrap_or_default();
        if version >= RACK {
            partition.preferred_read_replica = reader.i32("preferred read replica")?;
        }
        partition.records = reader.nullable_bytes("records")?.unwrap_or_default();
        reader.tags(|tag, reader| match tag {
            CURRENT_LEADER_TAG if version >= CURRENT_LEADER => {
                partition.current_leader = CurrentLeader::decode(reader)?;
                Ok(Tag::Read)
            }
            _ => Ok(Tag::Unknown),
        })?;
        Ok(partition)
    }
}

impl AbortedTransaction {
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let transaction = Self {
            producer_id: reader.i64("producer id")?,
            first_offset: reader.i64("first offset")?,
        };
        reader.no_tags()?;
        Ok(transaction)
    }
}
