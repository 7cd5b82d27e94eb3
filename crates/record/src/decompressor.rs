//! From a batch to its records' bytes, with contexts and buffers that are used again.

use flate2::Decompress;
use zstd::zstd_safe::{DCtx, get_frame_content_size, zstd_sys::ZSTD_ErrorCode};

use crate::batch::RawBatch;
use crate::codec::Codec;
use crate::error::{CompressionFault, RecordError};
use crate::header::HEADER_LEN;
use crate::output::{Fault, Output, grow};
use crate::{gzip_member, lz4_frame, snappy_stream};

const TOO_SMALL: usize = (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg();

/// What zstd data that do not state their size are tried with first, beside what the buffer has.
const ZSTD_USUAL_RATIO: usize = 4;
const ZSTD_USUAL_LEN: usize = 64 * 1024;

/// Where the records of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// In the batch itself, after its header.
    InPlace,
    /// In the buffer that was given, all of it.
    Decompressed,
}

impl Payload {
    /// The records' bytes: of `raw`, or of the buffer that [`Decompressor::payload`] filled.
    pub fn bytes<'a>(self, raw: &RawBatch<'a>, out: &'a [u8]) -> &'a [u8] {
        match self {
            Payload::InPlace => raw.body(),
            Payload::Decompressed => out,
        }
    }
}

/// Decompresses batches, one after the other.
pub struct Decompressor {
    limit: usize,
    gzip: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
}

impl Decompressor {
    /// A decompressor that refuses batches whose records become more than `max_decompressed` bytes.
    /// Records that are not compressed take no buffer, and so know no limit here.
    pub fn new(max_decompressed: usize) -> Decompressor {
        Decompressor { limit: max_decompressed, gzip: None, zstd: None }
    }

    /// Finds the records of `raw`. Compressed ones replace what is in `out`, which is meant to be
    /// used again as it is: its capacity spares guesses, its old content zeroing. After an error
    /// its content has no meaning.
    pub fn payload(
        &mut self,
        raw: &RawBatch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Payload, RecordError> {
        let codec = raw.header.attributes.compression();
        let body = raw.body();
        // Compaction keeps the header of a batch that has lost all its records.
        if raw.header.record_count == 0 && body.is_empty() {
            return Ok(Payload::InPlace);
        }
        let decompressed = match codec {
            Codec::None => return Ok(Payload::InPlace),
            Codec::Gzip => {
                let context = self.gzip.get_or_insert_with(|| Decompress::new(false));
                fill(out, self.limit, |out| gzip_member::decompress(context, body, out))
            }
            Codec::Snappy => fill(out, self.limit, |out| snappy_stream::decompress(body, out)),
            Codec::Lz4 => fill(out, self.limit, |out| lz4_frame::decompress(body, out)),
            Codec::Zstd => self.zstd(body, out).map_err(|fault| (fault, 0)),
        };
        match decompressed {
            Ok(()) => Ok(Payload::Decompressed),
            Err((fault, position)) => Err(self.error(raw, codec, fault, position)),
        }
    }

    /// Frames may leave their size out (the Java client's do). One call without a window buffer
    /// is still the cheapest way, so the room is guessed, and doubled when it was too small.
    fn zstd(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        out.clear();
        let mut room = match get_frame_content_size(frames) {
            Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
            Ok(None) => {
                let usual = ZSTD_USUAL_LEN.max(frames.len().saturating_mul(ZSTD_USUAL_RATIO));
                usual.max(out.capacity()).min(self.limit)
            }
            Err(_) => return Err(Fault::Data(CompressionFault::FrameHeader)),
        };
        let context = self.zstd.get_or_insert_with(DCtx::create);
        while room <= self.limit {
            grow(out, room, self.limit);
            match context.decompress(out, frames) {
                Ok(length) if length > self.limit => return Err(Fault::TooLarge),
                Ok(_) => return Ok(()),
                Err(TOO_SMALL) if out.capacity() < self.limit => {
                    room = out.capacity().saturating_mul(2).clamp(1, self.limit);
                }
                Err(TOO_SMALL) => return Err(Fault::TooLarge),
                Err(_) => return Err(Fault::Data(CompressionFault::Block)),
            }
        }
        Err(Fault::TooLarge)
    }

    #[cold]
    fn error(&self, raw: &RawBatch<'_>, codec: Codec, fault: Fault, at: usize) -> RecordError {
        let (limit, base_offset) = (self.limit, raw.header.base_offset);
        match fault {
            Fault::TooLarge => RecordError::TooLarge { position: raw.position, base_offset, limit },
            Fault::Data(fault) => {
                let position = raw.position + HEADER_LEN + at;
                RecordError::Compressed { position, base_offset, codec, fault }
            }
        }
    }
}

/// Replaces what is in `out`.
fn fill(
    out: &mut Vec<u8>,
    limit: usize,
    decompress: impl FnOnce(&mut Output<'_>) -> Result<(), (Fault, usize)>,
) -> Result<(), (Fault, usize)> {
    let mut output = Output::new(out, limit);
    decompress(&mut output)?;
    output.finish();
    Ok(())
}
