//! What happened in a test bed: noted as it happens, judged and printed afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_runtime::Instant;

/// Lines that are printed of a history: its end, where the trouble is.
const PRINTED: usize = 200;

/// A call of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The consumer's group.
    pub group: String,
    /// The member that called, by [`App::name`](super::App::name).
    pub app: String,
    /// The event's topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// When, in virtual time since the bed was made.
    pub at: Duration,
    /// What the handler returned, or with what it panicked.
    pub result: Result<(), String>,
    /// Tells this assignment of the partition from every other.
    pub(super) session: Session,
}

/// A stay of a partition with a member, counted by each of its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Session {
    /// The start of the member: numbered over the bed.
    pub(super) life: u32,
    /// How often the partition came to it.
    pub(super) stay: u32,
}

impl Call {
    /// The event: topic, partition, offset.
    pub(super) fn event(&self) -> (&str, i32, i64) {
        (&self.topic, self.partition, self.offset)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, topic, partition, offset, .. } = self;
        write!(f, "{app} called with {topic}-{partition} offset {offset}, key ")?;
        match &self.key {
            Some(key) => write!(f, "\"{}\"", key.escape_ascii())?,
            None => write!(f, "none")?,
        }
        match &self.result {
            Ok(()) => write!(f, ": ok"),
            Err(error) => write!(f, ": failed: {error}"),
        }
    }
}

/// Shared by a bed and the handlers in it.
#[derive(Clone)]
pub(super) struct History {
    start: Instant,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    entries: Vec<(Duration, What)>,
    assigned: BTreeSet<(Session, String, i32)>,
}

enum What {
    Note(String),
    Call(Call),
}

impl History {
    /// Time starts now.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), entries: Arc::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time since the start.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        let at = self.now();
        self.entries().entries.push((at, What::Note(text.into())));
    }

    pub(super) fn called(&self, call: Call) {
        self.entries().entries.push((call.at, What::Call(call)));
    }

    /// A handler was told of a partition; the first of a member's tells the history.
    pub(super) fn assigned(&self, app: &str, topic: &str, partition: i32, session: Session) {
        if self.entries().assigned.insert((session, topic.to_owned(), partition)) {
            self.note(format!("{app} is assigned {topic}-{partition}"));
        }
    }

    /// The calls of a group's handlers.
    pub(super) fn calls(&self, group: &str) -> Vec<Call> {
        let entries = self.entries();
        let calls = entries.entries.iter().filter_map(|(_, what)| match what {
            What::Call(call) if call.group == group => Some(call.clone()),
            What::Call(_) | What::Note(_) => None,
        });
        calls.collect()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entries { entries, .. } = &*self.entries();
        let skipped = entries.len().saturating_sub(PRINTED);
        if skipped > 0 {
            writeln!(f, "({skipped} earlier lines left out)")?;
        }
        for (at, what) in &entries[skipped..] {
            write!(f, "{:>10.3} s  ", at.as_secs_f64())?;
            match what {
                What::Note(text) => writeln!(f, "{text}")?,
                What::Call(call) => writeln!(f, "{call}")?,
            }
        }
        Ok(())
    }
}

/// The first two calls of a key within one assignment that are in the wrong order.
pub(super) fn out_of_order(calls: &[Call]) -> Option<(&Call, &Call)> {
    let mut last = BTreeMap::new();
    calls.iter().filter(|call| call.key.is_some()).find_map(|call| {
        let line = (call.session, &call.topic, call.partition, &call.key);
        let before: Option<&Call> = last.insert(line, call);
        before.filter(|before| before.offset > call.offset).map(|before| (before, call))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(stay: u32, key: Option<&str>, offset: i64) -> Call {
        Call {
            group: "billing".into(),
            app: "billing-1".into(),
            topic: "payments".into(),
            partition: 0,
            offset,
            key: key.map(|key| key.as_bytes().to_vec()),
            value: None,
            at: Duration::ZERO,
            result: Ok(()),
            session: Session { life: 1, stay },
        }
    }

    #[test]
    fn order_is_that_of_a_key_within_an_assignment() {
        let (a, b) = (Some("a"), Some("b"));
        let fine =
            [call(1, a, 1), call(1, b, 0), call(1, a, 1), call(1, None, 9), call(1, None, 3)];
        assert_eq!(out_of_order(&fine), None);
        assert_eq!(out_of_order(&[call(1, a, 4), call(2, a, 3)]), None);
        let wrong = [call(1, a, 4), call(1, b, 7), call(1, a, 3)];
        assert_eq!(out_of_order(&wrong), Some((&wrong[0], &wrong[2])));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_long_history_is_printed() {
        let history = History::new();
        (0..PRINTED + 5).for_each(|number| history.note(format!("note {number}")));
        let text = history.to_string();
        assert!(text.starts_with("(5 earlier lines left out)\n     0.000 s  note 5\n"), "{text}");
        assert!(text.ends_with(&format!("note {}\n", PRINTED + 4)));
    }
}
