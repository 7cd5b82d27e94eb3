//! What handlers emit, and the events that wait until it is acknowledged.
//!
//! A lane or worker has one emitter. A record goes into an open batch of its producer; the event
//! that emitted it waits on that batch, and on every other that it put a record into.
//! Acknowledgements come per batch and finish the events whose last batch that was.
//!
//! A record that finds no room (or a topic that the metadata does not have yet) is kept in the
//! *spill*, which never holds more than one event's records: while it is not empty its owner starts
//! no other event. So handlers neither block nor see back-pressure, and order is kept.

use std::collections::{HashMap, VecDeque};

use onrush_record::Header;
use onrush_runtime::Instant;
use onrush_runtime::random::FixedState;

use crate::assignment::Origin;
use crate::completed::OffsetRun;
use crate::metrics::Outcome;

/// Most bytes that one event may emit while there is no room.
pub const SPILL_LIMIT: usize = 16 << 20;
/// Lists of waiting events that are kept to be used again.
const SPARE_LISTS: usize = 64;
/// The event waits for one batch only.
const ALONE: u32 = u32::MAX;

/// A record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, which chooses the partition.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header<'a>],
}

/// Where records go: a producer's appender, or what a test puts in its place.
pub trait Outlet: Send {
    /// Adds a record to an open batch and names the batch.
    fn append(&mut self, record: &Outgoing<'_>, now: Instant) -> Result<u64, OutletError>;
    /// Hands over what is open, full or not.
    fn flush(&mut self, now: Instant);
    /// Hands over what has waited long enough, and says when the next will have.
    fn poll(&mut self, now: Instant) -> Option<Instant>;
}

/// Why a record was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutletError {
    /// No room at the moment; the owner is woken when there is.
    Full,
    /// The metadata does not have the topic.
    UnknownTopic,
    /// It will never be added.
    Refused(String),
}

/// Why a handler cannot emit a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The producer does not take it.
    #[error("cannot emit to {topic}: {reason}")]
    Refused {
        /// Where to.
        topic: String,
        /// What is wrong.
        reason: String,
    },
    /// The event emitted too much for the room there is.
    #[error("one event emitted more than {SPILL_LIMIT} bytes while the producer had no room")]
    TooMuch,
    /// The handler of the event has returned: a context does not outlive its event.
    #[error("the event has its outcome already; emit before its handler returns")]
    Late,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which, as the outlet named it.
    pub batch: u64,
    /// Written, or why not.
    pub result: Result<(), String>,
}

/// Events of one assignment (and slot) that got their outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The assignment.
    pub origin: Origin,
    /// The slot they came from; see [`slot`](crate::slot).
    pub slot: u32,
    /// Which events.
    pub run: OffsetRun,
    /// What became of them.
    pub outcome: Outcome,
}

struct Waiting {
    settled: Settled,
    shared: u32,
}

type OwnedHeader = (Box<str>, Option<Box<[u8]>>);

struct Spilled {
    topic: Box<str>,
    timestamp: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Vec<OwnedHeader>,
    waiting: Option<(Settled, u32)>,
}

impl Spilled {
    fn len(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()));
        self.key.as_ref().map_or(0, |key| key.len())
            + self.value.as_ref().map_or(0, |value| value.len())
            + headers.sum::<usize>()
    }
}

/// See the module.
pub struct Emitter {
    outlet: Box<dyn Outlet>,
    /// Batches of the event that runs now.
    batches: Vec<u64>,
    waiting: HashMap<u64, Vec<Waiting>, FixedState>,
    spare: Vec<Vec<Waiting>>,
    /// How many batches an event still waits for, of those that wait for several.
    shared: Vec<u32>,
    free: Vec<u32>,
    /// Events that share an entry of `shared` with the one that waits.
    others: HashMap<u32, Box<[Settled]>, FixedState>,
    spill: VecDeque<Spilled>,
    spill_bytes: usize,
    unknown: Option<Box<str>>,
}

