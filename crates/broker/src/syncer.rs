//! The syncer: forces what was written to the disk, outside of the lock that requests need.
//!
//! ```text
//!  Waiting --time or produce--> Taken: what is dirty --each--> Synced, result not told --> next, or Waiting
//! ```
//!
//! Everything that is written while it syncs is covered by its next round, together (group commit). Under
//! [`Fsync::Always`] a round begins as soon as something is written; else one per interval, or when a segment is nearly full. A round never begins sooner
//! than [`RETRY`] after one that failed. Between rounds it writes checkpoints and drops old segments, one log at a time: there
//! may be thousands.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onrush_runtime::{Clock, Fault, File, Instant, Runtime, Step, Wake, Work, WorkHandle};

use crate::core::Core;
use crate::server::Shared;
use crate::topics::{Place, SyncTask};
use crate::{BrokerError, Fsync};

/// Pause after a failed sync.
const RETRY: Duration = Duration::from_secs(1);

/// How often checkpoints are written: so much of what was synced is read again after a crash, at most.
const CHECKPOINTS: Duration = Duration::from_secs(60);

/// A file that is to be synced.
#[derive(Debug)]
pub(crate) enum Unsynced {
    Log(Box<SyncTask>),
    /// The journal of committed offsets.
    Offsets(File),
}

/// What is done to a log now and then.
#[derive(Debug)]
enum Chore {
    Checkpoint(Place),
    /// Drop what is too old or too much.
    Retain(Place),
}

impl Unsynced {
    fn log(task: SyncTask) -> Self {
        Self::Log(Box::new(task))
    }

    fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::Log(task) => task.run(),
            Self::Offsets(file) => file.sync(),
        }
    }
}

impl Core {
    /// Whether the syncer is to begin at once.
    pub(crate) fn wants_sync(&self) -> bool {
        let waited_for = self.config.log_fsync() == Fsync::Always && self.topics.is_dirty();
        waited_for || self.topics.is_urgent()
    }

    fn take_unsynced(&mut self) -> VecDeque<Unsynced> {
        let (tasks, settled) = self.topics.take_dirty();
        for place in settled {
            self.settle(&place);
        }
        let mut unsynced: VecDeque<Unsynced> = tasks.into_iter().map(Unsynced::log).collect();
        if matches!(self.config.fsync, Fsync::Interval(_)) {
            if let Err(error) = self.offsets.heal() {
                tracing::error!(code = %Fault::BrokerStorage, %error, "cannot write the committed offsets anew");
            }
            unsynced.extend(self.offsets.take_dirty().map(Unsynced::Offsets));
        }
        unsynced
    }

    fn perform(&mut self, chore: Chore, time_of_day: i64) -> Option<Unsynced> {
        match chore {
            Chore::Checkpoint(place) => self.topics.checkpoint(place).map(Unsynced::log),
            Chore::Retain(place) => {
                self.topics.retain(&place, time_of_day);
                self.settle(&place);
                None
            }
        }
    }

    fn synced(&mut self, unsynced: &Unsynced, result: &io::Result<()>) {
        match unsynced {
            Unsynced::Log(task) => {
                if let Err(error) = result {
                    let (topic, partition) = (&task.place.topic, task.place.partition);
                    tracing::error!(%topic, partition, code = %Fault::BrokerStorage, %error, "cannot sync a log");
                }
                self.topics.synced(task, result);
                self.settle(&task.place);
            }
            Unsynced::Offsets(_) => match result {
                Ok(()) => self.offsets.synced(),
                Err(error) => {
                    tracing::error!(code = %Fault::BrokerStorage, %error, "cannot sync the committed offsets");
                    self.offsets.sync_failed();
                }
            },
        }
    }
}

/// A syncer that runs; dropping it stops it without waiting.
#[derive(Debug)]
pub(crate) struct Syncer {
    stop: Arc<AtomicBool>,
    wake: Wake,
    work: Option<WorkHandle>,
}

