//! How lanes, workers and the control driver tell each other: a queue that its owner empties in one
//! go.
//!
//! One lock per message, and a message is a fetched slice, a run of outcomes or an order, never an
//! event. What is queued is bounded by who sends: slices by the fetcher's credit, runs by the
//! events in flight, orders by the partitions held.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use onrush_runtime::Wake;

/// Messages for one owner, who is woken when one comes.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<VecDeque<T>>,
    wake: Wake,
}

impl<T> Inbox<T> {
    /// An empty inbox whose owner waits on `wake`.
    pub fn new(wake: Wake) -> Self {
        Self { queue: Mutex::new(VecDeque::new()), wake }
    }

    /// Adds a message and wakes the owner.
    pub fn push(&self, message: T) {
        // A queue is whole between statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(message);
        self.wake.wake();
    }

    /// Moves all messages to the end of `taken`.
    pub fn take(&self, taken: &mut VecDeque<T>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_empty() {
            std::mem::swap(&mut *queue, taken);
        } else {
            taken.append(&mut queue);
        }
    }

    /// What the owner waits on.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }
}
