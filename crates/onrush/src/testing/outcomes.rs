//! What became of the events of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use onrush_engine::Metadata;
use onrush_kafka::Committed;

use super::history::Call;
use super::log::Record;

/// Events of a failed assertion that are printed.
const PRINTED: usize = 20;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler returned `Ok`, what it emitted is acknowledged, and the group has committed that.
    Done,
    /// It is in the dead letters, and the group has committed that.
    DeadLettered,
    /// Neither is committed: a member that took over would run it.
    Open,
}

/// An event with what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EventOutcome {
    /// The event.
    pub event: Record,
    /// What became of it.
    pub outcome: Outcome,
    /// How often a handler was called with it.
    pub calls: usize,
    /// How many of the calls failed.
    pub failures: usize,
}

/// What became of all events in a group's topics, as the broker knows it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Outcomes {
    /// Events that are [`Outcome::Done`].
    pub done: usize,
    /// Events that are [`Outcome::DeadLettered`].
    pub dead_lettered: usize,
    /// Events that are [`Outcome::Open`].
    pub open: usize,
    /// Events that were tried again after a failure.
    pub retried: usize,
    /// Events that were run again although a call had succeeded: at least once is not exactly once.
    pub repeated: usize,
    /// Each of them, by topic, partition and offset.
    pub events: Vec<EventOutcome>,
}

type Place = (String, i32, i64);

/// What an outcome is judged by.
pub(super) struct Evidence<'a> {
    pub(super) committed: &'a [Committed],
    /// Where the group keeps events that wait for another try.
    pub(super) retries: &'a [Record],
    pub(super) dead_letters: &'a [Record],
    pub(super) calls: &'a [Call],
}

impl Outcomes {
    pub(super) fn of(events: Vec<Record>, evidence: &Evidence<'_>) -> Self {
        let judge = Judge::new(evidence);
        let (mut retried, mut repeated) = (0, 0);
        let events: Vec<_> = events
            .into_iter()
            .map(|event| {
                let place = event.place();
                let calls = judge.calls.get(&place).map_or(&[][..], Vec::as_slice);
                let failures = calls.iter().filter(|succeeded| !**succeeded).count();
                let again = |succeeded: bool| {
                    let first = calls.iter().position(|call| *call == succeeded);
                    first.is_some_and(|first| first + 1 < calls.len())
                };
                retried += usize::from(again(false));
                repeated += usize::from(again(true));
                let (calls, outcome) = (calls.len(), judge.outcome(&place));
                EventOutcome { event, outcome, calls, failures }
            })
            .collect();
        let count = |outcome| events.iter().filter(|event| event.outcome == outcome).count();
        Self {
            done: count(Outcome::Done),
            dead_lettered: count(Outcome::DeadLettered),
            open: count(Outcome::Open),
            retried,
            repeated,
            events,
        }
    }

    /// Those that did not become `outcome`, for a message.
    pub(super) fn all_but(&self, outcome: Outcome) -> String {
        let others = self.events.iter().filter(|event| event.outcome != outcome);
        let lines = others.take(PRINTED).map(|EventOutcome { event, outcome, calls, failures }| {
            format!("\n  {event:?} is {outcome:?} after {calls} calls, {failures} failed")
        });
        lines.collect()
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, dead_lettered, open, retried, repeated, events } = self;
        write!(
            f,
            "{} events: {done} done, {dead_lettered} dead-lettered, {open} open; {retried} retried, {repeated} repeated",
            events.len()
        )
    }
}

struct Judge<'a> {
    committed: &'a [Committed],
    dead: BTreeSet<Place>,
    /// The last place in the retries of an event that was moved there.
    moved: BTreeMap<Place, Place>,
    /// By event, in order: whether the call succeeded.
    calls: BTreeMap<Place, Vec<bool>>,
}

impl<'a> Judge<'a> {
    fn new(evidence: &Evidence<'a>) -> Self {
        let moved =
            evidence.retries.iter().filter_map(|record| Some((record.origin()?, record.place())));
        let origins: BTreeMap<Place, Place> = evidence
            .retries
            .iter()
            .filter_map(|record| Some((record.place(), record.origin()?)))
            .collect();
        let mut calls = BTreeMap::<_, Vec<_>>::new();
        for call in evidence.calls {
            let (topic, partition, offset) = call.event();
            let place = (topic.to_owned(), partition, offset);
            let event = origins.get(&place).cloned().unwrap_or(place);
            calls.entry(event).or_default().push(call.result.is_ok());
        }
        Self {
            committed: evidence.committed,
            dead: evidence.dead_letters.iter().filter_map(Record::origin).collect(),
            moved: moved.collect(),
            calls,
        }
    }

    fn outcome(&self, event: &Place) -> Outcome {
        let at = self.moved.get(event).unwrap_or(event);
        match self.is_finished(event) && self.is_finished(at) {
            false => Outcome::Open,
            true if self.dead.contains(event) => Outcome::DeadLettered,
            true => Outcome::Done,
        }
    }

    fn is_finished(&self, (topic, partition, offset): &Place) -> bool {
        let commit = self.committed.iter().find(|commit| {
            *commit.partition.topic == **topic && commit.partition.partition == *partition
        });
        commit.is_some_and(|commit| {
            let above = || Metadata::decode(commit.offset, &commit.metadata).unwrap_or_default();
            *offset < commit.offset
                || above()
                    .completed
                    .runs()
                    .iter()
                    .any(|run| run.first <= *offset && *offset <= run.last)
        })
    }
}
