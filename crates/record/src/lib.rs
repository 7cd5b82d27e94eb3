//! Kafka record batches, format v2 (magic 2), read and built in place.
//!
//! A batch is a fixed header and then its records, which are compressed as a whole or not at all:
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 CRC u32
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32
//! 61 records
//! ```
//!
//! The length counts the bytes after it. The CRC covers the bytes after it, so the broker may give
//! a batch its offset and leader epoch without a new CRC.
//!
//! The way in is [`batches()`] -> [`RawBatch::verify_crc`] -> [`Decompressor::payload`] ->
//! [`records()`]: each step borrows from the one before, and a byte is copied only when it is
//! decompressed. The way out is [`BatchBuilder`]: without compression, records are appended to the
//! very buffer that goes on the wire.
//!
//! Nothing here trusts a length: what is malformed is a [`RecordError`] with its position, and no
//! buffer grows above the limit that [`Decompressor::new`] was given.
//!
//! ```
//! use onrush_record::{
//!     BatchBuilder, Compression, Compressor, Decompressor, RecordError, batches, records,
//! };
//!
//! # fn main() -> Result<(), RecordError> {
//! let mut builder = BatchBuilder::new(Compression::Lz4);
//! builder.append(1_700_000_000_000, Some(b"N14228"), Some(b"11 minutes late"), &[])?;
//! builder.append(1_700_000_000_007, None, Some(b"cancelled"), &[])?;
//! let batch = builder.seal(-1, -1, -1, &mut Compressor::new())?;
//!
//! let mut decompressor = Decompressor::new(1 << 20);
//! let mut buffer = Vec::new();
//! for raw in batches(&batch) {
//!     let raw = raw?;
//!     raw.verify_crc()?;
//!     let payload = decompressor.payload(&raw, &mut buffer)?.bytes(&raw, &buffer);
//!     for record in records(payload, &raw.header) {
//!         let record = record?;
//!         println!("{}: {:?} = {:?}", record.offset, record.key, record.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod batch;
pub mod builder;
pub mod codec;
mod compressor;
mod crc;
mod decompressor;
pub mod error;
mod gzip_member;
pub mod header;
mod input;
mod lz4_block;
mod lz4_frame;
mod output;
pub mod partitioner;
pub mod record;
mod record_headers;
mod snappy_stream;
mod varint;
mod xxh32;

pub use batch::{Batches, RawBatch, batches};
pub use builder::BatchBuilder;
pub use codec::{Codec, Compression, UnknownCompression};
pub use compressor::Compressor;
pub use crc::crc32c;
pub use decompressor::{Decompressor, Payload};
pub use error::{CompressionFault, RecordError, RecordFault};
pub use header::{Attributes, BatchHeader, HEADER_LEN};
pub use partitioner::{Partitioner, murmur2, partition_for_key};
pub use record::{Record, Records, record_at, records};
pub use record_headers::{Header, Headers};
