//! What a dead letter costs, and what it carries.
//!
//! A dead letter costs a token of its partition. Tokens are earned by successes, and slowly by
//! time, so a dead downstream pauses the partition after a few events instead of emptying it into
//! the dead letters: what failed is tried again or waits, and what is behind it too. It is never
//! dropped.

use std::time::Duration;

use onrush_runtime::Instant;

/// Tokens that a partition starts with, and the most it has.
pub const TOKENS: u32 = 10;
/// Successes that earn a token.
pub const SUCCESSES_PER_TOKEN: u64 = 100;
/// Time that earns a token.
pub const TOKEN_INTERVAL: Duration = Duration::from_secs(10);
/// What comes after the topic's name in that of its dead letters, unless another is configured.
pub const TOPIC_SUFFIX: &str = ".dead-letter";

/// Header: the topic that the event came from.
pub const ORIGIN_TOPIC: &str = "onrush.origin.topic";
/// Header: its partition.
pub const ORIGIN_PARTITION: &str = "onrush.origin.partition";
/// Header: its offset.
pub const ORIGIN_OFFSET: &str = "onrush.origin.offset";
/// Header of a batch that cannot be read: the last offset that it took with it.
pub const ORIGIN_LAST_OFFSET: &str = "onrush.origin.last_offset";
/// Header: its timestamp.
pub const ORIGIN_TIMESTAMP: &str = "onrush.origin.timestamp";
/// Header: the code under which a person finds what to do.
pub const CODE: &str = "onrush.error.code";
/// Header: what the handler said.
pub const ERROR: &str = "onrush.error";
/// Header: how often it was tried.
pub const ATTEMPTS: &str = "onrush.attempts";
/// Header: when it failed first, in milliseconds since 1970.
pub const FIRST_FAILURE: &str = "onrush.failure.first";
/// Header: when it failed last.
pub const LAST_FAILURE: &str = "onrush.failure.last";
/// Header of an event in a retry topic: when it is to be tried, in milliseconds since 1970.
pub const RETRY_DUE: &str = "onrush.retry.due";

/// The tokens of a partition.
#[derive(Debug)]
pub struct Tokens {
    held: u32,
    successes: u64,
    /// When the last one was earned by time, or the first spent.
    since: Option<Instant>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { held: TOKENS, successes: 0, since: None }
    }
}

impl Tokens {
    /// Events were done.
    #[inline]
    pub fn succeeded(&mut self, count: u64) {
        if self.held < TOKENS {
            self.successes += count;
            self.earn(self.successes / SUCCESSES_PER_TOKEN);
            self.successes %= SUCCESSES_PER_TOKEN;
        }
    }

    fn earn(&mut self, count: u64) {
        self.held = u64::from(TOKENS).min(u64::from(self.held) + count) as u32;
        if self.held == TOKENS {
            (self.since, self.successes) = (None, 0);
        }
    }

    /// Spends a token, if there is one.
    pub fn spend(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_secs() / TOKEN_INTERVAL.as_secs();
        self.since =
            Some(since + TOKEN_INTERVAL * u32::try_from(earned).unwrap_or(u32::MAX).min(TOKENS));
        self.earn(earned);
        if self.held == 0 {
            return false;
        }
        self.held -= 1;
        self.since.get_or_insert(now);
        true
    }

    /// Gives back a token for which nothing was sent.
    pub fn give_back(&mut self) {
        self.earn(1);
    }

    /// When time earns the next one.
    pub fn next(&self) -> Option<Instant> {
        self.since.map(|since| since + TOKEN_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(tokens: &mut Tokens, now: Instant) -> u32 {
        (0..).take_while(|_| tokens.spend(now)).count() as u32
    }

    #[test]
    fn successes_and_time_earn_tokens() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        assert_eq!(spend_all(&mut tokens, start), TOKENS);
        tokens.succeeded(SUCCESSES_PER_TOKEN - 1);
        assert!(!tokens.spend(start));
        tokens.succeeded(SUCCESSES_PER_TOKEN * 2 + 1);
        assert_eq!(spend_all(&mut tokens, start), 3);
        assert_eq!(tokens.next(), Some(start + TOKEN_INTERVAL));
        assert_eq!(spend_all(&mut tokens, start + TOKEN_INTERVAL * 2), 2);
        assert!(!tokens.spend(start + TOKEN_INTERVAL * 2 + TOKEN_INTERVAL / 2));
        assert!(tokens.spend(start + TOKEN_INTERVAL * 3));
    }

    #[test]
    fn there_are_never_more_than_at_the_start() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        tokens.succeeded(1_000_000);
        assert!(tokens.spend(start));
        tokens.succeeded(1_000_000);
        assert_eq!(spend_all(&mut tokens, start + TOKEN_INTERVAL * 1_000), TOKENS);
    }
}
