//! Batches against a codec that is not ours, both ways.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, NO_PARTITION_LEADER_EPOCH, Record as TheirRecord,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use onrush_record::{
    BatchBuilder, BatchHeader, Compression, Compressor, Decompressor, Header, RawBatch, Record,
    batches, record_at, records,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

const LIMIT: usize = 64 << 20;

/// An event as a test states it.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Event {
    fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect()
    }

    fn of_ours(record: &Record<'_>) -> Event {
        Event {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .map(|header| header.expect("headers are sound"))
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    fn of_theirs(record: &TheirRecord) -> Event {
        Event {
            timestamp: record.timestamp,
            key: record.key.as_ref().map(|key| key.to_vec()),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| (key.to_string(), value.as_ref().map(|value| value.to_vec())))
                .collect(),
        }
    }

    fn theirs(&self, offset: i64) -> TheirRecord {
        let headers: IndexMap<_, _> = self
            .headers
            .iter()
            .map(|(key, value)| {
                (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from))
            })
            .collect();
        TheirRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: 7,
            producer_epoch: 3,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: offset as i32,
            timestamp: self.timestamp,
            key: self.key.clone().map(Bytes::from),
            value: self.value.clone().map(Bytes::from),
            headers,
        }
    }
}

/// Bytes of any content, of repeated content, and long enough for several compressed blocks.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..200),
        4 => (any::<u8>(), 0..20_000usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u32>(), 0..80_000usize).prop_map(|(seed, len)| noise(seed, len)),
    ]
}

/// Bytes that do not compress.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(len)
    .collect()
}

fn event() -> impl Strategy<Value = Event> {
    let timestamp =
        prop_oneof![Just(0), 1_700_000_000_000..1_700_000_100_000i64, -(1i64 << 61)..(1i64 << 61),];
    let headers = btree_map("\\PC{0,12}", option::of(vec(any::<u8>(), 0..20)), 0..4);
    (timestamp, option::of(content()), option::of(content()), headers).prop_map(
        |(timestamp, key, value, headers)| Event {
            timestamp,
            key,
            value,
            headers: headers.into_iter().collect(),
        },
    )
}

fn compression() -> impl Strategy<Value = (Compression, TheirCompression)> {
    prop_oneof![
        Just((Compression::None, TheirCompression::None)),
        (0..10).prop_map(|level| (Compression::Gzip { level }, TheirCompression::Gzip)),
        Just((Compression::Snappy, TheirCompression::Snappy)),
        Just((Compression::Lz4, TheirCompression::Lz4)),
        (-5..10).prop_map(|level| (Compression::Zstd { level }, TheirCompression::Zstd)),
    ]
}

fn append(builder: &mut BatchBuilder, event: &Event) {
    let (key, value, headers) = (event.key.as_deref(), event.value.as_deref(), event.headers());
    let before = builder.len();
    builder.append(event.timestamp, key, value, &headers).expect("room");
    assert!(builder.len() - before <= BatchBuilder::estimate(key, value, &headers));
}

