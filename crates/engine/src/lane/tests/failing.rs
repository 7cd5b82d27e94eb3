//! Events that fail: who is tried again when, who waits, and what leaves.

use onrush_record::header::set_base_offset;
use onrush_record::{BatchBuilder, Compressor, Header};

use super::*;
use crate::dead_letter::SUCCESSES_PER_TOKEN;
use crate::emit::testing::Written;
use crate::retry::{ATTEMPTS, Answer, BadBatch, FIRST_PAUSE, LONGEST_PAUSE};
use crate::retry_topic::Ladder;

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// With the default policy.
    fn retrying(workers: usize, order: Order) -> Self {
        let mut bench = Self::new(workers, order);
        bench.policy(|policy| policy.retry = RetryPolicy::default());
        bench
    }

    fn flaky(&self, flaky: impl IntoIterator<Item = (i64, u32)>) {
        self.script.lock().unwrap().flaky.extend(flaky);
    }

    fn fails(&self, fail: impl IntoIterator<Item = i64>, class: ErrorClass) {
        let mut script = self.script.lock().unwrap();
        (script.fail, script.class) = (fail.into_iter().collect(), Some(class));
    }

    fn succeeds(&self) {
        self.script.lock().unwrap().fail.clear();
    }

    fn attempts(&self, offset: i64) -> Vec<u32> {
        let script = self.script.lock().unwrap();
        script.attempts.iter().filter(|call| call.0 == offset).map(|call| call.1).collect()
    }

    /// What the lane itself wrote.
    fn written(&self) -> Vec<Written> {
        self.outlets[0].0.lock().unwrap().written.clone()
    }

    /// Lets time pass in steps, so that what waits is tried as it becomes due.
    fn pass(&mut self, time: Duration) {
        let step = SECOND / 2;
        for _ in 0..time.as_millis().div_ceil(step.as_millis()) {
            self.pass_time(step);
        }
    }

    fn notes(&mut self, partition: i32) -> Vec<Note> {
        let proposal = self.proposal();
        let proposal = proposal.filter(|proposal| proposal.partition.partition == partition);
        let decode = |proposal: Proposal| Metadata::decode(proposal.offset, &proposal.metadata);
        proposal.map_or_else(Vec::new, |proposal| decode(proposal).unwrap().notes)
    }
}

fn header(written: &Written, name: &str) -> String {
    let mut found = written.headers.iter().filter(|(key, _)| key == name);
    let text = found.next().map(|(_, value)| String::from_utf8(value.clone()).unwrap());
    assert!(found.next().is_none(), "{name} twice");
    text.unwrap_or_default()
}

const RETRY: ErrorClass = ErrorClass::Retry { after: None };

#[test]
fn an_event_is_tried_five_times_and_then_goes_to_the_dead_letters() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.fails([4], RETRY);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!(bench.attempts(4), [1], "no pause before the second try");
        bench.pass(10 * SECOND);
        assert_eq!(bench.attempts(4), (1..=ATTEMPTS.get()).collect::<Vec<_>>());
        let total = bench.snapshot().total;
        assert_eq!((total.failed, total.retried, total.dead_lettered), (5, 4, 0));
        let written = bench.written();
        assert_eq!(written.len(), 1, "{workers} workers");
        assert_eq!(header(&written[0], "onrush.attempts"), "5");
        let time = |name| header(&written[0], name).parse::<i64>().unwrap();
        assert!(time("onrush.failure.first") <= time("onrush.failure.last"));
        assert!(time("onrush.failure.first") > 0);
        bench.acknowledge();
        assert_eq!((bench.proposals()[&0].0, bench.snapshot().total.dead_lettered), (10, 1));
    }
}

#[test]
fn a_panic_is_tried_again_like_an_error() {
    let mut bench = Bench::retrying(0, Order::Key);
    bench.script.lock().unwrap().panic = vec![4];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    bench.script.lock().unwrap().panic.clear();
    bench.pass(SECOND);
    assert_eq!((bench.attempts(4), bench.proposals()[&0].0), (vec![1, 2], 10));
}

