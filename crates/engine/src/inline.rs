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
use crate::config::Order;
use crate::emit::{Emitter, Settled};
use crate::failure::HandlerError;
use crate::handler::{Context, Event, Handler};
use crate::ledger::{Ledger, LedgerError};
use crate::lineage::event_time;
use crate::metadata::Note;
use crate::metrics::Outcome;
use crate::parked::{Line, Parked, failed_before};
use crate::retry_topic::{Due, Held};
use crate::slot::UNORDERED;
use crate::source::Batch;

/// Why a walk rests.
#[derive(Debug)]
pub(crate) enum Rest {
    /// All records of the batch were walked.
    BatchEnded,
    /// No more may be taken now.
    Admission,
    /// The next event is not due.
    Held(Held),
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
    pub(crate) exceptions: Option<Exceptions<'a>>,
    pub(crate) now: Instant,
}

/// What is asked about an event before it is called, while a predecessor's outcomes, parked keys or
/// a time that has not come may keep it from being called.
pub(crate) struct Exceptions<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) parked: &'a Parked,
    pub(crate) order: Order,
    /// Sabotage: nothing waits behind others.
    pub(crate) overtakes: bool,
    /// Events that failed at a predecessor, lowest offset first.
    pub(crate) inherited: &'a [Note],
    /// Bytes that may still be parked.
    pub(crate) room: usize,
    /// In a retry topic.
    pub(crate) due: Option<Due>,
}

impl Exceptions<'_> {
    fn of(&mut self, record: &Record<'_>, length: usize) -> Exception {
        if self.ledger.is_done(record.offset) {
            return Exception::Done;
        }
        if let Some(held) = self.due.and_then(|due| due.holds(record)) {
            return Exception::Held(held);
        }
        if self.parked.is_empty() && self.inherited.is_empty() {
            return Exception::None;
        }
        let line = Line::of(self.order, record.key, record.offset);
        let begins = self.overtakes || !self.parked.holds(line);
        if begins && !failed_before(self.inherited, record.offset) {
            return Exception::None;
        }
        match self.room.checked_sub(length) {
            Some(room) => {
                self.room = room;
                Exception::Waits { line, begins }
            }
            None if begins => Exception::Waits { line, begins },
            None => Exception::Full,
        }
    }
}

enum Exception {
    None,
    Done,
    /// It may be the one that later ones of its key wait for.
    Waits {
        line: Line,
        begins: bool,
    },
    Full,
    Held(Held),
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
    /// Events that were not called, since they wait behind others or failed at a predecessor.
    pub(crate) waits: Vec<(Line, u32, i64)>,
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
        self.waits.clear();
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
            Rest::Admission | Rest::Held(_) | Rest::Spilled | Rest::Malformed(_) => {}
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
            exceptions: tools.exceptions.take(),
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
    /// Set while not every event is simply called.
    exceptions: Option<Exceptions<'a>>,
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
        let last = walked.last;
        (walked.last, walked.position) = (offset, next);
        if let Some(exceptions) = &mut self.exceptions {
            match exceptions.of(record, next - at) {
                Exception::None => {}
                Exception::Done => {
                    walked.done_before += 1;
                    return None;
                }
                Exception::Waits { line, begins } => {
                    walked.waits.push((line, at as u32, offset));
                    walked.leave_out(offset);
                    self.admitted.events -= 1;
                    // What comes next may belong to the line that begins.
                    return begins.then_some(Rest::Admission);
                }
                Exception::Full => {
                    (walked.last, walked.position) = (last, at);
                    return Some(Rest::Admission);
                }
                Exception::Held(held) => {
                    (walked.last, walked.position) = (last, at);
                    return Some(Rest::Held(held));
                }
            }
        }
        (walked.at, walked.offset) = (at, offset);
        walked.called += 1;
        self.cx.turn_to(event_time(self.holding, record));
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
