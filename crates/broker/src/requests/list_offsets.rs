//! ListOffsets: the offset at a time, or at one end of the log.

use onrush_record::{Decompressor, RawBatch, records};
use onrush_wire::message::list_offsets::request::ListOffsetsPartition;
use onrush_wire::message::list_offsets::response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use onrush_wire::message::list_offsets::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::log::Log;

/// Times with a meaning of their own.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version of each that came later.
const FIRST_VERSIONS: [(i64, i16); 4] =
    [(MAX_TIMESTAMP, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9), (EARLIEST_PENDING_UPLOAD, 11)];

/// The first version that tells the leader epoch.
const LEADER_EPOCH: i16 = 4;

/// Most bytes that the records of one batch may take when a time is looked up in it; above, the
/// answer is the start of the batch, which is not later than what was asked for.
const MAX_DECOMPRESSED: usize = 64 * 1024 * 1024;

/// An offset and the timestamp of the record there; -1 for none.
type Found = (i64, i64);

impl Core {
    pub(crate) fn list_offsets(&self, version: i16, request: Request) -> Response {
        let topics = request
            .topics
            .into_iter()
            .map(|topic| ListOffsetsTopicResponse {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| self.list_offset(version, &topic.name, partition))
                    .collect(),
                name: topic.name,
                ..ListOffsetsTopicResponse::default()
            })
            .collect();
        Response { topics, ..Response::default() }
    }

    fn list_offset(
        &self,
        version: i16,
        topic: &KafkaString,
        asked: &ListOffsetsPartition,
    ) -> ListOffsetsPartitionResponse {
        let found = self
            .check_leader_epoch(asked.current_leader_epoch)
            .and_then(|()| self.topics.log(topic.as_str(), asked.partition_index))
            .and_then(|log| offset_at(log, version, asked.timestamp));
        let (error, (offset, timestamp)) = match found {
            Ok(found) => (ErrorCode::NONE, found),
            Err(error) => (error, (-1, -1)),
        };
        let has_epoch = version >= LEADER_EPOCH && error.is_ok() && offset >= 0;
        ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: error.0,
            timestamp,
            offset,
            leader_epoch: if has_epoch { self.topics.leader_epoch() } else { -1 },
            ..ListOffsetsPartitionResponse::default()
        }
    }
}

fn offset_at(log: &Log, version: i16, timestamp: i64) -> Result<Found, ErrorCode> {
    if FIRST_VERSIONS.iter().any(|(special, first)| *special == timestamp && version < *first) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    match timestamp {
        LATEST => Ok((log.end(), -1)),
        EARLIEST | EARLIEST_LOCAL => Ok((log.start(), -1)),
        // All of the log is here, nothing is uploaded to another store.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok((-1, -1)),
        MAX_TIMESTAMP => match log.segments().map(|segment| segment.max_timestamp).max() {
            Some(latest) if log.end() > log.start() => first_since(log, latest),
            _ => Ok((-1, -1)),
        },
        0.. => first_since(log, timestamp),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

fn first_since(log: &Log, timestamp: i64) -> Result<Found, ErrorCode> {
    let Some(segment) = log.segments().find(|segment| segment.max_timestamp >= timestamp) else {
        return Ok((-1, -1));
    };
    let batch = segment.first_since(timestamp).map_err(|error| {
        tracing::error!(path = segment.path(), %error, "cannot read a log");
        ErrorCode::KAFKA_STORAGE_ERROR
    })?;
    Ok(batch.map_or((-1, -1), |batch| record_since(&batch, timestamp)))
}

/// The first record not older than `timestamp`; the start of the batch if its records cannot be
/// read.
fn record_since(batch: &[u8], timestamp: i64) -> Found {
    let Ok(batch) = RawBatch::parse(batch) else { return (-1, -1) };
    let start = (batch.header.base_offset, batch.header.base_timestamp);
    let mut buffer = Vec::new();
    let Ok(payload) = Decompressor::new(MAX_DECOMPRESSED).payload(&batch, &mut buffer) else {
        return start;
    };
    records(payload.bytes(&batch, &buffer), &batch.header)
        .filter_map(Result::ok)
        .find(|record| record.timestamp >= timestamp)
        .map_or(start, |record| (record.offset, record.timestamp))
}
