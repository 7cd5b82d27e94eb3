//! The bound of the encoded completed-set, against patterns made to break it.

use proptest::prelude::*;

use super::*;
use crate::completed::{CompletedSet, METADATA_LIMIT, SPAN_LIMIT};
use crate::metadata::Metadata;

fn ledger(offset: i64) -> Ledger {
    Ledger::resume(1, offset, &CompletedSet::empty(), METADATA_LIMIT)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

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

/// Which events never end, by how many were taken before them and their offset.
#[derive(Debug, Clone, Copy)]
enum Stuck {
    First,
    Every(u64),
    /// So many of a thousand, by chance.
    PerMille(u64),
    /// So many of each so many, side by side.
    Bursts(u64, u64),
    /// The last offset of each chunk.
    ChunkEnds,
    /// One in every chunk, and everything in every tenth.
    Mixed,
}

impl Stuck {
    fn holds(self, number: u64, offset: i64) -> bool {
        let chance = (offset as u64 ^ 0x5DEE_CE66).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        match self {
            Self::First => number == 0,
            Self::Every(step) => number.is_multiple_of(step),
            Self::PerMille(share) => number == 0 || chance % 1_000 < share,
            Self::Bursts(length, step) => number % step < length,
            Self::ChunkEnds => number == 0 || offset % CHUNK_OFFSETS == CHUNK_OFFSETS - 1,
            Self::Mixed => offset % CHUNK_OFFSETS == 7 || offset / CHUNK_OFFSETS % 10 == 0,
        }
    }
}

fn stuck() -> impl Strategy<Value = Stuck> {
    prop_oneof![
        Just(Stuck::First),
        (1..200_u64).prop_map(Stuck::Every),
        (1..500_u64).prop_map(Stuck::PerMille),
        (1..300_u64, 300..6_000_u64).prop_map(|(length, step)| Stuck::Bursts(length, step)),
        Just(Stuck::ChunkEnds),
        Just(Stuck::Mixed),
    ]
}

/// A partition whose events are taken in runs, of which some never end.
struct Intake {
    ledger: Ledger,
    limit: usize,
    step: i64,
    taken: u64,
    stuck: Vec<i64>,
    ended: Vec<i64>,
}

impl Intake {
    fn new(start: i64, step: i64, limit: usize) -> Self {
        let ledger = Ledger::resume(1, start, &CompletedSet::empty(), limit);
        Self { ledger, limit, step, taken: 0, stuck: Vec::new(), ended: Vec::new() }
    }

    /// Takes a run of at most `most` events, `step` apart; how many were taken.
    fn take(&mut self, most: u64, stuck: Stuck) -> u64 {
        let first = self.ledger.taken();
        let last = first + (most as i64 - 1) * self.step;
        let admitted = admit(&self.ledger, last, most, self.limit);
        let mut count = 0;
        for event in 0..admitted.events.min(most) as i64 {
            let offset = first + event * self.step;
            if offset > admitted.through {
                break;
            }
            if self.ledger.taken() < offset {
                self.ledger.pass(self.ledger.taken(), offset - 1).unwrap();
            }
            let done_before = self.ledger.is_done(offset);
            self.ledger.take(offset, offset).unwrap();
            if stuck.holds(self.taken, offset) && !done_before {
                self.stuck.push(offset);
            } else if !done_before {
                self.ended.push(offset);
            }
            (count, self.taken) = (count + 1, self.taken + 1);
        }
        count
    }

    /// Everything ends that is not stuck: the last ones first, which opens holes.
    fn end_the_others(&mut self) {
        for offset in self.ended.drain(..).rev() {
            self.ledger.finish(1, OffsetRun::new(offset, offset)).unwrap();
        }
    }

    /// Takes until no more is admitted.
    fn fill(&mut self, stuck: Stuck) {
        while self.take(1_000, stuck) > 0 {
            self.end_the_others();
        }
    }

    fn window(&self) -> i64 {
        self.ledger.taken() - self.ledger.base()
    }

    /// The set fits beside the notes' share and is committed whole.
    fn check(&self) -> Result<(), TestCaseError> {
        let snapshot = self.ledger.snapshot();
        let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
        let whole = metadata.encode(snapshot.offset, usize::MAX);
        prop_assert!(whole.len() <= self.limit, "{} of {}", whole.len(), self.limit);
        prop_assert!(whole.len() / 4 * 3 <= self.ledger.encoded_bound() + 2);
        let cut = metadata.encode(snapshot.offset, self.limit);
        prop_assert_eq!(Metadata::decode(snapshot.offset, &cut), Ok(metadata));
        Ok(())
    }

    /// The next owner takes over what is committed.
    fn hand_over(&mut self) {
        let snapshot = self.ledger.snapshot();
        let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
        let read = metadata.encode(snapshot.offset, self.limit);
        let completed = Metadata::decode(snapshot.offset, &read).unwrap().completed;
        self.ledger = Ledger::resume(1, snapshot.offset, &completed, self.limit);
        (self.stuck, self.ended) = (Vec::new(), Vec::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn trap_18_whatever_is_stuck_the_set_is_committed_whole(
        start in 0..10_000_i64,
        step in prop_oneof![4 => Just(1_i64), 1 => 2..60_i64, 1 => 3_000..5_000_i64],
        limit in prop_oneof![2 => Just(METADATA_LIMIT), 1 => 64..METADATA_LIMIT],
        stuck in stuck(),
        runs in proptest::collection::vec(1..1_500_u64, 1..50),
    ) {
        let mut intake = Intake::new(start, step, limit);
        for run in runs {
            if intake.take(run, stuck) == 0 {
                break;
            }
            intake.check()?;
            intake.end_the_others();
            intake.check()?;
        }
    }

    #[test]
    fn trap_18_an_heir_takes_on_where_the_bound_allows(
        stuck in stuck(),
        limit in prop_oneof![Just(METADATA_LIMIT), 64..METADATA_LIMIT],
    ) {
        let mut intake = Intake::new(77, 1, limit);
        for _ in 0..3 {
            for _ in 0..20 {
                intake.take(700, stuck);
                intake.end_the_others();
                intake.check()?;
            }
            let before = intake.ledger.snapshot();
            intake.hand_over();
            let after = intake.ledger.snapshot();
            prop_assert_eq!((before.offset, before.completed), (after.offset, after.completed));
        }
    }

    #[test]
    fn trap_18_at_the_bound_every_end_helps_until_all_is_taken(
        stuck in stuck(),
        limit in prop_oneof![Just(METADATA_LIMIT), 64..METADATA_LIMIT],
        order in any::<u64>(),
    ) {
        let mut intake = Intake::new(0, 1, limit);
        for _ in 0..12 {
            for _ in 0..30 {
                if intake.take(1_000, stuck) == 0 {
                    break;
                }
                intake.end_the_others();
            }
            // The stuck ones end after all, in an order of their own.
            let mut ends = std::mem::take(&mut intake.stuck);
            ends.sort_by_key(|offset| (*offset as u64 ^ order).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for offset in ends {
                intake.ledger.finish(1, OffsetRun::new(offset, offset)).unwrap();
            }
            prop_assert_eq!(intake.window(), 0);
            prop_assert!(admit(&intake.ledger, intake.ledger.taken() + 9, 10, limit).events > 0);
        }
    }
}

/// How many offsets above the first stuck event are taken before nothing more is, by the pattern:
/// what the arithmetic of the encoding says. One stuck event costs nothing but the reach of the
/// ledger; where bitmaps are needed, `set_limit` has room for five of them.
#[test]
fn trap_18_a_stuck_event_lets_pass_what_the_arithmetic_says() {
    let bitmaps = (set_limit(METADATA_LIMIT) - crate::completed::FIXED_BOUND) as i64 / 518;
    assert_eq!(bitmaps, 5);
    let chunk = CHUNK_OFFSETS;
    for (stuck, least, most) in [
        (Stuck::First, SPAN_LIMIT, SPAN_LIMIT),
        // 9 bytes for a chunk with one: 318 of them.
        (Stuck::ChunkEnds, 300 * chunk, 319 * chunk),
        // 41 of a hundred times as many, 3 bytes each and 6 a chunk.
        (Stuck::PerMille(10), 20 * chunk, 24 * chunk),
        (Stuck::Every(2), (bitmaps - 1) * chunk, (bitmaps + 1) * chunk),
        (Stuck::Every(1), 900, (bitmaps + 1) * chunk),
    ] {
        let mut intake = Intake::new(0, 1, METADATA_LIMIT);
        intake.fill(stuck);
        let window = intake.window();
        assert!((least..=most).contains(&window), "{stuck:?}: {window} of {least} to {most}");
    }
}

#[test]
fn trap_18_at_the_bound_one_end_is_enough_to_go_on() {
    let mut intake = Intake::new(0, 1, METADATA_LIMIT);
    intake.fill(Stuck::ChunkEnds);
    assert_eq!(intake.take(1_000, Stuck::First), 0);
    // Not the first one: the offset stays, and more is taken all the same.
    let end = intake.stuck[1];
    intake.ledger.finish(1, OffsetRun::new(end, end)).unwrap();
    assert_eq!(intake.ledger.base(), 0);
    assert!(intake.take(1_000, Stuck::First) > 0);
}
