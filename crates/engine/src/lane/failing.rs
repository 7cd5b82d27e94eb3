//! What a lane does with events that failed: parks them with their key, tries them again when it is
//! time, lets them leave for another topic, or stops.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onrush_runtime::Instant;

use super::turn::run;
use super::{Lane, Runner, dead_letter_topic, earlier, stop};
use crate::completed::OffsetRun;
use crate::config::{RUN_EVENTS, Sabotage};
use crate::departure::{Bucket, Departure, Failed, Hurdle, Leaving};
use crate::emit::Settled;
use crate::error::StopReason;
use crate::failure::{ErrorClass, Failure, HandlerError, error_text};
use crate::handler::{Context, Event};
use crate::inbox::Inbox;
use crate::incident;
use crate::message::{Asker, ControlInput, Purpose};
use crate::metrics::Outcome;
use crate::parked::{Line, Place, Trial, Waiting};
use crate::partition::Partition;
use crate::retry::{Answer, PAUSE_LIMIT};
use crate::retry_topic::Rung;
use crate::slot::{Piece, Retried, Round, UNORDERED};
use crate::source::Batch;

/// What is to be done with an event that failed.
enum Decision {
    /// It is tried again.
    Again(Instant),
    /// Its tries are used up, but it must not leave yet: it is tried again in the meantime.
    Starve(Instant),
    /// It waits to be told to go on, and so does its key or the partition.
    Pause { partition: bool },
    /// It leaves; its token may be spent already.
    Leave { bucket: Bucket, paid: bool, towards: Towards },
    /// The partition stops.
    Stop,
}

/// Where an event goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    DeadLetters,
    RetryTopic,
}

impl Decision {
    /// What it is to an incident; a stop has a line of its own.
    fn step(&self) -> Option<incident::Step> {
        match self {
            Self::Again(_) => Some(incident::Step::Retrying),
            Self::Leave { .. } => Some(incident::Step::Leaving),
            Self::Pause { partition: false } => Some(incident::Step::PausedKey),
            Self::Pause { partition: true } | Self::Starve(_) => {
                Some(incident::Step::PausedPartition)
            }
            Self::Stop => None,
        }
    }
}

impl Lane {
    /// An event failed. Gives the line that begins with it: later events of it have to wait.
    pub(super) fn failed(
        &mut self,
        partition: &mut Partition,
        failure: Failure,
        now: Instant,
    ) -> Option<Line> {
        self.cells.failed.add(1);
        let Failure { slot, batch, position, offset, error, .. } = failure;
        let place = Place { batch, position, offset };
        let out = partition.parked.out(offset).map(|(line, trial)| (line, trial.clone()));
        let (known, trial) = out.map_or((None, None), |(line, trial)| (Some(line), Some(trial)));
        if partition.by_hand.remove(&offset) {
            if let Some(line) = known {
                self.released(partition, line, now);
            }
            return None;
        }
        let mut trial = trial.unwrap_or_else(|| partition.trial(offset));
        trial.failed(error_text(&error), self.config.clock.wall_millis());
        if !partition.takes_data() {
            // Nothing of it is run here any more: its next owner goes on counting.
            partition.give_up(offset, trial);
            return None;
        }
        let decision = self.decide(partition, &trial, &error, now);
        if let Some(step) = decision.step() {
            let name = &partition.holding.partition;
            partition.incidents.failed(name, offset, step, &trial.error, now);
        }
        let due = match decision {
            Decision::Again(due) | Decision::Starve(due) => Some(due),
            Decision::Pause { partition: whole } => {
                partition.held |= whole;
                None
            }
            Decision::Leave { bucket, paid, towards } => {
                if let Some(line) = known {
                    self.released(partition, line, now);
                }
                let departure = self.departure(partition, place, slot, trial, paid, towards);
                partition.gate(bucket).push(departure);
                return None;
            }
            Decision::Stop => {
                let error = trial.error.clone();
                match known {
                    // What it is remembered by is what it is parked with.
                    Some(line) => partition.parked.back(line, trial, false, None),
                    None => partition.give_up(offset, trial),
                }
                stop(partition, StopReason::Handler { offset, error }, &self.control);
                return None;
            }
        };
        let starved = matches!(decision, Decision::Starve(_));
        match known {
            Some(line) => {
                partition.parked.back(line, trial, starved, due);
                None
            }
            None => self.park(partition, Waiting { place, slot, trial }, starved, due),
        }
    }

