//! A worker thread: calls a handler of its own, which may block, with one event after the other.
//!
//! States: *idle* (no run), *running*, *parked* (an event of a simulated handler takes virtual
//! time), *spilled* (what an event emitted found no room: no other event is started). A handler
//! that blocks cannot be interrupted; that it took too long is counted when it returns, and shown
//! before as the oldest open event of its partition.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::{Clock, Instant, Step, Work};

use super::call_time::CallTime;
use super::progress::{Next, Progress, Started};
use super::{Lanes, hook};
use crate::emit::{Delivery, Emitter, Undelivered};
use crate::failure::HandlerError;
use crate::handler::{Context, Event, Handler};
use crate::inbox::Inbox;
use crate::message::{Asker, ControlInput, LaneInput, Purpose, WorkerInput};
use crate::pool::Pool;

/// What a worker is told at its start.
pub struct WorkerConfig {
    /// Its number, which is that of its emitter.
    pub number: usize,
    /// What it is told.
    pub inbox: Arc<Inbox<WorkerInput>>,
    /// Where it takes runs from.
    pub pool: Arc<Pool>,
    /// Whom it tells what became of them.
    pub lanes: Vec<Arc<Inbox<LaneInput>>>,
    /// Whom it asks for topics.
    pub control: Arc<Inbox<ControlInput>>,
    /// For the time at which an event starts.
    pub clock: Clock,
    /// How long an event may take.
    pub time_limit: Option<Duration>,
}

/// See the module.
pub struct Worker {
    config: WorkerConfig,
    lanes: Lanes,
    handler: Box<dyn Handler>,
    emitter: Emitter,
    mail: VecDeque<WorkerInput>,
    current: Option<Current>,
    calls: CallTime,
    /// What came while an event was parked.
    deliveries: Vec<Delivery>,
    closing: bool,
}

/// A run at work.
struct Current {
    progress: Progress,
    /// When the outcome of the event that is out counts.
    parked: Option<Instant>,
    /// What the parked event emitted will never be written: it has no outcome.
    refused: bool,
}

/// What calls the events of a run.
struct Caller<'a> {
    handler: &'a mut dyn Handler,
    calls: &'a mut CallTime,
}

/// Why a run rests.
enum Rest {
    Ended,
    Withdrawn,
    Time,
    Parked,
    Spilled,
    Failed(HandlerError),
}

impl Worker {
    /// A worker that calls `handler`.
    pub fn new(mut config: WorkerConfig, handler: Box<dyn Handler>, emitter: Emitter) -> Self {
        let lanes = Lanes(std::mem::take(&mut config.lanes));
        let (mail, deliveries, calls) = (VecDeque::new(), Vec::new(), CallTime::default());
        let (current, closing) = (None, false);
        Self { config, lanes, handler, emitter, mail, current, calls, deliveries, closing }
    }

    fn receive(&mut self, input: WorkerInput, now: Instant) {
        match input {
            WorkerInput::Assigned(holding) => {
                let handler = &mut self.handler;
                hook(&holding.assignment, || handler.assigned(&holding.assignment));
            }
            WorkerInput::Revoked(holding, origin) => {
                let handler = &mut self.handler;
                hook(&holding.assignment, || handler.revoked(&holding.assignment));
                self.lanes.tell(origin.lane, LaneInput::HookDone(origin));
            }
            WorkerInput::Flush => self.emitter.flush(now),
            // The parked event waits on its batches only when its call has ended.
            WorkerInput::Delivered(delivery) if self.is_parked() => self.deliveries.push(delivery),
            WorkerInput::Delivered(delivery) => self.delivered(delivery),
            WorkerInput::Topic(topic, Err(reason)) => {
                if let Some(origins) = self.emitter.refuse(&topic) {
                    self.refused(Undelivered { origins, reason });
                }
            }
            WorkerInput::Topic(_, Ok(())) => {}
            WorkerInput::Close => self.closing = true,
        }
    }

