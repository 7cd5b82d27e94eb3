//! Slots: what keeps the events of one key in order while workers run many keys at once.
//!
//! Under [`Order::Key`] a partition has 256 slots, and a key's hash chooses one; under
//! [`Order::Partition`] it has one. The lane scatters what it takes of a batch: one [`Round`] holds
//! the record positions, sorted by slot and inside a slot by offset, and a slot's queue gets a
//! [`Piece`] of it.
//!
//! States of a slot: *idle* (no work), *ready* (work, no run out), *out* (a run of it waits for a
//! worker or is with one: at most one). While what its events emitted is not acknowledged, a slot
//! is *bound* to the emitter that it went through, so that what the events of a key emit stays in
//! order; any other run goes to whoever is idle.
//!
//! Events without order (no key, or [`Order::None`]) are dealt to workers in pieces, without a
//! slot.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use onrush_runtime::random::FixedState;

use crate::assignment::{Holding, Origin};
use crate::config::{Order, RUN_EVENTS};
use crate::detail::{HotSlot, KeyStart};
use crate::source::Batch;

/// The slot of events without order.
pub const UNORDERED: u32 = u32::MAX;

/// A record that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where in the batch's records it is.
    pub position: u32,
    /// Its offset above the batch's first.
    pub delta: u32,
    /// Its slot, or [`UNORDERED`].
    pub slot: u32,
}

/// What was taken of a batch at one time: record positions, those of a slot together and in order.
#[derive(Debug)]
pub struct Round {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Where its records are.
    pub positions: Vec<u32>,
}

/// Events of one slot in one round.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The round.
    pub round: Arc<Round>,
    /// Index of the first position.
    pub start: u32,
    /// Index after the last.
    pub end: u32,
}

impl Piece {
    /// How many events.
    pub fn events(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// Cuts off the first `events`.
    pub(crate) fn split(&mut self, events: u64) -> Piece {
        let middle = self.start + self.events().min(events) as u32;
        let first = Piece { round: Arc::clone(&self.round), start: self.start, end: middle };
        self.start = middle;
        first
    }
}

/// Events of one slot that a worker runs one after the other.
#[derive(Debug)]
pub struct Run {
    /// Their partition.
    pub holding: Arc<Holding>,
    /// Its assignment on its lane.
    pub origin: Origin,
    /// Their slot.
    pub slot: u32,
    /// The events, in order.
    pub pieces: VecDeque<Piece>,
    /// For the run of one event that failed before: how it is told apart.
    pub retried: Option<Retried>,
}

/// An event that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// Which.
    pub offset: i64,
    /// How often it failed.
    pub attempts: u32,
}

impl Run {
    /// How many events.
    pub fn events(&self) -> u64 {
        self.pieces.iter().map(Piece::events).sum()
    }
}

#[derive(Debug, Default)]
struct Slot {
    queue: VecDeque<Piece>,
    /// Events in the queue.
    queued: u64,
    /// The emitter that it is bound to.
    bound: Option<usize>,
    out: bool,
    /// The first event of the run that went out last; to tell its key, not to keep its batch.
    head: Option<(Weak<Round>, u32)>,
    unfinished: u64,
}

impl Slot {
    /// Without a run out, what is neither queued nor finished waits for acknowledgements.
    fn waits(&self) -> bool {
        self.unfinished > self.queued
    }
}

/// The slots of a partition.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    order: Order,
    ready: VecDeque<u32>,
    unordered: VecDeque<Piece>,
    busy: u64,
    /// Positions per slot while a round is sorted, the unordered last.
    counts: Vec<u32>,
}

impl Slots {
    /// Idle slots: `count` of them under [`Order::Key`].
    pub fn new(order: Order, count: usize) -> Self {
        let count = match order {
            Order::Key => count.max(1),
            Order::Partition => 1,
            Order::None => 0,
        };
        let slots = std::iter::repeat_with(Slot::default).take(count).collect();
        Self {
            slots,
            order,
            ready: VecDeque::new(),
            unordered: VecDeque::new(),
            busy: 0,
            counts: vec![0; count + 1],
        }
    }

    /// The slot of events with this key.
    pub fn of(&self, key: Option<&[u8]>) -> u32 {
        match (self.order, key) {
            (Order::Key, Some(key)) => {
                let hash = FixedState::default().hash_one(key);
                ((u128::from(hash) * self.slots.len() as u128) >> 64) as u32
            }
            (Order::Partition, _) => 0,
            (Order::Key, None) | (Order::None, _) => UNORDERED,
        }
    }

    /// Slots that have events without an outcome.
    pub fn busy(&self) -> u64 {
        self.busy
    }

