//! Reading a log back after the broker ended, however it ended.
//!
//! Every batch's checksum is verified. A segment ends before the first batch that is cut off,
//! malformed, fails its checksum or does not follow the one before. In the last segment that is the
//! torn tail of a crash, and is cut: only what was not on the disk is missing.
//!
//! A segment file is begun only when all records below its offset were synced, under every policy.
//! So if the segment before ends below that offset, bytes changed that were on the disk. Then the
//! log is not opened and nothing of it is touched: the records behind the damage were acknowledged.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use onrush_record::{RawBatch, batches};
use onrush_runtime::{Disk, File};

use crate::BrokerError;
use crate::config::MAX_BATCH;
use crate::producers::Producers;
use crate::segment::{SEGMENT_SUFFIX, Segment, claim};

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;

/// What to do about a damaged log.
const REMEDY: &str = "restore the partition from a copy, or give up what stands behind: cut the file at this byte and remove the later segments of its directory";

/// What is left of a log.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Oldest first; none if the log was never begun.
    pub(crate) segments: VecDeque<Segment>,
    /// Offset of the next record.
    pub(crate) end: i64,
}

/// Reads the log in `dir` up to its end, and cuts a torn tail.
pub(crate) fn recover(
    disk: &Disk,
    dir: &str,
    producers: &mut Producers,
) -> Result<Recovered, BrokerError> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut leftovers = Vec::new();
    let mut end = 0;
    for (base, path) in segment_files(disk, dir)? {
        let file = disk.open(&path).map_err(BrokerError::storage("open", &path))?;
        if let Some(before) = segments.back() {
            match base.cmp(&end) {
                Ordering::Equal => {}
                // A roll failed after it had made the file, and the segment before grew on.
                Ordering::Less if file.len() == 0 => {
                    leftovers.push(path);
                    continue;
                }
                Ordering::Less => return Err(overlap(path, base, end)),
                Ordering::Greater => return Err(gap(before, end, &path)),
            }
        }
        let mut segment = Segment::over(path, base, file);
        end = scan(&mut segment, producers)?;
        segments.push_back(segment);
    }
    segments.iter().try_for_each(cut_tail)?;
    remove(disk, dir, &leftovers)?;
    Ok(Recovered { segments, end })
}

/// `segment` ends at `end`, but `next` says that there was more.
fn gap(segment: &Segment, end: i64, next: &str) -> BrokerError {
    BrokerError::Damaged {
        path: segment.path().to_owned(),
        position: segment.len,
        reason: format!(
            "no valid batch with offset {end}, which was on the disk before {next} was begun"
        ),
        remedy: REMEDY,
    }
}

fn overlap(path: String, base: i64, end: i64) -> BrokerError {
    let reason =
        format!("the segment begins at offset {base}, below {end}, where the one before ends");
    BrokerError::Damaged { path, position: 0, reason, remedy: REMEDY }
}

fn remove(disk: &Disk, dir: &str, leftovers: &[String]) -> Result<(), BrokerError> {
    for path in leftovers {
        tracing::warn!(path, "removed the empty file of a segment that was never used");
        disk.remove(path).map_err(BrokerError::storage("remove", path))?;
    }
    if leftovers.is_empty() {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(BrokerError::storage("sync", dir))
}

fn segment_files(disk: &Disk, dir: &str) -> Result<Vec<(i64, String)>, BrokerError> {
    let names = disk.list(dir).map_err(BrokerError::storage("list", dir))?;
    let mut files = Vec::new();
    for name in names {
        match name.strip_suffix(SEGMENT_SUFFIX).and_then(|base| base.parse::<i64>().ok()) {
            Some(base) if base >= 0 => files.push((base, format!("{dir}/{name}"))),
            _ => tracing::warn!(dir, name, "ignored a file that is not a segment"),
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads a segment to its end or first damage. Returns the offset after the last batch.
fn scan(segment: &mut Segment, producers: &mut Producers) -> Result<i64, BrokerError> {
    let length = segment.file().len();
    let mut end = segment.base;
    'chunks: while segment.len < length {
        let chunk = read_chunk(segment.file(), segment.len)
            .map_err(BrokerError::storage("read", segment.path()))?;
        let before = segment.len;
        for batch in batches(&chunk) {
            let Some(batch) = batch.ok().filter(|batch| follows(batch, end)) else { break 'chunks };
            segment.note(&batch.header, batch.bytes.len() as u64);
            end = batch.header.last_offset() + 1;
            if let Some(claim) = claim(&batch.header) {
                producers.appended(claim, batch.header.base_offset, end - 1, false);
            }
        }
        if segment.len == before {
            break;
        }
    }
    segment.show(u64::MAX);
    Ok(end)
}

/// Checks that the batches from `position` to `end` can be read and are intact.
pub(crate) fn verify(file: &File, mut position: u64, end: u64) -> io::Result<()> {
    while position < end {
        let chunk = read_chunk(file, position)?;
        let whole = batches(&chunk).map_while(Result::ok);
        let intact = whole.take_while(|batch| batch.verify_crc().is_ok());
        let read = intact.map(|batch| batch.bytes.len() as u64).sum::<u64>();
        if read == 0 {
            let reason = format!("the batch at byte {position} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        position += read;
    }
    Ok(())
}

fn follows(batch: &RawBatch<'_>, end: i64) -> bool {
    batch.header.base_offset == end && batch.verify_crc().is_ok()
}

/// Bytes from `position` on, at least one whole batch if there is one.
fn read_chunk(file: &File, position: u64) -> io::Result<Bytes> {
    let chunk = file.read_at(position, CHUNK)?;
    match stated_len(&chunk) {
        Some(length) if length > chunk.len() && length <= MAX_BATCH => {
            file.read_at(position, length)
        }
        _ => Ok(chunk),
    }
}

/// What the length field of the batch at the start says.
fn stated_len(chunk: &[u8]) -> Option<usize> {
    use onrush_record::header::LENGTH_END;
    let field = chunk.get(LENGTH_END - 4..)?.first_chunk::<4>()?;
    usize::try_from(i32::from_be_bytes(*field)).ok().map(|length| LENGTH_END + length)
}

/// Cuts what stands behind the last batch of a segment, if anything does.
fn cut_tail(segment: &Segment) -> Result<(), BrokerError> {
    let (path, at, length) = (segment.path(), segment.len, segment.file().len());
    if at == length {
        return Ok(());
    }
    tracing::warn!(path, at, bytes = length - at, "cut the torn tail of a log");
    segment.file().truncate(at).map_err(BrokerError::storage("truncate", path))?;
    segment.file().sync().map_err(BrokerError::storage("sync", path))
}
