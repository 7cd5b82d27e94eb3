//! Groups of the older protocol over sockets: who waits for whom, and what survives.

use std::time::Duration;

use bytes::Bytes;
use onrush_broker::{Broker, BrokerConfig, Fsync};
use onrush_runtime::{Disk, Random};
use onrush_wire::message::{
    consumer_group_heartbeat, heartbeat, join_group, leave_group, sync_group,
};
use onrush_wire::{ErrorCode, Uuid};

use crate::support::*;

const GROUP: &str = "classic";

/// A group does not wait for more members than are there.
fn config() -> BrokerConfig {
    BrokerConfig { group_initial_rebalance_delay: Duration::ZERO, ..BrokerConfig::default() }
}

async fn broker_and_client() -> (Broker, Client) {
    let broker = broker_on(&Disk::memory(), config()).await;
    let client = Client::connect(broker.address()).await;
    (broker, client)
}

fn joining(member: &str) -> join_group::Request {
    let protocol = join_group::request::JoinGroupRequestProtocol {
        name: text("range"),
        metadata: Bytes::from_static(b"wants"),
        ..Default::default()
    };
    join_group::Request {
        group_id: text(GROUP),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: text(member),
        protocol_type: text("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    }
}

/// As version 0 has it.
fn without_rebalance_timeout(version: i16, request: join_group::Request) -> join_group::Request {
    match version {
        0 => join_group::Request { rebalance_timeout_ms: -1, ..request },
        _ => request,
    }
}

/// Gets an id, which takes no waiting.
async fn member_id(client: &mut Client) -> String {
    let told = client.ask(9, &joining("")).await;
    assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
    told.member_id.to_string()
}

async fn join(client: &mut Client, member: &str) -> join_group::Response {
    let told = client.ask(9, &joining(member)).await;
    assert_eq!((told.error_code, told.member_id.as_str()), (0, member));
    told
}

fn syncing(generation: i32, member: &str, assigned: &[(&str, &str)]) -> sync_group::Request {
    let assigned =
        assigned.iter().map(|(member, what)| sync_group::request::SyncGroupRequestAssignment {
            member_id: text(member),
            assignment: Bytes::copy_from_slice(what.as_bytes()),
            ..Default::default()
        });
    sync_group::Request {
        group_id: text(GROUP),
        generation_id: generation,
        member_id: text(member),
        protocol_type: Some(text("consumer")),
        protocol_name: Some(text("range")),
        assignments: assigned.collect(),
        ..Default::default()
    }
}

async fn beat(client: &mut Client, generation: i32, member: &str) -> ErrorCode {
    let request = heartbeat::Request {
        group_id: text(GROUP),
        generation_id: generation,
        member_id: text(member),
        ..Default::default()
    };
    ErrorCode(client.ask(4, &request).await.error_code)
}

async fn leave(client: &mut Client, member: &str) -> i16 {
    let member =
        leave_group::request::MemberIdentity { member_id: text(member), ..Default::default() };
    let request =
        leave_group::Request { group_id: text(GROUP), members: vec![member], ..Default::default() };
    client.ask(5, &request).await.members[0].error_code
}

/// A member that is alone in the group and has the assignment `all`.
async fn alone(client: &mut Client) -> (String, i32) {
    let member = member_id(client).await;
    let generation = join(client, &member).await.generation_id;
    let synced = client.ask(5, &syncing(generation, &member, &[(&member, "all")])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    (member, generation)
}

#[tokio::test]
async fn a_member_lives_in_every_version() {
    let (_broker, mut client) = broker_and_client().await;
    for version in 0..=9 {
        let asked = without_rebalance_timeout(version, joining(""));
        let mut told = client.ask(version, &asked).await;
        if version >= 4 {
            assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED.0, "version {version}");
            let asked = join_group::Request { member_id: told.member_id, ..joining("") };
            told = client.ask(version, &asked).await;
        }
        assert_eq!(told.error_code, 0, "version {version}");
        assert_eq!((told.protocol_name, &told.leader), (Some(text("range")), &told.member_id));
        assert_eq!((told.members.len(), &told.members[0].metadata[..]), (1, &b"wants"[..]));
        let (member, generation) = (told.member_id.to_string(), told.generation_id);

        let mut sync = syncing(generation, &member, &[(&member, "all")]);
        if version < 5 {
            (sync.protocol_type, sync.protocol_name) = (None, None);
        }
        let synced = client.ask(version.min(5), &sync).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));

        let asked = heartbeat::Request {
            group_id: text(GROUP),
            generation_id: generation,
            member_id: text(&member),
            ..Default::default()
        };
        assert_eq!(client.ask(version.min(4), &asked).await.error_code, 0, "version {version}");

        let mut asked = leave_group::Request { group_id: text(GROUP), ..Default::default() };
        if version < 3 {
            asked.member_id = text(&member);
        } else {
            let leaving = leave_group::request::MemberIdentity {
                member_id: text(&member),
                ..Default::default()
            };
            asked.members = vec![leaving];
        }
        let left = client.ask(version.min(5), &asked).await;
        assert_eq!(left.error_code, 0, "version {version}");
        assert!(left.members.iter().all(|member| member.error_code == 0));
        assert_eq!(beat(&mut client, generation, &member).await, ErrorCode::UNKNOWN_MEMBER_ID);
        let left = client.ask(version.min(5), &asked).await;
        let code = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(code, ErrorCode::UNKNOWN_MEMBER_ID.0, "version {version}");
    }
}

