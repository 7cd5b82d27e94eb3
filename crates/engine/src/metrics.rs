//! What is counted, and how it is read without touching the data path.
//!
//! Lanes count per batch or run into cells of their own; each cell has one writer, so a count is a
//! relaxed add without contention. Readers sum them up. Counts of one lane may be of slightly
//! different instants; each only grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use onrush_kafka::{Credit, TopicPartition};

use crate::detail::Detail;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler returned, and what it emitted is acknowledged.
    Done,
    /// It is in the dead letters, acknowledged.
    DeadLettered,
    /// It is in a retry topic, acknowledged.
    Moved,
    /// It lies in a batch that cannot be read and is in the dead letters as a whole, acknowledged.
    Skipped,
}

/// A number that one thread counts up and others read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a lane counts.
#[derive(Debug, Default)]
pub struct LaneCells {
    /// Events that are done.
    pub done: Cell,
    /// Events in the dead letters.
    pub dead_lettered: Cell,
    /// Calls that failed or panicked.
    pub failed: Cell,
    /// Calls with events that had failed before.
    pub retried: Cell,
    /// Events in a retry topic.
    pub moved: Cell,
    /// Offsets in batches that could not be read and were skipped.
    pub skipped: Cell,
    /// Events that a predecessor had finished.
    pub done_before: Cell,
    /// Offsets without an event: compacted, control batches, expired.
    pub gaps: Cell,
    /// Batches.
    pub batches: Cell,
    /// Bytes of batches as they came.
    pub bytes: Cell,
    /// Bytes of batches that were fetched, whether or not they were taken.
    pub fetched: Cell,
    /// Slices and outcomes of assignments that have ended.
    pub stale: Cell,
    /// Events that still ran when their partition left.
    pub left_running: Cell,
    /// Batches that were bad and fetched once more.
    pub refetched: Cell,
    /// Events that took longer than an event may, on threads that cannot be interrupted.
    pub overdue: Cell,
    /// Milliseconds from the latest timestamp of the batch that was begun last to its beginning.
    pub latency: AtomicU64,
}

/// Where a partition stands.
#[derive(Debug, Default)]
pub struct PartitionCells {
    /// The next offset to take.
    pub position: AtomicI64,
    /// The committed offset, or -1.
    pub committed: AtomicI64,
    /// The end of the partition, or -1.
    pub end: AtomicI64,
    /// The first offset without an outcome.
    pub first_open: AtomicI64,
    /// When it was taken at the latest, in milliseconds of the wall clock, or -1.
    pub oldest_since: AtomicI64,
    /// Events that are taken and not finished.
    pub in_flight: AtomicU64,
    /// The most there were at once.
    pub in_flight_max: AtomicU64,
    /// Slots that have work.
    pub busy_slots: AtomicU64,
    /// Bytes that were fetched and not taken.
    pub queued_bytes: AtomicU64,
    /// 1 if it is stopped.
    pub stopped: AtomicU64,
    /// 1 if it starts nothing, because of events that failed.
    pub paused: AtomicU64,
    /// Keys, and events without one, that wait for another try.
    pub parked_keys: AtomicU64,
    /// Bytes of events that wait for one.
    pub parked_bytes: AtomicU64,
    /// Changed once per commit interval, by the lane.
    pub detail: Mutex<Detail>,
}

/// All cells of an engine.
#[derive(Debug)]
pub struct Metrics {
    /// When the control driver last did something, in milliseconds of the wall clock.
    beat: AtomicI64,
    lanes: Vec<Arc<LaneCells>>,
    /// What fetched data counts in.
    credit: OnceLock<Credit>,
    partitions: Mutex<BTreeMap<TopicPartition, (usize, Arc<PartitionCells>)>>,
}

impl Metrics {
    /// Cells for `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Self {
            beat: AtomicI64::new(0),
            lanes: (0..lanes).map(|_| Arc::default()).collect(),
            credit: OnceLock::new(),
            partitions: Mutex::default(),
        }
    }

    /// Shows what is lent of this credit; of the first one, if there are several.
    pub fn watch(&self, credit: Credit) {
        self.credit.get_or_init(|| credit);
    }

    /// The control driver is at work.
    pub fn beat(&self, wall_millis: i64) {
        self.beat.store(wall_millis, Ordering::Relaxed);
    }

    /// The cells of a lane.
    pub fn lane(&self, lane: usize) -> Arc<LaneCells> {
        Arc::clone(&self.lanes[lane])
    }

    /// New cells for a partition that comes to `lane`.
    pub fn assign(&self, partition: &TopicPartition, lane: usize) -> Arc<PartitionCells> {
        let cells = Arc::new(PartitionCells::default());
        self.locked().insert(partition.clone(), (lane, Arc::clone(&cells)));
        cells
    }

    /// The partition has left.
    pub fn release(&self, partition: &TopicPartition) {
        self.locked().remove(partition);
    }

    fn locked(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, (usize, Arc<PartitionCells>)>> {
        // Taken when partitions come and go and by readers, never by a lane.
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sums.
    pub fn snapshot(&self) -> Snapshot {
        let beat_millis = self.beat.load(Ordering::Relaxed);
        let mut snapshot = Snapshot { beat_millis, ..Snapshot::default() };
        for lane in &self.lanes {
            let counts = Counts::of(lane);
            snapshot.total.add(&counts);
            snapshot.lanes.push(counts);
            snapshot.latencies.push(lane.latency.load(Ordering::Relaxed));
        }
        if let Some(credit) = self.credit.get() {
            snapshot.memory_bytes = credit.lent() as u64;
            snapshot.memory_limit = credit.total() as u64;
        }
        let partitions = self.locked();
        snapshot.partitions = partitions
            .iter()
            .map(|(name, (lane, cells))| PartitionState::of(name, *lane, cells))
            .collect();
        snapshot
    }
}

/// An engine at (nearly) one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When the control driver last did something, in milliseconds of the wall clock: at the latest
    /// a commit interval ago, as long as it lives.
    pub beat_millis: i64,
    /// Sums over the lanes.
    pub total: Counts,
    /// By lane.
    pub lanes: Vec<Counts>,
    /// By lane, the latency of the batch that was begun last.
    pub latencies: Vec<u64>,
    /// Bytes that are alive of what was fetched, requests on their way and decompressed batches
    /// included.
    pub memory_bytes: u64,
    /// The most that they are to be. From half of it on, partitions keep to their shares.
    pub memory_limit: u64,
    /// The partitions held.
    pub partitions: Vec<PartitionState>,
}

