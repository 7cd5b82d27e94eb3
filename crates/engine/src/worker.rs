//! Workers: they take runs from the [`pool`](crate::pool), and run the events of each one after the
//! other.
//!
//! What is common to all is the state of a run at work, `Progress`: which event is next, what has
//! ended and is not told yet, what goes back. It does no I/O and calls nothing; who drives it is a
//! thread that calls a handler which may block (`thread`), or a task that awaits one (`task`,
//! `batch`; the tasks of a `group` share an emitter).
//!
//! A run ends when all its events were called, when one failed, or when its partition was
//! withdrawn; what was not started goes back to the lane. Finished events are told at the run's end
//! and every few milliseconds, so that a slow event does not hold back those before it. A thread, which
//! can tell nothing while its handler blocks, tells them before every call if calls are slow.

pub(crate) mod batch;
mod call_time;
pub(crate) mod group;
mod outbox;
pub(crate) mod progress;
pub(crate) mod station;
pub(crate) mod task;
pub(crate) mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use onrush_runtime::Fault;

pub use group::{Group, TaskInput, Team};
pub use outbox::AsyncContext;
pub use station::{Station, StationConfig};
pub use task::Tasks;
pub use thread::{Worker, WorkerConfig};

use crate::assignment::Assignment;
use crate::emit::{Settled, Undelivered};
use crate::failure::panic_text;
use crate::inbox::Inbox;
use crate::message::LaneInput;

/// Calls a hook of a handler. A panic in it concerns no event, so it is only told.
pub(crate) fn hook(assignment: &Assignment, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        let Assignment { topic, partition, .. } = assignment;
        tracing::error!(%topic, partition, code = %Fault::HandlerFailed, panic = panic_text(&*panic), "a hook of the handler panicked");
    }
}

/// The lanes, as workers see them.
#[derive(Clone)]
pub struct Lanes(pub Vec<Arc<Inbox<LaneInput>>>);

impl Lanes {
    pub(crate) fn tell(&self, lane: u32, input: LaneInput) {
        self.0[lane as usize].push(input);
    }

    /// Events whose emitted records are acknowledged.
    pub(crate) fn settled(&self, settled: Vec<Settled>) {
        for (lane, inbox) in self.0.iter().enumerate() {
            let own = settled.iter().filter(|settled| settled.origin.lane as usize == lane);
            let own: Vec<_> = own.copied().collect();
            if !own.is_empty() {
                inbox.push(LaneInput::Settled(own));
            }
        }
    }

    pub(crate) fn undelivered(&self, undelivered: Undelivered) {
        for origin in undelivered.origins {
            let reason = undelivered.reason.clone();
            self.tell(origin.lane, LaneInput::Undelivered { origins: vec![origin], reason });
        }
    }
}
