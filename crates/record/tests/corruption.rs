//! Foreign bytes: every fault is an error that names its place, never a panic or a large buffer.

mod foreign;

use onrush_record::{
    BatchBuilder, BatchHeader, Compression, CompressionFault, Compressor, Decompressor, HEADER_LEN,
    Header, Payload, RawBatch, RecordError, RecordFault, batches, record_at, records,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::foreign::{batch_around, reseal};

const LIMIT: usize = 1 << 20;

const COMPRESSIONS: [Compression; 5] = Compression::ALL;

/// A batch with everything that a record may have, long enough for two blocks when asked.
fn batch(compression: Compression, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for number in 0..records {
        let key = format!("key-{number}");
        let value = vec![number as u8; 40 + number % 90];
        let header = Header { key: "trace", value: Some(&value[..3]) };
        let null = Header { key: "", value: None };
        let key = (number % 3 != 0).then_some(key.as_bytes());
        let value = (number % 5 != 0).then_some(value.as_slice());
        let headers: &[Header<'_>] = if number % 2 == 0 { &[] } else { &[header, null] };
        builder.append(1_000 - number as i64, key, value, headers).unwrap();
    }
    let mut out = Vec::new();
    builder.finish(1, 2, 3, &mut Compressor::new(), &mut out).unwrap();
    out
}

/// Does all that a reader does, and returns how many records were sound.
fn read_all(bytes: &[u8]) -> Result<usize, RecordError> {
    let mut decompressor = Decompressor::new(LIMIT);
    let mut out = Vec::new();
    let mut found = 0;
    for raw in batches(bytes) {
        let raw = raw?;
        let payload = decompressor.payload(&raw, &mut out);
        assert!(out.capacity() <= LIMIT, "{} bytes", out.capacity());
        let payload = payload?.bytes(&raw, &out);
        for record in records(payload, &raw.header) {
            for header in record?.headers {
                header?;
            }
            found += 1;
        }
    }
    Ok(found)
}

fn verify_all(bytes: &[u8]) -> Result<(), RecordError> {
    batches(bytes).try_for_each(|raw| raw?.verify_crc())
}

fn mutations() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), 1..=u8::MAX), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_byte_is_an_error_or_cut_off(
        kind in 0..COMPRESSIONS.len(),
        count in 1..60usize,
        mutations in mutations(),
    ) {
        let sound = batch(COMPRESSIONS[kind], count);
        let mut bytes = sound.clone();
        for (index, flip) in &mutations {
            bytes[index.index(sound.len())] ^= flip;
        }
        let _ = read_all(&bytes);
        let covered = |range: std::ops::Range<usize>| bytes[range.clone()] != sound[range];
        if covered(8..12) || covered(16..sound.len()) {
            let mut rest = batches(&bytes);
            let first = rest.next();
            prop_assert!(
                first.is_none_or(|raw| raw.and_then(|raw| raw.verify_crc()).is_err()),
                "corruption was not noticed"
            );
        }
    }

    /// With a CRC that fits, faults reach decompression and the walk.
    #[test]
    fn a_changed_byte_under_a_right_crc_does_no_harm(
        kind in 0..COMPRESSIONS.len(),
        count in 1..60usize,
        mutations in mutations(),
    ) {
        let mut bytes = batch(COMPRESSIONS[kind], count);
        let len = bytes.len() - HEADER_LEN;
        for (index, flip) in &mutations {
            bytes[HEADER_LEN + index.index(len)] ^= flip;
        }
        reseal(&mut bytes);
        prop_assert_eq!(verify_all(&bytes), Ok(()));
        let _ = read_all(&bytes);
    }

    #[test]
    fn a_cut_is_seen(kind in 0..COMPRESSIONS.len(), count in 1..60usize, at: Index) {
        let whole = batch(COMPRESSIONS[kind], count);
        let cut = &whole[..at.index(whole.len())];
        let two = [whole.as_slice(), cut].concat();
        let mut walk = batches(&two);
        prop_assert_eq!(walk.next().map(|raw| raw.map(|raw| raw.bytes)), Some(Ok(whole.as_slice())));
        prop_assert!(walk.next().is_none());
        prop_assert_eq!(walk.remainder(), cut);
        prop_assert_eq!(walk.position(), whole.len());
        prop_assert!(RawBatch::parse(cut).is_err());
    }

    /// The records cut off anywhere, under a right length and CRC.
    #[test]
    fn cut_records_are_an_error(kind in 0..COMPRESSIONS.len(), count in 1..60usize, at: Index) {
        let mut bytes = batch(COMPRESSIONS[kind], count);
        bytes.truncate(HEADER_LEN + at.index(bytes.len() - HEADER_LEN));
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        reseal(&mut bytes);
        prop_assert_eq!(verify_all(&bytes), Ok(()));
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300), position: usize, count: i32) {
        let _ = read_all(&bytes);
        let mut header = BatchHeader::parse(&batch(Compression::None, 1)).unwrap();
        header.record_count = count;
        header.last_offset_delta = count;
        let _ = record_at(&bytes, position, &header);
        let _ = record_at(&bytes, position % 300, &header);
        for record in records(&bytes, &header).flatten() {
            record.headers.for_each(drop);
        }
    }

    /// Any bytes where compressed ones are expected, behind the start of a sound frame or not.
    #[test]
    fn any_bytes_decompress_to_at_most_the_limit(
        kind in 1..3usize,
        bytes in vec(any::<u8>(), 0..300),
        keep in 0..20usize,
    ) {
        let sound = batch(COMPRESSIONS[kind], 3);
        let start = &sound[HEADER_LEN..sound.len().min(HEADER_LEN + keep)];
        let batch = batch_around(COMPRESSIONS[kind], &[start, &bytes].concat());
        let _ = read_all(&batch);
    }
}

