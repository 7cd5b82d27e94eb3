//! The memory of what is at work: requests that come in, answers that their peers have not taken yet.
//!
//! A sum each over all connections, so that half requests leave the answers of others alone. A frame counts as its bytes come
//! in, until it was handled; one that would lift the sum above [`MAX_AT_WORK`] waits. An answer counts until it was written, and
//! may be [`Memory::share`] long: a 64th of what is left, so peers that ask for everything and never read leave something for
//! the others. A request is not handled before there is room for its answer. Who is too slow is thrown out
//! ([`Pace`](super::pace::Pace)), so that what they hold comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::config::MAX_AT_WORK;

/// One answer gets this part of what is left.
const SHARE: usize = 64;

/// From here on memory is short.
const SHORT: usize = MAX_AT_WORK / 4 * 3;

/// What is at work.
#[derive(Debug, Default)]
pub(super) struct Memory {
    used: AtomicUsize,
    freed: Notify,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// How many bytes of records an answer may have now.
    pub(super) fn share(&self) -> usize {
        MAX_AT_WORK.saturating_sub(self.used.load(Ordering::Relaxed)) / SHARE
    }

    /// Whether so much is used that others will have to wait.
    pub(super) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= SHORT
    }

    /// Counts bytes that are there.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Held { memory: self.clone(), bytes }
    }

    /// Returns when there is room.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.used.load(Ordering::Relaxed) < MAX_AT_WORK {
                return;
            }
            freed.await;
        }
    }
}

impl Held {
    /// Counts more.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_greedy_leave_something_and_room_comes_back() {
        let memory = Arc::new(Memory::default());
        let mut greedy: Vec<Held> = (0..60).map(|_| memory.hold(memory.share())).collect();
        assert!(memory.share() > MAX_AT_WORK / SHARE / 4, "{}", memory.share());
        greedy.push(memory.hold(MAX_AT_WORK));
        assert_eq!(memory.share(), 0);
        let waiting = memory.room();
        tokio::pin!(waiting);
        assert!(futures_are_pending(waiting.as_mut()).await);
        greedy.clear();
        waiting.await;
        assert_eq!(memory.share(), MAX_AT_WORK / SHARE);
    }

    async fn futures_are_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, future).await.is_err()
    }
}
