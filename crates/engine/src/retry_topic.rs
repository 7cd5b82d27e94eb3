//! Retry topics: where events wait that need more time than their key can be held up for.
//!
//! The delays that are declared make a ladder. An event whose tries in its own topic are used up
//! moves to the first rung (`payments.retry.5s`), from there to the next, and after the last one to
//! the dead letters. Rungs have as many partitions as the topic; the same group reads them, and a
//! partition of one takes nothing before its first event is due. So the order of keys is given up
//! there, and only there. How many topics there are depends on the delays, not on the tries.

use std::sync::Arc;
use std::time::Duration;

use onrush_record::Record;
use onrush_runtime::Instant;

use crate::dead_letter::RETRY_DUE;

/// Most rungs of a ladder.
pub const RUNGS_MAX: usize = 8;
/// Longest name of a topic that Kafka takes.
const NAME_MAX: usize = 249;

/// The retry topics of a consumer.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    origins: Vec<Arc<str>>,
    delays: Vec<Duration>,
}

/// Where the events of a topic come from, and where they go next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rung {
    /// The topic that they were in first.
    pub(crate) origin: Arc<str>,
    /// The delay, if this is a retry topic.
    pub(crate) delay: Option<Duration>,
    /// The retry topic that is next, and its delay.
    pub(crate) next: Option<(Arc<str>, Duration)>,
}

impl Ladder {
    /// Retry topics with these delays for these topics.
    ///
    /// # Errors
    /// The delays do not rise, are too many, or have no name that Kafka takes.
    pub fn new(origins: &[String], delays: &[Duration]) -> Result<Self, String> {
        if delays.len() > RUNGS_MAX {
            return Err(format!("more than {RUNGS_MAX} retry topics are too many"));
        }
        if !delays.is_sorted_by(|one, next| one < next) {
            return Err("the delays of retry topics must rise".to_owned());
        }
        if delays
            .iter()
            .any(|delay| delay.as_millis() == 0 || delay.subsec_nanos() % 1_000_000 != 0)
        {
            return Err("the delay of a retry topic is in whole milliseconds above zero".to_owned());
        }
        let origins: Vec<Arc<str>> = origins.iter().map(|origin| origin.as_str().into()).collect();
        let ladder = Self { origins, delays: delays.to_vec() };
        let too_long = ladder.topics().find(|(name, _)| name.len() > NAME_MAX);
        if let Some((name, _)) = too_long {
            return Err(format!("{name} is longer than Kafka takes"));
        }
        Ok(ladder)
    }

    /// The retry topics, each with the topic that it belongs to.
    pub fn topics(&self) -> impl Iterator<Item = (String, &str)> {
        let delays = &self.delays;
        self.origins.iter().flat_map(move |origin| {
            delays.iter().map(move |delay| (name(origin, *delay), &**origin))
        })
    }

    /// The topic that `topic` is a retry topic of.
    pub fn origin(&self, topic: &str) -> Option<&str> {
        self.topics().find(|(name, _)| name == topic).map(|(_, origin)| origin)
    }

    /// Where `topic` stands.
    pub(crate) fn rung(&self, topic: &Arc<str>) -> Rung {
        let place = self.origins.iter().find_map(|origin| {
            let at = self.delays.iter().position(|delay| name(origin, *delay) == **topic)?;
            Some((Arc::clone(origin), at))
        });
        let (origin, delay, next) = match place {
            Some((origin, at)) => (origin, self.delays.get(at).copied(), at + 1),
            None => (Arc::clone(topic), None, 0),
        };
        let next = self.delays.get(next).map(|delay| (name(&origin, *delay).into(), *delay));
        Rung { origin, delay, next }
    }
}

/// `payments.retry.5s`
fn name(origin: &str, delay: Duration) -> String {
    let millis = delay.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    let (length, unit) = whole.unwrap_or((1, "ms"));
    let number = millis / length;
    format!("{origin}.retry.{number}{unit}")
}

/// The event of a retry topic that is next and not due, and when it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) offset: i64,
    pub(crate) until: Instant,
}

/// What is known of the time while records of a retry topic are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) delay: Duration,
    pub(crate) now: Instant,
    pub(crate) wall_millis: i64,
    /// The event that was held last.
    pub(crate) held: Option<Held>,
}

impl Due {
    /// Whether, and how long, this record is held. Whatever its headers say, and however clocks
    /// differ, no longer than the delay from when it was first looked at.
    pub(crate) fn holds(&self, record: &Record<'_>) -> Option<Held> {
        let offset = record.offset;
        if let Some(held) = self.held.filter(|held| held.offset == offset) {
            return (held.until > self.now).then_some(held);
        }
        let headers = record.headers.filter_map(Result::ok);
        let due = headers.filter(|header| header.key == RETRY_DUE).last()?.value?;
        let due: i64 = std::str::from_utf8(due).ok()?.parse().ok()?;
        let left = u64::try_from(due.saturating_sub(self.wall_millis)).ok()?;
        let left = Duration::from_millis(left).min(self.delay);
        (!left.is_zero()).then(|| Held { offset, until: self.now + left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(delays: &[Duration]) -> Ladder {
        Ladder::new(&["payments".to_owned(), "refunds".to_owned()], delays).unwrap()
    }

    #[test]
    fn trap_29_there_is_a_topic_for_a_delay_and_none_for_a_try() {
        let ladder = ladder(&[5_000, 60_000, 5_400_000].map(Duration::from_millis));
        let names: Vec<_> = ladder.topics().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "payments.retry.5s",
                "payments.retry.1m",
                "payments.retry.90m",
                "refunds.retry.5s",
                "refunds.retry.1m",
                "refunds.retry.90m"
            ]
        );
        assert_eq!(ladder.origin("refunds.retry.1m"), Some("refunds"));
        assert_eq!(ladder.origin("refunds"), None);
    }

    #[test]
    fn trap_27_after_the_last_rung_comes_no_other() {
        let (five, minute) = (Duration::from_secs(5), Duration::from_secs(60));
        let ladder = ladder(&[five, minute]);
        let rung = |topic: &str| ladder.rung(&topic.into());
        let first = rung("payments");
        assert_eq!((first.delay, first.next), (None, Some(("payments.retry.5s".into(), five))));
        let second = rung("payments.retry.5s");
        assert_eq!((&*second.origin, second.delay), ("payments", Some(five)));
        assert_eq!(second.next, Some(("payments.retry.1m".into(), minute)));
        let last = rung("payments.retry.1m");
        assert_eq!((&*last.origin, last.delay, last.next), ("payments", Some(minute), None));
        assert_eq!(rung("others.retry.5s").delay, None, "somebody else's");
    }

    #[test]
    fn a_ladder_that_cannot_be_is_refused() {
        let seconds = |seconds: &[u64]| {
            seconds.iter().map(|second| Duration::from_secs(*second)).collect::<Vec<_>>()
        };
        let new = |origin: &str, delays: &[Duration]| Ladder::new(&[origin.to_owned()], delays);
        assert!(new("payments", &seconds(&[5, 60])).is_ok());
        assert!(new("payments", &seconds(&[60, 5])).is_err());
        assert!(new("payments", &seconds(&[5, 5])).is_err());
        assert!(new("payments", &seconds(&[0, 5])).is_err());
        assert!(new("payments", &[Duration::from_micros(1_500)]).is_err());
        assert!(new("payments", &seconds(&[1, 2, 3, 4, 5, 6, 7, 8, 9])).is_err());
        assert!(new(&"x".repeat(245), &seconds(&[5])).is_err());
    }
}
