//! Groups over sockets: membership, commits, and what survives.

use std::time::Duration;

use onrush_broker::{BrokerConfig, Fsync};
use onrush_runtime::{Disk, Random};
use onrush_wire::message::{consumer_group_heartbeat, offset_commit, offset_fetch};
use onrush_wire::{ErrorCode, Uuid};

use crate::support::*;

const GROUP: &str = "g";

/// A member that is told apart by its id.
fn report(
    member: &str,
    epoch: i32,
    owned: &[i32],
    topic: Uuid,
) -> consumer_group_heartbeat::Request {
    let owned = consumer_group_heartbeat::request::TopicPartitions {
        topic_id: topic,
        partitions: owned.to_vec(),
        ..Default::default()
    };
    consumer_group_heartbeat::Request {
        group_id: text(GROUP),
        member_id: text(member),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text(TOPIC)]),
        topic_partitions: Some(if owned.partitions.is_empty() { vec![] } else { vec![owned] }),
        ..Default::default()
    }
}

/// The member's epoch and partitions after a report; every report here is a full one, so it is
/// always told.
async fn beat(
    client: &mut Client,
    member: &str,
    epoch: i32,
    owned: &[i32],
    topic: Uuid,
) -> (i32, Vec<i32>) {
    let response = client.ask(1, &report(member, epoch, owned, topic)).await;
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    let topics = response.assignment.expect("told").topic_partitions;
    (response.member_epoch, topics.into_iter().flat_map(|topic| topic.partitions).collect())
}

async fn commit(
    client: &mut Client,
    version: i16,
    member: &str,
    epoch: i32,
    offset: i64,
    metadata: &str,
) -> i16 {
    let request = commit_request(GROUP, (member, epoch), offset, metadata);
    client.ask(version, &request).await.topics[0].partitions[0].error_code
}