#[test]
fn only_the_key_waits_while_its_event_is_tried_again() {
    for workers in [0, 3] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.flaky([(3, 3), (24, 2)]);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 20);
        bench.settle();
        bench.fetched(0, 1, 20, 20);
        bench.settle();
        let called = bench.offsets(0);
        assert!(![13, 23, 33, 34].iter().any(|later| called.contains(later)), "{called:?}");
        assert_eq!(called.len(), 40 - 4, "{workers} workers");
        let state = bench.snapshot().partitions.remove(0);
        assert_eq!((state.parked_keys, state.paused), (2, false));
        assert!(state.parked_bytes > 0);
        bench.pass(10 * SECOND);
        let called = bench.offsets(0);
        for key in 0..10 {
            let of_key = called.iter().filter(|offset| **offset % 10 == key);
            assert!(of_key.is_sorted(), "key {key} with {workers} workers: {called:?}");
        }
        assert_eq!((bench.attempts(3), bench.attempts(24)), (vec![1, 2, 3, 4], vec![1, 2, 3]));
        assert_eq!((bench.proposals()[&0].0, bench.snapshot().total.done), (40, 40));
        let state = bench.snapshot().partitions.remove(0);
        assert_eq!((state.parked_keys, state.parked_bytes, state.busy_slots), (0, 0, 0));
    }
}

#[test]
fn events_without_order_wait_alone() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::None);
        bench.flaky([(3, 2)]);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 40);
        bench.settle();
        assert_eq!(bench.snapshot().total.done, 39);
        bench.pass(5 * SECOND);
        assert_eq!((bench.attempts(3).len(), bench.proposals()[&0].0), (3, 40));
    }
}

#[test]
fn under_order_by_partition_everything_waits() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Partition);
        bench.flaky([(3, 2)]);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!(bench.offsets(0), [0, 1, 2, 3]);
        bench.pass(5 * SECOND);
        assert_eq!(bench.offsets(0), [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(bench.proposals()[&0].0, 10);
    }
}

#[test]
fn what_an_event_emits_at_a_later_try_comes_before_what_later_ones_emit() {
    let mut bench = Bench::retrying(3, Order::Key);
    bench.script.lock().unwrap().emit = true;
    bench.flaky((0..10).map(|offset| (offset, 1)));
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 50);
    bench.settle();
    bench.pass(SECOND);
    for key in 0..10_u8 {
        let wrote = |outlet: &&TestOutlet| {
            let tray = outlet.0.lock().unwrap();
            let key = [b'0' + key];
            tray.written.iter().any(|written| written.key.as_deref() == Some(&key[..]))
        };
        // The first try of an event may have written through another outlet than its second.
        assert!(bench.outlets[1..].iter().filter(wrote).count() <= 2);
    }
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0].0, 50);
}

#[test]
fn trap_19_a_member_has_bounded_room_for_what_waits_and_other_partitions_go_on() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.policy(|policy| policy.parked_bytes = 600);
        bench.fails([0], ErrorClass::Retry { after: Some(100 * SECOND) });
        bench.assign(0, 1, 0, none());
        bench.assign(1, 2, 0, none());
        for base in 0..50 {
            let hot: (Option<&[u8]>, &[u8]) = (Some(b"hot"), &[7; 50]);
            bench.slice(0, TOKEN_STRIDE, slice([batch(base, Compression::None, &[hot])], 50));
        }
        bench.settle();
        let state = bench.snapshot().partitions.remove(0);
        assert!(state.parked_bytes <= 300, "{} bytes, {workers} workers", state.parked_bytes);
        assert!((4..20).contains(&state.in_flight), "{}", state.in_flight);
        bench.script.lock().unwrap().fail.clear();
        bench.fetched(1, 2, 0, 30);
        bench.settle();
        assert_eq!(bench.offsets(1).len(), 30);
        bench.pass(101 * SECOND);
        assert_eq!(bench.offsets(0).len(), 51);
        assert_eq!(bench.proposals()[&0].0, 50);
    }
}

