//! Rates, from two looks at the same partition.

use std::time::Duration;

use super::look::Standing;

/// Events per second of a partition, or of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Trend {
    /// Written to the log.
    pub(super) arriving: f64,
    /// Finished.
    pub(super) finishing: f64,
}

impl Trend {
    pub(super) fn of(before: &Standing, after: &Standing, passed: Duration) -> Option<Self> {
        let per_second = |events: i64| events.max(0) as f64 / passed.as_secs_f64();
        let arrived = after.position.extent?.end - before.position.extent?.end;
        // A group that was set back finished nothing.
        let finished = after.finished()? - before.finished()?;
        (!passed.is_zero())
            .then(|| Self { arriving: per_second(arrived), finishing: per_second(finished) })
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            arriving: self.arriving + other.arriving,
            finishing: self.finishing + other.finishing,
        }
    }

    /// How the lag changes, in events per second.
    pub(super) fn slope(self) -> f64 {
        self.arriving - self.finishing
    }

    /// When this lag will be none; never, while it grows.
    pub(super) fn level_in(self, lag: u64) -> Option<Duration> {
        let falling = -self.slope();
        if lag == 0 {
            return Some(Duration::ZERO);
        }
        (falling > 0.0)
            .then(|| lag as f64 / falling)
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
    }

    /// How many members of the speed that `members` have now take what arrives and bring the lag down in time.
    pub(super) fn members_needed(
        self,
        lag: u64,
        members: usize,
        within: Duration,
    ) -> Option<usize> {
        let each = self.finishing / members as f64;
        let needed = (self.arriving + lag as f64 / within.as_secs_f64()) / each;
        (members > 0 && each > 0.0 && needed.is_finite()).then_some(needed.ceil() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_lag_has_an_end_and_a_growing_one_has_none() {
        let trend = Trend { arriving: 1_000.0, finishing: 1_500.0 };
        assert_eq!(trend.level_in(50_000), Some(Duration::from_secs(100)));
        assert_eq!(Trend { arriving: 2_000.0, ..trend }.level_in(50_000), None);
        assert_eq!(Trend { arriving: 2_000.0, ..trend }.level_in(0), Some(Duration::ZERO));
        assert_eq!(Trend::default().level_in(1), None);
    }

    #[test]
    fn members_take_what_arrives_and_what_has_gathered() {
        // Each finishes 500 a second; 1,000 arrive, and 60,000 in a minute are another 1,000.
        let trend = Trend { arriving: 1_000.0, finishing: 1_000.0 };
        let minute = Duration::from_secs(60);
        assert_eq!(trend.members_needed(60_000, 2, minute), Some(4));
        assert_eq!(trend.members_needed(60_000, 0, minute), None);
        assert_eq!(Trend { finishing: 0.0, ..trend }.members_needed(60_000, 2, minute), None);
    }
}
