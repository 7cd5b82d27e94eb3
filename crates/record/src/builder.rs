//! Batches built in place.
//!
//! Records are appended behind room for the header, in the buffer that goes on the wire when
//! nothing is compressed; sealing fills the header in. A builder is then empty and used again.

use bytes::BytesMut;

use crate::codec::{Codec, Compression};
use crate::compressor::Compressor;
use crate::error::RecordError;
use crate::header::{
    Attributes, BatchHeader, HEADER_LEN, LENGTH_END, MAGIC, NO_LEADER_EPOCH, NO_PRODUCER_ID,
    set_crc, set_producer,
};
use crate::record_headers::Header;
use crate::varint::{self, MAX_LEN_32, MAX_LEN_64};

/// Most bytes of a batch before compression. Lengths are 32-bit fields, which must hold even when
/// compression makes the batch larger.
const MAX_BATCH_LEN: usize = 1 << 30;

/// Bytes zeroed at a time: so few that they are still in the first cache when records are written over them.
const ZEROED: usize = 4 * 1024;

/// No attribute of a record has a meaning yet.
const RECORD_ATTRIBUTES: u8 = 0;

/// Most bytes of a record before its key: length, attributes, timestamp, offset, key length.
const MAX_PREFIX_LEN: usize = MAX_LEN_32 + 1 + MAX_LEN_64 + MAX_LEN_32 + MAX_LEN_32;

/// Builds batches for one partition.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    capacity: usize,
    /// Zeroed a little ahead of what is used, so that a record is written without checking for room
    /// at each of its fields.
    buffer: BytesMut,
    used: usize,
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: i32,
}

impl BatchBuilder {
    /// A builder that allocates as records come.
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder::with_capacity(compression, HEADER_LEN)
    }

    /// A builder whose buffers have room for `capacity` bytes from their start.
    pub fn with_capacity(compression: Compression, capacity: usize) -> BatchBuilder {
        BatchBuilder {
            compression,
            capacity: capacity.max(HEADER_LEN),
            buffer: BytesMut::new(),
            used: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            record_count: 0,
        }
    }

    /// Appends a record. The first one's timestamp is what the others are relative to.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), RecordError> {
        if self.record_count == 0 {
            self.open(timestamp);
        }
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let body = body_len(timestamp_delta, self.record_count, key, value, headers);
        let len = varint::len(body as i64) + body;
        if self.used + len > MAX_BATCH_LEN {
            return Err(RecordError::BatchFull { batch: self.used, record: len });
        }
        if self.buffer.len() < self.used + len {
            self.grow(len);
        }
        let record = &mut self.buffer[self.used..self.used + len];
        let at = varint::put(record, 0, body as i64);
        record[at] = RECORD_ATTRIBUTES;
        let at = varint::put(record, at + 1, timestamp_delta);
        let at = varint::put(record, at, i64::from(self.record_count));
        let at = put_field(record, at, key);
        let at = put_field(record, at, value);
        put_headers(record, at, headers);
        self.used += len;
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// Bytes of the batch so far, before compression and with its header.
    pub fn len(&self) -> usize {
        if self.is_empty() { HEADER_LEN } else { self.used }
    }

    /// Whether the batch has no records.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Records in the batch.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// What the batch will be compressed with.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// At least the bytes that [`append`](BatchBuilder::append) adds for this record.
    pub fn estimate(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> usize {
        let headers = headers
            .iter()
            .map(|header| 2 * MAX_LEN_32 + header.key.len() + header.value.map_or(0, <[u8]>::len));
        let bodies = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        MAX_PREFIX_LEN + 2 * MAX_LEN_32 + bodies + headers.sum::<usize>()
    }

    /// Seals the batch, appends it to `out`, and leaves the builder empty with its buffer.
    ///
    /// Base offset and leader epoch are those that clients send: 0 and -1.
    pub fn finish(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        compressor: &mut Compressor,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let header = self.header(producer_id, producer_epoch, base_sequence)?;
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let records = &self.buffer[HEADER_LEN..self.used];
        if let Err(error) = compressor.append(self.compression, records, out) {
            out.truncate(start);
            return Err(error);
        }
        close(header, &mut out[start..]);
        self.record_count = 0;
        Ok(())
    }

    /// Seals the batch and hands its buffer out: uncompressed, the very one that records were
    /// appended to, with the room that is left in it. The builder is then empty.
    pub fn seal(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        compressor: &mut Compressor,
    ) -> Result<BytesMut, RecordError> {
        let mut batch = self.seal_unnumbered(compressor)?;
        set_producer(&mut batch, producer_id, producer_epoch, base_sequence);
        Ok(batch)
    }

    /// As [`seal`](BatchBuilder::seal), for who does not know producer and sequence yet: the batch
    /// has neither them nor a CRC until [`set_producer`] gives it all three, so that its bytes are
    /// summed once only.
    pub fn seal_unnumbered(
        &mut self,
        compressor: &mut Compressor,
    ) -> Result<BytesMut, RecordError> {
        let header = self.header(NO_PRODUCER_ID, -1, -1)?;
        let mut batch = if self.compression.codec() == Codec::None {
            let mut batch = std::mem::take(&mut self.buffer);
            batch.truncate(self.used);
            batch
        } else {
            let records = &self.buffer[HEADER_LEN..self.used];
            let records = compressor.compress(self.compression, records)?;
            let mut batch = BytesMut::with_capacity(HEADER_LEN + records.len());
            batch.resize(HEADER_LEN, 0);
            batch.extend_from_slice(records);
            batch
        };
        write_header(header, &mut batch);
        self.record_count = 0;
        Ok(batch)
    }

    fn open(&mut self, timestamp: i64) {
        if self.buffer.capacity() < self.capacity {
            self.buffer.reserve(self.capacity - self.buffer.len());
        }
        self.used = HEADER_LEN;
        self.base_timestamp = timestamp;
        self.max_timestamp = timestamp;
    }

    #[inline(never)]
    fn grow(&mut self, len: usize) {
        let needed = self.used + len;
        let room = self.buffer.capacity();
        if room < needed {
            let doubled = (2 * room).min(MAX_BATCH_LEN).max(needed);
            self.buffer.reserve(doubled - self.buffer.len());
        }
        let ahead = (needed + ZEROED).min(self.buffer.capacity());
        self.buffer.resize(ahead, 0);
    }

    /// The header but for length and CRC.
    fn header(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
    ) -> Result<BatchHeader, RecordError> {
        if self.record_count == 0 {
            return Err(RecordError::BatchEmpty);
        }
        Ok(BatchHeader {
            base_offset: 0,
            batch_length: 0,
            partition_leader_epoch: NO_LEADER_EPOCH,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes::new(self.compression.codec()),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: self.record_count,
        })
    }
}

