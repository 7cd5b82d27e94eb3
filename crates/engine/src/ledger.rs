//! The outcomes of a partition above its committed offset.
//!
//! ```text
//!        base               taken            high
//!   done   |  taken: open or done  |  not taken  |
//! ```
//!
//! Everything below `base` has an outcome: it is what may be committed. `[base, taken)` was taken;
//! a bit says whether an offset has its outcome. Above `taken` bits are set only by a predecessor's
//! completed-set, up to `high`.
//!
//! Bits lie in a ring of chunks of 4,096 offsets. Each counts its open offsets below `max(taken,
//! high)`, which makes the bound on the encoded completed-set a sum that is kept while runs are
//! taken and finished. A chunk is cleared when `base` leaves it, so the ring above `max(taken,
//! high)` is always zero.
//!
//! Outcomes carry the token of the assignment under which the work was taken; those of another
//! assignment change nothing.

use crate::completed::{
    CHUNK_OFFSETS, CompletedSet, FIXED_BOUND, OffsetRun, SPAN_LIMIT, chunk_bound, set_limit,
};

const CHUNK_SHIFT: u32 = CHUNK_OFFSETS.trailing_zeros();
/// The bits of an offset that say where in its chunk it is.
const WITHIN: i64 = CHUNK_OFFSETS - 1;
const CHUNK_WORDS: usize = (CHUNK_OFFSETS / 64) as usize;
/// Chunks of a new ring; it grows by doubling up to [`SPAN_LIMIT`].
const FIRST_CHUNKS: usize = 4;

/// An offset that broke a rule of the ledger: its partition is stopped, since nothing more may be
/// committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Taken although it is not the next one.
    #[error("offset {offset} was taken, but {expected} is next")]
    NotNext {
        /// What was taken.
        offset: i64,
        /// What is next.
        expected: i64,
    },
    /// Taken although the first open offset is too far below.
    #[error("offset {offset} is more than {SPAN_LIMIT} above the first unfinished one, {base}")]
    Span {
        /// What was taken.
        offset: i64,
        /// The first open offset.
        base: i64,
    },
    /// Finished although it was not taken.
    #[error("offset {offset} was finished, but only what is below {taken} was taken")]
    NotTaken {
        /// What was finished.
        offset: i64,
        /// One above the last that was taken.
        taken: i64,
    },
    /// Finished twice.
    #[error("offset {offset} was finished twice")]
    Twice {
        /// Which, or the first of the run in which it lies.
        offset: i64,
    },
}

/// What became of outcomes that were brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// They count.
    Counted,
    /// They belong to another assignment and change nothing.
    Stale,
}

/// What to commit: offset and completed-set of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Every offset below has an outcome.
    pub offset: i64,
    /// What has one above it.
    pub completed: CompletedSet,
    /// Which state of the ledger this is; see [`Ledger::version`].
    pub version: u64,
}

#[derive(Clone)]
struct Chunk {
    done: [u64; CHUNK_WORDS],
    open: u64,
}

impl Chunk {
    const CLEAR: Self = Self { done: [0; CHUNK_WORDS], open: 0 };

    /// Sets the bits from `first` to `last`, counted in the chunk; how many were not set before.
    #[inline]
    fn set(&mut self, first: i64, last: i64) -> u64 {
        let mut fresh = 0;
        for (word, mask) in masks(first, last) {
            fresh += u64::from((mask & !self.done[word]).count_ones());
            self.done[word] |= mask;
        }
        fresh
    }

    fn count_open(&self, first: i64, last: i64) -> u64 {
        masks(first, last)
            .map(|(word, mask)| u64::from((mask & !self.done[word]).count_ones()))
            .sum()
    }
}

/// The words of a chunk that hold the bits from `first` to `last`, each with a mask of those bits.
#[inline]
fn masks(first: i64, last: i64) -> impl Iterator<Item = (usize, u64)> {
    let (low, high) = ((first >> 6) as usize, (last >> 6) as usize);
    (low..=high).map(move |word| {
        let from = if word == low { u64::MAX << (first & 63) } else { u64::MAX };
        let to = if word == high { u64::MAX >> (63 - (last & 63)) } else { u64::MAX };
        (word, from & to)
    })
}

/// Splits `run` where chunks end.
#[inline]
fn by_chunk(run: OffsetRun) -> impl Iterator<Item = OffsetRun> {
    let mut first = run.first;
    std::iter::from_fn(move || {
        let part = OffsetRun::new(first, run.last.min(first | WITHIN));
        (first <= run.last).then(|| {
            first = part.last + 1;
            part
        })
    })
}

