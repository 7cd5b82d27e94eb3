//! Produce, held against the codec.
use kacrab_protocol::generated::{produce_request as codec, produce_response as codec_response};
use onrush_wire::ErrorCode;
use onrush_wire::produce::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{leader, records, string, topic_id};

pub(crate) fn request() -> impl Strategy<Value = ProduceRequest> {
    let partition = (any::<i32>(), option::of(records()))
        .prop_map(|(index, records)| PartitionProduce { index, records });
    let topic = (string(), topic_id(), vec(partition, 0..4))
        .prop_map(|(name, topic_id, partitions)| TopicProduce { name, topic_id, partitions });
    (option::of(string()), any::<i16>(), any::<i32>(), vec(topic, 0..4)).prop_map(
        |(transactional_id, acks, timeout_ms, topics)| ProduceRequest {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        },
    )
}

pub(crate) fn response() -> impl Strategy<Value = ProduceResponse> {
    let topic = (string(), topic_id(), vec(partition(), 0..4))
        .prop_map(|(name, topic_id, partitions)| TopicProduced { name, topic_id, partitions });
    (vec(topic, 0..4), any::<i32>())
        .prop_map(|(topics, throttle_ms)| ProduceResponse { topics, throttle_ms })
}

fn partition() -> impl Strategy<Value = PartitionProduced> {
    let error = (any::<i32>(), option::of(string()))
        .prop_map(|(index, message)| RecordError { index, message });
    let offsets = (any::<i64>(), any::<i64>(), any::<i64>());
    (any::<i32>(), any::<i16>(), offsets, vec(error, 0..3), option::of(string()), leader())
        .prop_map(|(index, code, offsets, record_errors, error_message, current_leader)| {
            PartitionProduced {
                index,
                error_code: ErrorCode(code),
                base_offset: offsets.0,
                log_append_time_ms: offsets.1,
                log_start_offset: offsets.2,
                record_errors,
                error_message,
                current_leader,
            }
        })
}

/// The request as `version` can carry it: names or ids.
pub(crate) fn request_of(version: i16, mut request: ProduceRequest) -> ProduceRequest {
    for topic in &mut request.topics {
        match version {
            ..13 => topic.topic_id = Default::default(),
            _ => topic.name = Default::default(),
        }
    }
    request
}

/// The response as `version` can carry it.
pub(crate) fn response_of(version: i16, mut response: ProduceResponse) -> ProduceResponse {
    for topic in &mut response.topics {
        match version {
            ..13 => topic.topic_id = Default::default(),
            _ => topic.name = Default::default(),
        }
        for partition in &mut topic.partitions {
            if version < 5 {
                partition.log_start_offset = -1;
            }
            if version < 8 {
                partition.record_errors.clear();
                partition.error_message = None;
            }
            if version < 10 {
                partition.current_leader = None;
            }
        }
    }
    response
}

pub(crate) fn codec_request(request: &ProduceRequest) -> codec::ProduceRequestData {
    let topic = |topic: &TopicProduce| codec::TopicProduceData {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_data: topic
            .partitions
            .iter()
            .map(|partition| {
                codec::PartitionProduceData::default()
                    .with_index(partition.index)
                    .with_records(partition.records.clone())
            })
            .collect(),
        ..Default::default()
    };
    codec::ProduceRequestData {
        transactional_id: request.transactional_id.clone(),
        acks: request.acks,
        timeout_ms: request.timeout_ms,
        topic_data: request.topics.iter().map(topic).collect(),
        ..Default::default()
    }
}

pub(crate) fn codec_response(response: &ProduceResponse) -> codec_response::ProduceResponseData {
    let topic = |topic: &TopicProduced| codec_response::TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic.partitions.iter().map(codec_partition).collect(),
        ..Default::default()
    };
    codec_response::ProduceResponseData {
        responses: response.topics.iter().map(topic).collect(),
        throttle_time_ms: response.throttle_ms,
        ..Default::default()
    }
}

fn codec_partition(partition: &PartitionProduced) -> codec_response::PartitionProduceResponse {
    let leader = partition.current_leader.map(|leader| codec_response::LeaderIdAndEpoch {
        leader_id: leader.id,
        leader_epoch: leader.epoch,
        ..Default::default()
    });
    let error = |error: &RecordError| codec_response::BatchIndexAndErrorMessage {
        batch_index: error.index,
        batch_index_error_message: error.message.clone(),
        ..Default::default()
    };
    codec_response::PartitionProduceResponse {
        index: partition.index,
        error_code: partition.error_code.0,
        base_offset: partition.base_offset,
        log_append_time_ms: partition.log_append_time_ms,
        log_start_offset: partition.log_start_offset,
        record_errors: partition.record_errors.iter().map(error).collect(),
        error_message: partition.error_message.clone(),
        current_leader: leader.unwrap_or_default(),
        ..Default::default()
    }
}
