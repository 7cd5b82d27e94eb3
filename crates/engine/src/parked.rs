//! Events of a partition that wait for another try, and what waits behind them.
//!
//! ```text
//! a failed event and the later ones of its key are a *line*:
//!
//! waiting (until its time) -> out (its event runs) -> gone   (done, or left for another topic:
//!    ^                          |                              what was behind it runs)
//!    +------- failed again -----+
//! paused: waits until it is told to go on
//! ```
//!
//! A key is told by its hash: two keys of one hash share a line, which costs them time and no
//! order. An event without order is a line of its own. What waits is copied out of its batch, so
//! that it keeps no fetched buffer alive; what finds no room for the copy keeps its batch instead,
//! and nothing more of its key is taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use onrush_runtime::Instant;
use onrush_runtime::random::FixedState;

use crate::config::Order;
use crate::metadata::{NOTE_TEXT_LIMIT, Note};
use crate::source::Batch;

/// What waits in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// The events of a key, by its hash.
    Key(u64),
    /// One event without order.
    Event(i64),
    /// Everything of the partition.
    Partition,
}

impl Line {
    /// The line of an event.
    pub(crate) fn of(order: Order, key: Option<&[u8]>, offset: i64) -> Self {
        match (order, key) {
            (Order::Key, Some(key)) => Self::Key(FixedState::default().hash_one(key)),
            (Order::Partition, _) => Self::Partition,
            (Order::Key, None) | (Order::None, _) => Self::Event(offset),
        }
    }
}

/// How an event was tried so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trial {
    /// How often it failed, at every owner.
    pub(crate) attempts: u32,
    /// When it failed first, in milliseconds since 1970.
    pub(crate) first_millis: i64,
    /// When it failed last.
    pub(crate) last_millis: i64,
    /// What was said last.
    pub(crate) error: String,
}

impl Trial {
    /// For the next owner.
    pub(crate) fn note(&self, offset: i64) -> Note {
        let (attempts, since_millis) = (self.attempts, self.first_millis);
        let cut = self.error.floor_char_boundary(NOTE_TEXT_LIMIT);
        Note { offset, attempts, since_millis, error: self.error[..cut].to_owned() }
    }

    /// While it waits, no more of the error is of use than a note holds: what leaves has failed anew.
    fn shortened(mut self) -> Self {
        self.error.truncate(self.error.floor_char_boundary(NOTE_TEXT_LIMIT));
        self.error.shrink_to_fit();
        self
    }

    /// It failed once more.
    pub(crate) fn failed(&mut self, error: String, now_millis: i64) {
        if self.first_millis == 0 {
            self.first_millis = now_millis;
        }
        (self.attempts, self.last_millis) = (self.attempts.saturating_add(1), now_millis);
        self.error = error;
    }
}

/// What the owner before knew; nothing, if the event did not fail there.
impl From<&Note> for Trial {
    fn from(note: &Note) -> Self {
        let Note { attempts, since_millis, error, .. } = note;
        match attempts {
            0 => Self::default(),
            _ => Self {
                attempts: *attempts,
                first_millis: *since_millis,
                last_millis: *since_millis,
                error: error.clone(),
            },
        }
    }
}

/// Whether an event failed at an earlier owner; `notes` are theirs, lowest offset first.
pub(crate) fn failed_before(notes: &[Note], offset: i64) -> bool {
    let at = notes.binary_search_by_key(&offset, |note| note.offset);
    at.is_ok_and(|at| notes[at].attempts > 0)
}

/// A record in a batch that it may share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) batch: Arc<Batch>,
    pub(crate) position: u32,
    pub(crate) offset: i64,
}

/// A failed event.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) slot: u32,
    pub(crate) trial: Trial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Until(Instant),
    Out,
    Paused,
}

#[derive(Debug)]
struct Parking {
    head: Waiting,
    rest: Rest,
    /// Its tries are used up, and there was no token.
    starved: bool,
    behind: VecDeque<Place>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    lines: BTreeMap<Line, Parking>,
    /// The lines that wait for a time; each line is in it once at most, as its `rest` says.
    due: BTreeSet<(Instant, Line)>,
    /// By offset, the lines whose event is out.
    out: BTreeMap<i64, Line>,
    events: u64,
    bytes: usize,
    limit: usize,
    starved: u64,
    paused: u64,
}

impl Parked {
    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lines.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Bytes of what was copied out.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that may be copied out.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether there is room for more. There always is for the first event.
    pub(crate) fn has_room(&self) -> bool {
        self.is_empty() || self.bytes < self.limit
    }

