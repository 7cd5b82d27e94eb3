//! The turn of a partition on its lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_record::RecordError;
use onrush_runtime::{Fault, Instant};

use super::failing::wait;
use super::{Lane, Runner, earlier, stop};
use crate::admission::{Admitted, admit};
use crate::completed::OffsetRun;
use crate::config::{RUN_EVENTS, Sabotage, UNORDERED_EVENTS};
use crate::emit::Settled;
use crate::error::StopReason;
use crate::handler::{Context, Event};
use crate::inline::{Exceptions, Rest, Tools};
use crate::ledger::LedgerError;
use crate::message::{Asker, ControlInput, Purpose};
use crate::metrics::Outcome;
use crate::parked::{Line, Place, failed_before};
use crate::partition::{Cursor, Partition, State};
use crate::sabotage;
use crate::slot::{Entry, Piece, Retried, Run, UNORDERED};
use crate::source::Batch;

impl Lane {
    /// Whether something was done.
    pub(super) fn turn(&mut self, partition: &mut Partition, clear: bool, now: Instant) -> bool {
        let mut worked = self.depart(partition, now);
        let (paused, unread) = (partition.is_paused(), partition.unread.is_some());
        partition.parked.set_limit(self.parked_share());
        if !partition.parked.is_empty() {
            worked |= self.retry(partition, clear, now);
        }
        if partition.starts() {
            let takes = partition.takes() && !partition.is_held(now);
            worked |= match self.runner {
                Runner::Inline(_) => {
                    let clear = clear && !self.emitter.is_spilled();
                    clear && takes && self.walk(partition, now)
                }
                Runner::Workers { .. } => {
                    (takes && self.scatter(partition, now)) | self.dispatch(partition)
                }
            };
        }
        // What began to leave goes on at once.
        worked |= !paused && partition.is_paused() || !unread && partition.unread.is_some();
        self.calm(partition, now);
        if let State::Draining(deadline) = partition.state {
            worked |= self.drain(partition, deadline, now);
        }
        if partition.fetch_paused
            && (!self.opener.is_short() || partition.source.held() <= self.share / 2)
            && partition.takes_data()
        {
            self.control.push(partition.pause(false));
        }
        partition.mark(now, &self.config.clock);
        partition.show();
        worked
    }

    /// Runs one run of the partition's batch on the lane.
    fn walk(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let Some(cursor) = self.next_batch(partition) else { return false };
        if self.saboteur.waits() {
            return self.walk_damaged(partition, cursor, now);
        }
        let admitted = self.admit(partition, &cursor.batch);
        let exceptions = self.exceptions(partition, now);
        let Runner::Inline(handler) = &mut self.runner else { return false };
        let tools = Tools {
            handler: handler.as_mut(),
            emitter: &mut self.emitter,
            holding: &partition.holding,
            origin: partition.origin,
            ledger: &partition.ledger,
            batch: &cursor.batch,
            admitted,
            exceptions,
            now,
        };
        let rest = self.walked.walk(cursor.position, tools);
        let before = partition.ledger.unfinished();
        if let Err(error) = self.walked.settle(&mut partition.ledger) {
            stop(partition, StopReason::Ledger(error), &self.control);
            return true;
        }
        // What is unfinished more than before waits for acknowledgements or other events, or
        // failed.
        let waiting = partition.ledger.unfinished().saturating_sub(before);
        let uncalled = self.walked.waits.len() as u64;
        let done = (self.walked.called + uncalled).saturating_sub(waiting);
        self.in_flight += waiting;
        self.cells.done.add(done);
        self.cells.done_before.add(self.walked.done_before);
        partition.succeeded(done);
        self.wait(partition, &cursor.batch, now);
        let worked = self.rest(partition, cursor, rest, now);
        worked || uncalled > 0
    }

