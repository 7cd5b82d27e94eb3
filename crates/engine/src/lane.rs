//! A lane: owns partitions, from fetched slice to outcome.
//!
//! `run_once` reads the mail (slices, reports of workers, acknowledgements, orders of the control
//! driver), then gives every partition a turn: events that leave for the dead letters, events whose
//! time has come to be tried again, the next run of its batch (called inline, or scattered to slots),
//! runs for the workers, the end of a drain. A turn takes one run at most, so mail waits for no
//! longer than that.
//!
//! A lane has no lock and does no I/O; what it wants done it tells the control driver. Everything
//! that comes back carries the assignment's token, and what belongs to another assignment changes
//! nothing.

mod by_hand;
mod failing;
mod mail;
mod skipping;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use onrush_kafka::{Credit, TopicPartition};
use onrush_runtime::{Clock, Instant, Random, Step, Work};

use crate::config::{BATCH_BYTES, Order, PARTITION_SHARE_MIN, Saboteur};
use crate::dead_letter::TOPIC_SUFFIX;
use crate::emit::{Emitter, Settled};
use crate::error::StopReason;
use crate::handler::Handler;
use crate::inbox::Inbox;
use crate::inline::Walked;
use crate::message::{ControlInput, LaneInput, WorkerInput, stopped};
use crate::metrics::LaneCells;
use crate::partition::Partition;
use crate::pool::{Given, Pool};
use crate::retry::FailurePolicy;
use crate::retry_topic::Ladder;
use crate::slot::Entry;
use crate::source::Opener;

/// Where a lane's events run.
pub enum Runner {
    /// On the lane.
    Inline(Box<dyn Handler>),
    /// On workers.
    Workers {
        /// Where they take runs from.
        pool: Arc<Pool>,
        /// What they, or their groups, are told.
        inboxes: Vec<Arc<Inbox<WorkerInput>>>,
    },
}

/// What a lane is told at its start.
pub struct LaneConfig {
    /// Its number.
    pub number: usize,
    /// Which events run one after the other.
    pub order: Order,
    /// Slots of a partition.
    pub slots: usize,
    /// Events that it may have in flight.
    pub in_flight: u64,
    /// For the latency of batches.
    pub clock: Clock,
    /// What fetched data and what is made of it count in.
    pub credit: Credit,
    /// The configured dead-letter topic.
    pub dead_letter_topic: Option<Arc<str>>,
    /// What is done with events that fail.
    pub failures: Arc<FailurePolicy>,
    /// Where they go that need more time.
    pub ladder: Arc<Ladder>,
    /// Bytes of events that may wait for another try.
    pub parked_bytes: usize,
    /// For the pauses before another try.
    pub random: Random,
}

/// See the module.
pub struct Lane {
    config: LaneConfig,
    inbox: Arc<Inbox<LaneInput>>,
    control: Arc<Inbox<ControlInput>>,
    runner: Runner,
    emitter: Emitter,
    opener: Opener,
    cells: Arc<LaneCells>,
    saboteur: Saboteur,
    partitions: Vec<Option<Box<Partition>>>,
    indexes: BTreeMap<TopicPartition, u32>,
    mail: VecDeque<LaneInput>,
    walked: Walked,
    /// Records of a batch, and those of them that were taken last; kept for their room.
    entries: Vec<Entry>,
    picked: Vec<Entry>,
    settled: Vec<Settled>,
    /// Runs on their way to the pool.
    given: Vec<Given>,
    /// Whose turn is first.
    first: usize,
    share: usize,
    in_flight: u64,
    closing: bool,
}

impl Lane {
    /// A lane without partitions.
    pub fn new(
        config: LaneConfig,
        inbox: Arc<Inbox<LaneInput>>,
        control: Arc<Inbox<ControlInput>>,
        runner: Runner,
        emitter: Emitter,
        cells: Arc<LaneCells>,
    ) -> Self {
        let credit = config.credit.clone();
        Self {
            config,
            inbox,
            control,
            runner,
            emitter,
            opener: Opener::within(BATCH_BYTES, credit),
            cells,
            saboteur: Saboteur::default(),
            partitions: Vec::new(),
            indexes: BTreeMap::new(),
            mail: VecDeque::new(),
            walked: Walked::default(),
            entries: Vec::new(),
            picked: Vec::new(),
            settled: Vec::new(),
            given: Vec::new(),
            first: 0,
            share: PARTITION_SHARE_MIN,
            in_flight: 0,
            closing: false,
        }
    }

    pub(crate) fn sabotage(&mut self, saboteur: Saboteur) {
        self.saboteur = saboteur;
    }
}

impl Work for Lane {
    fn run_once(&mut self, now: Instant) -> Step {
        self.inbox.take(&mut self.mail);
        let mut worked = !self.mail.is_empty();
        while let Some(input) = self.mail.pop_front() {
            self.receive(input, now);
        }
        let clear = self.unspill(now);
        // After what was kept has been added: that lingers too.
        let mut until = self.emitter.poll(now);
        let partitions = self.partitions.iter().flatten();
        // One that took more while it had fewer beside it may keep that for as long as it waits: the
        // others have their parts all the same.
        let part = self.part();
        self.in_flight = partitions.map(|partition| partition.held_in_flight().min(part)).sum();
        let count = self.partitions.len();
        self.first = if count == 0 { 0 } else { (self.first + 1) % count };
        for turn in 0..count {
            let index = (self.first + turn) % count;
            // Taken out, so that the partition and the lane can be borrowed apart.
            let Some(mut partition) = self.partitions[index].take() else { continue };
            partition.due = None;
            worked |= self.turn(&mut partition, clear, now);
            until = earlier(until, partition.due);
            self.partitions[index] = Some(partition);
        }
        self.ask_for_topic();
        match worked {
            true => Step::Worked,
            false if self.closing && self.partitions.iter().all(Option::is_none) => {
                self.emitter.flush(now);
                Step::Done
            }
            false => Step::Idle { until },
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

fn dead_letter_topic(configured: Option<&str>, topic: &str) -> String {
    configured.map_or_else(|| format!("{topic}{TOPIC_SUFFIX}"), str::to_owned)
}

/// Nothing of the partition is taken any more; what runs may still finish.
fn stop(partition: &mut Partition, reason: StopReason, control: &Inbox<ControlInput>) {
    if partition.stopped.is_some() {
        return;
    }
    let offset = partition.ledger.base();
    tracing::error!(partition = %partition.holding.partition, offset, code = %reason.fault(), %reason, "partition is stopped");
    control.push(stopped(&partition.holding, offset, reason.clone()));
    partition.stopped = Some(reason);
    partition.holding.withdraw();
    partition.forget_unstarted();
    partition.show();
}

#[cfg(test)]
mod tests;
