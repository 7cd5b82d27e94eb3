//! Produce and fetch: what goes in comes out, once and in order.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use onrush_broker::{BrokerConfig, Fsync};
use onrush_record::{Compression, batches};
use onrush_runtime::Disk;
use onrush_wire::fetch::{FetchPartition, FetchRequest};
use onrush_wire::message::{list_offsets, metadata};
use onrush_wire::{ApiKey, ErrorCode, Uuid};

use crate::support::*;

#[tokio::test]
async fn what_was_produced_is_fetched_in_every_version() {
    let (_broker, mut client, id) = broker_with_topic(1).await;
    let mut offset = 0;
    for version in 3..=13 {
        let (name, id) = if version < 13 { (TOPIC, Uuid::ZERO) } else { ("", id) };
        let produced = client.produce_to(version, name, id, 0, batch(&["a", "b"])).await;
        assert_eq!((produced.error_code, produced.base_offset), (ErrorCode::NONE, offset));
        offset += 2;
    }
    for version in 4..=18 {
        let id = if version < 13 { Uuid::ZERO } else { id };
        let fetched = client.fetch_with(version, &fetch_request(id, 0)).await;
        assert_eq!(fetched.error_code, ErrorCode::NONE, "version {version}");
        assert_eq!(values(&fetched), numbered(0, &["a", "b"].repeat(11)), "version {version}");
        assert_eq!(fetched.high_watermark, offset);
    }
}

#[tokio::test]
async fn a_fetch_in_the_middle_of_a_batch_gets_the_batch_that_contains_the_offset() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    client.produce(batch(&["a", "b", "c"])).await;
    client.produce(batch(&["d"])).await;
    assert_eq!(values(&client.fetch(1).await), numbered(0, &["a", "b", "c", "d"]));
    assert_eq!(values(&client.fetch(3).await), numbered(3, &["d"]));
    assert_eq!(values(&client.fetch(4).await), []);
    for outside in [-1, 5] {
        assert_eq!(client.fetch(outside).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
}

#[tokio::test]
async fn limits_cut_an_answer_but_the_first_batch_comes_whole() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let long = "x".repeat(5_000);
    for _ in 0..4 {
        client.produce(batch(&[&long])).await;
    }
    let size = batch(&[&long]).len();
    for (max, expected) in [(1, 1), (size, 1), (2 * size, 2), (2 * size + 1, 2), (9 * size, 4)] {
        let mut request = fetch_request(Uuid::ZERO, 0);
        request.max_bytes = max as i32;
        let fetched = client.fetch_with(12, &request).await;
        assert_eq!(batches(&fetched.records).count(), expected, "max.bytes {max}");
    }
}

#[tokio::test]
async fn a_retry_is_answered_with_the_first_offset_and_written_once() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let id = client.producer_id().await;
    for _ in 0..2 {
        let produced = client.produce(batch_of(id, 0, 0, &["a", "b"])).await;
        assert_eq!((produced.error_code, produced.base_offset), (ErrorCode::NONE, 0));
    }
    let produced = client.produce(batch_of(id, 0, 2, &["c"])).await;
    assert_eq!(produced.base_offset, 2);
    let gap = client.produce(batch_of(id, 0, 9, &["z"])).await;
    assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(client.produce(batch_of(id, 1, 0, &["d"])).await.base_offset, 3);
    let fenced = client.produce(batch_of(id, 0, 3, &["z"])).await;
    assert_eq!(fenced.error_code, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a", "b", "c", "d"]));
}

#[tokio::test]
async fn bad_batches_are_refused_one_by_one() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let good = batch(&["a"]);
    let changed = |at: usize, to: u8| {
        let mut bytes = BytesMut::from(&good[..]);
        bytes[at] = to;
        bytes.freeze()
    };
    let twice = Bytes::from([&good[..], &good[..]].concat());
    let cases = [
        ("flipped bit", changed(good.len() - 1, 0xff), ErrorCode::CORRUPT_MESSAGE),
        ("cut off", good.slice(..good.len() - 1), ErrorCode::CORRUPT_MESSAGE),
        ("no bytes", Bytes::new(), ErrorCode::CORRUPT_MESSAGE),
        ("absurd length", changed(8, 0x7f), ErrorCode::CORRUPT_MESSAGE),
        ("negative length", changed(8, 0xff), ErrorCode::CORRUPT_MESSAGE),
        ("old format", changed(16, 1), ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT),
        ("two batches", twice, ErrorCode::INVALID_RECORD),
    ];
    for (what, bytes, error) in cases {
        let refused = client.produce(bytes).await;
        assert_eq!(refused.error_code, error, "{what}");
        assert!(refused.error_message.is_some_and(|message| !message.is_empty()), "{what}");
    }
    assert_eq!(client.produce(good).await.base_offset, 0);
}

#[tokio::test]
async fn unknown_topics_and_partitions_are_errors_not_topics() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let produced = client.produce_to(12, "nothing", Uuid::ZERO, 0, batch(&["a"])).await;
    assert_eq!(produced.error_code, unknown);
    let produced = client.produce_to(12, TOPIC, Uuid::ZERO, 1, batch(&["a"])).await;
    assert_eq!(produced.error_code, unknown);
    let id = onrush_wire::uuid::from_bytes([9; 16]);
    let produced = client.produce_to(13, "", id, 0, batch(&["a"])).await;
    assert_eq!(produced.error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(metadata_of(&mut client, "nothing").await.error_code, unknown.0);
    assert_eq!(metadata_of(&mut client, TOPIC).await.partitions.len(), 1);
}

