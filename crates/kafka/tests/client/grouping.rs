//! Groups: assignment, hand-over, commits that carry metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use onrush_kafka::{Commit, ErrorCode, GroupConfig, GroupEvent, Member, Tenure, TopicPartition};
use onrush_runtime::Executor;
use onrush_wire::ApiKey;
use onrush_wire::message::{decode_response, encode_response, offset_commit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::meddling::Meddler;
use crate::target::{PATIENCE, Target, fill};

async fn next(events: &mut mpsc::Receiver<GroupEvent>) -> GroupEvent {
    timeout(PATIENCE, events.recv()).await.expect("in time").expect("open")
}

/// What is held, each under its assignment.
type Held = BTreeMap<TopicPartition, Tenure>;

/// Commits, each under the assignment of its partition.
fn under(held: &Held, commits: Vec<Commit>) -> Vec<(Tenure, Commit)> {
    commits.into_iter().map(|commit| (held[&commit.partition], commit)).collect()
}

fn commit(partition: &TopicPartition, offset: i64) -> Commit {
    let partition = partition.clone();
    Commit { partition, offset, leader_epoch: -1, metadata: String::new() }
}

/// Follows the events until exactly `count` partitions are held, releasing what is revoked.
async fn until_holding(
    member: &Member,
    events: &mut mpsc::Receiver<GroupEvent>,
    held: &mut Held,
    count: usize,
) {
    while held.len() != count {
        match next(events).await {
            GroupEvent::Assigned(partitions, tenure) => {
                held.extend(partitions.into_iter().map(|partition| (partition, tenure)));
            }
            GroupEvent::Revoked(partitions) => {
                held.retain(|partition, _| !partitions.contains(partition));
                member.released(&partitions);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn two_members_share_and_hand_over() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "shared", 6).await;
    let config = GroupConfig::new(target.unique("group"), [topic.to_string()]);
    let (first, mut first_events) =
        Member::join(&client, Executor::current(), config.clone()).await.expect("joined");
    let mut first_held = Held::new();
    until_holding(&first, &mut first_events, &mut first_held, 6).await;
    let epoch = first.epoch();
    assert!(epoch > 0);

    let second_client = target.client().await;
    let (second, mut second_events) =
        Member::join(&second_client, Executor::current(), config).await.expect("joined");
    let mut second_held = Held::new();
    let GroupEvent::Revoked(revoked) = next(&mut first_events).await else {
        panic!("half of them are revoked")
    };
    assert_eq!(revoked.len(), 3);
    // Until they are released, nobody else has them.
    assert!(timeout(Duration::from_millis(700), second_events.recv()).await.is_err());
    first_held.retain(|partition, _| !revoked.contains(partition));
    first.released(&revoked);
    until_holding(&second, &mut second_events, &mut second_held, 3).await;
    assert_eq!(second_held.into_keys().collect::<Vec<_>>(), revoked);
    assert!(second.epoch() > epoch);

    second.leave().await;
    until_holding(&first, &mut first_events, &mut first_held, 6).await;
    first.leave().await;
    assert_eq!(first_events.recv().await, None);
}

#[tokio::test]
async fn a_commit_with_metadata_is_read_back_and_strangers_are_refused() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "commits", 2).await;
    fill(&client, &topic, 20).await;
    let group = target.unique("group");
    let config = GroupConfig::new(group.clone(), [topic.to_string()]);
    let (member, mut events) =
        Member::join(&client, Executor::current(), config.clone()).await.expect("joined");
    let mut held = Held::new();
    until_holding(&member, &mut events, &mut held, 2).await;
    let partitions: Vec<_> = held.keys().cloned().collect();
    let nothing = client.fetch_offsets(&group, &partitions).await.expect("answered");
    assert!(nothing.iter().all(|committed| committed.offset == -1));

    let commit = |partition: &TopicPartition, offset, metadata: &str| Commit {
        partition: partition.clone(),
        offset,
        leader_epoch: 0,
        metadata: metadata.to_owned(),
    };
    let commits = vec![commit(&partitions[0], 17, "set above 17"), commit(&partitions[1], 4, "")];
    let codes = member.commit(under(&held, commits.clone())).await.expect("answered");
    assert_eq!(
        codes,
        partitions.iter().map(|partition| (partition.clone(), ErrorCode::NONE)).collect::<Vec<_>>()
    );
    let committed = client.fetch_offsets(&group, &partitions).await.expect("answered");
    let read: Vec<_> =
        committed.iter().map(|c| (c.partition.clone(), c.offset, c.metadata.as_str())).collect();
    assert_eq!(read, [(partitions[0].clone(), 17, "set above 17"), (partitions[1].clone(), 4, "")]);

    // Outsiders may not commit while the group has members; too much metadata is refused for its
    // partition alone.
    let refused = client.commit_offsets(&group, &commits).await.expect_err("a member is there");
    assert!(refused.code().is_some(), "{refused}");
    let long = vec![commit(&partitions[0], 18, &"x".repeat(5_000)), commit(&partitions[1], 5, "")];
    let codes = member.commit(under(&held, long)).await.expect("answered");
    assert_eq!(
        codes.iter().map(|(_, code)| *code).collect::<Vec<_>>(),
        [ErrorCode::OFFSET_METADATA_TOO_LARGE, ErrorCode::NONE]
    );
    member.leave().await;
    client.commit_offsets(&group, &commits).await.expect("nobody is there");
}

#[tokio::test]
async fn trap_06_a_commit_under_an_old_epoch_is_repeated_under_the_new_one() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "stale", 4).await;
    fill(&client, &topic, 20).await;
    let group = target.unique("group");
    let config = GroupConfig::new(group.clone(), [topic.to_string()]);
    let (first, mut first_events) =
        Member::join(&client, Executor::current(), config.clone()).await.expect("joined");
    let mut held = Held::new();
    until_holding(&first, &mut first_events, &mut held, 4).await;
    let (second, mut second_events) =
        Member::join(&client, Executor::current(), config).await.expect("joined");
    let mut second_held = BTreeSet::new();
    // Commits go on all through the hand-over, and none of a partition that is still held is
    // refused.
    let mut offset = 0;
    while second_held.len() < 2 {
        offset = (offset + 1) % 20;
        let commits = held.keys().map(|partition| Commit {
            partition: partition.clone(),
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        });
        let codes = first.commit(under(&held, commits.collect())).await.expect("answered");
        assert!(codes.iter().all(|(_, code)| code.is_ok()), "{codes:?}");
        if let Ok(GroupEvent::Revoked(revoked)) = first_events.try_recv() {
            held.retain(|partition, _| !revoked.contains(partition));
            first.released(&revoked);
        }
        if let Ok(GroupEvent::Assigned(assigned, _)) = second_events.try_recv() {
            second_held.extend(assigned);
        }
    }
    first.leave().await;
    second.leave().await;
}

