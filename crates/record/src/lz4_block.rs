//! LZ4 blocks that refer back into the blocks before them.
//!
//! liblz4's safe call takes a block without a history, and that is what Kafka's own clients write.
//! Some write linked blocks, which are decoded here.

use crate::decompressor::{Fault, grow};
use crate::error::CompressionFault;

const MIN_MATCH: usize = 4;
const NIBBLE: usize = 0xf;

/// Where decoded bytes may come from and how far they may go, as places in the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Start of the frame: matches reach back to here.
    pub(crate) frame: usize,
    /// End of what this block may fill.
    pub(crate) block: usize,
    /// End of what all blocks may fill.
    pub(crate) limit: usize,
}

/// Appends what `block` decodes to.
pub(crate) fn decompress_linked(
    block: &[u8],
    bounds: Bounds,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut block = Block { rest: block };
    loop {
        let token = usize::from(block.byte()?);
        let literals = block.length(token >> 4)?;
        let literals = block.take(literals)?;
        bounds.make_room(out, literals.len())?;
        out.extend_from_slice(literals);
        if block.rest.is_empty() {
            return Ok(());
        }
        let distance = usize::from(block.byte()?) | usize::from(block.byte()?) << 8;
        let length = block.length(token & NIBBLE)? + MIN_MATCH;
        if distance == 0 || distance > out.len() - bounds.frame {
            return Err(Fault::Data(CompressionFault::Block));
        }
        bounds.make_room(out, length)?;
        repeat(out, distance, length);
    }
}

/// Appends `length` bytes of what stands `distance` back; both may overlap.
fn repeat(out: &mut Vec<u8>, distance: usize, length: usize) {
    let from = out.len() - distance;
    let mut left = length;
    while left > 0 {
        let run = left.min(out.len() - from);
        out.extend_from_within(from..from + run);
        left -= run;
    }
}

impl Bounds {
    fn make_room(&self, out: &mut Vec<u8>, bytes: usize) -> Result<(), Fault> {
        let end = out.len() + bytes;
        if end > self.block {
            return Err(Fault::Data(CompressionFault::Block));
        }
        if end > self.limit {
            return Err(Fault::TooLarge);
        }
        grow(out, end, self.limit);
        Ok(())
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
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(Fault::Data(CompressionFault::Block))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length that starts in a token's nibble and, when that is full, goes on in bytes.
    fn length(&mut self, nibble: usize) -> Result<usize, Fault> {
        let mut length = nibble;
        if nibble == NIBBLE {
            loop {
                let byte = self.byte()?;
                length += usize::from(byte);
                if byte != u8::MAX {
                    break;
                }
            }
        }
        Ok(length)
    }
}