/// See the module.
pub struct Ledger {
    token: u64,
    base: i64,
    taken: i64,
    high: i64,
    unfinished: u64,
    bound: usize,
    version: u64,
    ring: Vec<Chunk>,
}

impl Ledger {
    /// Starts at the committed `offset` with what a predecessor finished above it. Of a set that
    /// would not fit metadata of `limit` characters again the upper part is dropped: it will be
    /// repeated.
    pub fn resume(token: u64, offset: i64, completed: &CompletedSet, limit: usize) -> Self {
        let ring = vec![Chunk::CLEAR; FIRST_CHUNKS];
        let mut ledger = Self {
            token,
            base: offset,
            taken: offset,
            high: offset,
            unfinished: 0,
            bound: 0,
            version: 0,
            ring,
        };
        for run in completed.runs().iter().copied().filter(|run| run.first >= offset) {
            let window_end = ledger.window_end();
            let open = OffsetRun::new(window_end, run.first - 1);
            let bound = ledger.encoded_bound() + ledger.cost(open);
            if !ledger.reaches(run.last) || bound > set_limit(limit) {
                break;
            }
            ledger.cover(run.last);
            ledger.open_up(OffsetRun::new(window_end, run.last));
            ledger.high = run.last + 1;
            ledger.set(run);
        }
        ledger.advance();
        ledger
    }

    /// The assignment whose outcomes count.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Every offset below has an outcome.
    pub fn base(&self) -> i64 {
        self.base
    }

    /// The next offset to take.
    pub fn taken(&self) -> i64 {
        self.taken
    }

    /// One above the highest offset that counts in the bound already; taking below it costs
    /// nothing.
    #[inline]
    pub fn window_end(&self) -> i64 {
        self.taken.max(self.high)
    }

    /// Offsets that were taken and have no outcome.
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// The most bytes that the encoded completed-set takes until more is taken.
    pub fn encoded_bound(&self) -> usize {
        FIXED_BOUND + self.bound
    }

    /// Changes whenever a snapshot would.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether everything up to `last` may be taken or passed: it is near enough to the first open
    /// offset, or none is open.
    pub fn has_room(&self, last: i64) -> bool {
        self.reaches(last) || self.window_end() == self.base
    }

    /// Whether `offset` is near enough to the first open offset to be taken.
    pub fn reaches(&self, offset: i64) -> bool {
        offset - self.base < SPAN_LIMIT
    }

    /// Whether a predecessor finished `offset`.
    #[inline]
    pub fn is_done(&self, offset: i64) -> bool {
        offset < self.base || (offset < self.high && self.bit(offset))
    }

    /// Whether `offset` has its outcome.
    pub fn has_outcome(&self, offset: i64) -> bool {
        offset < self.base || (offset < self.window_end() && self.bit(offset))
    }

    /// Takes `[first, last]`: from now on the offsets need outcomes.
    pub fn take(&mut self, first: i64, last: i64) -> Result<(), LedgerError> {
        self.check_next(first, last)?;
        self.cover(last);
        let window_end = self.window_end();
        // Below `high` offsets are counted in the bound already, and some are done.
        let known = OffsetRun::new(first, last.min(self.high - 1));
        self.unfinished += by_chunk(known).map(|part| self.count_open(part)).sum::<u64>();
        let new = OffsetRun::new(first.max(window_end), last);
        if new.first <= last {
            self.unfinished += new.count();
            self.open_up(new);
        }
        self.taken = self.taken.max(last + 1);
        Ok(())
    }

    /// Takes `[first, last]` and finishes what of it is open: a gap, or a run that needed nothing
    /// but a call.
    #[inline]
    pub fn pass(&mut self, first: i64, last: i64) -> Result<(), LedgerError> {
        if first == self.taken && self.base == self.taken && self.high <= self.base {
            let old = self.base;
            self.taken = last + 1;
            self.base = self.taken;
            self.high = self.taken;
            self.version += 1;
            if old >> CHUNK_SHIFT != self.base >> CHUNK_SHIFT {
                *self.chunk_mut(old) = Chunk::CLEAR;
            }
            return Ok(());
        }
        self.take(first, last)?;
        self.unfinished -= self.set(OffsetRun::new(first, last));
        self.advance();
        Ok(())
    }

