//! Snappy in all the ways that Kafka clients write it.

mod foreign;

use onrush_record::{
    Compression, CompressionFault, Decompressor, HEADER_LEN, RawBatch, RecordError,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::foreign::batch_around;

const LIMIT: usize = 8 << 20;
const HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

fn decompress(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let bytes = batch_around(Compression::Snappy, body);
    let raw = RawBatch::parse(&bytes)?;
    Decompressor::new(limit).payload(&raw, out).map(drop)
}

fn block(content: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(content).unwrap()
}

fn framed(content: &[u8]) -> Vec<u8> {
    let block = block(content);
    [&(block.len() as u32).to_be_bytes()[..], &block].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Blocks of any size, the header again between them or not, into a buffer of any state.
    #[test]
    fn every_run_of_blocks_is_read(
        blocks in vec((vec((any::<u8>(), 0..90_000usize), 0..8), any::<bool>()), 1..5),
        left in vec(any::<u8>(), 0..100),
    ) {
        let mut body = HEADER.to_vec();
        let mut expected = Vec::new();
        for (runs, again) in &blocks {
            let content: Vec<u8> =
                runs.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect();
            if *again {
                body.extend(HEADER);
            }
            body.extend(framed(&content));
            expected.extend(content);
        }
        let mut out = left.clone();
        decompress(&body, LIMIT, &mut out).unwrap();
        prop_assert!(out == expected);

        let mut exact = Vec::new();
        decompress(&body, expected.len(), &mut exact).unwrap();
        prop_assert!(exact == expected);
        prop_assert!(exact.capacity() <= expected.len());
        if let Some(less) = expected.len().checked_sub(1) {
            let error = decompress(&body, less, &mut Vec::new()).unwrap_err();
            prop_assert!(matches!(error, RecordError::TooLarge { .. }), "{}", error);
        }
    }
}

#[test]
fn a_bare_block_is_read() {
    let content = b"as librdkafka writes it, without any framing around it: ".repeat(50);
    let mut out = Vec::new();
    decompress(&block(&content), LIMIT, &mut out).unwrap();
    assert_eq!(out, content);
}

#[test]
fn a_stated_size_that_no_block_can_have_makes_no_room() {
    let mut out = Vec::new();
    let error = decompress(&[0x80, 0x80, 0x80, 0x02, 0xfe], LIMIT, &mut out).unwrap_err();
    let fault = CompressionFault::ContentSize;
    assert!(matches!(error, RecordError::Compressed { fault: f, .. } if f == fault), "{error}");
    assert_eq!(out.capacity(), 0);
}

#[test]
fn faults_name_the_place() {
    let case = |body: &[u8]| match decompress(body, LIMIT, &mut Vec::new()) {
        Err(RecordError::Compressed { position, fault, .. }) => (position - HEADER_LEN, fault),
        other => panic!("{other:?}"),
    };
    let stream = [HEADER.as_slice(), &framed(b"content"), &framed(b"more")].concat();
    let second = HEADER.len() + framed(b"content").len();
    assert_eq!(case(&stream[..stream.len() - 1]), (second, CompressionFault::Truncated));
    assert_eq!(case(&stream[..second + 3]), (second, CompressionFault::Truncated));
    assert_eq!(case(&HEADER[..12]), (12, CompressionFault::Truncated));
    let mut unknown = stream.clone();
    unknown[11] = 0;
    assert_eq!(case(&unknown), (HEADER.len(), CompressionFault::FrameHeader));
    let mut corrupt = stream;
    corrupt[HEADER.len() + 4] += 1;
    assert_eq!(case(&corrupt), (HEADER.len(), CompressionFault::Block));
    assert_eq!(case(&[]), (0, CompressionFault::Block));
}
