//! Reading a log back after the broker ended, however it ended.
//!
//! What stands below the last [`Checkpoint`] was on the disk and is not read; closed segments come with their index. Above,
//! every batch's checksum is verified. A segment ends before the first batch that is cut off,
//! malformed, fails its checksum or does not follow the one before. In the last segment that is the
//! torn tail of a crash, and is cut: only what was not on the disk is missing.
//!
//! A segment file is begun only when all records below its offset were synced, under every policy.
//! So if the segment before ends below that offset, or the last one below the checkpoint, bytes changed that were on the
//! disk. Then the log is not opened and nothing of it is touched: the records behind the damage were acknowledged.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use onrush_record::{RawBatch, batches};
use onrush_runtime::{Disk, File};

use crate::BrokerError;
use crate::checkpoint::{self, Checkpoint};
use crate::config::MAX_BATCH;
use crate::producers::Producers;
use crate::segment::{Mark, SEGMENT_SUFFIX, Segment, claim, index, segment_path};

/// Bytes read at a time.
const CHUNK: usize = 1024 * 1024;

/// What to do about a damaged log.
const REMEDY: &str = "restore the partition from a copy, or give up what stands behind: cut the file at this byte and remove the later segments and the checkpoint of its directory";

/// What is left of a log.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Oldest first; none if the log was never begun.
    pub(crate) segments: VecDeque<Segment>,
    /// Up to where the log is known to be on the disk, in the segment with that offset.
    pub(crate) synced: Option<Mark>,
    /// Offset of the next record.
    pub(crate) end: i64,
    /// Records below are deleted.
    pub(crate) start: i64,
    pub(crate) producers: Producers,
    /// Bytes of records that had to be read.
    pub(crate) scanned: u64,
}

/// Opens the log in `dir`: reads what stands above its last checkpoint, and cuts a torn tail.
pub(crate) fn recover(disk: &Disk, dir: &str) -> Result<Recovered, BrokerError> {
    let checkpoint = Checkpoint::read(disk, dir);
    let checkpoint = checkpoint.map_err(BrokerError::storage("read the checkpoint in", dir))?;
    let (start, mark) =
        checkpoint.as_ref().map_or((0, None), |it| (it.start, Some((it.base, it.mark))));
    let mut recovery = Recovery::over(disk, checkpoint);
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
        if segments.is_empty() && mark.is_some_and(|(_, mark)| mark.offset < base) {
            // What stood in between is gone, and what the producers did there with it.
            recovery.producers = Producers::default();
        }
        let mut segment = Segment::over(path, base, file);
        end = recovery.open(&mut segment)?;
        segments.push_back(segment);
    }
    if let Some((_, mark)) = mark.filter(|(_, mark)| mark.offset > end) {
        return Err(cut_off(dir, segments.back(), end, &mark));
    }
    segments.iter().try_for_each(cut_tail)?;
    remove(disk, dir, &leftovers)?;
    recovery.store_indexes(&segments);
    let last = segments.back().map(|segment| segment.base);
    let synced = mark.filter(|(base, _)| last == Some(*base)).map(|(_, mark)| mark);
    let Recovery { producers, scanned, .. } = recovery;
    Ok(Recovered { segments, synced, end, start, producers, scanned })
}

/// A recovery under way.
struct Recovery<'a> {
    disk: &'a Disk,
    checkpoint: Option<Checkpoint>,
    producers: Producers,
    scanned: u64,
    /// Bases of the segments whose index had to be made.
    unindexed: Vec<i64>,
}

impl<'a> Recovery<'a> {
    fn over(disk: &'a Disk, mut checkpoint: Option<Checkpoint>) -> Self {
        let producers =
            checkpoint.as_mut().map(|checkpoint| std::mem::take(&mut checkpoint.producers));
        let producers = producers.unwrap_or_default();
        Self { disk, checkpoint, producers, scanned: 0, unindexed: Vec::new() }
    }

