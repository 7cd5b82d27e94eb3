//! Events that leave their partition for another topic: the dead letters, or a retry topic. They
//! have their outcome when that topic acknowledged them. A batch that cannot be read goes to the
//! dead letters as a whole, as it came.
//!
//! Every departure costs a token of the partition; see [`dead_letter`](crate::dead_letter).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use onrush_record::{Header, Record};
use onrush_runtime::{Fault, Instant};

use crate::assignment::{Holding, Origin};
use crate::completed::OffsetRun;
use crate::dead_letter::{
    ATTEMPTS, CODE, ERROR, FIRST_FAILURE, LAST_FAILURE, ORIGIN_LAST_OFFSET, ORIGIN_OFFSET,
    ORIGIN_PARTITION, ORIGIN_TIMESTAMP, ORIGIN_TOPIC, RETRY_DUE, Tokens,
};
use crate::emit::{Emitter, Outgoing, OutletError, Settled};
use crate::lineage::Lineage;
use crate::metrics::Outcome;
use crate::parked::{Place, Trial};
use crate::slot::UNORDERED;

/// Headers that a departure sets: what an earlier one left of them is replaced.
const OURS: [&str; 11] = [
    ORIGIN_TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    ORIGIN_LAST_OFFSET,
    ORIGIN_TIMESTAMP,
    CODE,
    ERROR,
    ATTEMPTS,
    FIRST_FAILURE,
    LAST_FAILURE,
    RETRY_DUE,
];

/// How often a batch was read that goes to the dead letters.
const READS: u32 = 2;

/// Which tokens a departure costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bucket {
    /// Those of events whose handler failed.
    Failed,
    /// Those of events that cannot be read: a few bad ones say nothing of what is downstream.
    Undecodable,
}

/// What is on its way out.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) leaving: Leaving,
    /// Where to.
    pub(crate) topic: Arc<str>,
    /// Its token is spent.
    pub(crate) paid: bool,
}

/// What leaves.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// An event that failed.
    Event(Failed),
    /// A batch that cannot be read.
    Batch(Unread),
}

/// An event that failed, and was tried for the last time here.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) place: Place,
    pub(crate) slot: u32,
    pub(crate) trial: Trial,
    /// When a retry topic's event is to be tried, in milliseconds since 1970; a dead letter never
    /// is.
    pub(crate) due: Option<i64>,
}

/// A batch that cannot be read.
#[derive(Debug)]
pub(crate) struct Unread {
    /// As it came.
    pub(crate) bytes: Bytes,
    /// The offsets that it takes with it.
    pub(crate) run: OffsetRun,
    pub(crate) error: String,
    pub(crate) found_millis: i64,
}

impl Departure {
    /// The first offset that it concerns.
    pub(crate) fn offset(&self) -> i64 {
        match &self.leaving {
            Leaving::Event(failed) => failed.place.offset,
            Leaving::Batch(unread) => unread.run.first,
        }
    }

    /// What is wrong with it.
    pub(crate) fn error(&self) -> &str {
        match &self.leaving {
            Leaving::Event(failed) => &failed.trial.error,
            Leaving::Batch(unread) => &unread.error,
        }
    }

    fn send(
        &self,
        holding: &Holding,
        origin: Origin,
        emitter: &mut Emitter,
        now: Instant,
    ) -> Result<(), OutletError> {
        match &self.leaving {
            Leaving::Event(failed) => failed.send(&self.topic, holding, origin, emitter, now),
            Leaving::Batch(unread) => unread.send(&self.topic, holding, origin, emitter, now),
        }
    }
}

impl Unread {
    fn send(
        &self,
        topic: &str,
        holding: &Holding,
        origin: Origin,
        emitter: &mut Emitter,
        now: Instant,
    ) -> Result<(), OutletError> {
        let assignment = &holding.assignment;
        let told = [
            (ORIGIN_TOPIC, assignment.topic.to_string()),
            (ORIGIN_PARTITION, assignment.partition.to_string()),
            (ORIGIN_OFFSET, self.run.first.to_string()),
            (ORIGIN_LAST_OFFSET, self.run.last.to_string()),
            (CODE, Fault::CorruptBatch.to_string()),
            (ERROR, self.error.clone()),
            (ATTEMPTS, READS.to_string()),
        ];
        let headers =
            told.each_ref().map(|(key, text)| Header { key, value: Some(text.as_bytes()) });
        let (slot, outcome) = (UNORDERED, Outcome::Skipped);
        let settled = Settled { origin, slot, run: self.run, outcome };
        let (timestamp, key, value) = (self.found_millis, None, Some(&*self.bytes));
        emitter.send(settled, &Outgoing { topic, timestamp, key, value, headers: &headers }, now)
    }
}

