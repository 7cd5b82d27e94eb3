//! What is done with an event that failed: how often it is tried again and when, and what comes
//! after that.
//!
//! The pause before a try is drawn evenly from nothing up to a ceiling that grows with every
//! failure ("full jitter": events that failed together do not come back together).

use std::fmt;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::Random;

use crate::failure::{ErrorClass, HandlerError};

/// Tries of an event, the first included.
pub const ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// The ceiling of the pause after the first failure.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What the ceiling is multiplied with after every further failure.
pub const PAUSE_FACTOR: u32 = 2;
/// The highest ceiling.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause whatever a policy or a handler says: what is longer has no end on any clock.
pub const PAUSE_LIMIT: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Bytes of a member's events that wait for another try, or behind one that does.
pub const PARKED_BYTES: usize = 32 << 20;

/// How often, and after which pauses, an event is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries, the first included; `None` never gives up.
    pub attempts: Option<NonZeroU32>,
    /// See [`FIRST_PAUSE`].
    pub first: Duration,
    /// See [`PAUSE_FACTOR`].
    pub factor: u32,
    /// See [`LONGEST_PAUSE`].
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: Some(ATTEMPTS),
            first: FIRST_PAUSE,
            factor: PAUSE_FACTOR,
            longest: LONGEST_PAUSE,
        }
    }
}

impl RetryPolicy {
    /// Every event is tried once.
    pub const ONCE: Self = Self {
        attempts: Some(NonZeroU32::MIN),
        first: FIRST_PAUSE,
        factor: PAUSE_FACTOR,
        longest: LONGEST_PAUSE,
    };

    /// Tries until it succeeds. Later events of the key wait, and the commit stays below the event.
    pub fn forever() -> Self {
        Self { attempts: None, ..Self::default() }
    }

    /// Whether an event that was tried so often is not tried again.
    pub fn is_used_up(&self, attempts: u32) -> bool {
        self.attempts.is_some_and(|most| attempts >= most.get())
    }

    /// The longest pause after so many failures.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let grown = self.factor.checked_pow(failures.saturating_sub(1));
        let ceiling = grown.and_then(|factor| self.first.checked_mul(factor));
        ceiling.map_or(self.longest, |ceiling| ceiling.min(self.longest))
    }

    /// The pause after so many failures.
    pub fn pause(&self, failures: u32, random: &Random) -> Duration {
        let ceiling = u64::try_from(self.ceiling(failures).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.below(ceiling.saturating_add(1)))
    }
}

/// What is done when trying again is over, or would not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// The event goes to the dead letters, if there is a token for it.
    #[default]
    DeadLetter,
    /// The event stays, and later ones of its key wait, until [`Handle::resume`] or another owner
    /// tries it again.
    ///
    /// [`Handle::resume`]: crate::Handle::resume
    PauseKey,
    /// As above, and nothing more of the partition is taken.
    PausePartition,
    /// The partition stops.
    Stop,
}

/// What is done with batches that were bad twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadBatch {
    /// Their partition stops.
    #[default]
    Stop,
    /// They go to the dead letters as they are, and their offsets are passed.
    Skip,
}

/// What is done with events that failed, by the class of their error.
///
/// An error of [`ErrorClass::DeadLetter`] has its answer in its name.
#[derive(Debug, Clone)]
pub struct FailurePolicy {
    /// How events are tried again.
    pub retry: RetryPolicy,
    /// What is done when their tries are used up, and the retry topics too.
    pub exhausted: Answer,
    /// What is done with events that the handler cannot read.
    pub undecodable: Answer,
    /// What is done after a fatal error.
    pub fatal: Answer,
    /// What is done with batches that cannot be read.
    pub bad_batch: BadBatch,
    /// See [`PARKED_BYTES`].
    pub parked_bytes: usize,
    /// Delays of the retry topics, the shortest first; none by default.
    pub retry_topics: Vec<Duration>,
    /// Errors whose class their type says.
    pub classes: Classes,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            exhausted: Answer::DeadLetter,
            undecodable: Answer::DeadLetter,
            fatal: Answer::Stop,
            bad_batch: BadBatch::Stop,
            parked_bytes: PARKED_BYTES,
            retry_topics: Vec::new(),
            classes: Classes::default(),
        }
    }
}

type Classify = dyn Fn(&HandlerError) -> Option<ErrorClass> + Send + Sync;

/// The classes of errors by their type.
#[derive(Clone, Default)]
pub struct Classes(Vec<Arc<Classify>>);

impl Classes {
    /// Errors that were made of an `E` have the class that `class` says, unless the handler gave
    /// one itself.
    pub fn on<E: std::error::Error + 'static>(
        &mut self,
        class: impl Fn(&E) -> ErrorClass + Send + Sync + 'static,
    ) {
        self.0.push(Arc::new(move |error: &HandlerError| error.downcast_ref::<E>().map(&class)));
    }

    /// The class of `error`. What says it is user code: if it panics, nothing is known of the error.
    pub fn of(&self, error: &HandlerError) -> ErrorClass {
        match error.class() {
            ErrorClass::Retry { after: None } => {
                let find = || self.0.iter().find_map(|class| class(error));
                let known = catch_unwind(AssertUnwindSafe(find)).unwrap_or_default();
                known.unwrap_or(ErrorClass::Retry { after: None })
            }
            chosen => chosen,
        }
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Classes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_spread_below_it() {
        let policy = RetryPolicy::default();
        let millis = |failures| policy.ceiling(failures).as_millis();
        assert_eq!(
            (1..=8).map(millis).collect::<Vec<_>>(),
            [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]
        );
        assert_eq!((millis(40), millis(u32::MAX)), (10_000, 10_000));
        let random = Random::seeded(7);
        let drawn: Vec<_> = (0..1_000).map(|_| policy.pause(8, &random).as_millis()).collect();
        assert!(drawn.iter().all(|pause| *pause <= 10_000));
        let tenths = drawn.iter().map(|pause| pause / 1_000);
        let tenths: std::collections::BTreeSet<_> = tenths.collect();
        assert!(tenths.len() >= 10, "not full jitter: {tenths:?}");
    }

    #[test]
    fn five_tries_by_default_and_for_ever_when_asked() {
        let policy = RetryPolicy::default();
        assert!(!policy.is_used_up(4) && policy.is_used_up(5));
        assert!(!RetryPolicy::forever().is_used_up(u32::MAX));
        assert!(RetryPolicy::ONCE.is_used_up(1));
    }

    #[test]
    fn an_error_has_the_class_of_its_type_unless_the_handler_chose() {
        let mut classes = Classes::default();
        classes.on(|error: &std::num::ParseIntError| match error.kind() {
            std::num::IntErrorKind::Empty => ErrorClass::DeadLetter,
            _ => ErrorClass::Undecodable,
        });
        let parse = |text: &str| text.parse::<u8>().unwrap_err();
        assert_eq!(classes.of(&parse("").into()), ErrorClass::DeadLetter);
        assert_eq!(classes.of(&parse("x").into()), ErrorClass::Undecodable);
        let chosen = HandlerError::fatal(parse("x"));
        assert_eq!(classes.of(&chosen), ErrorClass::Fatal);
        classes.on(|_: &std::fmt::Error| panic!("a classifier's own bug"));
        assert_eq!(classes.of(&std::fmt::Error.into()), ErrorClass::Retry { after: None });
        let plain = HandlerError::msg("x");
        assert_eq!(classes.of(&plain), ErrorClass::Retry { after: None });
    }
}
