//! What waits because an event failed: how much that may be, and what ends it.

use super::*;
use crate::completed::OffsetRun;
use crate::retry::{Answer, BadBatch};

const SECOND: Duration = Duration::from_secs(1);
const RETRY: ErrorClass = ErrorClass::Retry { after: None };

impl Bench {
    /// These fail with an error of this class; what fails is tried for ever.
    fn failing(workers: usize, order: Order, fail: &[i64], class: ErrorClass) -> Self {
        let mut bench = Self::new(workers, order);
        bench.policy(|policy| policy.retry = RetryPolicy::forever());
        bench.fails_now(fail, class);
        bench
    }

    fn fails_now(&self, fail: &[i64], class: ErrorClass) {
        let mut script = self.script.lock().unwrap();
        (script.fail, script.class) = (fail.to_vec(), Some(class));
    }

    fn settle_by_hand(&mut self, offset: i64) {
        let answer = Arc::new(Inbox::new(Wake::new()));
        let (partition, asked) = (Self::name(0), Arc::clone(&answer));
        self.inbox.push(LaneInput::Settle { partition, offset, answer: asked });
        self.settle();
        let mut told = VecDeque::new();
        answer.take(&mut told);
        assert_eq!(told.pop_front(), Some(Some(Ok(()))));
    }
}

/// A slow handler holds the worker, so that later events of the key are queued when the first fails.
#[test]
fn trap_30_what_waits_again_and_again_leaves_as_many_bytes_as_it_took() {
    let mut bench = Bench::failing(1, Order::Key, &[0, 1, 2, 3], RETRY);
    bench.assign(0, 1, 0, none());
    let hot: (Option<&[u8]>, &[u8]) = (Some(b"hot"), &[7; 100]);
    bench.slice(0, TOKEN_STRIDE, slice([batch(0, Compression::None, &[hot; 8])], 8));
    bench.settle();
    assert_eq!(bench.snapshot().partitions[0].parked_keys, 1);
    // More partitions came meanwhile: the share of each is less than what waits already.
    bench.lane.config.parked_bytes = 200;
    for next in 1..=4 {
        bench.fails_now(&(next..4).collect::<Vec<_>>(), RETRY);
        (0..40).for_each(|_| bench.pass_time(SECOND / 2));
    }
    bench.slice(0, TOKEN_STRIDE, slice([batch(8, Compression::None, &[hot; 8])], 16));
    bench.settle();
    let state = bench.snapshot().partitions.remove(0);
    assert_eq!((state.parked_bytes, bench.proposals()[&0].0), (0, 16));
}

#[test]
fn an_event_that_finds_no_room_to_wait_is_not_taken() {
    let hour = ErrorClass::Retry { after: Some(3_600 * SECOND) };
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[0], hour);
        bench.policy(|policy| policy.parked_bytes = 600);
        bench.assign(0, 1, 0, none());
        let events: Vec<(Option<&[u8]>, &[u8])> =
            std::iter::repeat_n((Some(&b"hot"[..]), &[7; 400][..]), 50).collect();
        for (base, event) in (0..).zip(&events) {
            bench.slice(0, TOKEN_STRIDE, slice([batch(base, Compression::None, &[*event])], 50));
            bench.settle();
        }
        let in_flight = bench.snapshot().partitions[0].in_flight;
        assert_eq!(in_flight, 1, "{workers} workers: it has room for one of them");
    }
}

#[test]
fn what_is_dead_lettered_by_hand_before_its_turn_is_not_called_and_hides_nobody_who_runs() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().takes = 1_000_000;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    bench.settle();
    bench.fetched(0, 1, 1, 3);
    bench.settle();
    (1..4).for_each(|offset| bench.settle_by_hand(offset));
    bench.revoke(0, 3_600 * SECOND);
    assert_eq!(bench.drained(), None, "the first one still runs");
    bench.pass_time(1_001 * SECOND);
    let (_, proposal, running) = bench.drained().unwrap();
    assert_eq!((proposal.unwrap().offset, running), (4, 0));
    assert_eq!(bench.offsets(0), [0]);
}

