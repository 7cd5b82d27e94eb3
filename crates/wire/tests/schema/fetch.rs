//! Fetch, held against the codec.
use kacrab_protocol::generated::{fetch_request as codec, fetch_response as codec_response};
use onrush_wire::ErrorCode;
use onrush_wire::fetch::*;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{leader, records, string, topic_id};

pub(crate) fn request() -> impl Strategy<Value = FetchRequest> {
    let topic = (string(), topic_id(), vec(partition(), 0..4))
        .prop_map(|(name, topic_id, partitions)| FetchTopic { name, topic_id, partitions });
    let forgotten = (string(), topic_id(), vec(any::<i32>(), 0..4))
        .prop_map(|(name, topic_id, partitions)| ForgottenTopic { name, topic_id, partitions });
    let limits = (any::<i32>(), any::<i32>(), any::<i32>(), any::<i8>());
    let replica = prop_oneof![Just((-1, -1)), (any::<i32>(), any::<i64>())];
    let session = (any::<i32>(), any::<i32>());
    (replica, limits, session, vec(topic, 0..4), vec(forgotten, 0..3), string()).prop_map(
        |(replica, limits, session, topics, forgotten, rack_id)| FetchRequest {
            replica_id: replica.0,
            replica_epoch: replica.1,
            max_wait_ms: limits.0,
            min_bytes: limits.1,
            max_bytes: limits.2,
            isolation_level: limits.3,
            session_id: session.0,
            session_epoch: session.1,
            topics,
            forgotten,
            rack_id,
        },
    )
}

fn partition() -> impl Strategy<Value = FetchPartition> {
    (any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>(), any::<i32>()).prop_map(
        |(
            index,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            max_bytes,
        )| {
            FetchPartition {
                index,
                current_leader_epoch,
                fetch_offset,
                last_fetched_epoch,
                log_start_offset,
                max_bytes,
            }
        },
    )
}

pub(crate) fn response() -> impl Strategy<Value = FetchResponse> {
    let topic = (string(), topic_id(), vec(fetched(), 0..4))
        .prop_map(|(name, topic_id, partitions)| FetchedTopic { name, topic_id, partitions });
    (any::<i32>(), any::<i16>(), any::<i32>(), vec(topic, 0..4)).prop_map(
        |(throttle_ms, code, session_id, topics)| FetchResponse {
            throttle_ms,
            error_code: ErrorCode(code),
            session_id,
            topics,
        },
    )
}

fn fetched() -> impl Strategy<Value = FetchedPartition> {
    let aborted = (any::<i64>(), any::<i64>())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let offsets = (any::<i64>(), any::<i64>(), any::<i64>());
    let ids = (any::<i32>(), any::<i16>(), any::<i32>());
    (ids, offsets, vec(aborted, 0..3), leader(), records()).prop_map(
        |(ids, offsets, aborted, current_leader, records)| FetchedPartition {
            index: ids.0,
            error_code: ErrorCode(ids.1),
            high_watermark: offsets.0,
            last_stable_offset: offsets.1,
            log_start_offset: offsets.2,
            aborted,
            preferred_read_replica: ids.2,
            current_leader,
            records,
        },
    )
}

/// The request as `version` can carry it.
pub(crate) fn request_of(version: i16, mut request: FetchRequest) -> FetchRequest {
    if version < 7 {
        (request.session_id, request.session_epoch) = (0, -1);
        request.forgotten.clear();
    }
    if version < 11 {
        request.rack_id = Default::default();
    }
    if version < 15 {
        request.replica_epoch = -1;
    }
    for topic in &mut request.topics {
        match version {
            ..13 => topic.topic_id = Default::default(),
            _ => topic.name = Default::default(),
        }
        for partition in &mut topic.partitions {
            if version < 5 {
                partition.log_start_offset = -1;
            }
            if version < 9 {
                partition.current_leader_epoch = -1;
            }
            if version < 12 {
                partition.last_fetched_epoch = -1;
            }
        }
    }
    for topic in &mut request.forgotten {
        match version {
            ..13 => topic.topic_id = Default::default(),
            _ => topic.name = Default::default(),
        }
    }
    request
}

