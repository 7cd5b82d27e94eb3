//! A data directory: what to do about checksums, then a file each.
//!
//! Damage that a checksum tells is one thing; with the checksums put right, what stands behind them must hold by itself.
//! The directory is opened as the broker opens it. It is refused with an error that names the file, or what is served then
//! is what the files say ([`audit`]), and the same once more after a clean end.

mod audit;
pub(crate) mod careless;
mod directory;
mod lives;
mod log_files;

use std::sync::LazyLock;

use bytes::Bytes;
use onrush_broker::fuzzing::Bench;
use onrush_broker::{BrokerConfig, BrokerError, MIN_SEGMENT_BYTES};
use onrush_runtime::Disk;

use self::directory::Directory;
use super::broker::talk;
use super::requests;
use crate::corpus::Entry;
use crate::memory::bounded;
use crate::{Verdict, parts};

/// What recovery may hold for input of some kilobytes: buffers of a megabyte to read in, and state
/// of every topic and group that the files name.
const COST: usize = 64 << 20;

const AS_IT_IS: &[u8] = b"as it is";
const PUT_RIGHT: &[u8] = b"put right";

pub(crate) fn parse(input: &[u8]) -> Verdict {
    judge(input, |_| {})
}

/// Opens what `input` describes, after `before` was done to it each time.
fn judge(input: &[u8], before: impl Fn(&Disk)) -> Verdict {
    let parts = parts::split(input);
    let Some((checksums, files)) = parts.split_first() else { return Verdict::Refused };
    let is_put_right = *checksums == PUT_RIGHT;
    let mut directory = Directory::from_parts(files);
    if is_put_right {
        directory.put_right();
    }
    let disk = directory.disk();
    before(&disk);
    let opened = bounded(COST, || Bench::open(&disk, config()));
    let verdict = Verdict::from(&opened);
    match opened {
        Ok(broker) => {
            let told = audit::served(&broker, &directory, is_put_right);
            reopens(broker, &disk, &told);
        }
        Err(error) => audit::refused(&error, &directory),
    }
    verdict
}

/// Small segments: what is appended begins a new one.
fn config() -> BrokerConfig {
    BrokerConfig { segment_bytes: MIN_SEGMENT_BYTES, ..BrokerConfig::default() }
}

/// What was recovered once is sound: after a clean end it is recovered again, and also after one without a word.
fn reopens(broker: Bench, disk: &Disk, told: &str) {
    let open = || -> Result<Bench, BrokerError> { Bench::open(disk, config()) };
    broker.close().expect("memory takes everything");
    let mut broker = open().unwrap_or_else(|error| panic!("not after a clean end: {error}"));
    assert_eq!(audit::told(&broker), told, "something else after a clean end");
    for frame in &*SMOKE {
        talk(&mut broker, Bytes::copy_from_slice(frame));
    }
    let partitions = broker.partitions();
    drop(broker);
    let broker = open().unwrap_or_else(|error| panic!("not after it was used: {error}"));
    assert_eq!(broker.partitions(), partitions, "something else after it was used");
}

/// Requests that touch what was recovered.
static SMOKE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut frames = vec![requests::metadata(), requests::produce(8), requests::fetch(11)];
    frames.extend(lives::group_requests());
    frames
});

pub(crate) fn entries() -> Vec<Entry> {
    let of_life = |(name, directory): (String, Directory)| {
        [AS_IT_IS, PUT_RIGHT].map(|checksums| {
            let parts: Vec<Vec<u8>> =
                [checksums.to_vec()].into_iter().chain(directory.parts()).collect();
            let name = format!("{name}, {}", String::from_utf8_lossy(checksums));
            Entry::new(name, parts::join(&parts))
        })
    };
    lives::all().into_iter().flat_map(of_life).collect()
}