    fn park(
        &self,
        partition: &mut Partition,
        waiting: Waiting,
        starved: bool,
        due: Option<Instant>,
    ) -> Option<Line> {
        let line = self.line(&waiting.place);
        if partition.parked.holds(line) {
            partition.parked.follow(line, waiting.place);
            return None;
        }
        partition.parked.begin(line, waiting, starved, due);
        Some(line)
    }

    /// The line of an event.
    pub(super) fn line(&self, place: &Place) -> Line {
        let key = place.batch.record_at(place.position).ok().and_then(|record| record.key);
        Line::of(self.config.order, key, place.offset)
    }

    fn decide(
        &self,
        partition: &mut Partition,
        trial: &Trial,
        error: &HandlerError,
        now: Instant,
    ) -> Decision {
        let policy = &self.config.failures;
        let pause = || policy.retry.pause(trial.attempts, &self.config.random).min(PAUSE_LIMIT);
        let answer = |answer, bucket| match answer {
            Answer::DeadLetter => {
                Decision::Leave { bucket, paid: false, towards: Towards::DeadLetters }
            }
            Answer::PauseKey => Decision::Pause { partition: false },
            Answer::PausePartition => Decision::Pause { partition: true },
            Answer::Stop => Decision::Stop,
        };
        match policy.classes.of(error) {
            ErrorClass::Retry { after } if !policy.retry.is_used_up(trial.attempts) => {
                Decision::Again(now + after.unwrap_or_else(pause).min(PAUSE_LIMIT))
            }
            ErrorClass::Retry { .. } => {
                let bucket = Bucket::Failed;
                let towards = match (&partition.rung.next, policy.exhausted) {
                    (Some(_), _) => Towards::RetryTopic,
                    (None, Answer::DeadLetter) => Towards::DeadLetters,
                    (None, other) => return answer(other, bucket),
                };
                // While it may not leave, what it needs may come back.
                match partition.gate(bucket).admits(now) {
                    true => Decision::Leave { bucket, paid: true, towards },
                    false => Decision::Starve(now + pause()),
                }
            }
            ErrorClass::DeadLetter => answer(Answer::DeadLetter, Bucket::Failed),
            ErrorClass::Undecodable => answer(policy.undecodable, Bucket::Undecodable),
            ErrorClass::Fatal => answer(policy.fatal, Bucket::Failed),
        }
    }

    fn departure(
        &self,
        partition: &Partition,
        place: Place,
        slot: u32,
        trial: Trial,
        paid: bool,
        towards: Towards,
    ) -> Departure {
        let Rung { origin, next, .. } = &partition.rung;
        if let (Towards::RetryTopic, Some((topic, delay))) = (towards, next) {
            let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            let due = Some(self.config.clock.wall_millis().saturating_add(delay));
            let leaving = Leaving::Event(Failed { place, slot, trial, due });
            return Departure { leaving, topic: Arc::clone(topic), paid };
        }
        let topic = dead_letter_topic(self.config.dead_letter_topic.as_deref(), origin).into();
        let leaving = Leaving::Event(Failed { place, slot, trial, due: None });
        Departure { leaving, topic, paid }
    }

    /// The event of a line that is out has left it: what was behind it goes on.
    pub(super) fn released(&self, partition: &mut Partition, line: Line, now: Instant) {
        if matches!(self.runner, Runner::Inline(_)) {
            return partition.advance(line, now);
        }
        if let Some((head, behind)) = partition.parked.end(line) {
            for place in behind {
                partition.slots.add(head.slot, alone(place));
            }
        }
    }