/// Walks a batch, and reads each record a second time by its position.
fn walk(
    raw: &RawBatch<'_>,
    decompressor: &mut Decompressor,
    out: &mut Vec<u8>,
) -> Vec<(i64, Event)> {
    raw.verify_crc().expect("CRC");
    let payload = decompressor.payload(raw, out).expect("decompresses");
    let payload = payload.bytes(raw, out);
    let mut walk = records(payload, &raw.header);
    let mut found = Vec::new();
    loop {
        let position = walk.position();
        let Some(record) = walk.next() else { break };
        let record = record.expect("sound record");
        let (again, next) = record_at(payload, position, &raw.header).expect("sound record");
        assert_eq!(next, walk.position());
        assert_eq!(
            (again.offset, Event::of_ours(&again)),
            (record.offset, Event::of_ours(&record))
        );
        found.push((record.offset, Event::of_ours(&record)));
    }
    assert_eq!(walk.position(), payload.len());
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_we_build_they_decode(
        batch in vec(event(), 1..30),
        (ours, theirs) in compression(),
        handed_out: bool,
    ) {
        let mut builder = BatchBuilder::new(ours);
        let mut compressor = Compressor::new();
        batch.iter().for_each(|event| append(&mut builder, event));
        prop_assert_eq!(builder.record_count() as usize, batch.len());
        let mut bytes = if handed_out {
            builder.seal(7, 3, 11, &mut compressor).unwrap().freeze()
        } else {
            let mut out = Vec::new();
            builder.finish(7, 3, 11, &mut compressor, &mut out).unwrap();
            Bytes::from(out)
        };
        prop_assert!(builder.is_empty());
        let header = BatchHeader::parse(&bytes).unwrap();
        prop_assert_eq!(header.base_timestamp, batch[0].timestamp);
        prop_assert_eq!(Some(header.max_timestamp), batch.iter().map(|e| e.timestamp).max());
        prop_assert_eq!(header.last_offset() as usize, batch.len() - 1);

        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.compression, theirs);
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(set.records.len(), batch.len());
        for (index, (record, event)) in set.records.iter().zip(&batch).enumerate() {
            prop_assert_eq!(&Event::of_theirs(record), event);
            prop_assert_eq!(record.offset, index as i64);
            prop_assert_eq!(record.sequence, 11 + index as i32);
            prop_assert_eq!((record.producer_id, record.producer_epoch), (7, 3));
            prop_assert_eq!(record.partition_leader_epoch, NO_PARTITION_LEADER_EPOCH);
        }
    }

    #[test]
    fn what_they_build_we_walk(
        runs in vec(vec(event(), 1..20), 1..4),
        (_, theirs) in compression(),
        base in 0..i64::from(i32::MAX) - 1000,
    ) {
        let options = RecordEncodeOptions { version: 2, compression: theirs };
        let mut bytes = BytesMut::new();
        let mut offset = base;
        let mut expected = Vec::new();
        for run in &runs {
            let theirs: Vec<_> = (offset..).zip(run).map(|(at, event)| event.theirs(at)).collect();
            RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
            expected.extend((offset..).zip(run.iter().cloned()));
            offset += run.len() as i64;
        }

        let mut decompressor = Decompressor::new(LIMIT);
        let mut out = Vec::new();
        let mut found = Vec::new();
        let mut batches = batches(&bytes);
        let mut position = 0;
        for raw in &mut batches {
            let raw = raw.unwrap();
            prop_assert_eq!(raw.position, position);
            position += raw.bytes.len();
            let header = raw.header;
            prop_assert_eq!((header.producer_id, header.producer_epoch), (7, 3));
            prop_assert_eq!(i64::from(header.base_sequence), header.base_offset);
            let from = found.len();
            found.extend(walk(&raw, &mut decompressor, &mut out));
            prop_assert_eq!(header.record_count as usize, found.len() - from);
            prop_assert_eq!(header.last_offset(), found.last().unwrap().0);
            let latest = found[from..].iter().map(|(_, event)| event.timestamp).max();
            prop_assert_eq!(Some(header.max_timestamp), latest);
        }
        prop_assert!(batches.remainder().is_empty());
        prop_assert_eq!(found, expected);
    }

    /// One builder, one compressor and one decompressor for batches of every kind in turn.
    #[test]
    fn what_is_used_again_starts_afresh(runs in vec((vec(event(), 1..10), compression()), 1..6)) {
        let mut compressor = Compressor::new();
        let mut decompressor = Decompressor::new(LIMIT);
        let mut builders = std::collections::BTreeMap::new();
        let mut out = Vec::new();
        for (run, (ours, theirs)) in &runs {
            let builder = builders
                .entry(*theirs as u8)
                .or_insert_with(|| BatchBuilder::with_capacity(*ours, 4096));
            run.iter().for_each(|event| append(builder, event));
            let batch = builder.seal(-1, -1, -1, &mut compressor).unwrap();
            let found = walk(&RawBatch::parse(&batch).unwrap(), &mut decompressor, &mut out);
            let expected: Vec<_> = (0..).zip(run.iter().cloned()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