async fn metadata_of(
    client: &mut Client,
    topic: &str,
) -> metadata::response::MetadataResponseTopic {
    let topic =
        metadata::request::MetadataRequestTopic { name: Some(text(topic)), ..Default::default() };
    let request = metadata::Request { topics: Some(vec![topic]), ..Default::default() };
    client.ask(13, &request).await.topics.remove(0)
}

#[tokio::test]
async fn acks_of_zero_are_not_answered() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let header = client.header(ApiKey::PRODUCE, 12);
    let mut request = produce_request(TOPIC, Uuid::ZERO, 0, batch(&["a"]));
    request.acks = 0;
    client.send(&request.encode(&header).expect("encodes")).await;
    // The next answer on this connection is that of the fetch.
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a"]));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let mut sent = Vec::new();
    for value in ["a", "b", "c"] {
        let header = client.header(ApiKey::PRODUCE, 12);
        sent.push(header.correlation_id);
        let request = produce_request(TOPIC, Uuid::ZERO, 0, batch(&[value]));
        client.send(&request.encode(&header).expect("encodes")).await;
    }
    for correlation_id in sent {
        let frame = client.receive().await.expect("answered");
        assert_eq!(onrush_wire::header::correlation_id(&frame), Ok(correlation_id));
    }
    assert_eq!(values(&client.fetch(0).await), numbered(0, &["a", "b", "c"]));
}

fn patient(offset: i64, min_bytes: usize) -> FetchRequest {
    let mut request = fetch_request(Uuid::ZERO, offset);
    request.min_bytes = min_bytes as i32;
    request.max_wait_ms = 3_600_000;
    request
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_when_enough_has_come() {
    let (broker, mut reader, _) = broker_with_topic(1).await;
    let mut writer = Client::connect(broker.address()).await;
    reader.send_fetch(12, &patient(0, 2 * batch(&["a"]).len())).await;
    writer.produce(batch(&["a"])).await;
    let early = tokio::time::timeout(Duration::from_millis(50), reader.receive_fetch(12)).await;
    assert!(early.is_err(), "answered with half of what it asked for");
    writer.produce(batch(&["b"])).await;
    assert_eq!(values(&reader.receive_fetch(12).await), numbered(0, &["a", "b"]));
}

#[tokio::test]
async fn a_waiting_fetch_is_answered_with_nothing_at_its_deadline() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let mut request = patient(0, 1);
    request.max_wait_ms = 20;
    assert_eq!(values(&client.fetch_with(12, &request).await), []);
}

#[tokio::test]
async fn an_append_to_another_partition_wakes_nobody() {
    let (broker, mut reader, _) = broker_with_topic(2).await;
    let mut writer = Client::connect(broker.address()).await;
    let mut request = patient(0, 1);
    request.topics[0].partitions = vec![FetchPartition::consumer(1, 0, 1 << 20)];
    reader.send_fetch(12, &request).await;
    writer.produce(batch(&["a"])).await;
    let early = tokio::time::timeout(Duration::from_millis(50), reader.receive_fetch(12)).await;
    assert!(early.is_err());
    writer.produce_to(12, TOPIC, Uuid::ZERO, 1, batch(&["b"])).await;
    assert_eq!(values(&reader.receive_fetch(12).await), numbered(0, &["b"]));
}

async fn offset_at(client: &mut Client, timestamp: i64) -> (i64, i64) {
    let partition = list_offsets::request::ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = list_offsets::request::ListOffsetsTopic {
        name: text(TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = list_offsets::Request { topics: vec![topic], ..Default::default() };
    let answer = client.ask(9, &request).await.topics.remove(0).partitions.remove(0);
    assert_eq!(answer.error_code, 0);
    (answer.offset, answer.timestamp)
}

#[tokio::test]
async fn offsets_are_found_by_time_and_at_both_ends() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    assert_eq!(offset_at(&mut client, -3).await, (-1, -1));
    client.produce(batch_at(1_000, -1, -1, -1, Compression::None, &["a", "b", "c"])).await;
    client.produce(batch_at(2_000, -1, -1, -1, Compression::Lz4, &["d", "e"])).await;
    assert_eq!(offset_at(&mut client, -1).await.0, 5);
    assert_eq!(offset_at(&mut client, -2).await.0, 0);
    assert_eq!(offset_at(&mut client, -3).await, (4, 2_001));
    assert_eq!(offset_at(&mut client, 1_001).await, (1, 1_001));
    assert_eq!(offset_at(&mut client, 1_500).await, (3, 2_000));
    assert_eq!(offset_at(&mut client, 9_999).await, (-1, -1));
}

#[tokio::test]
async fn beyond_the_memory_cap_the_oldest_segments_go() {
    let config = BrokerConfig {
        memory_cap: Some(256 * 1024),
        fsync: Fsync::Never,
        ..BrokerConfig::default()
    };
    let disk = Disk::memory();
    let broker = broker_on(&disk, config).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    let value = "x".repeat(10_000);
    for _ in 0..100 {
        assert_eq!(client.produce(batch(&[&value])).await.error_code, ErrorCode::NONE);
    }
    let Disk::Memory(memory) = &disk else { unreachable!("made above") };
    assert!(memory.used() < 280 * 1024, "{} bytes are held", memory.used());
    let gone = client.fetch(0).await;
    assert_eq!(gone.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert!((70..100).contains(&gone.log_start_offset), "{}", gone.log_start_offset);
    assert_eq!(gone.high_watermark, 100);
    let kept = client.fetch(gone.log_start_offset).await;
    assert_eq!(values(&kept)[0].0, gone.log_start_offset);
}