#[tokio::test]
async fn two_members_wait_for_each_other() {
    let (broker, mut one) = broker_and_client().await;
    let mut two = Client::connect(broker.address()).await;
    let (first, _) = alone(&mut one).await;
    let second = member_id(&mut two).await;
    let (led, follows) = tokio::join!(join(&mut one, &first), join(&mut two, &second));
    assert_eq!((led.generation_id, follows.generation_id), (2, 2));
    assert_eq!((led.members.len(), follows.members.len()), (2, 0));
    assert_eq!(follows.leader.as_str(), first);
    let assigned = syncing(2, &first, &[(&first, "0"), (&second, "1")]);
    let asked = syncing(2, &second, &[]);
    // The follower first: it has to wait.
    let header = two.header(onrush_wire::ApiKey::SYNC_GROUP, 5);
    two.send(&[onrush_wire::message::encode_request(&header, &asked).expect("encodes")]).await;
    assert_eq!(&one.ask(5, &assigned).await.assignment[..], b"0");
    let frame = two.receive().await.expect("answered");
    let (_, synced) =
        onrush_wire::message::decode_response::<sync_group::Response>(5, frame).expect("decodes");
    assert_eq!(&synced.assignment[..], b"1");
    // Who comes anew finds that both must join again.
    member_id(&mut one).await;
    assert_eq!(leave(&mut two, &second).await, 0);
    assert_eq!(beat(&mut one, 2, &first).await, ErrorCode::REBALANCE_IN_PROGRESS);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_when_the_silent_are_out() {
    let (broker, mut one) = broker_and_client().await;
    let mut two = Client::connect(broker.address()).await;
    let (first, _) = alone(&mut one).await;
    let second = member_id(&mut two).await;
    // The first says nothing any more: nothing but time makes this return.
    let joined = join(&mut two, &second).await;
    assert_eq!((joined.generation_id, joined.leader.as_str()), (2, second.as_str()));
    assert_eq!(beat(&mut one, 1, &first).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test]
async fn who_waited_and_is_gone_does_not_hold_the_others_up() {
    let (broker, mut one) = broker_and_client().await;
    let (first, _) = alone(&mut one).await;
    let mut gone = Client::connect(broker.address()).await;
    // Of a version in which it is not told its id before.
    let header = gone.header(onrush_wire::ApiKey::JOIN_GROUP, 3);
    let asked = onrush_wire::message::encode_request(&header, &joining("")).expect("encodes");
    gone.send(&[asked]).await;
    while beat(&mut one, 1, &first).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(gone);
    assert_eq!(join(&mut one, &first).await.members.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (_broker, mut client) = broker_and_client().await;
    let cases = [
        (join_group::Request { group_id: text(""), ..joining("") }, ErrorCode::INVALID_GROUP_ID),
        (
            join_group::Request { session_timeout_ms: 100, ..joining("") },
            ErrorCode::INVALID_SESSION_TIMEOUT,
        ),
        (
            join_group::Request { session_timeout_ms: 3_600_000, ..joining("") },
            ErrorCode::INVALID_SESSION_TIMEOUT,
        ),
        (joining("who"), ErrorCode::UNKNOWN_MEMBER_ID),
        (
            join_group::Request { protocols: Vec::new(), ..joining("") },
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(client.ask(9, &request).await.error_code, error.0);
    }
    let (member, generation) = alone(&mut client).await;
    let stale = client.ask(5, &syncing(generation - 1, &member, &[])).await;
    assert_eq!(stale.error_code, ErrorCode::ILLEGAL_GENERATION.0);
    let unnamed = sync_group::Request { protocol_name: None, ..syncing(generation, &member, &[]) };
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0;
    assert_eq!(client.ask(5, &unnamed).await.error_code, inconsistent);
    let other =
        sync_group::Request { protocol_name: Some(text("x")), ..syncing(generation, &member, &[]) };
    assert_eq!(client.ask(5, &other).await.error_code, inconsistent);
}

/// What a commit of offset 0 for partition 0 becomes.
async fn commit(client: &mut Client, version: i16, member: &str, generation: i32) -> ErrorCode {
    let request = commit_request(GROUP, (member, generation), 0, "");
    ErrorCode(client.ask(version, &request).await.topics[0].partitions[0].error_code)
}

#[tokio::test]
async fn commits_are_fenced_by_generation_in_every_version() {
    let (_broker, mut client) = broker_and_client().await;
    client.create_topic(TOPIC, 1).await;
    let (member, generation) = alone(&mut client).await;
    for version in 2..=9 {
        assert_eq!(commit(&mut client, version, &member, generation).await, ErrorCode::NONE);
        let stale = commit(&mut client, version, &member, generation - 1).await;
        assert_eq!(stale, ErrorCode::ILLEGAL_GENERATION, "version {version}");
        for (who, generation) in [("who", generation), ("", -1)] {
            let stranger = commit(&mut client, version, who, generation).await;
            assert_eq!(stranger, ErrorCode::UNKNOWN_MEMBER_ID, "version {version}");
        }
    }
    leave(&mut client, &member).await;
    assert_eq!(commit(&mut client, 9, "", -1).await, ErrorCode::NONE);
}

#[tokio::test]
async fn an_empty_group_changes_its_kind_and_one_with_members_does_not() {
    let (_broker, mut client) = broker_and_client().await;
    client.create_topic(TOPIC, 1).await;
    let report = |epoch| consumer_group_heartbeat::Request {
        group_id: text(GROUP),
        member_id: text("new"),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text(TOPIC)]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let (member, generation) = alone(&mut client).await;
    let refused = client.ask(1, &report(0)).await;
    assert_eq!(refused.error_code, ErrorCode::GROUP_ID_NOT_FOUND.0);
    assert_eq!(leave(&mut client, &member).await, 0);

    let told = client.ask(1, &report(0)).await;
    assert_eq!(told.error_code, 0);
    assert!(told.member_epoch > generation, "epochs go on");
    let refused = client.ask(9, &joining("")).await;
    assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
    assert_eq!(beat(&mut client, generation, &member).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(client.ask(1, &report(-1)).await.error_code, 0);

    let (_, later) = alone(&mut client).await;
    assert!(later > told.member_epoch, "epochs go on");
}

#[tokio::test]
async fn an_instance_is_back_without_a_rebalance() {
    let (_broker, mut client) = broker_and_client().await;
    let asked = join_group::Request { group_instance_id: Some(text("i")), ..joining("") };
    let first = client.ask(9, &asked).await;
    let member = first.member_id.as_str();
    client.ask(5, &syncing(1, member, &[(member, "all")])).await;
    let second = client.ask(9, &asked).await;
    assert_eq!((second.error_code, second.generation_id, second.skip_assignment), (0, 1, true));
    assert_ne!(first.member_id, second.member_id);
    let synced = client.ask(5, &syncing(1, second.member_id.as_str(), &[])).await;
    assert_eq!(&synced.assignment[..], b"all");
    let fenced =
        sync_group::Request { group_instance_id: Some(text("i")), ..syncing(1, member, &[]) };
    assert_eq!(client.ask(5, &fenced).await.error_code, ErrorCode::FENCED_INSTANCE_ID.0);
}

#[tokio::test]
async fn after_a_crash_members_go_on_only_if_records_were_synced() {
    for fsync in [Fsync::Always, Fsync::Never] {
        let disk = Disk::memory();
        let config = BrokerConfig { fsync, ..config() };
        let broker = broker_on(&disk, config.clone()).await;
        let mut client = Client::connect(broker.address()).await;
        let (member, generation) = alone(&mut client).await;
        let Disk::Memory(memory) = &disk else { unreachable!("made above") };
        memory.crash(&Random::seeded(1));

        let broker = broker_on(&disk, config).await;
        let mut client = Client::connect(broker.address()).await;
        let beaten = beat(&mut client, generation, &member).await;
        let synced = client.ask(5, &syncing(generation, &member, &[])).await;
        match fsync {
            Fsync::Never => assert_eq!(beaten, ErrorCode::UNKNOWN_MEMBER_ID),
            _ => assert_eq!((beaten, &synced.assignment[..]), (ErrorCode::NONE, &b"all"[..])),
        }
        leave(&mut client, &member).await;
        let (_, next) = alone(&mut client).await;
        assert!(next > generation, "generations never repeat");
    }
}

#[tokio::test]
async fn a_subscription_by_pattern_finds_topics_that_come_later() {
    let (_broker, mut client) = broker_and_client().await;
    let first: Uuid = client.create_topic("flights-1", 1).await;
    client.create_topic("trains-1", 1).await;
    let report = |epoch, topics| consumer_group_heartbeat::Request {
        group_id: text(GROUP),
        member_id: text("m"),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_regex: Some(text("flights-.*")),
        topic_partitions: Some(topics),
        ..Default::default()
    };
    let told = client.ask(1, &report(0, Vec::new())).await;
    assert_eq!(told.error_code, 0, "{:?}", told.error_message);
    let assigned = told.assignment.expect("told").topic_partitions;
    assert_eq!(assigned.iter().map(|topic| topic.topic_id).collect::<Vec<_>>(), [first]);
    let second = client.create_topic("flights-2", 1).await;
    let owned = consumer_group_heartbeat::request::TopicPartitions {
        topic_id: first,
        partitions: vec![0],
        ..Default::default()
    };
    let told = client.ask(1, &report(told.member_epoch, vec![owned])).await;
    let assigned = told.assignment.expect("told").topic_partitions;
    assert!(assigned.len() == 2 && assigned.iter().any(|topic| topic.topic_id == second));
}
