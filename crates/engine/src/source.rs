//! From fetched slices to batches whose records can be walked.
//!
//! A partition's slices queue up in its [`Source`]. Its lane takes one batch at a time: CRC, then
//! decompression into a buffer of the lane's buffer pool; records of an uncompressed batch stay
//! in the response. A [`Batch`] keeps alive what its records lie in, and with it the fetcher's
//! credit or the pool's buffer, for as long as an event of it is in use.
//!
//! A source knows how much memory its partition answers for ([`Source::held`]): of a response, which
//! other partitions have slices of, its part. What is left of a response when the others have let
//! theirs go is all its own, however small the slice; so such slices are copied out
//! ([`Source::copy_out_small`]) before a slow partition is told to take no more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use onrush_kafka::{Credit, Lease};
use onrush_record::{
    BatchHeader, Decompressor, Payload, RawBatch, Record, RecordError, batches, record_at, records,
};

use crate::buffer::{Buffer, BufferPool};

/// A slice is copied out when it keeps so many times its own bytes alive.
const COPY_RATIO: usize = 4;
/// So many slices that may be in use are remembered before it is looked whether they are.
const USED_MIN: usize = 32;

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

/// Keeps a response alive for one partition: for its slice in the queue, and its batches in use.
#[derive(Debug)]
struct Hold {
    lease: Option<Lease>,
    length: usize,
}

impl Hold {
    /// The bytes of the response that the partition answers for.
    fn part(&self) -> usize {
        self.lease.as_ref().map_or(self.length, Lease::part)
    }
}

#[derive(Debug)]
struct Queued {
    records: Bytes,
    hold: Arc<Hold>,
}

/// The queue of a partition.
#[derive(Debug, Default)]
pub struct Source {
    slices: VecDeque<Queued>,
    /// Where in the first slice the next batch starts.
    at: usize,
    bytes: usize,
    /// Slices that are not queued any more and of which batches may be in use.
    used: VecDeque<Weak<Hold>>,
    /// How many of these there may be before those that are not in use any more are forgotten.
    used_most: usize,
    /// Bytes of decompressed batches in use.
    opened: Arc<AtomicUsize>,
    /// The next batch was bad before: it is kept as it comes.
    suspects: bool,
    suspect: Option<Bytes>,
}

impl Source {
    /// Adds what was fetched next.
    pub fn push(&mut self, slice: Slice) {
        let Slice { records, lease, .. } = slice;
        self.bytes += records.len();
        let hold = Arc::new(Hold { lease, length: records.len() });
        self.slices.push_back(Queued { records, hold });
    }

    /// The next batch was bad before; see [`Source::suspect`].
    pub(crate) fn suspect_next(&mut self) {
        self.suspects = true;
    }

    /// The batch that [`Source::next`] gave last, as it came, if it was suspected.
    pub(crate) fn suspect(&mut self) -> Option<Bytes> {
        self.suspect.take()
    }

    /// The first offset of the batch that is next.
    pub(crate) fn next_base(&self) -> Option<i64> {
        let slice = self.slices.front()?;
        batches(&slice.records[self.at..]).next()?.ok().map(|raw| raw.header.base_offset)
    }

    /// Forgets what is queued.
    pub fn clear(&mut self) {
        self.suspect = None;
        while !self.slices.is_empty() {
            self.drop_slice();
        }
    }

    /// Bytes of fetched data that this partition keeps alive, queued or in use.
    pub fn held(&mut self) -> usize {
        self.used.retain(|hold| hold.strong_count() > 0);
        let used = self.used.iter().filter_map(Weak::upgrade).map(|hold| hold.part());
        self.slices.iter().map(|queued| queued.hold.part()).chain(used).sum()
    }

    /// Bytes of decompressed batches of this partition that are in use.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Copies those slices out of their responses that keep much more alive than they are.
    pub fn copy_out_small(&mut self) {
        for queued in &mut self.slices {
            let Some(lease) = &queued.hold.lease else { continue };
            let length = queued.records.len();
            if length * COPY_RATIO <= lease.part() {
                let lease = Some(lease.copied(length));
                let hold = Arc::new(Hold { lease, length });
                let before = std::mem::replace(&mut queued.hold, hold);
                self.used.push_back(Arc::downgrade(&before));
                queued.records = Bytes::copy_from_slice(&queued.records);
            }
        }
    }

