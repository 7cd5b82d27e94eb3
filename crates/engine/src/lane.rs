//! A lane: owns partitions, from fetched slice to outcome.
//!
//! `run_once` reads the mail (slices, reports of workers, acknowledgements, orders of the control driver), then gives every
//! partition a turn: dead letters that wait, the next run of its batch (called inline, or scattered to slots), runs for the
//! workers, the end of a drain. A turn takes one run at most, so mail waits for no longer than that.
//!
//! A lane has no lock and does no I/O; what it wants done it tells the control driver. Everything that comes back carries the
//! assignment's token, and what belongs to another assignment changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_kafka::TopicPartition;
use onrush_record::RecordError;
use onrush_runtime::{Clock, Instant, Step, Work};

use crate::admission::{Admitted, admit};
use crate::assignment::Origin;
use crate::commit::{Proposal, Verdict};
use crate::completed::OffsetRun;
use crate::config::{BATCH_BYTES, Order, PARTITION_SHARE_MIN, RUN_EVENTS, Sabotage, Saboteur};
use crate::dead_letter::{Failure, TOPIC_SUFFIX};
use crate::emit::{Emitter, OutletError, Settled};
use crate::error::StopReason;
use crate::handler::{Context, Event, Handler};
use crate::inbox::Inbox;
use crate::inline::{Rest, Tools, Walked};
use crate::ledger::{Finished, LedgerError};
use crate::message::{
    Asker, Assign, ControlInput, LaneInput, Post, Purpose, Report, WorkerInput, stopped,
};
use crate::metrics::{LaneCells, Outcome};
use crate::partition::{Cursor, Partition, State};
use crate::sabotage;
use crate::slot::{Entry, Run, UNORDERED};
use crate::source::{Batch, Opener, Slice};
use crate::worker::hook;

/// Where a lane's events run.
pub enum Runner {
    /// On the lane.
    Inline(Box<dyn Handler>),
    /// On workers.
    Workers(Vec<Arc<Post>>),
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
    /// Bytes of decompressed batches that it may have alive when it opens another.
    pub open_bytes: usize,
    /// The configured dead-letter topic.
    pub dead_letter_topic: Option<Arc<str>>,
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
        Self {
            config,
            inbox,
            control,
            runner,
            emitter,
            opener: Opener::new(BATCH_BYTES),
            cells,
            saboteur: Saboteur::default(),
            partitions: Vec::new(),
            indexes: BTreeMap::new(),
            mail: VecDeque::new(),
            walked: Walked::default(),
            entries: Vec::new(),
            picked: Vec::new(),
            settled: Vec::new(),
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
        let mut until = self.emitter.poll(now);
        let clear = self.unspill(now);
        self.in_flight =
            self.partitions.iter().flatten().map(|partition| partition.ledger.unfinished()).sum();
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

/// Mail.
impl Lane {
    fn receive(&mut self, input: LaneInput, now: Instant) {
        match input {
            LaneInput::Assign(assign) => self.assign(*assign),
            LaneInput::Fetched { partition, token, slice } => {
                self.fetched(&partition, token, slice)
            }
            LaneInput::OutOfRange { partition, token, log_start, end } => {
                self.out_of_range(&partition, token, log_start, end);
            }
            LaneInput::FetchFailed { partition, token, error } => {
                if let Some(partition) = self.reading(&partition, token) {
                    let control = Arc::clone(&self.control);
                    let partition = self.partitions[partition].as_mut();
                    partition.into_iter().for_each(|partition| {
                        stop(partition, StopReason::Fetch(error.clone()), &control)
                    });
                }
            }
            LaneInput::Report(report) => self.report(report),
            LaneInput::Settled(settled) => {
                settled.into_iter().for_each(|settled| self.settle(settled))
            }
            LaneInput::Undelivered { origins, reason } => self.undelivered(&origins, &reason),
            LaneInput::Delivered(delivery) => {
                let mut settled = std::mem::take(&mut self.settled);
                let result = self.emitter.delivered(delivery, &mut settled);
                settled.drain(..).for_each(|settled| self.settle(settled));
                self.settled = settled;
                if let Err(undelivered) = result {
                    self.undelivered(&undelivered.origins, &undelivered.reason);
                }
            }
            LaneInput::Commit => {
                let kind = self.saboteur.kind;
                let proposals = self
                    .partitions
                    .iter()
                    .flatten()
                    .filter(|partition| partition.state != State::Leaving);
                let proposals = proposals.filter_map(|partition| partition.propose(kind)).collect();
                self.control.push(ControlInput::Proposals(self.config.number, proposals));
            }
            LaneInput::Answered(proposal, verdict) => self.answered(&proposal, verdict),
            LaneInput::Revoke(partition, deadline) => self.revoke(&partition, deadline, now),
            LaneInput::Release(partition) => self.leave(&partition),
            LaneInput::Lost(partition) => self.leave(&partition),
            LaneInput::HookDone(origin) => self.hook_done(origin),
            LaneInput::Share(share) => self.share = share.max(PARTITION_SHARE_MIN),
            LaneInput::Topic(topic, result) => self.topic(&topic, result),
            LaneInput::Close => self.closing = true,
        }
    }

    fn assign(&mut self, assign: Assign) {
        let name = assign.holding.partition.clone();
        if self.indexes.contains_key(&name) {
            self.leave(&name);
        }
        let index = self.partitions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.partitions.push(None);
            self.partitions.len() - 1
        });
        let (lane, token) = (self.config.number as u32, assign.holding.token);
        let origin = Origin { lane, index: index as u32, token };
        let partition = Partition::new(assign, origin, self.config.order, self.config.slots);
        let holding = &partition.holding;
        match &mut self.runner {
            Runner::Inline(handler) => {
                hook(&holding.assignment, || handler.assigned(&holding.assignment))
            }
            Runner::Workers(posts) => {
                posts
                    .iter()
                    .for_each(|post| post.inbox.push(WorkerInput::Assigned(Arc::clone(holding))));
            }
        }
        self.control.push(ControlInput::Fetch(
            name.clone(),
            partition.fetch_token,
            partition.ledger.taken(),
        ));
        self.indexes.insert(name, index as u32);
        self.partitions[index] = Some(Box::new(partition));
    }