/// Offset and metadata committed for partition 0.
async fn committed(client: &mut Client, version: i16) -> (i64, String) {
    let (name, partition_indexes) = (text(TOPIC), vec![0]);
    if version < 8 {
        let topic = offset_fetch::request::OffsetFetchRequestTopic {
            name,
            partition_indexes,
            ..Default::default()
        };
        let request = offset_fetch::Request {
            group_id: text(GROUP),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let found = client.ask(version, &request).await.topics.remove(0).partitions.remove(0);
        return (found.committed_offset, found.metadata.expect("some").to_string());
    }
    let topic = offset_fetch::request::OffsetFetchRequestTopics {
        name,
        partition_indexes,
        ..Default::default()
    };
    let group = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: text(GROUP),
        member_epoch: -1,
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = offset_fetch::Request { groups: vec![group], ..Default::default() };
    let found =
        client.ask(version, &request).await.groups.remove(0).topics.remove(0).partitions.remove(0);
    (found.committed_offset, found.metadata.expect("some").to_string())
}

#[tokio::test]
async fn the_newest_versions_name_topics_by_id() {
    let (_broker, mut client, topic_id) = broker_with_topic(1).await;
    ten_records(&mut client).await;
    let partition = offset_commit::request::OffsetCommitRequestPartition {
        committed_offset: 3,
        ..Default::default()
    };
    let topic = offset_commit::request::OffsetCommitRequestTopic {
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    };
    let mut request = offset_commit::Request {
        group_id: text(GROUP),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(client.ask(10, &request).await.topics[0].partitions[0].error_code, 0);
    request.topics[0].topic_id = onrush_wire::uuid::from_bytes([9; 16]);
    let unknown = client.ask(10, &request).await;
    assert_eq!(unknown.topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID.0);

    let group = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: text(GROUP),
        member_epoch: -1,
        topics: None,
        ..Default::default()
    };
    let request = offset_fetch::Request { groups: vec![group], ..Default::default() };
    let all = client.ask(10, &request).await.groups.remove(0).topics;
    assert_eq!(
        (all.len(), all[0].topic_id, all[0].partitions[0].committed_offset),
        (1, topic_id, 3)
    );
}

async fn ten_records(client: &mut Client) {
    client.produce(batch(&["a"; 10])).await;
}

#[tokio::test]
async fn a_group_of_two_shares_and_hands_over_after_the_release() {
    let (_broker, mut client, topic) = broker_with_topic(6).await;
    let (first, everything) = beat(&mut client, "a", 0, &[], topic).await;
    assert_eq!(everything, [0, 1, 2, 3, 4, 5]);
    let (second, nothing) = beat(&mut client, "b", 0, &[], topic).await;
    assert_eq!(nothing, [0; 0]);
    let (epoch, kept) = beat(&mut client, "a", first, &everything, topic).await;
    assert_eq!((epoch, kept.len()), (first, 3));
    assert_eq!(beat(&mut client, "b", second, &[], topic).await.1, [0; 0]);
    let (epoch, _) = beat(&mut client, "a", first, &kept, topic).await;
    assert!(epoch > first);
    let (_, given) = beat(&mut client, "b", second, &[], topic).await;
    let mut both = [kept, given].concat();
    both.sort_unstable();
    assert_eq!(both, everything);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_loses_its_partitions_with_its_session() {
    let config = BrokerConfig {
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_secs(1),
        ..BrokerConfig::default()
    };
    let broker = broker_on(&Disk::memory(), config).await;
    let mut client = Client::connect(broker.address()).await;
    let topic = client.create_topic(TOPIC, 2).await;
    let (epoch, _) = beat(&mut client, "a", 0, &[], topic).await;
    beat(&mut client, "b", 0, &[], topic).await;
    tokio::time::advance(Duration::from_secs(4)).await;
    let (second, _) = beat(&mut client, "b", 2, &[], topic).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(beat(&mut client, "b", second, &[], topic).await.1, [0, 1]);
    let late = client.ask(1, &report("a", epoch, &[0, 1], topic)).await;
    assert_eq!(late.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
}

#[tokio::test]
async fn commits_come_back_with_metadata_in_every_version() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    ten_records(&mut client).await;
    assert_eq!(committed(&mut client, 8).await, (-1, String::new()));
    for version in 2..=9 {
        let offset = i64::from(version);
        assert_eq!(
            commit(&mut client, version, "", -1, offset, "done: 7").await,
            0,
            "version {version}"
        );
        for fetch in 1..=9 {
            assert_eq!(committed(&mut client, fetch).await, (offset, "done: 7".to_owned()));
        }
    }
}

#[tokio::test]
async fn commits_are_fenced_by_member_and_epoch() {
    let (_broker, mut client, topic) = broker_with_topic(1).await;
    ten_records(&mut client).await;
    let (epoch, _) = beat(&mut client, "a", 0, &[], topic).await;
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID.0;
    assert_eq!(commit(&mut client, 9, "", -1, 1, "").await, unknown, "the group has members");
    assert_eq!(commit(&mut client, 9, "b", epoch, 1, "").await, unknown);
    let stale = ErrorCode::STALE_MEMBER_EPOCH.0;
    assert_eq!(commit(&mut client, 9, "a", epoch - 1, 1, "").await, stale);
    assert_eq!(commit(&mut client, 8, "a", epoch, 1, "").await, ErrorCode::UNSUPPORTED_VERSION.0);
    assert_eq!(commit(&mut client, 9, "a", epoch, 1, "").await, 0);
}

#[tokio::test]
async fn metadata_and_offsets_have_limits() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    ten_records(&mut client).await;
    assert_eq!(commit(&mut client, 9, "", -1, 1, &"m".repeat(4_096)).await, 0);
    let too_large = commit(&mut client, 9, "", -1, 2, &"m".repeat(4_097)).await;
    assert_eq!(too_large, ErrorCode::OFFSET_METADATA_TOO_LARGE.0);
    assert_eq!(commit(&mut client, 9, "", -1, 11, "").await, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    assert_eq!(committed(&mut client, 9).await, (1, "m".repeat(4_096)));
}

#[tokio::test]
async fn after_a_clean_restart_offsets_are_there_and_members_go_on() {
    let disk = Disk::memory();
    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    let topic = client.create_topic(TOPIC, 2).await;
    ten_records(&mut client).await;
    let (epoch, owned) = beat(&mut client, "a", 0, &[], topic).await;
    assert_eq!(commit(&mut client, 9, "a", epoch, 4, "m").await, 0);
    broker.close().await.expect("closes");

    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    assert_eq!(committed(&mut client, 9).await, (4, "m".to_owned()));
    assert_eq!(beat(&mut client, "b", 0, &[], topic).await.1, [0; 0], "a has all of it");
    assert_eq!(beat(&mut client, "a", epoch, &owned, topic).await.1.len(), 1);
}

#[tokio::test]
async fn after_a_crash_members_go_on_only_if_records_were_synced() {
    for fsync in [Fsync::Always, Fsync::default(), Fsync::Never] {
        let disk = Disk::memory();
        let config = BrokerConfig { fsync, ..BrokerConfig::default() };
        let broker = broker_on(&disk, config.clone()).await;
        let mut client = Client::connect(broker.address()).await;
        let topic = client.create_topic(TOPIC, 1).await;
        let (epoch, owned) = beat(&mut client, "a", 0, &[], topic).await;
        let Disk::Memory(memory) = &disk else { unreachable!("made above") };
        memory.crash(&Random::seeded(1));

        let broker = broker_on(&disk, config).await;
        let mut client = Client::connect(broker.address()).await;
        let told = client.ask(1, &report("a", epoch, &owned, topic)).await;
        match fsync {
            Fsync::Always => assert_eq!(told.error_code, 0),
            Fsync::Interval(_) | Fsync::Never => {
                assert_eq!(told.error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
            }
        }
        let (next, _) = beat(&mut client, "a", 0, &[], topic).await;
        assert!(next > epoch, "epochs never repeat");
    }
}

#[tokio::test]
async fn heartbeats_that_make_no_sense_are_told_why() {
    let (_broker, mut client, topic) = broker_with_topic(1).await;
    let good = report("a", 0, &[], topic);
    let cases = [
        (
            "epoch",
            consumer_group_heartbeat::Request { member_epoch: -3, ..good.clone() },
            ErrorCode::INVALID_REQUEST,
        ),
        ("owns", report("a", 0, &[0], topic), ErrorCode::INVALID_REQUEST),
        (
            "time-out",
            consumer_group_heartbeat::Request { rebalance_timeout_ms: -1, ..good.clone() },
            ErrorCode::INVALID_REQUEST,
        ),
        (
            "assignor",
            consumer_group_heartbeat::Request {
                server_assignor: Some(text("sticky")),
                ..good.clone()
            },
            ErrorCode::UNSUPPORTED_ASSIGNOR,
        ),
        (
            "pattern",
            consumer_group_heartbeat::Request {
                subscribed_topic_regex: Some(text("a(")),
                ..good.clone()
            },
            ErrorCode::INVALID_REGULAR_EXPRESSION,
        ),
        (
            "group",
            consumer_group_heartbeat::Request { group_id: text(""), ..good.clone() },
            ErrorCode::INVALID_GROUP_ID,
        ),
        ("unknown", report("a", 5, &[], topic), ErrorCode::UNKNOWN_MEMBER_ID),
    ];
    for (what, request, error) in cases {
        let response = client.ask(1, &request).await;
        assert_eq!(response.error_code, error.0, "{what}");
        assert!(response.error_message.is_some_and(|message| !message.is_empty()), "{what}");
    }
}
