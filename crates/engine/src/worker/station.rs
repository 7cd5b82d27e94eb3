//! A task's place in its group: where it takes runs, and what it does while its handler's future is
//! pending.
//!
//! While a future is pending the task still reads its mail: it gives back what it has not started of
//! a partition that is withdrawn, drops the future when the partition has gone or the event's time
//! is up, and tells what ended before. Per event that costs no allocation and no timer: a task has
//! one timer, which is set again only when it would fire too late.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use onrush_runtime::Instant;
use tokio::time::{Sleep, sleep_until};

use super::group::{Group, TaskInput};
use super::outbox::Outbox;
use super::progress::Progress;
use crate::assignment::{Holding, Origin};
use crate::emit::Settled;
use crate::failure::HandlerError;
use crate::inbox::Inbox;
use crate::message::{LaneInput, Report};
use crate::pool::Pool;
use crate::slot::Run;

/// What a task is told at its start.
pub struct StationConfig {
    /// Its number among all tasks.
    pub number: usize,
    /// Its group.
    pub group: Arc<Group>,
    /// What it is told.
    pub inbox: Arc<Inbox<TaskInput>>,
    /// Where it takes runs from.
    pub pool: Arc<Pool>,
    /// How long an event (or a batch) may take.
    pub time_limit: Option<Duration>,
}

/// See the module.
pub struct Station {
    config: StationConfig,
    pub(crate) outbox: Arc<Outbox>,
    timer: Option<Pin<Box<Sleep>>>,
    mail: VecDeque<TaskInput>,
    /// Hooks that wait until no event is out.
    hooks: VecDeque<TaskInput>,
    /// Partitions that the handler knows of.
    told: Vec<Arc<Holding>>,
    has_hooks: bool,
    has_room: bool,
    closing: bool,
}

/// How a call of a handler ended.
pub(crate) enum Called<R> {
    Returned(R),
    Panicked(HandlerError),
    TimedOut(Duration),
    /// The event's outcome does not count any more.
    Gone,
}

/// Why a task no longer waits for a future.
enum Cut {
    TimedOut,
    Gone,
}

impl Station {
    /// A place for a task.
    pub fn new(config: StationConfig) -> Self {
        Self {
            config,
            outbox: Arc::default(),
            timer: None,
            mail: VecDeque::new(),
            hooks: VecDeque::new(),
            told: Vec::new(),
            has_hooks: true,
            has_room: false,
            closing: false,
        }
    }

    pub(crate) fn set_hooks(&mut self, has_hooks: bool) {
        self.has_hooks = has_hooks;
    }

