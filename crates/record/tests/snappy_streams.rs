//! Snappy in all the ways that Kafka clients write it.

mod bodies;
mod foreign;

use onrush_record::{Compression, CompressionFault, RecordError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bodies::{LIMIT, decompress, fault, is_read, runs};

const SNAPPY: Compression = Compression::Snappy;
const HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

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
        blocks in vec((runs(), any::<bool>()), 1..5),
        left in vec(any::<u8>(), 0..100),
    ) {
        let mut body = HEADER.to_vec();
        let mut expected = Vec::new();
        for (content, again) in &blocks {
            if *again {
                body.extend(HEADER);
            }
            body.extend(framed(content));
            expected.extend(content);
        }
        is_read(SNAPPY, &body, &expected, &left)?;
    }
}

#[test]
fn a_bare_block_is_read() {
    let content = b"as librdkafka writes it, without any framing around it: ".repeat(50);
    let mut out = Vec::new();
    decompress(SNAPPY, &block(&content), LIMIT, &mut out).unwrap();
    assert_eq!(out, content);
}

#[test]
fn a_stated_size_that_no_block_can_have_makes_no_room() {
    let mut out = Vec::new();
    let error = decompress(SNAPPY, &[0x80, 0x80, 0x80, 0x02, 0xfe], LIMIT, &mut out).unwrap_err();
    let fault = CompressionFault::ContentSize;
    assert!(matches!(error, RecordError::Compressed { fault: f, .. } if f == fault), "{error}");
    assert_eq!(out.capacity(), 0);
}

#[test]
fn faults_name_the_place() {
    let case = |body: &[u8]| fault(SNAPPY, body);
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
