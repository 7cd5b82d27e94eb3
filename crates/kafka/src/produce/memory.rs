//! The bytes that batches may take, from the first record to the acknowledgement.

use std::sync::{Arc, Mutex};

use onrush_runtime::Wake;

use crate::lock::lock;

#[derive(Debug, Clone)]
pub(super) struct Memory {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Appenders that were refused, woken at the next return. One entry per refused appender, since
    /// each asks again only after it was woken.
    refused: Vec<Wake>,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { pool: Arc::new(Pool { limit, state: Mutex::default() }) }
    }

    pub(super) fn used(&self) -> usize {
        lock(&self.pool.state).used
    }

    /// Room for `bytes`, or `wake` is woken when there may be some. A batch larger than the limit
    /// gets the whole of it.
    pub(super) fn reserve(&self, bytes: usize, wake: Option<&Wake>) -> Option<Reservation> {
        let mut state = lock(&self.pool.state);
        let bytes = bytes.min(self.pool.limit);
        if state.used + bytes > self.pool.limit {
            state.refused.extend(wake.cloned());
            return None;
        }
        state.used += bytes;
        drop(state);
        Some(Reservation { pool: Arc::clone(&self.pool), bytes })
    }
}

/// Room that one batch takes.
#[derive(Debug)]
pub(super) struct Reservation {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Reservation {
    /// Gives back what is above `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        let surplus = self.bytes - bytes;
        self.bytes = bytes;
        self.pool.give_back(surplus);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

impl Pool {
    fn give_back(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let refused = {
            let mut state = lock(&self.state);
            state.used = state.used.saturating_sub(bytes);
            std::mem::take(&mut state.refused)
        };
        for wake in refused {
            wake.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_refused_is_woken_when_room_returns() {
        let memory = Memory::new(100);
        let mut first = memory.reserve(80, None).expect("room");
        let wake = Wake::new();
        assert!(memory.reserve(30, Some(&wake)).is_none());
        first.shrink(50);
        wake.notified().await;
        let second = memory.reserve(50, Some(&wake)).expect("room");
        assert_eq!(memory.used(), 100);
        drop((first, second));
        assert_eq!(memory.used(), 0);
        assert!(
            memory.reserve(1_000, None).is_some(),
            "a giant batch waits for all of the memory, not for ever"
        );
    }
}
