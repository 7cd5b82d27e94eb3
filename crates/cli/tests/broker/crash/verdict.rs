//! What was promised against what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use onrush_runtime::Instant;

use crate::log::Logged;

/// What a policy promises of an acknowledged event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Promise {
    /// It survives.
    Everything,
    /// It survives a kill that comes this much later.
    OlderThan(Duration),
}

/// A batch that was begun.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// When its first record was appended.
    pub(super) sent: Instant,
    pub(super) numbers: Vec<u64>,
}

/// An acknowledged batch.
#[derive(Clone, Debug)]
struct Acknowledged {
    partition: i32,
    base: i64,
    batch: Batch,
    at: Instant,
}

/// What the load did.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    acknowledged: Vec<Acknowledged>,
    /// Batches that wait for their acknowledgement.
    pub(super) open: usize,
    /// Producers that were needed: one, as long as none failed.
    pub(super) producers: usize,
}

impl History {
    pub(super) fn acknowledged(&mut self, partition: i32, base: i64, batch: Batch, at: Instant) {
        self.acknowledged.push(Acknowledged { partition, base, batch, at });
    }

    pub(super) fn has_open_batches(&self) -> bool {
        self.open > 0
    }

    /// Whether a batch was begun before the kill and acknowledged after the restart.
    pub(super) fn was_in_flight(&self, life: &Life) -> bool {
        let crossed = |acknowledged: &Acknowledged| {
            acknowledged.batch.sent < life.killed && acknowledged.at > life.listening
        };
        self.acknowledged.iter().any(crossed)
    }
}

/// The end of one life of the broker and the beginning of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) killed: Instant,
    pub(super) listening: Instant,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Verdict {
    kills: usize,
    events: usize,
    /// Events that are not where their acknowledgement said, allowed or not.
    pub(super) gone: usize,
    /// Those of them that were promised.
    pub(super) lost: Vec<String>,
    /// Offsets that a reader saw and that hold something else now, though everything was promised.
    unread: usize,
    /// Events that are in the log twice, though one producer sent all of them and everything was promised.
    twice: usize,
}

impl Verdict {
    pub(super) fn holds(&self) -> bool {
        self.lost.is_empty() && self.unread == 0 && self.twice == 0 && self.events > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, events, gone, lost, unread, twice } = self;
        write!(
            f,
            "{kills} kills with produces in flight, {events} events acknowledged, {gone} gone, {} of them lost, {unread} read and gone, {twice} twice",
            lost.len()
        )?;
        lost.iter().take(3).try_for_each(|lost| write!(f, "; {lost}"))
    }
}

pub(super) fn judge(
    history: &History,
    lives: &[Life],
    kills: usize,
    read: &Logged,
    logged: &Logged,
    promise: Promise,
) -> Verdict {
    let (mut events, mut gone, mut lost) = (0, 0, Vec::new());
    for Acknowledged { partition, base, batch, at } in &history.acknowledged {
        for (offset, number) in (*base..).zip(&batch.numbers) {
            events += 1;
            if logged.get(&(*partition, offset)) == Some(number) {
                continue;
            }
            gone += 1;
            if promised(*at, lives, promise) {
                lost.push(format!("event {number} at {partition}/{offset}"));
            }
        }
    }
    let everything = matches!(promise, Promise::Everything);
    let (mut unread, mut twice) = (0, 0);
    if everything {
        unread = read.iter().filter(|(place, number)| logged.get(place) != Some(number)).count();
    }
    if everything && history.producers == 1 {
        let mut counts = BTreeMap::<u64, usize>::new();
        logged.values().for_each(|number| *counts.entry(*number).or_default() += 1);
        twice = counts.values().filter(|count| **count > 1).count();
    }
    Verdict { kills, events, gone, lost, unread, twice }
}

/// Whether an acknowledgement of that time should have outlived the kills.
fn promised(at: Instant, lives: &[Life], promise: Promise) -> bool {
    match promise {
        Promise::Everything => true,
        Promise::OlderThan(age) => {
            !lives.iter().any(|life| at <= life.listening && at + age > life.killed)
        }
    }
}
