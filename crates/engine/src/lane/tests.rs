//! A lane and its workers, stepped by hand: what arrives, who goes next and how long a handler
//! takes is the test's.

mod by_hand;
mod detail;
mod failing;
mod leaving;
mod pulling;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use onrush_kafka::{Credit, Lease, TopicPartition};
use onrush_record::Compression;
use onrush_runtime::{Clock, Instant, Random, Step, Wake, Work};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::assignment::{Assignment, Holding, Origin, TOKEN_STRIDE};
use crate::commit::{Proposal, Verdict};
use crate::completed::CompletedSet;
use crate::completed::OffsetRun;
use crate::config::{REPORT_INTERVAL, Sabotage};
use crate::dead_letter::{TOKEN_INTERVAL, TOKENS};
use crate::emit::Delivery;
use crate::emit::testing::TestOutlet;
use crate::failure::{ErrorClass, HandlerError};
use crate::handler::{Context, Event};
use crate::message::{Assign, WorkerInput};
use crate::metadata::{Metadata, Note};
use crate::metrics::{Metrics, Snapshot};
use crate::pool::Taker;
use crate::retry::RetryPolicy;
use crate::source::Slice;
use crate::source::testing::{batch, slice};
use crate::worker::{Worker, WorkerConfig};

/// How long an event may take on a worker.
const TIME_LIMIT: Duration = Duration::from_millis(100);

/// What a handler was called with, and what it is to do.
#[derive(Default)]
struct Script {
    /// (partition, offset), in the order of the calls.
    calls: Vec<(i32, i64)>,
    fail: Vec<i64>,
    panic: Vec<i64>,
    /// Calls on workers that do not return for an hour.
    stuck: Vec<i64>,
    /// How often these offsets still fail.
    flaky: BTreeMap<i64, u32>,
    /// What failing calls return.
    class: Option<ErrorClass>,
    /// (offset, which try), in the order of the calls.
    attempts: Vec<(i64, u32)>,
    emit: bool,
    assigned: Vec<i32>,
    revoked: Vec<i32>,
    /// Milliseconds that calls on workers take at most.
    takes: u64,
    /// Time that passes while a call blocks its thread.
    blocks: Duration,
    /// Keys that run now, with the number of events of theirs that have ended.
    running: BTreeMap<(i32, Vec<u8>), Instant>,
}

#[derive(Clone)]
struct Scripted(Arc<Mutex<Script>>, Random);

impl Handler for Scripted {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let mut script = self.0.lock().unwrap();
        script.calls.push((event.partition, event.offset));
        if script.stuck.contains(&event.offset) {
            cx.finish_after(Duration::from_secs(3_600));
            return Ok(());
        }
        script.attempts.push((event.offset, cx.attempt()));
        if !script.blocks.is_zero() {
            // Its first poll moves the clock.
            let mut passing = std::pin::pin!(tokio::time::advance(script.blocks));
            let _ = passing.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop()));
        }
        let took = Duration::from_millis(self.1.below(script.takes + 1));
        let flakes = script.flaky.get_mut(&event.offset).filter(|left| **left > 0);
        let fails = flakes.map(|left| *left -= 1).is_some() || script.fail.contains(&event.offset);
        let (panics, class) = (script.panic.contains(&event.offset), script.class);
        // A call that fails is over at once.
        if let (Some(key), true) = (event.key, script.takes > 0 && !fails) {
            // The flag of the key is up until the call's virtual end.
            let end = script.running.insert((event.partition, key.to_vec()), cx.now() + took);
            assert!(end.is_none_or(|end| end <= cx.now()), "two events of one key at once");
            cx.finish_after(took);
        }
        if script.emit {
            cx.emit("out", event.key, event.value, &[])?;
        }
        drop(script);
        assert!(!panics, "asked to");
        let class = class.unwrap_or(ErrorClass::Retry { after: None });
        if fails { Err(HandlerError::new(class, "asked to")) } else { Ok(()) }
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.0.lock().unwrap().assigned.push(assignment.partition);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.0.lock().unwrap().revoked.push(assignment.partition);
    }
}

struct Bench {
    lane: Lane,
    workers: Vec<Worker>,
    mail: Vec<Arc<Inbox<WorkerInput>>>,
    pool: Arc<Pool>,
    inbox: Arc<Inbox<LaneInput>>,
    control: Arc<Inbox<ControlInput>>,
    /// The lane's, then the workers'.
    outlets: Vec<TestOutlet>,
    delivered: Vec<u64>,
    script: Arc<Mutex<Script>>,
    metrics: Metrics,
    /// Its paused clock is the time of lane and workers.
    time: Runtime,
    told: VecDeque<ControlInput>,
}