impl Snapshot {
    /// Milliseconds from an event's timestamp to its handler, of the batch that each lane began
    /// last; the worst.
    pub fn latency_millis(&self) -> u64 {
        self.latencies.iter().copied().max().unwrap_or(0)
    }
}

/// The counts of [`LaneCells`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented at LaneCells")]
pub struct Counts {
    pub done: u64,
    pub dead_lettered: u64,
    pub failed: u64,
    pub retried: u64,
    pub moved: u64,
    pub skipped: u64,
    pub done_before: u64,
    pub gaps: u64,
    pub batches: u64,
    pub bytes: u64,
    pub fetched: u64,
    pub stale: u64,
    pub left_running: u64,
    pub refetched: u64,
    pub overdue: u64,
}

impl Counts {
    fn of(cells: &LaneCells) -> Self {
        Self {
            done: cells.done.count(),
            dead_lettered: cells.dead_lettered.count(),
            failed: cells.failed.count(),
            retried: cells.retried.count(),
            moved: cells.moved.count(),
            skipped: cells.skipped.count(),
            done_before: cells.done_before.count(),
            gaps: cells.gaps.count(),
            batches: cells.batches.count(),
            bytes: cells.bytes.count(),
            fetched: cells.fetched.count(),
            stale: cells.stale.count(),
            left_running: cells.left_running.count(),
            refetched: cells.refetched.count(),
            overdue: cells.overdue.count(),
        }
    }

    /// Adds those of another lane or engine.
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.dead_lettered += other.dead_lettered;
        self.failed += other.failed;
        self.retried += other.retried;
        self.moved += other.moved;
        self.skipped += other.skipped;
        self.done_before += other.done_before;
        self.gaps += other.gaps;
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.fetched += other.fetched;
        self.stale += other.stale;
        self.left_running += other.left_running;
        self.refetched += other.refetched;
        self.overdue += other.overdue;
    }
}

/// The event of a partition that is open and has the lowest offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oldest {
    /// Which.
    pub offset: i64,
    /// When it was taken at the latest, in milliseconds of the wall clock.
    pub since_millis: i64,
}

/// The state of [`PartitionCells`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented at PartitionCells")]
pub struct PartitionState {
    pub partition: TopicPartition,
    pub lane: usize,
    pub position: i64,
    pub committed: Option<i64>,
    pub end: Option<i64>,
    pub oldest: Option<Oldest>,
    pub in_flight: u64,
    pub in_flight_max: u64,
    pub busy_slots: u64,
    pub queued_bytes: u64,
    pub stopped: bool,
    pub paused: bool,
    pub parked_keys: u64,
    pub parked_bytes: u64,
    pub detail: Detail,
}

impl PartitionState {
    fn of(partition: &TopicPartition, lane: usize, cells: &PartitionCells) -> Self {
        let offset =
            |cell: &AtomicI64| Some(cell.load(Ordering::Relaxed)).filter(|offset| *offset >= 0);
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Self {
            partition: partition.clone(),
            lane,
            position: cells.position.load(Ordering::Relaxed),
            committed: offset(&cells.committed),
            end: offset(&cells.end),
            oldest: offset(&cells.oldest_since).map(|since_millis| Oldest {
                offset: cells.first_open.load(Ordering::Relaxed),
                since_millis,
            }),
            in_flight: count(&cells.in_flight),
            in_flight_max: count(&cells.in_flight_max),
            busy_slots: count(&cells.busy_slots),
            queued_bytes: count(&cells.queued_bytes),
            stopped: count(&cells.stopped) != 0,
            paused: count(&cells.paused) != 0,
            parked_keys: count(&cells.parked_keys),
            parked_bytes: count(&cells.parked_bytes),
            detail: cells.detail.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Events between the position and the end, those in flight included.
    pub fn lag(&self) -> Option<u64> {
        let ahead = u64::try_from(self.end? - self.position).unwrap_or(0);
        Some(ahead + self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sums_the_lanes_and_lists_what_is_held() {
        let metrics = Metrics::new(2);
        metrics.lane(0).done.add(3);
        metrics.lane(1).done.add(4);
        let partition = TopicPartition::new("flights", 5);
        let cells = metrics.assign(&partition, 1);
        cells.position.store(90, Ordering::Relaxed);
        cells.end.store(100, Ordering::Relaxed);
        cells.oldest_since.store(-1, Ordering::Relaxed);
        cells.committed.store(-1, Ordering::Relaxed);
        cells.in_flight.store(2, Ordering::Relaxed);
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.total.done, snapshot.lanes[1].done), (7, 4));
        let state = &snapshot.partitions[0];
        assert_eq!((state.lag(), state.committed, state.lane), (Some(12), None, 1));
        metrics.release(&partition);
        assert!(metrics.snapshot().partitions.is_empty());
    }
}
