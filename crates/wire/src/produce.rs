//! Produce, versions 3 to 13: record batches of a decoded request are slices of its frame, and encoding splices the
//! caller's batches into the frame without copying them.
//!
//! Version 8 adds errors per record to the response, 9 is flexible, 10 adds the current leader to the response, 13 names
//! topics by id instead of by name.

use bytes::Bytes;

use crate::header::{self, RequestHeader};
use crate::primitive::{Encoding, Reader, Tag, Writer};
use crate::{ApiKey, ErrorCode, KafkaString, Uuid, VersionRange, WireError, topic};

pub use crate::leader::CurrentLeader;
pub use crate::topic::TOPIC_IDS;

/// The versions that are decoded and encoded.
pub const VERSIONS: VersionRange = VersionRange::new(3, 13);

const RECORD_ERRORS: i16 = 8;
const CURRENT_LEADER: i16 = 10;
const LOG_START_OFFSET: i16 = 5;
const CURRENT_LEADER_TAG: u32 = 0;

/// Batches for partitions that one broker leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest {
    /// The transactional id of the producer, if it has one.
    pub transactional_id: Option<KafkaString>,
    /// Who must have written before the answer: 0 nobody (there is no answer), 1 the leader, -1 all in sync.
    pub acks: i16,
    /// How long the leader may wait for that.
    pub timeout_ms: i32,
    /// The batches by topic.
    pub topics: Vec<TopicProduce>,
}

/// Batches of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicProduce {
    /// The name; on the wire below version 13, else empty when decoded.
    pub name: KafkaString,
    /// The id; on the wire from version 13 on, else zero when decoded.
    pub topic_id: Uuid,
    /// The batches by partition.
    pub partitions: Vec<PartitionProduce>,
}

/// The batch of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProduce {
    /// The partition.
    pub index: i32,
    /// Its record batch.
    pub records: Option<Bytes>,
}

/// What became of the batches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceResponse {
    /// The results by topic.
    pub topics: Vec<TopicProduced>,
    /// How long the client should stay silent.
    pub throttle_ms: i32,
}

/// Results of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicProduced {
    /// The name; on the wire below version 13, else empty when decoded.
    pub name: KafkaString,
    /// The id; on the wire from version 13 on, else zero when decoded.
    pub topic_id: Uuid,
    /// The results by partition.
    pub partitions: Vec<PartitionProduced>,
}

/// The result of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProduced {
    /// The partition.
    pub index: i32,
    /// Whether the batch was written.
    pub error_code: ErrorCode,
    /// The offset that its first record got; -1 if none.
    pub base_offset: i64,
    /// The broker's time stamp, or -1 where the records keep their own.
    pub log_append_time_ms: i64,
    /// The first offset that is still in the log (version 5).
    pub log_start_offset: i64,
    /// Records that made the batch fail (version 8).
    pub record_errors: Vec<RecordError>,
    /// What is wrong with the batch as a whole (version 8).
    pub error_message: Option<KafkaString>,
    /// Who leads the partition, if it is not the broker that was asked (version 10).
    pub current_leader: Option<CurrentLeader>,
}

impl PartitionProduced {
    /// The result of a batch that was not written.
    #[must_use]
    pub fn failed(index: i32, error_code: ErrorCode) -> Self {
        Self {
            index,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }

    /// The result of a batch that was written at `base_offset`.
    #[must_use]
    pub fn written(index: i32, base_offset: i64, log_start_offset: i64) -> Self {
        Self { base_offset, log_start_offset, ..Self::failed(index, ErrorCode::NONE) }
    }
}

/// What is wrong with one record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in the batch.
    pub index: i32,
    /// What is wrong with it.
    pub message: Option<KafkaString>,
}

impl ProduceRequest {
    /// The frame of the request as segments in order, for a vectored write; the first starts with the length of all.
    ///
    /// # Errors
    /// The header is not one of Produce, its version not known, or a length does not fit.
    pub fn encode(&self, header: &RequestHeader) -> Result<Vec<Bytes>, WireError> {
        let version = known(header.api_version)?;
        let mut writer = header.begin(ApiKey::PRODUCE)?;
        writer.nullable_string(self.transactional_id.as_ref(), "transactional id")?;
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.elements(&self.topics, "topics", |writer, topic| topic.encode(version, writer))?;
        writer.no_tags();
        writer.finish()
    }