impl Bench {
    fn new(workers: usize, order: Order) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let (inbox, control) =
            (Arc::new(Inbox::new(Wake::new())), Arc::new(Inbox::new(Wake::new())));
        let mail: Vec<_> = (0..workers).map(|_| Arc::new(Inbox::new(Wake::new()))).collect();
        let taker = |emitter| Taker { wake: Wake::new(), emitter };
        let pool = Arc::new(Pool::new((0..workers).map(taker).collect()));
        let outlets: Vec<_> = (0..=workers).map(|_| TestOutlet::new(3)).collect();
        let metrics = Metrics::new(1);
        let handler = |place: u64| Box::new(Scripted(Arc::clone(&script), Random::seeded(place)));
        let runner = match workers {
            0 => Runner::Inline(handler(0)),
            _ => Runner::Workers { pool: Arc::clone(&pool), inboxes: mail.clone() },
        };
        let config = LaneConfig {
            number: 0,
            order,
            slots: 16,
            in_flight: 1_000,
            clock: Clock::System,
            credit: Credit::new(1 << 20, 0),
            dead_letter_topic: None,
            failures: Arc::new(FailurePolicy {
                retry: RetryPolicy::ONCE,
                ..FailurePolicy::default()
            }),
            ladder: Arc::default(),
            parked_bytes: 1 << 20,
            random: Random::seeded(7),
        };
        let emitter = |at: usize| Emitter::new(Box::new(outlets[at].clone()));
        let lane = Lane::new(
            config,
            Arc::clone(&inbox),
            Arc::clone(&control),
            runner,
            emitter(0),
            metrics.lane(0),
        );
        let made = mail.iter().enumerate().map(|(number, mail)| {
            let config = WorkerConfig {
                number,
                inbox: Arc::clone(mail),
                pool: Arc::clone(&pool),
                lanes: vec![Arc::clone(&inbox)],
                control: Arc::clone(&control),
                clock: Clock::System,
                time_limit: Some(TIME_LIMIT),
            };
            Worker::new(config, handler(number as u64 + 1), emitter(number + 1))
        });
        let workers = made.collect();
        let delivered = vec![0; outlets.len()];
        let time = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = VecDeque::new();
        Self {
            lane,
            workers,
            mail,
            pool,
            inbox,
            control,
            outlets,
            delivered,
            script,
            metrics,
            time,
            told,
        }
    }

    fn inline() -> Self {
        Self::new(0, Order::Key)
    }

    /// Changes what is done with events that fail.
    fn policy(&mut self, change: impl FnOnce(&mut FailurePolicy)) {
        let mut policy = FailurePolicy::clone(&self.lane.config.failures);
        change(&mut policy);
        self.lane.config.parked_bytes = policy.parked_bytes;
        self.lane.config.failures = Arc::new(policy);
    }

    fn name(partition: i32) -> TopicPartition {
        TopicPartition::new("flights", partition)
    }

    fn assign(&mut self, partition: i32, token: u64, start: i64, completed: CompletedSet) {
        self.assign_noted(partition, token, start, Metadata { completed, notes: Vec::new() });
    }

    fn assign_noted(&mut self, partition: i32, token: u64, start: i64, committed: Metadata) {
        let Metadata { completed, notes } = committed;
        let (topic, member) = ("flights".into(), "member".into());
        let assignment = Assignment { topic, partition, epoch: token as i32, start, member };
        let holding = Arc::new(Holding::new(assignment, token * TOKEN_STRIDE));
        let cells = self.metrics.assign(&Self::name(partition), 0);
        let assign = Assign { holding, committed: Some(start), completed, notes, cells };
        self.inbox.push(LaneInput::Assign(Box::new(assign)));
        self.settle();
    }

    /// Batches of `count` events with keys of one digit, for the reading under `token`.
    fn fetched(&self, partition: i32, token: u64, base: i64, count: usize) {
        let keys: Vec<_> = (0..count).map(|at| ((base as usize + at) % 10).to_string()).collect();
        let events: Vec<_> =
            keys.iter().map(|key| (Some(key.as_bytes()), key.as_bytes())).collect();
        let slice = slice([batch(base, Compression::None, &events)], base + count as i64);
        self.slice(partition, token * TOKEN_STRIDE, slice);
    }

    fn slice(&self, partition: i32, token: u64, slice: Slice) {
        self.inbox.push(LaneInput::Fetched { partition: Self::name(partition), token, slice });
    }

    fn now(&self) -> Instant {
        let _context = self.time.enter();
        Instant::now()
    }

    /// One step of the lane, or of a worker from 1 on; whether it did something.
    fn step(&mut self, part: usize) -> bool {
        let _context = self.time.enter();
        let now = Instant::now();
        let step = match part {
            0 => self.lane.run_once(now),
            _ => self.workers[part - 1].run_once(now),
        };
        step == Step::Worked
    }

    /// Steps everything until nothing works any more.
    fn settle(&mut self) {
        loop {
            let mut worked = self.step(0);
            for part in 1..=self.workers.len() {
                worked |= self.step(part);
            }
            self.control.take(&mut self.told);
            if !worked {
                return;
            }
        }
    }

    /// Acknowledges what was written to all outlets so far.
    fn acknowledge(&mut self) {
        for at in 0..self.outlets.len() {
            while self.acknowledge_one(at) {}
        }
        self.settle();
    }

    fn acknowledge_one(&mut self, at: usize) -> bool {
        if !self.outlets[at].0.lock().unwrap().seal(self.delivered[at]) {
            return false;
        }
        let delivery = Delivery { batch: self.delivered[at], result: Ok(()) };
        self.delivered[at] += 1;
        match at {
            0 => self.inbox.push(LaneInput::Delivered(delivery)),
            _ => self.mail[at - 1].push(WorkerInput::Delivered(delivery)),
        }
        true
    }

    fn offsets(&self, partition: i32) -> Vec<i64> {
        let script = self.script.lock().unwrap();
        script.calls.iter().filter(|call| call.0 == partition).map(|call| call.1).collect()
    }

    /// What would be committed now: by partition (offset, completed-set).
    fn proposals(&mut self) -> BTreeMap<i32, (i64, CompletedSet)> {
        self.inbox.push(LaneInput::Commit);
        self.settle();
        let mut proposals = BTreeMap::new();
        for told in self.told.drain(..) {
            if let ControlInput::Proposals(_, all) = told {
                for proposal in all {
                    let metadata = Metadata::decode(proposal.offset, &proposal.metadata);
                    let set = metadata.unwrap().completed;
                    proposals.insert(proposal.partition.partition, (proposal.offset, set));
                }
            }
        }
        proposals
    }

    /// The only thing that would be committed now.
    fn proposal(&mut self) -> Option<Proposal> {
        self.inbox.push(LaneInput::Commit);
        self.settle();
        self.told.iter().rev().find_map(|told| match told {
            ControlInput::Proposals(_, all) => Some(all.first().cloned()),
            _ => None,
        })?
    }

    fn revoke(&mut self, partition: i32, after: Duration) {
        self.inbox.push(LaneInput::Revoke(Self::name(partition), self.now() + after));
        self.settle();
    }

    fn drained(&mut self) -> Option<(i32, Option<Proposal>, u64)> {
        self.told.iter().find_map(|told| match told {
            ControlInput::Drained { partition, proposal, running, .. } => {
                Some((partition.partition, proposal.clone(), *running))
            }
            _ => None,
        })
    }

    fn stop_reason(&self) -> Option<&StopReason> {
        self.told.iter().find_map(|told| match told {
            ControlInput::Stopped(_, stopped) => Some(&stopped.reason),
            _ => None,
        })
    }

    fn snapshot(&self) -> Snapshot {
        self.metrics.snapshot()
    }

    fn pass_time(&mut self, time: Duration) {
        self.advance(time);
        self.settle();
    }

    /// Lets time pass in which nothing is stepped.
    fn advance(&mut self, time: Duration) {
        self.time.block_on(tokio::time::advance(time));
    }
}

