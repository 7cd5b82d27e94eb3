//! Zstandard frames in all the ways that Kafka clients write them.

mod foreign;

use onrush_record::{
    Compression, CompressionFault, Decompressor, HEADER_LEN, RawBatch, RecordError,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::foreign::batch_around;

const LIMIT: usize = 8 << 20;

fn decompress(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let bytes = batch_around(Compression::Zstd { level: 1 }, body);
    let raw = RawBatch::parse(&bytes)?;
    Decompressor::new(limit).payload(&raw, out).map(drop)
}

fn frame(content: &[u8], sized: bool) -> Vec<u8> {
    if sized {
        zstd::bulk::compress(content, 1).unwrap()
    } else {
        zstd::stream::encode_all(content, 1).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Frames with and without their size, one after another, into a buffer of any state.
    #[test]
    fn every_run_of_frames_is_read(
        frames in vec((vec((any::<u8>(), 0..90_000usize), 0..8), any::<bool>()), 1..4),
        left in vec(any::<u8>(), 0..100),
    ) {
        let mut body = Vec::new();
        let mut expected = Vec::new();
        for (runs, sized) in &frames {
            let content: Vec<u8> =
                runs.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect();
            body.extend(frame(&content, *sized));
            expected.extend(content);
        }
        let mut out = left.clone();
        decompress(&body, LIMIT, &mut out).unwrap();
        prop_assert!(out == expected);
        prop_assert!(out.capacity() <= LIMIT);

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
fn a_size_above_the_limit_is_refused_before_room_is_made() {
    let body = frame(&vec![0; LIMIT + 1], true);
    let mut out = Vec::new();
    let error = decompress(&body, LIMIT, &mut out).unwrap_err();
    assert_eq!(error, RecordError::TooLarge { position: 0, base_offset: 0, limit: LIMIT });
    assert_eq!(out.capacity(), 0);
}

#[test]
fn what_is_no_frame_is_named() {
    let case = |body: &[u8]| match decompress(body, LIMIT, &mut Vec::new()) {
        Err(RecordError::Compressed { position, fault, .. }) => (position, fault),
        other => panic!("{other:?}"),
    };
    let sound = frame(b"content", true);
    assert_eq!(case(b"no frame at all"), (HEADER_LEN, CompressionFault::FrameHeader));
    assert_eq!(case(&sound[..3]), (HEADER_LEN, CompressionFault::FrameHeader));
    assert_eq!(case(&sound[..sound.len() - 1]), (HEADER_LEN, CompressionFault::Block));
}