    fn is_parked(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.parked.is_some())
    }

    fn delivered(&mut self, delivery: Delivery) {
        let mut settled = Vec::new();
        let result = self.emitter.delivered(delivery, &mut settled);
        self.lanes.settled(settled);
        result.unwrap_or_else(|undelivered| self.lanes.undelivered(undelivered));
    }

    /// What was kept will never be written. If its event is parked, nobody waits for it yet.
    fn refused(&mut self, mut undelivered: Undelivered) {
        if let Some(current) = self.current.as_mut().filter(|current| current.parked.is_some()) {
            undelivered.origins.push(current.progress.run().origin);
            current.refused = true;
        }
        self.lanes.undelivered(undelivered);
    }

    /// Whether another event may be started; if not, what was emitted waits for room.
    fn unspill(&mut self, now: Instant) -> bool {
        let clear = self.emitter.unspill(now).unwrap_or_else(|undelivered| {
            self.refused(undelivered);
            true
        });
        if let Some(topic) = self.emitter.unknown_topic() {
            self.config.control.push(ControlInput::TopicWanted(
                Asker::Worker(self.config.number),
                topic.into(),
                Purpose::Emit,
            ));
        }
        clear
    }

    fn work(&mut self, mut current: Current) {
        let (emitter, config) = (&mut self.emitter, &self.config);
        let mut caller = Caller { handler: self.handler.as_mut(), calls: &mut self.calls };
        let walked = catch_unwind(AssertUnwindSafe(|| current.walk(&mut caller, emitter, config)));
        let rest = walked.unwrap_or_else(|panic| Rest::Failed(HandlerError::panicked(&*panic)));
        let now = self.config.clock.now();
        // Nobody hands over what is open while the next call blocks.
        if self.calls.is_very_slow() && !matches!(rest, Rest::Parked) {
            self.emitter.flush(now);
        }
        let report = match rest {
            Rest::Ended => current.progress.end(now, None),
            Rest::Withdrawn => {
                self.emitter.flush(now);
                current.progress.end(now, None)
            }
            Rest::Failed(error) => {
                self.emitter.abandon();
                let failure = current.progress.failure(error);
                current.progress.end(now, failure)
            }
            Rest::Parked | Rest::Spilled if !current.progress.has_news() => {
                self.current = Some(current);
                return;
            }
            Rest::Time if !current.progress.has_news() => {
                current.progress.rested(now);
                self.current = Some(current);
                return;
            }
            Rest::Time | Rest::Parked | Rest::Spilled => {
                let report = current.progress.report(now);
                self.current = Some(current);
                report
            }
        };
        self.lanes.tell(report.origin.lane, LaneInput::Report(report));
    }

    fn next(&mut self, now: Instant) -> Option<Current> {
        if let Some(current) = self.current.take() {
            return Some(current);
        }
        let run = self.config.pool.take(self.config.number)?;
        // Whatever was told before the run was given is known before it starts: its assignment.
        self.read(now);
        let progress = Progress::new(run, self.config.number, now);
        Some(Current { progress, parked: None, refused: false })
    }

    fn read(&mut self, now: Instant) {
        self.config.inbox.take(&mut self.mail);
        while let Some(input) = self.mail.pop_front() {
            self.receive(input, now);
        }
    }
}

impl Work for Worker {
    fn run_once(&mut self, now: Instant) -> Step {
        self.read(now);
        let clear = self.unspill(now);
        // After what was kept has been added: that lingers too.
        let linger = self.emitter.poll(now);
        if !clear {
            return Step::Idle { until: linger };
        }
        if let Some(current) = &mut self.current
            && let Some(until) = current.parked
        {
            if now < until {
                return Step::Idle {
                    until: Some(linger.map_or(until, |linger| linger.min(until))),
                };
            }
            current.parked = None;
            current.finish(&mut self.emitter);
            for delivery in std::mem::take(&mut self.deliveries) {
                self.delivered(delivery);
            }
        }
        match self.next(now) {
            Some(current) => {
                self.work(current);
                Step::Worked
            }
            None if self.closing => {
                self.emitter.flush(now);
                Step::Done
            }
            None => Step::Idle { until: linger },
        }
    }
}

impl Current {
    fn walk(
        &mut self,
        Caller { handler, calls }: &mut Caller<'_>,
        emitter: &mut Emitter,
        config: &WorkerConfig,
    ) -> Rest {
        let mut now = config.clock.now();
        loop {
            if emitter.is_spilled() {
                return Rest::Spilled;
            }
            // The next call may keep this thread for long: what has ended is told before it.
            let looks_up = calls.is_slow() && self.progress.has_started();
            if (looks_up || self.progress.is_report_due(now)) && self.progress.has_rest() {
                return Rest::Time;
            }
            let failures = self.progress.failures();
            let Started { record, holding, .. } = match self.progress.next() {
                Next::Event(started) => started,
                Next::Ended => return Rest::Ended,
                Next::Withdrawn => return Rest::Withdrawn,
                Next::Unreadable(error) => return Rest::Failed(error),
            };
            let mut cx = Context::new(emitter, now).after(failures);
            let event = Event::new(holding, &record);
            cx.turn_to(event.timestamp);
            if let Err(error) = handler.each(&event, &mut cx) {
                calls.took(config.clock.now().saturating_duration_since(now));
                return Rest::Failed(error);
            }
            let took = cx.took();
            self.progress.step();
            let ended = config.clock.now();
            let blocked = ended.saturating_duration_since(now);
            calls.took(took.map_or(blocked, |took| took.max(blocked)));
            self.progress.took(blocked, config.time_limit);
            if let Some(took) = took {
                self.progress.took(took, config.time_limit);
                self.parked = Some(now + took);
                return Rest::Parked;
            }
            self.finish(emitter);
            now = ended;
        }
    }

    /// The event called last returned.
    fn finish(&mut self, emitter: &mut Emitter) {
        if std::mem::take(&mut self.refused) {
            return;
        }
        match emitter.emitted() {
            true => emitter.settle_later(self.progress.settled()),
            false => self.progress.done(),
        }
    }
}