impl Emitter {
    /// Emits through `outlet`.
    pub fn new(outlet: Box<dyn Outlet>) -> Self {
        Self {
            outlet,
            batches: Vec::new(),
            waiting: HashMap::with_hasher(FixedState::default()),
            spare: Vec::new(),
            shared: Vec::new(),
            free: Vec::new(),
            others: HashMap::with_hasher(FixedState::default()),
            spill: VecDeque::new(),
            spill_bytes: 0,
            unknown: None,
        }
    }

    /// Adds a record of the event that runs now.
    pub(crate) fn emit(&mut self, record: &Outgoing<'_>, now: Instant) -> Result<(), EmitError> {
        if self.spill.is_empty() {
            match self.outlet.append(record, now) {
                Ok(batch) => {
                    self.note(batch);
                    return Ok(());
                }
                Err(OutletError::Refused(reason)) => {
                    return Err(EmitError::Refused { topic: record.topic.to_owned(), reason });
                }
                Err(OutletError::UnknownTopic) => self.unknown = Some(record.topic.into()),
                Err(OutletError::Full) => {}
            }
        }
        self.keep(record)
    }

    /// The event that runs now has a record in `batch`.
    fn note(&mut self, batch: u64) {
        if self.batches.last() != Some(&batch) && !self.batches.contains(&batch) {
            self.batches.push(batch);
        }
    }

    fn keep(&mut self, record: &Outgoing<'_>) -> Result<(), EmitError> {
        let spilled = Spilled {
            topic: record.topic.into(),
            timestamp: record.timestamp,
            key: record.key.map(Into::into),
            value: record.value.map(Into::into),
            headers: record
                .headers
                .iter()
                .map(|header| (header.key.into(), header.value.map(Into::into)))
                .collect(),
            waiting: None,
        };
        if self.spill_bytes + spilled.len() > SPILL_LIMIT {
            return Err(EmitError::TooMuch);
        }
        self.spill_bytes += spilled.len();
        self.spill.push_back(spilled);
        Ok(())
    }

    /// Whether the event that runs now emitted something.
    #[inline]
    pub(crate) fn emitted(&self) -> bool {
        !self.batches.is_empty() || !self.spill.is_empty()
    }

    /// The event that runs now returned: it waits for what it emitted.
    pub(crate) fn settle_later(&mut self, settled: Settled) {
        let count = self.batches.len() + self.spill.len();
        let shared = if count == 1 { ALONE } else { self.share(count as u32) };
        let batches = std::mem::take(&mut self.batches);
        for batch in &batches {
            self.wait(*batch, settled, shared);
        }
        self.batches = batches;
        self.batches.clear();
        self.spill.iter_mut().for_each(|spilled| spilled.waiting = Some((settled, shared)));
    }

    /// All these events, of one call, returned: each waits for everything that was emitted.
    pub(crate) fn settle_all(&mut self, all: &[Settled]) {
        let Some((first, others)) = all.split_first() else { return };
        match (&*self.batches, self.spill.is_empty()) {
            ([batch], true) => {
                let batch = *batch;
                all.iter().for_each(|settled| self.wait(batch, *settled, ALONE));
                self.batches.clear();
            }
            _ if others.is_empty() => self.settle_later(*first),
            _ => {
                // One of them waits for all batches, and takes the others with it.
                let shared = self.share((self.batches.len() + self.spill.len()) as u32);
                self.others.insert(shared, others.into());
                let batches = std::mem::take(&mut self.batches);
                batches.iter().for_each(|batch| self.wait(*batch, *first, shared));
                self.spill.iter_mut().for_each(|spilled| spilled.waiting = Some((*first, shared)));
            }
        }
    }

    /// The event that runs now failed: what it emitted is written, but nobody waits for it.
    pub(crate) fn abandon(&mut self) {
        self.batches.clear();
        self.spill.clear();
        self.spill_bytes = 0;
        self.unknown = None;
    }

    /// Adds a record for an event that does not run: a dead letter. Not kept if there is no room.
    pub(crate) fn send(
        &mut self,
        settled: Settled,
        record: &Outgoing<'_>,
        now: Instant,
    ) -> Result<(), OutletError> {
        if !self.spill.is_empty() {
            return Err(OutletError::Full);
        }
        let batch = self.outlet.append(record, now)?;
        self.wait(batch, settled, ALONE);
        Ok(())
    }

