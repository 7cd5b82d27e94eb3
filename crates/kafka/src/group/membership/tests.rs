//! The membership machine, step by step, without a broker.
use onrush_wire::message::consumer_group_heartbeat::response;

use super::*;

const TOPIC: [u8; 16] = [7; 16];
/// Below what a change shortens it to, in milliseconds.
const INTERVAL: i32 = 200;

struct Bench {
    member: Membership,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        let config = GroupConfig::new("g", ["t"]);
        let member = Membership::new(config, "m".to_owned(), backoff, Random::seeded(1));
        Self { member, now: Instant::now() }
    }

    /// A member that joined at epoch 1 and owns these.
    fn joined(partitions: &[i32]) -> Self {
        let mut bench = Self::new();
        bench.step(Input::Topics(vec![(uuid::from_bytes(TOPIC), Arc::from("t"))]));
        bench.answer(1, Some(partitions));
        bench.answer(1, None);
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        self.member.step(self.now, input)
    }

    fn answer(&mut self, epoch: i32, partitions: Option<&[i32]>) -> Vec<Action> {
        self.step(Input::Answer(Ok(answer(epoch, partitions))))
    }

    fn refuse(&mut self, code: ErrorCode) -> Vec<Action> {
        self.step(Input::Answer(Ok(Response { error_code: code.0, ..Response::default() })))
    }

    fn tick(&mut self, millis: u64) -> Vec<Action> {
        self.now += Duration::from_millis(millis);
        self.step(Input::Tick)
    }

    fn release(&mut self, partition: i32) -> Vec<Action> {
        self.step(Input::Released([TopicPartition::new("t", partition)].into()))
    }
}

fn answer(epoch: i32, partitions: Option<&[i32]>) -> Response {
    let assignment = partitions.map(|partitions| {
        let topic = response::TopicPartitions {
            topic_id: uuid::from_bytes(TOPIC),
            partitions: partitions.to_vec(),
            ..Default::default()
        };
        Box::new(Assignment { topic_partitions: vec![topic], ..Assignment::default() })
    });
    Response {
        member_epoch: epoch,
        heartbeat_interval_ms: INTERVAL,
        assignment,
        ..Response::default()
    }
}

fn names(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect()
}

fn told(actions: &[Action]) -> Vec<&GroupEvent> {
    actions
        .iter()
        .filter_map(|action| if let Action::Tell(event) = action { Some(event) } else { None })
        .collect()
}

/// The heartbeat among the actions.
fn sent(actions: &[Action]) -> &Request {
    let mut heartbeats = actions.iter().filter_map(|action| match action {
        Action::Heartbeat(request) => Some(&**request),
        _ => None,
    });
    heartbeats.next().expect("a heartbeat")
}

