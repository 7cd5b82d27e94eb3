//! What to fetch.

use bytes::Bytes;

use super::{LOG_START_OFFSET, RACK, SESSIONS, known};
use crate::header::RequestHeader;
use crate::primitive::{Encoding, Reader, Tag, Writer};
use crate::{ApiKey, KafkaString, Uuid, WireError, topic};

const LEADER_EPOCH: i16 = 9;
const LAST_FETCHED_EPOCH: i16 = 12;
const REPLICA_STATE: i16 = 15;
const REPLICA_STATE_TAG: u32 = 1;
/// Bytes of the replica state as a tagged field: its id and epoch, and an empty section of tagged fields.
const REPLICA_STATE_LENGTH: u32 = 4 + 8 + 1;

/// A fetch from one broker; in a session only what differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The follower that asks; -1 for a consumer.
    pub replica_id: i32,
    /// The epoch of the follower (version 15); -1 for a consumer.
    pub replica_epoch: i64,
    /// How long the broker may wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// What makes the broker answer before that.
    pub min_bytes: i32,
    /// The most to answer, except that a first batch always comes whole.
    pub max_bytes: i32,
    /// 0: everything up to the high watermark, 1: committed transactions only.
    pub isolation_level: i8,
    /// The session (version 7); 0 for none yet.
    pub session_id: i32,
    /// The request's number in the session (version 7): 0 opens one, -1 goes without.
    pub session_epoch: i32,
    /// The partitions to fetch.
    pub topics: Vec<FetchTopic>,
    /// The partitions to take out of the session (version 7).
    pub forgotten: Vec<ForgottenTopic>,
    /// Where the consumer is (version 11).
    pub rack_id: KafkaString,
}

impl Default for FetchRequest {
    fn default() -> Self {
        Self {
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: KafkaString::default(),
        }
    }
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// The name; on the wire below version 13, else empty when decoded.
    pub name: KafkaString,
    /// The id; on the wire from version 13 on, else zero when decoded.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// From where to fetch one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition.
    pub index: i32,
    /// The leader epoch that the client knows (version 9); -1 if none.
    pub current_leader_epoch: i32,
    /// The first offset to fetch.
    pub fetch_offset: i64,
    /// The leader epoch of the record before (version 12); -1 if not to be checked.
    pub last_fetched_epoch: i32,
    /// The follower's first offset (version 5); -1 for a consumer.
    pub log_start_offset: i64,
    /// The most to answer for this partition, except that a first batch always comes whole.
    pub max_bytes: i32,
}

impl FetchPartition {
    /// A consumer's fetch without epochs.
    #[must_use]
    pub const fn consumer(index: i32, fetch_offset: i64, max_bytes: i32) -> Self {
        Self {
            index,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes,
        }
    }
}

