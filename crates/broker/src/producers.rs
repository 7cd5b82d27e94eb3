//! Idempotence: what a partition knows of each producer that wrote to it.
//!
//! A batch of an idempotent producer carries its producer id, epoch and the sequence number of its
//! first record. Per producer the last [`KEPT_BATCHES`] batches are known, as many as a producer
//! may have in flight, so that every retry of one of them is recognised and answered with the
//! offset that it got the first time. A batch that is neither known nor next is refused. The state
//! is rebuilt from the log when it is opened, from the last checkpoint on. It outlives the records, which may be deleted before the
//! producer has heard of them and sends them again.
//!
//! What batches changed that may yet be taken back is kept until they are synced.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_wire::ErrorCode;

/// Batches remembered per producer: the most that a producer has in flight.
const KEPT_BATCHES: usize = 5;

/// Producers remembered per partition; beyond, the one that wrote longest ago is forgotten.
const MAX_PRODUCERS: usize = 10_000;

/// What a batch says of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) first_sequence: i32,
    /// Records in the batch; at least 1.
    pub(crate) count: i32,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is next.
    Append,
    /// It is in the log already, from this offset on.
    Duplicate { base_offset: i64 },
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
    /// Last offset written -> producer id, to find the one that wrote longest ago.
    by_last_offset: BTreeMap<i64, i64>,
    /// Oldest first.
    changes: VecDeque<Change>,
}

