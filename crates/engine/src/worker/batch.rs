//! A task that gives its handler several events at once: those of as many runs as it has room for.
//!
//! A batch has what is there; nothing waits for it to fill up. Runs lie in it one after the other,
//! so the events of a key are in order. If it fails and nobody knows at which event, its events are
//! tried alone, in their order, so that one bad event costs only itself.

use std::num::NonZeroUsize;

use super::progress::Progress;
use super::station::{Called, Station};
use super::task::{Caller, announce, timed_out};
use crate::assignment::Assignment;
use crate::async_handler::{BatchContext, BatchError, BatchHandler, OwnedEvent};
use crate::emit::Settled;
use crate::failure::{Failure, HandlerError};
use crate::slot::Run;

/// See the module.
pub(crate) struct Batches<H> {
    handler: H,
    most: u64,
    /// Kept for their room.
    runs: Vec<Run>,
    settled: Vec<Settled>,
}

/// How a batch ended.
enum Ended {
    /// All its events are done.
    Done,
    /// Those before this one are; it failed.
    At(u64, HandlerError),
    /// Nobody knows which failed.
    Unknown(HandlerError),
    /// Its outcome does not count any more.
    Gone,
}

impl<H: BatchHandler> Batches<H> {
    pub(crate) fn new(handler: H, most: NonZeroUsize) -> Self {
        Self { handler, most: most.get() as u64, runs: Vec::new(), settled: Vec::new() }
    }

    /// Calls the handler with up to `most` events of these runs, and finishes those that are done.
    async fn call(&mut self, station: &mut Station, runs: &mut [Progress], most: u64) -> Ended {
        let (now, mut events) = (station.now(), Vec::new());
        for run in runs.iter_mut() {
            let room = most.saturating_sub(events.len() as u64);
            let failures = run.failures();
            run.start_many(room, |started| {
                events.push(OwnedEvent::new(&started, events.len() as u32, failures));
            });
        }
        let count = events.len() as u64;
        let Some(first) = events.first() else {
            return Ended::At(0, HandlerError::undecodable("a record that was read before"));
        };
        let cx = BatchContext(station.outbox.open(now, first.timestamp(), 0));
        let called = station.call(runs, now, || self.handler.batch(events, cx)).await;
        let emitted = station.outbox.close();
        let ended = ended(called, count);
        let done = match &ended {
            Ended::Done => count,
            Ended::At(index, _) => *index,
            Ended::Unknown(_) | Ended::Gone => 0,
        };
        match self.finish(station, runs, done, emitted).await {
            Some(Ok(())) => ended,
            Some(Err(error)) if count == 1 => Ended::At(0, error),
            Some(Err(error)) => Ended::Unknown(error),
            None => Ended::Gone,
        }
    }

    /// The first `done` events that are out have ended, if what they emitted can be handed over.
    async fn finish(
        &mut self,
        station: &mut Station,
        runs: &mut [Progress],
        done: u64,
        emitted: bool,
    ) -> Option<Result<(), HandlerError>> {
        let mut waits = emitted && done > 0;
        if waits {
            self.settled.clear();
            each_first(runs, done, |run, count| run.settle_first(count, &mut self.settled));
            let end = u32::try_from(done).unwrap_or(u32::MAX);
            match station.hand_over(runs, &self.settled, end).await {
                Some(Ok(is_any)) => waits = is_any,
                failed => return failed.map(|result| result.map(drop)),
            }
        }
        station.outbox.clear();
        each_first(runs, done, |run, count| run.finish_first(count, waits));
        Some(Ok(()))
    }

    /// Tries the events of a run alone, up to the first that fails.
    async fn one_by_one(&mut self, station: &mut Station, run: &mut Progress) -> Option<Failure> {
        run.start_over();
        while run.has_rest() && !run.is_withdrawn() {
            match self.call(station, std::slice::from_mut(run), 1).await {
                Ended::Done => {}
                Ended::At(_, error) | Ended::Unknown(error) => return run.failure_of_first(error),
                Ended::Gone => return None,
            }
        }
        None
    }

    async fn work_off(&mut self, station: &mut Station, mut runs: Vec<Progress>) {
        let (mut at, mut failed) = (None, None);
        match self.call(station, &mut runs, self.most).await {
            Ended::Done | Ended::Gone => {}
            Ended::At(_, error) => {
                at = runs.iter().position(|run| run.out() > 0 || run.has_rest());
                failed = at.and_then(|at| runs[at].failure_of_first(error));
            }
            Ended::Unknown(_) => {
                for mut run in runs {
                    let failed = self.one_by_one(station, &mut run).await;
                    station.report(run.end(station.now(), failed));
                }
                return;
            }
        }
        let now = station.now();
        for (number, run) in runs.into_iter().enumerate() {
            let failed = if at == Some(number) { failed.take() } else { None };
            station.report(run.end(now, failed));
        }
    }
}

/// Of the first `count` events that are out in these runs, those of each run.
fn each_first(runs: &mut [Progress], count: u64, mut each: impl FnMut(&mut Progress, u64)) {
    let mut left = count;
    for run in runs {
        let of_run = left.min(run.out());
        left -= of_run;
        each(run, of_run);
    }
}

fn ended(called: Called<Result<(), BatchError>>, count: u64) -> Ended {
    let (index, error) = match called {
        Called::Returned(Ok(())) => return Ended::Done,
        Called::Returned(Err(BatchError { index, error })) => (index, error),
        Called::Panicked(error) => (None, error),
        Called::TimedOut(limit) => (None, timed_out(limit)),
        Called::Gone => return Ended::Gone,
    };
    match index.map(|index| index as u64).filter(|index| *index < count) {
        Some(index) => Ended::At(index, error),
        None if count == 1 => Ended::At(0, error),
        None => Ended::Unknown(error),
    }
}

impl<H: BatchHandler> Caller for Batches<H> {
    fn assigned(&mut self, assignment: &Assignment) {
        self.handler.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.handler.revoked(assignment);
    }

    fn has_hooks(&self) -> bool {
        self.handler.has_hooks()
    }

    async fn work(&mut self, station: &mut Station) -> bool {
        station.take_up_to(self.most, &mut self.runs);
        if self.runs.is_empty() {
            return false;
        }
        let now = station.now();
        let begun = self.runs.drain(..).map(|run| station.begin(run, now));
        let (withdrawn, runs): (Vec<_>, Vec<_>) = begun.partition(Progress::is_withdrawn);
        if !withdrawn.is_empty() {
            station.flush();
        }
        runs.iter().for_each(|run| announce(self, station, &run.run().holding));
        withdrawn.into_iter().for_each(|run| station.report(run.end(now, None)));
        self.work_off(station, runs).await;
        true
    }
}
