//! The batches in a run of bytes, as a broker answers a fetch or a segment holds them.

use crate::crc::crc32c;
use crate::error::RecordError;
use crate::header::{BatchHeader, CRC_END, HEADER_LEN, stated_len};

/// One whole batch, not yet verified or decompressed.
#[derive(Debug, Clone, Copy)]
pub struct RawBatch<'a> {
    /// The parsed header.
    pub header: BatchHeader,
    /// The batch from its first byte to its last.
    pub bytes: &'a [u8],
    /// Where the batch starts in the bytes given to [`batches`].
    pub position: usize,
}

impl<'a> RawBatch<'a> {
    /// The batch at the start of `bytes`, which must hold all of it.
    pub fn parse(bytes: &'a [u8]) -> Result<RawBatch<'a>, RecordError> {
        let available = bytes.len();
        batches(bytes).next().unwrap_or_else(|| {
            Err(match stated_len(bytes) {
                Some(stated) => RecordError::BatchTruncated { position: 0, available, stated },
                None => RecordError::HeaderTruncated { position: 0, available },
            })
        })
    }

    /// The bytes after the header, compressed or not.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Whether the bytes are those that the producer sealed.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = crc32c(&self.bytes[CRC_END..]);
        let BatchHeader { crc: stated, base_offset, .. } = self.header;
        if computed == stated {
            Ok(())
        } else {
            Err(RecordError::Crc { position: self.position, base_offset, stated, computed })
        }
    }
}

/// Iterates over the batches in `bytes`.
///
/// A broker cuts its answer at the size asked for, so the last batch may be cut off: iteration
/// ends before it, and [`Batches::remainder`] has what is there of it.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0, failed: false }
}

/// Iterator over batches; see [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Bytes after the last batch that was returned: at the end of iteration those of a batch that
    /// is cut off, or from a malformed one on.
    pub fn remainder(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    /// Where the next batch starts.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RawBatch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.remainder();
        if self.failed || stated_len(rest).is_none_or(|length| length > rest.len()) {
            return None;
        }
        let position = self.position;
        match BatchHeader::parse_at(rest, position) {
            Ok(header) => {
                let bytes = &rest[..header.total_len()];
                self.position += bytes.len();
                Some(Ok(RawBatch { header, bytes, position }))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Batches<'_> {}
