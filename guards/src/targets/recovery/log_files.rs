//! What the files of a log say by themselves, read without the broker's code.
//!
//! The *run* is every batch that follows the one before, from the start of the first segment on, with a right checksum.
//! The checkpoint says up to where the log was on the disk. If the run reaches there, a log that is opened has all of it,
//! and nothing else.

use bytes::Buf;
use onrush_record::{BatchHeader, batches, crc32c};

use super::directory::Directory;

/// Ends the name of a segment.
pub(super) const SEGMENT: &str = ".log";
/// Ends the name of the index of a segment.
pub(super) const INDEX: &str = ".index";
/// The checkpoint of a log.
pub(super) const CHECKPOINT: &str = "checkpoint";

const VERSION: u8 = 1;

/// The files of one log.
pub(super) struct LogFiles<'a> {
    /// First offset of the first segment.
    pub(super) first: i64,
    /// By offset.
    pub(super) run: Vec<Found<'a>>,
    /// The offset after the run.
    pub(super) end: i64,
    /// Whether it ends in the last segment.
    pub(super) is_last_reached: bool,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Whether the checkpoint and the indexes agree with the run.
    pub(super) agree: bool,
}

/// A batch of the run.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// Of the segment.
    base: i64,
    position: u64,
    pub(super) header: BatchHeader,
    pub(super) bytes: &'a [u8],
}

/// What a checkpoint says.
pub(super) struct Checkpoint {
    pub(super) start: i64,
    base: i64,
    pub(super) offset: i64,
    position: u64,
    index: Vec<Place>,
    producers: Vec<Claimed>,
}

/// A place between two batches: offset and position.
type Place = (i64, u64);

/// A batch of a producer: its id, epoch, first and last sequence, offset.
type Claimed = (i64, i16, i32, i32, i64);

impl<'a> LogFiles<'a> {
    pub(super) fn of(directory: &'a Directory, dir: &str) -> Self {
        let segments = segments(directory, dir);
        let first = segments.first().map_or(0, |(base, _)| *base);
        let (mut run, mut end, mut is_last_reached) = (Vec::new(), first, true);
        for (base, content) in segments {
            if base != end {
                if base < end && content.is_empty() {
                    continue;
                }
                is_last_reached = false;
                break;
            }
            let mut position = 0;
            for batch in batches(content).map_while(Result::ok) {
                if batch.header.base_offset != end || batch.verify_crc().is_err() {
                    break;
                }
                let (header, bytes) = (batch.header, batch.bytes);
                run.push(Found { base, position, header, bytes });
                position += bytes.len() as u64;
                end = header.last_offset().saturating_add(1);
            }
        }
        let checkpoint = checkpoint(directory, dir);
        let mut files = Self { first, run, end, is_last_reached, checkpoint, agree: true };
        files.agree = files.checkpoint_agrees() && files.indexes_agree(directory, dir);
        files
    }

    /// Whether all that the checkpoint tells of is there. True without one.
    pub(super) fn reaches_checkpoint(&self) -> bool {
        self.checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.offset <= self.end)
    }

    /// The last batch of each producer, if it was an idempotent one.
    pub(super) fn newest_of_producers(&self, below: i64) -> Vec<&Found<'a>> {
        let mut newest = std::collections::BTreeMap::new();
        let of_producers = self.run.iter().filter(|found| found.header.producer_id >= 0);
        for found in of_producers.filter(|found| found.header.base_offset < below) {
            newest.insert(found.header.producer_id, found);
        }
        newest.into_values().collect()
    }

    fn checkpoint_agrees(&self) -> bool {
        let Some(checkpoint) = &self.checkpoint else { return true };
        let known = |found: &&Found<'_>| checkpoint.producers.contains(&claimed(&found.header));
        self.reaches_checkpoint()
            && (0..=checkpoint.offset).contains(&checkpoint.start)
            && self.is_place(checkpoint.base, (checkpoint.offset, checkpoint.position))
            && self.is_index(checkpoint.base, &checkpoint.index)
            && self.newest_of_producers(checkpoint.offset).iter().all(known)
            // Nobody is said to have written what others wrote.
            && checkpoint.producers.iter().all(|claimed| self.is_in_run(claimed))
    }

    fn is_in_run(&self, producers: &Claimed) -> bool {
        let (.., offset) = *producers;
        offset < self.first || self.run.iter().any(|found| claimed(&found.header) == *producers)
    }

    fn indexes_agree(&self, directory: &Directory, dir: &str) -> bool {
        directory.files_in(dir).all(|(name, content)| match name.strip_suffix(INDEX) {
            Some(base) => {
                let stored = snapshot(content).and_then(closed_index);
                stored.is_none_or(|(stored, mark, index)| {
                    base.parse() == Ok(stored)
                        && self.is_place(stored, mark)
                        && self.is_index(stored, &index)
                })
            }
            None => true,
        })
    }

    fn is_index(&self, base: i64, index: &[Place]) -> bool {
        index.iter().all(|place| self.is_place(base, *place))
    }

    /// Whether a batch with this offset begins or ends at this place of a segment.
    fn is_place(&self, base: i64, (offset, position): Place) -> bool {
        let mut of_segment = self.run.iter().filter(|found| found.base == base);
        (offset, position) == (base, 0)
            || of_segment.any(|found| {
                let end = found.position + found.bytes.len() as u64;
                (found.header.last_offset() + 1, end) == (offset, position)
            })
    }
}

