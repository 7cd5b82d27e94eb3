//! The fixed header of a batch, and the fields that are patched in place.

use crate::codec::Codec;
use crate::crc::crc32c;
use crate::error::RecordError;

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Bytes before those that the length field counts.
pub const LENGTH_END: usize = 12;
/// Bytes before those that the CRC covers.
pub const CRC_END: usize = 21;
/// The format that this crate reads and writes.
pub const MAGIC: i8 = 2;
/// Producer id of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// Producer epoch of a batch from a producer that is not idempotent.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// Base sequence of a batch from a producer that is not idempotent.
pub const NO_SEQUENCE: i32 = -1;
/// Leader epoch of a batch that no broker has taken yet.
pub const NO_LEADER_EPOCH: i32 = -1;

const BASE_OFFSET: usize = 0;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC_AT: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

const MIN_LENGTH: i32 = (HEADER_LEN - LENGTH_END) as i32;

const _: () = assert!(RECORD_COUNT + 4 == HEADER_LEN && CRC + 4 == CRC_END);

/// The attributes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    bits: i16,
    codec: Codec,
}

impl Attributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;

    /// Attributes of a batch that a producer builds.
    pub const fn new(codec: Codec) -> Attributes {
        Attributes { bits: codec.id() as i16, codec }
    }

    /// Reads the field; `Err` is the number of a compression that is not known.
    pub const fn from_bits(bits: i16) -> Result<Attributes, u8> {
        let id = (bits & Attributes::CODEC) as u8;
        match Codec::from_id(id) {
            Some(codec) => Ok(Attributes { bits, codec }),
            None => Err(id),
        }
    }

    /// The field as it is on the wire.
    pub const fn bits(self) -> i16 {
        self.bits
    }

    /// Compression of the records.
    pub const fn compression(self) -> Codec {
        self.codec
    }

    /// Whether every record has the time at which the broker took the batch.
    pub const fn timestamp_type_log_append(self) -> bool {
        self.bits & Attributes::LOG_APPEND != 0
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.bits & Attributes::TRANSACTIONAL != 0
    }

    /// Whether the batch is a marker of the broker's and holds no events.
    pub const fn is_control(self) -> bool {
        self.bits & Attributes::CONTROL != 0
    }
}

/// The header of a batch: every field has a value that a batch can have, the CRC is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record as it was produced.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that took the batch.
    pub partition_leader_epoch: i32,
    /// Format of the batch, always 2.
    pub magic: i8,
    /// CRC-32C of the bytes after it.
    pub crc: u32,
    /// Compression, timestamp type, transaction, control.
    pub attributes: Attributes,
    /// Last offset of the batch, minus the first; compaction leaves it as it is.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to.
    pub base_timestamp: i64,
    /// The latest timestamp, or the time of the append.
    pub max_timestamp: i64,
    /// Id of the idempotent producer, or -1.
    pub producer_id: i64,
    /// Epoch of the idempotent producer, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may end before the batch does.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, RecordError> {
        BatchHeader::parse_at(bytes, 0)
    }

    /// Reads the header at the start of `bytes`; errors call that place `position`.
    #[inline]
    pub(crate) fn parse_at(bytes: &[u8], position: usize) -> Result<BatchHeader, RecordError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(RecordError::HeaderTruncated { position, available: bytes.len() });
        };
        let base_offset = i64::from_be_bytes(field(bytes, BASE_OFFSET));
        let magic = i8::from_be_bytes(field(bytes, MAGIC_AT));
        if magic != MAGIC {
            return Err(RecordError::UnsupportedMagic { position, base_offset, magic });
        }
        let attributes = Attributes::from_bits(i16::from_be_bytes(field(bytes, ATTRIBUTES)))
            .map_err(|id| RecordError::UnknownCodec { position, base_offset, id })?;
        let header = BatchHeader {
            base_offset,
            batch_length: i32::from_be_bytes(field(bytes, LENGTH)),
            partition_leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH)),
            magic,
            crc: u32::from_be_bytes(field(bytes, CRC)),
            attributes,
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT)),
        };
        header.check(position)?;
        Ok(header)
    }

    fn check(&self, position: usize) -> Result<(), RecordError> {
        let base_offset = self.base_offset;
        if self.batch_length < MIN_LENGTH {
            let length = self.batch_length;
            return Err(RecordError::BatchLength { position, base_offset, length });
        }
        let impossible =
            |field, value| Err(RecordError::HeaderField { position, base_offset, field, value });
        let delta = self.last_offset_delta;
        if base_offset < 0 {
            return impossible("base offset", base_offset);
        }
        if delta < 0 || base_offset.checked_add(i64::from(delta)).is_none() {
            return impossible("last offset delta", i64::from(delta));
        }
        if self.record_count < 0 || i64::from(self.record_count) > i64::from(delta) + 1 {
            return impossible("record count", i64::from(self.record_count));
        }
        Ok(())
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, BASE_OFFSET, self.base_offset.to_be_bytes());
        put(&mut bytes, LENGTH, self.batch_length.to_be_bytes());
        put(&mut bytes, LEADER_EPOCH, self.partition_leader_epoch.to_be_bytes());
        put(&mut bytes, MAGIC_AT, self.magic.to_be_bytes());
        put(&mut bytes, CRC, self.crc.to_be_bytes());
        put(&mut bytes, ATTRIBUTES, self.attributes.bits().to_be_bytes());
        put(&mut bytes, LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(&mut bytes, BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(&mut bytes, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(&mut bytes, PRODUCER_ID, self.producer_id.to_be_bytes());
        put(&mut bytes, PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(&mut bytes, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(&mut bytes, RECORD_COUNT, self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch.
    pub const fn total_len(&self) -> usize {
        LENGTH_END + self.batch_length as usize
    }

    /// Last offset that the batch covers; the next batch starts above it.
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }
}

/// The bytes of a batch according to its length field, or `None` while that is not readable.
/// Negative lengths are below every valid one and come out as zero.
pub(crate) fn stated_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(LENGTH..)?.first_chunk::<4>()?;
    Some(LENGTH_END + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0))
}

/// Gives the batch its offset; the CRC does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    put(batch, BASE_OFFSET, base_offset.to_be_bytes());
}

/// Gives the batch the epoch of the leader that took it; the CRC does not cover it.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, LEADER_EPOCH, epoch.to_be_bytes());
}

