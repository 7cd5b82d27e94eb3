//! From fetched slices to batches whose records can be walked.
//!
//! A partition's slices queue up in its [`Source`]. Its lane takes one batch at a time: CRC, then
//! decompression into a buffer of the lane's buffer pool; records of an uncompressed batch stay
//! in the response. A [`Batch`] keeps alive what its records lie in, and with it the fetcher's
//! credit or the pool's buffer, for as long as an event of it is in use.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use onrush_kafka::Lease;
use onrush_record::{
    BatchHeader, Decompressor, Payload, RawBatch, Record, RecordError, batches, record_at, records,
};

/// Most bytes of the buffers that a pool keeps for the next batches.
const SPARE_BYTES: usize = 16 << 20;

/// Fetched batches of one partition.
#[derive(Debug)]
pub struct Slice {
    /// Whole batches, and maybe a cut one at the end.
    pub records: Bytes,
    /// The end of the partition.
    pub high_watermark: i64,
    /// Credit for the response; none in tests.
    pub lease: Option<Lease>,
}

/// The queue of a partition.
#[derive(Debug, Default)]
pub struct Source {
    slices: VecDeque<Slice>,
    /// Where in the first slice the next batch starts.
    at: usize,
    bytes: usize,
}

impl Source {
    /// Adds what was fetched next.
    pub fn push(&mut self, slice: Slice) {
        self.bytes += slice.records.len();
        self.slices.push_back(slice);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that are queued.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next batch, its records ready to be walked. Slices without one are dropped.
    pub fn next(&mut self, opener: &mut Opener) -> Option<Result<Batch, RecordError>> {
        loop {
            let slice = self.slices.front()?;
            match batches(&slice.records[self.at..]).next() {
                None => self.drop_slice(),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(raw)) => {
                    let batch = opener.open(&raw, slice, self.at);
                    let length = raw.bytes.len();
                    self.at += length;
                    self.bytes -= length;
                    if self.at == slice.records.len() {
                        self.drop_slice();
                    }
                    return Some(batch);
                }
            }
        }
    }

    fn drop_slice(&mut self) {
        if let Some(slice) = self.slices.pop_front() {
            self.bytes -= slice.records.len() - self.at;
        }
        self.at = 0;
    }
}

/// Opens the batches of a lane.
pub struct Opener {
    decompressor: Decompressor,
    pool: Arc<BufferPool>,
}

impl Opener {
    /// Opens batches with at most `batch_bytes` bytes of records.
    pub fn new(batch_bytes: usize) -> Self {
        Self { decompressor: Decompressor::new(batch_bytes), pool: Arc::default() }
    }

    /// Bytes of decompressed batches that are alive.
    pub fn bytes_alive(&self) -> usize {
        self.pool.alive.load(Ordering::Relaxed)
    }

    fn open(&mut self, raw: &RawBatch<'_>, slice: &Slice, at: usize) -> Result<Batch, RecordError> {
        raw.verify_crc()?;
        let header = raw.header;
        let mut buffer = self.pool.buffer();
        let body = match self.decompressor.payload(raw, &mut buffer.bytes)? {
            Payload::Decompressed => {
                buffer.count();
                Body::Decompressed(buffer)
            }
            Payload::InPlace => {
                let start = at + raw.bytes.len() - raw.body().len();
                let records = slice.records.slice(start..at + raw.bytes.len());
                Body::InPlace { records, _lease: slice.lease.clone() }
            }
        };
        Ok(Batch { header, length: raw.bytes.len(), body })
    }
}

/// A batch whose records can be walked, and what keeps them alive.
#[derive(Debug)]
pub struct Batch {
    header: BatchHeader,
    length: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    InPlace { records: Bytes, _lease: Option<Lease> },
    Decompressed(Buffer),
    Copied(Box<[u8]>),
}

impl Batch {
    /// Its header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes as it came.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The bytes of its records.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::InPlace { records, .. } => records,
            Body::Decompressed(buffer) => &buffer.bytes,
            Body::Copied(record) => record,
        }
    }

    /// A batch of only the record at `position`, which keeps nothing of this one alive; `None` if
    /// that takes more than `room` bytes, or is not a record.
    pub(crate) fn copy_out(&self, position: u32, room: usize) -> Option<Batch> {
        let start = position as usize;
        let (_, end) = self.step(start).ok()?;
        let record = self.payload().get(start..end).filter(|record| record.len() <= room)?;
        Some(Batch { header: self.header, length: record.len(), body: Body::Copied(record.into()) })
    }

    /// Whether it was copied out of another one.
    pub(crate) fn is_copy(&self) -> bool {
        matches!(self.body, Body::Copied(_))
    }

    /// Walks its records.
    #[inline]
    pub fn records(&self) -> onrush_record::Records<'_> {
        records(self.payload(), &self.header)
    }

    /// A record that was walked before.
    #[inline]
    pub fn record_at(&self, position: u32) -> Result<Record<'_>, RecordError> {
        record_at(self.payload(), position as usize, &self.header).map(|(record, _)| record)
    }

    /// A record, and where the next one starts.
    #[inline]
    pub fn step(&self, position: usize) -> Result<(Record<'_>, usize), RecordError> {
        record_at(self.payload(), position, &self.header)
    }
}

