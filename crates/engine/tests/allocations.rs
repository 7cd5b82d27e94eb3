//! The inline path in steady state allocates per batch, never per event.

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_engine::assignment::{Assignment, Holding, TOKEN_STRIDE};
use onrush_engine::completed::CompletedSet;
use onrush_engine::emit::{Emitter, Outgoing, Outlet, OutletError};
use onrush_engine::inbox::Inbox;
use onrush_engine::lane::{Lane, LaneConfig, Runner};
use onrush_engine::message::{Assign, LaneInput};
use onrush_engine::metrics::Metrics;
use onrush_engine::source::Slice;
use onrush_engine::{Context, Event, HandlerError, Order};
use onrush_kafka::{Credit, TopicPartition};
use onrush_record::header::set_base_offset;
use onrush_record::{BatchBuilder, Compression, Compressor};
use onrush_runtime::{Clock, Instant, Random, Step, Wake, Work};

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

fn lane() -> (Lane, Arc<Inbox<LaneInput>>, Arc<Metrics>) {
    let (inbox, control) = (Arc::new(Inbox::new(Wake::new())), Arc::new(Inbox::new(Wake::new())));
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
    let mut sum = 0_u64;
    let handler = move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
        sum += event.value.map_or(0, <[u8]>::len) as u64;
        NonZeroU64::new(sum).map(drop).ok_or_else(|| HandlerError::msg("no value"))
    };
    let (runner, emitter) =
        (Runner::Inline(Box::new(handler)), Emitter::new(Box::new(Numbered(0))));
    let lane = Lane::new(config, Arc::clone(&inbox), control, runner, emitter, metrics.lane(0));
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
    (lane, inbox, metrics)
}

fn run(lane: &mut Lane, inbox: &Inbox<LaneInput>, slices: Vec<Slice>) -> u64 {
    for slice in slices {
        inbox.push(LaneInput::Fetched {
            partition: TopicPartition::new("events", 0),
            token: TOKEN_STRIDE,
            slice,
        });
    }
    let now = Instant::now();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    while lane.run_once(now) == Step::Worked {}
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn inline_events_are_not_allocated_for() {
    for compression in [Compression::None, Compression::Lz4] {
        let (mut lane, inbox, metrics) = lane();
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
