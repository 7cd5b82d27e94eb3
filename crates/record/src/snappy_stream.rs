//! Snappy as Kafka's clients write it.
//!
//! Java's wrap blocks in the framing of snappy-java, librdkafka and others write one bare block:
//!
//! ```text
//! magic 82 "SNAPPY" 00 | version u32 | oldest version that reads it u32
//! blocks: length u32 | snappy block
//! ```
//!
//! Lengths of the framing are big-endian. Where a length is expected the header may stand again:
//! streams one after another are one stream.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use crate::error::CompressionFault;
use crate::input::Input;
use crate::output::{Fault, Output};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// The version twice: what is written, and what can read it.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const OLDEST: u32 = 1;

/// What Java's client writes per block.
const WRITE_BLOCK_LEN: usize = 32 * 1024;

/// No element of a block makes more than 64 bytes, and none is shorter than 2 where it makes more
/// than it has.
const MOST_EXPANSION: usize = 32;

/// Appends one stream that holds `bytes`; `None` when the library refuses.
pub(crate) fn compress(encoder: &mut Encoder, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
    for block in bytes.chunks(WRITE_BLOCK_LEN) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[start..]).ok()?;
        out.truncate(start + length);
        out[length_at..start].copy_from_slice(&(length as u32).to_be_bytes());
    }
    Some(())
}

/// Appends the content of a stream or of a bare block. A fault comes with its place in `bytes`.
pub(crate) fn decompress(bytes: &[u8], out: &mut Output<'_>) -> Result<(), (Fault, usize)> {
    let mut input = Input::new(bytes);
    let read = if bytes.starts_with(&MAGIC) {
        stream(&mut input, out)
    } else {
        block(&mut Decoder::new(), bytes, out)
    };
    read.map_err(|fault| (fault, input.position))
}

fn stream(input: &mut Input<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
    let mut decoder = Decoder::new();
    while !input.is_empty() {
        if input.rest().starts_with(&MAGIC) {
            header(input)?;
            continue;
        }
        let start = input.position;
        let length = u32::from_be_bytes(input.array()?);
        let decompressed =
            input.take(length as usize).and_then(|bytes| block(&mut decoder, bytes, out));
        if decompressed.is_err() {
            input.position = start;
        }
        decompressed?;
    }
    Ok(())
}

fn header(input: &mut Input<'_>) -> Result<(), Fault> {
    input.take(MAGIC.len())?;
    let [version, _readable_by] = [input.array()?, input.array()?].map(u32::from_be_bytes);
    if version < OLDEST {
        return Err(Fault::Data(CompressionFault::FrameHeader));
    }
    Ok(())
}

fn block(decoder: &mut Decoder, block: &[u8], out: &mut Output<'_>) -> Result<(), Fault> {
    const CORRUPT: Fault = Fault::Data(CompressionFault::Block);
    let length = decompress_len(block).map_err(|_| CORRUPT)?;
    if length > block.len().saturating_mul(MOST_EXPANSION) {
        return Err(Fault::Data(CompressionFault::ContentSize));
    }
    let length = decoder.decompress(block, out.room(length)?).map_err(|_| CORRUPT)?;
    out.advance(length);
    Ok(())
}