    /// Outcomes for `run`, which was taken under `token`.
    #[inline]
    pub fn finish(&mut self, token: u64, run: OffsetRun) -> Result<Finished, LedgerError> {
        if token != self.token {
            return Ok(Finished::Stale);
        }
        if run.last >= self.taken {
            return Err(LedgerError::NotTaken { offset: run.last, taken: self.taken });
        }
        if run.first < self.base {
            return Err(LedgerError::Twice { offset: run.first });
        }
        let fresh = self.set(run);
        self.unfinished -= fresh;
        self.advance();
        if fresh == run.count() {
            Ok(Finished::Counted)
        } else {
            Err(LedgerError::Twice { offset: run.first })
        }
    }

    /// Finishes what is open of `run`, which this member took: a predecessor may have finished some
    /// of it.
    pub fn settle(&mut self, run: OffsetRun) -> Result<(), LedgerError> {
        if run.last >= self.taken {
            return Err(LedgerError::NotTaken { offset: run.last, taken: self.taken });
        }
        let run = OffsetRun::new(run.first.max(self.base), run.last);
        if run.first <= run.last {
            self.unfinished -= self.set(run);
            self.advance();
        }
        Ok(())
    }

    /// What may be committed, of one instant.
    pub fn snapshot(&self) -> Snapshot {
        let mut completed = CompletedSet::empty();
        let mut at = self.base;
        while at < self.window_end() {
            let word = self.word(at) >> (at & 63);
            let left = 64 - (at & 63);
            let open = i64::from(word.trailing_zeros()).min(left);
            at += open;
            if open < left {
                let done = i64::from((word >> open).trailing_ones());
                completed.push(OffsetRun::new(at, at + done - 1));
                at += done;
            }
        }
        Snapshot { offset: self.base, completed, version: self.version }
    }

    fn check_next(&self, first: i64, last: i64) -> Result<(), LedgerError> {
        if first != self.taken || last < first {
            return Err(LedgerError::NotNext { offset: first, expected: self.taken });
        }
        if !self.reaches(last) {
            return Err(LedgerError::Span { offset: last, base: self.base });
        }
        Ok(())
    }

    /// Bytes that the bound grows by when `run`, which starts at the window's end, is opened up.
    pub(crate) fn cost(&self, run: OffsetRun) -> usize {
        let last_chunk =
            (self.window_end() > self.base).then(|| (self.window_end() - 1) >> CHUNK_SHIFT);
        by_chunk(run)
            .map(|part| {
                let shared = last_chunk == Some(part.first >> CHUNK_SHIFT);
                let open = if shared { self.chunk(part.first).open } else { 0 };
                chunk_bound(open + part.count()) - chunk_bound(open)
            })
            .sum()
    }

    /// Counts `run`, which starts at the window's end, as open.
    fn open_up(&mut self, run: OffsetRun) {
        for part in by_chunk(run) {
            let chunk = self.chunk_mut(part.first);
            let before = chunk_bound(chunk.open);
            chunk.open += part.count();
            let after = chunk_bound(chunk.open);
            self.bound += after - before;
        }
    }

    /// Sets the bits of `run`, which is inside the window; how many were not set before.
    #[inline]
    fn set(&mut self, run: OffsetRun) -> u64 {
        let mut fresh = 0;
        for part in by_chunk(run) {
            let chunk = self.chunk_mut(part.first);
            let newly = chunk.set(part.first & WITHIN, part.last & WITHIN);
            let before = chunk_bound(chunk.open);
            chunk.open -= newly;
            let after = chunk_bound(chunk.open);
            self.bound -= before - after;
            fresh += newly;
        }
        self.version += 1;
        fresh
    }

    /// Moves `base` to the first open offset. It may pass `taken`, where a predecessor finished
    /// what comes next.
    #[inline]
    fn advance(&mut self) {
        let window_end = self.window_end();
        while self.base < window_end {
            let done = (self.word(self.base) >> (self.base & 63)).trailing_ones();
            if done == 0 {
                break;
            }
            let next = self.base + i64::from(done);
            if next >> CHUNK_SHIFT != self.base >> CHUNK_SHIFT {
                let base = self.base;
                *self.chunk_mut(base) = Chunk::CLEAR;
            }
            self.base = next;
        }
        self.taken = self.taken.max(self.base);
    }

