//! Buffers that batches are decompressed into, to be used again.
//!
//! A buffer counts in the member's credit from when it is filled until it is freed, also while it is
//! spare.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onrush_kafka::{Credit, Loan};

/// Spare buffers of a lane have at most one in so many bytes of the credit.
const SPARE_PART: usize = 64;
/// And this at most.
const SPARE_BYTES: usize = 16 << 20;

/// The buffers of a lane.
#[derive(Debug)]
pub(crate) struct BufferPool {
    credit: Credit,
    spare: Mutex<Spare>,
    alive: AtomicUsize,
}

#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    loans: Vec<Loan>,
    bytes: usize,
}

impl BufferPool {
    pub(crate) fn new(credit: Credit) -> Self {
        Self { credit, spare: Mutex::default(), alive: AtomicUsize::new(0) }
    }

    /// What the buffers count in.
    pub(crate) fn credit(&self) -> &Credit {
        &self.credit
    }

    /// Bytes of the buffers in use.
    pub(crate) fn bytes_alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// A spare buffer, or a new one.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut spare = self.spare();
        let bytes = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= bytes.capacity();
        // It counts again when it is filled, which is at once, or put back.
        drop(spare.loans.pop());
        bytes
    }

    /// Counts a buffer that was filled, here and for its partition.
    pub(crate) fn filled(self: &Arc<Self>, bytes: Vec<u8>, partition: &Arc<AtomicUsize>) -> Buffer {
        let capacity = bytes.capacity();
        self.alive.fetch_add(capacity, Ordering::Relaxed);
        partition.fetch_add(capacity, Ordering::Relaxed);
        let (loan, pool) = (Some(self.credit.charge(capacity)), Arc::clone(self));
        Buffer { bytes, loan, partition: Arc::clone(partition), pool }
    }

    /// Keeps a buffer for the next batch, if there is room.
    pub(crate) fn put(&self, mut bytes: Vec<u8>, loan: Option<Loan>) {
        let capacity = bytes.capacity();
        let limit = (self.credit.total() / SPARE_PART).min(SPARE_BYTES);
        let mut spare = self.spare();
        if capacity == 0 || spare.bytes + capacity > limit {
            return;
        }
        bytes.clear();
        spare.bytes += capacity;
        spare.buffers.push(bytes);
        spare.loans.push(loan.unwrap_or_else(|| self.credit.charge(capacity)));
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back to its pool when the last event of its batch is finished.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    loan: Option<Loan>,
    partition: Arc<AtomicUsize>,
    pool: Arc<BufferPool>,
}

impl Buffer {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.alive.fetch_sub(bytes.capacity(), Ordering::Relaxed);
        self.partition.fetch_sub(bytes.capacity(), Ordering::Relaxed);
        self.pool.put(bytes, self.loan.take());
    }
}