    /// The slot that has the most events without an outcome, if any has one.
    pub(crate) fn longest(&self) -> Option<HotSlot> {
        let (number, slot) = self.slots.iter().enumerate().max_by_key(|(_, s)| s.unfinished)?;
        let head = slot.head.as_ref().filter(|_| slot.out);
        let head = head.and_then(|(round, start)| Some((round.upgrade()?, *start)));
        let queued = || slot.queue.front().map(|piece| (Arc::clone(&piece.round), piece.start));
        let (round, start) = head.or_else(queued)?;
        let record = round.batch.record_at(*round.positions.get(start as usize)?).ok()?;
        let (offset, key) = (record.offset, record.key.map(KeyStart::of));
        Some(HotSlot { slot: number as u32, events: slot.unfinished, offset, key })
    }

    /// Queues `entries` of `batch`.
    pub fn scatter(&mut self, batch: &Arc<Batch>, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let last = self.slots.len();
        let at = |slot: u32| (slot as usize).min(last);
        self.counts.fill(0);
        entries.iter().for_each(|entry| self.counts[at(entry.slot)] += 1);
        // From counts to where each slot's positions begin; filling moves that to where they end.
        let mut next = 0;
        self.counts.iter_mut().for_each(|count| next += std::mem::replace(count, next));
        let mut positions = vec![0; entries.len()];
        for entry in entries {
            let end = &mut self.counts[at(entry.slot)];
            positions[*end as usize] = entry.position;
            *end += 1;
        }
        let round = Arc::new(Round { batch: Arc::clone(batch), positions });
        let mut start = 0;
        for slot in 0..=last {
            let end = self.counts[slot];
            if end > start {
                self.queue(slot, Piece { round: Arc::clone(&round), start, end });
            }
            start = end;
        }
    }

    fn queue(&mut self, slot: usize, piece: Piece) {
        let Some(queued) = self.slots.get_mut(slot) else {
            self.unordered.push_back(piece);
            return;
        };
        self.busy += u64::from(queued.unfinished == 0);
        queued.unfinished += piece.events();
        queued.queued += piece.events();
        if queued.queue.is_empty() && !queued.out {
            self.ready.push_back(slot as u32);
        }
        queued.queue.push_back(piece);
    }

    /// The next run of a slot that is ready, and the emitter that it is bound to.
    pub fn next_run(&mut self) -> Option<(Option<usize>, u32, VecDeque<Piece>)> {
        let number = self.ready.pop_front()?;
        let slot = &mut self.slots[number as usize];
        slot.out = true;
        let (mut pieces, mut events) = (VecDeque::new(), 0);
        while let Some(piece) = slot.queue.front_mut()
            && events < RUN_EVENTS
        {
            let cut = piece.split(RUN_EVENTS - events);
            events += cut.events();
            if piece.events() == 0 {
                slot.queue.pop_front();
            }
            pieces.push_back(cut);
        }
        slot.queued -= events;
        slot.head = pieces.front().map(|piece| (Arc::downgrade(&piece.round), piece.start));
        Some((slot.bound, number, pieces))
    }

    /// An event that waited elsewhere goes out as a run of its own; `Some` with the emitter that its
    /// slot is bound to. `None` while another run of the slot is out: both might emit, through
    /// different emitters.
    pub(crate) fn lend(&mut self, slot: u32) -> Option<Option<usize>> {
        let Some(lent) = self.slots.get_mut(slot as usize) else { return Some(None) };
        if lent.out {
            return None;
        }
        lent.out = true;
        self.ready.retain(|ready| *ready != slot);
        self.busy += u64::from(lent.unfinished == 0);
        lent.unfinished += 1;
        Some(lent.bound)
    }

