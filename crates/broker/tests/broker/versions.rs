//! Every version that is announced is answered, with results and with errors: what a version cannot
//! say must not be said.

use onrush_wire::message::{
    consumer_group_heartbeat, create_topics, delete_topics, describe_cluster, find_coordinator,
    init_producer_id, list_offsets, metadata,
};
use onrush_wire::{ErrorCode, Uuid};

use crate::support::*;

#[tokio::test]
async fn list_offsets() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    client.produce(batch(&["a", "b"])).await;
    let partition = |index, timestamp| list_offsets::request::ListOffsetsPartition {
        partition_index: index,
        timestamp,
        ..Default::default()
    };
    let request = |partition| {
        let partitions = vec![partition];
        let name = text(TOPIC);
        let topic =
            list_offsets::request::ListOffsetsTopic { name, partitions, ..Default::default() };
        list_offsets::Request { topics: vec![topic], ..Default::default() }
    };
    for version in 1..=11 {
        let mut found = Vec::new();
        for (index, timestamp) in [(0, -1), (0, 1_001), (0, 9_999), (1, -1)] {
            let asked = request(partition(index, timestamp));
            found.append(&mut client.ask(version, &asked).await.topics.remove(0).partitions);
        }
        let offsets: Vec<i64> = found.iter().map(|partition| partition.offset).collect();
        assert_eq!(offsets, [2, 1, -1, -1], "version {version}");
        assert_eq!(found[3].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
        assert_eq!(found[0].leader_epoch, if version < 4 { -1 } else { 1 });
    }
}

#[tokio::test]
async fn metadata_of_known_and_unknown_topics() {
    let (_broker, mut client, id) = broker_with_topic(3).await;
    let named = |name: &str| metadata::request::MetadataRequestTopic {
        name: Some(text(name)),
        ..Default::default()
    };
    for version in 0..=13 {
        let request = metadata::Request {
            topics: Some(vec![named(TOPIC), named("nothing"), named("not/a/name")]),
            ..Default::default()
        };
        let topics = client.ask(version, &request).await.topics;
        assert_eq!((topics[0].error_code, topics[0].partitions.len()), (0, 3), "version {version}");
        for unknown in &topics[1..] {
            assert_eq!(unknown.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
        }
        // Version 0 has no null list: there the empty one means all.
        let topics = (version == 0).then(Vec::new);
        let all = client.ask(version, &metadata::Request { topics, ..Default::default() }).await;
        assert_eq!(all.topics.len(), 1, "version {version}");
        assert_eq!(all.topics[0].topic_id == id, version >= 10);
    }
    let by_id = |topic_id| metadata::request::MetadataRequestTopic {
        topic_id,
        name: None,
        ..Default::default()
    };
    for version in 12..=13 {
        let topics = vec![by_id(id), by_id(onrush_wire::uuid::from_bytes([9; 16]))];
        let found = client
            .ask(version, &metadata::Request { topics: Some(topics), ..Default::default() })
            .await;
        assert_eq!(found.topics[0].name, Some(text(TOPIC)));
        assert_eq!(found.topics[1].error_code, ErrorCode::UNKNOWN_TOPIC_ID.0);
    }
}

#[tokio::test]
async fn create_and_delete_topics() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let topic = |name: &str, partitions| create_topics::request::CreatableTopic {
        name: text(name),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    for version in 2..=7 {
        let three =
            create_topics::request::CreatableTopic { replication_factor: 3, ..topic("three", 1) };
        let topics =
            vec![topic("new", 2), topic(TOPIC, 1), topic("none", 0), topic("a/b", 1), three];
        let request = create_topics::Request { topics, ..Default::default() };
        let codes = |response: create_topics::Response| -> Vec<i16> {
            response.topics.iter().map(|topic| topic.error_code).collect()
        };
        let dry = create_topics::Request { validate_only: true, ..request.clone() };
        let expected = [
            ErrorCode::NONE.0,
            ErrorCode::TOPIC_ALREADY_EXISTS.0,
            ErrorCode::INVALID_PARTITIONS.0,
            ErrorCode::INVALID_TOPIC_EXCEPTION.0,
            ErrorCode::INVALID_REPLICATION_FACTOR.0,
        ];
        assert_eq!(codes(client.ask(version, &dry).await), expected, "version {version}");
        assert_eq!(codes(client.ask(version, &request).await), expected, "version {version}");
        let names = vec![text("new"), text("nothing")];
        let request = delete_topics::Request { topic_names: names, ..Default::default() };
        let deleted = client.ask(version.min(6) - 1, &request).await.responses;
        assert_eq!(deleted[0].error_code, 0, "version {}", version - 1);
        assert_eq!(deleted[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    }
    let unknown = delete_topics::request::DeleteTopicState {
        topic_id: onrush_wire::uuid::from_bytes([9; 16]),
        ..Default::default()
    };
    let request = delete_topics::Request { topics: vec![unknown], ..Default::default() };
    assert_eq!(
        client.ask(6, &request).await.responses[0].error_code,
        ErrorCode::UNKNOWN_TOPIC_ID.0
    );
}

#[tokio::test]
async fn init_producer_id() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let mut given = Vec::new();
    for version in 0..=5 {
        let response = client.ask(version, &init_producer_id::Request::default()).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0), "version {version}");
        given.push(response.producer_id);
        let transactional =
            init_producer_id::Request { transactional_id: Some(text("t")), ..Default::default() };
        assert_eq!(
            client.ask(version, &transactional).await.error_code,
            ErrorCode::INVALID_REQUEST.0
        );
    }
    given.dedup();
    assert_eq!(given.len(), 6);
}

