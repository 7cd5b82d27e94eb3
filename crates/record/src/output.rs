//! What a decompressor fills: a caller's buffer, never above a limit.

use crate::error::CompressionFault;

/// Why data do not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is more than the limit allows.
    TooLarge,
    /// The data are malformed.
    Data(CompressionFault),
}

/// The start of a buffer that is written, and room behind it.
///
/// Safe code can hand out only bytes that have a value, so room is zeroed. What an earlier batch
/// left in the buffer has a value already, and is not zeroed again.
pub(crate) struct Output<'a> {
    buffer: &'a mut Vec<u8>,
    written: usize,
    limit: usize,
}

impl<'a> Output<'a> {
    pub(crate) fn new(buffer: &'a mut Vec<u8>, limit: usize) -> Output<'a> {
        Output { buffer, written: 0, limit }
    }

    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Bytes that may still be written.
    pub(crate) fn left(&self) -> usize {
        self.limit - self.written
    }

    /// Room for `len` bytes more.
    pub(crate) fn room(&mut self, len: usize) -> Result<&mut [u8], Fault> {
        if len > self.left() {
            return Err(Fault::TooLarge);
        }
        let end = self.written + len;
        if end > self.buffer.len() {
            grow(self.buffer, end, self.limit);
            self.buffer.resize(end, 0);
        }
        Ok(&mut self.buffer[self.written..end])
    }

    /// Counts `len` bytes of the last room as written.
    pub(crate) fn advance(&mut self, len: usize) {
        self.written += len;
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// Writes `len` bytes from what stands `distance` back, and then from what was so written.
    pub(crate) fn repeat(&mut self, distance: usize, len: usize) -> Result<(), Fault> {
        self.room(len)?;
        let from = self.written - distance;
        let end = self.written + len;
        while self.written < end {
            let run = (end - self.written).min(self.written - from);
            self.buffer.copy_within(from..from + run, self.written);
            self.advance(run);
        }
        Ok(())
    }

    /// Leaves in the buffer what was written.
    pub(crate) fn finish(self) {
        self.buffer.truncate(self.written);
    }
}

/// Makes room for `len` bytes in all, by doubling, but never above `limit`.
pub(crate) fn grow(buffer: &mut Vec<u8>, len: usize, limit: usize) {
    let capacity = buffer.capacity();
    if len > capacity {
        let wanted = capacity.saturating_mul(2).min(limit).max(len);
        buffer.reserve_exact(wanted - buffer.len());
    }
}