fn none() -> CompletedSet {
    CompletedSet::empty()
}

#[test]
fn events_are_called_in_order_and_committed() {
    let mut bench = Bench::inline();
    bench.assign(0, 1, 5, none());
    bench.fetched(0, 1, 3, 10);
    bench.fetched(0, 1, 13, 3_000);
    bench.settle();
    assert_eq!(bench.offsets(0), (5..3_013).collect::<Vec<_>>());
    assert_eq!(bench.proposals()[&0], (3_013, none()));
    assert_eq!(bench.snapshot().total.done, 3_008);
    assert!(bench.proposals().contains_key(&0), "not answered, so still to be committed");
}

#[test]
fn trap_01_what_was_polled_is_not_committed_before_it_is_acknowledged() {
    let mut bench = Bench::inline();
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    assert_eq!(bench.offsets(0).len(), 10);
    assert!(bench.proposals().is_empty());
    assert!(bench.acknowledge_one(0));
    bench.settle();
    assert_eq!(bench.proposals()[&0].0, 3);
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0], (10, none()));
}

#[test]
fn trap_03_a_slice_or_outcome_of_an_old_assignment_neither_counts_nor_blocks() {
    let mut bench = Bench::inline();
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 3);
    bench.settle();
    bench.inbox.push(LaneInput::Lost(Bench::name(0)));
    bench.assign(0, 2, 0, none());
    bench.fetched(0, 1, 0, 3);
    bench.settle();
    assert_eq!(bench.offsets(0).len(), 3, "a slice of the old reading was run");
    bench.acknowledge();
    assert!(bench.proposals().is_empty(), "an acknowledgement of the old assignment counted");
    bench.fetched(0, 2, 0, 3);
    bench.settle();
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0].0, 3);
    assert!(bench.snapshot().total.stale >= 2);
}

