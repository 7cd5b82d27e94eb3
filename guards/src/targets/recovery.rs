//! A data directory: what to do about checksums, then names and contents of files in turn.
//!
//! Damage that a checksum tells is one thing; with the checksums put right, what stands behind them
//! must hold by itself.

use std::sync::LazyLock;

use bytes::Bytes;
use onrush_broker::BrokerError;
use onrush_broker::fuzzing::Bench;
use onrush_record::header::set_producer;
use onrush_record::{batches, crc32c};
use onrush_runtime::Disk;

use super::broker::{created, talk};
use super::requests;
use crate::corpus::Entry;
use crate::memory::bounded;
use crate::{Verdict, parts};

/// What recovery may hold for input of some kilobytes: buffers of a megabyte to read in, and state
/// of every topic and group that the files name.
const COST: usize = 64 << 20;

const AS_IT_IS: &[u8] = b"as it is";
const PUT_RIGHT: &[u8] = b"put right";
const SEGMENT: &str = ".log";

pub(crate) fn parse(input: &[u8]) -> Verdict {
    let parts = parts::split(input);
    let Some((checksums, files)) = parts.split_first() else { return Verdict::Refused };
    let disk = Disk::memory();
    for file in files.chunks_exact(2) {
        let Ok(path) = std::str::from_utf8(file[0]) else { continue };
        let mut content = file[1].to_vec();
        if *checksums == PUT_RIGHT {
            put_right(path, &mut content);
        }
        // A changed path may be one that no disk takes.
        let _ = write(&disk, path, content);
    }
    let opened = bounded(COST, || Bench::open(&disk));
    let verdict = Verdict::from(&opened);
    if let Ok(mut broker) = opened {
        for frame in &*SMOKE {
            talk(&mut broker, Bytes::copy_from_slice(frame));
        }
        drop(broker);
        reopens(&disk);
    }
    verdict
}

/// What was recovered once is sound: it is recovered again.
fn reopens(disk: &Disk) {
    let again: Result<Bench, BrokerError> = Bench::open(disk);
    if let Err(error) = again {
        panic!("recovered, but not a second time: {error}");
    }
}

fn write(disk: &Disk, path: &str, content: Vec<u8>) -> std::io::Result<()> {
    if let Some((dir, _)) = path.rsplit_once('/') {
        disk.create_dir(dir)?;
        disk.sync_dir("")?;
    }
    let file = disk.create(path)?;
    file.append(Bytes::from(content))?;
    file.sync()
}

/// Gives batches and journal entries the checksums of their bytes, as far as there are whole ones.
fn put_right(path: &str, content: &mut [u8]) {
    let one = if path.ends_with(SEGMENT) { put_batch_right } else { put_entry_right };
    let mut rest = content;
    while let Some(length) = one(rest) {
        rest = &mut rest[length..];
    }
}

/// The first batch of a segment; its length.
fn put_batch_right(segment: &mut [u8]) -> Option<usize> {
    let (header, length) = match batches(segment).next()? {
        Ok(batch) => (batch.header, batch.bytes.len()),
        Err(_) => return None,
    };
    let batch = &mut segment[..length];
    set_producer(batch, header.producer_id, header.producer_epoch, header.base_sequence);
    Some(length)
}

/// The first entry of a journal; its length.
fn put_entry_right(journal: &mut [u8]) -> Option<usize> {
    const HEADER: usize = 8;
    let length = u32::from_be_bytes(*journal.first_chunk()?) as usize;
    let crc = crc32c(journal.get(HEADER..)?.get(..length)?);
    journal[4..HEADER].copy_from_slice(&crc.to_be_bytes());
    Some(HEADER + length)
}

/// Requests that touch what was recovered.
static SMOKE: LazyLock<[Vec<u8>; 3]> =
    LazyLock::new(|| [requests::metadata(), requests::produce(8), requests::fetch(11)]);

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, frames) in histories() {
        let disk = Disk::memory();
        let mut broker = Bench::open(&disk).expect("nothing is on the disk");
        for frame in frames {
            talk(&mut broker, frame.into());
        }
        drop(broker);
        for checksums in [AS_IT_IS, PUT_RIGHT] {
            let mut parts = vec![checksums.to_vec()];
            dump(&disk, "", &mut parts);
            let name = format!("{name}, {}", String::from_utf8_lossy(checksums));
            entries.push(Entry::new(name, parts::join(&parts)));
        }
    }
    entries
}

/// Requests that leave files behind.
fn histories() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let named = |name: &str| {
        let all = requests::entries();
        let found = all.into_iter().filter(|entry| entry.name.starts_with(name));
        found.map(|entry| entry.bytes).collect::<Vec<_>>()
    };
    let produced =
        || [vec![created()], named("Produce 8 batch"), named("Produce 7 batch")].concat();
    vec![
        ("nothing", Vec::new()),
        ("topics", vec![created()]),
        ("records", produced()),
        ("groups", [produced(), named("ConsumerGroupHeartbeat"), named("OffsetCommit")].concat()),
        ("fewer topics", [produced(), named("DeleteTopics 1 ")].concat()),
    ]
}

/// Appends names and contents of all files below `dir`.
fn dump(disk: &Disk, dir: &str, parts: &mut Vec<Vec<u8>>) {
    for name in disk.list(dir).unwrap_or_default() {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        match disk.open(&path) {
            Ok(file) => {
                let content = file.read_at(0, file.len() as usize).expect("memory is read");
                parts.extend([path.into_bytes(), content.to_vec()]);
            }
            Err(_) => dump(disk, &path, parts),
        }
    }
}
