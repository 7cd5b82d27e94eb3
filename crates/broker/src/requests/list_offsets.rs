//! ListOffsets: the offset at a time, or at one end of the log.

use std::io;

use onrush_record::{Decompressor, RawBatch, records};
use onrush_wire::message::list_offsets::request::ListOffsetsPartition;
use onrush_wire::message::list_offsets::response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use onrush_wire::message::list_offsets::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::log::{Log, Oversized, Slice};

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

const NOTHING: Found = (-1, -1);

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
            Err(error) => (error, NOTHING),
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
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
        MAX_TIMESTAMP => match log.segments().map(|segment| segment.max_timestamp).max() {
            Some(latest) if log.end() > log.start() => first_since(log, latest),
            _ => Ok(NOTHING),
        },
        0.. => first_since(log, timestamp),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

/// The first record that is not older than `timestamp`.
fn first_since(log: &Log, timestamp: i64) -> Result<Found, ErrorCode> {
    let Some(segment) = log.segments().find(|segment| segment.max_timestamp >= timestamp) else {
        return Ok(NOTHING);
    };
    let batch = segment.first_since(timestamp).map_err(|error| unread(&error))?;
    match batch.map(|batch| record_since(&batch, log.start(), timestamp)) {
        None => Ok(NOTHING),
        Some(Some(found)) => Ok(found),
        // It is deleted although its segment is still there.
        Some(None) => first_left_since(log, timestamp),
    }
}

/// The same, batch by batch from the start of the log on.
fn first_left_since(log: &Log, timestamp: i64) -> Result<Found, ErrorCode> {
    let mut offset = log.start();
    while offset < log.end() {
        let read = log.read(offset, 1, Oversized::Allowed).map_err(|error| unread(&error))?;
        let Slice::Records(batch) = read else { break };
        let Ok(raw) = RawBatch::parse(&batch) else { break };
        if raw.header.max_timestamp >= timestamp
            && let Some(found) = record_since(&batch, log.start(), timestamp)
        {
            return Ok(found);
        }
        offset = raw.header.last_offset() + 1;
    }
    Ok(NOTHING)
}

fn unread(error: &io::Error) -> ErrorCode {
    tracing::error!(%error, "cannot read a log");
    ErrorCode::KAFKA_STORAGE_ERROR
}

/// The first record of a batch from `start` on that is not older than `timestamp`; the start of the
/// batch if its records cannot be read, or are not what its header says.
fn record_since(batch: &[u8], start: i64, timestamp: i64) -> Option<Found> {
    let batch = RawBatch::parse(batch).ok()?;
    let whole = (batch.header.base_offset.max(start), batch.header.base_timestamp);
    let mut buffer = Vec::new();
    let Ok(payload) = Decompressor::new(MAX_DECOMPRESSED).payload(&batch, &mut buffer) else {
        return (batch.header.last_offset() >= start).then_some(whole);
    };
    records(payload.bytes(&batch, &buffer), &batch.header)
        .filter_map(Result::ok)
        .find(|record| record.offset >= start && record.timestamp >= timestamp)
        .map(|record| (record.offset, record.timestamp))
        .or((batch.header.base_offset >= start).then_some(whole))
}
