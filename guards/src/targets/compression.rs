//! Compressed records: the body of a batch that names the codec.

use std::io::Write;

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use onrush_record::header::{LENGTH_END, set_producer};
use onrush_record::{
    BatchBuilder, Compression, Compressor, Decompressor, HEADER_LEN, RawBatch, RecordError, records,
};

use crate::Verdict;
use crate::corpus::Entry;
use crate::memory::bounded;

/// Most bytes that the records of a batch may become.
const DECOMPRESSED: usize = 1 << 20;
/// A buffer that grows is twice there for a moment; the rest is for the contexts of the codecs.
const COST: usize = 2 * DECOMPRESSED + (512 << 10);

pub(crate) fn gzip(input: &[u8]) -> Verdict {
    check(Compression::Gzip { level: 1 }, input)
}

pub(crate) fn snappy(input: &[u8]) -> Verdict {
    check(Compression::Snappy, input)
}

pub(crate) fn lz4(input: &[u8]) -> Verdict {
    check(Compression::Lz4, input)
}

pub(crate) fn zstd(input: &[u8]) -> Verdict {
    check(Compression::Zstd { level: 1 }, input)
}

fn check(compression: Compression, body: &[u8]) -> Verdict {
    let batch = batch_around(compression, body);
    let content = bounded(COST, || decompressed(&batch));
    if let Ok(content) = &content {
        assert!(content.len() <= DECOMPRESSED, "{} bytes", content.len());
        assert_eq!(through_our_own(compression, content), *content, "another content");
    }
    Verdict::from(&content)
}

fn decompressed(batch: &[u8]) -> Result<Vec<u8>, RecordError> {
    let raw = RawBatch::parse(batch)?;
    let mut buffer = Vec::new();
    Decompressor::new(DECOMPRESSED).payload(&raw, &mut buffer)?;
    Ok(buffer)
}

/// What comes back of a value that we compress and decompress.
fn through_our_own(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    builder.append(0, None, Some(content), &[]).expect("room");
    let batch = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("seals");
    let raw = RawBatch::parse(&batch).expect("sound");
    let mut buffer = Vec::new();
    let payload = Decompressor::new(2 * DECOMPRESSED).payload(&raw, &mut buffer).expect("sound");
    let record = records(payload.bytes(&raw, &buffer), &raw.header).next();
    record.expect("a record").expect("a sound record").value.unwrap_or_default().to_vec()
}

/// A batch that says it has a record, around bytes that may be anything.
fn batch_around(compression: Compression, body: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    builder.append(0, None, None, &[]).expect("room");
    let mut bytes = Vec::new();
    builder.finish(-1, -1, -1, &mut Compressor::new(), &mut bytes).expect("seals");
    bytes.truncate(HEADER_LEN);
    bytes.extend_from_slice(body);
    let length = (bytes.len() - LENGTH_END) as i32;
    bytes[LENGTH_END - 4..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    set_producer(&mut bytes, -1, -1, -1);
    bytes
}

/// Contents of the kinds that codecs treat differently.
fn contents() -> [(&'static str, Vec<u8>); 5] {
    let text = |count: usize| {
        (0..count).flat_map(|at| format!("event {at} of key {}; ", at % 7).into_bytes())
    };
    let noise = |count| {
        let random = onrush_runtime::Random::seeded(5);
        std::iter::repeat_with(move || random.next_u64() as u8).take(count)
    };
    [
        ("empty", Vec::new()),
        ("short", b"a few bytes".to_vec()),
        ("text", text(300).collect()),
        ("noise", noise(2_000).collect()),
        ("blocks", text(1_500).chain(noise(100)).chain(vec![0; 40_000]).collect()),
    ]
}

/// What `encode` makes of each content, and of all of them in a row.
fn encoded(form: &str, encode: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Entry> {
    contents()
        .map(|(name, content)| Entry::new(format!("{form} {name}"), encode(&content)))
        .into_iter()
        .collect()
}

/// All entries in one run, for the formats in which that is valid.
fn in_a_row(entries: &[Entry]) -> Entry {
    let all: Vec<&[u8]> = entries.iter().map(|entry| entry.bytes.as_slice()).collect();
    Entry::new("in a row", all.concat())
}

/// As our own compressor writes it.
fn ours(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    builder.append(0, None, Some(content), &[]).expect("room");
    let batch = builder.seal(-1, -1, -1, &mut Compressor::new()).expect("seals");
    batch[HEADER_LEN..].to_vec()
}

pub(crate) fn gzip_entries() -> Vec<Entry> {
    let member = |content: &[u8], mut encoder: GzEncoder<Vec<u8>>| {
        encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory is written")
    };
    let level = flate2::Compression::new;
    let mut all =
        encoded("stored", |content| member(content, GzEncoder::new(Vec::new(), level(0))));
    all.extend(encoded("fast", |content| member(content, GzEncoder::new(Vec::new(), level(1)))));
    all.extend(encoded("dressed", |content| {
        let header = GzBuilder::new().extra(b"extra".as_slice()).filename("name").comment("more");
        member(content, header.mtime(7).write(Vec::new(), level(9)))
    }));
    all.push(in_a_row(&all));
    all.extend(encoded("ours", |content| ours(Compression::Gzip { level: 6 }, content)));
    all
}

pub(crate) fn snappy_entries() -> Vec<Entry> {
    let mut all = encoded("ours", |content| ours(Compression::Snappy, content));
    all.push(in_a_row(&all));
    all.extend(encoded("bare", |content| {
        snap::raw::Encoder::new().compress_vec(content).expect("short enough")
    }));
    all
}

pub(crate) fn lz4_entries() -> Vec<Entry> {
    use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};

    let frame = |content: &[u8], mode, checksum| {
        let mut builder = EncoderBuilder::new();
        builder.block_mode(mode).block_size(BlockSize::Max64KB).checksum(checksum);
        let mut encoder = builder.build(Vec::new()).expect("memory");
        encoder.write_all(content).expect("memory is written");
        encoder.finish().0
    };
    let mut all = encoded("independent", |content| {
        frame(content, BlockMode::Independent, ContentChecksum::NoChecksum)
    });
    all.extend(encoded("linked", |content| {
        frame(content, BlockMode::Linked, ContentChecksum::ChecksumEnabled)
    }));
    all.push(in_a_row(&all));
    all.extend(encoded("ours", |content| ours(Compression::Lz4, content)));
    all
}

pub(crate) fn zstd_entries() -> Vec<Entry> {
    let mut all =
        encoded("sized", |content| zstd::bulk::compress(content, 3).expect("memory is written"));
    all.extend(encoded("unsized", |content| {
        zstd::stream::encode_all(content, 9).expect("memory is written")
    }));
    all.push(in_a_row(&all));
    all.extend(encoded("ours", |content| ours(Compression::Zstd { level: 3 }, content)));
    all
}