fn reported(request: &Request) -> Option<Vec<i32>> {
    let topics = request.topic_partitions.as_ref()?;
    Some(topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

#[test]
fn joining_says_everything_and_an_assignment_is_acknowledged_at_once() {
    let mut bench = Bench::new();
    let actions = bench.step(Input::Topics(vec![(uuid::from_bytes(TOPIC), Arc::from("t"))]));
    let join = sent(&actions);
    assert_eq!(
        (join.member_epoch, join.member_id.as_str(), join.rebalance_timeout_ms),
        (0, "m", 60_000)
    );
    assert_eq!(join.subscribed_topic_names.as_ref().map(Vec::len), Some(1));
    assert_eq!(reported(join), Some(vec![]));
    let actions = bench.answer(1, Some(&[0, 1]));
    assert_eq!(told(&actions), [&GroupEvent::Assigned(names(&[0, 1]), Tenure(1))]);
    let next = sent(&actions);
    assert_eq!((next.member_epoch, reported(next)), (1, Some(vec![0, 1])));
    assert_eq!((&next.subscribed_topic_names, next.rebalance_timeout_ms), (&None, -1));
    assert!(bench.answer(1, None).is_empty());
    assert!(bench.tick(199).is_empty());
    assert_eq!(reported(sent(&bench.tick(1))), None, "nothing changed");
}

#[test]
fn revoked_partitions_are_reported_until_they_are_released() {
    let mut bench = Bench::joined(&[0, 1, 2]);
    bench.tick(200);
    let actions = bench.answer(1, Some(&[0]));
    assert_eq!(told(&actions), [&GroupEvent::Revoked(names(&[1, 2]))]);
    assert_eq!(reported(sent(&bench.tick(200))), None, "still owned");
    bench.answer(1, None);
    assert_eq!(reported(sent(&bench.release(1))), Some(vec![0, 2]));
    let actions = bench.answer(1, None);
    assert!(told(&actions).is_empty(), "told once");
    assert_eq!(reported(sent(&bench.release(2))), Some(vec![0]));
    bench.answer(2, None);
    assert_eq!(
        (bench.member.epoch(), bench.member.owned()),
        (2, BTreeMap::from([(TopicPartition::new("t", 0), Tenure(1))]))
    );
    assert!(told(&bench.release(0)).is_empty(), "only what was revoked can be released");
    assert_eq!(bench.member.owned().len(), 1);
}

#[test]
fn a_partition_that_comes_back_before_its_release_is_assigned_after_it() {
    let mut bench = Bench::joined(&[0, 1]);
    bench.tick(200);
    bench.answer(1, Some(&[0]));
    bench.tick(200);
    assert!(told(&bench.answer(2, Some(&[0, 1]))).is_empty());
    assert_eq!(told(&bench.release(1)), [&GroupEvent::Assigned(names(&[1]), Tenure(2))]);
}

/// A commit that was made under the first assignment can be told from one of the second, although
/// the epoch is the same.
#[test]
fn a_partition_that_comes_back_is_under_another_assignment_than_one_that_stayed() {
    let mut bench = Bench::joined(&[0, 1]);
    bench.tick(200);
    bench.answer(2, Some(&[0]));
    bench.release(1);
    bench.answer(2, Some(&[0, 1]));
    let named = |partition| TopicPartition::new("t", partition);
    let owned = BTreeMap::from([(named(0), Tenure(1)), (named(1), Tenure(2))]);
    assert_eq!((bench.member.epoch(), bench.member.owned()), (2, owned));
}

#[test]
fn a_fenced_member_loses_everything_and_joins_again_with_nothing() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut bench = Bench::joined(&[0, 1]);
        bench.tick(200);
        let actions = bench.refuse(code);
        assert_eq!(told(&actions), [&GroupEvent::Lost(names(&[0, 1]))]);
        let join = sent(&actions);
        assert_eq!(
            (join.member_epoch, join.member_id.as_str(), reported(join)),
            (0, "m", Some(vec![]))
        );
        assert_eq!(
            told(&bench.answer(5, Some(&[1]))),
            [&GroupEvent::Assigned(names(&[1]), Tenure(2))]
        );
        assert!(told(&bench.release(0)).is_empty());
    }
}

/// Fenced while partitions are being given back: those are lost as well, and not released later.
#[test]
fn trap_15_a_loss_while_partitions_are_given_back_is_a_loss_of_all() {
    let mut bench = Bench::joined(&[0, 1]);
    bench.tick(200);
    assert_eq!(told(&bench.answer(1, Some(&[0]))), [&GroupEvent::Revoked(names(&[1]))]);
    bench.tick(200);
    let actions = bench.refuse(ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(told(&actions), [&GroupEvent::Lost(names(&[0, 1]))]);
    assert!(bench.member.owned().is_empty(), "nothing can be committed any more");
    bench.answer(5, Some(&[1]));
    assert!(told(&bench.release(1)).is_empty(), "that was of the old assignment");
    assert_eq!(bench.member.owned().len(), 1);
}

#[test]
fn after_a_failure_everything_is_said_again_to_a_coordinator_that_is_looked_up() {
    let mut bench = Bench::joined(&[0]);
    bench.tick(200);
    let actions = bench.step(Input::Answer(Err(ClientError::lost("b:1", "cut"))));
    assert_eq!(actions, [Action::FindCoordinator]);
    let again = bench.tick(100);
    assert_eq!((sent(&again).member_epoch, reported(sent(&again))), (1, Some(vec![0])));
    assert!(sent(&again).subscribed_topic_names.is_some());
    assert!(bench.refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS).is_empty());
    assert!(bench.member.deadline().is_some_and(|at| at > bench.now));
}