#[test]
fn trap_26_an_event_is_written_to_the_dead_letters_once() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Key);
        bench.fails([2], RETRY);
        bench.outlets[0].0.lock().unwrap().unknown = vec!["flights.dead-letter".into()];
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 5);
        bench.settle();
        let wanted = |told: &ControlInput| matches!(told, ControlInput::TopicWanted(..));
        assert!(bench.told.iter().any(wanted));
        bench.outlets[0].0.lock().unwrap().unknown.clear();
        bench.outlets[0].0.lock().unwrap().room = 0;
        bench.pass(3 * SECOND);
        bench.outlets[0].0.lock().unwrap().room = usize::MAX;
        bench.pass(3 * SECOND);
        assert_eq!((bench.written().len(), bench.attempts(2)), (1, vec![1]));
        bench.acknowledge();
        bench.pass(3 * SECOND);
        assert_eq!((bench.written().len(), bench.proposals()[&0].0), (1, 5));
    }
}

#[test]
fn events_that_wait_for_the_topic_are_not_tried_more_often() {
    let mut bench = Bench::retrying(0, Order::Key);
    bench.fails(0..5, RETRY);
    bench.outlets[0].0.lock().unwrap().room = 0;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 5);
    bench.pass(60 * SECOND);
    assert!((0..5).all(|offset| bench.attempts(offset).len() == 5));
    bench.outlets[0].0.lock().unwrap().room = usize::MAX;
    bench.pass(SECOND);
    assert_eq!(bench.written().len(), 5);
}

#[test]
fn trap_28_an_event_that_is_not_done_stays_below_the_commit_whatever_is_done_above_it() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.policy(|policy| policy.retry = RetryPolicy::forever());
        bench.fails([7], RETRY);
        bench.assign(0, 1, 0, none());
        for base in 0..10 {
            bench.fetched(0, 1, base * 50, 50);
            bench.pass(2 * SECOND);
        }
        assert_eq!(bench.proposals()[&0].0, 7);
        bench.pass(3_600 * SECOND);
        let tries = bench.attempts(7).len();
        assert!(tries > 500, "gave up after {tries} tries");
        assert!(bench.written().is_empty());
        bench.succeeds();
        bench.pass(LONGEST_PAUSE);
        assert_eq!(bench.proposals()[&0].0, 500);
    }
}

#[test]
fn trap_32_a_dead_downstream_never_drains_the_topic() {
    for workers in [0, 3] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.fails(0..10_000, RETRY);
        bench.assign(0, 1, 0, none());
        for base in 0..10 {
            bench.fetched(0, 1, base * 1_000, 1_000);
        }
        bench.settle();
        let minutes = 10;
        bench.pass(minutes * 60 * SECOND);
        let dead = bench.written().len() as u64;
        let by_time = minutes as u64 * 60 / TOKEN_INTERVAL.as_secs();
        assert!(dead <= u64::from(TOKENS) + by_time + 1, "{dead} with {workers} workers");
        assert!(bench.snapshot().partitions[0].paused);
        assert!(!bench.snapshot().partitions[0].stopped);
        bench.succeeds();
        bench.pass(60 * SECOND);
        bench.acknowledge();
        let total = bench.snapshot().total;
        assert_eq!(total.dead_lettered, dead, "what waited was not saved by the recovery");
        assert_eq!((total.done + dead, bench.proposals()[&0].0), (10_000, 10_000));
        assert!(!bench.snapshot().partitions[0].paused);
    }
}

#[test]
fn undecodable_events_have_tokens_of_their_own() {
    let mut bench = Bench::inline();
    bench.fails(0..i64::from(TOKENS) + 3, ErrorClass::Undecodable);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 20);
    bench.settle();
    assert_eq!(bench.written().len() as u32, TOKENS);
    assert!(bench.snapshot().partitions[0].paused);
    bench.pass(TOKEN_INTERVAL * 4);
    assert_eq!(bench.offsets(0).len(), 20, "went on as time earned tokens");
    bench.fails([30], ErrorClass::DeadLetter);
    bench.fetched(0, 1, 20, 20);
    bench.settle();
    assert_eq!(bench.written().len() as u32, TOKENS + 4, "a failed event has its own tokens");
    assert_eq!(bench.attempts(30), [1], "an error of that class is not tried again");
    // Or else the successes had earned it.
    const { assert!(SUCCESSES_PER_TOKEN > 40) };
}