/// What a batch changed.
#[derive(Debug)]
struct Change {
    /// The last of the batch.
    offset: i64,
    producer_id: i64,
    before: Option<Producer>,
    /// Who was forgotten for it.
    forgotten: Option<(i64, Producer)>,
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    last_offset: i64,
    batches: VecDeque<Batch>,
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Producers {
    /// Whether a batch may be appended.
    pub(crate) fn check(&self, claim: Claim) -> Result<Verdict, ErrorCode> {
        // A producer that is not known (new, or forgotten) starts wherever it stands.
        let Some(producer) = self.known.get(&claim.producer_id) else {
            return Ok(Verdict::Append);
        };
        if claim.epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if claim.epoch > producer.epoch {
            return match claim.first_sequence {
                0 => Ok(Verdict::Append),
                _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            };
        }
        let last = claim.last_sequence();
        let known = producer.batches.iter().find(|batch| {
            batch.first_sequence == claim.first_sequence && batch.last_sequence == last
        });
        if let Some(batch) = known {
            return Ok(Verdict::Duplicate { base_offset: batch.base_offset });
        }
        match producer.batches.back() {
            Some(newest) if advance(newest.last_sequence, 1) != claim.first_sequence => {
                Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Notes a batch that is in the log now, at `base_offset..=last_offset`; `held` if it may yet be taken back.
    pub(crate) fn appended(
        &mut self,
        claim: Claim,
        base_offset: i64,
        last_offset: i64,
        held: bool,
    ) {
        let producer_id = claim.producer_id;
        let before = if held { self.known.get(&producer_id).cloned() } else { None };
        self.note(claim, base_offset, last_offset);
        let forgotten = self.forget_oldest();
        if held {
            self.changes.push_back(Change { offset: last_offset, producer_id, before, forgotten });
        }
    }

    /// The batches below `offset` stay.
    pub(crate) fn kept_below(&mut self, offset: i64) {
        while self.changes.front().is_some_and(|change| change.offset < offset) {
            self.changes.pop_front();
        }
    }

    /// Takes the batches from `offset` on back; they were held.
    pub(crate) fn take_back_from(&mut self, offset: i64) {
        while let Some(change) = self.changes.pop_back_if(|change| change.offset >= offset) {
            self.by_last_offset.remove(&change.offset);
            self.known.remove(&change.producer_id);
            let before = change.before.map(|producer| (change.producer_id, producer));
            for (id, producer) in before.into_iter().chain(change.forgotten) {
                self.by_last_offset.insert(producer.last_offset, id);
                self.known.insert(id, producer);
            }
        }
    }

    fn note(&mut self, claim: Claim, base_offset: i64, last_offset: i64) {
        let producer = self.known.entry(claim.producer_id).or_insert_with(|| Producer {
            epoch: claim.epoch,
            last_offset: -1,
            batches: VecDeque::with_capacity(KEPT_BATCHES),
        });
        self.by_last_offset.remove(&producer.last_offset);
        if producer.epoch != claim.epoch {
            producer.epoch = claim.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == KEPT_BATCHES {
            producer.batches.pop_front();
        }
        producer.last_offset = last_offset;
        producer.batches.push_back(Batch {
            first_sequence: claim.first_sequence,
            last_sequence: claim.last_sequence(),
            base_offset,
        });
        self.by_last_offset.insert(last_offset, claim.producer_id);
    }

    /// Writes the state, with what may yet be taken back.
    ///
    /// ```text
    /// count u32 | (id i64 | epoch i16 | last offset i64 | count u8 | (first sequence i32 | last i32 | offset i64)*)*
    /// ```
    pub(crate) fn put(&self, buffer: &mut BytesMut) {
        buffer.put_u32(self.known.len() as u32);
        for (id, producer) in &self.known {
            buffer.put_i64(*id);
            buffer.put_i16(producer.epoch);
            buffer.put_i64(producer.last_offset);
            buffer.put_u8(producer.batches.len() as u8);
            for batch in &producer.batches {
                buffer.put_i32(batch.first_sequence);
                buffer.put_i32(batch.last_sequence);
                buffer.put_i64(batch.base_offset);
            }
        }
    }

    /// Reads what [`Producers::put`] wrote.
    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let count = bytes.try_get_u32().ok()? as usize;
        let mut producers = Self::default();
        if count > MAX_PRODUCERS {
            return None;
        }
        for _ in 0..count {
            let id = bytes.try_get_i64().ok()?;
            let epoch = bytes.try_get_i16().ok()?;
            let last_offset = bytes.try_get_i64().ok()?;
            let count = usize::from(bytes.try_get_u8().ok()?);
            if count > KEPT_BATCHES {
                return None;
            }
            let batch = |_| {
                let first_sequence = bytes.try_get_i32().ok()?;
                let last_sequence = bytes.try_get_i32().ok()?;
                Some(Batch {
                    first_sequence,
                    last_sequence,
                    base_offset: bytes.try_get_i64().ok()?,
                })
            };
            let batches = (0..count).map(batch).collect::<Option<_>>()?;
            producers.by_last_offset.insert(last_offset, id);
            producers.known.insert(id, Producer { epoch, last_offset, batches });
        }
        Some(producers)
    }

    fn forget_oldest(&mut self) -> Option<(i64, Producer)> {
        if self.known.len() <= MAX_PRODUCERS {
            return None;
        }
        let (_, id) = self.by_last_offset.pop_first()?;
        self.known.remove_entry(&id)
    }
}

impl Claim {
    fn last_sequence(self) -> i32 {
        advance(self.first_sequence, self.count.saturating_sub(1))
    }
}

/// Sequence numbers wrap from `i32::MAX` to 0.
fn advance(sequence: i32, by: i32) -> i32 {
    let next = i64::from(sequence) + i64::from(by);
    // The modulus is 2^31, so the result fits.
    i32::try_from(next & i64::from(i32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(epoch: i16, first_sequence: i32, count: i32) -> Claim {
        Claim { producer_id: 7, epoch, first_sequence, count }
    }

    fn written(batches: &[(i16, i32, i32)]) -> Producers {
        let mut producers = Producers::default();
        let mut offset = 100;
        for &(epoch, first, count) in batches {
            let claim = claim(epoch, first, count);
            assert_eq!(producers.check(claim), Ok(Verdict::Append), "{claim:?}");
            producers.appended(claim, offset, offset + i64::from(count) - 1, false);
            offset += i64::from(count);
        }
        producers
    }

    #[test]
    fn retries_of_the_last_five_get_their_first_offset() {
        let producers =
            written(&[(0, 0, 2), (0, 2, 2), (0, 4, 2), (0, 6, 2), (0, 8, 2), (0, 10, 2)]);
        assert_eq!(producers.check(claim(0, 2, 2)), Ok(Verdict::Duplicate { base_offset: 102 }));
        assert_eq!(producers.check(claim(0, 10, 2)), Ok(Verdict::Duplicate { base_offset: 110 }));
        assert_eq!(producers.check(claim(0, 0, 2)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }

    #[test]
    fn gaps_and_partial_overlaps_are_out_of_order() {
        let producers = written(&[(0, 0, 2), (0, 2, 2)]);
        assert_eq!(producers.check(claim(0, 5, 1)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(producers.check(claim(0, 2, 3)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(producers.check(claim(0, 4, 3)), Ok(Verdict::Append));
    }

    #[test]
    fn epochs_fence_and_restart_at_zero() {
        let producers = written(&[(1, 0, 2)]);
        assert_eq!(producers.check(claim(0, 2, 1)), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
        assert_eq!(producers.check(claim(2, 2, 1)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(producers.check(claim(2, 0, 1)), Ok(Verdict::Append));
    }

    #[test]
    fn sequences_wrap() {
        let producers = written(&[(0, i32::MAX - 1, 3)]);
        assert_eq!(producers.check(claim(0, 1, 1)), Ok(Verdict::Append));
        assert_eq!(producers.check(claim(0, 0, 1)), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }

    #[test]
    fn the_number_of_producers_is_bounded() {
        let mut producers = Producers::default();
        for id in 0..=MAX_PRODUCERS as i64 {
            producers.appended(
                Claim { producer_id: id, epoch: 1, first_sequence: 0, count: 1 },
                id,
                id,
                false,
            );
        }
        assert_eq!(producers.known.len(), MAX_PRODUCERS);
        assert!(!producers.known.contains_key(&0));
    }

    #[test]
    fn what_is_taken_back_leaves_the_state_of_before() {
        let mut producers = written(&[(0, 0, 2), (0, 2, 2)]);
        let before = format!("{:?} {:?}", producers.known, producers.by_last_offset);
        for (offset, claim) in [(104, claim(0, 4, 1)), (105, claim(1, 0, 1))] {
            producers.appended(claim, offset, offset, true);
        }
        let other = Claim { producer_id: 8, ..claim(0, 0, 3) };
        producers.appended(other, 106, 108, true);
        producers.take_back_from(104);
        assert_eq!(format!("{:?} {:?}", producers.known, producers.by_last_offset), before);
        producers.appended(claim(0, 4, 1), 104, 104, true);
        producers.appended(claim(0, 5, 1), 105, 105, true);
        producers.kept_below(105);
        producers.take_back_from(105);
        assert_eq!(producers.check(claim(0, 4, 1)), Ok(Verdict::Duplicate { base_offset: 104 }));
        assert_eq!(producers.check(claim(0, 5, 1)), Ok(Verdict::Append));
    }

    #[test]
    fn a_producer_that_was_forgotten_for_a_batch_comes_back_with_it() {
        let mut producers = Producers::default();
        for id in 0..=MAX_PRODUCERS as i64 {
            let claim = Claim { producer_id: id, epoch: 1, first_sequence: 0, count: 1 };
            producers.appended(claim, id, id, true);
        }
        producers.take_back_from(MAX_PRODUCERS as i64);
        assert!(producers.known.contains_key(&0));
        assert_eq!(producers.known.len(), MAX_PRODUCERS);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let mut producers = written(&[(0, 0, 2), (0, 2, 2)]);
        producers.appended(Claim { producer_id: 8, ..claim(3, 0, 3) }, 104, 106, false);
        let mut buffer = BytesMut::new();
        producers.put(&mut buffer);
        let stored = buffer.freeze();
        let read = Producers::take(&mut stored.clone()).expect("whole");
        assert_eq!(format!("{read:?}"), format!("{producers:?}"));
        for len in 0..stored.len() {
            assert!(Producers::take(&mut stored.slice(..len)).is_none(), "{len} bytes");
        }
    }
}