#[test]
fn a_stop_that_comes_late_names_the_assignment_that_was_stopped() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.assign(0, 1, 0, none());
    let late = Origin { lane: 0, index: 0, token: TOKEN_STRIDE };
    // Its hooks are not through yet when its records turn out unwritable, and it is back already.
    bench.inbox.push(LaneInput::Lost(Bench::name(0)));
    bench.inbox.push(LaneInput::Undelivered { origins: vec![late], reason: "no".into() });
    bench.assign(0, 2, 0, none());
    let stops = bench.told.iter().filter_map(|told| match told {
        ControlInput::Stopped(token, _) => Some(*token),
        _ => None,
    });
    assert_eq!(stops.collect::<Vec<_>>(), [TOKEN_STRIDE]);
}

#[test]
fn trap_04_nothing_stays_counted_when_a_partition_leaves() {
    let mut bench = Bench::new(2, Order::Key);
    bench.lane.config.in_flight = 40;
    bench.script.lock().unwrap().emit = true;
    for token in 1..5 {
        bench.assign(0, token, 0, none());
        bench.fetched(0, token, 0, 100);
        bench.settle();
        // Never acknowledged: the in-flight bound is used up, and given back when the partition is
        // lost.
        assert_eq!(bench.offsets(0).len(), 40 * token as usize);
        bench.inbox.push(LaneInput::Lost(Bench::name(0)));
        bench.settle();
    }
    assert_eq!(bench.pool.waiting(), 0);
}

#[test]
fn events_that_get_no_outcome_here_leave_their_room_to_other_partitions() {
    let reason = || StopReason::Emit("no".into());
    let stop: fn(&mut Bench) = |bench| {
        let origin = Origin { lane: 0, index: 0, token: TOKEN_STRIDE };
        bench.inbox.push(LaneInput::Undelivered { origins: vec![origin], reason: "no".into() });
    };
    for (stops, ends) in [(true, stop), (false, |bench| bench.revoke(0, Duration::ZERO))] {
        let mut bench = Bench::inline();
        bench.lane.config.in_flight = 10;
        bench.script.lock().unwrap().emit = true;
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!(bench.snapshot().partitions[0].in_flight, 10);
        ends(&mut bench);
        bench.assign(1, 2, 0, none());
        bench.fetched(1, 2, 0, 5);
        bench.settle();
        assert_eq!(bench.stop_reason(), stops.then(reason).as_ref());
        assert_eq!(bench.offsets(1).len(), 5);
    }
}

#[test]
fn trap_10_finished_work_is_committed_before_the_assignment_ends() {
    let mut bench = Bench::inline();
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.assign(1, 2, 0, none());
    bench.fetched(0, 1, 0, 6);
    bench.fetched(1, 2, 0, 6);
    bench.settle();
    bench.revoke(0, Duration::from_secs(10));
    assert!(bench.drained().is_none(), "drained with acknowledgements outstanding");
    bench.acknowledge();
    let (partition, proposal, running) = bench.drained().unwrap();
    assert_eq!((partition, proposal.unwrap().offset, running), (0, 6, 0));
    // The one that stays is not fenced with it.
    assert_eq!(bench.proposals()[&1].0, 6);
    bench.fetched(1, 2, 6, 6);
    bench.settle();
    assert_eq!(bench.offsets(1).len(), 12);
}

#[test]
fn trap_11_what_was_buffered_and_not_started_is_not_committed_on_revoke() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().takes = 50;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 100);
    bench.settle();
    bench.revoke(0, Duration::from_secs(10));
    for _ in 0..20 {
        bench.pass_time(Duration::from_millis(60));
    }
    let (_, proposal, running) = bench.drained().unwrap();
    let called = bench.offsets(0).len() as i64;
    assert_eq!(running, 0);
    assert!((1..100).contains(&called));
    assert_eq!(proposal.unwrap().offset, called);
}

#[test]
fn what_comes_back_to_a_stopped_partition_is_forgotten() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 100);
    // The run is with the worker, which finds the partition withdrawn.
    bench.step(0);
    let origin = Origin { lane: 0, index: 0, token: TOKEN_STRIDE };
    bench.inbox.push(LaneInput::Undelivered { origins: vec![origin], reason: "no".into() });
    bench.step(0);
    bench.settle();
    let partition = bench.lane.partitions[0].as_mut().unwrap();
    assert_eq!((partition.slots.busy(), partition.slots.clear()), (0, 0));
    assert!(bench.offsets(0).is_empty());
}

#[test]
fn trap_24_an_event_that_failed_holds_back_the_commit() {
    let mut bench = Bench::inline();
    bench.script.lock().unwrap().fail = vec![4];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    assert_eq!(bench.offsets(0).len(), 10);
    let mut finished = none();
    finished.push(OffsetRun::new(5, 9));
    assert_eq!(bench.proposals()[&0], (4, finished));
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0].0, 10);
}

