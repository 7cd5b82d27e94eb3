//! What admin tools ask about groups, in every version.

use std::time::Duration;

use bytes::Bytes;
use onrush_broker::{Broker, BrokerConfig};
use onrush_runtime::Disk;
use onrush_wire::ErrorCode;
use onrush_wire::message::{
    consumer_group_describe, consumer_group_heartbeat, delete_groups, describe_groups, join_group,
    leave_group, list_groups, offset_delete, offset_fetch, sync_group,
};

use crate::support::*;

const CLASSIC: &str = "a-classic";
const CONSUMER: &str = "b-consumer";
const SIMPLE: &str = "c-simple";
const ALL_OPERATIONS: i32 = 3_400;
const UNKNOWN_OPERATIONS: i32 = i32::MIN;

/// A broker with a group of each kind, which all committed offset 0 of the topic; the first two
/// have a member that wants the topic.
async fn broker_with_groups(disk: &Disk) -> (Broker, Client, String) {
    let config =
        BrokerConfig { group_initial_rebalance_delay: Duration::ZERO, ..BrokerConfig::default() };
    let broker = broker_on(disk, config).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 2).await;
    for group in [CLASSIC, CONSUMER, SIMPLE] {
        let request = commit_request(group, OUTSIDER, 0, "");
        let response = client.ask(9, &request).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    let member = join_classic(&mut client).await;
    let report = consumer_group_heartbeat::Request {
        group_id: text(CONSUMER),
        member_id: text("m"),
        rebalance_timeout_ms: 1_000,
        subscribed_topic_names: Some(vec![text(TOPIC)]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(client.ask(1, &report).await.error_code, 0);
    (broker, client, member)
}

async fn join_classic(client: &mut Client) -> String {
    let mut subscription = vec![0, 0, 0, 0, 0, 1, 0, TOPIC.len() as u8];
    subscription.extend_from_slice(TOPIC.as_bytes());
    let protocol = join_group::request::JoinGroupRequestProtocol {
        name: text("range"),
        metadata: Bytes::from(subscription),
        ..Default::default()
    };
    let request = join_group::Request {
        group_id: text(CLASSIC),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: text("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let member = client.ask(3, &request).await.member_id;
    let assignment = sync_group::request::SyncGroupRequestAssignment {
        member_id: member.clone(),
        assignment: Bytes::from_static(b"all"),
        ..Default::default()
    };
    let request = sync_group::Request {
        group_id: text(CLASSIC),
        generation_id: 1,
        member_id: member.clone(),
        assignments: vec![assignment],
        ..Default::default()
    };
    assert_eq!(client.ask(3, &request).await.error_code, 0);
    member.to_string()
}

async fn leave_all(client: &mut Client, member: &str) {
    let request = leave_group::Request {
        group_id: text(CLASSIC),
        member_id: text(member),
        ..Default::default()
    };
    assert_eq!(client.ask(2, &request).await.error_code, 0);
    let report = consumer_group_heartbeat::Request {
        group_id: text(CONSUMER),
        member_id: text("m"),
        member_epoch: -1,
        ..Default::default()
    };
    assert_eq!(client.ask(1, &report).await.error_code, 0);
}

#[tokio::test]
async fn classic_groups_are_described() {
    let (_broker, mut client, member) = broker_with_groups(&Disk::memory()).await;
    for version in 0..=6 {
        let groups = [CLASSIC, CONSUMER, SIMPLE, "nothing"].map(text).to_vec();
        let request = describe_groups::Request {
            groups,
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let found = client.ask(version, &request).await.groups;
        let classic = &found[0];
        assert_eq!((classic.error_code, classic.group_state.as_str()), (0, "Stable"));
        assert_eq!(classic.protocol_type.as_str(), "consumer");
        assert_eq!(classic.protocol_data.as_str(), "range");
        let expected = if version < 3 { UNKNOWN_OPERATIONS } else { ALL_OPERATIONS };
        assert_eq!(classic.authorized_operations, expected, "version {version}");
        let described = &classic.members[0];
        assert_eq!(
            (described.member_id.as_str(), described.client_id.as_str()),
            (&*member, "test")
        );
        assert_eq!(described.client_host.as_str(), "/127.0.0.1");
        assert_eq!(&described.member_assignment[..], b"all");
        assert!(described.member_metadata.ends_with(TOPIC.as_bytes()));
        assert_eq!((found[2].group_state.as_str(), found[2].members.len()), ("Empty", 0));
        for missing in [&found[1], &found[3]] {
            assert_eq!(missing.group_state.as_str(), "Dead");
            let error = if version < 6 { ErrorCode::NONE } else { ErrorCode::GROUP_ID_NOT_FOUND };
            assert_eq!(missing.error_code, error.0, "version {version}");
            assert_eq!(missing.error_message.is_some(), version >= 6);
        }
    }
}

#[tokio::test]
async fn consumer_groups_are_described() {
    let (_broker, mut client, _) = broker_with_groups(&Disk::memory()).await;
    for version in 0..=1 {
        let group_ids = [CONSUMER, CLASSIC, "nothing"].map(text).to_vec();
        let request = consumer_group_describe::Request {
            group_ids,
            include_authorized_operations: true,
            ..Default::default()
        };
        let found = client.ask(version, &request).await.groups;
        let group = &found[0];
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!((group.group_epoch, group.assignment_epoch), (1, 1));
        assert_eq!(group.assignor_name.as_str(), "uniform");
        assert_eq!(group.authorized_operations, ALL_OPERATIONS);
        let member = &group.members[0];
        assert_eq!((member.member_id.as_str(), member.member_epoch), ("m", 1));
        assert_eq!(
            (member.client_id.as_str(), member.client_host.as_str()),
            ("test", "/127.0.0.1")
        );
        assert_eq!(member.subscribed_topic_names, [text(TOPIC)]);
        assert_eq!(member.member_type, if version == 0 { -1 } else { 1 });
        for assignment in [&member.assignment, &member.target_assignment] {
            let topic = &assignment.topic_partitions[0];
            assert_eq!((topic.topic_name.as_str(), &topic.partitions[..]), (TOPIC, &[0, 1][..]));
        }
        for missing in &found[1..] {
            assert_eq!(missing.error_code, ErrorCode::GROUP_ID_NOT_FOUND.0);
            assert!(missing.error_message.is_some());
        }
    }
}

#[tokio::test]
async fn groups_are_listed_by_state_and_type() {
    let (_broker, mut client, _) = broker_with_groups(&Disk::memory()).await;
    for version in 0..=5 {
        let all = client.ask(version, &list_groups::Request::default()).await.groups;
        let names: Vec<&str> = all.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, [CLASSIC, CONSUMER, SIMPLE], "version {version}");
        let types: Vec<&str> = all.iter().map(|group| group.protocol_type.as_str()).collect();
        assert_eq!(types, ["consumer", "consumer", ""]);
        let states: Vec<&str> = all.iter().map(|group| group.group_state.as_str()).collect();
        let kinds: Vec<&str> = all.iter().map(|group| group.group_type.as_str()).collect();
        if version >= 4 {
            assert_eq!(states, ["Stable", "Stable", "Empty"]);
            let states_filter = vec![text("empty"), text("Dead")];
            let request = list_groups::Request { states_filter, ..Default::default() };
            let found = client.ask(version, &request).await.groups;
            assert!(found.len() == 1 && found[0].group_id.as_str() == SIMPLE);
        }
        if version >= 5 {
            assert_eq!(kinds, ["classic", "consumer", "classic"]);
            let types_filter = vec![text("Consumer")];
            let request = list_groups::Request { types_filter, ..Default::default() };
            let found = client.ask(version, &request).await.groups;
            assert!(found.len() == 1 && found[0].group_id.as_str() == CONSUMER);
        }
    }
}

async fn delete(client: &mut Client, version: i16, groups: &[&str]) -> Vec<i16> {
    let groups_names = groups.iter().map(|group| text(group)).collect();
    let request = delete_groups::Request { groups_names, ..Default::default() };
    let results = client.ask(version, &request).await.results;
    results.iter().map(|result| result.error_code).collect()
}

#[tokio::test]
async fn empty_groups_are_deleted_with_their_offsets_for_good() {
    let disk = Disk::memory();
    let (broker, mut client, member) = broker_with_groups(&disk).await;
    let (used, missing) = (ErrorCode::NON_EMPTY_GROUP.0, ErrorCode::GROUP_ID_NOT_FOUND.0);
    for version in 0..=2 {
        let deleted = delete(&mut client, version, &[CLASSIC, CONSUMER, "nothing", ""]).await;
        assert_eq!(deleted, [used, used, missing, missing], "version {version}");
    }
    leave_all(&mut client, &member).await;
    let groups = [CLASSIC, CONSUMER, SIMPLE];
    assert_eq!(delete(&mut client, 2, &groups).await, [0, 0, 0]);
    assert_eq!(delete(&mut client, 2, &groups).await, [missing; 3]);
    broker.close().await.expect("closes");
    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    assert!(client.ask(5, &list_groups::Request::default()).await.groups.is_empty());
    assert_eq!(committed(&mut client, CLASSIC).await, -1);
}

async fn committed(client: &mut Client, group: &str) -> i64 {
    let topic = offset_fetch::request::OffsetFetchRequestTopics {
        name: text(TOPIC),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: text(group),
        member_epoch: -1,
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = offset_fetch::Request { groups: vec![group], ..Default::default() };
    client.ask(9, &request).await.groups[0].topics[0].partitions[0].committed_offset
}

async fn delete_offset(client: &mut Client, group: &str, topic: &str) -> (i16, Option<i16>) {
    let partition = offset_delete::request::OffsetDeleteRequestPartition::default();
    let topic = offset_delete::request::OffsetDeleteRequestTopic {
        name: text(topic),
        partitions: vec![partition],
        ..Default::default()
    };
    let request =
        offset_delete::Request { group_id: text(group), topics: vec![topic], ..Default::default() };
    let response = client.ask(0, &request).await;
    let partition = response.topics.first().map(|topic| topic.partitions[0].error_code);
    (response.error_code, partition)
}

#[tokio::test]
async fn offsets_are_deleted_unless_somebody_consumes_the_topic() {
    let (_broker, mut client, member) = broker_with_groups(&Disk::memory()).await;
    client.create_topic("other", 1).await;
    let subscribed = ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC.0;
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
    for group in [CLASSIC, CONSUMER] {
        assert_eq!(delete_offset(&mut client, group, TOPIC).await, (0, Some(subscribed)));
        assert_eq!(delete_offset(&mut client, group, "other").await, (0, Some(0)));
        assert_eq!(delete_offset(&mut client, group, "nothing").await, (0, Some(unknown)));
        assert_eq!(committed(&mut client, group).await, 0);
    }
    let missing = ErrorCode::GROUP_ID_NOT_FOUND.0;
    assert_eq!(delete_offset(&mut client, "nothing", TOPIC).await, (missing, None));
    leave_all(&mut client, &member).await;
    for group in [CLASSIC, CONSUMER, SIMPLE] {
        assert_eq!(delete_offset(&mut client, group, TOPIC).await, (0, Some(0)));
        assert_eq!(committed(&mut client, group).await, -1);
    }
}

#[tokio::test]
async fn who_asks_for_a_group_many_times_is_told_once() {
    let (_broker, mut client, _) = broker_with_groups(&Disk::memory()).await;
    let groups = vec![text(CLASSIC); 1_000];
    let request = describe_groups::Request { groups, ..Default::default() };
    assert_eq!(client.ask(6, &request).await.groups.len(), 1);
    let group_ids = vec![text(CONSUMER); 1_000];
    let request = consumer_group_describe::Request { group_ids, ..Default::default() };
    assert_eq!(client.ask(1, &request).await.groups.len(), 1);
    let all = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: text(SIMPLE),
        member_epoch: -1,
        topics: None,
        ..Default::default()
    };
    let request = offset_fetch::Request { groups: vec![all; 1_000], ..Default::default() };
    assert_eq!(client.ask(9, &request).await.groups.len(), 1);
}
