//! LZ4 blocks that refer back into the blocks before them.
//!
//! liblz4's safe call takes a block without a history, and that is what Kafka's own clients write.
//! Some write linked blocks, which are decoded here: sequences of a token, literals, and a match
//! (how far back, how long); the last sequence has no match.

use crate::error::CompressionFault;
use crate::output::{Fault, Output};

const MIN_MATCH: usize = 4;
const NIBBLE: usize = 0xf;
const CORRUPT: Fault = Fault::Data(CompressionFault::Block);

/// Appends what `block` decodes to, at most `block_max` bytes; matches reach back to `frame`.
pub(crate) fn decompress_linked(
    block: &[u8],
    block_max: usize,
    frame: usize,
    out: &mut Output<'_>,
) -> Result<(), Fault> {
    let mut block = Block { rest: block };
    let end = out.written() + block_max;
    loop {
        let token = usize::from(block.byte()?);
        let literals = block.length(token >> 4)?;
        let literals = block.take(literals)?;
        if literals.len() > end - out.written() {
            return Err(CORRUPT);
        }
        out.write(literals)?;
        if block.rest.is_empty() {
            return Ok(());
        }
        let distance = usize::from(block.byte()?) | usize::from(block.byte()?) << 8;
        let length = block.length(token & NIBBLE)? + MIN_MATCH;
        let reach = out.written() - frame;
        if distance == 0 || distance > reach || length > end - out.written() {
            return Err(CORRUPT);
        }
        out.repeat(distance, length)?;
    }
}

struct Block<'a> {
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    fn byte(&mut self) -> Result<u8, Fault> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CORRUPT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length that starts in a token's nibble and, when that is full, goes on in bytes.
    fn length(&mut self, nibble: usize) -> Result<usize, Fault> {
        let mut length = nibble;
        let mut more = nibble == NIBBLE;
        while more {
            let byte = self.byte()?;
            length += usize::from(byte);
            more = byte == u8::MAX;
        }
        Ok(length)
    }
}
