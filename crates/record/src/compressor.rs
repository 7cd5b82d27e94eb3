//! Compression contexts, used again from batch to batch and for any number of builders.

use std::io::Cursor;

use flate2::Compress;
use snap::raw::Encoder;
use zstd::bulk;
use zstd::zstd_safe::compress_bound;

use crate::codec::{Codec, Compression};
use crate::error::RecordError;
use crate::{gzip_member, lz4_frame, snappy_stream};

/// Compresses batches, one after the other.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<Gzip>,
    snappy: Option<Encoder>,
    zstd: Option<Zstd>,
    scratch: Vec<u8>,
}

struct Gzip {
    context: Compress,
    level: u32,
}

struct Zstd {
    context: bulk::Compressor<'static>,
    level: i32,
}

impl Compressor {
    /// A compressor; contexts are made when they are first needed.
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Compresses `bytes` into a buffer that the next call overwrites.
    pub(crate) fn compress(
        &mut self,
        compression: Compression,
        bytes: &[u8],
    ) -> Result<&[u8], RecordError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let appended = self.append(compression, bytes, &mut scratch);
        self.scratch = scratch;
        appended.map(|()| self.scratch.as_slice())
    }

    /// Appends `bytes`, compressed.
    pub(crate) fn append(
        &mut self,
        compression: Compression,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let done = match compression {
            Compression::None => {
                out.extend_from_slice(bytes);
                Some(())
            }
            Compression::Gzip { level } => self.gzip(level, bytes, out),
            Compression::Snappy => {
                let encoder = self.snappy.get_or_insert_with(Encoder::new);
                snappy_stream::compress(encoder, bytes, out)
            }
            Compression::Lz4 => lz4_frame::compress(bytes, out),
            Compression::Zstd { level } => self.zstd(level, bytes, out),
        };
        let codec: Codec = compression.codec();
        done.ok_or(RecordError::Compress { codec, bytes: bytes.len() })
    }

    fn gzip(&mut self, level: i32, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let level = level.clamp(1, 9) as u32;
        if self.gzip.as_ref().is_none_or(|gzip| gzip.level != level) {
            let context = Compress::new(flate2::Compression::new(level), false);
            self.gzip = Some(Gzip { context, level });
        }
        gzip_member::compress(&mut self.gzip.as_mut()?.context, bytes, out)
    }

    fn zstd(&mut self, level: i32, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(Zstd { context: bulk::Compressor::new(level).ok()?, level }),
        };
        if zstd.level != level {
            zstd.context.set_compression_level(level).ok()?;
            zstd.level = level;
        }
        out.reserve(compress_bound(bytes.len()));
        let start = out.len() as u64;
        let mut end = Cursor::new(out);
        end.set_position(start);
        zstd.context.compress_to_buffer(bytes, &mut end).ok()?;
        Some(())
    }
}