impl Syncer {
    pub(crate) fn start(
        runtime: &Runtime,
        shared: Arc<Shared>,
        fsync: Fsync,
        retention: Duration,
    ) -> Result<Self, BrokerError> {
        let (stop, wake) = (Arc::new(AtomicBool::new(false)), shared.syncer.clone());
        let interval = match fsync {
            Fsync::Always => Duration::ZERO,
            Fsync::Interval(interval) => interval,
            // Only what a failed sync left behind is synced.
            Fsync::Never => RETRY,
        };
        let now = runtime.clock.now();
        let rounds = Rounds {
            clock: runtime.clock,
            shared,
            stop: stop.clone(),
            interval,
            next: now + interval,
            earliest: now,
            // Without syncs no checkpoint could reach further than the last.
            checkpoints: (fsync != Fsync::Never).then(|| now + CHECKPOINTS),
            retention: now + retention,
            chores: VecDeque::new(),
            chore_is_next: false,
            left: VecDeque::new(),
            synced: None,
            has_failed: false,
        };
        let work = runtime.spawn.work("onrush-syncer".to_owned(), wake.clone(), Box::new(rounds));
        let work =
            work.map_err(BrokerError::storage("start the syncer of", "the data directory"))?;
        Ok(Self { stop, wake, work: Some(work) })
    }

    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        if let Some(work) = self.work.take() {
            self.tell();
            work.join().await;
        }
    }

    fn tell(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The rounds of a syncer, in small steps: between any two of them the simulation lets others go on.
struct Rounds {
    clock: Clock,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    interval: Duration,
    /// When the next round begins.
    next: Instant,
    /// Before that none begins, however urgent.
    earliest: Instant,
    /// When checkpoints are written next.
    checkpoints: Option<Instant>,
    /// When segments are dropped next.
    retention: Instant,
    chores: VecDeque<Chore>,
    /// Whether a chore comes before a round that is due: they take turns.
    chore_is_next: bool,
    /// What is left of this round.
    left: VecDeque<Unsynced>,
    /// Of this round, with a result that the core has not been told.
    synced: Option<(Unsynced, io::Result<()>)>,
    has_failed: bool,
}

impl Work for Rounds {
    fn run_once(&mut self, now: Instant) -> Step {
        if let Some((unsynced, result)) = self.synced.take() {
            self.has_failed |= result.is_err();
            self.shared.with_core(|core| core.synced(&unsynced, &result));
            return Step::Worked;
        }
        if let Some(mut unsynced) = self.left.pop_front() {
            let result = unsynced.sync();
            self.synced = Some((unsynced, result));
            return Step::Worked;
        }
        if self.stop.load(Ordering::Acquire) {
            return Step::Done;
        }
        if std::mem::take(&mut self.has_failed) {
            self.earliest = now + RETRY;
            self.next = now + self.interval.max(RETRY);
        }
        if !std::mem::take(&mut self.chore_is_next) {
            let step = self.begin(now);
            if step == Step::Worked || self.chores.is_empty() {
                self.chore_is_next = true;
                return step;
            }
        }
        if let Some(chore) = self.chores.pop_front() {
            let time_of_day = self.clock.wall_millis();
            self.left.extend(self.shared.with_core(|core| core.perform(chore, time_of_day)));
        }
        Step::Worked
    }
}

impl Rounds {
    fn begin(&mut self, now: Instant) -> Step {
        if self.chores.is_empty() && self.begin_chores(now) {
            return Step::Worked;
        }
        let chores = self.checkpoints.map_or(self.retention, |at| at.min(self.retention));
        let urgent = now >= self.earliest && self.shared.with_core(|core| core.topics.is_urgent());
        if now < self.next && !urgent {
            return Step::Idle { until: Some(self.next.min(chores)) };
        }
        self.left = self.shared.with_core(Core::take_unsynced);
        if self.interval.is_zero() && self.left.is_empty() {
            // The next produce wakes it.
            return Step::Idle { until: Some(chores) };
        }
        self.next = now + self.interval;
        Step::Worked
    }

    /// Notes what is to be done to each log, if it is time for that.
    fn begin_chores(&mut self, now: Instant) -> bool {
        if let Some(at) = &mut self.checkpoints
            && *at <= now
        {
            *at = now + CHECKPOINTS;
            let places = self.shared.with_core(|core| core.topics.places());
            self.chores.extend(places.into_iter().map(Chore::Checkpoint));
        }
        if self.retention <= now {
            let (places, interval) = self
                .shared
                .with_core(|core| (core.topics.places(), core.config.log_retention_check_interval));
            self.retention = now + interval;
            self.chores.extend(places.into_iter().map(Chore::Retain));
        }
        !self.chores.is_empty()
    }
}

#[cfg(test)]
mod tests;