#[test]
fn trap_25_a_dead_letter_counts_when_it_is_acknowledged_and_says_where_it_came_from() {
    let mut bench = Bench::inline();
    bench.script.lock().unwrap().panic = vec![42];
    bench.assign(7, 1, 40, none());
    bench.fetched(7, 1, 40, 5);
    bench.settle();
    assert_eq!((bench.snapshot().total.failed, bench.snapshot().total.dead_lettered), (1, 0));
    assert_eq!(bench.proposals()[&7].0, 42);
    let written = bench.outlets[0].0.lock().unwrap().written[0].clone();
    assert_eq!((&*written.topic, written.key.as_deref()), ("flights.dead-letter", Some(&b"2"[..])));
    let header = |name: &str| {
        let (_, value) = written.headers.iter().find(|(key, _)| key == name).unwrap();
        std::str::from_utf8(value).unwrap()
    };
    assert_eq!(header("onrush.origin.topic"), "flights");
    assert_eq!(header("onrush.origin.partition"), "7");
    assert_eq!(header("onrush.origin.offset"), "42");
    assert_eq!(header("onrush.origin.timestamp"), "1000");
    assert_eq!(header("onrush.error.code"), "ONR0051");
    assert_eq!(header("onrush.error"), "panicked: asked to");
    bench.acknowledge();
    assert_eq!((bench.proposals()[&7].0, bench.snapshot().total.dead_lettered), (45, 1));
}

#[test]
fn a_dead_downstream_pauses_the_partition_instead_of_emptying_it() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Partition);
        {
            let mut script = bench.script.lock().unwrap();
            (script.fail, script.class) = ((0..1_000).collect(), Some(ErrorClass::DeadLetter));
        }
        bench.assign(0, 1, 0, none());
        bench.assign(1, 2, 2_000, none());
        bench.fetched(0, 1, 0, 1_000);
        bench.settle();
        let called = bench.offsets(0).len() as u32;
        assert_eq!(called, TOKENS + 1, "{workers} workers");
        bench.fetched(1, 2, 2_000, 10);
        bench.settle();
        assert_eq!(bench.offsets(1).len(), 10, "another partition was paused too");
        bench.pass_time(TOKEN_INTERVAL * 3);
        assert_eq!(bench.offsets(0).len() as u32, called + 3);
        bench.acknowledge();
        assert_eq!(bench.proposals()[&0].0, i64::from(called) + 2);
    }
}

#[test]
fn what_a_predecessor_finished_is_not_repeated() {
    for workers in [0, 2] {
        let mut bench = Bench::new(workers, Order::Key);
        let mut completed = none();
        completed.push(OffsetRun::new(12, 14));
        completed.push(OffsetRun::new(17, 17));
        bench.assign(0, 1, 10, completed);
        bench.fetched(0, 1, 10, 10);
        bench.settle();
        let mut called = bench.offsets(0);
        called.sort_unstable();
        assert_eq!(called, [10, 11, 15, 16, 18, 19]);
        assert_eq!(bench.proposals()[&0], (20, none()));
        assert_eq!(bench.snapshot().total.done_before, 4);
    }
}

#[test]
fn a_bad_batch_is_fetched_once_more_and_then_stops_the_partition() {
    let mut bench = Bench::inline();
    bench.assign(0, 1, 0, none());
    let bad = || {
        let mut bad = batch(2, Compression::None, &[(None, b"value")]);
        *bad.last_mut().unwrap() ^= 1;
        bad
    };
    let good = || batch(0, Compression::Lz4, &[(None, b"a"), (None, b"b")]);
    bench.slice(0, TOKEN_STRIDE, slice([good(), bad()], 3));
    bench.settle();
    let again = bench.told.iter().find_map(|told| match told {
        ControlInput::Fetch(_, token, 2) => Some(*token),
        _ => None,
    });
    let again = again.expect("asked for again, from the bad batch on");
    bench.slice(0, TOKEN_STRIDE, slice([good()], 3));
    bench.slice(0, again, slice([bad()], 3));
    bench.settle();
    assert_eq!(bench.offsets(0), [0, 1]);
    let reason = bench.stop_reason().expect("stopped").to_string();
    assert!(reason.contains("CRC") && reason.contains("twice"), "{reason}");
    assert_eq!(bench.proposals()[&0].0, 2, "what was good is still committed");
    assert!(bench.snapshot().partitions[0].stopped);
}

#[test]
fn trap_21_gaps_and_control_batches_hold_nothing_back() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Key);
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 5, 3);
        bench.fetched(0, 1, 5_000_000_000, 3);
        bench.settle();
        assert_eq!(bench.offsets(0).len(), 6);
        assert_eq!(bench.proposals()[&0], (5_000_000_003, none()));
        assert_eq!(bench.snapshot().total.gaps, 5_000_000_000 - 3);
    }
}

