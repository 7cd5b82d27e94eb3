//! Time: monotonic for durations, wall clock for record timestamps.

use std::time::UNIX_EPOCH;

use tokio::time::Instant;

/// Where a process reads the time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The operating system's clocks.
    System,
    /// tokio's (paused) clock, and a calendar that starts at `epoch_millis` when it stood at `start`.
    Virtual {
        /// Reading of the monotonic clock at the start of the simulation.
        start: Instant,
        /// Wall-clock milliseconds since the Unix epoch at `start`.
        epoch_millis: i64,
    },
}

impl Clock {
    /// A virtual clock that starts now, on a fixed calendar date.
    pub fn simulated() -> Self {
        // 2026-01-01T00:00:00Z; any fixed date does, as long as every run of a seed sees the same.
        Self::Virtual { start: Instant::now(), epoch_millis: 1_767_225_600_000 }
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Milliseconds since the Unix epoch.
    pub fn wall_millis(&self) -> i64 {
        match self {
            Self::System => system_millis(),
            Self::Virtual { start, epoch_millis } => {
                let elapsed = Instant::now().saturating_duration_since(*start).as_millis();
                epoch_millis.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the seam")]
fn system_millis() -> i64 {
    // A clock set before 1970 reads as the epoch: a timestamp may be wrong then, but nothing fails.
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