    /// What a walk has to ask before it calls an event.
    fn exceptions<'a>(&self, partition: &'a Partition, now: Instant) -> Option<Exceptions<'a>> {
        let Partition { ledger, parked, inherited, rung, .. } = partition;
        let predecessor = ledger.window_end() > ledger.taken();
        let waiting = !parked.is_empty() || !inherited.is_empty();
        (predecessor || waiting || rung.delay.is_some()).then(|| Exceptions {
            ledger,
            parked,
            order: self.config.order,
            overtakes: self.saboteur.kind == Sabotage::Overtake,
            inherited,
            room: parked.room(),
            due: partition.due_times(&self.config.clock, now),
        })
    }

    /// What comes after a walk; whether there is more to do at once.
    fn rest(
        &mut self,
        partition: &mut Partition,
        mut cursor: Cursor,
        rest: Rest,
        now: Instant,
    ) -> bool {
        cursor.position = self.walked.position;
        match rest {
            Rest::BatchEnded => return true,
            Rest::Malformed(error) => {
                self.bad_batch(partition, error);
                return true;
            }
            Rest::Failed(error) => {
                let (position, offset) = (self.walked.at as u32, self.walked.offset);
                let place = Place { batch: Arc::clone(&cursor.batch), position, offset };
                let failure = partition.failure(place, UNORDERED, error);
                self.failed(partition, failure, now);
            }
            Rest::Held(held) => partition.hold(held),
            Rest::Admission | Rest::Spilled => {}
        }
        if !partition.takes_data() {
            return true;
        }
        partition.cursor = Some(cursor);
        self.walked.called > 0
    }

    /// [`Lane::walk`] while one event is still to be damaged.
    fn walk_damaged(
        &mut self,
        partition: &mut Partition,
        mut cursor: Cursor,
        now: Instant,
    ) -> bool {
        let start = cursor.position;
        if !self.take(partition, &mut cursor, now) {
            return true;
        }
        for entry in std::mem::take(&mut self.picked) {
            let Ok(record) = cursor.batch.record_at(entry.position) else { continue };
            let (position, offset) = (entry.position, record.offset);
            let place = Place { batch: Arc::clone(&cursor.batch), position, offset };
            let line = Line::of(self.config.order, record.key, offset);
            if partition.parked.holds(line) {
                partition.parked.follow(line, place);
                continue;
            }
            let Runner::Inline(handler) = &mut self.runner else { continue };
            let mut cx = Context::new(&mut self.emitter, now);
            cx.turn_to(record.timestamp);
            let run = OffsetRun::new(record.offset, record.offset);
            if let Err(error) = handler.each(&Event::new(&partition.holding, &record), &mut cx) {
                self.emitter.abandon();
                let failure = partition.failure(place, UNORDERED, error);
                self.failed(partition, failure, now);
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
    fn scatter(&mut self, partition: &mut Partition, now: Instant) -> bool {
        let Some(mut cursor) = self.next_batch(partition) else { return false };
        let before = cursor.taken;
        if !self.take(partition, &mut cursor, now) {
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
    fn take(&mut self, partition: &mut Partition, cursor: &mut Cursor, now: Instant) -> bool {
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
        if let Err(error) = self.pick(partition, cursor, admitted, now) {
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
        mut admitted: Admitted,
        now: Instant,
    ) -> Result<(), LedgerError> {
        self.picked.clear();
        let base = cursor.batch.header().base_offset;
        let excepted = !partition.parked.is_empty() || !partition.inherited.is_empty();
        let due = partition.due_times(&self.config.clock, now);
        let mut run = OffsetRun::new(partition.ledger.taken(), partition.ledger.taken() - 1);
        while let Some(entry) = cursor.entries.get(cursor.taken) {
            let offset = base + i64::from(entry.delta);
            if offset > run.last {
                if self.picked.len() as u64 == admitted.events || offset > admitted.through {
                    break;
                }
                if let Some(due) = due
                    && let Ok(record) = cursor.batch.record_at(entry.position)
                    && let Some(held) = due.holds(&record)
                {
                    partition.hold(held);
                    break;
                }
                let ledger = &mut partition.ledger;
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
                } else if excepted
                    && let Some(line) = self.waits(partition, &cursor.batch, *entry, offset)
                {
                    let length = cursor.batch.length_at(entry.position);
                    if !partition.parked.has_room_for(line, length) {
                        break;
                    }
                    let (batch, position) = (Arc::clone(&cursor.batch), entry.position);
                    wait(partition, line, Place { batch, position, offset }, entry.slot, now);
                    admitted.events -= 1;
                } else {
                    self.picked.push(*entry);
                }
                run.last = offset;
            }
            cursor.taken += 1;
        }
        match run.first <= run.last {
            true => partition.ledger.take(run.first, run.last),
            false => Ok(()),
        }
    }

    /// The line in which an event has to wait.
    fn waits(
        &self,
        partition: &Partition,
        batch: &Batch,
        entry: Entry,
        offset: i64,
    ) -> Option<Line> {
        let key = batch.record_at(entry.position).ok()?.key;
        let line = Line::of(self.config.order, key, offset);
        let overtakes = self.saboteur.kind == Sabotage::Overtake;
        let behind = partition.parked.holds(line) && !overtakes;
        let failed = failed_before(&partition.inherited, offset);
        (behind || (failed && !self.is_behind(partition, entry.slot))).then_some(line)
    }

    /// Whether earlier events of the slot are to be run: some may be of the same key, so an event that
    /// failed at an earlier owner does not begin a line of its own, but runs after them.
    fn is_behind(&self, partition: &Partition, slot: u32) -> bool {
        let is_picked = || self.picked.iter().any(|picked| picked.slot == slot);
        slot != UNORDERED && (partition.slots.is_at_work(slot) || is_picked())
    }

    /// Bytes of events of one partition that may wait for another try.
    fn parked_share(&self) -> usize {
        self.config.parked_bytes / self.indexes.len().max(1)
    }

    /// Notes when nothing fails any more.
    fn calm(&self, partition: &mut Partition, now: Instant) {
        let Some(over) = partition.incidents.over_at() else { return };
        if partition.parked.is_empty() && !partition.is_paused() {
            let Partition { incidents, holding, .. } = partition;
            incidents.calm(&holding.partition, now);
            let over = (over > now).then_some(over);
            partition.due = earlier(partition.due, over);
        }
    }

    /// Gives runs to the workers.
    fn dispatch(&mut self, partition: &mut Partition) -> bool {
        let Runner::Workers { pool, .. } = &self.runner else { return false };
        while let Some((bound, slot, pieces)) = partition.slots.next_run() {
            self.given.push((bound, run(partition, slot, pieces, None)));
        }
        // Two shares for each, so that nobody is out of work while another one is stuck in its.
        let shares = 2 * pool.takers() as u64;
        let share = partition.slots.unordered().div_ceil(shares).clamp(1, UNORDERED_EVENTS);
        while let Some(piece) = partition.slots.next_unordered(share) {
            self.given.push((None, run(partition, UNORDERED, VecDeque::from([piece]), None)));
        }
        let given = !self.given.is_empty();
        if given {
            pool.give(&mut self.given);
        }
        given
    }

    /// The batch in hand, or the next one with events.
    fn next_batch(&mut self, partition: &mut Partition) -> Option<Cursor> {
        if partition.unread.is_some() && !self.skip(partition) {
            return None;
        }
        loop {
            let cursor = match partition.cursor.take() {
                Some(cursor) => cursor,
                None if !self.opener.may_open(&partition.source, self.share) => return None,
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

    /// Events of one partition that may be in flight.
    pub(super) fn part(&self) -> u64 {
        (self.config.in_flight / self.indexes.len().max(1) as u64).max(1)
    }

    fn admit(&self, partition: &Partition, batch: &Batch) -> Admitted {
        // A partition that is paused keeps its part; the others go on with theirs.
        let part = self.part();
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
            return self.bad_again(partition, error);
        }
        tracing::warn!(partition = %name, offset, code = %Fault::CorruptBatch, %error, "a bad batch is fetched once more");
        self.cells.refetched.add(1);
        partition.refetched = Some(offset);
        self.control.push(partition.read_anew());
        partition.source.suspect_next();
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

/// A run of this partition.
pub(super) fn run(
    partition: &Partition,
    slot: u32,
    pieces: VecDeque<Piece>,
    retried: Option<Retried>,
) -> Run {
    let (holding, origin) = (Arc::clone(&partition.holding), partition.origin);
    Run { holding, origin, slot, pieces, retried }
}
