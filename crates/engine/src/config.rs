//! What an engine is told, and every default as a named constant.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onrush_kafka::ProducerConfig;

use crate::retry::FailurePolicy;
use crate::retry_topic::Ladder;

/// Time between commits.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a partition that leaves is waited for.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long hooks of handlers, and threads that end, are waited for.
pub const HOOK_DEADLINE: Duration = Duration::from_secs(1);
/// How long the group waits for a member that has to give up partitions: longer than the drain, its
/// commit and its hooks.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of fetched data that may be alive in a member.
pub const BYTE_BUDGET: usize = 256 << 20;
/// Slots of a partition when events are ordered by key.
pub const SLOTS: usize = 256;
/// Events of a member that are taken and not finished.
pub const IN_FLIGHT: u64 = 10_000;
/// Most events of a run.
pub const RUN_EVENTS: u64 = 1_024;
/// Most events without order that a worker is given at a time: so many wait behind one that is stuck.
pub const UNORDERED_EVENTS: u64 = 64;
/// Most bytes of the records of one batch after decompression.
pub const BATCH_BYTES: usize = 64 << 20;
/// What a worker that is in the middle of a run waits before it tells what it has finished.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(5);
/// Share of a partition below which it is never held back. It is what makes a fetch efficient; more
/// than 400 partitions need a larger budget than the default.
pub const PARTITION_SHARE_MIN: usize = 128 << 10;

const _: () = assert!(DRAIN_DEADLINE.as_millis() * 2 < REBALANCE_TIMEOUT.as_millis());

/// Which events run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those of one key. Events without a key have no order.
    #[default]
    Key,
    /// All of a partition.
    Partition,
    /// None.
    None,
}

/// Where handlers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// On the lanes, without any hand-off: for handlers that do not block.
    #[default]
    Each,
    /// On worker threads, for handlers that block.
    EachBlocking {
        /// How many threads.
        concurrency: NonZeroUsize,
    },
    /// As tasks, one event at a time each, for handlers that await.
    EachAsync {
        /// How many tasks.
        concurrency: NonZeroUsize,
    },
    /// As tasks, several events at a time each.
    EachBatch {
        /// How many tasks.
        concurrency: NonZeroUsize,
    },
}

/// Where a partition without a committed offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the first record that is still there.
    #[default]
    Earliest,
    /// After the last record.
    Latest,
}

/// Damage done on purpose, to show that a checker sees it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// One event is recorded as done without being run.
    Lose,
    /// One event is run twice.
    Repeat,
    /// Two events of one key are run in the wrong order.
    Reorder,
    /// What was taken is committed, finished or not.
    CommitEarly,
    /// What was committed is not looked at: every assignment begins anew.
    Forget,
    /// Later events of a key do not wait for the one that is tried again.
    Overtake,
    /// What leaves for another topic counts as written, and is not.
    Vanish,
}

/// The sabotage of an engine: who asks first for the one event commits it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saboteur {
    pub(crate) kind: Sabotage,
    struck: Arc<AtomicBool>,
}

impl Saboteur {
    pub(crate) fn new(kind: Sabotage) -> Self {
        Self { kind, struck: Arc::default() }
    }

    /// Whether an event is still to be damaged.
    pub(crate) fn waits(&self) -> bool {
        let one = matches!(self.kind, Sabotage::Lose | Sabotage::Repeat | Sabotage::Reorder);
        one && !self.struck.load(Ordering::Relaxed)
    }

    /// Claims the one event.
    pub(crate) fn strike(&self) -> bool {
        !self.struck.swap(true, Ordering::Relaxed)
    }
}

/// What an engine is told. `EngineConfig::new` has the defaults.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The consumer group.
    pub group: String,
    /// What it reads.
    pub topics: Vec<String>,
    /// Which events run one after the other.
    pub order: Order,
    /// Where handlers run.
    pub mode: Mode,
    /// Threads that own partitions.
    pub lanes: NonZeroUsize,
    /// Slots of a partition under [`Order::Key`]; see [`SLOTS`].
    pub slots: NonZeroUsize,
    /// See [`COMMIT_INTERVAL`].
    pub commit_interval: Duration,
    /// See [`DRAIN_DEADLINE`].
    pub drain_deadline: Duration,
    /// See [`REBALANCE_TIMEOUT`].
    pub rebalance_timeout: Duration,
    /// See [`BYTE_BUDGET`].
    pub byte_budget: usize,
    /// See [`IN_FLIGHT`]; each lane has an equal part.
    pub in_flight: u64,
    /// How long an event (or a batch) may take: a task is cancelled after this time, a thread's event
    /// is counted.
    pub time_limit: Option<Duration>,
    /// Where events go whose handler failed; `None` is the event's topic with `.dead-letter` after
    /// it.
    pub dead_letter_topic: Option<String>,
    /// What is done with events that fail.
    pub failures: FailurePolicy,
    /// Where a partition without a committed offset starts.
    pub start: Start,
    /// How what handlers emit, and dead letters, are produced.
    pub producer: ProducerConfig,
    /// Names the member across restarts (static membership).
    pub instance: Option<String>,
    /// For checkers of the checkers.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl EngineConfig {
    /// The defaults, for a group that reads `topics`.
    pub fn new(
        group: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            order: Order::default(),
            mode: Mode::default(),
            lanes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            slots: NonZeroUsize::new(SLOTS).unwrap_or(NonZeroUsize::MIN),
            commit_interval: COMMIT_INTERVAL,
            drain_deadline: DRAIN_DEADLINE,
            rebalance_timeout: REBALANCE_TIMEOUT,
            byte_budget: BYTE_BUDGET,
            in_flight: IN_FLIGHT,
            time_limit: None,
            dead_letter_topic: None,
            failures: FailurePolicy::default(),
            start: Start::default(),
            producer: ProducerConfig::default(),
            instance: None,
            sabotage: Sabotage::None,
        }
    }

    /// Its retry topics.
    ///
    /// # Errors
    /// There cannot be such retry topics.
    pub fn ladder(&self) -> Result<Ladder, String> {
        Ladder::new(&self.topics, &self.failures.retry_topics)
    }
}