    /// Bytes that are queued.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next batch, its records ready to be walked. Slices without one are dropped.
    pub fn next(&mut self, opener: &mut Opener) -> Option<Result<Batch, RecordError>> {
        loop {
            self.suspect = None;
            let slice = self.slices.front()?;
            match batches(&slice.records[self.at..]).next() {
                None => self.drop_slice(),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(raw)) => {
                    if std::mem::take(&mut self.suspects) {
                        // Alone, so that the response can go.
                        self.suspect = Some(Bytes::copy_from_slice(raw.bytes));
                    }
                    let batch = opener.open(&raw, slice, self.at, &self.opened);
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
        if let Some(Queued { records, hold }) = self.slices.pop_front() {
            self.bytes -= records.len() - self.at;
            if Arc::strong_count(&hold) > 1 {
                if self.used.len() >= self.used_most {
                    self.used.retain(|hold| hold.strong_count() > 0);
                    self.used_most = USED_MIN.max(2 * self.used.len());
                }
                self.used.push_back(Arc::downgrade(&hold));
            }
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
        Self::within(batch_bytes, Credit::new(usize::MAX, 0))
    }

    /// The same with buffers that count in `credit`.
    pub fn within(batch_bytes: usize, credit: Credit) -> Self {
        let pool = Arc::new(BufferPool::new(credit));
        Self { decompressor: Decompressor::new(batch_bytes), pool }
    }

    /// Bytes of decompressed batches that are alive.
    pub fn bytes_alive(&self) -> usize {
        self.pool.bytes_alive()
    }

    /// Whether memory is short: then partitions have to keep to their shares.
    pub fn is_short(&self) -> bool {
        self.pool.credit().lent() > self.pool.credit().total() / 2
    }

    /// Whether another batch of `source` may be opened, whose partition has a share of `share`
    /// bytes. If nothing is open it always may, so that the lane is never stuck.
    pub fn may_open(&self, source: &Source, share: usize) -> bool {
        let credit = self.pool.credit();
        let has_room = credit.lent() < credit.total();
        let keeps_to_it = source.opened() <= share || !self.is_short();
        self.bytes_alive() == 0 || (has_room && keeps_to_it)
    }

    fn open(
        &mut self,
        raw: &RawBatch<'_>,
        queued: &Queued,
        at: usize,
        opened: &Arc<AtomicUsize>,
    ) -> Result<Batch, RecordError> {
        raw.verify_crc()?;
        let header = raw.header;
        let mut buffer = self.pool.take();
        let body = match self.decompressor.payload(raw, &mut buffer)? {
            Payload::Decompressed => Body::Decompressed(self.pool.filled(buffer, opened)),
            Payload::InPlace => {
                self.pool.put(buffer, None);
                let start = at + raw.bytes.len() - raw.body().len();
                let records = queued.records.slice(start..at + raw.bytes.len());
                Body::InPlace { records, _hold: Arc::clone(&queued.hold) }
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
    InPlace { records: Bytes, _hold: Arc<Hold> },
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
            Body::Decompressed(buffer) => buffer.bytes(),
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

    /// Bytes of a record that was walked before.
    pub(crate) fn length_at(&self, position: u32) -> usize {
        let start = position as usize;
        self.step(start).map_or(0, |(_, end)| end - start)
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
    fn slices_that_are_not_in_use_any_more_are_forgotten() {
        let (mut source, mut opener) = (Source::default(), Opener::new(1 << 20));
        let mut stuck = Vec::new();
        for base in 0..10_000 {
            source.push(slice([batch(base, Compression::None, &[(None, b"a")])], 20));
            let batch = source.next(&mut opener).unwrap().unwrap();
            if base % 1_000 == 0 {
                stuck.push(batch);
            }
        }
        assert!(source.used.len() <= 2 * USED_MIN, "{} are remembered", source.used.len());
        assert_eq!(source.held(), stuck.iter().map(Batch::length).sum::<usize>());
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

    #[test]
    fn a_partition_answers_for_what_the_others_have_let_go() {
        let (credit, mut opener) = (Credit::new(10_000, 0), Opener::new(1 << 20));
        let lease = || Lease::new(&credit, 4_000);
        let slice_of = |lease: &Lease| Slice {
            lease: Some(lease.clone()),
            ..slice([batch(0, Compression::None, &[(None, b"a")])], 20)
        };
        let (first, mut source, mut other) = (lease(), Source::default(), Source::default());
        source.push(slice_of(&first));
        other.push(slice_of(&first));
        drop(first);
        assert_eq!((source.held(), other.held()), (2_000, 2_000));
        let in_use = other.next(&mut opener).unwrap().unwrap();
        assert_eq!((other.bytes(), other.held()), (0, 2_000), "its batch is in use");
        drop(in_use);
        assert_eq!((source.held(), other.held()), (4_000, 0));
        source.copy_out_small();
        assert_eq!((source.held(), credit.lent()), (source.bytes(), source.bytes()));
        let copy = source.next(&mut opener).unwrap().unwrap();
        assert_eq!(values(&copy), [(0, b"a".to_vec())]);
        drop(copy);
        assert_eq!((source.held(), credit.lent()), (0, 0));
    }

    #[test]
    fn a_slice_that_is_most_of_its_response_is_not_copied() {
        let credit = Credit::new(10_000, 0);
        let whole = slice([batch(0, Compression::None, &[(None, &[7; 900])])], 20);
        let (place, length) = (whole.records.as_ptr(), whole.records.len());
        let mut source = Source::default();
        source.push(Slice { lease: Some(Lease::new(&credit, length + 100)), ..whole });
        source.copy_out_small();
        assert_eq!((source.slices[0].records.as_ptr(), source.held()), (place, length + 100));
    }

    #[test]
    fn decompressed_batches_count_in_the_credit_and_against_the_share() {
        let credit = Credit::new(64 << 10, 0);
        let mut opener = Opener::within(1 << 20, credit.clone());
        let mut source = Source::default();
        let value = vec![7; 20_000];
        (0..4).for_each(|base| {
            source.push(slice([batch(base, Compression::Lz4, &[(None, &value)])], 20));
        });
        let mut open = Vec::new();
        while opener.may_open(&source, 30_000) {
            open.push(source.next(&mut opener).unwrap().unwrap());
        }
        assert!(source.bytes() > 0, "all {} were opened", open.len());
        assert!(source.opened() > 30_000 && opener.is_short());
        assert_eq!(credit.lent(), source.opened());
        open.clear();
        assert_eq!(source.opened(), 0);
        assert_eq!(credit.lent(), 0, "they are too large to be spares");
        assert!(opener.may_open(&source, 0), "nothing is open");
    }
}
