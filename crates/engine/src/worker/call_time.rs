//! How long the calls of a handler take: a moving average over about the last 64.

use std::time::Duration;

/// A new value counts as one of so many.
const WINDOW: u64 = 64;
/// Longer calls are slow: what telling the lane after each of them costs is little beside.
const SLOW: Duration = Duration::from_micros(20);
/// Between two of these no batch is filled while it lingers.
const VERY_SLOW: Duration = Duration::from_millis(5);
/// Until enough is known, calls count as slow.
const FIRST: Duration = Duration::from_micros(200);

/// See the module.
#[derive(Debug)]
pub(crate) struct CallTime {
    nanos: u64,
}

impl Default for CallTime {
    fn default() -> Self {
        Self { nanos: FIRST.as_nanos() as u64 }
    }
}

impl CallTime {
    /// A call took so long.
    #[inline]
    pub(crate) fn took(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos = self.nanos - self.nanos / WINDOW + nanos / WINDOW;
    }

    /// Whether the next call may take so long that what has ended is told before it.
    #[inline]
    pub(crate) fn is_slow(&self) -> bool {
        self.nanos > SLOW.as_nanos() as u64
    }

    /// Whether it may take so long that what was emitted is sent before it.
    pub(crate) fn is_very_slow(&self) -> bool {
        self.nanos > VERY_SLOW.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(calls: usize, time: Duration, mut time_of_calls: CallTime) -> CallTime {
        (0..calls).for_each(|_| time_of_calls.took(time));
        time_of_calls
    }

    #[test]
    fn quick_calls_become_known_as_quick_and_one_slow_one_in_a_hundred_as_slow() {
        let micro = Duration::from_micros(1);
        assert!(CallTime::default().is_slow());
        let mut calls = after(300, micro, CallTime::default());
        assert!(!calls.is_slow());
        for _ in 0..10 {
            calls = after(1, Duration::from_secs(5), calls);
            calls = after(99, micro, calls);
            assert!(calls.is_slow(), "{calls:?}");
        }
        assert!(!after(2_000, micro, calls).is_slow());
    }

    #[test]
    fn an_endless_call_is_no_overflow() {
        assert!(after(200, Duration::MAX, CallTime::default()).is_slow());
    }
}
