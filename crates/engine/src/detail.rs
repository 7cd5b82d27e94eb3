//! What is shown of a partition beside its counts. It takes a look at all slots, so it is made once
//! per commit interval, and never per event.

use std::fmt;
use std::time::Duration;

use onrush_runtime::Instant;

/// Bytes of a key that are shown.
pub const KEY_SHOWN: usize = 64;
/// An event that took less is never called slow: of those that fast handlers run nothing is kept.
pub const SLOW_FROM: Duration = Duration::from_millis(1);
/// A slow event is shown for so long, unless a slower one comes.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// The first bytes of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyStart {
    bytes: [u8; KEY_SHOWN],
    length: u8,
}

impl KeyStart {
    /// Of this key.
    pub fn of(key: &[u8]) -> Self {
        let shown = &key[..key.len().min(KEY_SHOWN)];
        let mut bytes = [0; KEY_SHOWN];
        bytes[..shown.len()].copy_from_slice(shown);
        Self { bytes, length: shown.len() as u8 }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for KeyStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStart(\"{}\")", self.as_bytes().escape_ascii())
    }
}

/// A slot with much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotSlot {
    /// Which.
    pub slot: u32,
    /// Its events that have no outcome.
    pub events: u64,
    /// The first of those that went out together, or wait.
    pub offset: i64,
    /// Its key.
    pub key: Option<KeyStart>,
}

/// A finished event, and how long its handler took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowest {
    /// Which.
    pub offset: i64,
    /// Its key.
    pub key: Option<KeyStart>,
    /// From call to return.
    pub took: Duration,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// The slot with the most events: those of a key that is hot, most likely.
    pub hot_slot: Option<HotSlot>,
    /// The slowest event of the last seconds. Handlers that run on the lane, or take many events at
    /// once, are not measured per event.
    pub slowest: Option<Slowest>,
    /// How much of the metadata that the broker takes the last commit used, from 0 to 1,000.
    pub metadata_permille: u64,
}

/// Gathers what becomes the [`Detail`].
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// Since the last look.
    slowest: Option<Slowest>,
    shown_since: Option<Instant>,
    detail: Detail,
}

/// The slower one of two.
pub(crate) fn slower(one: Option<Slowest>, other: Option<Slowest>) -> Option<Slowest> {
    one.into_iter().chain(other).max_by_key(|slowest| slowest.took)
}

impl Observer {
    /// Events are finished, this one being the slowest of them.
    pub(crate) fn finished(&mut self, slowest: Option<Slowest>) {
        self.slowest = slower(self.slowest, slowest);
    }

    /// A commit with so many characters of metadata, of `limit`, is proposed.
    pub(crate) fn proposed(&mut self, length: usize, limit: usize) {
        self.detail.metadata_permille = (length * 1_000).checked_div(limit).unwrap_or(0) as u64;
    }

    /// What is to be shown from now on.
    pub(crate) fn look(&mut self, hot_slot: Option<HotSlot>, now: Instant) -> Detail {
        let is_old =
            self.shown_since.is_none_or(|since| now.saturating_duration_since(since) >= SHOWN_FOR);
        let shown = self.detail.slowest.filter(|_| !is_old);
        let latest = self.slowest.take();
        let slowest = slower(shown, latest);
        if slowest != shown {
            self.shown_since = Some(now);
        }
        self.detail = Detail { hot_slot, slowest, ..self.detail };
        self.detail.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(offset: i64, millis: u64) -> Option<Slowest> {
        Some(Slowest { offset, key: None, took: Duration::from_millis(millis) })
    }

    #[test]
    fn the_slowest_event_is_shown_for_some_seconds() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        let mut look = |events: &[Option<Slowest>], seconds| {
            events.iter().for_each(|event| observer.finished(*event));
            observer.look(None, start + Duration::from_secs(seconds)).slowest
        };
        assert_eq!(look(&[event(1, 5), event(2, 9), event(3, 7), None], 0), event(2, 9));
        assert_eq!(look(&[event(4, 8)], 5), event(2, 9));
        assert_eq!(look(&[event(5, 10)], 9), event(5, 10), "a slower one is shown at once");
        assert_eq!(look(&[], 18), event(5, 10));
        assert_eq!(look(&[event(6, 2)], 19), event(6, 2), "the old one is forgotten");
        assert_eq!(look(&[], 29), None);
    }

    #[test]
    fn keys_are_cut_and_shares_have_no_limit_of_none() {
        let long = KeyStart::of(&[b'x'; 200]);
        assert_eq!(long.as_bytes(), [b'x'; KEY_SHOWN]);
        assert_eq!(format!("{:?}", KeyStart::of(b"a\n")), "KeyStart(\"a\\n\")");
        let mut observer = Observer::default();
        observer.proposed(1_024, 4_096);
        assert_eq!(observer.look(None, Instant::now()).metadata_permille, 250);
        observer.proposed(0, 0);
        assert_eq!(observer.look(None, Instant::now()).metadata_permille, 0);
    }
}
