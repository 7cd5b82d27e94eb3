//! ListOffsets: the offset at a time, or at one end of the log.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use onrush_record::{BatchHeader, Decompressor, RawBatch, records};
use onrush_runtime::Fault;
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

/// A record, or the end of the log; -1 for what is not known.
#[derive(Clone, Copy, Debug)]
struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

const NOTHING: Found = Found { offset: -1, timestamp: -1, leader_epoch: -1 };

impl Core {
    pub(crate) fn list_offsets(&self, version: i16, request: Request) -> Response {
        let twice = asked_twice(&request);
        let topics = request
            .topics
            .into_iter()
            .map(|topic| ListOffsetsTopicResponse {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        let place = (topic.name.to_string(), asked.partition_index);
                        self.list_offset(version, &topic.name, asked, !twice.contains(&place))
                    })
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
        once: bool,
    ) -> ListOffsetsPartitionResponse {
        let found = once
            .then_some(())
            .ok_or(ErrorCode::INVALID_REQUEST)
            .and_then(|()| self.check_leader_epoch(asked.current_leader_epoch))
            .and_then(|()| self.topics.log(topic.as_str(), asked.partition_index))
            .and_then(|log| self.offset_at(log, version, asked.timestamp));
        let (error, found) = match found {
            Ok(found) => (ErrorCode::NONE, found),
            Err(error) => (error, NOTHING),
        };
        ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: error.0,
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: if version >= LEADER_EPOCH { found.leader_epoch } else { -1 },
            ..ListOffsetsPartitionResponse::default()
        }
    }

    fn offset_at(&self, log: &Log, version: i16, timestamp: i64) -> Result<Found, ErrorCode> {
        if FIRST_VERSIONS.iter().any(|(special, first)| *special == timestamp && version < *first) {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let end =
            Found { offset: log.end(), timestamp: -1, leader_epoch: self.topics.leader_epoch() };
        match timestamp {
            LATEST => Ok(end),
            EARLIEST | EARLIEST_LOCAL if log.start() == log.end() => Ok(end),
            EARLIEST | EARLIEST_LOCAL => {
                let leader_epoch = batch_at(log, log.start())?.1.partition_leader_epoch;
                Ok(Found { offset: log.start(), timestamp: -1, leader_epoch })
            }
            // All of the log is here, nothing is uploaded to another store.
            LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
            MAX_TIMESTAMP => {
                let mut latest = i64::MIN;
                for segment in log.segments() {
                    let since =
                        segment.latest_since(log.start()).map_err(|error| unread(&error))?;
                    latest = latest.max(since);
                }
                if latest == i64::MIN { Ok(NOTHING) } else { first_since(log, latest) }
            }
            0.. => first_since(log, timestamp),
            _ => Err(ErrorCode::UNSUPPORTED_VERSION),
        }
    }
}

/// Partitions that are asked for more than once. Each look-up of a time can read and decompress a
/// batch, so a partition is looked at once per request at most.
fn asked_twice(request: &Request) -> BTreeSet<(String, i32)> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            if !seen.insert((topic.name.as_str(), asked.partition_index)) {
                twice.insert((topic.name.to_string(), asked.partition_index));
            }
        }
    }
    twice
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
        let (batch, header) = batch_at(log, offset)?;
        if header.max_timestamp >= timestamp
            && let Some(found) = record_since(&batch, log.start(), timestamp)
        {
            return Ok(found);
        }
        offset = header.last_offset() + 1;
    }
    Ok(NOTHING)
}

/// The batch that has the record at `offset`, and perhaps some behind it.
pub(super) fn batch_at(log: &Log, offset: i64) -> Result<(Bytes, BatchHeader), ErrorCode> {
    let read = log.read(offset, 1, Oversized::Allowed).map_err(|error| unread(&error))?;
    let Slice::Records(batch) = read else {
        return Err(unread(&io::Error::other(format!("offset {offset} is not in it"))));
    };
    let header = BatchHeader::parse(&batch);
    let header = header.map_err(|error| unread(&io::Error::other(error.to_string())))?;
    Ok((batch, header))
}

fn unread(error: &io::Error) -> ErrorCode {
    tracing::error!(code = %Fault::BrokerStorage, %error, "cannot read a log");
    ErrorCode::KAFKA_STORAGE_ERROR
}

/// The first record of a batch from `start` on that is not older than `timestamp`; the start of the
/// batch if its records cannot be read, or are not what its header says.
fn record_since(batch: &[u8], start: i64, timestamp: i64) -> Option<Found> {
    let batch = RawBatch::parse(batch).ok()?;
    let header = &batch.header;
    let found = |offset, timestamp| {
        let leader_epoch = header.partition_leader_epoch;
        Found { offset, timestamp, leader_epoch }
    };
    let whole = found(header.base_offset.max(start), header.base_timestamp);
    let mut buffer = Vec::new();
    let Ok(payload) = Decompressor::new(MAX_DECOMPRESSED).payload(&batch, &mut buffer) else {
        return (header.last_offset() >= start).then_some(whole);
    };
    records(payload.bytes(&batch, &buffer), header)
        .filter_map(Result::ok)
        .find(|record| record.offset >= start && record.timestamp >= timestamp)
        .map(|record| found(record.offset, record.timestamp))
        .or((header.base_offset >= start).then_some(whole))
}

#[cfg(test)]
mod tests {
    use onrush_runtime::{Disk, Runtime};
    use onrush_wire::message::list_offsets::request::ListOffsetsTopic;

    use super::*;
    use crate::BrokerConfig;
    use crate::core::string;

    #[test]
    fn a_partition_that_is_asked_for_twice_is_refused() {
        let runtime = Runtime::production(Disk::memory());
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 2).expect("created");
        let asked = |partition_index| ListOffsetsPartition {
            partition_index,
            current_leader_epoch: -1,
            timestamp: LATEST,
            ..ListOffsetsPartition::default()
        };
        let topic = |partitions| ListOffsetsTopic {
            name: string("t"),
            partitions,
            ..ListOffsetsTopic::default()
        };
        let topics = vec![topic(vec![asked(0), asked(1)]), topic(vec![asked(0)])];
        let told = core.list_offsets(7, Request { topics, ..Request::default() }).topics;
        let errors: Vec<i16> =
            told.iter().flat_map(|topic| &topic.partitions).map(|told| told.error_code).collect();
        let refused = ErrorCode::INVALID_REQUEST.0;
        assert_eq!(errors, [refused, 0, refused]);
    }
}
