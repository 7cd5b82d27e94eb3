//! Runs of record batches, as a fetch brings them.
//!
//! The CRC is computed but not insisted on: what stands behind it must hold by itself.

use onrush_record::{
    BatchBuilder, Compression, Compressor, Decompressor, Header, RawBatch, Record, RecordError,
    batches, record_at, records,
};

use crate::Verdict;
use crate::corpus::Entry;
use crate::memory::bounded;

/// Most bytes that the records of a batch may become.
const DECOMPRESSED: usize = 1 << 20;
/// A buffer that grows is twice there for a moment; the rest is for the contexts of the codecs.
const COST: usize = 2 * DECOMPRESSED + (512 << 10);
/// A batch is not built again above this.
const REBUILT: usize = 64 * 1024;

pub(crate) fn parse(input: &[u8]) -> Verdict {
    Verdict::from(&walk(input).and_then(|found| match found {
        0 => Err(RecordError::BatchEmpty),
        found => Ok(found),
    }))
}

/// Reads all batches; how many there are.
fn walk(input: &[u8]) -> Result<usize, RecordError> {
    let mut found = 0;
    for raw in batches(input) {
        let raw = raw?;
        let _ = raw.verify_crc();
        let mut buffer = Vec::new();
        let payload = bounded(COST, || {
            let payload = Decompressor::new(DECOMPRESSED).payload(&raw, &mut buffer);
            payload.and_then(|payload| {
                read(&raw, payload.bytes(&raw, &buffer))?;
                Ok(payload)
            })
        })?;
        let payload = payload.bytes(&raw, &buffer);
        if payload.len() <= REBUILT {
            rebuild(&raw, payload)?;
        }
        found += 1;
    }
    Ok(found)
}

/// Walks the records, each a second time by its position.
fn read(raw: &RawBatch<'_>, payload: &[u8]) -> Result<(), RecordError> {
    let mut walk = records(payload, &raw.header);
    loop {
        let position = walk.position();
        let Some(record) = walk.next() else { return Ok(()) };
        let record = record?;
        for header in record.headers {
            header?;
        }
        let (again, next) = record_at(payload, position, &raw.header)?;
        assert_eq!((again.offset, next), (record.offset, walk.position()));
    }
}

/// The records of a sound batch are the same in a batch of our own.
fn rebuild(raw: &RawBatch<'_>, payload: &[u8]) -> Result<(), RecordError> {
    let sound: Vec<Record<'_>> = records(payload, &raw.header).collect::<Result<_, _>>()?;
    if sound.is_empty() {
        return Ok(());
    }
    let mut builder = BatchBuilder::new(Compression::None);
    for record in &sound {
        let headers: Vec<Header<'_>> = record.headers.collect::<Result<_, _>>()?;
        builder.append(record.timestamp, record.key, record.value, &headers)?;
    }
    let batch = builder.seal(-1, -1, -1, &mut Compressor::new())?;
    let raw = RawBatch::parse(&batch)?;
    raw.verify_crc()?;
    let again: Vec<Record<'_>> = records(raw.body(), &raw.header).collect::<Result<_, _>>()?;
    assert_eq!(sound.len(), again.len());
    for (record, again) in sound.iter().zip(&again) {
        assert_eq!((record.timestamp, record.key), (again.timestamp, again.key));
        assert_eq!(record.value, again.value);
        assert!(record.headers.eq(again.headers), "other headers");
    }
    Ok(())
}

/// A small batch with everything that a record may have.
pub(super) fn plain() -> Vec<u8> {
    batch(Compression::None, 3)
}

fn batch(compression: Compression, count: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for number in 0..count {
        let key = format!("key-{number}");
        let value = vec![number as u8; number % 50];
        let headers =
            [Header { key: "trace", value: Some(b"01-af") }, Header { key: "", value: None }];
        let key = (number % 3 != 1).then_some(key.as_bytes());
        let value = (number % 4 != 2).then_some(value.as_slice());
        let timestamp = 1_700_000_000_000 - 7 * number as i64;
        builder.append(timestamp, key, value, &headers[..number % 3]).expect("room");
    }
    let mut bytes = Vec::new();
    builder.finish(4_000, 1, 17, &mut Compressor::new(), &mut bytes).expect("seals");
    bytes
}

pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for compression in Compression::ALL {
        for count in [1, 3, 200] {
            let name = format!("{} {count}", compression.codec());
            entries.push(Entry::new(name, batch(compression, count)));
        }
    }
    let run = Compression::ALL.map(|compression| batch(compression, 5)).concat();
    entries.push(Entry::new("all kinds in a run", run.clone()));
    entries.push(Entry::new("cut off", &run[..run.len() - 9]));
    entries
}