/// Gives a sealed batch another producer or sequence, and its new CRC.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    put(batch, PRODUCER_ID, producer_id.to_be_bytes());
    put(batch, PRODUCER_EPOCH, producer_epoch.to_be_bytes());
    put(batch, BASE_SEQUENCE, base_sequence.to_be_bytes());
    set_crc(batch);
}

/// Computes the CRC of a batch and writes it into its header.
pub(crate) fn set_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[CRC_END..]);
    put(batch, CRC, crc.to_be_bytes());
}

#[inline(always)]
fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{BatchBuilder, Compression, Compressor, RawBatch};

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(5, None, Some(b"one"), &[]).unwrap();
        builder.append(9, None, Some(b"two"), &[]).unwrap();
        let mut out = Vec::new();
        builder.finish(-1, -1, -1, &mut Compressor::new(), &mut out).unwrap();
        out
    }

    #[test]
    fn a_broker_gives_a_place_and_the_crc_holds() {
        let mut bytes = batch();
        let sent = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((sent.base_offset, sent.partition_leader_epoch), (0, NO_LEADER_EPOCH));
        set_base_offset(&mut bytes, 41);
        set_partition_leader_epoch(&mut bytes, 7);
        let raw = RawBatch::parse(&bytes).unwrap();
        let taken = BatchHeader { base_offset: 41, partition_leader_epoch: 7, ..sent };
        assert_eq!(raw.header, taken);
        assert_eq!(raw.header.last_offset(), 42);
        assert_eq!(raw.verify_crc(), Ok(()));
    }

    #[test]
    fn a_producer_gives_another_sequence_and_the_crc_follows() {
        let mut bytes = batch();
        let before = BatchHeader::parse(&bytes).unwrap();
        set_producer(&mut bytes, 1 << 40, 12, 99);
        let raw = RawBatch::parse(&bytes).unwrap();
        let BatchHeader { producer_id, producer_epoch, base_sequence, crc, .. } = raw.header;
        assert_eq!((producer_id, producer_epoch, base_sequence), (1 << 40, 12, 99));
        assert_ne!(crc, before.crc);
        assert_eq!(raw.verify_crc(), Ok(()));
        set_producer(&mut bytes, -1, -1, -1);
        assert_eq!(BatchHeader::parse(&bytes), Ok(before));
    }

    #[test]
    fn attributes_are_bits() {
        let of = |bits| Attributes::from_bits(bits).unwrap();
        let flags = |bits| {
            let attributes = of(bits);
            (
                attributes.timestamp_type_log_append(),
                attributes.is_transactional(),
                attributes.is_control(),
            )
        };
        assert_eq!(flags(0), (false, false, false));
        assert_eq!(flags(1 << 3), (true, false, false));
        assert_eq!(flags(1 << 4), (false, true, false));
        assert_eq!(flags(1 << 5), (false, false, true));
        let codecs = [0, 1, 2, 3, 4].map(|bits| of(bits).compression().name());
        assert_eq!(codecs, ["none", "gzip", "snappy", "lz4", "zstd"]);
        assert_eq!([5, 6, 7].map(Attributes::from_bits), [Err(5), Err(6), Err(7)]);
        assert_eq!(of(0x7ff8).bits(), 0x7ff8);
    }

    #[test]
    fn append_time_stands_for_every_record() {
        let mut bytes = batch();
        let times = |bytes: &[u8]| {
            let raw = RawBatch::parse(bytes).unwrap();
            crate::records(raw.body(), &raw.header)
                .map(|r| r.unwrap().timestamp)
                .collect::<Vec<_>>()
        };
        assert_eq!(times(&bytes), [5, 9]);
        put(&mut bytes, ATTRIBUTES, (1i16 << 3).to_be_bytes());
        put(&mut bytes, MAX_TIMESTAMP, 1234i64.to_be_bytes());
        assert_eq!(times(&bytes), [1234, 1234]);
    }

    proptest! {
        #[test]
        fn encode_is_the_inverse_of_parse(bytes: [u8; 32], rest: [u8; HEADER_LEN - 32]) {
            let mut bytes = [bytes.as_slice(), rest.as_slice()].concat();
            put(&mut bytes, MAGIC_AT, MAGIC.to_be_bytes());
            bytes[0] &= 0x3f;
            bytes[8] &= 0x7f;
            bytes[22] &= !0b100;
            bytes[23] &= 0x7f;
            put(&mut bytes, RECORD_COUNT, [0; 4]);
            let header = BatchHeader::parse(&bytes);
            prop_assume!(header.is_ok());
            prop_assert_eq!(header.unwrap().encode().to_vec(), bytes);
        }
    }
}
