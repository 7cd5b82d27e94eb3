//! What finished above the committed offset, as it travels in the commit's
//! [metadata](crate::metadata).
//!
//! ```text
//! set:    chunks, then 4
//! chunk:  0 full   count varint             `count` chunks in which everything is done
//!         1 empty  count varint             `count` chunks in which nothing is done
//!         2 bitmap 512 bytes                bit n of byte n / 8: offset n of the chunk is done
//!         3 runs   n varint, n x (done varint, open varint)      the rest of the chunk is done
//! ```
//!
//! A chunk is 4,096 offsets whose first is a multiple of 4,096, so that a commit that moves forward
//! moves no chunk. The first chunk is the one of the commit offset; what is below that counts as
//! done. Everything above the last chunk is open.
//!
//! The size is bounded by the open offsets alone ([`chunk_bound`]): a chunk with `z` of them costs
//! at most `6 + min(512, 3 z)` bytes, whichever of them finish first, and the rest [`FIXED_BOUND`].
//! Admission relies on it.

use crate::varint;

/// Offsets per chunk.
pub const CHUNK_OFFSETS: i64 = 4_096;
/// What Kafka's brokers accept by default (`offset.metadata.max.bytes`), in characters.
pub const METADATA_LIMIT: usize = 4_096;
/// Most offsets that the set reaches above the commit offset: a bound on memory here and when
/// decoding.
pub const SPAN_LIMIT: i64 = 1 << 23;
/// Bytes that do not depend on the open offsets: version, check, the open rest of the last chunk
/// with the full chunks before it, the end, and the count of notes.
pub const FIXED_BOUND: usize = 18;

const BITMAP_LEN: usize = 512;
const FULL: u8 = 0;
const EMPTY: u8 = 1;
const BITMAP: u8 = 2;
const RUNS: u8 = 3;
const END: u8 = 4;
/// The end and the count of notes, which follow the chunks at the least.
const TAIL_LEN: usize = 2;
/// The part of the metadata that is kept for notes on events that are not done: one in so many bytes.
const NOTES_PART: usize = 16;

const _: () = assert!(BITMAP_LEN as i64 * 8 == CHUNK_OFFSETS && SPAN_LIMIT % CHUNK_OFFSETS == 0);
// The count of full chunks before a chunk fits two bytes of a varint: `chunk_bound` relies on it.
const _: () = assert!(SPAN_LIMIT / CHUNK_OFFSETS < 1 << 14);

/// Consecutive offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetRun {
    /// The lowest.
    pub first: i64,
    /// The highest, which is not below the first.
    pub last: i64,
}

impl OffsetRun {
    /// The offsets from `first` to `last`, both included.
    pub const fn new(first: i64, last: i64) -> Self {
        Self { first, last }
    }

    /// How many offsets.
    pub const fn count(self) -> u64 {
        (self.last - self.first + 1) as u64
    }
}

/// The most bytes that a chunk with `open` open offsets takes, with the full chunks before it.
pub const fn chunk_bound(open: u64) -> usize {
    match open {
        0 => 0,
        1..=170 => 6 + 3 * open as usize,
        _ => 6 + BITMAP_LEN,
    }
}

/// Bytes that fit metadata of `limit` characters.
pub const fn byte_limit(limit: usize) -> usize {
    limit / 4 * 3
}

/// What of it the set may take with the parts that are always there.
pub const fn set_limit(limit: usize) -> usize {
    byte_limit(limit) - byte_limit(limit) / NOTES_PART
}

/// The offsets above a commit offset that are done: sorted runs with open offsets between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompletedSet {
    runs: Vec<OffsetRun>,
}

impl CompletedSet {
    /// Nothing above is done.
    pub const fn empty() -> Self {
        Self { runs: Vec::new() }
    }

    /// Adds a run above all others; runs that touch become one.
    ///
    /// # Panics
    /// In debug builds, if the run is not above the others.
    pub fn push(&mut self, run: OffsetRun) {
        match self.runs.last_mut() {
            Some(last) if last.last + 1 == run.first => last.last = run.last,
            last => {
                debug_assert!(
                    run.first <= run.last && last.is_none_or(|last| last.last < run.first)
                );
                self.runs.push(run);
            }
        }
    }

