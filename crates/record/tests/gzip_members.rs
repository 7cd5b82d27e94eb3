//! Gzip members in all the ways that Kafka clients write them.

mod bodies;
mod foreign;

use std::io::Write;

use flate2::{GzBuilder, write::GzEncoder};
use onrush_record::{Compression, CompressionFault};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::bodies::{fault, is_read, runs};

const GZIP: Compression = Compression::Gzip { level: 1 };

/// With every optional field of a header, or with none.
fn member(content: &[u8], level: u32, dressed: bool) -> Vec<u8> {
    let level = flate2::Compression::new(level);
    let mut encoder: GzEncoder<Vec<u8>> = match dressed {
        true => GzBuilder::new()
            .extra(b"extra".as_slice())
            .filename("name")
            .comment("comment")
            .mtime(7)
            .write(Vec::new(), level),
        false => GzEncoder::new(Vec::new(), level),
    };
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Members of all levels, one after another, into a buffer of any state.
    #[test]
    fn every_run_of_members_is_read(
        members in vec((runs(), 0..10u32, any::<bool>()), 1..4),
        left in vec(any::<u8>(), 0..100),
    ) {
        let mut body = Vec::new();
        let mut expected = Vec::new();
        for (content, level, dressed) in &members {
            body.extend(member(content, *level, *dressed));
            expected.extend(content);
        }
        is_read(GZIP, &body, &expected, &left)?;
    }
}

#[test]
fn faults_name_the_place() {
    let case = |body: &[u8]| fault(GZIP, body);
    let sound = member(b"content", 6, false);
    let changed = |at: usize, byte: u8| {
        let mut body = sound.clone();
        body[at] = byte;
        case(&body)
    };
    assert_eq!(changed(0, 0), (0, CompressionFault::Magic));
    assert_eq!(changed(2, 7).1, CompressionFault::FrameHeader);
    assert_eq!(changed(3, 0x80).1, CompressionFault::FrameHeader);
    assert_eq!(changed(10, 0xff).1, CompressionFault::Block);
    assert_eq!(changed(sound.len() - 1, 9).1, CompressionFault::ContentSize);
    assert_eq!(case(&sound[..sound.len() - 1]).1, CompressionFault::Truncated);
    assert_eq!(case(&sound[..14]).1, CompressionFault::Truncated);
    let dressed = member(b"content", 6, true);
    assert_eq!(case(&dressed[..20]).1, CompressionFault::Truncated);
    let followed = [sound.as_slice(), b"x"].concat();
    assert_eq!(case(&followed), (sound.len(), CompressionFault::Magic));
}