/// Buffers that batches were decompressed into, to be used again.
#[derive(Debug, Default)]
struct BufferPool {
    spare: Mutex<Vec<Vec<u8>>>,
    spare_bytes: AtomicUsize,
    alive: AtomicUsize,
}

impl BufferPool {
    fn buffer(self: &Arc<Self>) -> Buffer {
        let bytes =
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        self.spare_bytes.fetch_sub(bytes.capacity(), Ordering::Relaxed);
        Buffer { bytes, counted: 0, pool: Arc::clone(self) }
    }
}

/// A buffer that goes back to its pool when the last event of its batch is finished.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    counted: usize,
    pool: Arc<BufferPool>,
}

impl Buffer {
    fn count(&mut self) {
        self.counted = self.bytes.capacity();
        self.pool.alive.fetch_add(self.counted, Ordering::Relaxed);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.alive.fetch_sub(self.counted, Ordering::Relaxed);
        let mut bytes = std::mem::take(&mut self.bytes);
        let capacity = bytes.capacity();
        // Another lane's count may be in between: the limit may be passed by a buffer, not by many.
        if capacity > 0 && self.pool.spare_bytes.load(Ordering::Relaxed) + capacity <= SPARE_BYTES {
            bytes.clear();
            self.pool.spare_bytes.fetch_add(capacity, Ordering::Relaxed);
            self.pool.spare.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use bytes::BytesMut;
    use onrush_record::header::set_base_offset;
    use onrush_record::{BatchBuilder, Compression, Compressor};

    use super::*;

    /// A batch at `base`, of (key, value).
    pub(crate) fn batch(
        base: i64,
        compression: Compression,
        events: &[(Option<&[u8]>, &[u8])],
    ) -> BytesMut {
        let mut builder = BatchBuilder::new(compression);
        for (key, value) in events {
            builder.append(1_000, *key, Some(value), &[]).unwrap();
        }
        let mut batch = builder.seal(-1, -1, -1, &mut Compressor::default()).unwrap();
        set_base_offset(&mut batch, base);
        batch
    }

    pub(crate) fn slice(batches: impl IntoIterator<Item = BytesMut>, high_watermark: i64) -> Slice {
        let mut all = BytesMut::new();
        batches.into_iter().for_each(|batch| all.extend_from_slice(&batch));
        Slice { records: all.freeze(), high_watermark, lease: None }
    }
}

#[cfg(test)]
mod tests {
    use onrush_record::Compression;

    use super::testing::{batch, slice};
    use super::*;

    fn values(batch: &Batch) -> Vec<(i64, Vec<u8>)> {
        batch
            .records()
            .map(|record| record.unwrap())
            .map(|record| (record.offset, record.value.unwrap().to_vec()))
            .collect()
    }

    #[test]
    fn batches_come_out_in_order_and_a_cut_one_ends_its_slice() {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        let cut = batch(9, Compression::None, &[(None, b"c")]).split_to(40);
        source.push(slice([batch(5, Compression::None, &[(None, b"a"), (None, b"b")]), cut], 20));
        source.push(slice([batch(9, Compression::Lz4, &[(None, b"c")])], 20));
        let first = source.next(&mut opener).unwrap().unwrap();
        assert_eq!(values(&first), [(5, b"a".to_vec()), (6, b"b".to_vec())]);
        let second = source.next(&mut opener).unwrap().unwrap();
        assert_eq!(values(&second), [(9, b"c".to_vec())]);
        assert!(source.next(&mut opener).is_none());
        assert_eq!(source.bytes(), 0);
    }

    #[test]
    fn a_decompressed_buffer_is_counted_while_alive_and_used_again() {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        for base in 0..2 {
            source.push(slice([batch(base, Compression::Lz4, &[(None, &[7; 5_000])])], 20));
        }
        let first = source.next(&mut opener).unwrap().unwrap();
        let place = first.payload().as_ptr();
        assert!(opener.bytes_alive() >= 5_000);
        drop(first);
        assert_eq!(opener.bytes_alive(), 0);
        assert_eq!(source.next(&mut opener).unwrap().unwrap().payload().as_ptr(), place);
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        let mut bad = batch(0, Compression::None, &[(None, b"value")]);
        *bad.last_mut().unwrap() ^= 1;
        source.push(slice([bad], 1));
        assert!(matches!(source.next(&mut opener), Some(Err(RecordError::Crc { .. }))));
    }
}
