//! Whether a consumer is ready: it holds partitions, none of them is stopped, and what is there makes progress.
//!
//! Being behind is no reason to be restarted: liveness only asks whether the consumer runs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onrush_engine::{Counts, Snapshot};
use onrush_runtime::Instant;

/// With events at hand, nothing finished for so long is no progress.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A control driver that did nothing for so long is dead: it beats at least once per commit interval.
pub const BEAT_PATIENCE: Duration = Duration::from_secs(60);

/// Live, or why not: whether the driver of every consumer is at work.
///
/// # Errors
/// One is not.
pub fn live(snapshots: &[Snapshot], wall_millis: i64) -> Result<(), String> {
    let silent = |snapshot: &Snapshot| {
        let millis = u64::try_from(wall_millis - snapshot.beat_millis).unwrap_or(0);
        Duration::from_millis(millis)
    };
    match snapshots.iter().map(silent).max() {
        Some(silent) if silent > BEAT_PATIENCE => {
            Err(format!("a consumer's driver did nothing for {} s", silent.as_secs()))
        }
        _ => Ok(()),
    }
}

/// Watches the consumers of a process, look by look.
#[derive(Debug, Default)]
pub struct Health {
    last: Mutex<Option<Progress>>,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    outcomes: u64,
    since: Instant,
}

impl Health {
    /// Ready, or why not; to be asked every few seconds.
    ///
    /// # Errors
    /// They are not.
    pub fn ready(&self, snapshots: &[Snapshot], now: Instant) -> Result<(), String> {
        let partitions = || snapshots.iter().flat_map(|snapshot| &snapshot.partitions);
        if let Some(stopped) = partitions().find(|state| state.stopped) {
            return Err(format!("{} is stopped", stopped.partition));
        }
        // A member may be without partitions, if there are more members; the process may not.
        if partitions().next().is_none() {
            return Err("no partition is held yet".to_owned());
        }
        let rests = self.rests(snapshots, now);
        let waiting: u64 = partitions().map(|state| state.lag().unwrap_or(state.in_flight)).sum();
        if waiting > 0 && rests >= PATIENCE {
            return Err(format!(
                "{waiting} events are at hand, and none was finished for {} s",
                rests.as_secs()
            ));
        }
        Ok(())
    }

    /// For how long nothing was finished.
    fn rests(&self, snapshots: &[Snapshot], now: Instant) -> Duration {
        let outcomes = snapshots.iter().map(|snapshot| outcomes(&snapshot.total)).sum();
        let is_idle = |snapshot: &Snapshot| {
            snapshot.partitions.iter().all(|state| state.lag().unwrap_or(state.in_flight) == 0)
        };
        let idle = snapshots.iter().all(is_idle);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some(progress) if progress.outcomes == outcomes && !idle => {
                now.saturating_duration_since(progress.since)
            }
            _ => {
                *last = Some(Progress { outcomes, since: now });
                Duration::ZERO
            }
        }
    }
}

fn outcomes(counts: &Counts) -> u64 {
    counts.done + counts.dead_lettered + counts.moved + counts.skipped
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use onrush_engine::metrics::Metrics;
    use onrush_kafka::TopicPartition;
    use onrush_runtime::Clock;

    use super::*;

    fn snapshot(done: u64, in_flight: u64, stopped: u64) -> Snapshot {
        let metrics = Metrics::new(1);
        metrics.lane(0).done.add(done);
        let cells = metrics.assign(&TopicPartition::new("payments", 3), 0);
        cells.in_flight.store(in_flight, Ordering::Relaxed);
        cells.stopped.store(stopped, Ordering::Relaxed);
        metrics.snapshot()
    }

    #[test]
    fn live_is_a_driver_that_beats() {
        let metrics = Metrics::new(1);
        metrics.beat(1_000_000);
        assert_eq!(live(&[metrics.snapshot()], 1_060_000), Ok(()));
        assert_eq!(live(&[metrics.snapshot()], 900_000), Ok(()), "a clock that was set back");
        assert!(live(&[metrics.snapshot()], 1_061_001).is_err_and(|why| why.contains("61 s")));
    }

    #[test]
    fn ready_is_assigned_and_progressing() {
        let (health, start) = (Health::default(), Clock::System.now());
        let later = |seconds| start + Duration::from_secs(seconds);
        let nothing = health.ready(&[Snapshot::default()], start);
        assert!(nothing.is_err_and(|why| why.contains("no partition")));
        assert_eq!(health.ready(&[snapshot(5, 0, 0)], start), Ok(()));
        assert_eq!(health.ready(&[snapshot(5, 0, 0)], later(500)), Ok(()), "nothing to do");
        assert_eq!(health.ready(&[snapshot(5, 2, 0)], later(530)), Ok(()));
        let stalled = health.ready(&[snapshot(5, 2, 0)], later(565));
        assert!(stalled.is_err_and(|why| why.contains("2 events are at hand")));
        assert_eq!(health.ready(&[snapshot(6, 2, 0)], later(570)), Ok(()), "one was finished");
        let stopped = health.ready(&[snapshot(6, 0, 1)], later(571));
        assert!(stopped.is_err_and(|why| why.contains("payments-3")));
    }
}