    /// Whether events of this slot are queued or with a worker.
    pub(crate) fn is_at_work(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|slot| slot.out || !slot.queue.is_empty())
    }

    /// The next events without order, at most `most`.
    pub fn next_unordered(&mut self, most: u64) -> Option<Piece> {
        let piece = self.unordered.front_mut()?;
        let cut = piece.split(most);
        if piece.events() == 0 {
            self.unordered.pop_front();
        }
        Some(cut)
    }

    /// Queues an event that waited elsewhere, before all that are taken later.
    pub(crate) fn add(&mut self, slot: u32, piece: Piece) {
        self.queue(slot as usize, piece);
    }

    /// Takes out of a slot's queue the events for which `waits` is true, in their order.
    pub(crate) fn divert(&mut self, slot: u32, mut waits: impl FnMut(&Arc<Batch>, u32) -> bool) {
        let Some(queued) = self.slots.get_mut(slot as usize) else { return };
        let left = take_out(&mut queued.queue, &mut waits);
        if queued.queue.is_empty() {
            self.ready.retain(|ready| *ready != slot);
        }
        queued.queued -= left;
        self.finished(slot, left);
    }

    /// Takes the event of this offset out of its queue; whether it was there.
    pub(crate) fn remove(&mut self, offset: i64) -> bool {
        let mut found = false;
        let mut is_it = |batch: &Arc<Batch>, position| {
            let record = batch.record_at(position);
            let it = record.is_ok_and(|record| record.offset == offset);
            found |= it;
            it
        };
        (0..self.slots.len() as u32).for_each(|slot| self.divert(slot, &mut is_it));
        take_out(&mut self.unordered, &mut is_it);
        found
    }

    /// A run came back from a worker with this emitter; `rest` was not started and goes first.
    pub fn returned(&mut self, slot: u32, rest: VecDeque<Piece>, emitter: usize) {
        let Some(returned) = self.slots.get_mut(slot as usize) else {
            rest.into_iter().rev().for_each(|piece| self.unordered.push_front(piece));
            return;
        };
        returned.out = false;
        for piece in rest.into_iter().rev().filter(|piece| piece.events() > 0) {
            returned.queued += piece.events();
            returned.queue.push_front(piece);
        }
        returned.bound = returned.waits().then_some(emitter);
        if !returned.queue.is_empty() {
            self.ready.push_back(slot);
        }
    }

    /// Events of a slot have their outcome, or wait for it elsewhere.
    pub fn finished(&mut self, slot: u32, events: u64) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            let before = slot.unfinished;
            slot.unfinished = before.saturating_sub(events);
            if !slot.out && !slot.waits() {
                slot.bound = None;
            }
            if slot.unfinished == 0 && before > 0 {
                self.busy = self.busy.saturating_sub(1);
            }
        }
    }

    /// Events without order that are queued.
    pub fn unordered(&self) -> u64 {
        self.unordered.iter().map(Piece::events).sum()
    }

    /// All slots are idle: the runs that are out belong to nobody.
    pub fn reset(&mut self) {
        let count = self.slots.len();
        self.slots = std::iter::repeat_with(Slot::default).take(count).collect();
        self.ready.clear();
        self.unordered.clear();
        self.busy = 0;
    }

    /// Forgets what is queued; how many events that were.
    pub fn clear(&mut self) -> u64 {
        let mut events = self.unordered.drain(..).map(|piece| piece.events()).sum();
        self.ready.clear();
        for number in 0..self.slots.len() {
            let queued: u64 = self.slots[number].queue.drain(..).map(|piece| piece.events()).sum();
            if queued > 0 {
                self.finished(number as u32, queued);
            }
            events += queued;
        }
        events
    }
}

/// Takes the events out for which `is_out` is true; how many.
fn take_out(queue: &mut VecDeque<Piece>, mut is_out: impl FnMut(&Arc<Batch>, u32) -> bool) -> u64 {
    let mut left = 0;
    for piece in queue.iter_mut() {
        let round = Arc::clone(&piece.round);
        let mut positions = round.positions[piece.start as usize..piece.end as usize].to_vec();
        let before = positions.len();
        positions.retain(|position| !is_out(&round.batch, *position));
        if positions.len() < before {
            left += (before - positions.len()) as u64;
            let (batch, end) = (Arc::clone(&round.batch), positions.len() as u32);
            *piece = Piece { round: Arc::new(Round { batch, positions }), start: 0, end };
        }
    }
    queue.retain(|piece| piece.events() > 0);
    left
}

#[cfg(test)]
mod tests {
    use onrush_record::Compression;

    use super::*;
    use crate::source::testing::{batch, slice};
    use crate::source::{Opener, Source};

    fn some_batch() -> Arc<Batch> {
        let mut source = Source::default();
        source.push(slice([batch(0, Compression::None, &[(None, b"x")])], 1));
        Arc::new(source.next(&mut Opener::new(1 << 20)).unwrap().unwrap())
    }

    fn entries(slots: &[u32]) -> Vec<Entry> {
        (0..).zip(slots).map(|(at, slot)| Entry { position: at, delta: at, slot: *slot }).collect()
    }

    fn positions(pieces: &VecDeque<Piece>) -> Vec<u32> {
        pieces
            .iter()
            .flat_map(|piece| &piece.round.positions[piece.start as usize..piece.end as usize])
            .copied()
            .collect()
    }

