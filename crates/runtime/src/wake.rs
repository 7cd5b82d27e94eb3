//! Waking a lane or worker: unparks a thread, or notifies a task.
//!
//! State: one flag. `wake` sets it; whoever waits clears it and goes on. A wake before the wait is therefore not lost,
//! and many wakes before one wait are one. Only the wake that sets the flag pays for the unpark.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

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
    task: Mutex<Option<Waker>>,
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
                None => self.task().iter().for_each(Waker::wake_by_ref),
            }
        }
    }

    /// Waits as a task.
    pub async fn notified(&self) {
        poll_fn(|context| self.poll_woken(context)).await;
    }

    /// Waits as a task that waits for other things too: ready once per wake, and else the task is woken by the next one.
    pub fn poll_woken(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.inner.woken.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        {
            let mut task = self.task();
            if !task.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *task = Some(context.waker().clone());
            }
        }
        // A wake in between found the waker before.
        match self.inner.woken.swap(false, Ordering::AcqRel) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.inner.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the calling thread the one that [`Wake::park`] waits on. Called once, before the first wait.
    pub(crate) fn bind_thread(&self) {
        // A second thread would be a bug of the driver; the first stays.
        let _ = self.inner.thread.set(std::thread::current());
        // A wake between creation and here found nobody: the flag is still set, so it is not lost.
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

    #[tokio::test]
    async fn a_task_that_polls_is_woken_by_whoever_wakes() {
        let wake = Wake::new();
        let waiting = tokio::runtime::Handle::current().spawn({
            let wake = wake.clone();
            async move {
                let mut polls = 0;
                std::future::poll_fn(|context| {
                    polls += 1;
                    wake.poll_woken(context)
                })
                .await;
                polls
            }
        });
        tokio::task::yield_now().await;
        wake.wake();
        assert_eq!(waiting.await.unwrap(), 2);
    }
}
