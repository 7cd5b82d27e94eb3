//! What a connection may do wrong, and that it harms nobody else.

use bytes::{BufMut, Bytes, BytesMut};
use onrush_wire::message::{api_versions, delete_topics};
use onrush_wire::{ApiKey, ErrorCode, VersionRange, api_versions as handshake};
use tokio::io::AsyncWriteExt;

use crate::support::*;

fn frame(api: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(4 + 4 + 2 + body.len() as i32);
    frame.put_i16(api);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

#[tokio::test]
async fn every_api_that_is_announced_answers() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let announced = client.ask(4, &api_versions::Request::default()).await;
    for announced in &announced.api_keys {
        let known = ApiKey(announced.api_key).versions().expect("in the table");
        assert!(known.contains(announced.min_version) && known.contains(announced.max_version));
    }
    assert_eq!(handshake::range_of(&announced, ApiKey::FETCH), Some(VersionRange::new(4, 18)));
    for version in 0..=3 {
        let older = client.ask(version, &api_versions::Request::default()).await;
        assert_eq!(older.api_keys, announced.api_keys);
    }
}

#[tokio::test]
async fn a_newer_handshake_is_told_what_is_known() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    client.send(&[frame(18, 5, &[0, 1, 1, 0])]).await;
    let answer = client.receive().await.expect("answered");
    let (_, response) = handshake::decode(5, answer).expect("decodes");
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
    assert_eq!(handshake::range_of(&response, ApiKey::API_VERSIONS), Some(VersionRange::new(0, 4)));
    client.ask(4, &api_versions::Request::default()).await;
}

#[tokio::test]
async fn bytes_behind_the_last_field_are_not_minded() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    // No tagged fields in the header; no topics, three flags and no tagged fields in the body;
    // three bytes too many.
    client.send(&[frame(ApiKey::METADATA.0, 12, &[0, 1, 0, 0, 0, 0, 0, 0])]).await;
    assert!(client.receive().await.is_some());
}

#[tokio::test]
async fn what_is_malformed_closes_its_connection_and_no_other() {
    let (broker, mut healthy, _) = broker_with_topic(1).await;
    let cases: &[(&str, &[u8])] = &[
        ("absurd length", &[0x7f, 0xff, 0xff, 0xff]),
        ("negative length", &[0xff, 0xff, 0xff, 0xff]),
        ("not Kafka", b"GET / HTTP/1.1\r\n\r\n"),
        ("empty frame", &[0, 0, 0, 0]),
        ("header cut off", &[0, 0, 0, 3, 0, 3, 0]),
        ("unknown API", &frame(1_000, 0, &[])),
        ("API that is not served", &frame(ApiKey::JOIN_GROUP.0, 5, &[])),
        ("version that is not served", &frame(ApiKey::METADATA.0, 99, &[0])),
        ("negative version", &frame(ApiKey::FETCH.0, -1, &[])),
        ("body cut off", &frame(ApiKey::METADATA.0, 8, &[0, 0])),
        ("absurd count", &frame(ApiKey::METADATA.0, 8, &[0x7f, 0xff, 0xff, 0xff, 0])),
        ("produce cut off", &frame(ApiKey::PRODUCE.0, 3, &[0xff, 0xff, 0, 1])),
        ("fetch of absurd count", &frame(ApiKey::FETCH.0, 4, &[0x7f; 40])),
    ];
    for (what, bytes) in cases {
        let mut client = Client::connect(broker.address()).await;
        client.send(&[Bytes::copy_from_slice(bytes)]).await;
        assert_eq!(client.receive().await, None, "{what}");
    }
    assert_eq!(healthy.produce(batch(&["a"])).await.base_offset, 0);
}

#[tokio::test]
async fn a_peer_that_goes_away_in_the_middle_harms_nobody() {
    let (broker, mut healthy, _) = broker_with_topic(1).await;
    let whole = frame(ApiKey::METADATA.0, 8, &[0; 40]);
    for cut in [1, 4, 20] {
        let mut client = Client::connect(broker.address()).await;
        client.send(&[whole.slice(..cut)]).await;
        client.stream.shutdown().await.expect("half-closed");
        assert_eq!(client.receive().await, None);
    }
    // One whose fetch is parked.
    let mut client = Client::connect(broker.address()).await;
    let mut request = fetch_request(onrush_wire::Uuid::ZERO, 0);
    request.max_wait_ms = i32::MAX;
    client.send_fetch(12, &request).await;
    client.stream.shutdown().await.expect("half-closed");
    assert_eq!(client.receive().await, None);
    assert_eq!(healthy.produce(batch(&["a"])).await.base_offset, 0);
}

#[tokio::test]
async fn closing_ends_idle_connections_and_parked_fetches() {
    let (broker, mut idle, _) = broker_with_topic(1).await;
    let mut parked = Client::connect(broker.address()).await;
    let mut request = fetch_request(onrush_wire::Uuid::ZERO, 0);
    request.max_wait_ms = i32::MAX;
    parked.send_fetch(12, &request).await;
    broker.close().await.expect("closes");
    assert_eq!(idle.receive().await, None);
    assert_eq!(parked.receive().await, None);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_can_come_again() {
    let (_broker, mut client, id) = broker_with_topic(1).await;
    client.produce(batch(&["a"])).await;
    let request = delete_topics::Request { topic_names: vec![text(TOPIC)], ..Default::default() };
    assert_eq!(client.ask(5, &request).await.responses[0].error_code, 0);
    assert_eq!(client.fetch(0).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let again = client.create_topic(TOPIC, 1).await;
    assert_ne!(again, id);
    assert_eq!(client.produce(batch(&["b"])).await.base_offset, 0);
    let state = delete_topics::request::DeleteTopicState { topic_id: again, ..Default::default() };
    let request = delete_topics::Request { topics: vec![state], ..Default::default() };
    assert_eq!(client.ask(6, &request).await.responses[0].error_code, 0);
}