    /// Parks what is queued in a slot and belongs to a line that began.
    pub(super) fn divert(&self, partition: &mut Partition, slot: u32, line: Line) {
        if self.saboteur.kind == Sabotage::Overtake || !matches!(line, Line::Key(_)) {
            return;
        }
        let order = self.config.order;
        let Partition { slots, parked, .. } = partition;
        slots.divert(slot, |batch, position| {
            let Ok(record) = batch.record_at(position) else { return false };
            let (key, offset) = (record.key, record.offset);
            let waits = Line::of(order, key, offset) == line;
            if waits {
                parked.follow(line, Place { batch: Arc::clone(batch), position, offset });
            }
            waits
        });
    }

    /// Sends what leaves, as far as there are tokens and room; whether something was sent.
    pub(super) fn depart(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let mut worked = false;
        for bucket in [Bucket::Failed, Bucket::Undecodable] {
            if partition.stopped.is_some() || partition.gate(bucket).is_empty() {
                continue;
            }
            if self.saboteur.kind == Sabotage::Vanish {
                vanish(partition, bucket);
                continue;
            }
            let (holding, origin) = (Arc::clone(&partition.holding), partition.origin);
            let (sent, hurdle) =
                partition.gate(bucket).send(&holding, origin, &mut self.emitter, now);
            worked |= sent > 0;
            match hurdle {
                None | Some(Hurdle::Room) => {}
                Some(Hurdle::Token(next)) => {
                    partition.due = earlier(partition.due, next);
                    let (name, step) = (holding.partition.clone(), incident::Step::PausedPartition);
                    partition.incidents.grew(&name, step);
                }
                Some(Hurdle::Topic(topic)) => {
                    let asker = Asker::Lane(self.config.number);
                    let wanted = ControlInput::TopicWanted(asker, topic, Purpose::Departure);
                    self.control.push(wanted);
                }
                Some(Hurdle::Refused(reason)) => refuse(partition, bucket, reason, &self.control),
            }
        }
        worked
    }

    /// Tries events again whose time has come.
    pub(super) fn retry(&mut self, partition: &mut Partition, clear: bool, now: Instant) -> bool {
        let worked = match self.runner {
            Runner::Inline(_) => clear && self.retry_inline(partition, now),
            Runner::Workers { .. } => self.retry_on_workers(partition, now),
        };
        partition.due = earlier(partition.due, partition.parked.next(now));
        worked
    }

    fn retry_inline(&mut self, partition: &mut Partition, now: Instant) -> bool {
        for tried in 0..RUN_EVENTS {
            if self.emitter.is_spilled() || !partition.takes_data() {
                return tried > 0;
            }
            let Some((line, waiting)) = partition.parked.take_due(now) else { return tried > 0 };
            self.cells.retried.add(u64::from(waiting.trial.attempts > 0));
            match self.call(partition, &waiting, now) {
                Ok(()) => self.passed(partition, line, waiting.place.offset, now),
                Err(error) => {
                    let failure = partition.failure(waiting.place, UNORDERED, error);
                    self.failed(partition, failure, now);
                }
            }
        }
        true
    }

    fn retry_on_workers(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let Runner::Workers { pool, .. } = &self.runner else { return false };
        let mut blocked = Vec::new();
        while let Some((line, waiting)) = partition.parked.take_due(now) {
            let Waiting { place, slot, trial } = waiting;
            // Other keys of the slot run: their report comes before its turn.
            let Some(bound) = partition.slots.lend(slot) else {
                blocked.push(line);
                continue;
            };
            self.cells.retried.add(1);
            let retried = Some(Retried { offset: place.offset, attempts: trial.attempts });
            let pieces = VecDeque::from([alone(place)]);
            self.given.push((bound, run(partition, slot, pieces, retried)));
        }
        let given = !self.given.is_empty();
        pool.give(&mut self.given);
        blocked.into_iter().for_each(|line| partition.parked.wait(line, now));
        given
    }

