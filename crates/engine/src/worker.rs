//! A worker: runs the runs that lanes give it, one event after the other, with a handler of its own
//! that may block.
//!
//! States: *idle* (no run), *running*, *parked* (an event of a simulated handler takes virtual
//! time), *spilled* (what an event emitted found no room: no other event is started). A run ends
//! when all its events were called, when one failed, or when its partition was withdrawn; what was
//! not started goes back to the lane. Finished events are told at the run's end and every few
//! milliseconds, so that a slow event does not hold back those before it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onrush_runtime::{Clock, Fault, Instant, Step, Work};

use crate::assignment::Assignment;
use crate::completed::OffsetRun;
use crate::config::REPORT_INTERVAL;
use crate::emit::{Delivery, Emitter, Settled, Undelivered};
use crate::failure::{Failure, HandlerError, panic_text};
use crate::handler::{Context, Event, Handler};
use crate::inbox::Inbox;
use crate::message::{Asker, ControlInput, LaneInput, Post, Purpose, Report, WorkerInput};
use crate::metrics::Outcome;
use crate::slot::{Piece, Run};

/// See the module.
pub struct Worker {
    number: usize,
    post: Arc<Post>,
    lanes: Vec<Arc<Inbox<LaneInput>>>,
    control: Arc<Inbox<ControlInput>>,
    clock: Clock,
    handler: Box<dyn Handler>,
    emitter: Emitter,
    mail: VecDeque<WorkerInput>,
    queue: VecDeque<Run>,
    current: Option<Current>,
    /// What came while an event was parked.
    deliveries: Vec<Delivery>,
    closing: bool,
}

/// A run at work.
struct Current {
    run: Run,
    /// Events called and not reported, done or waiting for acknowledgements.
    called: u64,
    done: Vec<OffsetRun>,
    /// The event that was called last.
    offset: i64,
    /// When its outcome counts.
    parked: Option<Instant>,
    /// What the parked event emitted will never be written: it has no outcome.
    refused: bool,
    reported: Instant,
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
    /// Worker `number`, which is told things through `post`.
    pub fn new(
        number: usize,
        post: Arc<Post>,
        lanes: Vec<Arc<Inbox<LaneInput>>>,
        control: Arc<Inbox<ControlInput>>,
        clock: Clock,
        handler: Box<dyn Handler>,
        emitter: Emitter,
    ) -> Self {
        let (mail, queue) = (VecDeque::new(), VecDeque::new());
        Self {
            number,
            post,
            lanes,
            control,
            clock,
            handler,
            emitter,
            mail,
            queue,
            current: None,
            deliveries: Vec::new(),
            closing: false,
        }
    }

