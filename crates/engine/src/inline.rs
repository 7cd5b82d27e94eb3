//! `each`: the handler runs on the lane, for a run of a batch's events at a time, without any
//! hand-off.
//!
//! Per event there is the walk, the call and a few compares; panics are caught per run, and the
//! offset noted before each call names the event at fault. What the run's events became is told to
//! the ledger in runs of offsets, usually one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use onrush_record::{Record, RecordError};
use onrush_runtime::Instant;

use crate::admission::Admitted;
use crate::assignment::{Holding, Origin};
use crate::completed::OffsetRun;
use crate::emit::{Emitter, Settled};
use crate::failure::HandlerError;
use crate::handler::{Context, Event, Handler};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::Outcome;
use crate::slot::UNORDERED;
use crate::source::Batch;

/// Why a walk rests.
#[derive(Debug)]
pub(crate) enum Rest {
    /// All records of the batch were walked.
    BatchEnded,
    /// No more may be taken now.
    Admission,
    /// What the last event emitted found no room.
    Spilled,
    /// The last event failed.
    Failed(HandlerError),
    /// The next record is malformed.
    Malformed(RecordError),
}

/// What a walk works with.
pub(crate) struct Tools<'a> {
    pub(crate) handler: &'a mut dyn Handler,
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) holding: &'a Holding,
    pub(crate) origin: Origin,
    pub(crate) ledger: &'a Ledger,
    pub(crate) batch: &'a Batch,
    pub(crate) admitted: Admitted,
    pub(crate) now: Instant,
}

/// How far a walk came. Its list is used again from run to run.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Where the next record of the batch starts.
    pub(crate) position: usize,
    /// Events that were called.
    pub(crate) called: u64,
    /// Events that a predecessor had finished.
    pub(crate) done_before: u64,
    /// Where the event called last starts.
    pub(crate) at: usize,
    /// Its offset.
    pub(crate) offset: i64,
    first: i64,
    last: i64,
    /// The first offset that is in no run of `done` and may still become done.
    next: i64,
    done: Vec<OffsetRun>,
}

impl Walked {
    /// Calls the handler with the records of a batch from `position` on.
    pub(crate) fn walk(&mut self, position: usize, mut tools: Tools<'_>) -> Rest {
        let first = tools.ledger.taken();
        self.done.clear();
        (self.position, self.called, self.done_before) = (position, 0, 0);
        (self.first, self.next, self.last) = (first, first, first - 1);
        let walked = catch_unwind(AssertUnwindSafe(|| self.records(&mut tools)));
        let rest = walked.unwrap_or_else(|panic| Rest::Failed(HandlerError::panicked(&*panic)));
        match rest {
            Rest::Failed(_) => {
                tools.emitter.abandon();
                self.leave_out(self.offset);
            }
            Rest::BatchEnded => {
                // What compaction removed at the end; if it is too far it is passed before the next
                // batch.
                let end = tools.batch.header().last_offset();
                if end > self.last && tools.ledger.reaches(end) {
                    self.last = end;
                }
            }
            Rest::Admission | Rest::Spilled | Rest::Malformed(_) => {}
        }
        rest
    }

    fn records(&mut self, tools: &mut Tools<'_>) -> Rest {
        let batch = tools.batch;
        let mut caller = Caller {
            handler: &mut *tools.handler,
            cx: Context::new(tools.emitter, tools.now),
            holding: tools.holding,
            origin: tools.origin,
            predecessor: (tools.ledger.window_end() > self.first).then_some(tools.ledger),
            admitted: tools.admitted,
        };
        if self.position > 0 {
            return self.resume(batch, &mut caller);
        }
        let mut records = batch.records();
        loop {
            let at = records.position();
            match records.next() {
                Some(Ok(record)) => {
                    if let Some(rest) = caller.visit(self, &record, at, records.position()) {
                        return rest;
                    }
                }
                Some(Err(error)) => return Rest::Malformed(error),
                None => return Rest::BatchEnded,
            }
        }
    }

    fn resume(&mut self, batch: &Batch, caller: &mut Caller<'_>) -> Rest {
        while self.position < batch.payload().len() {
            let at = self.position;
            match batch.step(at) {
                Ok((record, next)) => {
                    if let Some(rest) = caller.visit(self, &record, at, next) {
                        return rest;
                    }
                }
                Err(error) => return Rest::Malformed(error),
            }
        }
        Rest::BatchEnded
    }

    /// The event at `offset` is not done when the walk ends.
    fn leave_out(&mut self, offset: i64) {
        if self.next < offset {
            self.done.push(OffsetRun::new(self.next, offset - 1));
        }
        self.next = offset + 1;
    }

    /// Tells the ledger what was taken and what of it is done.
    pub(crate) fn settle(&mut self, ledger: &mut Ledger) -> Result<(), LedgerError> {
        if self.last < self.first {
            return Ok(());
        }
        if self.next == self.first {
            return ledger.pass(self.first, self.last);
        }
        ledger.take(self.first, self.last)?;
        if self.next <= self.last {
            self.done.push(OffsetRun::new(self.next, self.last));
        }
        self.done.iter().try_for_each(|run| ledger.settle(*run))
    }
}

/// Calls a handler with one record after the other.
struct Caller<'a> {
    handler: &'a mut dyn Handler,
    cx: Context<'a>,
    holding: &'a Holding,
    origin: Origin,
    /// Set while a predecessor may have finished what comes next.
    predecessor: Option<&'a Ledger>,
    admitted: Admitted,
}

impl Caller<'_> {
    #[inline(always)]
    fn visit(
        &mut self,
        walked: &mut Walked,
        record: &Record<'_>,
        at: usize,
        next: usize,
    ) -> Option<Rest> {
        let offset = record.offset;
        if offset <= walked.last {
            // Below the offset that was asked for: a batch is fetched whole.
            walked.position = next;
            return None;
        }
        if walked.called == self.admitted.events || offset > self.admitted.through {
            walked.position = at;
            return Some(Rest::Admission);
        }
        (walked.last, walked.position) = (offset, next);
        if self.predecessor.is_some_and(|ledger| ledger.is_done(offset)) {
            walked.done_before += 1;
            return None;
        }
        (walked.at, walked.offset) = (at, offset);
        walked.called += 1;
        self.cx.turn_to(record.timestamp);
        if let Err(error) = self.handler.each(&Event::new(self.holding, record), &mut self.cx) {
            return Some(Rest::Failed(error));
        }
        if self.cx.emitter().emitted() { self.emitted(walked) } else { None }
    }

    /// The event called last emitted something.
    fn emitted(&mut self, walked: &mut Walked) -> Option<Rest> {
        let (origin, run) = (self.origin, OffsetRun::new(walked.offset, walked.offset));
        let emitter = self.cx.emitter();
        emitter.settle_later(Settled { origin, slot: UNORDERED, run, outcome: Outcome::Done });
        walked.leave_out(walked.offset);
        emitter.is_spilled().then_some(Rest::Spilled)
    }
}