    /// A request from the body that [`RequestHeader::decode`] left. The records are slices of it.
    ///
    /// # Errors
    /// The version is not known, or the body is malformed.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let version = known(version)?;
        let mut reader =
            Reader::new(body, Encoding::flexible(ApiKey::PRODUCE.is_flexible(version)));
        let request = Self {
            transactional_id: reader.nullable_string("transactional id")?,
            acks: reader.i16("acks")?,
            timeout_ms: reader.i32("timeout")?,
            topics: reader.elements("topics", |reader| TopicProduce::decode(version, reader))?,
        };
        reader.no_tags()?;
        reader.finish("produce request")?;
        Ok(request)
    }
}

impl TopicProduce {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        topic::encode(version, &self.name, self.topic_id, writer)?;
        writer.elements(&self.partitions, "partitions", |writer, partition| {
            writer.i32(partition.index);
            writer.splice(partition.records.as_ref(), "records")?;
            writer.no_tags();
            Ok(())
        })?;
        writer.no_tags();
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let (name, topic_id) = topic::decode(version, reader)?;
        let partitions = reader.elements("partitions", |reader| {
            let partition = PartitionProduce {
                index: reader.i32("partition")?,
                records: reader.nullable_bytes("records")?,
            };
            reader.no_tags()?;
            Ok(partition)
        })?;
        reader.no_tags()?;
        Ok(Self { name, topic_id, partitions })
    }
}

impl ProduceResponse {
    /// The frame of the response, length prefix included.
    ///
    /// # Errors
    /// The version is not known, or a length does not fit.
    pub fn encode(&self, correlation_id: i32, version: i16) -> Result<Bytes, WireError> {
        let version = known(version)?;
        let mut writer = header::begin_response(correlation_id, ApiKey::PRODUCE, version);
        writer.elements(&self.topics, "topics", |writer, topic| topic.encode(version, writer))?;
        writer.i32(self.throttle_ms);
        writer.no_tags();
        writer.finish_whole()
    }

    /// A response from its frame (without the length prefix), and its correlation id.
    ///
    /// # Errors
    /// The version is not known, or the frame is malformed.
    pub fn decode(version: i16, frame: Bytes) -> Result<(i32, Self), WireError> {
        let version = known(version)?;
        let (correlation_id, mut reader) = header::open_response(frame, ApiKey::PRODUCE, version)?;
        let response = Self {
            topics: reader.elements("topics", |reader| TopicProduced::decode(version, reader))?,
            throttle_ms: reader.i32("throttle time")?,
        };
        reader.no_tags()?;
        reader.finish("produce response")?;
        Ok((correlation_id, response))
    }
}

impl TopicProduced {
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
            reader.elements("partitions", |reader| PartitionProduced::decode(version, reader))?;
        reader.no_tags()?;
        Ok(Self { name, topic_id, partitions })
    }
}

impl PartitionProduced {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        writer.i32(self.index);
        writer.i16(self.error_code.0);
        writer.i64(self.base_offset);
        writer.i64(self.log_append_time_ms);
        if version >= LOG_START_OFFSET {
            writer.i64(self.log_start_offset);
        }
        if version >= RECORD_ERRORS {
            writer.elements(&self.record_errors, "record errors", |writer, error| {
                writer.i32(error.index);
                writer.nullable_string(error.message.as_ref(), "record error message")?;
                writer.no_tags();
                Ok(())
            })?;
            writer.nullable_string(self.error_message.as_ref(), "error message")?;
        }
        match self.current_leader {
            Some(leader) if version >= CURRENT_LEADER => leader.encode(CURRENT_LEADER_TAG, writer),
            _ => writer.no_tags(),
        }
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let mut partition =
            Self::failed(reader.i32("partition")?, ErrorCode(reader.i16("error code")?));
        partition.base_offset = reader.i64("base offset")?;
        partition.log_append_time_ms = reader.i64("log append time")?;
        if version >= LOG_START_OFFSET {
            partition.log_start_offset = reader.i64("log start offset")?;
        }
        if version >= RECORD_ERRORS {
            partition.record_errors = reader.elements("record errors", RecordError::decode)?;
            partition.error_message = reader.nullable_string("error message")?;
        }
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

impl RecordError {
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let error = Self {
            index: reader.i32("record index")?,
            message: reader.nullable_string("record error message")?,
        };
        reader.no_tags()?;
        Ok(error)
    }
}

fn known(version: i16) -> Result<i16, WireError> {
    if VERSIONS.contains(version) {
        return Ok(version);
    }
    Err(WireError::UnsupportedVersion { api: ApiKey::PRODUCE, version })
}