    /// The runs, lowest first.
    pub fn runs(&self) -> &[OffsetRun] {
        &self.runs
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// One above the highest offset that is done.
    pub fn end(&self) -> Option<i64> {
        self.runs.last().map(|run| run.last + 1)
    }

    /// What of it is below `end`. A log that was cut after the commit has other records above its end.
    #[must_use]
    pub fn below(&self, end: i64) -> Self {
        let runs = self.runs.iter().take_while(|run| run.first < end);
        Self { runs: runs.map(|run| OffsetRun::new(run.first, run.last.min(end - 1))).collect() }
    }

    /// Writes the set for a commit of `offset`, so that `out` has at most `limit` bytes; whether
    /// something is in it. What does not fit is left out from above. That is not needed while
    /// admission keeps to the bound.
    pub(crate) fn encode(&self, offset: i64, limit: usize, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if !self.runs.is_empty() {
            self.encode_chunks(offset, limit.saturating_sub(TAIL_LEN), out);
        }
        let is_told = out.len() > before;
        out.push(END);
        is_told
    }

    fn encode_chunks(&self, offset: i64, limit: usize, out: &mut Vec<u8>) {
        let mut full = 0;
        let mut chunk = Chunk::new();
        let mut runs = self.runs.iter().copied().peekable();
        let (mut first, end) =
            (offset - offset % CHUNK_OFFSETS, self.runs.last().map_or(offset, |run| run.last + 1));
        chunk.set(0, offset - first);
        while first < end {
            while let Some(run) =
                runs.peek().copied().filter(|run| run.first < first + CHUNK_OFFSETS)
            {
                chunk.set(
                    run.first.max(first) - first,
                    (run.last + 1).min(first + CHUNK_OFFSETS) - first,
                );
                if run.last >= first + CHUNK_OFFSETS {
                    break;
                }
                runs.next();
            }
            if chunk.is_full() {
                full += 1;
            } else {
                let before = out.len();
                put_full(&mut full, out);
                chunk.encode(out);
                if out.len() > limit {
                    out.truncate(before);
                    return;
                }
            }
            chunk = Chunk::new();
            first += CHUNK_OFFSETS;
        }
        let before = out.len();
        put_full(&mut full, out);
        if out.len() > limit {
            out.truncate(before);
        }
    }

    /// Reads a set that was written for a commit of `offset`, and moves on behind it.
    pub(crate) fn take(offset: i64, bytes: &mut &[u8]) -> Option<Self> {
        let first = offset - offset % CHUNK_OFFSETS;
        let mut reader = Reader { bytes, first, offset, set: Self::empty() };
        while reader.chunk()? {}
        *bytes = reader.bytes;
        Some(reader.set)
    }
}

fn put_full(count: &mut u64, out: &mut Vec<u8>) {
    if *count > 0 {
        out.push(FULL);
        varint::put(*count, out);
        *count = 0;
    }
}

/// The bits of one chunk on their way out.
struct Chunk {
    words: [u64; BITMAP_LEN / 8],
}

impl Chunk {
    fn new() -> Self {
        Self { words: [0; BITMAP_LEN / 8] }
    }