    /// Takes what is known of a segment and reads the rest. Returns the offset after its last record.
    fn open(&mut self, segment: &mut Segment) -> Result<i64, BrokerError> {
        let from = match &mut self.checkpoint {
            Some(checkpoint) if checkpoint.base == segment.base => {
                let (index, mark) = (std::mem::take(&mut checkpoint.index), checkpoint.mark);
                let length = segment.file().len();
                if length < mark.position {
                    return Err(shortened(segment, length, &mark));
                }
                let restored = segment.restore(index, &mark);
                restored
                    .map_err(BrokerError::storage("read", segment.path()))?
                    .map_err(|position| changed(segment, position, &mark))?;
                mark.offset
            }
            Some(checkpoint) if segment.base < checkpoint.mark.offset => {
                let indexed = segment.load_index(self.disk);
                if let Some(end) =
                    indexed.map_err(BrokerError::storage("read the index of", segment.path()))?
                {
                    return Ok(end);
                }
                // What its producers did is in the checkpoint.
                return self.scan(segment, segment.base, &mut Producers::default());
            }
            _ => segment.base,
        };
        let mut producers = std::mem::take(&mut self.producers);
        let end = self.scan(segment, from, &mut producers);
        self.producers = producers;
        end
    }

    fn scan(
        &mut self,
        segment: &mut Segment,
        from: i64,
        producers: &mut Producers,
    ) -> Result<i64, BrokerError> {
        let before = segment.len;
        let end = scan(segment, from, producers)?;
        self.scanned += segment.len - before;
        self.unindexed.push(segment.base);
        Ok(end)
    }

    /// Writes the indexes that were made, of closed segments; what fails is made again at the next start.
    fn store_indexes(&self, segments: &VecDeque<Segment>) {
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            if self.unindexed.contains(&segment.base)
                && let Err(error) = segment.store_index(self.disk, next.base)
            {
                tracing::warn!(path = segment.path(), %error, "cannot write an index");
            }
        }
    }
}

/// The log ends at `end`, but was on the disk up to `mark`.
fn cut_off(dir: &str, last: Option<&Segment>, end: i64, mark: &Mark) -> BrokerError {
    let path = last.map_or_else(|| checkpoint::path_in(dir), |segment| segment.path().to_owned());
    let reason = format!(
        "no valid batch with offset {end}, although all below offset {} was on the disk",
        mark.offset
    );
    BrokerError::Damaged {
        path,
        position: last.map_or(0, |segment| segment.len),
        reason,
        remedy: REMEDY,
    }
}

/// Below `mark` other bytes stand at `position` than were written there.
fn changed(segment: &Segment, position: u64, mark: &Mark) -> BrokerError {
    let reason = format!(
        "not the batch that was on the disk here, which led to offset {} at byte {}",
        mark.offset, mark.position
    );
    BrokerError::Damaged { path: segment.path().to_owned(), position, reason, remedy: REMEDY }
}

fn shortened(segment: &Segment, length: u64, mark: &Mark) -> BrokerError {
    let reason =
        format!("the file ends here, although {} bytes of it were on the disk", mark.position);
    BrokerError::Damaged {
        path: segment.path().to_owned(),
        position: length,
        reason,
        remedy: REMEDY,
    }
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
    for name in &names {
        let path = format!("{dir}/{name}");
        match name.strip_suffix(SEGMENT_SUFFIX).and_then(|base| base.parse::<i64>().ok()) {
            // As we write it: of two names for one offset, one is a copy that somebody made.
            Some(base) if base >= 0 && path == segment_path(dir, base) => files.push((base, path)),
            _ if name == checkpoint::FILE => {}
            _ if name.ends_with(index::SUFFIX) => remove_orphan(disk, dir, name, &names),
            _ => tracing::warn!(dir, name, "ignored a file that is not a segment"),
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Removes an index whose segment is gone.
fn remove_orphan(disk: &Disk, dir: &str, name: &str, names: &[String]) {
    let segment = name.strip_suffix(index::SUFFIX).map(|base| format!("{base}{SEGMENT_SUFFIX}"));
    if segment.is_some_and(|segment| names.contains(&segment)) {
        return;
    }
    if let Err(error) = disk.remove(&format!("{dir}/{name}")) {
        tracing::warn!(dir, name, %error, "cannot remove the index of a segment that is gone");
    }
}

/// Reads a segment from what is known of it, which ends at offset `from`, to its end or first damage. Returns the offset after the last batch.
fn scan(segment: &mut Segment, from: i64, producers: &mut Producers) -> Result<i64, BrokerError> {
    let length = segment.file().len();
    let mut end = from;
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

#[cfg(test)]
mod tests;
