//! In steady state the inline path allocates per batch and tasks allocate per run, never per event.

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use onrush_engine::assignment::{Assignment, Holding, TOKEN_STRIDE};
use onrush_engine::completed::CompletedSet;
use onrush_engine::emit::{Emitter, Outgoing, Outlet, OutletError};
use onrush_engine::inbox::Inbox;
use onrush_engine::lane::{Lane, LaneConfig, Runner};
use onrush_engine::message::{Assign, LaneInput};
use onrush_engine::metrics::Metrics;
use onrush_engine::pool::{Pool, Taker};
use onrush_engine::source::Slice;
use onrush_engine::worker::{Group, Lanes, Station, StationConfig, Team};
use onrush_engine::{AsyncContext, Context, Event, HandlerError, Order, OwnedEvent, Place, Tasks};
use onrush_kafka::{Credit, TopicPartition};
use onrush_record::header::set_base_offset;
use onrush_record::{BatchBuilder, Compression, Compressor};
use onrush_runtime::{Clock, Executor, Instant, Random, Step, Wake, Work};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Acknowledges nothing; names batches.
struct Numbered(u64);

impl Outlet for Numbered {
    fn append(&mut self, _record: &Outgoing<'_>, _now: Instant) -> Result<u64, OutletError> {
        self.0 += 1;
        Ok(self.0 / 1_000)
    }

    fn flush(&mut self, _now: Instant) {}

    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        None
    }
}

const EVENTS: usize = 1_000;
const BATCHES: i64 = 64;

fn slices(compression: Compression, first: i64) -> Vec<Slice> {
    let mut compressor = Compressor::default();
    let mut slices = Vec::new();
    for number in first..first + BATCHES {
        let mut builder = BatchBuilder::new(compression);
        for event in 0..EVENTS {
            let key = (event % 50).to_string();
            builder.append(event as i64, Some(key.as_bytes()), Some(&[7; 100]), &[]).unwrap();
        }
        let mut batch = builder.seal(-1, -1, -1, &mut compressor).unwrap();
        set_base_offset(&mut batch, number * EVENTS as i64);
        let high_watermark = (number + 1) * EVENTS as i64;
        slices.push(Slice { records: batch.freeze(), high_watermark, lease: None });
    }
    slices
}

/// One test at a time: they count with the same counter.
static TURN: Mutex<()> = Mutex::new(());

fn inline_lane() -> (Lane, Arc<Inbox<LaneInput>>, Arc<Metrics>) {
    let mut sum = 0_u64;
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        sum += event.value.map_or(0, <[u8]>::len) as u64;
        NonZeroU64::new(sum).map(drop).ok_or_else(|| HandlerError::msg("no value"))
    };
    let inbox = Arc::new(Inbox::new(Wake::new()));
    let (lane, metrics) = lane(&inbox, Runner::Inline(Box::new(handler)));
    (lane, inbox, metrics)
}

fn lane(inbox: &Arc<Inbox<LaneInput>>, runner: Runner) -> (Lane, Arc<Metrics>) {
    let control = Arc::new(Inbox::new(Wake::new()));
    let metrics = Arc::new(Metrics::new(1));
    let config = LaneConfig {
        number: 0,
        order: Order::Key,
        slots: 256,
        in_flight: 10_000,
        clock: Clock::System,
        credit: Credit::new(64 << 20, 0),
        dead_letter_topic: None,
        failures: Arc::default(),
        ladder: Arc::default(),
        parked_bytes: 1 << 20,
        random: Random::seeded(7),
    };
    let emitter = Emitter::new(Box::new(Numbered(0)));
    let lane = Lane::new(config, Arc::clone(inbox), control, runner, emitter, metrics.lane(0));
    let assignment = Assignment {
        topic: "events".into(),
        partition: 0,
        epoch: 1,
        start: 0,
        member: "member".into(),
    };
    let assign = Assign {
        holding: Arc::new(Holding::new(assignment, TOKEN_STRIDE)),
        committed: Some(0),
        completed: CompletedSet::empty(),
        notes: Vec::new(),
        cells: metrics.assign(&TopicPartition::new("events", 0), 0),
    };
    inbox.push(LaneInput::Assign(Box::new(assign)));
    (lane, metrics)
}