    /// Marks `[from, to)` as done.
    fn set(&mut self, from: i64, to: i64) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let (low, high) = (from - at as i64 * 64, to - at as i64 * 64);
            if low < 64 && high > 0 {
                let above = u64::MAX.checked_shl(low.max(0) as u32).unwrap_or(0);
                let below = u64::MAX >> (64 - high.min(64));
                *word |= above & below;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.words.iter().all(|word| *word == u64::MAX)
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// How many bits from `at` on are all done, or all open.
    fn stretch(&self, at: i64, done: bool) -> i64 {
        let mut end = at;
        while end < CHUNK_OFFSETS {
            let word = self.words[(end >> 6) as usize] ^ if done { u64::MAX } else { 0 };
            let same = i64::from((word >> (end & 63)).trailing_zeros()).min(64 - (end & 63));
            end += same;
            if end & 63 != 0 || same == 0 {
                break;
            }
        }
        end - at
    }

    /// Writes the chunk as runs if they are shorter than the bitmap.
    fn encode(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.extend([EMPTY, 1]);
            return;
        }
        let (mut runs, mut count, mut at) = (Vec::new(), 0, 0);
        while at < CHUNK_OFFSETS && runs.len() < BITMAP_LEN {
            let done = self.stretch(at, true);
            let open = self.stretch(at + done, false);
            if open > 0 {
                varint::put(done as u64, &mut runs);
                varint::put(open as u64, &mut runs);
                count += 1;
            }
            at += done + open;
        }
        if runs.len() < BITMAP_LEN {
            out.push(RUNS);
            varint::put(count, out);
            out.extend(runs);
        } else {
            out.push(BITMAP);
            self.words.iter().for_each(|word| out.extend(word.to_le_bytes()));
        }
    }
}

/// Reads chunks; `None` as soon as something is not as it is written.
struct Reader<'a> {
    bytes: &'a [u8],
    /// First offset of the next chunk.
    first: i64,
    offset: i64,
    set: CompletedSet,
}

