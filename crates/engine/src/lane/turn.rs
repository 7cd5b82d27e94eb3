//! The turn of a partition on its lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_record::RecordError;
use onrush_runtime::{Fault, Instant};

use super::{Lane, Runner, dead_letter_topic, earlier, stop};
use crate::admission::{Admitted, admit};
use crate::completed::OffsetRun;
use crate::config::RUN_EVENTS;
use crate::emit::{OutletError, Settled};
use crate::error::StopReason;
use crate::failure::{Failure, HandlerError};
use crate::handler::{Context, Event};
use crate::inline::{Rest, Tools};
use crate::ledger::LedgerError;
use crate::message::{Asker, ControlInput, Post, Purpose, WorkerInput};
use crate::metrics::Outcome;
use crate::partition::{Cursor, Partition, State};
use crate::sabotage;
use crate::slot::{Entry, Run, UNORDERED};
use crate::source::Batch;

impl Lane {
    /// Whether something was done.
    pub(super) fn turn(&mut self, partition: &mut Partition, clear: bool, now: Instant) -> bool {
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
            self.control.push(partition.pause(false));
        }
        partition.mark(now, &self.config.clock);
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
                    let (offset, error) = (failure.offset, failure.error.to_string());
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
        error: HandlerError,
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
                self.fail(partition, &cursor.batch, entry.position, record.offset, error);
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

    /// Takes entries from the ledger: gaps between them are done, and so is what a predecessor
    /// finished.
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
        tracing::warn!(partition = %name, offset, code = %Fault::CorruptBatch, %error, "a bad batch is fetched once more");
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
        let proposal = partition.propose(self.saboteur.kind, now);
        let (partition, token) = (partition.holding.partition.clone(), partition.holding.token);
        self.control.push(ControlInput::Drained { partition, token, proposal, running });
        true
    }

    /// Whether an event may be started that may emit.
    pub(super) fn unspill(&mut self, now: Instant) -> bool {
        self.emitter.unspill(now).unwrap_or_else(|undelivered| {
            self.undelivered(&undelivered.origins, &undelivered.reason);
            true
        })
    }

    pub(super) fn ask_for_topic(&mut self) {
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