    /// The run of an event that was tried again came back; `rest` has the event if it was not
    /// started.
    pub(super) fn retry_returned(
        &mut self,
        partition: &mut Partition,
        slot: u32,
        offset: i64,
        started: bool,
        now: Instant,
    ) {
        let by_hand = !started && partition.by_hand.remove(&offset);
        match partition.parked.out(offset).map(|(line, _)| line) {
            Some(line) if started => self.released(partition, line, now),
            Some(line) if by_hand => {
                partition.slots.finished(slot, 1);
                self.released(partition, line, now);
            }
            Some(line) => {
                partition.slots.finished(slot, 1);
                partition.parked.wait(line, now);
            }
            None if started => {}
            None => {
                partition.slots.finished(slot, 1);
                partition.given_up += u64::from(!by_hand);
            }
        }
    }

    /// Events that a walk did not call wait: behind others, or since they failed at an earlier
    /// owner, and then they are tried at once.
    pub(super) fn wait(&mut self, partition: &mut Partition, batch: &Arc<Batch>, now: Instant) {
        for (line, position, offset) in self.walked.waits.drain(..) {
            let place = Place { batch: Arc::clone(batch), position, offset };
            wait(partition, line, place, UNORDERED, now);
        }
    }

    fn call(
        &mut self,
        partition: &Partition,
        waiting: &Waiting,
        now: Instant,
    ) -> Result<(), HandlerError> {
        let Runner::Inline(handler) = &mut self.runner else { return Ok(()) };
        let Place { batch, position, .. } = &waiting.place;
        let record = batch.record_at(*position).map_err(HandlerError::undecodable)?;
        let mut cx = Context::new(&mut self.emitter, now).after(waiting.trial.attempts);
        let event = Event::new(&partition.holding, &record);
        cx.turn_to(event.timestamp);
        let called = catch_unwind(AssertUnwindSafe(|| handler.each(&event, &mut cx)));
        let result = called.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)));
        if result.is_err() {
            self.emitter.abandon();
        }
        result
    }

    /// An event that was tried again on the lane succeeded.
    fn passed(&mut self, partition: &mut Partition, line: Line, offset: i64, now: Instant) {
        let run = OffsetRun::new(offset, offset);
        if self.emitter.emitted() {
            let (origin, slot) = (partition.origin, UNORDERED);
            self.emitter.settle_later(Settled { origin, slot, run, outcome: Outcome::Done });
        } else if let Err(error) = partition.ledger.settle(run) {
            return stop(partition, StopReason::Ledger(error), &self.control);
        } else {
            self.cells.done.add(1);
            partition.succeeded(1);
        }
        self.released(partition, line, now);
    }
}

/// Sabotage: what is to leave has its outcome without being written.
fn vanish(partition: &mut Partition, bucket: Bucket) {
    for departure in partition.gate(bucket).clear() {
        let run = OffsetRun::new(departure.offset(), departure.offset());
        partition.ledger.settle(run).unwrap_or_else(|error| tracing::debug!(%error, "sabotage"));
    }
}

/// The dead letters do not take the event that is next.
pub(super) fn refuse(
    partition: &mut Partition,
    bucket: Bucket,
    reason: String,
    control: &Inbox<ControlInput>,
) {
    if let Some(departure) = partition.gate(bucket).first() {
        let (offset, error) = (departure.offset(), departure.error().to_owned());
        stop(partition, StopReason::DeadLetter { offset, error, reason }, control);
    }
}

/// An event waits in a line, or begins it.
pub(super) fn wait(partition: &mut Partition, line: Line, place: Place, slot: u32, now: Instant) {
    if partition.parked.holds(line) {
        return partition.parked.follow(line, place);
    }
    let trial = partition.trial(place.offset);
    partition.parked.begin(line, Waiting { place, slot, trial }, false, Some(now));
}

/// A piece of one event.
fn alone(place: Place) -> Piece {
    let Place { batch, position, .. } = place;
    Piece { round: Arc::new(Round { batch, positions: vec![position] }), start: 0, end: 1 }
}