#[test]
fn sound_batches_are_read() {
    for compression in COMPRESSIONS {
        let bytes = batch(compression, 60);
        assert_eq!(verify_all(&bytes), Ok(()));
        assert_eq!(read_all(&bytes), Ok(60));
    }
}

#[test]
fn header_faults_name_the_place() {
    let sound = batch(Compression::None, 2);
    let at = sound.len();
    let fault = |offset: usize, field: &[u8]| {
        let mut bytes = [sound.as_slice(), sound.as_slice()].concat();
        bytes[at + offset..at + offset + field.len()].copy_from_slice(field);
        batches(&bytes).nth(1).unwrap().unwrap_err()
    };
    let (position, base_offset) = (at, 0);
    let impossible =
        |field, value| RecordError::HeaderField { position, base_offset, field, value };
    let cases = [
        (fault(16, &[1]), RecordError::UnsupportedMagic { position, base_offset, magic: 1 }),
        (
            fault(8, &48i32.to_be_bytes()),
            RecordError::BatchLength { position, base_offset, length: 48 },
        ),
        (
            fault(8, &i32::MIN.to_be_bytes()),
            RecordError::BatchLength { position, base_offset, length: i32::MIN },
        ),
        (fault(21, &[0, 7]), RecordError::UnknownCodec { position, base_offset, id: 7 }),
        (fault(23, &(-1i32).to_be_bytes()), impossible("last offset delta", -1)),
        (fault(57, &(-1i32).to_be_bytes()), impossible("record count", -1)),
        (fault(57, &3i32.to_be_bytes()), impossible("record count", 3)),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    let RecordError::HeaderField { field, value, .. } = fault(0, &(-5i64).to_be_bytes()) else {
        panic!("a negative base offset is no batch");
    };
    assert_eq!((field, value), ("base offset", -5));
}

#[test]
fn an_error_ends_the_iteration() {
    let mut bytes = batch(Compression::None, 2);
    bytes[16] = 9;
    let mut walk = batches(&bytes);
    assert!(walk.next().is_some_and(|raw| raw.is_err()));
    assert!(walk.next().is_none());
    assert_eq!(walk.remainder(), bytes);
}

#[test]
fn a_wrong_crc_names_both() {
    let mut bytes = batch(Compression::None, 2);
    let sound = BatchHeader::parse(&bytes).unwrap().crc;
    bytes[17..21].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    let expected =
        RecordError::Crc { position: 0, base_offset: 0, stated: 0xdead_beef, computed: sound };
    assert_eq!(verify_all(&bytes), Err(expected));
}

/// Walks hand-written records under the header of a batch with `count` records.
fn walk(payload: &[u8], count: i32) -> Result<usize, (usize, RecordFault)> {
    let mut header = BatchHeader::parse(&batch(Compression::None, 1)).unwrap();
    header.record_count = count;
    header.last_offset_delta = count - 1;
    let mut walk = records(payload, &header);
    let mut found = 0;
    for record in &mut walk {
        let sound =
            record.and_then(|mut record| record.headers.try_for_each(|header| header.map(drop)));
        match sound {
            Ok(()) => found += 1,
            Err(RecordError::Record { position, fault, .. }) => return Err((position, fault)),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(walk.next().is_none());
    Ok(found)
}

#[test]
fn record_faults_name_the_place() {
    // length 6: attributes, timestamp, offset, null key, null value, no headers
    let first = [12, 0, 0, 0, 1, 1, 0];
    let second = [12, 0, 0, 2, 1, 1, 0];
    let both = [first, second].concat();
    assert_eq!(walk(&both, 2), Ok(2));
    let delta = |delta, lowest, highest| RecordFault::OffsetDelta { delta, lowest, highest };
    let cases: [(&[u8], i32, usize, RecordFault); 16] = [
        (&both, 1, 7, RecordFault::TrailingBytes(7)),
        (&both, 3, 14, RecordFault::RecordCount { stated: 3, found: 2 }),
        (&[first, first].concat(), 2, 10, delta(0, 1, 1)),
        (&second, 1, 3, delta(1, 0, 0)),
        (&[12, 0, 0, 1, 1, 1, 0], 1, 3, delta(-1, 0, 0)),
        (&[14, 0, 0, 0, 1, 1, 0], 1, 0, RecordFault::Truncated),
        (&[1, 0, 0, 0, 1, 1, 0], 1, 0, RecordFault::Length(-1)),
        (&[0], 1, 1, RecordFault::Truncated),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0], 1, 0, RecordFault::Varint),
        (&[12, 0, 0, 0, 3, 1, 0], 1, 4, RecordFault::Length(-2)),
        (&[12, 0, 0, 0, 1, 9, 0], 1, 5, RecordFault::Length(-5)),
        (&[12, 0, 0, 0, 8, 1, 0], 1, 4, RecordFault::Truncated),
        (&[14, 0, 0, 0, 1, 1, 0, 0], 1, 7, RecordFault::TrailingBytes(1)),
        (&[12, 0, 0, 0, 1, 1, 1], 1, 6, RecordFault::HeaderCount(-1)),
        (&[16, 0, 0, 0, 1, 1, 4, 0, 1], 1, 6, RecordFault::HeaderCount(2)),
        (&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], 1, 7, RecordFault::HeaderKey),
    ];
    for (payload, count, position, fault) in cases {
        assert_eq!(walk(payload, count), Err((position, fault)), "{payload:?}");
    }
    let cases: [(&[u8], usize, RecordFault); 3] = [
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], 7, RecordFault::Length(-1)),
        (&[20, 0, 0, 0, 1, 1, 2, 2, b'k', 1, 0], 10, RecordFault::TrailingBytes(1)),
        (&[18, 0, 0, 0, 1, 1, 2, 2, b'k', 2], 9, RecordFault::Truncated),
    ];
    for (payload, position, fault) in cases {
        assert_eq!(walk(payload, 1), Err((position, fault)), "{payload:?}");
    }
}

