//! Credit: the bytes that may be alive at once of what was fetched, and of what is made of it.
//!
//! A fetch takes credit for all it may bring before it is sent. When the response is here, the loan
//! is settled to its length; what is left of it becomes a [`Lease`] that the slices of the response
//! share, because each of them keeps the whole buffer alive. The credit returns when the last lease
//! is dropped.
//!
//! A broker answers with at least one whole batch, however long. One longer than the named largest
//! batch overdraws the credit: nothing is asked for until it is paid back.
//!
//! Whoever makes other buffers of what was fetched (decompressed batches, copies) takes a [`Loan`]
//! for them from the same pool, so that one number says what is alive. Such a loan is never refused;
//! fetches leave a reserve for it, so that what is here can always be worked on.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;

/// A pool of bytes; clones share it.
#[derive(Debug, Clone)]
pub struct Credit {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    total: usize,
    /// Most that may be lent when a fetch takes more.
    fetchable: usize,
    lent: Mutex<usize>,
    returned: Notify,
}

impl Credit {
    /// A pool of `total` bytes, of which fetches leave `reserve` alone.
    #[must_use]
    pub fn new(total: usize, reserve: usize) -> Self {
        let fetchable = total.saturating_sub(reserve);
        let (lent, returned) = (Mutex::new(0), Notify::new());
        Self { pool: Arc::new(Pool { total, fetchable, lent, returned }) }
    }

    /// All bytes of the pool.
    #[must_use]
    pub fn total(&self) -> usize {
        self.pool.total
    }

    /// Bytes that are lent.
    #[must_use]
    pub fn lent(&self) -> usize {
        *lock(&self.pool.lent)
    }

    /// A loan for a buffer that is there already, or will be at once. It may overdraw the pool.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Loan {
        *lock(&self.pool.lent) += bytes;
        Loan { pool: Arc::clone(&self.pool), bytes }
    }

    /// As much of `want` as there is, but not less than `floor`.
    pub(crate) fn try_take(&self, floor: usize, want: usize) -> Option<Loan> {
        let mut lent = lock(&self.pool.lent);
        let bytes = want.min(self.pool.fetchable.saturating_sub(*lent));
        // A floor above all that there is could never be met.
        if bytes < floor.min(self.pool.fetchable) {
            return None;
        }
        *lent += bytes;
        drop(lent);
        Some(Loan { pool: Arc::clone(&self.pool), bytes })
    }

    /// The same, waiting for the floor.
    pub(crate) async fn take(&self, floor: usize, want: usize) -> Loan {
        loop {
            let returned = self.pool.returned.notified();
            tokio::pin!(returned);
            // Registered before the look, so that what returns in between is not missed.
            returned.as_mut().enable();
            if let Some(loan) = self.try_take(floor, want) {
                return loan;
            }
            returned.await;
        }
    }
}

/// Credit of one fetch, or of one buffer; it returns to the pool when this is dropped.
#[derive(Debug)]
pub struct Loan {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Loan {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the loan what the buffer really takes. It may overdraw the pool.
    pub fn resize(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        {
            let mut lent = lock(&self.pool.lent);
            *lent = (*lent + bytes).saturating_sub(before);
        }
        if bytes < before {
            self.pool.returned.notify_waiters();
        }
    }

    /// Makes the loan what the response really takes, and shareable.
    pub(crate) fn settle(mut self, used: usize) -> Lease {
        self.resize(used);
        Lease { loan: Arc::new(self) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        {
            let mut lent = lock(&self.pool.lent);
            *lent = lent.saturating_sub(self.bytes);
        }
        self.pool.returned.notify_waiters();
    }
}

/// Credit for a response buffer. Whoever keeps a slice of the buffer keeps a clone of its lease.
#[derive(Debug, Clone)]
pub struct Lease {
    loan: Arc<Loan>,
}

impl Lease {
    /// A lease of a buffer of so many bytes, which may overdraw the pool.
    #[must_use]
    pub fn new(credit: &Credit, bytes: usize) -> Self {
        Self { loan: Arc::new(credit.charge(bytes)) }
    }

    /// Bytes of the whole buffer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.loan.bytes
    }

    /// The part of the buffer that this clone answers for: all clones of a lease share alike, since
    /// each of them alone keeps the buffer alive.
    #[must_use]
    pub fn part(&self) -> usize {
        self.loan.bytes / Arc::strong_count(&self.loan).max(1)
    }

    /// A lease of the same pool for a copy of a part of the buffer.
    #[must_use]
    pub fn copied(&self, bytes: usize) -> Self {
        let credit = Credit { pool: Arc::clone(&self.loan.pool) };
        Self::new(&credit, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn credit_returns_with_the_last_lease() {
        let credit = Credit::new(100, 0);
        let loan = credit.try_take(10, 80).expect("free");
        assert_eq!(loan.bytes(), 80);
        assert!(credit.try_take(30, 80).is_none());
        let rest = credit.try_take(10, 80).expect("the floor is there");
        assert_eq!((rest.bytes(), credit.lent()), (20, 100));
        drop(rest);
        let lease = loan.settle(50);
        let other = lease.clone();
        assert_eq!(credit.lent(), 50);
        drop(lease);
        assert_eq!(credit.lent(), 50);
        let (taken, ()) = tokio::join!(credit.take(60, 60), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(other);
        });
        assert_eq!((taken.bytes(), credit.lent()), (60, 60));
    }

    #[test]
    fn an_oversized_batch_overdraws_and_is_paid_back() {
        let credit = Credit::new(100, 0);
        let lease = credit.try_take(10, 50).expect("free").settle(170);
        assert_eq!(credit.lent(), 170);
        assert!(credit.try_take(1, 1).is_none());
        drop(lease);
        assert_eq!(credit.lent(), 0);
        assert_eq!(
            credit.try_take(1_000, 1_000).expect("the floor is at most the total").bytes(),
            100
        );
    }

    #[test]
    fn what_is_made_of_fetched_data_counts_and_has_a_reserve() {
        let credit = Credit::new(100, 25);
        assert_eq!(credit.try_take(10, 500).expect("free").bytes(), 75);
        let mut buffer = credit.charge(20);
        assert_eq!(credit.try_take(10, 500).expect("free").bytes(), 55);
        buffer.resize(90);
        assert_eq!(credit.lent(), 90);
        assert!(credit.try_take(1, 1).is_none(), "the reserve is not for fetches");
        buffer.resize(10);
        assert_eq!(credit.try_take(65, 65).expect("free").bytes(), 65);
        drop(buffer);
        assert_eq!(credit.lent(), 0);
    }

    #[test]
    fn whoever_is_left_answers_for_the_whole_buffer() {
        let credit = Credit::new(100, 0);
        let first = credit.try_take(90, 90).expect("free").settle(90);
        let (second, third) = (first.clone(), first.clone());
        assert_eq!((first.part(), first.bytes()), (30, 90));
        drop((second, third));
        assert_eq!(first.part(), 90);
        let copy = first.copied(4);
        drop(first);
        assert_eq!((copy.part(), credit.lent()), (4, 4));
    }
}