fn claimed(header: &BatchHeader) -> Claimed {
    let first = header.base_sequence;
    // Sequences wrap from the highest number to 0.
    let last = first.wrapping_add(header.record_count - 1) & i32::MAX;
    (header.producer_id, header.producer_epoch, first, last, header.base_offset)
}

/// The segments by their first offset.
fn segments<'a>(directory: &'a Directory, dir: &str) -> Vec<(i64, &'a [u8])> {
    let segment = |(name, content): (&str, &'a [u8])| {
        let base: i64 = name.strip_suffix(SEGMENT)?.parse().ok()?;
        (base >= 0 && name == format!("{base:020}{SEGMENT}")).then_some((base, content))
    };
    let mut segments: Vec<_> = directory.files_in(dir).filter_map(segment).collect();
    segments.sort_by_key(|(base, _)| *base);
    segments
}

fn snapshot(content: &[u8]) -> Option<&[u8]> {
    let (crc, rest) = content.split_first_chunk::<4>()?;
    let (version, payload) = rest.split_first()?;
    (u32::from_be_bytes(*crc) == crc32c(rest) && *version == VERSION).then_some(payload)
}

fn checkpoint(directory: &Directory, dir: &str) -> Option<Checkpoint> {
    let mut payload = snapshot(directory.file(&format!("{dir}/{CHECKPOINT}"))?)?;
    let (start, base) = (payload.try_get_i64().ok()?, payload.try_get_i64().ok()?);
    let (offset, position) = mark(&mut payload)?;
    let index = index(&mut payload)?;
    let producers = producers(&mut payload)?;
    Some(Checkpoint { start, base, offset, position, index, producers })
}

/// The base of a segment, its end and its index.
fn closed_index(mut payload: &[u8]) -> Option<(i64, Place, Vec<Place>)> {
    let base = payload.try_get_i64().ok()?;
    Some((base, mark(&mut payload)?, index(&mut payload)?))
}

fn mark(payload: &mut &[u8]) -> Option<Place> {
    let place = (payload.try_get_i64().ok()?, payload.try_get_u64().ok()?);
    let _latest_time = payload.try_get_i64().ok()?;
    Some(place)
}

fn index(payload: &mut &[u8]) -> Option<Vec<Place>> {
    let count = payload.try_get_u32().ok()?;
    (0..count).map(|_| mark(payload)).collect()
}

fn producers(payload: &mut &[u8]) -> Option<Vec<Claimed>> {
    let mut claimed = Vec::new();
    for _ in 0..payload.try_get_u32().ok()? {
        let (id, epoch) = (payload.try_get_i64().ok()?, payload.try_get_i16().ok()?);
        let _last_offset = payload.try_get_i64().ok()?;
        for _ in 0..payload.try_get_u8().ok()? {
            let (first, last) = (payload.try_get_i32().ok()?, payload.try_get_i32().ok()?);
            claimed.push((id, epoch, first, last, payload.try_get_i64().ok()?));
        }
    }
    Some(claimed)
}
