//! Zstandard frames in all the ways that Kafka clients write them.

mod bodies;
mod foreign;

use onrush_record::{Compression, CompressionFault, RecordError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bodies::{LIMIT, decompress, fault, is_read, runs};

const ZSTD: Compression = Compression::Zstd { level: 1 };

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
        frames in vec((runs(), any::<bool>()), 1..4),
        left in vec(any::<u8>(), 0..100),
    ) {
        let mut body = Vec::new();
        let mut expected = Vec::new();
        for (content, sized) in &frames {
            body.extend(frame(content, *sized));
            expected.extend(content);
        }
        is_read(ZSTD, &body, &expected, &left)?;
    }
}

#[test]
fn a_size_above_the_limit_is_refused_before_room_is_made() {
    let body = frame(&vec![0; LIMIT + 1], true);
    let mut out = Vec::new();
    let error = decompress(ZSTD, &body, LIMIT, &mut out).unwrap_err();
    assert_eq!(error, RecordError::TooLarge { position: 0, base_offset: 0, limit: LIMIT });
    assert_eq!(out.capacity(), 0);
}

#[test]
fn what_is_no_frame_is_named() {
    let case = |body: &[u8]| fault(ZSTD, body);
    let sound = frame(b"content", true);
    assert_eq!(case(b"no frame at all"), (0, CompressionFault::FrameHeader));
    assert_eq!(case(&sound[..3]), (0, CompressionFault::FrameHeader));
    assert_eq!(case(&sound[..sound.len() - 1]), (0, CompressionFault::Block));
}
