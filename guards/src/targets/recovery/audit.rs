//! What a broker that was opened over a directory must serve, by the files alone.

use std::fmt::Write;

use onrush_broker::BrokerError;
use onrush_broker::fuzzing::{Bench, Partition};
use onrush_record::batches;

use super::directory::Directory;
use super::log_files::{Found, LogFiles};

/// Bytes of a fetch: less than a segment, so that there are several.
const FETCHED: usize = 2_500;

/// Checks all that is served, and says what it is.
pub(super) fn served(broker: &Bench, directory: &Directory, is_put_right: bool) -> String {
    for partition in broker.partitions() {
        let dir = format!("{}-{}", partition.topic, partition.index);
        let files = LogFiles::of(directory, &dir);
        let is_read = read(broker, &partition, &files.run);
        let Partition { start, end, .. } = partition;
        if files.agree {
            assert_eq!(end, files.end, "{dir} ends elsewhere than its intact batches");
            let deleted = files.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.start);
            assert_eq!(start, files.first.max(deleted), "{dir} starts elsewhere than its files");
            assert_eq!(is_read, Ok(()), "{dir} is intact and cannot be read");
            for Found { header, .. } in files.newest_of_producers(end) {
                let known = broker.known(&partition, header);
                assert_eq!(known, Some(header.base_offset), "{dir} takes a batch again");
            }
        } else if let (Some(checkpoint), false) = (&files.checkpoint, is_put_right) {
            let synced = checkpoint.offset;
            assert!(end >= synced, "{dir} ends at {end}, but was on the disk up to {synced}");
        }
    }
    told(broker)
}

/// What the broker says and remembers.
pub(super) fn told(broker: &Bench) -> String {
    let mut told = broker.remembered();
    for partition in broker.partitions() {
        let is_read = read(broker, &partition, &[]);
        write!(told, " {partition:?} {is_read:?}").expect("a string takes all");
    }
    told
}

/// Reads a partition as a consumer does, up to its end or to the offset of which a consumer is told, or can tell by the
/// checksum, that it is damaged. What is read must be what the run has at that offset.
fn read(broker: &Bench, partition: &Partition, run: &[Found<'_>]) -> Result<(), i64> {
    let &Partition { start, end, .. } = partition;
    assert!(start <= end, "{partition:?} starts above its end");
    let mut offset = start;
    while offset < end {
        let fetched = broker.read(partition, offset, FETCHED).map_err(|_| offset)?;
        let fetched = fetched.unwrap_or_else(|| panic!("{partition:?} has no offset {offset}"));
        assert!(!fetched.is_empty(), "{partition:?} has nothing at {offset} and does not say so");
        for batch in batches(&fetched) {
            let batch = batch.map_err(|_| offset)?;
            let (first, last) = (batch.header.base_offset, batch.header.last_offset());
            let follows = first == offset || offset == start && (first..=last).contains(&offset);
            assert!(follows, "{partition:?} has {first} to {last} at {offset}");
            batch.verify_crc().map_err(|_| offset)?;
            assert!(last < end, "{partition:?} shows {last}");
            if let Ok(at) = run.binary_search_by_key(&first, |found| found.header.base_offset) {
                assert_eq!(
                    batch.bytes, run[at].bytes,
                    "{partition:?} has other records at {first}"
                );
            }
            offset = last + 1;
        }
    }
    Ok(())
}

/// Checks that the person who is told can do something, and that there is a reason.
pub(super) fn refused(error: &BrokerError, directory: &Directory) {
    let (path, is_of_content) = match error {
        BrokerError::Storage { path, .. } => (path, false),
        BrokerError::Format { path, .. } | BrokerError::Damaged { path, .. } => (path, true),
        _ => panic!("refused, but not for a file: {error}"),
    };
    assert!(error.to_string().contains(path.as_str()), "does not name {path}: {error}");
    let dir = path.split_once('/').map_or(path.as_str(), |(dir, _)| dir);
    let files = LogFiles::of(directory, dir);
    let is_intact = files.agree && files.is_last_reached && path.contains('/');
    assert!(!(is_of_content && is_intact), "refused for a torn tail at most: {error}");
}
