//! Committed archives of valid inputs, one per target.
//!
//! ```text
//! zstd of entries: name length u16 | name | length u32 | bytes
//! ```

use std::io;
use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes};

use crate::Target;

/// More than all archives have together: one that was damaged is not unpacked without end.
const UNPACKED_LIMIT: usize = 64 << 20;
const LEVEL: i32 = 19;

/// A valid input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which form and version it shows.
    pub name: String,
    /// What a target is given.
    pub bytes: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// The valid inputs of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// In the order they were made.
    pub entries: Vec<Entry>,
}

impl Corpus {
    /// Makes one.
    pub fn make(target: &Target) -> Self {
        Self { entries: (target.entries)() }
    }

    /// Reads the committed one.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    #[expect(clippy::disallowed_methods, reason = "a driver outside the simulation")]
    pub fn load(target: &Target) -> io::Result<Self> {
        let path = Self::path(target);
        let named = |error: io::Error| {
            let kind = error.kind();
            io::Error::new(kind, format!("{}: {error}", path.display()))
        };
        let packed = std::fs::read(&path).map_err(named)?;
        Self::unpack(&packed).map_err(named)
    }

    /// Writes it to be committed, and returns the size of its archive.
    ///
    /// # Errors
    /// It cannot be written.
    #[expect(clippy::disallowed_methods, reason = "a driver outside the simulation")]
    pub fn store(&self, target: &Target) -> io::Result<usize> {
        let packed = self.pack()?;
        std::fs::write(Self::path(target), &packed)?;
        Ok(packed.len())
    }

    fn path(target: &Target) -> PathBuf {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
        folder.join(target.name).with_extension("zst")
    }

    fn pack(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for Entry { name, bytes: content } in &self.entries {
            bytes.put_u16(name.len() as u16);
            bytes.put_slice(name.as_bytes());
            bytes.put_u32(content.len() as u32);
            bytes.put_slice(content);
        }
        zstd::bulk::compress(&bytes, LEVEL)
    }

    fn unpack(packed: &[u8]) -> io::Result<Self> {
        let mut bytes = Bytes::from(zstd::bulk::decompress(packed, UNPACKED_LIMIT)?);
        let mut entries = Vec::new();
        while bytes.has_remaining() {
            let length = usize::from(bytes.try_get_u16()?);
            let name = String::from_utf8_lossy(&take(&mut bytes, length)?).into_owned();
            let length = bytes.try_get_u32()? as usize;
            entries.push(Entry { name, bytes: take(&mut bytes, length)?.into() });
        }
        Ok(Self { entries })
    }
}

fn take(bytes: &mut Bytes, length: usize) -> io::Result<Bytes> {
    if length > bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let entries = vec![Entry::new("a", b"b".as_slice()), Entry::new("", Vec::new())];
        let corpus = Corpus { entries };
        assert_eq!(Corpus::unpack(&corpus.pack().unwrap()).unwrap(), corpus);
    }
}
