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
mod tests;
