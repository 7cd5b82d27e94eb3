//! Gzip members (RFC 1952), of which data have one or several.
//!
//! ```text
//! 1f 8b | method 8 | flags u8 | time u32 | hints u8 | system u8
//! [extra u16, bytes] [name, 0] [comment, 0] [header checksum u16]
//! deflate data | content CRC-32 u32 | content size modulo 2^32 u32
//! ```
//!
//! All numbers are little-endian. The checksums are stepped over, since the batch's CRC covers
//! their bytes.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::CompressionFault;
use crate::input::Input;
use crate::output::{Fault, Output};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// No flags, no time, no hints; the system is "unknown".
const WRITE_HEADER: [u8; 10] = [MAGIC[0], MAGIC[1], DEFLATE, 0, 0, 0, 0, 0, 0, 0xff];

/// Room that is asked for at a time: a small batch takes one turn, a large one grows by doubling.
const USUAL_RATIO: usize = 4;
const USUAL_LEN: usize = 64 * 1024;

/// Deflate stores what it cannot shrink in pieces of at most this, with a header for each.
const STORED_LEN: usize = 16 * 1024;
const STORED_HEADER_LEN: usize = 5;

/// Appends one member that holds `bytes`; `None` when the library refuses.
pub(crate) fn compress(context: &mut Compress, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&WRITE_HEADER);
    context.reset();
    out.reserve(bytes.len() + (bytes.len() / STORED_LEN + 2) * STORED_HEADER_LEN);
    loop {
        let rest = &bytes[context.total_in() as usize..];
        match context.compress_vec(rest, out, FlushCompress::Finish).ok()? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => out.reserve(USUAL_LEN),
        }
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    Some(())
}

/// Appends the content of all members in `bytes`. A fault comes with its place in `bytes`.
pub(crate) fn decompress(
    context: &mut Decompress,
    bytes: &[u8],
    out: &mut Output<'_>,
) -> Result<(), (Fault, usize)> {
    let mut input = Input::new(bytes);
    loop {
        let start = out.written();
        let member = header(&mut input)
            .and_then(|()| inflate(context, &mut input, out))
            .and_then(|()| trailer(&mut input, out.written() - start));
        if let Err(fault) = member {
            return Err((fault, input.position));
        }
        if input.is_empty() {
            return Ok(());
        }
    }
}

fn header(input: &mut Input<'_>) -> Result<(), Fault> {
    if !input.rest().starts_with(&MAGIC) {
        return Err(Fault::Data(CompressionFault::Magic));
    }
    let [_, _, method, flags, _time @ .., _hints, _system] = input.array::<10>()?;
    if method != DEFLATE || flags & RESERVED != 0 {
        return Err(Fault::Data(CompressionFault::FrameHeader));
    }
    if flags & EXTRA != 0 {
        let length = u16::from_le_bytes(input.array()?);
        input.take(usize::from(length))?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let length = input.rest().iter().position(|&byte| byte == 0);
            input.take(length.ok_or(Fault::Data(CompressionFault::Truncated))? + 1)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        input.take(2)?;
    }
    Ok(())
}

fn inflate(
    context: &mut Decompress,
    input: &mut Input<'_>,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    context.reset(false);
    let usual = USUAL_LEN.max(input.rest().len().saturating_mul(USUAL_RATIO));
    loop {
        let (taken, given) = (context.total_in(), context.total_out());
        let room = out.room(usual.min(out.left()))?;
        let full = room.is_empty();
        let status = context.decompress(input.rest(), room, FlushDecompress::None);
        let (taken, given) = (context.total_in() - taken, context.total_out() - given);
        input.position += taken as usize;
        out.advance(given as usize);
        match status {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(Status::Ok | Status::BufError) if taken + given > 0 => {}
            Ok(_) if full => return Err(Fault::TooLarge),
            Ok(_) => return Err(Fault::Data(CompressionFault::Truncated)),
            Err(_) => return Err(Fault::Data(CompressionFault::Block)),
        }
    }
}

fn trailer(input: &mut Input<'_>, content: usize) -> Result<(), Fault> {
    let [_checksum, size] = [input.u32_le()?, input.u32_le()?];
    if size != content as u32 {
        return Err(Fault::Data(CompressionFault::ContentSize));
    }
    Ok(())
}