#[tokio::test]
async fn find_coordinator() {
    let (broker, mut client, _) = broker_with_topic(1).await;
    let here = |port: i32| broker.address().ends_with(&format!(":{port}"));
    for version in 0..=3 {
        let request = find_coordinator::Request { key: text("g"), ..Default::default() };
        assert!(here(client.ask(version, &request).await.port), "version {version}");
        if version > 0 {
            let transactions = find_coordinator::Request { key_type: 1, ..request };
            assert_ne!(client.ask(version, &transactions).await.error_code, 0);
        }
    }
    for version in 4..=6 {
        let coordinator_keys = vec![text("g"), text("h")];
        let request = find_coordinator::Request { coordinator_keys, ..Default::default() };
        let found = client.ask(version, &request).await.coordinators;
        assert!(found.len() == 2 && found.iter().all(|coordinator| here(coordinator.port)));
        let transactions = find_coordinator::Request { key_type: 1, ..request };
        assert_ne!(client.ask(version, &transactions).await.coordinators[0].error_code, 0);
    }
}

#[tokio::test]
async fn describe_cluster() {
    let (broker, mut client, _) = broker_with_topic(1).await;
    for version in 0..=2 {
        let found = client.ask(version, &describe_cluster::Request::default()).await;
        assert!(broker.address().ends_with(&format!(":{}", found.brokers[0].port)));
        if version > 0 {
            let controllers = describe_cluster::Request { endpoint_type: 2, ..Default::default() };
            let refused = client.ask(version, &controllers).await;
            assert_eq!(refused.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE.0);
        }
    }
}

#[tokio::test]
async fn consumer_group_heartbeat() {
    let (_broker, mut client, topic) = broker_with_topic(2).await;
    for version in 0..=1 {
        let joining = consumer_group_heartbeat::Request {
            group_id: text(if version == 0 { "g" } else { "h" }),
            // Version 0 leaves the choice to the broker.
            member_id: text(if version == 0 { "" } else { "m" }),
            rebalance_timeout_ms: 1_000,
            subscribed_topic_names: Some(vec![text(TOPIC)]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let told = client.ask(version, &joining).await;
        assert!(told.member_id.is_some_and(|id| !id.is_empty()), "version {version}");
        let given = &told.assignment.expect("told").topic_partitions[0];
        assert_eq!((given.topic_id, &given.partitions[..]), (topic, &[0, 1][..]));
        assert_ne!(given.topic_id, Uuid::ZERO);
        let stranger =
            consumer_group_heartbeat::Request { member_id: text("x"), member_epoch: 3, ..joining };
        assert_eq!(client.ask(version, &stranger).await.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    }
}
