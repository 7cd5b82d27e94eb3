//! Compressed bodies of batches that were written by other hands than ours, and what holds for all of them.

use onrush_record::{
    Compression, CompressionFault, Decompressor, HEADER_LEN, RawBatch, RecordError,
};
use proptest::prelude::*;

use crate::foreign::batch_around;

/// More than any content of the tests.
pub(crate) const LIMIT: usize = 8 << 20;

pub(crate) fn decompress(
    compression: Compression,
    body: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let bytes = batch_around(compression, body);
    let raw = RawBatch::parse(&bytes)?;
    let result = Decompressor::new(limit).payload(&raw, out).map(drop);
    assert!(out.capacity() <= limit);
    result
}

/// A body is read into a buffer that holds something, into one that is just large enough, and not into a smaller one.
pub(crate) fn is_read(
    compression: Compression,
    body: &[u8],
    expected: &[u8],
    left: &[u8],
) -> Result<(), TestCaseError> {
    let mut out = left.to_vec();
    decompress(compression, body, LIMIT, &mut out)?;
    prop_assert!(out == expected);
    let mut exact = Vec::new();
    decompress(compression, body, expected.len(), &mut exact)?;
    prop_assert!(exact == expected);
    if let Some(less) = expected.len().checked_sub(1) {
        let error = decompress(compression, body, less, &mut Vec::new()).unwrap_err();
        prop_assert!(matches!(error, RecordError::TooLarge { .. }), "{}", error);
    }
    Ok(())
}

/// Where a body is wrong, and how.
pub(crate) fn fault(compression: Compression, body: &[u8]) -> (usize, CompressionFault) {
    match decompress(compression, body, LIMIT, &mut Vec::new()) {
        Err(RecordError::Compressed { position, fault, .. }) => (position - HEADER_LEN, fault),
        other => panic!("{other:?}"),
    }
}

/// Bytes that repeat, up to some hundred kilobytes.
pub(crate) fn runs() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((any::<u8>(), 0..90_000usize), 0..8).prop_map(|runs| {
        runs.into_iter().flat_map(|(byte, len)| std::iter::repeat_n(byte, len)).collect()
    })
}
