//! Exponential back-off with full jitter (a random part of an exponentially growing bound), so that
//! many clients that failed together do not come back together.

use std::time::Duration;

use onrush_runtime::Random;

/// Doublings after which the bound grows no further, whatever the limits say.
const MAX_DOUBLINGS: u32 = 16;

/// The pauses between attempts at one thing.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(base: Duration, limit: Duration) -> Self {
        Self { base, limit, failures: 0 }
    }

    /// How long to pause after one more failure: never zero, so that nothing spins.
    pub(crate) fn failed(&mut self, random: &Random) -> Duration {
        let bound = self.base.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(self.limit);
        self.failures = self.failures.saturating_add(1);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.below(micros).max(1_000))
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over_after_a_success() {
        let random = Random::seeded(3);
        let (base, limit) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new(base, limit);
        let first = backoff.failed(&random);
        assert!(first <= base && !first.is_zero());
        let later: Vec<_> = (0..100).map(|_| backoff.failed(&random)).collect();
        assert!(later.iter().all(|pause| *pause <= limit));
        assert!(later.iter().any(|pause| *pause > base * 8), "the bound did not grow");
        backoff.succeeded();
        assert!(backoff.failed(&random) <= base);
    }
}