/// Partitions of one topic that leave the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The name; on the wire below version 13, else empty when decoded.
    pub name: KafkaString,
    /// The id; on the wire from version 13 on, else zero when decoded.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// The frame of the request, length prefix included. Fields that the version does not have are left out.
    ///
    /// # Errors
    /// The header is not one of Fetch, its version not known, or a length does not fit.
    pub fn encode(&self, header: &RequestHeader) -> Result<Bytes, WireError> {
        let version = known(header.api_version)?;
        let mut writer = header.begin(ApiKey::FETCH)?;
        if version < REPLICA_STATE {
            writer.i32(self.replica_id);
        }
        writer.i32(self.max_wait_ms);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i8(self.isolation_level);
        if version >= SESSIONS {
            writer.i32(self.session_id);
            writer.i32(self.session_epoch);
        }
        writer.elements(&self.topics, "topics", |writer, topic| topic.encode(version, writer))?;
        if version >= SESSIONS {
            writer.elements(&self.forgotten, "forgotten topics", |writer, topic| {
                topic.encode(version, writer)
            })?;
        }
        if version >= RACK {
            writer.string(&self.rack_id, "rack id")?;
        }
        self.encode_tags(version, &mut writer);
        writer.finish_whole()
    }

    fn encode_tags(&self, version: i16, writer: &mut Writer) {
        if version < REPLICA_STATE || (self.replica_id, self.replica_epoch) == (-1, -1) {
            return writer.no_tags();
        }
        writer.tag(REPLICA_STATE_TAG, REPLICA_STATE_LENGTH, |writer| {
            writer.i32(self.replica_id);
            writer.i64(self.replica_epoch);
            writer.no_tags();
        });
    }

    /// A request from the body that [`RequestHeader::decode`] left.
    ///
    /// # Errors
    /// The version is not known, or the body is malformed.
    pub fn decode(version: i16, body: Bytes) -> Result<Self, WireError> {
        let version = known(version)?;
        let mut reader = Reader::new(body, Encoding::flexible(ApiKey::FETCH.is_flexible(version)));
        let mut request = Self::default();
        if version < REPLICA_STATE {
            request.replica_id = reader.i32("replica id")?;
        }
        request.max_wait_ms = reader.i32("max wait")?;
        request.min_bytes = reader.i32("min bytes")?;
        request.max_bytes = reader.i32("max bytes")?;
        request.isolation_level = reader.i8("isolation level")?;
        if version >= SESSIONS {
            request.session_id = reader.i32("session id")?;
            request.session_epoch = reader.i32("session epoch")?;
        }
        request.topics = reader.elements("topics", |reader| FetchTopic::decode(version, reader))?;
        if version >= SESSIONS {
            request.forgotten = reader
                .elements("forgotten topics", |reader| ForgottenTopic::decode(version, reader))?;
        }
        if version >= RACK {
            request.rack_id = reader.string("rack id")?;
        }
        request.decode_tags(version, &mut reader)?;
        reader.finish("fetch request")?;
        Ok(request)
    }

    fn decode_tags(&mut self, version: i16, reader: &mut Reader) -> Result<(), WireError> {
        reader.tags(|tag, reader| match tag {
            REPLICA_STATE_TAG if version >= REPLICA_STATE => {
                self.replica_id = reader.i32("replica id")?;
                self.replica_epoch = reader.i64("replica epoch")?;
                reader.no_tags()?;
                Ok(Tag::Read)
            }
            _ => Ok(Tag::Unknown),
        })
    }
}

impl FetchTopic {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        topic::encode(version, &self.name, self.topic_id, writer)?;
        writer.elements(&self.partitions, "partitions", |writer, partition| {
            partition.encode(version, writer);
            Ok(())
        })?;
        writer.no_tags();
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let (name, topic_id) = topic::decode(version, reader)?;
        let partitions =
            reader.elements("partitions", |reader| FetchPartition::decode(version, reader))?;
        reader.no_tags()?;
        Ok(Self { name, topic_id, partitions })
    }
}

impl FetchPartition {
    fn encode(&self, version: i16, writer: &mut Writer) {
        writer.i32(self.index);
        if version >= LEADER_EPOCH {
            writer.i32(self.current_leader_epoch);
        }
        writer.i64(self.fetch_offset);
        if version >= LAST_FETCHED_EPOCH {
            writer.i32(self.last_fetched_epoch);
        }
        if version >= LOG_START_OFFSET {
            writer.i64(self.log_start_offset);
        }
        writer.i32(self.max_bytes);
        writer.no_tags();
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let mut partition = Self::consumer(reader.i32("partition")?, 0, 0);
        if version >= LEADER_EPOCH {
            partition.current_leader_epoch = reader.i32("current leader epoch")?;
        }
        partition.fetch_offset = reader.i64("fetch offset")?;
        if version >= LAST_FETCHED_EPOCH {
            partition.last_fetched_epoch = reader.i32("last fetched epoch")?;
        }
        if version >= LOG_START_OFFSET {
            partition.log_start_offset = reader.i64("log start offset")?;
        }
        partition.max_bytes = reader.i32("partition max bytes")?;
        reader.no_tags()?;
        Ok(partition)
    }
}

impl ForgottenTopic {
    fn encode(&self, version: i16, writer: &mut Writer) -> Result<(), WireError> {
        topic::encode(version, &self.name, self.topic_id, writer)?;
        writer.elements(&self.partitions, "forgotten partitions", |writer, index| {
            writer.i32(*index);
            Ok(())
        })?;
        writer.no_tags();
        Ok(())
    }

    fn decode(version: i16, reader: &mut Reader) -> Result<Self, WireError> {
        let (name, topic_id) = topic::decode(version, reader)?;
        let partitions =
            reader.elements("forgotten partitions", |reader| reader.i32("forgotten partition"))?;
        reader.no_tags()?;
        Ok(Self { name, topic_id, partitions })
    }
}
