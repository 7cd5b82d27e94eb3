//! LZ4 frames in all the ways that Kafka clients write them.

mod bodies;
mod foreign;

use std::io::Write;

use lz4::liblz4::BlockChecksum;
use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};
use onrush_record::{Compression, CompressionFault, RecordError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bodies::{LIMIT, fault, is_read, runs};

#[derive(Debug, Clone)]
struct Style {
    linked: bool,
    block: usize,
    content_checksum: bool,
    block_checksum: bool,
    content_size: bool,
}

fn style() -> impl Strategy<Value = Style> {
    (any::<bool>(), 0..4usize, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(linked, block, content_checksum, block_checksum, content_size)| Style {
            linked,
            block,
            content_checksum,
            block_checksum,
            content_size,
        },
    )
}

fn frame(content: &[u8], style: &Style) -> Vec<u8> {
    let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
    let mut builder = EncoderBuilder::new();
    builder
        .block_mode(if style.linked { BlockMode::Linked } else { BlockMode::Independent })
        .block_size(sizes[style.block].clone())
        .checksum(if style.content_checksum {
            ContentChecksum::ChecksumEnabled
        } else {
            ContentChecksum::NoChecksum
        })
        .block_checksum(if style.block_checksum {
            BlockChecksum::BlockChecksumEnabled
        } else {
            BlockChecksum::NoBlockChecksum
        });
    if style.content_size {
        builder.content_size(content.len() as u64);
    }
    let mut encoder = builder.build(Vec::new()).unwrap();
    encoder.write_all(content).unwrap();
    let (frame, result) = encoder.finish();
    result.unwrap();
    frame
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    bodies::decompress(Compression::Lz4, body, LIMIT, &mut out).map(|()| out)
}

/// Text of few letters, for matches of every length and distance, or long runs.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let words = vec((vec(b'a'..b'e', 1..12), 1..900usize), 0..40)
        .prop_map(|runs| runs.into_iter().flat_map(|(word, times)| word.repeat(times)).collect());
    prop_oneof![words, runs()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_style_is_read(frames in vec((content(), style()), 1..4)) {
        let body: Vec<u8> =
            frames.iter().flat_map(|(content, style)| frame(content, style)).collect();
        let expected: Vec<u8> = frames.iter().flat_map(|(content, _)| content.clone()).collect();
        prop_assume!(expected.len() <= LIMIT);
        is_read(Compression::Lz4, &body, &expected, b"left")?;
    }

    #[test]
    fn corrupt_frames_do_no_harm(
        content in content(),
        style in style(),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let mut body = frame(&content, &style);
        let at = at.index(body.len());
        body[at] ^= flip;
        let _ = decompress(&body);
        let _ = decompress(&body[..at]);
    }
}

#[test]
fn blocks_refer_back_to_earlier_ones() {
    let style = Style {
        linked: true,
        block: 0,
        content_checksum: true,
        block_checksum: false,
        content_size: false,
    };
    let word: Vec<u8> =
        (0..40_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let content = word.repeat(8);
    let body = frame(&content, &style);
    assert!(body.len() < 2 * word.len(), "the blocks are not linked");
    assert!(decompress(&body).unwrap() == content);
}

#[test]
fn a_wrong_content_size_is_refused() {
    let style = Style {
        linked: false,
        block: 0,
        content_checksum: false,
        block_checksum: false,
        content_size: true,
    };
    let short = frame(b"four", &style);
    let long = frame(b"five!", &style);
    // The header of one frame and the blocks of the other.
    let mixed = [&short[..15], &long[15..]].concat();
    assert_eq!(fault(Compression::Lz4, &mixed).1, CompressionFault::ContentSize);
}
