//! Workloads whose instructions are counted: the parts of an event's way that run for every event.
//!
//! A workload is run with more and with fewer rounds, and the difference counts, so that start and
//! preparation drop out.

use std::hint::black_box;

use crc_fast::{CrcAlgorithm, get_calculator_target};
use onrush_engine::Metadata;
use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};
use onrush_engine::ledger::Ledger;
use onrush_record::{
    BatchBuilder, Compression, Compressor, HEADER_LEN, Header, RawBatch, RecordError, records,
};

/// Events of one round.
pub const EVENTS: usize = 1_000;

/// Keys of the events, and so how far outcomes come out of order.
const KEYS: usize = 50;
const VALUE: [u8; 100] = [7; 100];
const BATCH_BYTES: usize = 256 * 1024;

/// Something that is done for every event.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// What it is called in the baseline.
    pub name: &'static str,
    /// Does it for [`EVENTS`] events, so many times.
    pub run: fn(u32),
}

/// All that is counted.
pub const WORKLOADS: [Workload; 3] = [
    Workload { name: "batch-walk", run: walk },
    Workload { name: "batch-build", run: build },
    Workload { name: "ledger", run: ledger },
];

/// Which instructions checksums are made of on this machine, or under this valgrind.
pub fn crc_path() -> String {
    get_calculator_target(CrcAlgorithm::Crc32Iscsi)
}

/// Checksum and records, read in place.
fn walk(rounds: u32) {
    let mut builder = BatchBuilder::with_capacity(Compression::None, BATCH_BYTES);
    let batch = filled(&mut builder).expect("room");
    for _ in 0..rounds {
        black_box(read(black_box(&batch)).expect("sound"));
    }
}

fn read(batch: &[u8]) -> Result<usize, RecordError> {
    let raw = RawBatch::parse(batch)?;
    raw.verify_crc()?;
    let mut bytes = 0;
    for record in records(raw.body(), &raw.header) {
        let record = record?;
        bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        for header in record.headers {
            bytes += header?.key.len();
        }
    }
    Ok(bytes)
}

/// Records appended and the batch sealed.
fn build(rounds: u32) {
    for _ in 0..rounds {
        let mut builder = BatchBuilder::with_capacity(Compression::None, BATCH_BYTES);
        black_box(filled(&mut builder).expect("room"));
    }
}

fn filled(builder: &mut BatchBuilder) -> Result<bytes::BytesMut, RecordError> {
    for event in 0..EVENTS {
        let key = [b'k', (event % KEYS) as u8];
        let headers = [Header { key: "trace", value: Some(b"01-af") }];
        let headers = if event % 10 == 0 { &headers[..] } else { &[] };
        builder.append(event as i64, Some(&key), Some(&VALUE), headers)?;
    }
    let batch = builder.seal(4_000, 0, 0, &mut Compressor::new())?;
    debug_assert!(batch.len() > HEADER_LEN);
    Ok(batch)
}

/// Events taken as a run, finished one by one and out of order, and a commit of what is done in the
/// middle.
fn ledger(rounds: u32) {
    let mut ledger = Ledger::resume(1, 0, &CompletedSet::empty(), METADATA_LIMIT);
    let mut committed = 0;
    for round in 0..i64::from(rounds) {
        let first = round * EVENTS as i64;
        ledger.take(first, first + EVENTS as i64 - 1).expect("is next");
        for key in 0..KEYS {
            if key == KEYS / 2 {
                let snapshot = ledger.snapshot();
                let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
                committed += metadata.encode(snapshot.offset, METADATA_LIMIT).len();
            }
            for event in (key..EVENTS).step_by(KEYS) {
                let offset = first + event as i64;
                let finished = ledger.finish(1, OffsetRun::new(offset, offset));
                black_box(finished.expect("was taken"));
            }
        }
    }
    black_box((ledger.base(), committed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_runs() {
        for workload in WORKLOADS {
            (workload.run)(2);
        }
        assert!(!crc_path().is_empty());
    }
}
