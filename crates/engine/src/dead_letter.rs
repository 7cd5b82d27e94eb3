//! Events whose handler failed: tokens first, then the dead-letter topic, acknowledged, then an
//! outcome.
//!
//! A dead letter costs a token of its partition. Tokens are earned by successes, and slowly by
//! time, so a dead downstream pauses the partition after a few events instead of emptying it into
//! the dead letters: the failed event waits, and what is behind it too. It is never dropped.

use std::time::Duration;

use onrush_record::Header;
use onrush_runtime::{Fault, Instant};

use crate::completed::OffsetRun;
use crate::emit::{Emitter, Outgoing, OutletError, Settled};
use crate::failure::Failure;
use crate::metrics::Outcome;

/// Tokens that a partition starts with, and the most it has.
pub const TOKENS: u32 = 10;
/// Successes that earn a token.
pub const SUCCESSES_PER_TOKEN: u64 = 100;
/// Time that earns a token.
pub const TOKEN_INTERVAL: Duration = Duration::from_secs(10);
/// What comes after the topic's name in that of its dead letters, unless another is configured.
pub const TOPIC_SUFFIX: &str = ".dead-letter";
/// Characters of the handler's error that are kept.
const ERROR_LIMIT: usize = 2_048;

/// Header: the topic that the event came from.
pub const ORIGIN_TOPIC: &str = "onrush.origin.topic";
/// Header: its partition.
pub const ORIGIN_PARTITION: &str = "onrush.origin.partition";
/// Header: its offset.
pub const ORIGIN_OFFSET: &str = "onrush.origin.offset";
/// Header: its timestamp.
pub const ORIGIN_TIMESTAMP: &str = "onrush.origin.timestamp";
/// Header: the code under which a person finds what to do.
pub const CODE: &str = "onrush.error.code";
/// Header: what the handler said.
pub const ERROR: &str = "onrush.error";
/// Header: how often it was tried.
pub const ATTEMPTS: &str = "onrush.attempts";

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

impl Failure {
    /// Writes the event to `topic`; it has its outcome when that is acknowledged.
    pub(crate) fn send(
        &self,
        topic: &str,
        emitter: &mut Emitter,
        now: Instant,
    ) -> Result<(), OutletError> {
        let record = match self.batch.record_at(self.position) {
            Ok(record) => record,
            Err(error) => return Err(OutletError::Refused(error.to_string())),
        };
        let assignment = &self.holding.assignment;
        let numbers = [i64::from(assignment.partition), self.offset, record.timestamp]
            .map(|number| number.to_string());
        let error = self.error.to_string();
        let error = truncated(&error);
        let code = Fault::HandlerFailed.to_string();
        let added = [
            (ORIGIN_TOPIC, assignment.topic.as_bytes()),
            (ORIGIN_PARTITION, numbers[0].as_bytes()),
            (ORIGIN_OFFSET, numbers[1].as_bytes()),
            (ORIGIN_TIMESTAMP, numbers[2].as_bytes()),
            (CODE, code.as_bytes()),
            (ERROR, error.as_bytes()),
            (ATTEMPTS, b"1"),
        ];
        // Headers that do not read as such (a name that is not UTF-8) cannot be written either.
        let mut headers: Vec<Header<'_>> = record.headers.filter_map(Result::ok).collect();
        headers.extend(added.map(|(key, value)| Header { key, value: Some(value) }));
        let settled = Settled {
            origin: self.origin,
            slot: self.slot,
            run: OffsetRun::new(self.offset, self.offset),
            outcome: Outcome::DeadLettered,
        };
        let (timestamp, key, value) = (record.timestamp, record.key, record.value);
        emitter.send(settled, &Outgoing { topic, timestamp, key, value, headers: &headers }, now)
    }
}

fn truncated(error: &str) -> &str {
    let end = (0..=error.len().min(ERROR_LIMIT))
        .rev()
        .find(|end| error.is_char_boundary(*end))
        .unwrap_or(0);
    &error[..end]
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

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = "é".repeat(ERROR_LIMIT);
        assert_eq!(truncated(&error).len(), ERROR_LIMIT);
        assert_eq!(truncated("short"), "short");
    }
}