#[test]
fn a_fatal_error_stops_the_partition_and_the_event_stays() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.fails([5], ErrorClass::Fatal);
        bench.assign(0, 1, 0, none());
        bench.assign(1, 2, 100, none());
        bench.fetched(0, 1, 0, 20);
        bench.settle();
        let reason = bench.stop_reason().cloned().unwrap();
        assert_eq!(reason, StopReason::Handler { offset: 5, error: "asked to".into() });
        assert_eq!(reason.fault().to_string(), "ONR0057");
        assert!(bench.proposals()[&0].0 <= 5);
        assert_eq!(bench.attempts(5), [1]);
        bench.fetched(1, 2, 100, 20);
        bench.settle();
        assert_eq!(bench.offsets(1).len(), 20);
    }
}

#[test]
fn the_answer_may_be_to_pause_the_key_or_the_partition_until_told_to_go_on() {
    for (answer, goes_on) in [(Answer::PauseKey, true), (Answer::PausePartition, false)] {
        for workers in [0, 2] {
            let mut bench = Bench::retrying(workers, Order::Key);
            bench.policy(|policy| {
                (policy.retry, policy.exhausted) = (RetryPolicy::ONCE, answer);
            });
            bench.fails([5], RETRY);
            bench.assign(0, 1, 0, none());
            bench.fetched(0, 1, 0, 10);
            bench.settle();
            bench.fetched(0, 1, 10, 10);
            bench.pass(600 * SECOND);
            assert_eq!(bench.attempts(5), [1]);
            let called = bench.offsets(0);
            assert_eq!(called.contains(&14), goes_on, "{answer:?}: {called:?}");
            assert!(!called.contains(&15) && bench.written().is_empty());
            assert_eq!(bench.snapshot().partitions[0].paused, !goes_on);
            bench.succeeds();
            bench.inbox.push(LaneInput::Resume);
            bench.settle();
            assert_eq!((bench.attempts(5), bench.proposals()[&0].0), (vec![1, 2], 20));
        }
    }
}

#[test]
fn trap_31_what_waits_does_not_hold_up_a_drain_and_its_attempts_travel() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.fails([3], RETRY);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 30);
        bench.settle();
        bench.pass_time(FIRST_PAUSE);
        let tries = bench.attempts(3).len() as u32;
        assert_eq!(tries, 2);
        bench.revoke(0, 10 * SECOND);
        let (_, proposal, running) = bench.drained().expect("drained at once");
        let proposal = proposal.unwrap();
        assert_eq!((running, proposal.offset), (0, 3));
        let Metadata { completed, notes } =
            Metadata::decode(proposal.offset, &proposal.metadata).unwrap();
        let attempts = |note: &Note| (note.offset, note.attempts, note.error.clone());
        assert_eq!(notes.iter().map(attempts).collect::<Vec<_>>(), [(3, tries, "asked to".into())]);

        let mut heir = Bench::retrying(workers, Order::Key);
        heir.fails([3], RETRY);
        heir.assign_noted(0, 2, 3, Metadata { completed, notes });
        heir.fetched(0, 2, 0, 30);
        heir.settle();
        assert_eq!(heir.attempts(3)[0], tries + 1);
        assert_eq!(heir.offsets(0), [3], "later ones of its key were not held back");
        heir.pass(10 * SECOND);
        assert_eq!(heir.attempts(3), (tries + 1..=ATTEMPTS.get()).collect::<Vec<_>>());
        assert_eq!(header(&heir.written()[0], "onrush.attempts"), "5");
        heir.acknowledge();
        assert_eq!(heir.proposals()[&0], (30, none()));
        assert_eq!(heir.offsets(0).iter().filter(|offset| **offset != 3).count(), 2);
    }
}

#[test]
fn trap_31_an_event_that_failed_at_an_earlier_owner_does_not_overtake_its_key() {
    let error = "asked to".to_owned();
    let note = |offset| Note { offset, attempts: 2, since_millis: 1, error: error.clone() };
    for order in [Order::Key, Order::Partition] {
        let mut bench = Bench::retrying(1, order);
        let notes = vec![note(4), note(24)];
        bench.assign_noted(0, 1, 0, Metadata { completed: none(), notes });
        bench.flaky([(14, 1), (24, 1)]);
        // The second slice comes while a run of the key is with the worker.
        for base in [0, 20] {
            bench.fetched(0, 1, base, 20);
            bench.step(0);
            bench.step(0);
        }
        bench.pass(10 * SECOND);
        let mut of_key = bench.offsets(0);
        of_key.retain(|offset| offset % 10 == 4);
        assert_eq!(of_key, [4, 14, 14, 24, 24, 34], "{order:?}");
        assert_eq!(bench.attempts(24)[1], 4, "the count goes on");
        assert_eq!(bench.proposals()[&0], (40, none()));
    }
}

