//! From a batch to its records' bytes, with contexts and buffers that are used again.

use zstd::zstd_safe::{DCtx, get_frame_content_size, zstd_sys::ZSTD_ErrorCode};

use crate::batch::RawBatch;
use crate::codec::Codec;
use crate::error::{CompressionFault, RecordError};
use crate::header::HEADER_LEN;
use crate::lz4_frame;
use crate::output::{Fault, Output, grow};

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
    zstd: Option<DCtx<'static>>,
}

impl Decompressor {
    /// A decompressor that refuses batches whose records become more than `max_decompressed` bytes.
    /// Records that are not compressed take no buffer, and so know no limit here.
    pub fn new(max_decompressed: usize) -> Decompressor {
        Decompressor { limit: max_decompressed, zstd: None }
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
        if codec == Codec::None || (raw.header.record_count == 0 && body.is_empty()) {
            return Ok(Payload::InPlace);
        }
        let decompressed = match codec {
            Codec::Lz4 => self.lz4(body, out),
            Codec::Zstd => self.zstd(body, out).map_err(|fault| (fault, 0)),
            Codec::None | Codec::Gzip | Codec::Snappy => {
                let (position, base_offset) = (raw.position, raw.header.base_offset);
                return Err(RecordError::UnsupportedCodec { position, base_offset, codec });
            }
        };
        match decompressed {
            Ok(()) => Ok(Payload::Decompressed),
            Err((fault, position)) => Err(self.error(raw, codec, fault, position)),
        }
    }

    fn lz4(&self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), (Fault, usize)> {
        let mut output = Output::new(out, self.limit);
        lz4_frame::decompress(frames, &mut output)?;
        output.finish();
        Ok(())
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