#[test]
fn a_batch_that_is_skipped_and_half_done_before_hides_nobody_who_runs() {
    let mut bench = Bench::new(1, Order::Key);
    bench.policy(|policy| policy.bad_batch = BadBatch::Skip);
    bench.script.lock().unwrap().stuck = vec![0];
    bench.outlets[0].0.lock().unwrap().room = 0;
    let mut done = CompletedSet::empty();
    done.push(OffsetRun::new(2, 2));
    bench.assign(0, 1, 0, done);
    let good = |base| batch(base, Compression::None, &[(None, b"a")]);
    let bad = || {
        let mut bad = batch(1, Compression::None, &[(None, &b"a"[..]); 3]);
        *bad.last_mut().unwrap() ^= 1;
        bad
    };
    bench.slice(0, TOKEN_STRIDE, slice([good(0), bad(), good(4)], 5));
    bench.settle();
    bench.slice(0, TOKEN_STRIDE + 1, slice([bad(), good(4)], 5));
    bench.settle();
    assert_eq!(bench.snapshot().partitions[0].in_flight, 3, "0, 1 and 3");
    bench.revoke(0, 10 * SECOND);
    assert_eq!(bench.drained(), None, "the first one still runs");
}

#[test]
fn a_partition_that_is_paused_for_an_event_goes_on_when_that_is_dead_lettered_by_hand() {
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[3], ErrorClass::Undecodable);
        bench.policy(|policy| policy.undecodable = Answer::PausePartition);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 5);
        bench.settle();
        bench.fetched(0, 1, 5, 5);
        bench.settle();
        assert!(bench.snapshot().partitions[0].paused);
        bench.settle_by_hand(3);
        assert!(!bench.snapshot().partitions[0].paused);
        assert_eq!(bench.proposals()[&0].0, 10, "{workers} workers");
    }
}

#[test]
fn a_log_that_was_cut_ends_a_pause() {
    let mut bench = Bench::failing(0, Order::Key, &[3], ErrorClass::Undecodable);
    bench.policy(|policy| policy.undecodable = Answer::PausePartition);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    let (partition, token) = (Bench::name(0), TOKEN_STRIDE);
    bench.inbox.push(LaneInput::OutOfRange { partition, token, log_start: 0, end: 2 });
    bench.settle();
    let state = bench.snapshot().partitions.remove(0);
    assert_eq!((state.paused, state.parked_keys), (false, 0), "there is nothing to resume");
}

#[test]
fn the_try_that_stops_a_partition_counts_for_the_next_owner() {
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[3], RETRY);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        bench.fails_now(&[3], ErrorClass::Fatal);
        bench.pass_time(SECOND);
        assert!(bench.stop_reason().is_some());
        let proposal = bench.proposal().unwrap();
        let notes = Metadata::decode(proposal.offset, &proposal.metadata).unwrap().notes;
        assert_eq!((notes[0].offset, notes[0].attempts), (3, 2), "{workers} workers");
    }
}

#[test]
fn a_stop_is_no_incident_of_events_that_are_tried_again() {
    let mut bench = Bench::failing(0, Order::Key, &[3], ErrorClass::Fatal);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    let partition = bench.lane.partitions[0].as_ref().unwrap();
    assert_eq!((partition.stopped.is_some(), partition.incidents.over_at()), (true, None));
}

#[test]
fn an_error_that_wants_to_wait_for_ever_waits_for_long() {
    let ever = ErrorClass::Retry { after: Some(Duration::MAX) };
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[0], ever);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!((bench.snapshot().total.done, bench.stop_reason()), (9, None));
    }
}

#[test]
fn a_partition_that_comes_later_has_its_part_although_another_one_is_full_of_what_waits() {
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[0], ErrorClass::Undecodable);
        bench.policy(|policy| policy.undecodable = Answer::PauseKey);
        bench.lane.config.in_flight = 10;
        bench.assign(0, 1, 0, none());
        let hot: (Option<&[u8]>, &[u8]) = (Some(b"hot"), b"7");
        bench.slice(0, TOKEN_STRIDE, slice([batch(0, Compression::None, &[hot; 20])], 20));
        bench.settle();
        assert_eq!(bench.snapshot().partitions[0].in_flight, 10);
        bench.assign(1, 2, 0, none());
        bench.script.lock().unwrap().fail.clear();
        bench.fetched(1, 2, 0, 30);
        bench.settle();
        assert_eq!(bench.offsets(1).len(), 30, "{workers} workers");
    }
}

