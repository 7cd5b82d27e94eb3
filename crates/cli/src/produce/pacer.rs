//! Pace: at most so many records per second.

use std::time::Duration;

use onrush_runtime::Instant;

/// What was not used while there was no input is lost, but for this part of a second: a pause is not made up for.
const BURSTS_PER_SECOND: u64 = 20;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Allows records by the time that has passed. Asking is a comparison; the time is looked at when an allowance is used up.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Records per second; none allows all.
    rate: Option<u64>,
    allowed: u64,
    /// Up to when time was turned into allowances.
    refilled: Instant,
}

impl Pacer {
    pub(crate) fn new(rate: Option<u64>, now: Instant) -> Self {
        let allowed = if rate.is_some() { 1 } else { u64::MAX };
        Self { rate, allowed, refilled: now }
    }

    /// Takes one record of the allowance, if there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> bool {
        match self.allowed.checked_sub(1) {
            Some(left) => {
                self.allowed = left;
                true
            }
            None => false,
        }
    }

    /// Allows what has become due; says when the next record will, if none has.
    pub(crate) fn refill(&mut self, now: Instant) -> Option<Instant> {
        let Some(rate) = self.rate else {
            self.allowed = u64::MAX;
            return None;
        };
        let passed = now.saturating_duration_since(self.refilled).as_nanos();
        let due = u64::try_from(passed * u128::from(rate) / NANOS_PER_SECOND).unwrap_or(u64::MAX);
        if due == 0 {
            return Some(self.refilled + time_of(1, rate));
        }
        let burst = (rate / BURSTS_PER_SECOND).max(1);
        self.refilled = if due > burst { now } else { self.refilled + time_of(due, rate) };
        self.allowed = due.min(burst);
        None
    }
}

/// How long `records` take, rounded up, so that what they take is never early.
fn time_of(records: u64, rate: u64) -> Duration {
    let nanos = (u128::from(records) * NANOS_PER_SECOND).div_ceil(u128::from(rate));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that a source with everything at hand sends in `time` from `pacer`.
    fn sent(pacer: &mut Pacer, from: Instant, time: Duration) -> u64 {
        let (mut now, mut count) = (from, 0);
        loop {
            while pacer.take() {
                count += 1;
            }
            if let Some(next) = pacer.refill(now) {
                assert!(next > now);
                // As coarse as a timer.
                now = next.max(now + Duration::from_millis(1));
            }
            if now >= from + time {
                return count;
            }
        }
    }

    #[test]
    fn the_rate_is_kept_from_one_a_second_to_a_million() {
        for (rate, seconds) in [(1, 10), (3, 10), (7_000, 3), (1_000_000, 1)] {
            let start = Instant::now();
            let mut pacer = Pacer::new(Some(rate), start);
            let count = sent(&mut pacer, start, Duration::from_secs(seconds));
            let wanted = rate * seconds;
            assert!(count <= wanted + 1 && count >= wanted - wanted / 50 - 1, "{rate}: {count}");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Some(1_000), start);
        sent(&mut pacer, start, Duration::from_secs(1));
        let later = start + Duration::from_secs(60);
        assert!(sent(&mut pacer, later, Duration::from_millis(100)) <= 151);
    }

    #[test]
    fn without_a_rate_all_may_go() {
        let mut pacer = Pacer::new(None, Instant::now());
        assert!((0..100_000).all(|_| pacer.take()));
    }
}
