//! Waking a lane or worker: unparks a thread, or notifies a task.
//!
//! State: one flag. `wake` sets it; whoever waits clears it and goes on. A wake before the wait is therefore not lost,
//! and many wakes before one wait are one. Only the wake that sets the flag pays for the unpark.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Wakes the one thread or task that waits on it. Cheap to clone; any thread may wake.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    woken: AtomicBool,
    thread: OnceLock<Thread>,
    task: Notify,
}

impl Wake {
    /// A wake that nobody waits on yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the waiter, now or when it next waits.
    pub fn wake(&self) {
        // AcqRel: what the waker wrote before is seen by the waiter that clears the flag.
        if !self.inner.woken.swap(true, Ordering::AcqRel) {
            match self.inner.thread.get() {
                Some(thread) => thread.unpark(),
                None => self.inner.task.notify_one(),
            }
        }
    }

    /// Waits as a task.
    pub async fn notified(&self) {
        while !self.inner.woken.swap(false, Ordering::AcqRel) {
            self.inner.task.notified().await;
        }
    }

    /// Makes the calling thread the one that [`Wake::park`] waits on. Called once, before the first wait.
    pub(crate) fn bind_thread(&self) {
        // A second thread would be a bug of the driver; the first stays.
        let _ = self.inner.thread.set(std::thread::current());
        // A wake between creation and here went to the task's notify: the flag is still set, so it is not lost.
    }

    /// Waits as the bound thread, until woken or `until`.
    pub(crate) fn park(&self, until: Option<Instant>) {
        while !self.inner.woken.swap(false, Ordering::AcqRel) {
            match until {
                None => std::thread::park(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_before_the_wait_is_kept_and_two_are_one() {
        let wake = Wake::new();
        wake.wake();
        wake.wake();
        wake.notified().await;
        let second = tokio::time::timeout(std::time::Duration::from_millis(1), wake.notified());
        assert!(second.await.is_err());
    }
}