    /// Whether an event of this line, of so many bytes, may wait. The one that begins a line always
    /// may: it is what the others wait for.
    pub(crate) fn has_room_for(&self, line: Line, length: usize) -> bool {
        self.has_room() && (length <= self.room() || !self.holds(line))
    }

    /// Bytes that still may be copied out.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes)
    }

    /// Lines that wait to be told to go on.
    pub(crate) fn paused(&self) -> u64 {
        self.paused
    }

    /// Lines whose event found no token.
    pub(crate) fn starved(&self) -> u64 {
        self.starved
    }

    /// Whether events of this line wait.
    pub(crate) fn holds(&self, line: Line) -> bool {
        self.lines.contains_key(&line)
    }

    /// When the next event is to be tried, of those that are not to be tried now already.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let later = (Bound::Excluded((now, Line::Partition)), Bound::Unbounded);
        self.due.range(later).next().map(|(at, _)| *at)
    }

    /// A line begins with this event, which is tried at `due`, or when it is told to go on.
    pub(crate) fn begin(
        &mut self,
        line: Line,
        waiting: Waiting,
        starved: bool,
        due: Option<Instant>,
    ) {
        debug_assert!(!self.holds(line), "a line has one head");
        let Waiting { place, slot, trial } = waiting;
        let head = Waiting { place: self.copied(place), slot, trial: trial.shortened() };
        self.events += 1;
        self.starved += u64::from(starved);
        let parking = Parking { head, rest: Rest::Out, starved, behind: VecDeque::new() };
        self.lines.insert(line, parking);
        self.rest(line, due);
    }

    /// An event waits behind the others of its line.
    pub(crate) fn follow(&mut self, line: Line, place: Place) {
        let place = self.copied(place);
        if let Some(parking) = self.lines.get_mut(&line) {
            self.events += 1;
            parking.behind.push_back(place);
        }
    }

    /// A copy of the event alone, if there is room for it. One that was parked before is a copy
    /// already: it counts in any case, since it is taken off when it leaves.
    fn copied(&mut self, place: Place) -> Place {
        if place.batch.is_copy() {
            self.bytes += place.batch.payload().len();
            return place;
        }
        match place.batch.copy_out(place.position, self.room()) {
            Some(batch) => {
                self.bytes += batch.payload().len();
                Place { batch: Arc::new(batch), position: 0, offset: place.offset }
            }
            None => place,
        }
    }

    fn rest(&mut self, line: Line, due: Option<Instant>) {
        self.unrest(line);
        let Some(parking) = self.lines.get_mut(&line) else { return };
        parking.rest = match due {
            Some(at) => {
                self.due.insert((at, line));
                Rest::Until(at)
            }
            None => {
                self.paused += 1;
                Rest::Paused
            }
        };
    }

    /// The line rests no longer as it did.
    fn unrest(&mut self, line: Line) {
        let Some(parking) = self.lines.get(&line) else { return };
        match parking.rest {
            Rest::Until(at) => _ = self.due.remove(&(at, line)),
            Rest::Paused => self.paused -= 1,
            Rest::Out => _ = self.out.remove(&parking.head.place.offset),
        }
    }

    /// Takes out the next event that is to be tried now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Line, Waiting)> {
        let (at, line) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let parking = self.lines.get_mut(&line)?;
        parking.rest = Rest::Out;
        self.out.insert(parking.head.place.offset, line);
        Some((line, parking.head.clone()))
    }

    /// The line whose event with this offset is out, and how that was tried before.
    pub(crate) fn out(&self, offset: i64) -> Option<(Line, &Trial)> {
        let line = *self.out.get(&offset)?;
        Some((line, &self.lines.get(&line)?.head.trial))
    }

    /// The line that begins with the event of this offset, which is not out.
    pub(crate) fn waiting(&self, offset: i64) -> Option<Line> {
        let waits =
            |parking: &Parking| parking.head.place.offset == offset && parking.rest != Rest::Out;
        self.lines.iter().find(|(_, parking)| waits(parking)).map(|(line, _)| *line)
    }

    /// Takes out the event of this offset from behind another one; whether it was there.
    pub(crate) fn remove(&mut self, offset: i64) -> bool {
        let found = self.lines.values_mut().find_map(|parking| {
            let at = parking.behind.iter().position(|place| place.offset == offset)?;
            parking.behind.remove(at)
        });
        found.iter().for_each(|place| self.forget(place));
        found.is_some()
    }

    /// The event that is out was not run, and is to be tried at `due`.
    pub(crate) fn wait(&mut self, line: Line, due: Instant) {
        self.rest(line, Some(due));
    }

    /// The event that is out failed again.
    pub(crate) fn back(&mut self, line: Line, trial: Trial, starved: bool, due: Option<Instant>) {
        if let Some(parking) = self.lines.get_mut(&line) {
            self.starved -= u64::from(parking.starved);
            self.starved += u64::from(starved);
            (parking.head.trial, parking.starved) = (trial.shortened(), starved);
        }
        self.rest(line, due);
    }

    /// The event that is out has left the line, which ends with that: gives it, and what was behind
    /// it.
    pub(crate) fn end(&mut self, line: Line) -> Option<(Waiting, VecDeque<Place>)> {
        self.unrest(line);
        let Parking { head, starved, behind, .. } = self.lines.remove(&line)?;
        self.starved -= u64::from(starved);
        std::iter::once(&head.place).chain(&behind).for_each(|place| self.forget(place));
        Some((head, behind))
    }

    /// The event that is out has left the line, and the next one of it is to be tried at `due`.
    pub(crate) fn advance(&mut self, line: Line, trial: impl FnOnce(i64) -> Trial, due: Instant) {
        let next = self.lines.get_mut(&line).and_then(|parking| parking.behind.pop_front());
        let Some(place) = next else {
            self.end(line);
            return;
        };
        self.unrest(line);
        let Some(parking) = self.lines.get_mut(&line) else { return };
        let trial = trial(place.offset);
        let left = std::mem::replace(&mut parking.head.place, place);
        parking.head.trial = trial;
        self.starved -= u64::from(std::mem::take(&mut parking.starved));
        (parking.rest, _) = (Rest::Until(due), self.due.insert((due, line)));
        self.forget(&left);
    }

    fn forget(&mut self, place: &Place) {
        self.events -= 1;
        if place.batch.is_copy() {
            self.bytes -= place.batch.payload().len();
        }
    }

    /// Everything that is paused is tried again.
    pub(crate) fn resume(&mut self, now: Instant) {
        let paused = self.lines.iter().filter(|(_, parking)| parking.rest == Rest::Paused);
        let paused: Vec<_> = paused.map(|(line, _)| *line).collect();
        paused.into_iter().for_each(|line| self.rest(line, Some(now)));
    }

    /// How the events were tried that failed, lowest first.
    pub(crate) fn trials(&self) -> Vec<(i64, &Trial)> {
        let heads = self.lines.values().map(|parking| &parking.head);
        let mut trials: Vec<_> = heads.map(|head| (head.place.offset, &head.trial)).collect();
        trials.sort_unstable_by_key(|(offset, _)| *offset);
        trials
    }

    /// Forgets everything; how many events that were, those that are out not counted.
    pub(crate) fn clear(&mut self) -> u64 {
        let waiting = self.events - self.out.len() as u64;
        *self = Self { limit: self.limit, ..Self::default() };
        waiting
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onrush_record::Compression;

    use super::*;
    use crate::source::testing::{batch, slice};
    use crate::source::{Opener, Source};

    fn some_batch() -> Arc<Batch> {
        let mut source = Source::default();
        let events: Vec<(Option<&[u8]>, &[u8])> = vec![(Some(b"k"), &[7; 100]); 4];
        source.push(slice([batch(40, Compression::None, &events)], 44));
        Arc::new(source.next(&mut Opener::new(1 << 20)).unwrap().unwrap())
    }

    fn places(batch: &Arc<Batch>) -> Vec<Place> {
        let (mut at, mut places) = (0, Vec::new());
        while at < batch.payload().len() {
            let (record, next) = batch.step(at).unwrap();
            let (batch, offset) = (Arc::clone(batch), record.offset);
            places.push(Place { batch, position: at as u32, offset });
            at = next;
        }
        places
    }

    fn waiting(place: Place) -> Waiting {
        Waiting { place, slot: 3, trial: Trial::default() }
    }

    const LINE: Line = Line::Key(1);

    #[test]
    fn what_waits_is_copied_out_and_read_as_before() {
        let batch = some_batch();
        let mut parked = Parked::default();
        parked.set_limit(1_000);
        let now = Instant::now();
        let mut places = places(&batch);
        parked.begin(LINE, waiting(places.remove(1)), false, Some(now));
        parked.follow(LINE, places.remove(1));
        drop(places);
        assert_eq!(Arc::strong_count(&batch), 1, "the batch is kept alive");
        let (line, out) = parked.take_due(now).unwrap();
        let record = out.place.batch.record_at(out.place.position).unwrap();
        assert_eq!((line, record.offset, record.timestamp), (LINE, 41, 1_000));
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&[7; 100][..])));
        let (_, behind) = parked.end(LINE).unwrap();
        assert_eq!(behind[0].batch.record_at(0).unwrap().offset, 42);
        assert_eq!((parked.bytes(), parked.is_empty(), parked.due.len()), (0, true, 0));
    }

    #[test]
    fn trap_30_what_finds_no_room_keeps_its_batch_and_counts_no_bytes() {
        let batch = some_batch();
        let mut parked = Parked::default();
        parked.set_limit(150);
        let mut places = places(&batch).into_iter();
        parked.begin(LINE, waiting(places.next().unwrap()), false, None);
        assert!(parked.bytes() > 100 && parked.room() < 50);
        parked.follow(LINE, places.next().unwrap());
        drop(places);
        assert_eq!(Arc::strong_count(&batch), 2);
        assert!(parked.bytes() < 150);
        assert_eq!(parked.clear(), 2);
        assert_eq!((Arc::strong_count(&batch), parked.bytes()), (1, 0));
    }

    #[test]
    fn trap_30_what_was_copied_before_counts_again_though_there_is_no_room() {
        let batch = some_batch();
        let mut parked = Parked::default();
        parked.set_limit(1_000);
        let mut places = places(&batch).into_iter();
        parked.begin(LINE, waiting(places.next().unwrap()), false, None);
        places.for_each(|place| parked.follow(LINE, place));
        let before = parked.bytes();
        let (head, behind) = parked.end(LINE).unwrap();
        parked.set_limit(150);
        parked.begin(LINE, head, false, None);
        behind.into_iter().for_each(|place| parked.follow(LINE, place));
        assert_eq!((parked.bytes(), parked.has_room()), (before, false));
        assert!(parked.remove(42) && !parked.remove(42));
        parked.end(LINE);
        assert_eq!((parked.bytes(), parked.events, parked.has_room()), (0, 0, true));
    }

    #[test]
    fn trap_23_the_schedule_has_a_line_once_however_often_it_fails() {
        let batch = some_batch();
        let (mut parked, start) = (Parked::default(), Instant::now());
        parked.set_limit(1_000);
        for place in places(&batch) {
            let line = Line::Event(place.offset);
            parked.begin(line, waiting(place), false, Some(start));
        }
        for round in 1..10_000_u32 {
            let now = start + Duration::from_millis(u64::from(round));
            while let Some((line, waiting)) = parked.take_due(now) {
                let trial = Trial { attempts: round, ..waiting.trial };
                let pause = Duration::from_millis(u64::from(round * 7_919 % 3 + 1));
                parked.back(line, trial, round % 2 == 0, Some(now + pause));
            }
            assert_eq!((parked.due.len(), parked.lines()), (4, 4));
        }
        assert!(parked.starved() <= 4);
        (40..44).for_each(|offset| _ = parked.end(Line::Event(offset)));
        assert_eq!((parked.due.len(), parked.starved(), parked.events), (0, 0, 0));
    }

    #[test]
    fn the_next_event_of_a_line_takes_the_place_of_the_one_that_left() {
        let batch = some_batch();
        let (mut parked, now) = (Parked::default(), Instant::now());
        parked.set_limit(1_000);
        let mut places = places(&batch).into_iter();
        parked.begin(LINE, waiting(places.next().unwrap()), false, Some(now));
        places.for_each(|place| parked.follow(LINE, place));
        for offset in 40..44 {
            let (line, out) = parked.take_due(now).unwrap();
            assert_eq!((out.place.offset, out.trial.attempts), (offset, 0));
            parked.back(line, Trial { attempts: 1, ..Trial::default() }, true, Some(now));
            assert_eq!((parked.starved(), parked.take_due(now).unwrap().1.trial.attempts), (1, 1));
            parked.advance(line, |_| Trial::default(), now);
            assert_eq!((parked.starved(), parked.events), (0, 43 - offset as u64));
        }
        assert_eq!((parked.bytes(), parked.due.len(), parked.out.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_paused_goes_on_when_told() {
        let batch = some_batch();
        let (mut parked, now) = (Parked::default(), Instant::now());
        parked.begin(LINE, waiting(places(&batch).remove(0)), false, None);
        assert_eq!((parked.paused, parked.take_due(now).is_none()), (1, true));
        parked.resume(now);
        assert_eq!(parked.paused, 0);
        let (line, out) = parked.take_due(now).unwrap();
        assert_eq!(parked.out(out.place.offset).map(|(out, _)| out), Some(line));
        parked.back(line, Trial::default(), false, None);
        assert_eq!((parked.paused, parked.clear()), (1, 1));
    }
}