#[test]
fn an_expired_offset_goes_on_at_the_start_and_a_cut_log_at_its_end() {
    let mut bench = Bench::inline();
    bench.assign(0, 1, 10, none());
    let out_of_range = |token, log_start, end| LaneInput::OutOfRange {
        partition: Bench::name(0),
        token,
        log_start,
        end,
    };
    bench.inbox.push(out_of_range(TOKEN_STRIDE, 100, 200));
    bench.settle();
    bench.slice(0, TOKEN_STRIDE + 1, slice([batch(100, Compression::None, &[(None, b"a")])], 200));
    bench.settle();
    assert_eq!(bench.proposals()[&0].0, 101);
    bench.inbox.push(out_of_range(TOKEN_STRIDE + 1, 0, 50));
    bench.settle();
    bench.slice(0, TOKEN_STRIDE + 2, slice([batch(50, Compression::None, &[(None, b"b")])], 51));
    bench.settle();
    assert_eq!(bench.proposals()[&0].0, 51, "the committed offset follows the log");
    assert_eq!(bench.offsets(0), [100, 50]);
    assert_eq!(bench.script.lock().unwrap().assigned, [0, 0], "told of the cut, not of the expiry");
}

#[test]
fn a_commit_from_before_a_cut_of_the_log_does_not_count_after_it() {
    let mut bench = Bench::inline();
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    let before = bench.proposal().expect("ten events to commit");
    bench.inbox.push(LaneInput::OutOfRange {
        partition: Bench::name(0),
        token: TOKEN_STRIDE,
        log_start: 0,
        end: 8,
    });
    bench.settle();
    let restarted = bench.told.iter().find_map(|told| match told {
        ControlInput::Restarted(_, token) => Some(*token),
        _ => None,
    });
    assert!(restarted.is_some_and(|token| token != before.token));
    bench.inbox.push(LaneInput::Answered(before, Verdict::Accepted));
    let after = bench.proposal().expect("the broker still has the offset above the cut");
    assert_eq!((after.offset, Some(after.token)), (8, restarted));
    bench.inbox.push(LaneInput::Answered(after, Verdict::Accepted));
    assert_eq!(bench.proposal(), None);
}

#[test]
fn trap_33_a_partition_with_much_queued_is_paused_and_loses_nothing() {
    let mut bench = Bench::inline();
    bench.lane.config.in_flight = 0;
    bench.assign(0, 1, 0, none());
    let (big, credit) = (vec![0; 1 << 18], bench.lane.config.credit.clone());
    for base in 0..3 {
        let slice = slice([batch(base, Compression::None, &[(None, &big)])], 9);
        let lease = Some(Lease::new(&credit, slice.records.len()));
        bench.slice(0, TOKEN_STRIDE, Slice { lease, ..slice });
    }
    bench.settle();
    let paused = |bench: &Bench, state| {
        bench
            .told
            .iter()
            .any(|told| matches!(told, ControlInput::Pause(_, TOKEN_STRIDE, now) if *now == state))
    };
    assert!(paused(&bench, true) && !paused(&bench, false));
    bench.lane.config.in_flight = 10;
    bench.settle();
    assert!(paused(&bench, false));
    assert_eq!(bench.offsets(0), [0, 1, 2]);
}

#[test]
fn without_room_for_what_was_emitted_no_event_is_started() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Partition);
        bench.script.lock().unwrap().emit = true;
        let outlet = bench.outlets[workers].clone();
        outlet.0.lock().unwrap().room = 4;
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!(bench.offsets(0).len(), 5, "the fifth is kept, and nothing more is started");
        outlet.0.lock().unwrap().room = usize::MAX;
        bench.settle();
        bench.acknowledge();
        assert_eq!(bench.proposals()[&0].0, 10);
    }
}

#[test]
fn a_parked_event_waits_for_what_found_no_room_at_first() {
    let mut bench = Bench::new(1, Order::Partition);
    let outlet = bench.outlets[1].clone();
    outlet.0.lock().unwrap().room = 0;
    parked_and_emitting(&mut bench);
    outlet.0.lock().unwrap().room = usize::MAX;
    bench.pass_time(Duration::from_secs(1));
    assert_eq!((bench.offsets(0), &bench.proposals()[&0]), (vec![0], &(0, none())));
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0], (1, none()));
}

#[test]
fn a_parked_event_is_not_done_without_what_it_emitted() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.outlets[1].0.lock().unwrap().unknown = vec!["out".into()];
    parked_and_emitting(&mut bench);
    bench.mail[0].push(WorkerInput::Topic("out".into(), Err("no such topic".into())));
    bench.pass_time(Duration::from_secs(1));
    assert_eq!(bench.stop_reason(), Some(&StopReason::Emit("no such topic".into())));
    assert_eq!(bench.proposals()[&0], (0, none()));
}

/// A worker with one event that emits and takes its time.
fn parked_and_emitting(bench: &mut Bench) {
    {
        let mut script = bench.script.lock().unwrap();
        (script.emit, script.takes) = (true, 50);
    }
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 1);
    bench.settle();
}

