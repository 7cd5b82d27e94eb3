//! The decision to take events, made before they are taken.
//!
//! Two bounds: how many events a lane has taken and not finished (its part of the member's), and
//! how large the encoded completed-set of the partition may become, whichever of the events finish
//! first. The second one is arithmetic over the chunks that the events lie in (see
//! [`completed`](crate::completed)): `n` events in `k` chunks add at most `6 k + min(512 k, 3 n)`
//! bytes, and never more than 9 bytes each.

use crate::completed::{CHUNK_OFFSETS, OffsetRun, set_limit};
use crate::ledger::Ledger;

/// What a chunk costs that has one open offset, and every chunk at most besides its open offsets.
const CHUNK_COST: u64 = 6;
/// What an open offset costs at most besides its chunk.
const OFFSET_COST: u64 = 3;
/// What the open offsets of one chunk cost at most.
const CHUNK_OFFSETS_COST: u64 = 512;

/// What may be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// This many events,
    pub events: u64,
    /// none of them above this offset.
    pub through: i64,
}

impl Admitted {
    /// Nothing.
    pub const NOTHING: Self = Self { events: 0, through: i64::MIN };
}

/// How much of `[ledger.taken(), last]` may be taken, at most `most` events, with metadata of at
/// most `limit` characters.
#[inline]
pub fn admit(ledger: &Ledger, last: i64, most: u64, limit: usize) -> Admitted {
    let first = ledger.taken();
    if most == 0 || last < first {
        return Admitted::NOTHING;
    }
    let known = ledger.window_end();
    if first < known {
        // Counted since the completed-set was read.
        return Admitted { events: most, through: last.min(known - 1) };
    }
    let through = if ledger.reaches(last) {
        last
    } else {
        first.max(ledger.base() + crate::completed::SPAN_LIMIT - 1)
    };
    if !ledger.reaches(through) {
        return Admitted::NOTHING;
    }
    let room = set_limit(limit).saturating_sub(ledger.encoded_bound()) as u64;
    let run = OffsetRun::new(first, through);
    let events = most.min(run.count());
    Admitted { events: events.min(affordable(run, room)), through }
}

/// How many events of `run` fit `room` bytes, wherever in it they lie.
fn affordable(run: OffsetRun, room: u64) -> u64 {
    let chunks = (run.last / CHUNK_OFFSETS - run.first / CHUNK_OFFSETS + 1) as u64;
    let left = room.saturating_sub(CHUNK_COST * chunks);
    if left >= CHUNK_OFFSETS_COST * chunks {
        return u64::MAX;
    }
    (left / OFFSET_COST).max(room / (CHUNK_COST + OFFSET_COST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::completed::{CompletedSet, METADATA_LIMIT, SPAN_LIMIT};
    use crate::metadata::Metadata;

    fn ledger(offset: i64) -> Ledger {
        Ledger::resume(1, offset, &CompletedSet::empty(), METADATA_LIMIT)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Events of a compacted topic lie `step` apart; whatever finishes, the metadata fits
        /// without being cut.
        #[test]
        fn trap_18_what_was_admitted_always_fits_the_metadata(
            start in 0..10_000_i64,
            step in prop_oneof![1..3_i64, 1..100_i64, 4_000..5_000_i64],
            seed in any::<u64>(),
            keep in 1..50_u64,
            limit in prop_oneof![Just(METADATA_LIMIT), 64..METADATA_LIMIT],
        ) {
            let mut ledger = ledger(start);
            let mut taken = Vec::new();
            loop {
                let first = ledger.taken();
                let admitted = admit(&ledger, first + 500 * step, 500, limit);
                let events = admitted.events.min(20_000);
                if events == 0 || taken.len() > 20_000 {
                    break;
                }
                let mut last = first;
                for event in 0..events as i64 {
                    let offset = first + event * step;
                    if offset > admitted.through {
                        break;
                    }
                    if event > 0 {
                        ledger.pass(last + 1, offset - 1).ok();
                    }
                    ledger.take(offset, offset).unwrap();
                    taken.push(offset);
                    last = offset;
                }
            }
            prop_assert!(!taken.is_empty());
            for (at, offset) in taken.iter().enumerate() {
                if (*offset as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 <= u64::from(u32::MAX) / keep {
                    continue;
                }
                ledger.finish(1, OffsetRun::new(*offset, *offset)).unwrap();
                if at % 997 == 0 {
                    fits(&ledger, limit)?;
                }
            }
            fits(&ledger, limit)?;
        }
    }

    fn fits(ledger: &Ledger, limit: usize) -> Result<(), TestCaseError> {
        let snapshot = ledger.snapshot();
        let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
        let whole = metadata.encode(snapshot.offset, usize::MAX);
        prop_assert!(whole.len() <= limit, "{} > {limit}", whole.len());
        prop_assert_eq!(Metadata::decode(snapshot.offset, &whole), Ok(metadata));
        Ok(())
    }

    #[test]
    fn trap_18_a_stuck_event_bounds_intake_instead_of_dropping_the_set() {
        let mut ledger = ledger(0);
        let mut taken = 0;
        loop {
            let first = ledger.taken();
            let admitted = admit(&ledger, first + 999, 1_000, METADATA_LIMIT);
            if admitted.events == 0 {
                break;
            }
            // Every second one never ends.
            for offset in first..first + admitted.events as i64 {
                ledger.take(offset, offset).unwrap();
                taken += 1;
                if offset % 2 == 1 {
                    ledger.finish(1, OffsetRun::new(offset, offset)).unwrap();
                }
            }
        }
        assert!((20_000..30_000).contains(&taken), "{taken}");
    }

    #[test]
    fn one_stuck_event_lets_millions_pass_and_then_waits() {
        let mut ledger = ledger(0);
        ledger.take(0, 0).unwrap();
        loop {
            let first = ledger.taken();
            let admitted = admit(&ledger, first + 49_999, 50_000, METADATA_LIMIT);
            if admitted.events == 0 {
                break;
            }
            ledger.pass(first, (first + admitted.events as i64 - 1).min(admitted.through)).unwrap();
        }
        assert_eq!(ledger.taken(), SPAN_LIMIT);
    }

    #[test]
    fn nothing_open_always_admits_something() {
        let ledger = ledger(5);
        assert!(admit(&ledger, i64::from(i32::MAX), 10_000, METADATA_LIMIT).events >= 300);
        assert!(admit(&ledger, 5, 10_000, 64).events >= 1);
        assert_eq!(admit(&ledger, 4, 10, METADATA_LIMIT), Admitted::NOTHING);
        assert_eq!(admit(&ledger, 50, 0, METADATA_LIMIT), Admitted::NOTHING);
    }
}