#[test]
fn unknown_topic_ids_are_resolved_before_their_partitions_are_used() {
    let mut bench = Bench::new();
    bench.step(Input::Tick);
    let actions = bench.answer(1, Some(&[3]));
    assert!(actions.contains(&Action::Resolve) && told(&actions).is_empty());
    let actions = bench.step(Input::Topics(vec![(uuid::from_bytes(TOPIC), Arc::from("t"))]));
    assert_eq!(told(&actions), [&GroupEvent::Assigned(names(&[3]), Tenure(1))]);
}

#[test]
fn leaving_waits_for_the_heartbeat_in_flight_and_says_goodbye_once() {
    let mut bench = Bench::joined(&[0]);
    bench.tick(200);
    assert!(bench.step(Input::Leave).is_empty());
    assert_eq!(sent(&bench.answer(1, None)).member_epoch, LEAVE);
    assert_eq!(bench.answer(LEAVE, None), [Action::End]);
    assert!(bench.tick(10_000).is_empty());
    let mut unlucky = Bench::joined(&[0]);
    assert_eq!(sent(&unlucky.step(Input::Leave)).member_epoch, LEAVE);
    assert_eq!(unlucky.step(Input::Answer(Err(ClientError::lost("b:1", "cut")))), [Action::End]);
}

#[test]
fn a_fatal_error_ends_the_membership() {
    let mut bench = Bench::joined(&[0]);
    bench.tick(200);
    let actions = bench.refuse(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let events = told(&actions);
    assert_eq!(events[0], &GroupEvent::Lost(names(&[0])));
    assert!(matches!(events[1], GroupEvent::Fatal(_)));
    assert_eq!(actions.last(), Some(&Action::End));
    assert_eq!(bench.member.deadline(), None);
}

#[test]
fn heartbeats_come_often_after_a_change_and_seldom_when_it_is_long_ago() {
    let mut bench = Bench::joined(&[0]);
    let slow = |epoch| Response { heartbeat_interval_ms: 5_000, ..answer(epoch, None) };
    let waits = |bench: &mut Bench, epoch| {
        let mut waits = Vec::new();
        for _ in 0..80 {
            bench.step(Input::Answer(Ok(slow(epoch))));
            let due = bench.member.deadline().expect("a member");
            waits.push(due.saturating_duration_since(bench.now).as_millis() as u64);
            bench.now = due;
            assert_eq!(sent(&bench.step(Input::Tick)).member_epoch, epoch);
        }
        waits
    };
    bench.tick(200);
    let waits = waits(&mut bench, 2);
    assert_eq!(&waits[..8], [250; 8]);
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits.last(), Some(&5_000));
    // What moves within 16 s of a change rests for 1 s at most until it is noticed.
    let within: u64 = waits.iter().take_while(|wait| **wait < 1_000).sum();
    assert!(within >= 15_000, "{waits:?}");
    assert!(waits.iter().position(|wait| *wait == 5_000) < Some(70), "{waits:?}");
}

#[test]
fn a_throttle_is_kept_while_the_group_changes() {
    let mut bench = Bench::joined(&[0]);
    bench.tick(200);
    let throttled = Response { throttle_time_ms: 3_000, ..answer(2, None) };
    bench.step(Input::Answer(Ok(throttled)));
    assert!(bench.tick(2_999).is_empty());
    assert_eq!(sent(&bench.tick(1)).member_epoch, 2);
}