    /// The partition that is read under `token`.
    fn reading(&self, partition: &TopicPartition, token: u64) -> Option<usize> {
        let index = *self.indexes.get(partition)? as usize;
        let current = self.partitions[index]
            .as_ref()
            .is_some_and(|held| held.fetch_token == token && held.takes_data());
        if !current {
            self.cells.stale.add(1);
        }
        current.then_some(index)
    }

    fn current(&mut self, origin: Origin) -> Option<&mut Partition> {
        let held = self.partitions.get_mut(origin.index as usize)?.as_deref_mut();
        held.filter(|partition| partition.origin == origin)
    }

    fn fetched(&mut self, partition: &TopicPartition, token: u64, slice: Slice) {
        if let Some(index) = self.reading(partition, token)
            && let Some(partition) = &mut self.partitions[index]
        {
            partition.cells.end.store(slice.high_watermark, Ordering::Relaxed);
            partition.source.push(slice);
            if partition.source.bytes() > self.share && !partition.fetch_paused {
                partition.fetch_paused = true;
                self.control.push(ControlInput::Pause(partition.holding.partition.clone(), true));
            }
        }
    }

    /// What is next has expired, or the cluster has lost the end of the log.
    fn out_of_range(&mut self, name: &TopicPartition, token: u64, log_start: i64, end: i64) {
        let Some(index) = self.reading(name, token) else { return };
        let Some(partition) = &mut self.partitions[index] else { return };
        let next = partition.ledger.taken();
        partition.cells.end.store(end, Ordering::Relaxed);
        if next < log_start {
            tracing::error!(partition = %name, from = next, to = log_start, "events expired before they were read");
            self.cells.gaps.add((log_start - next) as u64);
            if !partition.ledger.has_room(log_start - 1) {
                // What is open below is lost to nobody: it runs, and its outcome has no meaning to a log that begins later.
                partition.restart(log_start);
            } else if let Err(error) = partition.ledger.pass(next, log_start - 1) {
                stop(partition, StopReason::Ledger(error), &self.control);
                return;
            }
        } else if next > end {
            tracing::error!(partition = %name, next, end, "the log ends below what was read from it: it was cut");
            partition.restart(end);
        }
        self.control.push(partition.read_anew());
    }