impl Reader<'_> {
    /// Whether it was not the end.
    fn chunk(&mut self) -> Option<bool> {
        match varint::take_byte(&mut self.bytes)? {
            END => return Some(false),
            FULL => {
                let end = self.skip()?;
                self.done(self.first, end);
                self.first = end;
            }
            EMPTY => self.first = self.skip()?,
            BITMAP => {
                let (bits, rest) = self.bytes.split_first_chunk::<BITMAP_LEN>()?;
                self.bytes = rest;
                let end = self.end_of(1)?;
                let done = |at: i64| bits[(at / 8) as usize] & (1 << (at % 8)) != 0;
                (0..CHUNK_OFFSETS)
                    .filter(|at| done(*at))
                    .for_each(|at| self.done(self.first + at, self.first + at + 1));
                self.first = end;
            }
            RUNS => {
                let end = self.end_of(1)?;
                for _ in 0..varint::take(&mut self.bytes)? {
                    let open = self.first.checked_add_unsigned(varint::take(&mut self.bytes)?)?;
                    let next = open.checked_add_unsigned(varint::take(&mut self.bytes)?)?;
                    if next > end {
                        return None;
                    }
                    self.done(self.first, open);
                    self.first = next;
                }
                self.done(self.first, end);
                self.first = end;
            }
            _ => return None,
        }
        Some(true)
    }

    /// Adds `[from, to)`, without what the commit offset covers.
    fn done(&mut self, from: i64, to: i64) {
        let from = from.max(self.offset);
        if from < to {
            self.set.push(OffsetRun::new(from, to - 1));
        }
    }

    fn skip(&mut self) -> Option<i64> {
        let count = varint::take(&mut self.bytes)?;
        self.end_of(
            i64::try_from(count).ok().filter(|count| *count <= SPAN_LIMIT / CHUNK_OFFSETS + 1)?,
        )
    }

    /// Where the next `chunks` chunks end, if the set may reach so far.
    fn end_of(&self, chunks: i64) -> Option<i64> {
        let end = self.first.checked_add(chunks * CHUNK_OFFSETS)?;
        (end - self.offset <= SPAN_LIMIT + CHUNK_OFFSETS).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::Metadata;

    /// Set of the offsets in `[offset, end)` that are not `open`.
    fn without(offset: i64, end: i64, open: &BTreeSet<i64>) -> CompletedSet {
        let mut set = CompletedSet::empty();
        let mut first = offset;
        for &hole in open.iter().chain([&end]) {
            if first < hole {
                set.push(OffsetRun::new(first, hole - 1));
            }
            first = hole + 1;
        }
        set
    }

    fn bound(open: &BTreeSet<i64>) -> usize {
        let mut chunks = BTreeMap::<i64, u64>::new();
        open.iter().for_each(|offset| *chunks.entry(offset / CHUNK_OFFSETS).or_default() += 1);
        FIXED_BOUND + chunks.values().map(|open| chunk_bound(*open)).sum::<usize>()
    }

    fn encode(set: &CompletedSet, offset: i64, limit: usize) -> String {
        Metadata { completed: set.clone(), notes: Vec::new() }.encode(offset, limit)
    }

    fn decode(offset: i64, text: &str) -> CompletedSet {
        Metadata::decode(offset, text).unwrap().completed
    }

    fn raw_len(metadata: &str) -> usize {
        STANDARD_NO_PAD.decode(metadata).unwrap().len()
    }

    fn holes() -> impl Strategy<Value = (i64, i64, BTreeSet<i64>)> {
        let dense = (0..200_000_i64, 1..9_000_i64, any::<u64>(), 1..40_u64).prop_map(
            |(offset, span, seed, modulus)| {
                let mix = |at: i64| (at as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
                (
                    offset,
                    offset + span,
                    (offset..offset + span).filter(|at| mix(*at) % modulus == 0).collect(),
                )
            },
        );
        let sparse = (0..1_000_000_i64, 1..3_000_000_i64).prop_flat_map(|(offset, span)| {
            (
                Just(offset),
                Just(offset + span),
                proptest::collection::btree_set(offset..offset + span, 0..150),
            )
        });
        prop_oneof![dense, sparse]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_encoded_is_decoded_and_within_the_bound((offset, end, open) in holes()) {
            let set = without(offset, end, &open);
            let metadata = encode(&set, offset, usize::MAX);
            if metadata.len() <= METADATA_LIMIT {
                prop_assert_eq!(decode(offset, &metadata), set);
            }
            prop_assert!(raw_len(&metadata) <= bound(&open), "{} > {}", raw_len(&metadata), bound(&open));
        }

        #[test]
        fn a_limit_cuts_from_above((offset, end, open) in holes(), limit in 0..METADATA_LIMIT) {
            let set = without(offset, end, &open);
            let metadata = encode(&set, offset, limit);
            prop_assert!(metadata.len() <= limit);
            let covers = |offset: i64| set.runs().iter().any(|run| run.first <= offset && offset <= run.last);
            for run in decode(offset, &metadata).runs() {
                prop_assert!(covers(run.first) && covers(run.last));
            }
        }
    }

    #[test]
    fn adversarial_patterns_stay_within_the_bound() {
        type IsOpen = fn(i64) -> bool;
        let patterns: [(i64, IsOpen); 6] = [
            (4_096 * 3, |at| at % 2 == 0),
            (4_096 * 5, |at| at % 24 == 0),
            (4_096 * 300, |at| at % 4_096 == 4_095),
            (4_096 * 300, |at| at % 8_192 == 1),
            (4_096 * 4, |at| at % 4_096 > 130),
            (SPAN_LIMIT - 1, |at| at == 0),
        ];
        for (span, is_open) in patterns {
            let open: BTreeSet<i64> =
                (0..span).filter(|at| is_open(*at)).map(|at| at + 77).collect();
            let set = without(77, 77 + span, &open);
            let metadata = encode(&set, 77, usize::MAX);
            assert!(
                raw_len(&metadata) <= bound(&open),
                "{} > {}",
                raw_len(&metadata),
                bound(&open)
            );
            if metadata.len() <= METADATA_LIMIT {
                assert_eq!(decode(77, &metadata), set);
            }
        }
    }

    #[test]
    fn what_is_above_the_end_of_a_cut_log_is_not_done() {
        let set = without(10, 30, &BTreeSet::from([10, 15, 20]));
        let below = set.below(18);
        assert_eq!(below.runs(), [OffsetRun::new(11, 14), OffsetRun::new(16, 17)]);
        assert_eq!(set.below(30), set);
        assert!(set.below(11).is_empty());
    }

    #[test]
    fn trap_22_offsets_and_counts_beyond_every_short_integer_come_back() {
        for offset in [0, 32_767, 65_536, i64::from(i32::MAX), i64::from(u32::MAX), 1 << 60] {
            let open = BTreeSet::from([offset, offset + 40_000, offset + 200_000]);
            let set = without(offset, offset + 5_000_000, &open);
            let text = encode(&set, offset, METADATA_LIMIT);
            assert_eq!(decode(offset, &text), set, "{offset}");
        }
    }
}
