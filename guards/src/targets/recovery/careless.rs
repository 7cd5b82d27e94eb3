//! A broker that recovers carelessly: planted bugs that the loop must find.

use onrush_record::batches;
use onrush_runtime::Disk;

use super::lives::POWER_CUT;
use super::log_files::{CHECKPOINT, SEGMENT};
use super::{directory::Directory, judge};
use crate::Verdict;
use crate::corpus::Entry;

/// Takes the last whole batch for a part of the torn tail behind it.
pub(crate) fn cuts_too_much(input: &[u8]) -> Verdict {
    judge(input, |disk| {
        for (path, content) in segments(disk) {
            let whole: Vec<u64> =
                batches(&content).map_while(Result::ok).map(|it| it.bytes.len() as u64).collect();
            let end: u64 = whole.iter().sum();
            if let Some(last) = whole.last().filter(|_| end < content.len() as u64) {
                cut(disk, &path, end - last);
            }
        }
    })
}

/// Takes all damage for a torn tail: cuts there, and forgets that more was on the disk.
pub(crate) fn cuts_behind_damage(input: &[u8]) -> Verdict {
    judge(input, |disk| {
        for (path, content) in segments(disk) {
            let whole = batches(&content).map_while(Result::ok);
            let intact = whole.take_while(|batch| batch.verify_crc().is_ok());
            let end: u64 = intact.map(|batch| batch.bytes.len() as u64).sum();
            if end < content.len() as u64 {
                cut(disk, &path, end);
                let dir = path.split_once('/').map_or("", |(dir, _)| dir);
                let _ = disk.remove(&format!("{dir}/{CHECKPOINT}"));
            }
        }
    })
}

/// Without those that have a torn tail to begin with.
pub(crate) fn entries() -> Vec<Entry> {
    super::entries().into_iter().filter(|entry| !entry.name.starts_with(POWER_CUT)).collect()
}

fn segments(disk: &Disk) -> Vec<(String, Vec<u8>)> {
    let directory = Directory::of(disk);
    let segments = directory.names().into_iter().filter(|path| path.ends_with(SEGMENT));
    segments.filter_map(|path| Some((path.to_owned(), directory.file(path)?.to_vec()))).collect()
}

fn cut(disk: &Disk, path: &str, end: u64) {
    disk.open(path).and_then(|file| file.truncate(end)).expect("memory takes everything");
}