impl Failed {
    /// Writes the event to its topic.
    fn send(
        &self,
        topic: &str,
        holding: &Holding,
        origin: Origin,
        emitter: &mut Emitter,
        now: Instant,
    ) -> Result<(), OutletError> {
        let record = match self.place.batch.record_at(self.place.position) {
            Ok(record) => record,
            Err(error) => return Err(OutletError::Refused(error.to_string())),
        };
        let lineage = Lineage::of(holding, &record);
        let attempts = lineage.attempts.saturating_add(self.trial.attempts);
        let first = lineage.first_millis.unwrap_or(self.trial.first_millis);
        let number = |number: i64| number.to_string();
        let added = [
            (ORIGIN_TOPIC, lineage.topic.to_owned()),
            (ORIGIN_PARTITION, number(lineage.partition.into())),
            (ORIGIN_OFFSET, number(lineage.offset)),
            (ORIGIN_TIMESTAMP, number(lineage.timestamp)),
            (CODE, Fault::HandlerFailed.to_string()),
            (ERROR, self.trial.error.clone()),
            (ATTEMPTS, number(attempts.into())),
            (FIRST_FAILURE, number(first)),
            (LAST_FAILURE, number(self.trial.last_millis)),
        ];
        let due = self.due.map(|due| (RETRY_DUE, number(due)));
        let mut headers = foreign(&record);
        let added = added.iter().chain(&due);
        headers.extend(added.map(|(key, value)| Header { key, value: Some(value.as_bytes()) }));
        let run = OffsetRun::new(self.place.offset, self.place.offset);
        let outcome = if self.due.is_some() { Outcome::Moved } else { Outcome::DeadLettered };
        let settled = Settled { origin, slot: self.slot, run, outcome };
        // By its own time it might have expired in the retry topic before it is read there.
        let timestamp = if self.due.is_some() { self.trial.last_millis } else { lineage.timestamp };
        let (key, value, headers) = (record.key, record.value, &*headers);
        emitter.send(settled, &Outgoing { topic, timestamp, key, value, headers }, now)
    }
}

/// The headers that are not ours. One that does not read as such (a name that is not UTF-8) cannot
/// be written either.
fn foreign<'a>(record: &Record<'a>) -> Vec<Header<'a>> {
    let headers = record.headers.filter_map(Result::ok);
    headers.filter(|header| !OURS.contains(&header.key)).collect()
}

/// Departures of one bucket, in their order, and its tokens.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) tokens: Tokens,
    waiting: VecDeque<Departure>,
}

/// Why departures wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hurdle {
    /// Until then there is no token.
    Token(Option<Instant>),
    /// The producer has no room.
    Room,
    /// The topic is not in the metadata.
    Topic(Arc<str>),
    /// The topic will never take it.
    Refused(String),
}

impl Gate {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The one that is next.
    pub(crate) fn first(&self) -> Option<&Departure> {
        self.waiting.front()
    }

    /// Spends a token for an event that is to leave, if none waits for one before it. Those that
    /// have theirs may wait for room, or for the topic.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        self.waiting.iter().all(|departure| departure.paid) && self.tokens.spend(now)
    }

    pub(crate) fn push(&mut self, departure: Departure) {
        self.waiting.push_back(departure);
    }

    /// Sends what there are tokens and room for; how many that were, and why the others wait.
    pub(crate) fn send(
        &mut self,
        holding: &Holding,
        origin: Origin,
        emitter: &mut Emitter,
        now: Instant,
    ) -> (u64, Option<Hurdle>) {
        let mut sent = 0;
        while let Some(departure) = self.waiting.front_mut() {
            if !departure.paid && !self.tokens.spend(now) {
                return (sent, Some(Hurdle::Token(self.tokens.next())));
            }
            departure.paid = true;
            let hurdle = match departure.send(holding, origin, emitter, now) {
                Ok(()) => {
                    self.waiting.pop_front();
                    sent += 1;
                    continue;
                }
                Err(OutletError::Full) => Hurdle::Room,
                Err(OutletError::UnknownTopic) => Hurdle::Topic(Arc::clone(&departure.topic)),
                Err(OutletError::Refused(reason)) => Hurdle::Refused(reason),
            };
            return (sent, Some(hurdle));
        }
        (sent, None)
    }

    /// How the events were tried that wait.
    pub(crate) fn trials(&self) -> impl Iterator<Item = (i64, &Trial)> {
        self.waiting.iter().filter_map(|departure| match &departure.leaving {
            Leaving::Event(failed) => Some((failed.place.offset, &failed.trial)),
            Leaving::Batch(_) => None,
        })
    }

    /// Takes out the event of this offset; whether it waited here. Its token is given back.
    pub(crate) fn remove(&mut self, offset: i64) -> bool {
        let is_it = |departure: &Departure| match &departure.leaving {
            Leaving::Event(failed) => failed.place.offset == offset,
            Leaving::Batch(_) => false,
        };
        let at = self.waiting.iter().position(is_it);
        let removed = at.and_then(|at| self.waiting.remove(at));
        if removed.as_ref().is_some_and(|departure| departure.paid) {
            self.tokens.give_back();
        }
        removed.is_some()
    }

    /// Gives what waits. Tokens that were spent for nothing are given back.
    pub(crate) fn clear(&mut self) -> Vec<Departure> {
        let paid = self.waiting.iter().filter(|departure| departure.paid).count();
        (0..paid).for_each(|_| self.tokens.give_back());
        self.waiting.drain(..).collect()
    }
}
