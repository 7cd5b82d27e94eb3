//! What can be wrong with a batch, and where.
//!
//! Positions are bytes from the start of the slice that was given: of the fetched bytes for faults
//! of a batch, of the records (decompressed, if they were compressed) for faults of a record.

use crate::codec::Codec;
use crate::header::HEADER_LEN;

/// A batch that cannot be read, or one that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than a batch header has.
    #[error("batch at byte {position}: header cut off, {available} of {HEADER_LEN} bytes")]
    HeaderTruncated {
        /// Where the batch starts.
        position: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The bytes end before the batch does, where a whole batch was asked for.
    #[error("batch at byte {position}: cut off, {available} of {stated} bytes")]
    BatchTruncated {
        /// Where the batch starts.
        position: usize,
        /// Bytes that are there.
        available: usize,
        /// Bytes that the length field promises.
        stated: usize,
    },
    /// A message set of the formats v0 or v1, or one of the future.
    #[error(
        "batch at byte {position} (base offset {base_offset}): format v{magic}, only v2 is read"
    )]
    UnsupportedMagic {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// The format's number.
        magic: i8,
    },
    /// The length field is too small for a header.
    #[error("batch at byte {position} (base offset {base_offset}): impossible length {length}")]
    BatchLength {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// The length field, as sent.
        length: i32,
    },
    /// A header field has a value that no batch can have.
    #[error("batch at byte {position} (base offset {base_offset}): impossible {field} {value}")]
    HeaderField {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// The field's name in Kafka's words.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The attributes name a compression that Kafka does not have.
    #[error("batch at byte {position} (base offset {base_offset}): unknown compression {id}")]
    UnknownCodec {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// Number of the compression.
        id: u8,
    },
    /// The bytes are not those that were sealed.
    #[error(
        "batch at byte {position} (base offset {base_offset}): CRC is {computed:08x}, \
         header says {stated:08x}"
    )]
    Crc {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// CRC in the header.
        stated: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// Decompressed, the records would be larger than the limit.
    #[error(
        "batch at byte {position} (base offset {base_offset}): more than {limit} bytes when \
         decompressed"
    )]
    TooLarge {
        /// Where the batch starts.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The compressed records are malformed.
    #[error("{codec} data at byte {position} (base offset {base_offset}): {fault}")]
    Compressed {
        /// Where the fault is.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// The compression.
        codec: Codec,
        /// What is wrong.
        fault: CompressionFault,
    },
    /// A record is malformed.
    #[error("record byte {position} of the batch with base offset {base_offset}: {fault}")]
    Record {
        /// Where the fault is, from the start of the decompressed records.
        position: usize,
        /// First offset of the batch.
        base_offset: i64,
        /// What is wrong.
        fault: RecordFault,
    },
    /// The record does not fit into the batch that is being built.
    #[error("a record of {record} bytes does not fit into a batch of {batch}: 1 GiB is the most")]
    BatchFull {
        /// Bytes in the batch.
        batch: usize,
        /// Bytes of the record.
        record: usize,
    },
    /// A batch without records cannot be sealed.
    #[error("a batch without records cannot be sealed")]
    BatchEmpty,
    /// The compression library refused its input.
    #[error("cannot compress {bytes} bytes with {codec}")]
    Compress {
        /// The compression.
        codec: Codec,
        /// Length of the input.
        bytes: usize,
    },
}

/// What is wrong with compressed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressionFault {
    /// The data end in the middle.
    #[error("ends too early")]
    Truncated,
    /// Not the magic number of a frame.
    #[error("not a frame")]
    Magic,
    /// The frame's header is malformed or its checksum is wrong.
    #[error("malformed frame header")]
    FrameHeader,
    /// The frame asks for a dictionary; Kafka has none.
    #[error("asks for a dictionary")]
    Dictionary,
    /// A block states more bytes than its frame allows.
    #[error("block of {0} bytes is above its frame's maximum")]
    BlockLength(u32),
    /// The bytes of a block do not decompress.
    #[error("corrupt block")]
    Block,
    /// The frame states another size than it has.
    #[error("states another size than it has")]
    ContentSize,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The bytes end in the middle of a record.
    #[error("ends too early")]
    Truncated,
    /// A varint has more bits than its type.
    #[error("varint too long")]
    Varint,
    /// A length that must not be negative, or not below -1.
    #[error("impossible length {0}")]
    Length(i32),
    /// An offset outside the batch, or not above the one before.
    #[error("offset delta {delta} is not in {lowest}..={highest}")]
    OffsetDelta {
        /// The delta, as sent.
        delta: i32,
        /// The lowest that could follow.
        lowest: i32,
        /// The last of the batch.
        highest: i32,
    },
    /// A record is longer than its fields.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// The batch states another number of records than it has.
    #[error("{found} records, the header says {stated}")]
    RecordCount {
        /// What the header says.
        stated: i32,
        /// Records before the end of the bytes.
        found: i32,
    },
    /// The number of record headers is negative, or more than the bytes can hold.
    #[error("impossible number of headers {0}")]
    HeaderCount(i32),
    /// A header's key is not UTF-8.
    #[error("header key is not UTF-8")]
    HeaderKey,
    /// The position is not inside the records.
    #[error("no record starts here")]
    Position,
}
