//! How long a peer may take for one request that it sends, or one answer that it takes.
//!
//! With memory to spare it may take as long as it likes, if it is never without progress for [`PATIENCE`]. While memory is
//! short, others wait for what it holds: then it must move [`SLOWEST`] per second, looked at once per [`GRACE`].

use std::io;
use std::pin::pin;
use std::time::Duration;

use onrush_runtime::{Clock, Instant};
use tokio::time::timeout_at;

use super::connection::Closed;
use super::memory::Memory;

/// How long a peer may make no progress with what it sends or takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a peer may do nothing while memory is short.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes per second of who may go on while memory is short: little enough for each of many at a busy broker.
const SLOWEST: usize = 64 * 1024;

/// One request or answer on its way.
pub(super) struct Pace<'a> {
    doing: &'static str,
    clock: &'a Clock,
    memory: &'a Memory,
    /// When it was last looked at, and what moved since.
    since: Instant,
    moved: usize,
}

impl<'a> Pace<'a> {
    pub(super) fn new(doing: &'static str, clock: &'a Clock, memory: &'a Memory) -> Self {
        Self { doing, clock, memory, since: clock.now(), moved: 0 }
    }

    /// Counts from now: the peer had to wait for us.
    pub(super) fn forgive(&mut self) {
        self.since = self.clock.now();
        self.moved = 0;
    }

    /// What the peer does next, and how many bytes that moves.
    pub(super) async fn step(
        &mut self,
        step: impl Future<Output = io::Result<usize>>,
    ) -> Result<usize, Closed> {
        let mut step = pin!(step);
        let mut now = self.clock.now();
        let deadline = now + PATIENCE;
        loop {
            let look = (now + GRACE).min(deadline);
            let moved = timeout_at(look, step.as_mut()).await;
            if let Ok(Ok(moved)) = &moved {
                self.moved += moved;
            }
            now = self.clock.now();
            if self.was_slow(now) && self.memory.is_short() {
                return Err(Closed::TooSlow { doing: self.doing });
            }
            match moved {
                Ok(moved) => return Ok(moved?),
                Err(_) if look == deadline => return Err(Closed::Stalled { doing: self.doing }),
                Err(_) => {}
            }
        }
    }

    /// Whether it moved too little since it was last looked at, if that is long ago.
    fn was_slow(&mut self, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.since);
        if took < GRACE {
            return false;
        }
        self.since = now;
        let moved = std::mem::take(&mut self.moved);
        moved < (took.as_secs_f64() * SLOWEST as f64) as usize
    }
}