    fn share(&mut self, count: u32) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.shared[at as usize] = count;
                at
            }
            None => {
                self.shared.push(count);
                (self.shared.len() - 1) as u32
            }
        }
    }

    fn wait(&mut self, batch: u64, settled: Settled, shared: u32) {
        let spare = &mut self.spare;
        let list = self.waiting.entry(batch).or_insert_with(|| spare.pop().unwrap_or_default());
        if let Some(last) = list.last_mut()
            && shared == ALONE
            && last.shared == ALONE
            && last.settled.run.last + 1 == settled.run.first
            && (Settled { run: settled.run, ..last.settled }) == settled
        {
            last.settled.run.last = settled.run.last;
            return;
        }
        list.push(Waiting { settled, shared });
    }

    /// A batch was written, or not: `settled` gets the events that waited for nothing else, or the
    /// error with the assignments it concerns.
    pub(crate) fn delivered(
        &mut self,
        delivery: Delivery,
        settled: &mut Vec<Settled>,
    ) -> Result<(), Undelivered> {
        // Unknown: all that was in the batch was abandoned.
        let Some(mut list) = self.waiting.remove(&delivery.batch) else { return Ok(()) };
        let result = match delivery.result {
            Ok(()) => {
                for waiting in list.drain(..) {
                    if waiting.shared == ALONE {
                        settled.push(waiting.settled);
                    } else if self.one_less(waiting.shared) {
                        settled.push(waiting.settled);
                        settled.extend(self.others.remove(&waiting.shared).iter().flatten());
                    }
                }
                Ok(())
            }
            Err(reason) => {
                let waiting = list.drain(..).map(|Waiting { settled, shared }| (settled, shared));
                let mut origins: Vec<_> =
                    waiting.flat_map(|waiting| self.origins(Some(waiting))).collect();
                origins.dedup();
                Err(Undelivered { origins, reason })
            }
        };
        if self.spare.len() < SPARE_LISTS {
            self.spare.push(list);
        }
        result
    }

    /// The assignments of events that wait together.
    fn origins(&self, waiting: Option<(Settled, u32)>) -> Vec<Origin> {
        let Some((settled, shared)) = waiting else { return Vec::new() };
        let others = self.others.get(&shared).into_iter().flatten();
        std::iter::once(&settled).chain(others).map(|settled| settled.origin).collect()
    }

    /// Whether that was the last batch.
    fn one_less(&mut self, shared: u32) -> bool {
        let left = &mut self.shared[shared as usize];
        *left -= 1;
        if *left == 0 {
            self.free.push(shared);
        }
        self.shared[shared as usize] == 0
    }

    /// Tries to write what was kept; whether nothing is left, so that the next event may run.
    pub(crate) fn unspill(&mut self, now: Instant) -> Result<bool, Undelivered> {
        while let Some(spilled) = self.spill.pop_front() {
            let headers: Vec<_> = spilled
                .headers
                .iter()
                .map(|(key, value)| Header { key, value: value.as_deref() })
                .collect();
            let record = Outgoing {
                topic: &spilled.topic,
                timestamp: spilled.timestamp,
                key: spilled.key.as_deref(),
                value: spilled.value.as_deref(),
                headers: &headers,
            };
            match self.outlet.append(&record, now) {
                Ok(batch) => {
                    self.spill_bytes -= spilled.len();
                    match spilled.waiting {
                        Some((settled, shared)) => self.wait(batch, settled, shared),
                        // Its event is parked: it waits when its call has ended.
                        None => self.note(batch),
                    }
                }
                Err(OutletError::Refused(reason)) => {
                    let origins = self.origins(spilled.waiting);
                    self.abandon();
                    return Err(Undelivered { origins, reason });
                }
                Err(error) => {
                    if error == OutletError::UnknownTopic {
                        self.unknown = Some(spilled.topic.clone());
                    }
                    drop(headers);
                    self.spill.push_front(spilled);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Gives up what was kept for `topic`, which cannot be had; `None` if nothing was.
    pub(crate) fn refuse(&mut self, topic: &str) -> Option<Vec<Origin>> {
        if self.spill.front().is_none_or(|spilled| *spilled.topic != *topic) {
            return None;
        }
        let mut origins: Vec<_> =
            self.spill.iter().flat_map(|spilled| self.origins(spilled.waiting)).collect();
        origins.dedup();
        self.abandon();
        Some(origins)
    }

    /// Whether records are kept.
    #[inline]
    pub(crate) fn is_spilled(&self) -> bool {
        !self.spill.is_empty()
    }

    /// A topic that the metadata does not have, once.
    pub(crate) fn unknown_topic(&mut self) -> Option<Box<str>> {
        self.unknown.take()
    }

    pub(crate) fn flush(&mut self, now: Instant) {
        self.outlet.flush(now);
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.outlet.poll(now)
    }
}

/// Emitted records that were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// The assignments whose events waited.
    pub(crate) origins: Vec<Origin>,
    /// Why.
    pub(crate) reason: String,
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A record as it was written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Written {
        pub(crate) batch: u64,
        pub(crate) topic: String,
        pub(crate) key: Option<Vec<u8>>,
        pub(crate) value: Option<Vec<u8>>,
        pub(crate) headers: Vec<(String, Vec<u8>)>,
    }

    /// What a test sees and decides of an outlet.
    #[derive(Debug, Default)]
    pub(crate) struct Tray {
        pub(crate) written: Vec<Written>,
        /// Records that still find room.
        pub(crate) room: usize,
        pub(crate) unknown: Vec<String>,
        /// How often it was flushed.
        pub(crate) flushes: u64,
        /// Records per batch.
        pub(crate) batch: u64,
        open: u64,
        filled: u64,
    }

    impl Tray {
        /// Whether this batch is there to be acknowledged; nothing is added to it any more.
        pub(crate) fn seal(&mut self, batch: u64) -> bool {
            if batch == self.open && self.filled > 0 {
                (self.open, self.filled) = (self.open + 1, 0);
            }
            batch < self.open
        }
    }

    /// An outlet that keeps what is appended.
    #[derive(Debug, Clone)]
    pub(crate) struct TestOutlet(pub(crate) Arc<Mutex<Tray>>);

    impl TestOutlet {
        pub(crate) fn new(batch: u64) -> Self {
            Self(Arc::new(Mutex::new(Tray { room: usize::MAX, batch, ..Tray::default() })))
        }
    }

    impl Outlet for TestOutlet {
        fn append(&mut self, record: &Outgoing<'_>, _now: Instant) -> Result<u64, OutletError> {
            let mut tray = self.0.lock().unwrap();
            if tray.unknown.iter().any(|topic| topic == record.topic) {
                return Err(OutletError::UnknownTopic);
            }
            if tray.room == 0 {
                return Err(OutletError::Full);
            }
            tray.room -= 1;
            let batch = tray.open;
            tray.filled += 1;
            if tray.filled == tray.batch {
                (tray.open, tray.filled) = (batch + 1, 0);
            }
            let headers = record
                .headers
                .iter()
                .map(|header| (header.key.into(), header.value.unwrap_or_default().into()))
                .collect();
            let (key, value) = (record.key.map(Into::into), record.value.map(Into::into));
            tray.written.push(Written { batch, topic: record.topic.into(), key, value, headers });
            Ok(batch)
        }

        fn flush(&mut self, _now: Instant) {
            self.0.lock().unwrap().flushes += 1;
        }

        fn poll(&mut self, _now: Instant) -> Option<Instant> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::TestOutlet;
    use super::*;

    const ORIGIN: Origin = Origin { lane: 0, index: 0, token: 1 };

    fn settled(offset: i64) -> Settled {
        Settled {
            origin: ORIGIN,
            slot: 0,
            run: OffsetRun::new(offset, offset),
            outcome: Outcome::Done,
        }
    }

    fn record(value: &[u8]) -> Outgoing<'_> {
        Outgoing { topic: "out", timestamp: 0, key: None, value: Some(value), headers: &[] }
    }

    fn acknowledge(emitter: &mut Emitter, batch: u64) -> Vec<OffsetRun> {
        let mut settled = Vec::new();
        emitter.delivered(Delivery { batch, result: Ok(()) }, &mut settled).unwrap();
        settled.iter().map(|settled| settled.run).collect()
    }

    #[test]
    fn an_event_waits_for_all_its_batches() {
        let mut emitter = Emitter::new(Box::new(TestOutlet::new(2)));
        let now = Instant::now();
        (0..3).for_each(|_| emitter.emit(&record(b"a"), now).unwrap());
        emitter.settle_later(settled(7));
        emitter.emit(&record(b"b"), now).unwrap();
        emitter.settle_later(settled(8));
        assert_eq!(acknowledge(&mut emitter, 1), [OffsetRun::new(8, 8)]);
        assert_eq!(acknowledge(&mut emitter, 0), [OffsetRun::new(7, 7)]);
    }

    #[test]
    fn events_that_wait_for_one_batch_settle_as_a_run() {
        let mut emitter = Emitter::new(Box::new(TestOutlet::new(100)));
        for offset in 0..5 {
            emitter.emit(&record(b"a"), Instant::now()).unwrap();
            emitter.settle_later(settled(offset));
        }
        assert_eq!(acknowledge(&mut emitter, 0), [OffsetRun::new(0, 4)]);
    }

    #[test]
    fn what_finds_no_room_is_kept_and_still_waited_for() {
        let outlet = TestOutlet::new(1);
        let mut emitter = Emitter::new(Box::new(outlet.clone()));
        outlet.0.lock().unwrap().room = 1;
        (0..3).for_each(|_| emitter.emit(&record(b"a"), Instant::now()).unwrap());
        emitter.settle_later(settled(7));
        assert_eq!(emitter.unspill(Instant::now()), Ok(false));
        assert!(acknowledge(&mut emitter, 0).is_empty());
        outlet.0.lock().unwrap().room = 9;
        assert_eq!(emitter.unspill(Instant::now()), Ok(true));
        assert!(acknowledge(&mut emitter, 2).is_empty());
        assert_eq!(acknowledge(&mut emitter, 1), [OffsetRun::new(7, 7)]);
    }

    #[test]
    fn a_failed_event_waits_for_nothing() {
        let mut emitter = Emitter::new(Box::new(TestOutlet::new(1)));
        emitter.emit(&record(b"a"), Instant::now()).unwrap();
        emitter.abandon();
        assert!(!emitter.emitted() && acknowledge(&mut emitter, 0).is_empty());
    }

    #[test]
    fn events_of_one_call_wait_for_all_that_was_emitted() {
        let (outlet, now) = (TestOutlet::new(2), Instant::now());
        let mut emitter = Emitter::new(Box::new(outlet.clone()));
        (0..3).for_each(|_| emitter.emit(&record(b"a"), now).unwrap());
        let all = [settled(1), settled(2), settled(5)];
        emitter.settle_all(&all);
        assert!(outlet.0.lock().unwrap().seal(1));
        let mut done = Vec::new();
        emitter.delivered(Delivery { batch: 0, result: Ok(()) }, &mut done).unwrap();
        assert!(done.is_empty());
        emitter.delivered(Delivery { batch: 1, result: Ok(()) }, &mut done).unwrap();
        assert_eq!(done, all);
    }

    #[test]
    fn a_batch_that_is_not_written_names_the_assignments() {
        let mut emitter = Emitter::new(Box::new(TestOutlet::new(9)));
        emitter.emit(&record(b"a"), Instant::now()).unwrap();
        emitter.settle_later(settled(7));
        let delivery = Delivery { batch: 0, result: Err("no".into()) };
        let error = emitter.delivered(delivery, &mut Vec::new()).unwrap_err();
        assert_eq!(error, Undelivered { origins: vec![ORIGIN], reason: "no".into() });
    }
}
