//! Fetch: slices of the log, at once or when enough has come.
//!
//! No fetch sessions: every answer has session id 0, which tells a client to go on with full
//! requests.

use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::{Fault, Instant};
use onrush_wire::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition, FetchedTopic,
    TOPIC_IDS,
};
use onrush_wire::produce::CurrentLeader;
use onrush_wire::{ErrorCode, KafkaString, WireError};

use crate::config::{MAX_FETCH_BYTES, MAX_FETCH_WAIT, MAX_PARTITIONS};
use crate::core::{Core, Envelope, Outcome, string, tolerant};
use crate::log::{Log, Oversized, Slice};
use crate::parked::{ConnectionId, ParkedFetch, Waiting};
use crate::topics::{Place, Topic, TopicRef};

/// What a fetch found.
pub(crate) struct Found {
    pub(crate) response: FetchResponse,
    bytes: usize,
    /// An error is told at once.
    failed: bool,
    places: Vec<Place>,
}

impl Core {
    pub(crate) fn fetch(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let Envelope { version, correlation_id, max_answer, .. } = envelope;
        let request = tolerant(body, |body| FetchRequest::decode(version, body))?;
        if request.session_epoch > 0 {
            let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            let response = FetchResponse { error_code, ..FetchResponse::default() };
            return Ok(Outcome::Reply(response.encode(correlation_id, version)?));
        }
        let found = self.read_all(&request, version, max_answer);
        let wanted = usize::try_from(request.min_bytes)
            .unwrap_or(0)
            .min(max_bytes(&request))
            .min(max_answer);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        // What waits stays in memory: for each connection no more than there can be to wait for.
        let is_endless = found.places.len() > MAX_PARTITIONS;
        if found.failed || found.bytes >= wanted || wait.is_zero() || is_endless {
            return Ok(Outcome::Reply(found.response.encode(correlation_id, version)?));
        }
        let deadline = now + wait.min(MAX_FETCH_WAIT);
        let missing = wanted - found.bytes;
        let places = found.places;
        let request = without_frame(request);
        let fetch = ParkedFetch { correlation_id, version, request, places, missing };
        self.parked.park(connection, Waiting::Fetch(fetch));
        Ok(Outcome::Parked(deadline))
    }

    /// Reads what there is now, up to `max_answer` bytes besides a first batch.
    pub(crate) fn read_all(
        &self,
        request: &FetchRequest,
        version: i16,
        max_answer: usize,
    ) -> Found {
        let mut found = Found {
            response: FetchResponse::default(),
            bytes: 0,
            failed: false,
            places: Vec::new(),
        };
        let limit = max_bytes(request).min(max_answer);
        for topic in &request.topics {
            let fetched = self.read_topic(topic, version, limit, &mut found);
            found.response.topics.push(fetched);
        }
        found
    }