    /// Grows the ring until it holds the chunks from `base` to `last`.
    fn cover(&mut self, last: i64) {
        let first = self.base >> CHUNK_SHIFT;
        let chunks = ((last >> CHUNK_SHIFT) - first + 1) as usize;
        if chunks <= self.ring.len() {
            return;
        }
        let mut ring = vec![Chunk::CLEAR; chunks.next_power_of_two()];
        let mask = ring.len() - 1;
        // Only chunks of the window: one above it would be an alias of one inside.
        for chunk in first..=((self.window_end() - 1) >> CHUNK_SHIFT) {
            let at = chunk as usize & (self.ring.len() - 1);
            ring[chunk as usize & mask] = std::mem::replace(&mut self.ring[at], Chunk::CLEAR);
        }
        self.ring = ring;
    }

    fn count_open(&self, part: OffsetRun) -> u64 {
        self.chunk(part.first).count_open(part.first & WITHIN, part.last & WITHIN)
    }

    fn bit(&self, offset: i64) -> bool {
        self.word(offset) >> (offset & 63) & 1 != 0
    }

    fn word(&self, offset: i64) -> u64 {
        self.chunk(offset).done[((offset & WITHIN) >> 6) as usize]
    }

    fn chunk(&self, offset: i64) -> &Chunk {
        &self.ring[(offset >> CHUNK_SHIFT) as usize & (self.ring.len() - 1)]
    }

