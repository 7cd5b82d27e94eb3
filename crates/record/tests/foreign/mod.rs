//! Batches whose records were written by other hands than ours.

use onrush_record::header::set_producer;
use onrush_record::{BatchBuilder, Compression, Compressor, HEADER_LEN};

/// A sealed batch that says it has three records, around bytes that may be anything.
pub(crate) fn batch_around(compression: Compression, body: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for timestamp in 0..3 {
        builder.append(timestamp, None, None, &[]).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish(1, 2, 3, &mut Compressor::new(), &mut bytes).unwrap();
    bytes.truncate(HEADER_LEN);
    bytes.extend_from_slice(body);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    reseal(&mut bytes);
    bytes
}

/// Writes the CRC that the bytes have now.
pub(crate) fn reseal(bytes: &mut [u8]) {
    set_producer(bytes, 1, 2, 3);
}