    fn receive(&mut self, input: WorkerInput, now: Instant) {
        match input {
            WorkerInput::Run(run) => self.queue.push_back(run),
            WorkerInput::Assigned(holding) => {
                let handler = &mut self.handler;
                hook(&holding.assignment, || handler.assigned(&holding.assignment));
            }
            WorkerInput::Revoked(holding, origin) => {
                let handler = &mut self.handler;
                hook(&holding.assignment, || handler.revoked(&holding.assignment));
                self.lanes[origin.lane as usize].push(LaneInput::HookDone(origin));
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
        self.tell_settled(settled);
        result.unwrap_or_else(|undelivered| self.tell_undelivered(undelivered));
    }

    fn tell_settled(&mut self, settled: Vec<Settled>) {
        for lane in 0..self.lanes.len() {
            let own: Vec<_> = settled
                .iter()
                .filter(|settled| settled.origin.lane as usize == lane)
                .copied()
                .collect();
            if !own.is_empty() {
                self.lanes[lane].push(LaneInput::Settled(own));
            }
        }
    }

    fn tell_undelivered(&mut self, undelivered: Undelivered) {
        for origin in undelivered.origins {
            let reason = undelivered.reason.clone();
            self.lanes[origin.lane as usize]
                .push(LaneInput::Undelivered { origins: vec![origin], reason });
        }
    }

    /// What was kept will never be written. If its event is parked, nobody waits for it yet.
    fn refused(&mut self, mut undelivered: Undelivered) {
        if let Some(current) = self.current.as_mut().filter(|current| current.parked.is_some()) {
            undelivered.origins.push(current.run.origin);
            current.refused = true;
        }
        self.tell_undelivered(undelivered);
    }

    /// Whether another event may be started; if not, what was emitted waits for room.
    fn unspill(&mut self, now: Instant) -> bool {
        let clear = self.emitter.unspill(now).unwrap_or_else(|undelivered| {
            self.refused(undelivered);
            true
        });
        if let Some(topic) = self.emitter.unknown_topic() {
            self.control.push(ControlInput::TopicWanted(
                Asker::Worker(self.number),
                topic.into(),
                Purpose::Emit,
            ));
        }
        clear
    }

    fn work(&mut self, mut current: Current) {
        let (handler, emitter, clock) = (self.handler.as_mut(), &mut self.emitter, &self.clock);
        let walked = catch_unwind(AssertUnwindSafe(|| current.walk(handler, emitter, clock)));
        let rest = walked.unwrap_or_else(|panic| Rest::Failed(HandlerError::panicked(&*panic)));
        match rest {
            Rest::Ended => self.end(current, None),
            Rest::Withdrawn => {
                self.end(current, None);
                self.emitter.flush(self.clock.now());
            }
            Rest::Failed(error) => {
                self.emitter.abandon();
                let failure = current.failure(error);
                self.end(current, failure);
            }
            Rest::Time => {
                self.report(&mut current, None, None);
                self.current = Some(current);
            }
            Rest::Parked | Rest::Spilled => {
                if !current.done.is_empty() {
                    self.report(&mut current, None, None);
                }
                self.current = Some(current);
            }
        }
    }

    fn end(&mut self, mut current: Current, failed: Option<Failure>) {
        let rest = std::mem::take(&mut current.run.pieces);
        self.report(&mut current, failed, Some(rest));
    }

    fn report(
        &mut self,
        current: &mut Current,
        failed: Option<Failure>,
        rest: Option<VecDeque<Piece>>,
    ) {
        let left: u64 = rest.iter().flatten().map(Piece::events).sum();
        self.post.subtract(std::mem::take(&mut current.called) + left);
        current.reported = self.clock.now();
        let (origin, slot) = (current.run.origin, current.run.slot);
        let (done, retried) = (std::mem::take(&mut current.done), current.run.retried);
        let report = Report { origin, slot, done, failed, rest, retried };
        self.lanes[origin.lane as usize].push(LaneInput::Report(report));
    }
}

impl Work for Worker {
    fn run_once(&mut self, now: Instant) -> Step {
        self.post.inbox.take(&mut self.mail);
        while let Some(input) = self.mail.pop_front() {
            self.receive(input, now);
        }
        let linger = self.emitter.poll(now);
        if !self.unspill(now) {
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
        let next = self
            .current
            .take()
            .or_else(|| self.queue.pop_front().map(|run| Current::new(run, now)));
        match next {
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
    fn new(run: Run, now: Instant) -> Self {
        Self {
            run,
            called: 0,
            done: Vec::new(),
            offset: -1,
            parked: None,
            refused: false,
            reported: now,
        }
    }

    fn walk(&mut self, handler: &mut dyn Handler, emitter: &mut Emitter, clock: &Clock) -> Rest {
        loop {
            if emitter.is_spilled() {
                return Rest::Spilled;
            }
            let Some(piece) = self.run.pieces.front() else { return Rest::Ended };
            let Some(position) =
                piece.round.positions[..piece.end as usize].get(piece.start as usize)
            else {
                self.run.pieces.pop_front();
                continue;
            };
            if self.run.holding.is_withdrawn() {
                return Rest::Withdrawn;
            }
            let now = clock.now();
            // Events that emit enter `done` elsewhere, and their batches wait for the outlet's poll.
            if self.called > 0 && now.saturating_duration_since(self.reported) >= REPORT_INTERVAL {
                return Rest::Time;
            }
            let record = match piece.round.batch.record_at(*position) {
                Ok(record) => record,
                Err(error) => return Rest::Failed(HandlerError::undecodable(error)),
            };
            self.offset = record.offset;
            self.called += 1;
            let failures = self.run.retried.map_or(0, |retried| retried.attempts);
            let mut cx = Context::new(emitter, now).after(failures);
            cx.turn_to(record.timestamp);
            if let Err(error) = handler.each(&Event::new(&self.run.holding, &record), &mut cx) {
                return Rest::Failed(error);
            }
            let took = cx.took();
            self.step();
            if let Some(took) = took {
                self.parked = Some(now + took);
                return Rest::Parked;
            }
            self.finish(emitter);
        }
    }

    fn step(&mut self) {
        if let Some(piece) = self.run.pieces.front_mut() {
            piece.start += 1;
        }
    }

    /// The event called last returned.
    fn finish(&mut self, emitter: &mut Emitter) {
        if std::mem::take(&mut self.refused) {
            return;
        }
        let run = OffsetRun::new(self.offset, self.offset);
        if emitter.emitted() {
            let (origin, slot) = (self.run.origin, self.run.slot);
            emitter.settle_later(Settled { origin, slot, run, outcome: Outcome::Done });
            return;
        }
        match self.done.last_mut() {
            Some(last) if last.last + 1 == run.first => last.last = run.last,
            _ => self.done.push(run),
        }
    }

    /// The event called last, which failed and is stepped over.
    fn failure(&mut self, error: HandlerError) -> Option<Failure> {
        let piece = self.run.pieces.front()?;
        let position = *piece.round.positions.get(piece.start as usize)?;
        let failure = Failure {
            holding: Arc::clone(&self.run.holding),
            origin: self.run.origin,
            slot: self.run.slot,
            batch: Arc::clone(&piece.round.batch),
            position,
            offset: self.offset,
            error,
        };
        self.step();
        Some(failure)
    }
}

/// Calls a hook of a handler. A panic in it concerns no event, so it is only told.
pub(crate) fn hook(assignment: &Assignment, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        let Assignment { topic, partition, .. } = assignment;
        tracing::error!(%topic, partition, code = %Fault::HandlerFailed, panic = panic_text(&*panic), "a hook of the handler panicked");
    }
}