#[test]
fn a_position_outside_is_an_error() {
    let bytes = batch(Compression::None, 3);
    let raw = RawBatch::parse(&bytes).unwrap();
    for position in [raw.body().len(), usize::MAX] {
        let error = record_at(raw.body(), position, &raw.header).unwrap_err();
        let fault = RecordFault::Position;
        assert_eq!(error, RecordError::Record { position, base_offset: 0, fault });
    }
}

#[test]
fn a_batch_that_lost_all_records_needs_no_decompression() {
    for compression in COMPRESSIONS {
        let mut bytes = batch_around(compression, &[]);
        bytes[57..61].copy_from_slice(&[0; 4]);
        reseal(&mut bytes);
        assert_eq!(read_all(&bytes), Ok(0));
    }
}

#[test]
fn bombs_are_refused_and_never_allocated() {
    let zeros = vec![0; 4 * LIMIT];
    let sized = zstd::bulk::compress(&zeros, 1).unwrap();
    let unsized_ = zstd::stream::encode_all(zeros.as_slice(), 1).unwrap();
    let mut lz4 = Vec::new();
    lz4::EncoderBuilder::new()
        .block_mode(lz4::BlockMode::Independent)
        .build(&mut lz4)
        .map(|mut encoder| {
            std::io::Write::write_all(&mut encoder, &zeros).unwrap();
            encoder.finish().1.unwrap();
        })
        .unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &zeros).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    let bombs = [
        (Compression::Gzip { level: 1 }, gzip.finish().unwrap()),
        (Compression::Snappy, snappy),
        (Compression::Zstd { level: 1 }, sized),
        (Compression::Zstd { level: 1 }, unsized_),
        (Compression::Lz4, lz4),
    ];
    for (compression, body) in bombs {
        let bytes = batch_around(compression, &body);
        let expected = RecordError::TooLarge { position: 0, base_offset: 0, limit: LIMIT };
        assert_eq!(read_all(&bytes), Err(expected));
    }
}