#[test]
fn a_worker_looks_up_from_slow_events_that_emit() {
    let mut bench = Bench::new(1, Order::Partition);
    {
        let mut script = bench.script.lock().unwrap();
        (script.emit, script.blocks) = (true, REPORT_INTERVAL);
    }
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.step(0);
    bench.step(1);
    assert_eq!(bench.offsets(0), [0], "the appender waits for the whole run");
    bench.settle();
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0], (10, none()));
}

#[test]
fn events_without_order_spread_over_the_workers() {
    let mut bench = Bench::new(4, Order::None);
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 40);
    bench.settle();
    let written = |outlet: &TestOutlet| outlet.0.lock().unwrap().written.len();
    assert_eq!(bench.outlets[1..].iter().map(written).collect::<Vec<_>>(), [10; 4]);
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0], (40, none()));
}

#[test]
fn the_deadline_ends_a_drain_and_hooks_run_before_the_release() {
    let mut bench = Bench::new(2, Order::Key);
    bench.script.lock().unwrap().emit = true;
    bench.assign(3, 1, 0, none());
    assert_eq!(bench.script.lock().unwrap().assigned, [3, 3]);
    bench.fetched(3, 1, 0, 4);
    bench.settle();
    bench.revoke(3, Duration::from_secs(1));
    bench.pass_time(Duration::from_secs(2));
    let (_, proposal, running) = bench.drained().unwrap();
    assert_eq!((proposal.map(|proposal| proposal.offset), running), (Some(0), 4));
    assert!(bench.script.lock().unwrap().revoked.is_empty());
    bench.inbox.push(LaneInput::Release(Bench::name(3)));
    bench.settle();
    assert_eq!(bench.script.lock().unwrap().revoked, [3, 3]);
    assert!(bench.told.iter().any(|told| matches!(told, ControlInput::Released(_, TOKEN_STRIDE))));
    assert_eq!(bench.snapshot().total.left_running, 4);
}

#[test]
fn sabotage_does_what_it_says() {
    for workers in [0, 2] {
        let run = |kind| {
            let mut bench = Bench::new(workers, Order::Key);
            bench.lane.sabotage(Saboteur::new(kind));
            bench.assign(0, 1, 0, none());
            bench.fetched(0, 1, 0, 50);
            bench.settle();
            assert_eq!(bench.proposals()[&0].0, 50, "{kind:?}");
            bench.offsets(0)
        };
        assert_eq!(run(Sabotage::Lose).len(), 49);
        assert_eq!(run(Sabotage::Repeat).len(), 51);
        let reordered = run(Sabotage::Reorder);
        let of_key = |key| reordered.iter().filter(move |offset| **offset % 10 == key);
        assert!((0..10).any(|key| !of_key(key).is_sorted()) && reordered.len() == 50);
    }
    let mut bench = Bench::inline();
    bench.lane.sabotage(Saboteur::new(Sabotage::CommitEarly));
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 50);
    bench.settle();
    assert_eq!(bench.proposals()[&0].0, 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any interleaving of slices, workers, acknowledgements and time: per key in order and never
    /// two at once (the handler's flag), nothing lost or repeated, and never a commit above what is
    /// done.
    #[test]
    fn keys_stay_in_order_whatever_goes_next(
        seed in any::<u64>(),
        workers in 1..5_usize,
        order in prop_oneof![Just(Order::Key), Just(Order::Partition)],
        emit in any::<bool>(),
        fail in proptest::collection::vec(0..400_i64, 0..4),
        flaky in proptest::collection::btree_map(0..400_i64, 1..4_u32, 0..40),
        inherited in proptest::collection::btree_set(0..400_i64, 0..40),
    ) {
        stay_in_order(seed, (workers, order, emit), &fail, flaky, inherited);
    }
}