    fn read_topic(
        &self,
        asked: &FetchTopic,
        version: i16,
        limit: usize,
        found: &mut Found,
    ) -> FetchedTopic {
        let by = match version {
            TOPIC_IDS.. => TopicRef::Id(asked.topic_id),
            _ => TopicRef::Name(asked.name.as_str()),
        };
        let topic = self.topics.find(by);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let read = topic.and_then(|topic| self.read_partition(topic, partition, limit, found));
            partitions.push(read.unwrap_or_else(|error| {
                found.failed = true;
                self.failed(partition.index, error)
            }));
        }
        FetchedTopic { name: asked.name.clone(), topic_id: asked.topic_id, partitions }
    }

    fn read_partition(
        &self,
        topic: &Topic,
        asked: &FetchPartition,
        limit: usize,
        found: &mut Found,
    ) -> Result<FetchedPartition, ErrorCode> {
        let log = usize::try_from(asked.index).ok().and_then(|index| topic.logs.get(index));
        let log = log.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.check_leader_epoch(asked.current_leader_epoch)?;
        let max =
            usize::try_from(asked.max_bytes).unwrap_or(0).min(limit.saturating_sub(found.bytes));
        let oversized_first = match found.bytes {
            0 => Oversized::Allowed,
            _ => Oversized::Refused,
        };
        let slice = log.read(asked.fetch_offset, max, oversized_first).map_err(|error| {
            tracing::error!(topic = %topic.name, asked.index, asked.fetch_offset, code = %Fault::BrokerStorage, %error, "cannot read a log");
            ErrorCode::KAFKA_STORAGE_ERROR
        })?;
        let Slice::Records(records) = slice else {
            found.failed = true;
            let error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
            return Ok(FetchedPartition { error_code, ..partition_of(log, asked.index) });
        };
        found.bytes += records.len();
        found.places.push(Place { topic: topic.name.clone(), partition: asked.index });
        Ok(FetchedPartition { records, ..partition_of(log, asked.index) })
    }

    /// A client that knows of an older epoch may have seen bytes that a crash took since.
    pub(crate) fn check_leader_epoch(&self, epoch: i32) -> Result<(), ErrorCode> {
        match epoch.cmp(&self.topics.leader_epoch()) {
            _ if epoch < 0 => Ok(()),
            std::cmp::Ordering::Less => Err(ErrorCode::FENCED_LEADER_EPOCH),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        }
    }

    fn failed(&self, index: i32, error: ErrorCode) -> FetchedPartition {
        let leader = CurrentLeader { id: self.config.node_id, epoch: self.topics.leader_epoch() };
        let current_leader = (error == ErrorCode::FENCED_LEADER_EPOCH).then_some(leader);
        FetchedPartition { current_leader, ..FetchedPartition::failed(index, error) }
    }
}

/// Copies what slices the frame: it can be long for what is in it.
fn without_frame(request: FetchRequest) -> FetchRequest {
    let copied = |topic: FetchTopic| FetchTopic { name: string(topic.name.as_str()), ..topic };
    FetchRequest {
        topics: request.topics.into_iter().map(copied).collect(),
        forgotten: Vec::new(),
        rack_id: KafkaString::default(),
        ..request
    }
}

fn partition_of(log: &Log, index: i32) -> FetchedPartition {
    FetchedPartition {
        high_watermark: log.end(),
        last_stable_offset: log.end(),
        log_start_offset: log.start(),
        ..FetchedPartition::failed(index, ErrorCode::NONE)
    }
}

fn max_bytes(request: &FetchRequest) -> usize {
    usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_FETCH_BYTES)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use onrush_runtime::{Disk, Runtime};
    use onrush_wire::frame::PREFIX;
    use onrush_wire::{ApiKey, RequestHeader};

    use super::*;
    use crate::BrokerConfig;

    fn frame(version: i16, partitions: usize) -> Bytes {
        let topic = FetchTopic {
            name: string("t"),
            topic_id: onrush_wire::Uuid::ZERO,
            partitions: vec![FetchPartition::consumer(0, 0, 1); partitions],
        };
        let request = FetchRequest {
            max_wait_ms: 1_000,
            min_bytes: 1,
            rack_id: string("here"),
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let header = RequestHeader::new(ApiKey::FETCH, version, 1);
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&request.encode(&header).expect("encodes"));
        frame.freeze().slice(PREFIX..)
    }

    #[test]
    fn a_fetch_that_waits_keeps_neither_its_frame_nor_more_than_there_can_be() {
        let runtime = Runtime::production(Disk::memory());
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 1).expect("created");
        let now = runtime.clock.now();
        for version in [4, 12] {
            let asked = frame(version, 1);
            let outcome = core.handle(now, 1, usize::MAX, asked.clone()).expect("well formed");
            assert!(matches!(outcome, Outcome::Parked(_)));
            assert!(asked.is_unique(), "version {version}");
            let endless = frame(version, MAX_PARTITIONS + 1);
            let outcome = core.handle(now, 2, usize::MAX, endless).expect("well formed");
            assert!(matches!(outcome, Outcome::Reply(_)));
        }
    }
}