#[test]
fn the_limit_itself_is_allowed() {
    for (compression, limit) in COMPRESSIONS.into_iter().flat_map(|c| [(c, 0), (c, 1)]) {
        let bytes = batch(compression, 60);
        let raw = RawBatch::parse(&bytes).unwrap();
        let mut out = Vec::new();
        let payload = Decompressor::new(LIMIT).payload(&raw, &mut out).unwrap();
        let len = out.len();
        if payload == Payload::InPlace {
            continue;
        }
        // A buffer that is larger already must not hide that the limit is passed.
        let result = Decompressor::new(len - limit).payload(&raw, &mut out);
        assert_eq!(result.is_ok(), limit == 0, "{compression:?}");
        let result = Decompressor::new(len - limit).payload(&raw, &mut Vec::new());
        assert_eq!(result.is_ok(), limit == 0, "{compression:?}");
    }
}

#[test]
fn lz4_faults_name_the_place() {
    let sound = batch(Compression::Lz4, 3);
    let frame = &sound[HEADER_LEN..];
    let case = |at: usize, byte: u8| {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        match read_all(&batch_around(Compression::Lz4, &frame)) {
            Err(RecordError::Compressed { position, fault, .. }) => (position - HEADER_LEN, fault),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(case(0, 0), (0, CompressionFault::Magic));
    assert_eq!(case(4, 0x20).1, CompressionFault::FrameHeader);
    assert_eq!(case(4, 0x61).1, CompressionFault::Dictionary);
    assert_eq!(case(5, 0x30).1, CompressionFault::FrameHeader);
    assert_eq!(case(6, 0).1, CompressionFault::FrameHeader);
    assert!(matches!(case(9, 0xff).1, CompressionFault::BlockLength(_)));
    assert_eq!(case(8, frame[8] + 1).1, CompressionFault::Truncated);
}