/// Writes the header into the room before the records.
fn close(header: BatchHeader, batch: &mut [u8]) {
    write_header(header, batch);
    set_crc(batch);
}

/// As [`close`], without the CRC.
fn write_header(mut header: BatchHeader, batch: &mut [u8]) {
    header.batch_length = (batch.len() - LENGTH_END) as i32;
    batch[..HEADER_LEN].copy_from_slice(&header.encode());
}

/// Writes a nullable field with its length, and returns the place after it.
#[inline(always)]
fn put_field(record: &mut [u8], at: usize, field: Option<&[u8]>) -> usize {
    let start = varint::put(record, at, wire_len(field));
    let bytes = field.unwrap_or_default();
    let end = start + bytes.len();
    record[start..end].copy_from_slice(bytes);
    end
}

fn put_headers(record: &mut [u8], at: usize, headers: &[Header<'_>]) {
    let mut at = varint::put(record, at, headers.len() as i64);
    for header in headers {
        at = put_field(record, at, Some(header.key.as_bytes()));
        at = put_field(record, at, header.value);
    }
}

/// Bytes of a record after its length.
#[inline(always)]
fn body_len(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> usize {
    let headers_len: usize = headers
        .iter()
        .map(|header| {
            varint::len(header.key.len() as i64) + header.key.len() + field_len(header.value)
        })
        .sum();
    1 + varint::len(timestamp_delta)
        + varint::len(i64::from(offset_delta))
        + field_len(key)
        + field_len(value)
        + varint::len(headers.len() as i64)
        + headers_len
}

/// Bytes of a nullable field with its length.
fn field_len(field: Option<&[u8]>) -> usize {
    varint::len(wire_len(field)) + field.map_or(0, <[u8]>::len)
}

/// The length as it is written: -1 for null.
fn wire_len(field: Option<&[u8]>) -> i64 {
    field.map_or(-1, |bytes| bytes.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncompressed_batch_is_handed_out_where_it_was_built() {
        let mut builder = BatchBuilder::with_capacity(Compression::None, 1 << 16);
        builder.append(0, Some(b"key"), Some(&[7; 1000]), &[]).unwrap();
        let built = builder.buffer.as_ptr();
        let len = builder.len();
        let batch = builder.seal(1, 1, 1, &mut Compressor::new()).unwrap();
        assert_eq!((batch.as_ptr(), batch.len()), (built, len));
        assert!(builder.is_empty());
        assert_eq!(builder.len(), HEADER_LEN);
    }

    #[test]
    fn an_empty_batch_is_not_sealed() {
        let mut builder = BatchBuilder::new(Compression::None);
        let (mut compressor, mut out) = (Compressor::new(), Vec::new());
        let sealed = builder.seal(NO_PRODUCER_ID, -1, -1, &mut compressor);
        assert_eq!(sealed.unwrap_err(), RecordError::BatchEmpty);
        let finished = builder.finish(NO_PRODUCER_ID, -1, -1, &mut compressor, &mut out);
        assert_eq!(finished, Err(RecordError::BatchEmpty));
        assert!(out.is_empty());
    }

    #[test]
    fn finish_appends_and_keeps_the_buffer() {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        let (mut compressor, mut out) = (Compressor::new(), b"before".to_vec());
        builder.append(0, None, Some(&[7; 1000]), &[]).unwrap();
        let buffer = builder.buffer.as_ptr();
        builder.finish(1, 1, 1, &mut compressor, &mut out).unwrap();
        let first = out.len();
        builder.append(3, None, Some(b"second"), &[]).unwrap();
        assert_eq!(builder.buffer.as_ptr(), buffer);
        builder.finish(1, 1, 2, &mut compressor, &mut out).unwrap();
        assert_eq!(&out[..6], b"before");
        let header = BatchHeader::parse(&out[first..]).unwrap();
        assert_eq!((header.base_timestamp, header.base_sequence, header.record_count), (3, 2, 1));
        assert_eq!(header.total_len(), out.len() - first);
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_the_batch_as_it_was() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, None, Some(b"first"), &[]).unwrap();
        let before = builder.len();
        let name = "n".repeat(1 << 20);
        let header = Header { key: &name, value: None };
        let error = builder.append(0, None, None, &vec![header; 1025]).unwrap_err();
        assert!(matches!(error, RecordError::BatchFull { batch, .. } if batch == before));
        assert_eq!((builder.len(), builder.record_count()), (before, 1));
    }
}