/// A retriable code in place of what the coordinator said.
fn loading(frame: Bytes, version: i16) -> Bytes {
    let (correlation, mut response) =
        decode_response::<offset_commit::Response>(version, frame).expect("a response");
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.0;
    }
    encode_response(correlation, version, &response).expect("encodes")
}

#[tokio::test]
async fn trap_12_a_commit_that_is_retried_does_not_touch_what_was_given_back() {
    let target = Target::start().await;
    let direct = target.client().await;
    let topic = target.topic(&direct, "given-back", 2).await;
    fill(&direct, &topic, 20).await;
    let (refusals, mut refused) = watch::channel(0);
    let refuse = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuse);
    let meddler = Meddler::start(&target.brokers[0], move |api, version, frame| {
        let meant = api == ApiKey::OFFSET_COMMIT && refusing.load(Ordering::SeqCst);
        meant.then(|| {
            refusals.send_modify(|count| *count += 1);
            loading(frame, version)
        })
    })
    .await;
    let client = target.client_through(&meddler.address).await;
    let group = target.unique("group");
    let config = GroupConfig::new(group.clone(), [topic.to_string()]);
    let (first, mut first_events) =
        Member::join(&client, Executor::current(), config.clone()).await.expect("joined");
    let mut held = Held::new();
    until_holding(&first, &mut first_events, &mut held, 2).await;
    let (second, mut second_events) =
        Member::join(&direct, Executor::current(), config).await.expect("joined");
    let GroupEvent::Revoked(revoked) = next(&mut first_events).await else { panic!("revoked") };
    let late = first.commit(under(&held, vec![commit(&revoked[0], 3)]));
    let handed_over = async {
        refused.wait_for(|count| *count > 0).await.expect("the meddler is there");
        first.released(&revoked);
        let mut held = Held::new();
        until_holding(&second, &mut second_events, &mut held, 1).await;
        let codes = second.commit(under(&held, vec![commit(&revoked[0], 9)])).await;
        assert_eq!(codes.expect("answered"), [(revoked[0].clone(), ErrorCode::NONE)]);
        refuse.store(false, Ordering::SeqCst);
    };
    let (codes, ()) = tokio::join!(late, handed_over);
    let fenced = (revoked[0].clone(), ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(codes.expect("answered"), [fenced]);
    let committed = direct.fetch_offsets(&group, &revoked).await.expect("answered");
    assert_eq!(committed[0].offset, 9);
    first.leave().await;
    second.leave().await;
}