/// The response as `version` can carry it.
pub(crate) fn response_of(version: i16, mut response: FetchResponse) -> FetchResponse {
    if version < 7 {
        (response.error_code, response.session_id) = (ErrorCode::NONE, 0);
    }
    for topic in &mut response.topics {
        match version {
            ..13 => topic.topic_id = Default::default(),
            _ => topic.name = Default::default(),
        }
        for partition in &mut topic.partitions {
            if version < 5 {
                partition.log_start_offset = -1;
            }
            if version < 11 {
                partition.preferred_read_replica = -1;
            }
            if version < 12 {
                partition.current_leader = None;
            }
        }
    }
    response
}

pub(crate) fn codec_request(version: i16, request: &FetchRequest) -> codec::FetchRequestData {
    let forgotten = |topic: &ForgottenTopic| codec::ForgottenTopic {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.clone(),
        ..Default::default()
    };
    let mut codec = codec::FetchRequestData {
        max_wait_ms: request.max_wait_ms,
        min_bytes: request.min_bytes,
        max_bytes: request.max_bytes,
        isolation_level: request.isolation_level,
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        topics: request.topics.iter().map(codec_topic).collect(),
        forgotten_topics_data: request.forgotten.iter().map(forgotten).collect(),
        rack_id: request.rack_id.clone(),
        ..Default::default()
    };
    match version {
        ..15 => codec.replica_id = request.replica_id,
        _ => {
            codec.replica_state.replica_id = request.replica_id;
            codec.replica_state.replica_epoch = request.replica_epoch;
        }
    }
    codec
}

fn codec_topic(topic: &FetchTopic) -> codec::FetchTopic {
    let partition = |partition: &FetchPartition| codec::FetchPartition {
        partition: partition.index,
        current_leader_epoch: partition.current_leader_epoch,
        fetch_offset: partition.fetch_offset,
        last_fetched_epoch: partition.last_fetched_epoch,
        log_start_offset: partition.log_start_offset,
        partition_max_bytes: partition.max_bytes,
        ..Default::default()
    };
    codec::FetchTopic {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

pub(crate) fn codec_response(response: &FetchResponse) -> codec_response::FetchResponseData {
    let topic = |topic: &FetchedTopic| codec_response::FetchableTopicResponse {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(codec_partition).collect(),
        ..Default::default()
    };
    codec_response::FetchResponseData {
        throttle_time_ms: response.throttle_ms,
        error_code: response.error_code.0,
        session_id: response.session_id,
        responses: response.topics.iter().map(topic).collect(),
        ..Default::default()
    }
}

fn codec_partition(partition: &FetchedPartition) -> codec_response::PartitionData {
    let leader = partition.current_leader.map(|leader| codec_response::LeaderIdAndEpoch {
        leader_id: leader.id,
        leader_epoch: leader.epoch,
        ..Default::default()
    });
    let aborted = |transaction: &AbortedTransaction| codec_response::AbortedTransaction {
        producer_id: transaction.producer_id,
        first_offset: transaction.first_offset,
        ..Default::default()
    };
    let aborted: Vec<_> = partition.aborted.iter().map(aborted).collect();
    codec_response::PartitionData {
        partition_index: partition.index,
        error_code: partition.error_code.0,
        high_watermark: partition.high_watermark,
        last_stable_offset: partition.last_stable_offset,
        log_start_offset: partition.log_start_offset,
        current_leader: leader.unwrap_or_default(),
        aborted_transactions: Some(aborted).filter(|aborted| !aborted.is_empty()),
        preferred_read_replica: partition.preferred_read_replica,
        records: Some(partition.records.clone()),
        ..Default::default()
    }
}
