//! A run at work: a state machine without I/O, the same for threads and tasks.
//!
//! ```text
//! next -> an event is out -> done    (nothing emitted, or not waited for)
//!                         -> waiting (for acknowledgements: told elsewhere)
//!                         -> failed  (the run ends)
//! ```
//!
//! [`Progress::report`] tells what ended since the last report.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use onrush_record::Record;
use onrush_runtime::Instant;

use crate::assignment::{Holding, Origin};
use crate::completed::OffsetRun;
use crate::config::REPORT_INTERVAL;
use crate::detail::{KeyStart, SLOW_FROM, Slowest};
use crate::emit::Settled;
use crate::failure::{Failure, HandlerError};
use crate::message::Report;
use crate::metrics::Outcome;
use crate::slot::{Piece, Round, Run, UNORDERED};

/// See the module.
pub(crate) struct Progress {
    run: Run,
    /// What its events emit through.
    emitter: usize,
    /// Events that were started since the last report.
    started: u64,
    done: Vec<OffsetRun>,
    /// Events that are out: the first of the run.
    out: u64,
    /// The one of them that started, or ended, last.
    offset: i64,
    /// Events that took longer than they should have.
    overdue: u64,
    /// The one that took longest.
    slowest: Option<Slowest>,
    reported: Instant,
    /// The run went back while an event of it was out.
    is_back: bool,
    /// No outcome of it counts any more.
    is_gone: bool,
}

/// What comes next in a run.
pub(crate) enum Next<'a> {
    /// This event.
    Event(Started<'a>),
    /// Nothing.
    Ended,
    /// Nothing here: the partition has gone.
    Withdrawn,
    /// An event that cannot be read.
    Unreadable(HandlerError),
}

/// An event that is out.
pub(crate) struct Started<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) holding: &'a Arc<Holding>,
    pub(crate) round: &'a Arc<Round>,
    pub(crate) position: u32,
}

impl Progress {
    pub(crate) fn new(run: Run, emitter: usize, now: Instant) -> Self {
        Self {
            run,
            emitter,
            started: 0,
            done: Vec::new(),
            out: 0,
            offset: -1,
            overdue: 0,
            slowest: None,
            reported: now,
            is_back: false,
            is_gone: false,
        }
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// How often its events failed before.
    pub(crate) fn failures(&self) -> u32 {
        self.run.retried.map_or(0, |retried| retried.attempts)
    }

    /// Starts the next event.
    #[inline]
    pub(crate) fn next(&mut self) -> Next<'_> {
        while self.run.pieces.front().is_some_and(|piece| piece.events() == 0) {
            self.run.pieces.pop_front();
        }
        let Some(Piece { round, start, .. }) = self.run.pieces.front() else { return Next::Ended };
        if self.run.holding.is_withdrawn() {
            return Next::Withdrawn;
        }
        let Some(position) = round.positions.get(*start as usize) else { return Next::Ended };
        match round.batch.record_at(*position) {
            Ok(record) => {
                (self.offset, self.out) = (record.offset, 1);
                self.started += 1;
                let holding = &self.run.holding;
                Next::Event(Started { record, holding, round, position: *position })
            }
            Err(error) => Next::Unreadable(HandlerError::undecodable(error)),
        }
    }