    fn report(&mut self, report: Report) {
        let Report { origin, slot, done, failed, rest } = report;
        for run in done {
            self.settle(Settled { origin, slot, run, outcome: Outcome::Done });
        }
        let failures = u64::from(failed.is_some());
        self.cells.failed.add(failures);
        let Some(partition) = self.current(origin) else { return };
        partition.slots.finished(slot, failures);
        partition.failures.extend(failed);
        if let Some(rest) = rest {
            partition.slots.returned(slot, rest);
            if partition.state != State::Active {
                partition.forget_unstarted();
            }
        }
    }

    fn settle(&mut self, settled: Settled) {
        let Settled { origin, slot, run, outcome } = settled;
        let strict = self.saboteur.kind == Sabotage::None;
        let (cells, control) = (Arc::clone(&self.cells), Arc::clone(&self.control));
        let Some(partition) = self.current(origin) else {
            cells.stale.add(1);
            return;
        };
        let result = match strict {
            true => partition.ledger.finish(origin.token, run),
            false => partition.ledger.settle(run).map(|()| Finished::Counted),
        };
        match result {
            Ok(Finished::Counted) => {}
            Ok(Finished::Stale) => return,
            Err(error) => return stop(partition, StopReason::Ledger(error), &control),
        }
        match outcome {
            Outcome::Done => {
                cells.done.add(run.count());
                partition.slots.finished(slot, run.count());
                partition.tokens.succeeded(run.count());
            }
            Outcome::DeadLettered => cells.dead_lettered.add(run.count()),
        }
    }

    fn undelivered(&mut self, origins: &[Origin], reason: &str) {
        let control = Arc::clone(&self.control);
        for origin in origins {
            if let Some(partition) = self.current(*origin) {
                stop(partition, StopReason::Emit(reason.to_owned()), &control);
            }
        }
    }

    fn answered(&mut self, proposal: &Proposal, verdict: Verdict) {
        let Some(index) = self.indexes.get(&proposal.partition) else { return };
        let Some(partition) = &mut self.partitions[*index as usize] else { return };
        if partition.holding.token == proposal.token {
            partition.commit.answered(proposal.offset, proposal.version, verdict);
            partition
                .cells
                .committed
                .store(partition.commit.committed().unwrap_or(-1), Ordering::Relaxed);
        }
    }

    fn revoke(&mut self, name: &TopicPartition, deadline: Instant, now: Instant) {
        let Some(index) = self.indexes.get(name) else { return };
        let Some(partition) = &mut self.partitions[*index as usize] else { return };
        partition.state = State::Draining(deadline);
        // What is not started goes back: its next owner runs it, and the completed-set tells which it is.
        partition.holding.withdraw();
        partition.forget_unstarted();
        self.emitter.flush(now);
        if let Runner::Workers(posts) = &self.runner {
            posts.iter().for_each(|post| post.inbox.push(WorkerInput::Flush));
        }
    }

    /// The partition goes: no outcome of it counts any more.
    fn leave(&mut self, name: &TopicPartition) {
        let Some(index) = self.indexes.get(name).map(|index| *index as usize) else { return };
        let Some(partition) = &mut self.partitions[index] else { return };
        if partition.hooks > 0 {
            return;
        }
        partition.state = State::Leaving;
        partition.holding.withdraw();
        partition.forget_unstarted();
        let (holding, origin) = (Arc::clone(&partition.holding), partition.origin);
        match &mut self.runner {
            Runner::Inline(handler) => {
                hook(&holding.assignment, || handler.revoked(&holding.assignment));
                self.remove(index);
            }
            Runner::Workers(posts) => {
                partition.hooks = posts.len();
                posts.iter().for_each(|post| {
                    post.inbox.push(WorkerInput::Revoked(Arc::clone(&holding), origin))
                });
            }
        }
    }