#[test]
fn an_event_that_is_tried_when_its_partition_leaves_counts_that_try() {
    let mut bench = Bench::retrying(1, Order::Key);
    bench.fails([0], RETRY);
    bench.script.lock().unwrap().takes = 0;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    bench.settle();
    bench.advance(SECOND);
    // The run is with the worker when the partition is revoked.
    bench.step(0);
    bench.inbox.push(LaneInput::Revoke(Bench::name(0), bench.now() + 10 * SECOND));
    bench.step(1);
    bench.settle();
    assert_eq!(bench.attempts(0), [1, 2]);
    let (_, proposal, running) = bench.drained().unwrap();
    assert_eq!(running, 0);
    let proposal = proposal.expect("the note is news");
    assert_eq!(Metadata::decode(0, &proposal.metadata).unwrap().notes[0].attempts, 2);
}

#[test]
fn attempts_and_the_last_error_are_committed_while_it_waits() {
    let mut bench = Bench::retrying(0, Order::Key);
    bench.policy(|policy| policy.retry = RetryPolicy::forever());
    bench.fails([4], RETRY);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.pass(60 * SECOND);
    let tries = bench.attempts(4).len() as u32;
    let notes = bench.notes(0);
    assert_eq!((notes[0].offset, notes[0].attempts), (4, tries));
    assert_eq!(notes[0].error, "asked to");
    assert!(notes[0].since_millis > 0);
}

#[test]
fn a_sabotaged_lane_lets_later_events_overtake() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.lane.sabotage(Saboteur::new(Sabotage::Overtake));
        bench.flaky([(3, 2)]);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 40);
        bench.pass(5 * SECOND);
        let called = bench.offsets(0);
        assert!(!called.iter().filter(|offset| **offset % 10 == 3).is_sorted(), "{called:?}");
    }
}

fn ladder(bench: &mut Bench, seconds: &[u64]) {
    let delays: Vec<_> = seconds.iter().map(|second| SECOND * *second as u32).collect();
    let ladder = Ladder::new(&["flights".to_owned()], &delays).unwrap();
    bench.lane.config.ladder = Arc::new(ladder);
}

#[test]
fn an_event_that_needs_more_time_moves_to_a_retry_topic() {
    for workers in [0, 2] {
        let mut bench = Bench::new(workers, Order::Key);
        ladder(&mut bench, &[5, 60]);
        bench.fails([4], RETRY);
        bench.assign(7, 1, 0, none());
        bench.fetched(7, 1, 0, 30);
        bench.settle();
        let written = bench.written();
        assert_eq!((written.len(), &*written[0].topic), (1, "flights.retry.5s"));
        assert_eq!(header(&written[0], "onrush.origin.partition"), "7");
        assert_eq!(header(&written[0], "onrush.attempts"), "1");
        let time = |name| header(&written[0], name).parse::<i64>().unwrap();
        assert_eq!(time("onrush.retry.due") / 10, (time("onrush.failure.last") + 5_000) / 10);
        assert_eq!(bench.offsets(7).len(), 30, "its key goes on");
        bench.acknowledge();
        let total = bench.snapshot().total;
        assert_eq!((total.moved, total.dead_lettered, bench.proposals()[&7].0), (1, 0, 30));
    }
}

