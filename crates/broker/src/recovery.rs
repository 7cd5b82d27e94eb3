//! Reading a log back after the broker ended, however it ended.
//!
//! Every batch's checksum is verified. The log ends before the first batch that is cut off,
//! malformed, fails its checksum or does not follow the one before; the rest of that file is cut,
//! and the segments after it are removed, because offsets must be dense. After a clean end nothing
//! is cut; after a crash only what was not on the disk is missing.

use std::collections::VecDeque;

use bytes::Bytes;
use onrush_record::{RawBatch, batches};
use onrush_runtime::{Disk, File};

use crate::BrokerError;
use crate::config::MAX_BATCH;
use crate::log::{SEGMENT_SUFFIX, Segment, claim};
use crate::producers::Producers;

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;

/// What is left of a log.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Oldest first; none if the log was never begun.
    pub(crate) segments: VecDeque<Segment>,
    /// Offset of the next record.
    pub(crate) end: i64,
}

/// Reads the log in `dir` up to its end or first damage, and cuts what is behind.
pub(crate) fn recover(
    disk: &Disk,
    dir: &str,
    producers: &mut Producers,
) -> Result<Recovered, BrokerError> {
    let mut segments = VecDeque::new();
    let mut end = 0;
    let mut removed = false;
    for (base, path) in segment_files(disk, dir)? {
        if !segments.is_empty() && base != end {
            let bytes = disk.open(&path).map_or(0, |file| file.len());
            tracing::error!(path, bytes, "removed a segment behind a damaged place");
            disk.remove(&path).map_err(BrokerError::storage("remove", &path))?;
            removed = true;
            continue;
        }
        let file = disk.open(&path).map_err(BrokerError::storage("open", &path))?;
        let mut segment = Segment::over(path, base, file);
        end = scan(&mut segment, producers)?;
        segments.push_back(segment);
    }
    if removed {
        // Should one come back after a crash when the log has grown up to it, it would be taken for
        // its continuation.
        disk.sync_dir(dir).map_err(BrokerError::storage("sync", dir))?;
    }
    Ok(Recovered { segments, end })
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

/// Reads a segment to its end or first damage and cuts what is behind. Returns the offset after the
/// last batch.
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
                producers.appended(claim, batch.header.base_offset, end - 1);
            }
        }
        if segment.len == before {
            break;
        }
    }
    if segment.len < length {
        cut(segment, length)?;
    }
    Ok(end)
}

fn follows(batch: &RawBatch<'_>, end: i64) -> bool {
    batch.header.base_offset == end && batch.verify_crc().is_ok()
}

/// Bytes from `position` on, at least one whole batch if there is one.
fn read_chunk(file: &File, position: u64) -> std::io::Result<Bytes> {
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

fn cut(segment: &Segment, length: u64) -> Result<(), BrokerError> {
    let (path, at) = (segment.path(), segment.len);
    tracing::warn!(path, at, bytes = length - at, "cut the torn tail of a log");
    segment.file().truncate(at).map_err(BrokerError::storage("truncate", path))?;
    segment.file().sync().map_err(BrokerError::storage("sync", path))
}