    fn hook_done(&mut self, origin: Origin) {
        if let Some(partition) = self.current(origin) {
            partition.hooks = partition.hooks.saturating_sub(1);
            if partition.hooks == 0 {
                self.remove(origin.index as usize);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(partition) = self.partitions[index].take() {
            let Partition { holding, .. } = *partition;
            // A later assignment of the same partition may have come while hooks of this one ran.
            if self.indexes.get(&holding.partition) == Some(&(index as u32)) {
                self.indexes.remove(&holding.partition);
            }
            self.control.push(ControlInput::Released(holding.partition.clone(), holding.token));
        }
    }

    fn topic(&mut self, topic: &str, result: Result<(), String>) {
        let Err(reason) = result else { return };
        let origins = self.emitter.refuse(topic);
        self.undelivered(&origins, &reason);
        let (dead_letters, control) =
            (self.config.dead_letter_topic.clone(), Arc::clone(&self.control));
        for partition in self.partitions.iter_mut().flatten() {
            let Some(Failure { offset, error, .. }) = partition.failures.front() else { continue };
            if dead_letter_topic(dead_letters.as_deref(), &partition.holding.assignment.topic)
                == topic
            {
                let (offset, error, reason) = (*offset, error.clone(), reason.clone());
                stop(partition, StopReason::DeadLetter { offset, error, reason }, &control);
            }
        }
    }
}

/// Turns.
impl Lane {
    /// Whether something was done.
    fn turn(&mut self, partition: &mut Partition, clear: bool, now: Instant) -> bool {
        let mut worked = self.send_failures(partition, now);
        if partition.takes() {
            worked |= match self.runner {
                Runner::Inline(_) => {
                    clear && !self.emitter.is_spilled() && self.walk(partition, now)
                }
                Runner::Workers(_) => self.scatter(partition) | self.dispatch(partition),
            };
        }
        if let State::Draining(deadline) = partition.state {
            worked |= self.drain(partition, deadline, now);
        }
        if partition.fetch_paused
            && partition.source.bytes() <= self.share / 2
            && partition.takes_data()
        {
            partition.fetch_paused = false;
            self.control.push(ControlInput::Pause(partition.holding.partition.clone(), false));
        }
        partition.show();
        worked
    }

    /// Sends failed events to the dead letters, as far as there are tokens and room.
    fn send_failures(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let before = partition.failures.len();
        while partition.stopped.is_none()
            && let Some(failure) = partition.failures.front()
        {
            if !partition.tokens.spend(now) {
                partition.due = partition.tokens.next();
                break;
            }
            let topic = dead_letter_topic(
                self.config.dead_letter_topic.as_deref(),
                &failure.holding.assignment.topic,
            );
            match failure.send(&topic, &mut self.emitter, now) {
                Ok(()) => {
                    partition.failures.pop_front();
                    continue;
                }
                Err(OutletError::Full) => {}
                Err(OutletError::UnknownTopic) => {
                    let asker = Asker::Lane(self.config.number);
                    self.control.push(ControlInput::TopicWanted(
                        asker,
                        topic.into(),
                        Purpose::DeadLetter,
                    ));
                }
                Err(OutletError::Refused(reason)) => {
                    let (offset, error) = (failure.offset, failure.error.clone());
                    stop(
                        partition,
                        StopReason::DeadLetter { offset, error, reason },
                        &self.control,
                    );
                }
            }
            partition.tokens.give_back();
            break;
        }
        before > partition.failures.len()
    }

    /// Runs one run of the partition's batch on the lane.
    fn walk(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let Some(cursor) = self.next_batch(partition) else { return false };
        if self.saboteur.waits() {
            return self.walk_damaged(partition, cursor, now);
        }
        let admitted = self.admit(partition, &cursor.batch);
        let Runner::Inline(handler) = &mut self.runner else { return false };
        let tools = Tools {
            handler: handler.as_mut(),
            emitter: &mut self.emitter,
            holding: &partition.holding,
            origin: partition.origin,
            ledger: &partition.ledger,
            batch: &cursor.batch,
            admitted,
            now,
        };
        let rest = self.walked.walk(cursor.position, tools);
        let before = partition.ledger.unfinished();
        if let Err(error) = self.walked.settle(&mut partition.ledger) {
            stop(partition, StopReason::Ledger(error), &self.control);
            return true;
        }
        // What is unfinished more than before waits for acknowledgements, or failed.
        let waiting = partition.ledger.unfinished().saturating_sub(before);
        let done = self.walked.called.saturating_sub(waiting);
        self.in_flight += waiting;
        self.cells.done.add(done);
        self.cells.done_before.add(self.walked.done_before);
        partition.tokens.succeeded(done);
        self.rest(partition, cursor, rest)
    }

    /// What comes after a walk; whether there is more to do at once.
    fn rest(&mut self, partition: &mut Partition, mut cursor: Cursor, rest: Rest) -> bool {
        cursor.position = self.walked.position;
        match rest {
            Rest::BatchEnded => return true,
            Rest::Malformed(error) => {
                self.bad_batch(partition, error);
                return true;
            }
            Rest::Failed(error) => {
                let (position, offset) = (self.walked.at as u32, self.walked.offset);
                self.fail(partition, &cursor.batch, position, offset, error);
            }
            Rest::Admission | Rest::Spilled => {}
        }
        partition.cursor = Some(cursor);
        self.walked.called > 0
    }

    fn fail(
        &mut self,
        partition: &mut Partition,
        batch: &Arc<Batch>,
        position: u32,
        offset: i64,
        error: String,
    ) {
        self.cells.failed.add(1);
        let (holding, batch) = (Arc::clone(&partition.holding), Arc::clone(batch));
        let origin = partition.origin;
        partition.failures.push_back(Failure {
            holding,
            origin,
            slot: UNORDERED,
            batch,
            position,
            offset,
            error,
        });
    }

    /// [`Lane::walk`] while one event is still to be damaged.
    fn walk_damaged(
        &mut self,
        partition: &mut Partition,
        mut cursor: Cursor,
        now: Instant,
    ) -> bool {
        let start = cursor.position;
        if !self.take(partition, &mut cursor) {
            return true;
        }
        for entry in std::mem::take(&mut self.picked) {
            let Ok(record) = cursor.batch.record_at(entry.position) else { continue };
            let Runner::Inline(handler) = &mut self.runner else { continue };
            let mut cx = Context::new(&mut self.emitter, now);
            cx.turn_to(record.timestamp);
            let run = OffsetRun::new(record.offset, record.offset);
            if let Err(error) = handler.each(&Event::new(&partition.holding, &record), &mut cx) {
                self.emitter.abandon();
                self.fail(
                    partition,
                    &cursor.batch,
                    entry.position,
                    record.offset,
                    error.to_string(),
                );
            } else if self.emitter.emitted() {
                let origin = partition.origin;
                self.emitter.settle_later(Settled {
                    origin,
                    slot: UNORDERED,
                    run,
                    outcome: Outcome::Done,
                });
            } else if let Err(error) = partition.ledger.settle(run) {
                stop(partition, StopReason::Ledger(error), &self.control);
            } else {
                self.cells.done.add(1);
            }
        }
        match cursor.entries.get(cursor.taken) {
            Some(next) => {
                let position = next.position as usize;
                let moved = position > start;
                partition.cursor =
                    Some(Cursor { position, entries: Vec::new(), taken: 0, ..cursor });
                moved
            }
            None => {
                self.end_batch(partition, cursor);
                true
            }
        }
    }

    /// Takes events for the slots.
    fn scatter(&mut self, partition: &mut Partition) -> bool {
        let Some(mut cursor) = self.next_batch(partition) else { return false };
        let before = cursor.taken;
        if !self.take(partition, &mut cursor) {
            return true;
        }
        partition.slots.scatter(&cursor.batch, &self.picked);
        if cursor.taken < cursor.entries.len() {
            let worked = cursor.taken > before;
            partition.cursor = Some(cursor);
            return worked;
        }
        self.end_batch(partition, cursor);
        true
    }

    /// Takes what is admitted of a batch into `picked`; false if the batch or the ledger is bad.
    fn take(&mut self, partition: &mut Partition, cursor: &mut Cursor) -> bool {
        if cursor.entries.is_empty() {
            cursor.entries = std::mem::take(&mut self.entries);
            cursor.entries.clear();
            if let Err(error) = index(partition, cursor) {
                self.bad_batch(partition, error);
                return false;
            }
        }
        let admitted = self.admit(partition, &cursor.batch);
        let before = partition.ledger.unfinished();
        if let Err(error) = self.pick(partition, cursor, admitted) {
            stop(partition, StopReason::Ledger(error), &self.control);
            return false;
        }
        self.in_flight += partition.ledger.unfinished().saturating_sub(before);
        if self.saboteur.waits()
            && let Some(lost) = sabotage::damage(&self.saboteur, &cursor.batch, &mut self.picked)
            && let Err(error) = partition.ledger.settle(OffsetRun::new(lost, lost))
        {
            stop(partition, StopReason::Ledger(error), &self.control);
        }
        true
    }

    /// Takes entries from the ledger: gaps between them are done, and so is what a predecessor finished.
    fn pick(
        &mut self,
        partition: &mut Partition,
        cursor: &mut Cursor,
        admitted: Admitted,
    ) -> Result<(), LedgerError> {
        self.picked.clear();
        let (base, ledger) = (cursor.batch.header().base_offset, &mut partition.ledger);
        let mut run = OffsetRun::new(ledger.taken(), ledger.taken() - 1);
        while let Some(entry) = cursor.entries.get(cursor.taken) {
            let offset = base + i64::from(entry.delta);
            if offset > run.last {
                if self.picked.len() as u64 == admitted.events || offset > admitted.through {
                    break;
                }
                if offset > run.last + 1 {
                    if run.first <= run.last {
                        ledger.take(run.first, run.last)?;
                    }
                    ledger.pass(run.last + 1, offset - 1)?;
                    self.cells.gaps.add((offset - 1 - run.last) as u64);
                    run = OffsetRun::new(ledger.taken(), ledger.taken() - 1);
                    continue;
                }
                if ledger.is_done(offset) {
                    self.cells.done_before.add(1);
                } else {
                    self.picked.push(*entry);
                }
                run.last = offset;
            }
            cursor.taken += 1;
        }
        if run.first <= run.last { ledger.take(run.first, run.last) } else { Ok(()) }
    }

    /// Gives runs to the workers.
    fn dispatch(&mut self, partition: &mut Partition) -> bool {
        let Runner::Workers(posts) = &self.runner else { return false };
        let mut given = false;
        let mut give = |worker: usize, slot, pieces| {
            let run = Run {
                holding: Arc::clone(&partition.holding),
                origin: partition.origin,
                slot,
                pieces,
            };
            posts[worker].add(run.events());
            posts[worker].inbox.push(WorkerInput::Run(run));
            given = true;
        };
        while let Some((worker, slot, pieces)) = partition.slots.next_run(|| least_loaded(posts)) {
            give(worker, slot, pieces);
        }
        let share = partition.slots.unordered().div_ceil(posts.len() as u64).clamp(1, RUN_EVENTS);
        while let Some(piece) = partition.slots.next_unordered(share) {
            give(least_loaded(posts), UNORDERED, VecDeque::from([piece]));
        }
        given
    }

    /// The batch in hand, or the next one with events.
    fn next_batch(&mut self, partition: &mut Partition) -> Option<Cursor> {
        loop {
            let cursor = match partition.cursor.take() {
                Some(cursor) => cursor,
                None if self.opener.bytes_alive() > self.config.open_bytes => return None,
                None => match partition.source.next(&mut self.opener)? {
                    Ok(batch) => {
                        self.cells.batches.add(1);
                        self.cells.bytes.add(batch.length() as u64);
                        let age = self.config.clock.wall_millis() - batch.header().max_timestamp;
                        self.cells
                            .latency
                            .store(u64::try_from(age).unwrap_or(0), Ordering::Relaxed);
                        Cursor {
                            batch: Arc::new(batch),
                            position: 0,
                            entries: Vec::new(),
                            taken: 0,
                        }
                    }
                    Err(error) => {
                        self.bad_batch(partition, error);
                        return None;
                    }
                },
            };
            let header = cursor.batch.header();
            let is_gap = header.attributes.is_control() || header.record_count == 0;
            let gap_end = if is_gap { header.last_offset() } else { header.base_offset - 1 };
            if !self.pass_gap(partition, gap_end) {
                partition.cursor = Some(cursor);
                return None;
            }
            if header.last_offset() >= partition.ledger.taken() {
                return Some(cursor);
            }
        }
    }

    /// Passes what lies before the next event; false if that has to wait for events that are open.
    fn pass_gap(&mut self, partition: &mut Partition, last: i64) -> bool {
        let first = partition.ledger.taken();
        if last < first {
            return true;
        }
        if !partition.ledger.has_room(last) {
            return false;
        }
        self.cells.gaps.add((last - first + 1) as u64);
        if let Err(error) = partition.ledger.pass(first, last) {
            stop(partition, StopReason::Ledger(error), &self.control);
            return false;
        }
        true
    }

    fn admit(&self, partition: &Partition, batch: &Batch) -> Admitted {
        // A partition that is paused keeps its part; the others go on with theirs.
        let part = (self.config.in_flight / self.indexes.len().max(1) as u64).max(1);
        let free = self.config.in_flight.saturating_sub(self.in_flight).min(RUN_EVENTS);
        let free = free.min(part.saturating_sub(partition.ledger.unfinished()));
        admit(&partition.ledger, batch.header().last_offset(), free, partition.admission_limit())
    }

    /// All events of a batch were taken; what compaction removed after them is a gap.
    fn end_batch(&mut self, partition: &mut Partition, cursor: Cursor) {
        self.entries = cursor.entries;
        // Without room it is passed before the next batch.
        self.pass_gap(partition, cursor.batch.header().last_offset());
    }

    /// A batch that cannot be read is fetched once more; it may have been broken on its way.
    fn bad_batch(&mut self, partition: &mut Partition, error: RecordError) {
        let (offset, name) = (partition.ledger.taken(), partition.holding.partition.clone());
        if partition.refetched == Some(offset) {
            return stop(partition, StopReason::Batch(error), &self.control);
        }
        tracing::warn!(partition = %name, offset, %error, "a bad batch is fetched once more");
        self.cells.refetched.add(1);
        partition.refetched = Some(offset);
        self.control.push(partition.read_anew());
    }

    fn drain(&mut self, partition: &mut Partition, deadline: Instant, now: Instant) -> bool {
        let running = partition.running();
        if running > 0 && now < deadline {
            partition.due = earlier(partition.due, Some(deadline));
            return false;
        }
        self.cells.left_running.add(running);
        partition.state = State::Leaving;
        let proposal = partition.propose(self.saboteur.kind);
        let (partition, token) = (partition.holding.partition.clone(), partition.holding.token);
        self.control.push(ControlInput::Drained { partition, token, proposal, running });
        true
    }

    /// Whether an event may be started that may emit.
    fn unspill(&mut self, now: Instant) -> bool {
        self.emitter.unspill(now).unwrap_or_else(|undelivered| {
            self.undelivered(&undelivered.origins, &undelivered.reason);
            true
        })
    }

    fn ask_for_topic(&mut self) {
        if let Some(topic) = self.emitter.unknown_topic() {
            let asker = Asker::Lane(self.config.number);
            self.control.push(ControlInput::TopicWanted(asker, topic.into(), Purpose::Emit));
        }
    }
}

/// Lists the records of a batch, for the slots of the partition.
fn index(partition: &Partition, cursor: &mut Cursor) -> Result<(), RecordError> {
    let batch = Arc::clone(&cursor.batch);
    let (base, mut records) = (batch.header().base_offset, batch.records());
    loop {
        let position = records.position();
        let Some(record) = records.next().transpose()? else { return Ok(()) };
        if position >= cursor.position {
            let (delta, slot) = ((record.offset - base) as u32, partition.slots.of(record.key));
            cursor.entries.push(Entry { position: position as u32, delta, slot });
        }
    }
}

fn least_loaded(posts: &[Arc<Post>]) -> usize {
    (0..posts.len()).min_by_key(|worker| posts[*worker].load()).unwrap_or(0)
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
    tracing::error!(partition = %partition.holding.partition, offset, %reason, "partition is stopped");
    control.push(stopped(&partition.holding.partition, offset, reason.clone()));
    partition.stopped = Some(reason);
    partition.holding.withdraw();
    partition.forget_unstarted();
    partition.show();
}

#[cfg(test)]
mod tests;
