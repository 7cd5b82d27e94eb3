//! A group of tasks: what they share.
//!
//! Tasks of a group emit through one emitter, so that there are as many appenders as cores and not
//! as many as tasks. It is behind a lock that is taken once per event that emitted something. A
//! *driver* of the group reads its mail, on the control driver's executor: acknowledgements, topics
//! and orders are dealt with although every handler of the group is at work.
//!
//! What a task emits while another one's records are kept for want of room has to wait; the driver
//! tells who waits when there is room again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush_runtime::{Clock, Instant};
use tokio::time::timeout_at;

use super::Lanes;
use crate::assignment::{Holding, Origin};
use crate::emit::{Emitter, Undelivered};
use crate::inbox::Inbox;
use crate::message::{Asker, ControlInput, LaneInput, Purpose, WorkerInput};

/// To a task.
#[derive(Debug)]
pub enum TaskInput {
    /// A partition came.
    Assigned(Arc<Holding>),
    /// A partition has gone; say when the handler knows.
    Revoked(Arc<Holding>, Origin),
    /// A partition is withdrawn: give back what has not been started.
    Withdrawn,
    /// There is room for what was emitted.
    Room,
    /// End.
    Close,
}

/// What a group is told at its start.
pub struct Team {
    /// Its number, which is that of its emitter.
    pub number: usize,
    /// What it is told.
    pub inbox: Arc<Inbox<WorkerInput>>,
    /// What its tasks are told.
    pub tasks: Vec<Arc<Inbox<TaskInput>>>,
    /// Whom they tell what became of their runs.
    pub lanes: Lanes,
    /// Whom it asks for topics.
    pub control: Arc<Inbox<ControlInput>>,
    /// For the time at which an event starts.
    pub clock: Clock,
}

/// See the module.
pub struct Group {
    pub(crate) config: Team,
    shared: Mutex<Shared>,
    /// A task has ended that was not told to.
    lost: AtomicBool,
}

/// What the lock protects.
pub(crate) struct Shared {
    pub(crate) emitter: Emitter,
    /// When the driver looks at the emitter again by itself.
    due: Option<Instant>,
    /// Tasks that wait for room.
    blocked: Vec<Arc<Inbox<TaskInput>>>,
    /// Partitions that have gone, and how many tasks do not know yet.
    leaving: BTreeMap<(u32, u32, u64), (Origin, usize)>,
    ended: usize,
    closing: bool,
}

impl Group {
    /// A group that emits through `emitter`.
    pub fn new(config: Team, emitter: Emitter) -> Self {
        let shared = Shared {
            emitter,
            due: None,
            blocked: Vec::new(),
            leaving: BTreeMap::new(),
            ended: 0,
            closing: false,
        };
        Self { config, shared: Mutex::new(shared), lost: AtomicBool::new(false) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        // An emitter is whole between calls: what panics is a handler, which never has the lock.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver; ends when it was told to and all tasks have ended.
    pub async fn drive(self: Arc<Self>) {
        let mut mail = VecDeque::new();
        loop {
            let wake = self.config.inbox.wake();
            self.config.inbox.take(&mut mail);
            let Some(due) = self.turn(&mut mail) else { return };
            match due {
                None => wake.notified().await,
                // The time has come, or there is mail: both are looked at.
                Some(due) => drop(timeout_at(due, wake.notified()).await),
            }
        }
    }

    /// Whether all tasks ended because they were told to.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lost.load(Ordering::Relaxed)
    }

    /// Reads mail; when to look again, or `None` at the end.
    fn turn(&self, mail: &mut VecDeque<WorkerInput>) -> Option<Option<Instant>> {
        let now = self.config.clock.now();
        let mut shared = self.lock();
        for input in mail.drain(..) {
            self.receive(&mut shared, input, now);
        }
        let clear = shared.emitter.unspill(now).unwrap_or_else(|undelivered| {
            self.config.lanes.undelivered(undelivered);
            true
        });
        // After what was kept has been added: that lingers too.
        shared.due = shared.emitter.poll(now);
        if clear {
            shared.blocked.drain(..).for_each(|task| task.push(TaskInput::Room));
        }
        if let Some(topic) = shared.emitter.unknown_topic() {
            let asker = Asker::Worker(self.config.number);
            let wanted = ControlInput::TopicWanted(asker, topic.into(), Purpose::Emit);
            self.config.control.push(wanted);
        }
        if shared.closing && shared.ended == self.config.tasks.len() {
            shared.emitter.flush(now);
            return None;
        }
        Some(shared.due)
    }

    fn receive(&self, shared: &mut Shared, input: WorkerInput, now: Instant) {
        match input {
            WorkerInput::Assigned(holding) => {
                self.tell(|| TaskInput::Assigned(Arc::clone(&holding)));
            }
            WorkerInput::Revoked(holding, origin) => {
                let tasks = self.config.tasks.len() - shared.ended;
                if tasks == 0 {
                    return self.config.lanes.tell(origin.lane, LaneInput::HookDone(origin));
                }
                shared.leaving.insert(key(origin), (origin, self.config.tasks.len()));
                self.tell(|| TaskInput::Revoked(Arc::clone(&holding), origin));
            }
            WorkerInput::Flush => {
                shared.emitter.flush(now);
                self.tell(|| TaskInput::Withdrawn);
            }
            WorkerInput::Delivered(delivery) => {
                let mut settled = Vec::new();
                let result = shared.emitter.delivered(delivery, &mut settled);
                self.config.lanes.settled(settled);
                result.unwrap_or_else(|undelivered| self.config.lanes.undelivered(undelivered));
            }
            WorkerInput::Topic(topic, Err(reason)) => {
                if let Some(origins) = shared.emitter.refuse(&topic) {
                    self.config.lanes.undelivered(Undelivered { origins, reason });
                }
            }
            WorkerInput::Topic(_, Ok(())) => {}
            WorkerInput::Close => {
                shared.closing = true;
                self.tell(|| TaskInput::Close);
            }
        }
    }

    fn tell(&self, input: impl Fn() -> TaskInput) {
        self.config.tasks.iter().for_each(|task| task.push(input()));
    }

    /// A task has emitted something: the driver has to look at it, if it would not by itself.
    pub(crate) fn emitted(&self, shared: &Shared) {
        if shared.due.is_none() || shared.emitter.is_spilled() {
            self.config.inbox.wake().wake();
        }
    }

    /// A task knows that a partition has gone.
    pub(crate) fn hook_done(&self, origin: Origin) {
        let mut shared = self.lock();
        let Some((_, left)) = shared.leaving.get_mut(&key(origin)) else { return };
        *left -= 1;
        if *left == 0 {
            shared.leaving.remove(&key(origin));
            self.config.lanes.tell(origin.lane, LaneInput::HookDone(origin));
        }
    }

    /// A task has ended, of its own accord or not.
    pub(crate) fn ended(&self, well: bool) {
        self.lock().ended += 1;
        if !well {
            self.lost.store(true, Ordering::Relaxed);
            self.config.inbox.push(WorkerInput::Close);
        }
        self.config.inbox.wake().wake();
    }
}

impl Shared {
    /// The task with this inbox is told when there is room.
    pub(crate) fn block(&mut self, task: &Arc<Inbox<TaskInput>>) {
        self.blocked.push(Arc::clone(task));
    }
}

fn key(origin: Origin) -> (u32, u32, u64) {
    (origin.lane, origin.index, origin.token)
}