/// An event in the first retry topic, at `offset`, due so many seconds from now.
fn moved(offset: i64, due: i64) -> Slice {
    let due = (Clock::System.wall_millis() + due * 1_000).to_string();
    let headers = [
        ("onrush.origin.topic", "flights"),
        ("onrush.origin.partition", "7"),
        ("onrush.origin.offset", "42"),
        ("onrush.attempts", "3"),
        ("onrush.failure.first", "1700000000000"),
        ("onrush.retry.due", &*due),
        ("theirs", "kept"),
    ];
    let headers = headers.map(|(key, value)| Header { key, value: Some(value.as_bytes()) });
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1_000, Some(b"key"), Some(b"value"), &headers).unwrap();
    let mut batch = builder.seal(-1, -1, -1, &mut Compressor::default()).unwrap();
    set_base_offset(&mut batch, offset);
    slice([batch], offset + 1)
}

/// Assigns the first partition of the first retry topic.
fn assign_rung(bench: &mut Bench) {
    ladder(bench, &[5, 60]);
    let topic: Arc<str> = "flights.retry.5s".into();
    let member = "member".into();
    let assignment = Assignment { topic: topic.clone(), partition: 0, epoch: 1, start: 0, member };
    let holding = Arc::new(Holding::new(assignment, TOKEN_STRIDE).in_retry_topic(true));
    let cells = bench.metrics.assign(&TopicPartition::new(topic, 0), 0);
    let (committed, completed, notes) = (Some(0), none(), Vec::new());
    let assign = Assign { holding, committed, completed, notes, cells };
    bench.inbox.push(LaneInput::Assign(Box::new(assign)));
    bench.settle();
}

fn fetched_from_rung(bench: &Bench, slice: Slice) {
    let partition = TopicPartition::new("flights.retry.5s", 0);
    bench.inbox.push(LaneInput::Fetched { partition, token: TOKEN_STRIDE, slice });
}

#[test]
fn trap_29_a_retry_topic_is_held_until_its_event_is_due_and_then_goes_on() {
    for workers in [0, 2] {
        let mut bench = Bench::new(workers, Order::Key);
        assign_rung(&mut bench);
        fetched_from_rung(&bench, moved(0, 4));
        // Due long after its delay: a clock that is wrong, or a header that somebody made up.
        fetched_from_rung(&bench, moved(1, 1_000_000));
        fetched_from_rung(&bench, moved(2, -9));
        bench.settle();
        bench.pass_time(3 * SECOND);
        assert!(bench.offsets(0).is_empty());
        assert_eq!(bench.snapshot().partitions[0].in_flight, 0, "held events are not taken");
        bench.pass_time(SECOND);
        assert_eq!(bench.offsets(0), [0], "{workers} workers");
        bench.pass_time(5 * SECOND);
        assert_eq!(bench.offsets(0), [0, 1, 2]);
        let asked = |told: &&ControlInput| matches!(told, ControlInput::Fetch(..));
        assert_eq!(bench.told.iter().filter(asked).count(), 1, "fetched again");
        assert_eq!(bench.proposals()[&0].0, 3);
    }
}

#[test]
fn an_event_of_a_retry_topic_keeps_its_origin_and_counts_on() {
    for (rung, wanted) in [(true, "flights.retry.1m"), (false, "flights.dead-letter")] {
        let mut bench = Bench::inline();
        let class = if rung { RETRY } else { ErrorClass::DeadLetter };
        bench.fails([0], class);
        assign_rung(&mut bench);
        fetched_from_rung(&bench, moved(0, -1));
        bench.settle();
        let written = bench.written().remove(0);
        assert_eq!(written.topic, wanted);
        assert_eq!(header(&written, "onrush.origin.topic"), "flights");
        assert_eq!(header(&written, "onrush.origin.partition"), "7");
        assert_eq!(header(&written, "onrush.origin.offset"), "42");
        assert_eq!(header(&written, "onrush.attempts"), "4");
        assert_eq!(header(&written, "onrush.failure.first"), "1700000000000");
        assert_eq!(header(&written, "onrush.retry.due").is_empty(), !rung);
        assert_eq!(header(&written, "theirs"), "kept");
    }
}