#[test]
fn what_is_dead_lettered_by_hand_on_its_way_to_the_dead_letters_counts_once() {
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[2], ErrorClass::DeadLetter);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 5);
        bench.settle();
        bench.settle_by_hand(2);
        bench.acknowledge();
        assert_eq!((bench.snapshot().total.dead_lettered, bench.proposals()[&0].0), (1, 5));
        assert_eq!(bench.stop_reason(), None);
    }
}

#[test]
fn trap_24_what_the_dead_letters_refuse_stops_the_partition_and_stays() {
    for workers in [0, 1] {
        let mut bench = Bench::failing(workers, Order::Key, &[2], ErrorClass::DeadLetter);
        bench.outlets[0].0.lock().unwrap().unknown = vec!["flights.dead-letter".into()];
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 5);
        bench.settle();
        let refused = Err("not allowed".to_owned());
        bench.inbox.push(LaneInput::Topic("flights.dead-letter".into(), refused));
        bench.settle();
        let (offset, error) = (2, "asked to".to_owned());
        let reason = StopReason::DeadLetter { offset, error, reason: "not allowed".to_owned() };
        assert_eq!(bench.stop_reason(), Some(&reason));
        bench.revoke(0, 10 * SECOND);
        let (_, proposal, running) = bench.drained().expect("nothing of it runs");
        let proposal = proposal.unwrap();
        let notes = Metadata::decode(proposal.offset, &proposal.metadata).unwrap().notes;
        assert_eq!((proposal.offset, running), (2, 0));
        assert_eq!((notes[0].offset, notes[0].attempts), (2, 1), "{workers} workers");
    }
}

/// Events of the property below.
const EVENTS: i64 = 300;