    pub(crate) fn now(&self) -> Instant {
        self.config.group.config.clock.now()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// The next run, as its beginning.
    pub(crate) fn take(&mut self) -> Option<Progress> {
        let run = self.config.pool.take(self.config.number)?;
        Some(self.begin(run, self.now()))
    }

    /// The next runs, of so many events or a few more.
    pub(crate) fn take_up_to(&mut self, events: u64, taken: &mut Vec<Run>) {
        self.config.pool.take_up_to(self.config.number, events, taken);
    }

    pub(crate) fn begin(&self, run: Run, now: Instant) -> Progress {
        Progress::new(run, self.config.group.config.number, now)
    }

    /// Waits for mail, or a run.
    pub(crate) async fn rest(&self) {
        self.config.inbox.wake().notified().await;
    }

    pub(crate) fn report(&self, report: Report) {
        self.config.group.config.lanes.tell(report.origin.lane, LaneInput::Report(report));
    }

    /// Hands over what is open, since a partition waits for it.
    pub(crate) fn flush(&self) {
        let now = self.now();
        self.config.group.lock().emitter.flush(now);
    }

    /// Reads the mail, while these runs are at work.
    pub(crate) fn receive(&mut self, runs: &mut [Progress]) {
        self.config.inbox.take(&mut self.mail);
        while let Some(input) = self.mail.pop_front() {
            match input {
                TaskInput::Revoked(holding, origin) => {
                    runs.iter_mut().for_each(|run| run.leave(origin));
                    if self.has_hooks {
                        self.hooks.push_back(TaskInput::Revoked(holding, origin));
                    } else {
                        self.config.group.hook_done(origin);
                    }
                }
                TaskInput::Assigned(holding) if self.has_hooks => {
                    self.hooks.push_back(TaskInput::Assigned(holding));
                }
                TaskInput::Assigned(_) | TaskInput::Withdrawn => {}
                TaskInput::Room => self.has_room = true,
                TaskInput::Close => self.closing = true,
            }
        }
    }

    /// A hook that is due now that no event is out.
    pub(crate) fn next_hook(&mut self) -> Option<TaskInput> {
        self.hooks.pop_front()
    }

    /// Whether the handler is to be told now that events of this partition come. A run may be here
    /// before the message that says so.
    pub(crate) fn tell_once(&mut self, holding: &Arc<Holding>) -> bool {
        let knows = self.told.iter().any(|told| Arc::ptr_eq(told, holding));
        let tells = self.has_hooks && !knows && !holding.is_withdrawn();
        if tells {
            self.told.push(Arc::clone(holding));
        }
        tells
    }

    /// What the handler knows of an earlier assignment of the partition, which it has to be told of
    /// first: a run of the later one may be here before the message that the earlier one has ended.
    pub(crate) fn take_earlier(&mut self, holding: &Holding) -> Option<Arc<Holding>> {
        let is_earlier = |told: &Arc<Holding>| {
            told.partition == holding.partition && told.token != holding.token
        };
        let at = self.told.iter().position(is_earlier)?;
        Some(self.told.swap_remove(at))
    }

    /// Whether the handler knows of this assignment, and is to be told now that it has ended.
    pub(crate) fn tell_end(&mut self, holding: &Holding) -> bool {
        let before = self.told.len();
        self.told.retain(|told| told.token != holding.token);
        self.told.len() < before
    }

    /// The handler knows that the partition has gone.
    pub(crate) fn hook_done(&self, origin: Origin) {
        self.config.group.hook_done(origin);
    }

    /// Awaits what a handler returns for events of these runs, which started `now`.
    pub(crate) async fn call<F: Future>(
        &mut self,
        runs: &mut [Progress],
        now: Instant,
        make: impl FnOnce() -> F,
    ) -> Called<F::Output> {
        let future = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(future) => future,
            Err(panic) => return Called::Panicked(HandlerError::panicked(&*panic)),
        };
        let mut future = pin!(Some(future));
        let limit = self.config.time_limit.map(|limit| now + limit);
        let mut poll = |context: &mut Context<'_>| match future.as_mut().as_pin_mut() {
            Some(future) => catch_unwind(AssertUnwindSafe(|| future.poll(context))),
            None => Ok(Poll::Pending),
        };
        let called = poll_fn(|context| match poll(context) {
            Ok(Poll::Ready(output)) => Poll::Ready(Called::Returned(output)),
            Ok(Poll::Pending) => self.wait(runs, limit, context).map(|cut| match cut {
                Cut::TimedOut => Called::TimedOut(self.config.time_limit.unwrap_or_default()),
                Cut::Gone => Called::Gone,
            }),
            Err(panic) => Poll::Ready(Called::Panicked(HandlerError::panicked(&*panic))),
        })
        .await;
        // What it holds is the user's too, and may panic when it is dropped.
        match (catch_unwind(AssertUnwindSafe(|| future.set(None))), called) {
            (Ok(()), called) => called,
            (Err(_), Called::Gone) => Called::Gone,
            (Err(panic), _) => Called::Panicked(HandlerError::panicked(&*panic)),
        }
    }

    /// Hands over what the events below `end` emitted, and lets these wait for it, if that is
    /// anything. `None` if nobody waits for that any more.
    pub(crate) async fn hand_over(
        &mut self,
        runs: &mut [Progress],
        settled: &[Settled],
        end: u32,
    ) -> Option<Result<bool, HandlerError>> {
        while !self.closing && !runs.iter().all(Progress::is_gone) {
            {
                let (group, now) = (&self.config.group, self.now());
                let mut shared = group.lock();
                if !shared.emitter.is_spilled() {
                    let handed = self.outbox.hand_over(end, &mut shared.emitter, now);
                    let waits = handed.is_ok() && shared.emitter.emitted();
                    match waits {
                        true => shared.emitter.settle_all(settled),
                        false => shared.emitter.abandon(),
                    }
                    group.emitted(&shared);
                    return Some(handed.map(|()| waits).map_err(HandlerError::from));
                }
                shared.block(&self.config.inbox);
            }
            poll_fn(|context| match self.wait(runs, None, context) {
                Poll::Pending if std::mem::take(&mut self.has_room) => Poll::Ready(()),
                waited => waited.map(drop),
            })
            .await;
        }
        self.outbox.clear();
        None
    }

    /// What there is to do while a future is pending.
    fn wait(
        &mut self,
        runs: &mut [Progress],
        limit: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Cut> {
        while self.config.inbox.wake().poll_woken(context).is_ready() {
            self.receive(runs);
            let now = self.now();
            self.tell(runs, now);
        }
        if self.closing || runs.iter().all(Progress::is_gone) {
            return Poll::Ready(Cut::Gone);
        }
        loop {
            let due = runs.iter().filter_map(Progress::due).chain(limit).min();
            let Some(due) = due else { return Poll::Pending };
            if self.until(due).poll(context).is_pending() {
                return Poll::Pending;
            }
            let now = self.now();
            if limit.is_some_and(|limit| limit <= now) {
                return Poll::Ready(Cut::TimedOut);
            }
            self.tell(runs, now);
        }
    }

    /// Tells what has ended for some time, and gives back what others may run.
    fn tell(&self, runs: &mut [Progress], now: Instant) {
        for run in runs {
            if run.should_give_back(now) {
                self.report(run.give_back(now));
            } else if run.has_news() && now >= run.report_due() {
                self.report(run.report(now));
            }
        }
    }

    /// The timer; it may fire earlier than `due`.
    fn until(&mut self, due: Instant) -> Pin<&mut Sleep> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.is_elapsed() || timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        timer.as_mut()
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // A task ends when it is told to; else it panicked outside of its handler, or its runtime
        // was shut down, and the engine must not wait for what it had.
        self.config.group.ended(self.closing);
    }
}