    fn chunk_mut(&mut self, offset: i64) -> &mut Chunk {
        let mask = self.ring.len() - 1;
        &mut self.ring[(offset >> CHUNK_SHIFT) as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::completed::METADATA_LIMIT;
    use crate::metadata::Metadata;

    const TOKEN: u64 = 7;

    fn ledger(offset: i64) -> Ledger {
        Ledger::resume(TOKEN, offset, &CompletedSet::empty(), METADATA_LIMIT)
    }

    /// What a ledger is, without bits: the done offsets and where taking stands.
    struct Model {
        start: i64,
        taken: i64,
        done: BTreeSet<i64>,
    }

    impl Model {
        fn base(&self) -> i64 {
            (self.start..).find(|offset| !self.done.contains(offset)).unwrap()
        }

        fn completed(&self) -> CompletedSet {
            let mut set = CompletedSet::empty();
            self.done
                .range(self.base()..)
                .for_each(|offset| set.push(OffsetRun::new(*offset, *offset)));
            set
        }

        fn open(&self) -> Vec<i64> {
            (self.base()..self.taken).filter(|offset| !self.done.contains(offset)).collect()
        }
    }

    #[derive(Debug, Clone)]
    enum Move {
        Take(i64),
        Pass(i64),
        /// Finishes up to so many open offsets from a place among them.
        Finish(prop::sample::Index, usize),
        HandOver,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => (1..3_000_i64).prop_map(Move::Take),
            1 => (1..9_000_i64).prop_map(Move::Pass),
            6 => (any::<prop::sample::Index>(), 1..2_000_usize).prop_map(|(at, n)| Move::Finish(at, n)),
            1 => Just(Move::HandOver),
        ];
        proptest::collection::vec(one, 1..60)
    }

    fn check(ledger: &Ledger, model: &Model) -> Result<(), TestCaseError> {
        prop_assert_eq!(ledger.base(), model.base());
        prop_assert_eq!(ledger.taken(), model.taken.max(model.base()));
        prop_assert_eq!(ledger.unfinished(), model.open().len() as u64);
        let snapshot = ledger.snapshot();
        prop_assert_eq!(snapshot.offset, model.base());
        prop_assert_eq!(&snapshot.completed, &model.completed());
        let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
        let metadata = metadata.encode(snapshot.offset, usize::MAX);
        prop_assert!(metadata.len().div_ceil(4) * 3 <= ledger.encoded_bound() + 3);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_a_set(start in 0..20_000_i64, moves in moves()) {
            let mut model = Model { start, taken: start, done: BTreeSet::new() };
            let mut ledger = ledger(start);
            for step in moves {
                let next = ledger.taken();
                match step {
                    Move::Take(count) => {
                        ledger.take(next, next + count - 1).unwrap();
                        model.taken = next + count;
                    }
                    Move::Pass(count) => {
                        ledger.pass(next, next + count - 1).unwrap();
                        model.taken = next + count;
                        model.done.extend(next..next + count);
                    }
                    Move::Finish(at, count) => {
                        let open = model.open();
                        if open.is_empty() {
                            continue;
                        }
                        let at = at.index(open.len());
                        let run: Vec<i64> = open[at..].iter().copied().take(count).collect();
                        let last = run.windows(2).find(|pair| pair[1] != pair[0] + 1).map_or(run[run.len() - 1], |pair| pair[0]);
                        let run = OffsetRun::new(run[0], last);
                        prop_assert_eq!(ledger.finish(TOKEN, run), Ok(Finished::Counted));
                        model.done.extend(run.first..=run.last);
                    }
                    Move::HandOver => {
                        let snapshot = ledger.snapshot();
                        ledger = Ledger::resume(TOKEN, snapshot.offset, &snapshot.completed, usize::MAX);
                        model.start = snapshot.offset;
                        model.taken = snapshot.offset;
                    }
                }
                check(&ledger, &model)?;
            }
        }
    }

    #[test]
    fn trap_02_offset_and_set_are_of_one_instant() {
        let mut ledger = ledger(10);
        ledger.take(10, 19).unwrap();
        ledger.finish(TOKEN, OffsetRun::new(12, 13)).unwrap();
        let before = ledger.snapshot();
        ledger.finish(TOKEN, OffsetRun::new(10, 11)).unwrap();
        assert_eq!((before.offset, before.completed.runs()), (10, &[OffsetRun::new(12, 13)][..]));
        let after = ledger.snapshot();
        assert_eq!((after.offset, after.completed.runs()), (14, &[][..]));
        assert_ne!(before.version, after.version);
    }

    #[test]
    fn trap_03_an_outcome_of_an_old_assignment_changes_nothing() {
        let mut ledger = ledger(10);
        ledger.take(10, 19).unwrap();
        let version = ledger.version();
        assert_eq!(ledger.finish(TOKEN - 1, OffsetRun::new(10, 19)), Ok(Finished::Stale));
        assert_eq!((ledger.base(), ledger.version()), (10, version));
        assert_eq!(ledger.finish(TOKEN, OffsetRun::new(10, 19)), Ok(Finished::Counted));
        assert_eq!(ledger.base(), 20);
    }

    #[test]
    fn trap_01_what_was_taken_is_not_committed_before_it_is_done() {
        let mut ledger = ledger(0);
        ledger.take(0, 99).unwrap();
        ledger.finish(TOKEN, OffsetRun::new(1, 99)).unwrap();
        assert_eq!(ledger.snapshot().offset, 0);
    }

    #[test]
    fn trap_20_without_metadata_the_first_record_is_not_skipped() {
        let ledger =
            Ledger::resume(TOKEN, 42, &Metadata::decode(42, "").unwrap().completed, METADATA_LIMIT);
        assert_eq!((ledger.taken(), ledger.is_done(42)), (42, false));
    }

    #[test]
    fn broken_rules_are_named() {
        let mut ledger = ledger(5);
        ledger.take(5, 9).unwrap();
        assert_eq!(ledger.take(5, 9), Err(LedgerError::NotNext { offset: 5, expected: 10 }));
        assert_eq!(
            ledger.take(10, 5 + SPAN_LIMIT),
            Err(LedgerError::Span { offset: 5 + SPAN_LIMIT, base: 5 })
        );
        let beyond = ledger.finish(TOKEN, OffsetRun::new(9, 10));
        assert_eq!(beyond, Err(LedgerError::NotTaken { offset: 10, taken: 10 }));
        ledger.finish(TOKEN, OffsetRun::new(7, 7)).unwrap();
        assert_eq!(
            ledger.finish(TOKEN, OffsetRun::new(7, 7)),
            Err(LedgerError::Twice { offset: 7 })
        );
    }

    #[test]
    fn a_gap_of_any_size_passes_when_nothing_is_open() {
        let mut ledger = ledger(0);
        ledger.pass(0, 3 * SPAN_LIMIT).unwrap();
        ledger.take(3 * SPAN_LIMIT + 1, 3 * SPAN_LIMIT + 1).unwrap();
        assert_eq!((ledger.base(), ledger.unfinished()), (3 * SPAN_LIMIT + 1, 1));
    }

    #[test]
    fn a_set_above_the_limit_is_cut_from_above_and_repeated() {
        let mut set = CompletedSet::empty();
        (0..2_000)
            .for_each(|chunk| set.push(OffsetRun::new(chunk * 4_096 + 1, chunk * 4_096 + 4_095)));
        let ledger = Ledger::resume(TOKEN, 0, &set, METADATA_LIMIT);
        assert!(ledger.encoded_bound() <= set_limit(METADATA_LIMIT));
        assert!(ledger.is_done(1) && !ledger.is_done(1_999 * 4_096 + 1));
        let kept = ledger.snapshot().completed;
        assert!(kept.runs().len() > 200 && set.runs().starts_with(kept.runs()));
    }
}