/// The member has the partition again, but another one had it in between and committed more.
#[tokio::test]
async fn trap_13_a_commit_of_an_earlier_assignment_does_not_move_the_offset_of_a_later_one() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "came-back", 2).await;
    fill(&client, &topic, 20).await;
    let group = target.unique("group");
    let config = GroupConfig::new(group.clone(), [topic.to_string()]);
    let (first, mut first_events) =
        Member::join(&client, Executor::current(), config.clone()).await.expect("joined");
    let mut held = Held::new();
    until_holding(&first, &mut first_events, &mut held, 2).await;
    let (second, mut second_events) =
        Member::join(&client, Executor::current(), config).await.expect("joined");
    let GroupEvent::Revoked(revoked) = next(&mut first_events).await else { panic!("revoked") };
    let old = under(&held, vec![commit(&revoked[0], 3)]);
    held.remove(&revoked[0]);
    first.released(&revoked);
    let mut second_held = Held::new();
    until_holding(&second, &mut second_events, &mut second_held, 1).await;
    second.commit(under(&second_held, vec![commit(&revoked[0], 9)])).await.expect("answered");
    second.leave().await;
    until_holding(&first, &mut first_events, &mut held, 2).await;

    let codes = first.commit(old).await.expect("answered");
    assert_eq!(codes, [(revoked[0].clone(), ErrorCode::FENCED_MEMBER_EPOCH)]);
    let committed = client.fetch_offsets(&group, &revoked).await.expect("answered");
    assert_eq!(committed[0].offset, 9);
    let current = held.keys().map(|partition| commit(partition, 12)).collect();
    let codes = first.commit(under(&held, current)).await.expect("answered");
    assert!(codes.iter().all(|(_, code)| code.is_ok()), "{codes:?}");
    first.leave().await;
}

/// It says that it will be back, and its partitions wait for it.
#[tokio::test]
async fn a_static_member_that_restarts_moves_no_partition() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "static", 4).await;
    let config = GroupConfig::new(target.unique("group"), [topic.to_string()]);
    let named = GroupConfig { instance_id: Some("one".to_owned()), ..config.clone() };
    let (first, mut first_events) =
        Member::join(&client, Executor::current(), named.clone()).await.expect("joined");
    let mut held = Held::new();
    until_holding(&first, &mut first_events, &mut held, 4).await;
    let (other, mut other_events) =
        Member::join(&client, Executor::current(), config).await.expect("joined");
    until_holding(&first, &mut first_events, &mut held, 2).await;
    until_holding(&other, &mut other_events, &mut Held::new(), 2).await;

    first.leave().await;
    assert!(timeout(Duration::from_millis(700), other_events.recv()).await.is_err());
    let (again, mut again_events) =
        Member::join(&client, Executor::current(), named).await.expect("joined");
    let mut held_again = Held::new();
    until_holding(&again, &mut again_events, &mut held_again, 2).await;
    assert_ne!(again.member_id(), first.member_id());
    assert!(held_again.keys().eq(held.keys()), "{held_again:?} {held:?}");
    assert!(timeout(Duration::from_millis(700), other_events.recv()).await.is_err());
    again.leave().await;
    other.leave().await;
}

#[tokio::test]
async fn a_subscription_to_nothing_is_refused_by_name() {
    let target = Target::start().await;
    let config = onrush_kafka::ClientConfig {
        call_timeout: Duration::from_millis(300),
        ..onrush_kafka::ClientConfig::new(target.brokers.clone())
    };
    let client = onrush_kafka::Client::connect(config, &target.runtime, Executor::current())
        .await
        .expect("a broker");
    let config = GroupConfig::new(target.unique("group"), ["never-created"]);
    let error = Member::join(&client, Executor::current(), config).await.expect_err("unknown");
    assert!(error.to_string().contains("never-created"), "{error}");
}
