//! How a process stands, as `GET /snapshot` tells it and `onrush top` shows it.

use onrush_engine::detail::KeyStart;
use onrush_engine::{Counts, PartitionState, Snapshot};
use serde::{Deserialize, Serialize};

/// A process with its consumers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct View {
    /// When it was looked at, in milliseconds since 1970.
    pub at_millis: i64,
    /// What was done, those consumers included that have ended.
    pub total: Totals,
    /// The consumers that run.
    pub consumers: Vec<ConsumerView>,
}

/// Counts since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented at onrush_engine::metrics::LaneCells")]
pub struct Totals {
    pub done: u64,
    pub dead_lettered: u64,
    pub moved: u64,
    pub skipped: u64,
    pub failed: u64,
    pub retried: u64,
    pub overdue: u64,
    pub batches: u64,
    pub bytes: u64,
}

impl Totals {
    fn of(counts: &Counts) -> Self {
        Self {
            done: counts.done,
            dead_lettered: counts.dead_lettered,
            moved: counts.moved,
            skipped: counts.skipped,
            failed: counts.failed,
            retried: counts.retried,
            overdue: counts.overdue,
            batches: counts.batches,
            bytes: counts.bytes,
        }
    }
}

/// A consumer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConsumerView {
    /// From an event's timestamp to its handler, in milliseconds.
    pub latency_millis: u64,
    /// By lane.
    pub lanes: Vec<Totals>,
    /// The partitions that it holds.
    pub partitions: Vec<PartitionView>,
}

/// A partition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented at onrush_engine::metrics::PartitionCells")]
pub struct PartitionView {
    pub topic: String,
    pub partition: i32,
    pub lane: usize,
    pub position: i64,
    pub committed: Option<i64>,
    pub end: Option<i64>,
    pub lag: Option<u64>,
    pub in_flight: u64,
    pub busy_slots: u64,
    pub queued_bytes: u64,
    pub parked_keys: u64,
    pub parked_bytes: u64,
    pub paused: bool,
    pub stopped: bool,
    /// The first event without an outcome, if there is one.
    pub oldest_offset: Option<i64>,
    /// When that one was taken, in milliseconds since 1970.
    pub oldest_since_millis: Option<i64>,
    /// The slot with the most events, since the last commit interval.
    #[serde(default)]
    pub hot_slot: Option<HotSlotView>,
    /// The slowest event of the last seconds.
    #[serde(default)]
    pub slowest: Option<SlowestView>,
    /// How much of the metadata that the broker takes the last commit used, from 0 to 1,000.
    #[serde(default)]
    pub metadata_permille: u64,
}

/// A slot with many events: those of a key that is hot, most likely.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotSlotView {
    /// Which.
    pub slot: u32,
    /// Its events that have no outcome.
    pub events: u64,
    /// The first of those that are at work, or wait.
    pub offset: i64,
    /// The first bytes of its key.
    pub key: Option<String>,
}

/// An event that took long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowestView {
    /// Which.
    pub offset: i64,
    /// The first bytes of its key.
    pub key: Option<String>,
    /// How long its handler took.
    pub took_millis: u64,
}

fn shown(key: KeyStart) -> String {
    String::from_utf8_lossy(key.as_bytes()).into_owned()
}

impl PartitionView {
    fn of(state: &PartitionState) -> Self {
        Self {
            topic: state.partition.topic.to_string(),
            partition: state.partition.partition,
            lane: state.lane,
            position: state.position,
            committed: state.committed,
            end: state.end,
            lag: state.lag(),
            in_flight: state.in_flight,
            busy_slots: state.busy_slots,
            queued_bytes: state.queued_bytes,
            parked_keys: state.parked_keys,
            parked_bytes: state.parked_bytes,
            paused: state.paused,
            stopped: state.stopped,
            oldest_offset: state.oldest.map(|oldest| oldest.offset),
            oldest_since_millis: state.oldest.map(|oldest| oldest.since_millis),
            hot_slot: state.detail.hot_slot.map(|hot| HotSlotView {
                slot: hot.slot,
                events: hot.events,
                offset: hot.offset,
                key: hot.key.map(shown),
            }),
            slowest: state.detail.slowest.map(|slowest| SlowestView {
                offset: slowest.offset,
                key: slowest.key.map(shown),
                took_millis: u64::try_from(slowest.took.as_millis()).unwrap_or(u64::MAX),
            }),
            metadata_permille: state.detail.metadata_permille,
        }
    }
}

impl View {
    /// Of the consumers that run, and the counts of those that have ended.
    #[must_use]
    pub fn of(at_millis: i64, snapshots: &[Snapshot], left: &Counts) -> Self {
        let mut total = *left;
        snapshots.iter().for_each(|snapshot| total.add(&snapshot.total));
        let consumer = |snapshot: &Snapshot| ConsumerView {
            latency_millis: snapshot.latency_millis(),
            lanes: snapshot.lanes.iter().map(Totals::of).collect(),
            partitions: snapshot.partitions.iter().map(PartitionView::of).collect(),
        };
        Self {
            at_millis,
            total: Totals::of(&total),
            consumers: snapshots.iter().map(consumer).collect(),
        }
    }
}
