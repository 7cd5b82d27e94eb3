//! A small file that is written as a whole and can be done without: its reader takes one that is not whole for none.
//!
//! ```text
//! CRC-32C of the rest u32 | version u8 | payload
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_record::crc32c;
use onrush_runtime::Disk;

const VERSION: u8 = 1;

/// Checksum and version.
const HEADER: usize = 5;

/// Longest file that is read; what is longer is none of ours.
const MAX_LEN: u64 = 256 * 1024 * 1024;

/// The payload, if the file is there and whole.
pub(crate) fn read(disk: &Disk, path: &str) -> io::Result<Option<Bytes>> {
    if !disk.exists(path) {
        return Ok(None);
    }
    let file = disk.open(path)?;
    let Some(length) = usize::try_from(file.len()).ok().filter(|len| *len as u64 <= MAX_LEN) else {
        return Ok(None);
    };
    let mut bytes = file.read_at(0, length)?;
    let whole =
        bytes.len() >= HEADER && bytes.get_u32() == crc32c(&bytes) && bytes.get_u8() == VERSION;
    if !whole {
        tracing::warn!(path, "a file is not whole and is done without");
    }
    Ok(whole.then_some(bytes))
}

/// Writes a new file, in place of one that is there. It may be torn by a crash until it is synced.
pub(crate) fn write(disk: &Disk, path: &str, payload: &[u8]) -> io::Result<onrush_runtime::File> {
    if disk.exists(path) {
        disk.remove(path)?;
    }
    let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
    bytes.put_u32(0);
    bytes.put_u8(VERSION);
    bytes.put_slice(payload);
    let crc = crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    let file = disk.create(path)?;
    file.append(bytes.freeze())?;
    Ok(file)
}