    /// The event that is out has an outcome, or gets it elsewhere: it is no longer part of the run.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.out = self.out.saturating_sub(1);
        if let Some(piece) = self.run.pieces.front_mut() {
            piece.start += 1;
        }
    }

    /// Starts as many of the events as `most` says, all at once; less if one cannot be read.
    pub(crate) fn start_many(&mut self, most: u64, mut each: impl FnMut(Started<'_>)) {
        let holding = &self.run.holding;
        for Piece { round, start, end } in &self.run.pieces {
            for position in &round.positions[*start as usize..*end as usize] {
                let record = round.batch.record_at(*position);
                let Some(record) = record.ok().filter(|_| self.out < most) else { return };
                self.out += 1;
                self.started += 1;
                each(Started { record, holding, round, position: *position });
            }
        }
    }

    /// Events that are out.
    pub(crate) fn out(&self) -> u64 {
        self.out
    }

    /// Nothing is out any more: what was, is next again.
    pub(crate) fn start_over(&mut self) {
        self.out = 0;
    }

    /// Whether nothing of it is to be started here.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.run.holding.is_withdrawn()
    }

    /// The first `count` events that are out, as they wait for what they emitted.
    pub(crate) fn settle_first(&self, count: u64, settled: &mut Vec<Settled>) {
        let (origin, slot) = (self.run.origin, self.run.slot);
        for offset in self.offsets().take(count as usize) {
            let run = OffsetRun::new(offset, offset);
            settled.push(Settled { origin, slot, run, outcome: Outcome::Done });
        }
    }

    /// The first `count` events that are out are done, or wait elsewhere for what they emitted.
    pub(crate) fn finish_first(&mut self, count: u64, waits: bool) {
        for _ in 0..count {
            self.turn_to_first();
            if !waits {
                self.done();
            }
            self.step();
        }
    }

    /// The first event that is out failed.
    pub(crate) fn failure_of_first(&mut self, error: HandlerError) -> Option<Failure> {
        self.turn_to_first();
        self.failure(error)
    }

    fn turn_to_first(&mut self) {
        while self.run.pieces.front().is_some_and(|piece| piece.events() == 0) {
            self.run.pieces.pop_front();
        }
        let first = self.offsets().next();
        self.offset = first.unwrap_or(self.offset);
    }

    /// The offsets of its events from the first that is out, or next, on.
    fn offsets(&self) -> impl Iterator<Item = i64> {
        self.run
            .pieces
            .iter()
            .flat_map(|Piece { round, start, end }| {
                let positions = &round.positions[*start as usize..*end as usize];
                // They were read before.
                positions.iter().filter_map(|position| round.batch.record_at(*position).ok())
            })
            .map(|record| record.offset)
    }

    /// The event that is out is done.
    #[inline]
    pub(crate) fn done(&mut self) {
        let run = OffsetRun::new(self.offset, self.offset);
        match self.done.last_mut() {
            Some(last) if last.last + 1 == run.first => last.last = run.last,
            _ => self.done.push(run),
        }
    }

    /// The event that is out waits for what it emitted.
    pub(crate) fn settled(&self) -> Settled {
        let (origin, slot) = (self.run.origin, self.run.slot);
        let run = OffsetRun::new(self.offset, self.offset);
        Settled { origin, slot, run, outcome: Outcome::Done }
    }

    /// The event that was stepped over last took so long.
    #[inline]
    pub(crate) fn took(&mut self, time: Duration, limit: Option<Duration>) {
        self.overdue += u64::from(limit.is_some_and(|limit| time > limit));
        if time >= SLOW_FROM {
            self.took_long(time);
        }
    }

    #[cold]
    fn took_long(&mut self, took: Duration) {
        if self.slowest.is_none_or(|slowest| took > slowest.took) {
            let key = self.key_of_last();
            self.slowest = Some(Slowest { offset: self.offset, key, took });
        }
    }

    /// The key of the event that was stepped over last.
    fn key_of_last(&self) -> Option<KeyStart> {
        let Piece { round, start, .. } = self.run.pieces.front()?;
        let position = round.positions.get((*start as usize).checked_sub(1)?)?;
        let record = round.batch.record_at(*position).ok()?;
        record.key.filter(|_| record.offset == self.offset).map(KeyStart::of)
    }

    /// Whether something has ended that is not told, so that a slow event must not hide it.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.done.is_empty()
    }

    /// When what has ended is to be told.
    #[inline]
    pub(crate) fn report_due(&self) -> Instant {
        self.reported + REPORT_INTERVAL
    }

    /// Whether so much time has passed in this run that mail and lane should have their turn. Events
    /// that emit are told elsewhere, and their batches wait for whoever polls the emitter.
    #[inline]
    pub(crate) fn is_report_due(&self, now: Instant) -> bool {
        self.started > 0 && now >= self.report_due()
    }

    /// Whether an event has ended since the lane and the mail had their turn.
    #[inline]
    pub(crate) fn has_started(&self) -> bool {
        self.started > 0
    }

    /// Mail and emitter have their turn, and the lane would learn nothing.
    pub(crate) fn rested(&mut self, now: Instant) {
        (self.started, self.reported) = (0, now);
    }

    /// What has ended so far; the run goes on.
    pub(crate) fn report(&mut self, now: Instant) -> Report {
        self.tell(now, None, None)
    }

    /// What has not been started goes back, while something is still out.
    pub(crate) fn give_back(&mut self, now: Instant) -> Report {
        let mut rest = std::mem::take(&mut self.run.pieces);
        let mut kept = self.out;
        while kept > 0
            && let Some(first) = rest.front_mut()
        {
            let out = first.split(kept);
            kept -= out.events();
            self.run.pieces.push_back(out);
            if first.events() == 0 {
                rest.pop_front();
            }
        }
        self.is_back = true;
        self.tell(now, None, Some(rest))
    }

    /// Whether something is left that could go back.
    pub(crate) fn has_rest(&self) -> bool {
        self.run.events() > self.out
    }

    /// Whether what has not been started should go back, since the event that is out takes its time:
    /// nobody runs it here, or anybody may run it.
    pub(crate) fn should_give_back(&self, now: Instant) -> bool {
        let rest_is_free = self.run.slot == UNORDERED && now >= self.report_due();
        self.has_rest() && (rest_is_free || self.run.holding.is_withdrawn())
    }

    /// When something is to be told although no event ends.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waits = self.has_news() || (self.run.slot == UNORDERED && self.has_rest());
        waits.then(|| self.report_due())
    }

    /// The assignment has ended.
    pub(crate) fn leave(&mut self, origin: Origin) {
        self.is_gone |= self.run.origin == origin;
    }

    /// Whether no outcome counts any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// The run ends here: with this failure, or without one.
    pub(crate) fn end(mut self, now: Instant, failed: Option<Failure>) -> Report {
        let mut rest = std::mem::take(&mut self.run.pieces);
        rest.retain(|piece| piece.events() > 0);
        // Of a batch that failed, what was out when the rest went back has to go back too.
        let rest = (!self.is_back || !rest.is_empty()).then_some(rest);
        self.tell(now, failed, rest)
    }

    /// The first event that is out failed.
    pub(crate) fn failure(&mut self, error: HandlerError) -> Option<Failure> {
        let piece = self.run.pieces.front()?;
        let (batch, position) =
            (Arc::clone(&piece.round.batch), *piece.round.positions.get(piece.start as usize)?);
        self.step();
        Some(Failure {
            holding: Arc::clone(&self.run.holding),
            origin: self.run.origin,
            slot: self.run.slot,
            batch,
            position,
            offset: self.offset,
            error,
        })
    }

    fn tell(
        &mut self,
        now: Instant,
        failed: Option<Failure>,
        rest: Option<VecDeque<Piece>>,
    ) -> Report {
        self.started = 0;
        self.reported = now;
        Report {
            origin: self.run.origin,
            slot: self.run.slot,
            emitter: self.emitter,
            done: std::mem::take(&mut self.done),
            overdue: std::mem::take(&mut self.overdue),
            slowest: self.slowest.take(),
            failed,
            rest,
            retried: self.run.retried,
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_record::Compression;

    use super::*;
    use crate::assignment::Assignment;
    use crate::source::testing::{batch, slice};
    use crate::source::{Opener, Source};

    /// A run of the events 0 to 3 of one batch.
    fn progress(slot: u32, now: Instant) -> Progress {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        let events: Vec<(Option<&[u8]>, &[u8])> = vec![(Some(b"k"), b"v"); 4];
        source.push(slice([batch(0, Compression::None, &events)], 4));
        let batch = Arc::new(source.next(&mut opener).unwrap().unwrap());
        let (mut positions, mut next) = (Vec::new(), 0);
        while next < batch.payload().len() {
            positions.push(next as u32);
            next = batch.step(next).unwrap().1;
        }
        let round = Arc::new(Round { batch: Arc::clone(&batch), positions });
        let (topic, member) = ("flights".into(), "member".into());
        let assignment = Assignment { topic, partition: 0, epoch: 1, start: 0, member };
        let run = Run {
            holding: Arc::new(Holding::new(assignment, 1)),
            origin: Origin { lane: 0, index: 0, token: 1 },
            slot,
            pieces: VecDeque::from([Piece { round, start: 0, end: 4 }]),
            retried: None,
        };
        Progress::new(run, 0, now)
    }

    fn events(rest: Option<&VecDeque<Piece>>) -> Option<u64> {
        rest.map(|rest| rest.iter().map(Piece::events).sum())
    }

    #[test]
    fn of_a_batch_that_fails_after_its_rest_went_back_nothing_is_lost() {
        let now = Instant::now();
        let mut run = progress(UNORDERED, now);
        let mut started = 0;
        run.start_many(3, |_| started += 1);
        let later = now + REPORT_INTERVAL;
        assert!(run.should_give_back(later));
        assert_eq!((started, events(run.give_back(later).rest.as_ref())), (3, Some(1)));
        // The first is done, the second failed, and the third goes back.
        run.finish_first(1, false);
        let failed = run.failure_of_first(HandlerError::msg("asked to"));
        let report = run.end(later, failed);
        assert_eq!(report.done, [OffsetRun::new(0, 0)]);
        assert_eq!(report.failed.map(|failure| failure.offset), Some(1));
        assert_eq!(events(report.rest.as_ref()), Some(1));
    }

    #[test]
    fn a_run_that_went_back_goes_back_once() {
        let now = Instant::now();
        let mut run = progress(UNORDERED, now);
        run.start_many(3, |_| {});
        run.give_back(now);
        run.finish_first(3, false);
        assert!(run.end(now, None).rest.is_none());
        assert_eq!(events(progress(7, now).end(now, None).rest.as_ref()), Some(4));
    }
}
