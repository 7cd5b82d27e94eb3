//! A committed offset (i64), and the metadata that was committed with it.
//!
//! Metadata has a check, which nearly all changed inputs fail. So what is refused is tried again with
//! the check that it should have: the parser behind it must hold by itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use onrush_engine::completed::{
    CHUNK_OFFSETS, CompletedSet, METADATA_LIMIT, OffsetRun, SPAN_LIMIT,
};

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
    let set = bounded(COST, || CompletedSet::decode(offset, metadata));
    if set.is_empty() {
        return Verdict::Refused;
    }
    let mut above = offset;
    for OffsetRun { first, last } in set.runs().iter().copied() {
        assert!(first >= above && last >= first, "{first} to {last} is not above {above}");
        above = last + 2;
    }
    assert!(above - 2 - offset <= SPAN_LIMIT + CHUNK_OFFSETS, "reaches too far");
    let encoded = set.encode(offset, METADATA_LIMIT);
    let again = CompletedSet::decode(offset, &encoded);
    // A writer that is less thrifty than ours may say more in the same room.
    let kept = again.runs().iter().zip(set.runs());
    for (again, run) in kept {
        assert!(again.first == run.first && again.last <= run.last, "{again:?} of {run:?}");
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

pub(crate) fn entries() -> Vec<Entry> {
    let every = |step: i64, length: i64, count: i64| {
        move |offset: i64| {
            let mut set = CompletedSet::empty();
            for number in 0..count {
                let first = offset + 1 + number * step;
                set.push(OffsetRun::new(first, first + length - 1));
            }
            set
        }
    };
    let sets: [(&str, Box<dyn Fn(i64) -> CompletedSet>); 5] = [
        ("one", Box::new(every(1, 1, 1))),
        ("runs", Box::new(every(100, 37, 60))),
        ("bitmap", Box::new(every(2, 1, 2_000))),
        ("full chunks", Box::new(every(1, 5 * CHUNK_OFFSETS, 1))),
        ("far apart", Box::new(every(40 * CHUNK_OFFSETS, 3, 12))),
    ];
    let mut entries = Vec::new();
    for offset in [0, 4_095, 1_000_000_007] {
        for (name, set) in &sets {
            let metadata = set(offset).encode(offset, METADATA_LIMIT);
            let bytes = [&offset.to_be_bytes()[..], metadata.as_bytes()].concat();
            entries.push(Entry::new(format!("{name} at {offset}"), bytes));
        }
    }
    entries
}