#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    workers: usize,
    order: Order,
    emit: bool,
    answer: Answer,
    parked_bytes: usize,
    fail: Vec<i64>,
    flaky: BTreeMap<i64, u32>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let order = prop_oneof![Just(Order::Key), Just(Order::Partition), Just(Order::None)];
    let answers = [Answer::DeadLetter, Answer::PauseKey, Answer::PausePartition];
    let parked_bytes = prop_oneof![Just(40_usize), Just(400), Just(1 << 20)];
    let fail = proptest::collection::vec(0..EVENTS, 0..4);
    let flaky = proptest::collection::btree_map(0..EVENTS, 1..7_u32, 0..40);
    let answer = prop::sample::select(answers.to_vec());
    (any::<u64>(), 0..4_usize, order, any::<bool>(), answer, parked_bytes, fail, flaky).prop_map(
        |(seed, workers, order, emit, answer, parked_bytes, fail, flaky)| {
            // What never succeeds ends in no other way.
            let fail = if answer == Answer::DeadLetter { fail } else { Vec::new() };
            Plan { seed, workers, order, emit, answer, parked_bytes, fail, flaky }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever fails, waits, is resumed, is dead-lettered by hand and leaves with its partition: each
    /// event has one outcome, and a drain ends when nothing runs, not before and not later.
    #[test]
    fn every_event_has_one_outcome_whatever_happens_while_it_waits(plan in plans()) {
        one_outcome(&plan);
    }
}

fn one_outcome(plan: &Plan) {
    let random = Random::seeded(plan.seed);
    let mut bench = Bench::new(plan.workers, plan.order);
    // A call that takes time checks that no other of its key does.
    let takes = if plan.workers > 0 && plan.order != Order::None { random.below(20) } else { 0 };
    bench.lane.config.in_flight = 20 + random.below(100);
    bench.policy(|policy| {
        policy.retry = RetryPolicy { attempts: std::num::NonZeroU32::new(3), ..policy.retry };
        (policy.exhausted, policy.parked_bytes) = (plan.answer, plan.parked_bytes);
    });
    {
        let mut script = bench.script.lock().unwrap();
        (script.emit, script.takes) = (plan.emit, takes);
        (script.fail, script.flaky) = (plan.fail.clone(), plan.flaky.clone());
    }
    bench.assign(0, 1, 0, none());
    let (mut token, mut next, mut committed) = (1, 0, (0, Metadata::default()));
    for _ in 0..200_000 {
        match random.below(300) {
            0..60 if next < EVENTS => {
                let count = 1 + random.below((EVENTS - next) as u64).min(40) as usize;
                bench.fetched(0, token, next, count);
                next += count as i64;
            }
            60..70 => {
                let offset = random.below(EVENTS as u64) as i64;
                let answer = Arc::new(Inbox::new(Wake::new()));
                // Every tenth event may be dead-lettered by hand.
                let (partition, offset) = (Bench::name(0), offset / 10 * 10);
                bench.inbox.push(LaneInput::Settle { partition, offset, answer });
            }
            70..80 => bench.inbox.push(LaneInput::Resume),
            80 if token < 6 => {
                token += 1;
                bench.hand_over(token, &mut committed, &random);
                next = committed.0;
            }
            _ => bench.go_on(&random),
        }
        let stands = &bench.snapshot().partitions[0];
        if (stands.position, stands.in_flight) == (EVENTS, 0) {
            break;
        }
    }
    // What was dead-lettered by hand may still be at work.
    for _ in 0..20 {
        bench.acknowledge();
        bench.pass_time(SECOND);
    }
    let total = bench.snapshot().total;
    assert_eq!(bench.stop_reason(), None);
    assert_eq!(bench.snapshot().partitions[0].in_flight, 0, "{:?}", bench.snapshot().partitions);
    assert_eq!(total.done + total.dead_lettered, EVENTS as u64, "{total:?}");
    let stands = bench.snapshot().partitions.remove(0);
    assert_eq!((stands.parked_keys, stands.parked_bytes, stands.busy_slots), (0, 0, 0));
    assert!(bench.lane.partitions[0].as_ref().unwrap().by_hand.is_empty());
    if plan.order == Order::Key && plan.answer != Answer::DeadLetter {
        let calls = bench.offsets(0);
        (0..10).for_each(|key| {
            assert!(calls.iter().filter(|offset| **offset % 10 == key).is_sorted(), "{calls:?}");
        });
    }
}

impl Bench {
    /// Something goes next.
    fn go_on(&mut self, random: &Random) {
        let workers = self.workers.len() as u64;
        match random.below(5) {
            0 | 1 => _ = self.step(0),
            2 if workers > 0 => _ = self.step(1 + random.below(workers) as usize),
            2 | 3 => _ = self.acknowledge_one(random.below(workers + 1) as usize),
            _ => {
                let longest = if random.chance(1, 12) { 11_000 } else { 40 };
                self.advance(Duration::from_millis(random.below(longest)));
            }
        }
        self.control.take(&mut self.told);
    }

    /// Partition 0 leaves in order and comes back, from what is `committed` then on.
    fn hand_over(&mut self, token: u64, committed: &mut (i64, Metadata), random: &Random) {
        self.told.clear();
        let deadline = self.now() + 360_000 * SECOND;
        self.inbox.push(LaneInput::Revoke(Self::name(0), deadline));
        for _ in 0..20_000 {
            if self.drained().is_some() {
                break;
            }
            self.go_on(random);
        }
        let (_, proposal, running) = self.drained().expect("a drain ends");
        assert_eq!(running, 0);
        let called = self.offsets(0).len();
        self.inbox.push(LaneInput::Release(Self::name(0)));
        self.settle();
        assert_eq!(self.offsets(0).len(), called, "something still ran");
        assert_eq!(self.lane.partitions.iter().flatten().count(), 0, "it has gone");
        if let Some(Proposal { offset, metadata, .. }) = proposal {
            *committed = (offset, Metadata::decode(offset, &metadata).unwrap());
        }
        self.assign_noted(0, token, committed.0, committed.1.clone());
    }
}
