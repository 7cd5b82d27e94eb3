//! Requests whose answers would be many times longer than they are.

use onrush_wire::ErrorCode;
use onrush_wire::message::{
    create_topics, delete_groups, describe_configs, find_coordinator, join_group, offset_commit,
    offset_fetch, offset_for_leader_epoch,
};

use crate::support::*;

/// Kafka's number of groups as resources.
const GROUP: i8 = 32;

/// Most groups whose settings one request may ask for.
const MAX_DESCRIBED_GROUPS: usize = 10_000;

/// Most partitions of one broker, and of one topic.
const MAX_PARTITIONS: i32 = 10_000;
const MAX_PARTITIONS_PER_TOPIC: i32 = 1_024;

#[tokio::test]
async fn committed_metadata_is_told_once_per_partition() {
    let (_broker, mut client, _) = broker_with_topic(2).await;
    let partition = offset_commit::request::OffsetCommitRequestPartition {
        committed_metadata: Some(text("long")),
        ..Default::default()
    };
    let topic = offset_commit::request::OffsetCommitRequestTopic {
        name: text(TOPIC),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = offset_commit::Request {
        group_id: text("g"),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(client.ask(9, &request).await.topics[0].partitions[0].error_code, 0);
    let asked = |partitions: &[i32]| offset_fetch::request::OffsetFetchRequestTopics {
        name: text(TOPIC),
        partition_indexes: partitions.to_vec(),
        ..Default::default()
    };
    let group = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: text("g"),
        member_epoch: -1,
        topics: Some(vec![asked(&[0, 0, 1]), asked(&[0])]),
        ..Default::default()
    };
    let request = offset_fetch::Request { groups: vec![group], ..Default::default() };
    let told = client.ask(9, &request).await.groups.remove(0).topics;
    let told: Vec<(i32, i64)> = told
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|told| (told.partition_index, told.committed_offset))
        .collect();
    assert_eq!(told, [(0, 0), (1, -1)]);
}

#[tokio::test]
async fn the_end_of_an_epoch_is_searched_for_once_per_partition() {
    let (_broker, mut client, _) = broker_with_topic(2).await;
    let asked = |partition| offset_for_leader_epoch::request::OffsetForLeaderPartition {
        partition,
        current_leader_epoch: -1,
        ..Default::default()
    };
    let topic = offset_for_leader_epoch::request::OffsetForLeaderTopic {
        topic: text(TOPIC),
        partitions: vec![asked(0), asked(1), asked(0)],
        ..Default::default()
    };
    let request = offset_for_leader_epoch::Request { topics: vec![topic], ..Default::default() };
    let told = client.ask(4, &request).await.topics.remove(0).partitions;
    assert_eq!(told.iter().map(|told| told.partition).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn groups_that_are_named_often_are_answered_once() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let names = || vec![text("g"), text("h"), text("g")];
    let request = find_coordinator::Request { coordinator_keys: names(), ..Default::default() };
    assert_eq!(client.ask(4, &request).await.coordinators.len(), 2);
    let request = delete_groups::Request { groups_names: names(), ..Default::default() };
    assert_eq!(client.ask(2, &request).await.results.len(), 2);
}

#[tokio::test]
async fn only_so_many_groups_are_described_at_a_time() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let asked = |index: usize| describe_configs::request::DescribeConfigsResource {
        resource_type: GROUP,
        resource_name: text(&index.to_string()),
        ..Default::default()
    };
    let resources = (0..=MAX_DESCRIBED_GROUPS).map(asked).collect();
    let request = describe_configs::Request { resources, ..Default::default() };
    let mut results = client.ask(4, &request).await.results;
    let last = results.pop().expect("answered");
    assert_eq!(last.error_code, ErrorCode::POLICY_VIOLATION.0);
    assert!(last.configs.is_empty());
    assert!(results.iter().all(|result| result.error_code == 0 && !result.configs.is_empty()));
}

#[tokio::test]
async fn topics_that_are_only_validated_must_fit_together() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let asked = |index: i32| create_topics::request::CreatableTopic {
        name: text(&index.to_string()),
        num_partitions: MAX_PARTITIONS_PER_TOPIC,
        replication_factor: 1,
        ..Default::default()
    };
    let fit = MAX_PARTITIONS / MAX_PARTITIONS_PER_TOPIC;
    let request = create_topics::Request {
        topics: (0..=fit).map(asked).collect(),
        validate_only: true,
        ..Default::default()
    };
    let mut told = client.ask(7, &request).await.topics;
    assert_eq!(told.pop().expect("answered").error_code, ErrorCode::POLICY_VIOLATION.0);
    assert!(told.iter().all(|told| told.error_code == 0));
}

#[tokio::test]
async fn a_protocol_has_a_name_that_every_version_can_tell() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let protocol = join_group::request::JoinGroupRequestProtocol {
        name: text(&"p".repeat(40_000)),
        ..Default::default()
    };
    let request = join_group::Request {
        group_id: text("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: text("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    assert_eq!(client.ask(9, &request).await.error_code, ErrorCode::INVALID_REQUEST.0);
}