fn push(inbox: &Inbox<LaneInput>, slices: Vec<Slice>) {
    for slice in slices {
        let (partition, token) = (TopicPartition::new("events", 0), TOKEN_STRIDE);
        inbox.push(LaneInput::Fetched { partition, token, slice });
    }
}

fn run(lane: &mut Lane, inbox: &Inbox<LaneInput>, slices: Vec<Slice>) -> u64 {
    push(inbox, slices);
    let now = Instant::now();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    while lane.run_once(now) == Step::Worked {}
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn inline_events_are_not_allocated_for() {
    let _turn = TURN.lock().unwrap();
    for compression in [Compression::None, Compression::Lz4] {
        let (mut lane, inbox, metrics) = inline_lane();
        run(&mut lane, &inbox, slices(compression, 0));
        let second = slices(compression, BATCHES);
        let allocations = run(&mut lane, &inbox, second);
        let done = metrics.snapshot().total.done;
        assert_eq!(done, 2 * BATCHES as u64 * EVENTS as u64);
        // A batch and its body are shared; a few thousand events cost the same as one.
        let per_batch = allocations as f64 / BATCHES as f64;
        assert!(
            per_batch <= 4.0,
            "{compression:?}: {per_batch} allocations per batch of {EVENTS} events"
        );
    }
}

/// Sixteen tasks of one group, on the runtime that this is called in; each event is pending once.
fn tasks(inbox: &Arc<Inbox<LaneInput>>) -> Runner {
    let tasks: Vec<_> = (0..16).map(|_| Arc::new(Inbox::new(Wake::new()))).collect();
    let taker = |task: &Arc<Inbox<_>>| Taker { wake: task.wake().clone(), emitter: 0 };
    let pool = Arc::new(Pool::new(tasks.iter().map(taker).collect()));
    let mail = Arc::new(Inbox::new(Wake::new()));
    let team = Team {
        number: 0,
        inbox: Arc::clone(&mail),
        tasks: tasks.clone(),
        lanes: Lanes(vec![Arc::clone(inbox)]),
        control: Arc::new(Inbox::new(Wake::new())),
        clock: Clock::System,
    };
    let group = Arc::new(Group::new(team, Emitter::new(Box::new(Numbered(0)))));
    let handlers = Tasks::each(|_: Place| {
        |event: OwnedEvent, _: AsyncContext| async move {
            tokio::task::yield_now().await;
            let length = event.value().map_or(0, <[u8]>::len) as u64;
            NonZeroU64::new(length).map(drop).ok_or_else(|| HandlerError::msg("no value"))
        }
    });
    let executor = Executor::current();
    for (number, task) in tasks.iter().enumerate() {
        let station = StationConfig {
            number,
            group: Arc::clone(&group),
            inbox: Arc::clone(task),
            pool: Arc::clone(&pool),
            time_limit: Some(std::time::Duration::from_secs(60)),
        };
        executor.spawn(handlers.make(number, Station::new(station)));
    }
    executor.spawn(group.drive());
    Runner::Workers { pool, inboxes: vec![mail] }
}

#[test]
fn awaited_events_are_not_allocated_for() {
    let _turn = TURN.lock().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let inbox = Arc::new(Inbox::new(Wake::new()));
    let (mut lane, metrics) = runtime.block_on(async { lane(&inbox, tasks(&inbox)) });
    let cells = metrics.lane(0);
    let mut run = |first: i64| {
        push(&inbox, slices(Compression::None, first));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        runtime.block_on(async {
            while cells.done.count() < (first + BATCHES) as u64 * EVENTS as u64 {
                lane.run_once(Instant::now());
                tokio::task::yield_now().await;
            }
        });
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    run(0);
    // Of a run: its list of pieces, what is done of it and the messages about it. A run has up to
    // twenty events here, those of one key in a batch.
    let per_event = run(BATCHES) as f64 / (BATCHES as f64 * EVENTS as f64);
    assert!(per_event <= 0.5, "{per_event} allocations per event");
}