    #[test]
    fn one_run_of_a_slot_is_out_at_a_time_and_bound_while_it_waits_for_acknowledgements() {
        let (mut slots, batch) = (Slots::new(Order::Key, 4), some_batch());
        slots.scatter(&batch, &entries(&[2, 0, 2, UNORDERED, 2]));
        let (bound, slot, first) = slots.next_run().unwrap();
        assert_eq!((bound, slot, positions(&first)), (None, 0, vec![1]));
        let (bound, slot, second) = slots.next_run().unwrap();
        assert_eq!((bound, slot, positions(&second)), (None, 2, vec![0, 2, 4]));
        slots.scatter(&batch, &entries(&[2]));
        assert!(slots.next_run().is_none());
        // Two are done, one waits for what it emitted.
        slots.finished(2, 2);
        slots.returned(2, VecDeque::new(), 6);
        assert_eq!(slots.next_run().unwrap().0, Some(6));
        slots.returned(2, VecDeque::new(), 6);
        slots.finished(2, 2);
        slots.scatter(&batch, &entries(&[2]));
        assert_eq!(slots.next_run().unwrap().0, None, "all is acknowledged");
        assert_eq!(slots.busy(), 2);
        // The acknowledgement may come before the report.
        slots.finished(0, 1);
        slots.returned(0, VecDeque::new(), 3);
        slots.scatter(&batch, &entries(&[0]));
        assert_eq!(slots.next_run().unwrap().0, None);
    }

    #[test]
    fn what_was_not_started_comes_first_again() {
        let (mut slots, batch) = (Slots::new(Order::Partition, 256), some_batch());
        slots.scatter(&batch, &entries(&[0; 3]));
        let (_, _, mut run) = slots.next_run().unwrap();
        slots.scatter(&batch, &entries(&[0]));
        run[0].start += 1;
        slots.returned(0, run, 0);
        slots.finished(0, 1);
        let (bound, _, run) = slots.next_run().unwrap();
        assert_eq!((bound, positions(&run)), (None, vec![1, 2, 0]));
        slots.returned(0, VecDeque::new(), 0);
        slots.scatter(&batch, &entries(&[0; 7]));
        assert_eq!(slots.clear(), 7);
    }

    #[test]
    fn what_waits_elsewhere_leaves_the_queue_and_comes_back_alone() {
        let (mut slots, batch) = (Slots::new(Order::Key, 4), some_batch());
        slots.scatter(&batch, &entries(&[2; 6]));
        let (_, _, mut run) = slots.next_run().unwrap();
        run[0].start += 1;
        slots.returned(2, run, 5);
        let mut diverted = Vec::new();
        slots.divert(2, |_, position| {
            let waits = position % 2 == 1;
            diverted.extend(waits.then_some(position));
            waits
        });
        assert_eq!(diverted, [1, 3, 5]);
        assert_eq!(slots.lend(2), Some(Some(5)), "the first still waits for an acknowledgement");
        assert_eq!(slots.lend(2), None, "one run at a time");
        assert!(slots.next_run().is_none());
        slots.finished(2, 2);
        slots.returned(2, VecDeque::new(), 5);
        let (bound, _, run) = slots.next_run().unwrap();
        assert_eq!((bound, positions(&run)), (None, vec![2, 4]));
        assert_eq!(slots.lend(2), None, "other keys of the slot run");
        slots.finished(2, 2);
        slots.returned(2, VecDeque::new(), 9);
        assert_eq!((slots.busy(), slots.lend(2)), (0, Some(None)));
        slots.returned(2, VecDeque::new(), 9);
        let round = Arc::new(Round { batch, positions: vec![1] });
        slots.add(2, Piece { round, start: 0, end: 1 });
        let (bound, _, run) = slots.next_run().unwrap();
        assert_eq!((bound, positions(&run)), (Some(9), vec![1]));
        slots.scatter(&some_batch(), &entries(&[2]));
        slots.divert(2, |_, _| true);
        slots.returned(2, VecDeque::new(), 9);
        assert!(slots.next_run().is_none());
    }

    #[test]
    fn a_run_has_a_limit_and_unordered_events_are_dealt_in_pieces() {
        let (mut slots, batch) = (Slots::new(Order::Partition, 1), some_batch());
        slots.scatter(&batch, &entries(&vec![0; 1_500]));
        assert_eq!(positions(&slots.next_run().unwrap().2).len(), 1_024);
        let mut slots = Slots::new(Order::None, 1);
        assert_eq!(slots.of(Some(b"key")), UNORDERED);
        slots.scatter(&batch, &entries(&[UNORDERED; 10]));
        let sizes: Vec<_> =
            std::iter::from_fn(|| slots.next_unordered(4)).map(|piece| piece.events()).collect();
        assert_eq!(sizes, [4, 4, 2]);
    }
}
