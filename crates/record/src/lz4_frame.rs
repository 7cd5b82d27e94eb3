//! LZ4 frames, as Kafka wraps LZ4 blocks.
//!
//! ```text
//! magic u32 | flags u8 | block maximum u8 | [content size u64] | header checksum u8
//! blocks: length u32 (high bit: stored as it is) | bytes | [checksum u32]
//! end mark 0u32 | [content checksum u32]
//! ```
//!
//! All numbers are little-endian. Checksums of blocks and content are stepped over, since the
//! batch's CRC covers their bytes.

use lz4::block::{CompressionMode, compress_bound, compress_to_buffer, decompress_to_buffer};

use crate::error::CompressionFault;
use crate::input::Input;
use crate::lz4_block::decompress_linked;
use crate::output::{Fault, Output};
use crate::xxh32::short_hash;

const MAGIC: u32 = 0x184d_2204;
const STORED: u32 = 1 << 31;
const CHECKSUM_LEN: usize = 4;

const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;

/// Largest block that is written. Kafka's own clients write no larger ones, and liblz4 has a
/// cheaper table for inputs of this size.
const WRITE_BLOCK_LEN: usize = 64 * 1024;
const WRITE_FLAGS: [u8; 2] = [VERSION | INDEPENDENT, 0x40];

/// What is decompressed into first: most blocks shrink less than this, and a frame may allow
/// blocks far larger than those it has.
const USUAL_RATIO: usize = 8;
const USUAL_BLOCK_LEN: usize = 64 * 1024;

/// Appends one frame that holds `bytes`; `None` when the library refuses.
pub(crate) fn compress(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&WRITE_FLAGS);
    out.push(header_checksum(&WRITE_FLAGS));
    for block in bytes.chunks(WRITE_BLOCK_LEN) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + compress_bound(block.len()).ok()?, 0);
        let mode = Some(CompressionMode::DEFAULT);
        let compressed = compress_to_buffer(block, mode, false, &mut out[start..]).ok()?;
        let length = if compressed < block.len() {
            out.truncate(start + compressed);
            compressed as u32
        } else {
            out.truncate(start);
            out.extend_from_slice(block);
            block.len() as u32 | STORED
        };
        out[length_at..start].copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    Some(())
}

/// Appends the content of all frames in `bytes`. A fault comes with its place in `bytes`.
pub(crate) fn decompress(bytes: &[u8], out: &mut Output<'_>) -> Result<(), (Fault, usize)> {
    let mut input = Input::new(bytes);
    loop {
        let frame = Frame::parse(&mut input).and_then(|frame| frame.content(&mut input, out));
        if let Err(fault) = frame {
            return Err((fault, input.position));
        }
        if input.is_empty() {
            return Ok(());
        }
    }
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (short_hash(descriptor) >> 8) as u8
}

struct Frame {
    flags: u8,
    block_max: usize,
    content_size: Option<u64>,
}

impl Frame {
    fn parse(input: &mut Input<'_>) -> Result<Frame, Fault> {
        let start = input.position;
        if input.u32_le()? != MAGIC {
            input.position = start;
            return Err(Fault::Data(CompressionFault::Magic));
        }
        let [flags, block_max] = input.array()?;
        let content_size =
            if flags & CONTENT_SIZE != 0 { Some(u64::from_le_bytes(input.array()?)) } else { None };
        if flags & DICTIONARY != 0 {
            return Err(Fault::Data(CompressionFault::Dictionary));
        }
        let checksum = header_checksum(&input.bytes[start + 4..input.position]);
        let block_max = match block_max {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(Fault::Data(CompressionFault::FrameHeader)),
        };
        let [stated] = input.array()?;
        if flags & VERSION_MASK != VERSION || flags & RESERVED != 0 || stated != checksum {
            return Err(Fault::Data(CompressionFault::FrameHeader));
        }
        Ok(Frame { flags, block_max, content_size })
    }

    fn content(&self, input: &mut Input<'_>, out: &mut Output<'_>) -> Result<(), Fault> {
        let start = out.written();
        loop {
            let length = input.u32_le()?;
            if length == 0 {
                break;
            }
            let stored = length & STORED != 0;
            let length = length & !STORED;
            if length as usize > self.block_max {
                return Err(Fault::Data(CompressionFault::BlockLength(length)));
            }
            let block = input.take(length as usize)?;
            if stored {
                out.write(block)?;
            } else if self.flags & INDEPENDENT != 0 {
                decompress_independent(block, self.block_max, out)?;
            } else {
                decompress_linked(block, self.block_max, start, out)?;
            }
            skip_checksum(input, self.flags & BLOCK_CHECKSUM)?;
        }
        skip_checksum(input, self.flags & CONTENT_CHECKSUM)?;
        match self.content_size {
            Some(size) if size != (out.written() - start) as u64 => {
                Err(Fault::Data(CompressionFault::ContentSize))
            }
            _ => Ok(()),
        }
    }
}

fn skip_checksum(input: &mut Input<'_>, flag: u8) -> Result<(), Fault> {
    if flag != 0 {
        input.take(CHECKSUM_LEN)?;
    }
    Ok(())
}

/// liblz4 does not tell a block that needs more room from a corrupt one, so a failure is tried
/// again with the most room that the frame and the limit allow.
fn decompress_independent(
    block: &[u8],
    block_max: usize,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let most = block_max.min(out.left());
    let usual = most.min(USUAL_BLOCK_LEN.max(block.len() * USUAL_RATIO));
    for room in [usual, most] {
        let decompressed = decompress_to_buffer(block, Some(room as i32), out.room(room)?);
        if let Ok(length) = decompressed {
            out.advance(length);
            return Ok(());
        }
        if room == most {
            break;
        }
    }
    Err(if most < block_max { Fault::TooLarge } else { Fault::Data(CompressionFault::Block) })
}
