//! A committed offset (i64), and the metadata that was committed with it.
//!
//! Metadata has a check, which nearly all changed inputs fail. So what is refused is tried again with
//! the check that it should have: the parser behind it must hold by itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use onrush_engine::completed::{
    CHUNK_OFFSETS, CompletedSet, METADATA_LIMIT, OffsetRun, SPAN_LIMIT,
};
use onrush_engine::{Metadata, Note};

use crate::Verdict;
use crate::corpus::Entry;
use crate::memory::bounded;

/// A bitmap in which every second offset is done has a run for each: the metadata holds 5 of them,
/// and the vector of runs is twice there when it grows.
const COST: usize = 1 << 20;

const VERSION_LEN: usize = 1;
const CHECK_END: usize = VERSION_LEN + 4;

pub(crate) fn parse(input: &[u8]) -> Verdict {
    let Some((offset, metadata)) = input.split_first_chunk() else { return Verdict::Refused };
    let offset = i64::from_be_bytes(*offset);
    let Ok(metadata) = std::str::from_utf8(metadata) else { return Verdict::Refused };
    let verdict = check(offset, metadata);
    match verdict {
        Verdict::Accepted => verdict,
        Verdict::Refused => {
            resealed(offset, metadata).map_or(Verdict::Refused, |metadata| check(offset, &metadata))
        }
    }
}

fn check(offset: i64, metadata: &str) -> Verdict {
    let Ok(read) = bounded(COST, || Metadata::decode(offset, metadata)) else {
        return Verdict::Refused;
    };
    let set = &read.completed;
    if set.is_empty() && read.notes.is_empty() {
        return Verdict::Refused;
    }
    let mut above = offset;
    for OffsetRun { first, last } in set.runs().iter().copied() {
        assert!(first >= above && last >= first, "{first} to {last} is not above {above}");
        above = last + 2;
    }
    assert!(above - 2 - offset <= SPAN_LIMIT + CHUNK_OFFSETS, "reaches too far");
    let notes = &read.notes;
    assert!(notes.is_sorted_by_key(|note| note.offset), "notes are not in order");
    assert!(notes.first().is_none_or(|note| note.offset >= offset), "a note is below {offset}");
    let encoded = read.encode(offset, METADATA_LIMIT);
    let again = Metadata::decode(offset, &encoded).expect("our own is read");
    // A writer that is less thrifty than ours may say more in the same room.
    let kept = again.completed.runs().iter().zip(set.runs());
    for (again, run) in kept {
        assert!(again.first == run.first && again.last <= run.last, "{again:?} of {run:?}");
    }
    for (again, note) in again.notes.iter().zip(notes) {
        assert_eq!((again.offset, again.attempts), (note.offset, note.attempts));
    }
    Verdict::Accepted
}

/// The metadata with the check of its bytes.
fn resealed(offset: i64, metadata: &str) -> Option<String> {
    let mut bytes =
        STANDARD_NO_PAD.decode(metadata).ok().filter(|bytes| bytes.len() > CHECK_END)?;
    let offset = offset.to_be_bytes();
    let check = offset
        .iter()
        .chain(&bytes[CHECK_END..])
        .fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    bytes[VERSION_LEN..CHECK_END].copy_from_slice(&check.to_be_bytes());
    Some(STANDARD_NO_PAD.encode(bytes))
}

/// `count` runs of `length` offsets, one at every `step` above a committed offset.
struct Pattern {
    name: &'static str,
    step: i64,
    length: i64,
    count: i64,
}

const PATTERNS: [Pattern; 5] = [
    Pattern { name: "one", step: 1, length: 1, count: 1 },
    Pattern { name: "runs", step: 100, length: 37, count: 60 },
    Pattern { name: "bitmap", step: 2, length: 1, count: 2_000 },
    Pattern { name: "full chunks", step: 1, length: 5 * CHUNK_OFFSETS, count: 1 },
    Pattern { name: "far apart", step: 40 * CHUNK_OFFSETS, length: 3, count: 12 },
];

impl Pattern {
    fn above(&self, offset: i64) -> CompletedSet {
        let mut set = CompletedSet::empty();
        for number in 0..self.count {
            let first = offset + 1 + number * self.step;
            set.push(OffsetRun::new(first, first + self.length - 1));
        }
        set
    }
}

fn note(offset: i64) -> Note {
    Note { offset, attempts: 3, since_millis: 1_700_000_000_000, error: "no answer".to_owned() }
}

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for offset in [0, 4_095, 1_000_000_007] {
        for pattern in &PATTERNS {
            let notes = (0..pattern.count % 4).map(|at| note(offset + at)).collect();
            let metadata = Metadata { completed: pattern.above(offset), notes };
            let metadata = metadata.encode(offset, METADATA_LIMIT);
            let bytes = [&offset.to_be_bytes()[..], metadata.as_bytes()].concat();
            entries.push(Entry::new(format!("{} at {offset}", pattern.name), bytes));
        }
    }
    entries
}
