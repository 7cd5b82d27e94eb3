//! Compressions: those that a batch may name, and those that a batch can be built with.

use std::fmt;
use std::str::FromStr;

/// zlib's own default.
const GZIP_LEVEL: i32 = 6;
/// Kafka's own default.
const ZSTD_LEVEL: i32 = 3;

/// A compression as named by a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Records lie in the batch as they are.
    None,
    /// Gzip members.
    Gzip,
    /// A snappy stream or block.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

impl Codec {
    /// The number in the attributes.
    pub const fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// The codec with this number in the attributes.
    pub const fn from_id(id: u8) -> Option<Codec> {
        Some(match id {
            0 => Codec::None,
            1 => Codec::Gzip,
            2 => Codec::Snappy,
            3 => Codec::Lz4,
            4 => Codec::Zstd,
            _ => return None,
        })
    }

    /// The name that Kafka's configuration uses (`compression.type`).
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a batch is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Records are appended to the bytes that go on the wire.
    #[default]
    None,
    /// Gzip.
    Gzip {
        /// From 1 (faster) to 9; the default is 6. What lies outside is moved to the nearer end.
        level: i32,
    },
    /// Snappy in the framing that Java's client writes.
    Snappy,
    /// LZ4 at its fast level.
    Lz4,
    /// Zstandard.
    Zstd {
        /// From negative (faster) to 22; Kafka's own default is 3. The library clamps it.
        level: i32,
    },
}

impl Compression {
    /// One of each kind, at its default level.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip { level: GZIP_LEVEL },
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd { level: ZSTD_LEVEL },
    ];

    /// What the batch's attributes will name.
    pub const fn codec(self) -> Codec {
        match self {
            Compression::None => Codec::None,
            Compression::Gzip { .. } => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd { .. } => Codec::Zstd,
        }
    }
}

/// By the names of Kafka's `compression.type`, at the default level.
impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Compression, UnknownCompression> {
        let named = Compression::ALL.into_iter().find(|known| known.codec().name() == name);
        named.ok_or_else(|| UnknownCompression { name: name.to_owned() })
    }
}

/// Kafka has no compression of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no compression is called `{name}`: there are none, gzip, snappy, lz4 and zstd")]
pub struct UnknownCompression {
    /// The name, as given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for compression in Compression::ALL {
            assert_eq!(compression.codec().name().parse(), Ok(compression));
            assert_eq!(Codec::from_id(compression.codec().id()), Some(compression.codec()));
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_there_are() {
        let error = "brotli".parse::<Compression>().unwrap_err().to_string();
        assert!(error.contains("`brotli`"), "{error}");
        for compression in Compression::ALL {
            assert!(error.contains(compression.codec().name()), "{error}");
        }
    }
}