#[test]
fn a_bad_batch_is_skipped_when_the_policy_says_so_and_kept_as_it_came() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Key);
        bench.policy(|policy| policy.bad_batch = BadBatch::Skip);
        bench.assign(0, 1, 0, none());
        let events: Vec<(Option<&[u8]>, &[u8])> = vec![(None, b"value"); 3];
        let bad = || {
            let mut bad = batch(1, Compression::None, &events);
            *bad.last_mut().unwrap() ^= 1;
            bad
        };
        let good = |base| batch(base, Compression::Lz4, &[(None, b"a")]);
        bench.slice(0, TOKEN_STRIDE, slice([good(0), bad(), good(4)], 9));
        bench.settle();
        let again = bench.told.iter().find_map(|told| match told {
            ControlInput::Fetch(_, token, 1) => Some(*token),
            _ => None,
        });
        let again = again.expect("asked for again, from the bad batch on");
        bench.slice(0, again, slice([bad()], 9));
        bench.settle();
        assert!(bench.written().is_empty(), "what follows it was not seen");
        bench.slice(0, again, slice([good(4)], 9));
        bench.settle();
        let written = bench.written().remove(0);
        assert_eq!(written.value, Some(bad().to_vec()));
        assert_eq!(written.topic, "flights.dead-letter");
        let text = |name| header(&written, name);
        assert_eq!(text("onrush.origin.offset"), "1");
        assert_eq!(text("onrush.origin.last_offset"), "3");
        assert_eq!(text("onrush.error.code"), "ONR0027");
        assert_eq!(bench.offsets(0), [0, 4]);
        assert_eq!(bench.proposals()[&0].0, 1, "not acknowledged yet");
        bench.acknowledge();
        assert_eq!((bench.proposals()[&0].0, bench.snapshot().total.skipped), (5, 3));
        assert_eq!(bench.stop_reason(), None);
    }
}

#[test]
fn a_bad_batch_whose_offsets_cannot_be_is_not_skipped() {
    let mut bench = Bench::inline();
    bench.policy(|policy| policy.bad_batch = BadBatch::Skip);
    bench.assign(0, 1, 0, none());
    // Its last offset is damaged: it would take the next batch with it.
    let bad = || {
        let mut bad = batch(0, Compression::None, &[(None, b"value")]);
        bad[26] = 200;
        bad
    };
    let good = || batch(1, Compression::None, &[(None, b"a")]);
    bench.slice(0, TOKEN_STRIDE, slice([bad(), good()], 2));
    bench.settle();
    bench.slice(0, TOKEN_STRIDE + 1, slice([bad(), good()], 2));
    bench.settle();
    assert!(bench.stop_reason().is_some_and(|reason| reason.to_string().contains("twice")));
    assert!(bench.written().is_empty());
}

#[test]
fn trap_30_one_event_that_waits_keeps_no_batch_alive() {
    for workers in [0, 2] {
        let mut bench = Bench::retrying(workers, Order::Key);
        bench.fails([0], RETRY);
        bench.assign(0, 1, 0, none());
        let events = (0..100).map(|_| (None, &[7; 1_000][..])).collect::<Vec<_>>();
        let slice = slice([batch(0, Compression::None, &events)], 100);
        let lease = Some(Lease::new(&bench.lane.config.credit, slice.records.len()));
        bench.slice(0, TOKEN_STRIDE, Slice { lease, ..slice });
        bench.settle();
        let state = bench.snapshot().partitions.remove(0);
        assert_eq!((state.in_flight, state.parked_keys), (1, 1));
        assert!((1_000..1_100).contains(&state.parked_bytes), "{}", state.parked_bytes);
        assert_eq!(bench.lane.config.credit.lent(), 0, "{workers} workers");
    }
}

#[test]
fn what_waits_for_a_token_is_told_in_the_commit() {
    let mut bench = Bench::inline();
    bench.fails(0..i64::from(TOKENS) + 1, ErrorClass::DeadLetter);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 20);
    bench.settle();
    bench.acknowledge();
    let notes = bench.notes(0);
    assert_eq!((notes[0].offset, notes[0].attempts), (i64::from(TOKENS), 1));
    assert_eq!(notes[0].error, "asked to");
}

#[test]
fn an_error_that_names_a_time_is_tried_then() {
    let mut bench = Bench::retrying(0, Order::Key);
    bench.fails([0], ErrorClass::Retry { after: Some(30 * SECOND) });
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    bench.settle();
    bench.pass_time(29 * SECOND);
    assert_eq!(bench.attempts(0), [1]);
    bench.pass_time(SECOND);
    assert_eq!(bench.attempts(0), [1, 2]);
}