/// See [`keys_stay_in_order_whatever_goes_next`].
fn stay_in_order(
    seed: u64,
    (workers, order, emit): (usize, Order, bool),
    fail: &[i64],
    flaky: BTreeMap<i64, u32>,
    inherited: BTreeSet<i64>,
) {
    let random = Random::seeded(seed);
    let mut bench = Bench::new(workers, order);
    bench.lane.config.in_flight = 20 + random.below(100);
    bench.policy(|policy| policy.retry = RetryPolicy::default());
    {
        let mut script = bench.script.lock().unwrap();
        (script.emit, script.takes, script.fail) = (emit, 1 + random.below(20), fail.to_vec());
        script.flaky = flaky;
    }
    // Events that failed once at an earlier owner.
    let note = |offset| Note { offset, attempts: 1, ..Note::default() };
    let notes = inherited.into_iter().map(note).collect();
    bench.assign_noted(0, 1, 0, Metadata { completed: none(), notes });
    let mut next = 0;
    for _ in 0..100_000 {
        match random.below(5) {
            0 if next < 400 => {
                let count = 1 + random.below((400 - next as u64).min(60));
                bench.fetched(0, 1, next, count as usize);
                next += count as i64;
            }
            0 | 1 => _ = bench.step(0),
            2 => _ = bench.step(1 + random.below(workers as u64) as usize),
            3 => _ = bench.acknowledge_one(random.below(workers as u64 + 1) as usize),
            _ => {
                let pause = Duration::from_millis(random.below(40));
                bench.time.block_on(tokio::time::advance(pause));
            }
        }
        let stands = &bench.snapshot().partitions[0];
        if (stands.position, stands.in_flight) == (400, 0) {
            break;
        }
    }
    let calls = bench.offsets(0);
    let mut sorted = calls.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted, (0..400).collect::<Vec<_>>());
    for key in 0..10 {
        assert!(calls.iter().filter(|offset| **offset % 10 == key).is_sorted());
    }
    assert_eq!(&bench.proposals()[&0], &(400, none()));
    assert_eq!(
        bench.snapshot().total.dead_lettered,
        fail.iter().collect::<BTreeSet<_>>().len() as u64
    );
}

#[test]
fn keys_stay_in_order_under_a_seed_that_failed() {
    for emit in [false, true] {
        let calm = (BTreeMap::new(), BTreeSet::new());
        stay_in_order(10_080_113_381_629_681_887, (3, Order::Key, emit), &[383], calm.0, calm.1);
    }
}

#[test]
fn the_event_that_holds_back_the_offset_is_noted_once() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 40, none());
    bench.fetched(0, 1, 40, 2);
    bench.settle();
    assert_eq!(bench.proposal(), None, "it is open for no time");
    bench.pass_time(Duration::from_secs(2));
    let proposal = bench.proposal().unwrap();
    let notes = Metadata::decode(40, &proposal.metadata).unwrap().notes;
    assert_eq!(
        notes.iter().map(|note| (note.offset, note.attempts)).collect::<Vec<_>>(),
        [(40, 0)]
    );
    assert!(notes[0].since_millis > 0);
    let oldest = bench.snapshot().partitions[0].oldest.unwrap();
    assert_eq!((oldest.offset, oldest.since_millis), (40, notes[0].since_millis));
    bench.inbox.push(LaneInput::Answered(proposal, Verdict::Accepted));
    bench.pass_time(Duration::from_secs(2));
    assert_eq!(bench.proposal(), None, "nothing new is to be said");
    bench.acknowledge();
    assert_eq!(bench.proposal().unwrap().metadata, "");
    assert_eq!(bench.snapshot().partitions[0].oldest, None);
}

#[test]
fn attempts_of_an_earlier_owner_travel_on_until_the_event_is_done() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().emit = true;
    let error = "no answer".to_owned();
    let note = Note { offset: 41, attempts: 4, since_millis: 1_000, error };
    let notes = vec![note.clone()];
    bench.assign_noted(0, 1, 40, Metadata { completed: none(), notes });
    assert_eq!(bench.proposal(), None, "it is committed already");
    bench.fetched(0, 1, 40, 3);
    bench.settle();
    bench.pass_time(Duration::from_secs(2));
    let read = |proposal: Proposal| Metadata::decode(proposal.offset, &proposal.metadata).unwrap();
    let notes = read(bench.proposal().unwrap()).notes;
    assert_eq!((notes[0].offset, &notes[1..]), (40, &[note][..]));
    bench.acknowledge();
    assert_eq!(read(bench.proposal().unwrap()), Metadata::default());
}

#[test]
fn trap_34_a_partition_that_comes_back_is_not_paused() {
    let mut bench = Bench::inline();
    bench.lane.config.in_flight = 0;
    bench.assign(0, 1, 0, none());
    let hoard = Lease::new(&bench.lane.config.credit, 900 << 10);
    let big = vec![0; 1 << 18];
    bench.slice(0, TOKEN_STRIDE, slice([batch(0, Compression::None, &[(None, &big)])], 9));
    bench.settle();
    let pauses = |bench: &Bench, token| {
        let said = |told: &ControlInput| match told {
            ControlInput::Pause(_, of, paused) if *of == token => Some(*paused),
            _ => None,
        };
        bench.told.iter().filter_map(said).collect::<Vec<_>>()
    };
    assert_eq!(pauses(&bench, TOKEN_STRIDE), [true]);
    bench.inbox.push(LaneInput::Lost(Bench::name(0)));
    bench.assign(0, 2, 0, none());
    drop(hoard);
    bench.lane.config.in_flight = 10;
    bench.fetched(0, 2, 0, 4);
    bench.settle();
    assert_eq!(bench.offsets(0), [0, 1, 2, 3]);
    assert_eq!(pauses(&bench, TOKEN_STRIDE), [true], "nothing is said of what has gone");
    assert!(pauses(&bench, 2 * TOKEN_STRIDE).is_empty());
}
