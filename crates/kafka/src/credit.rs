//! Credit: the bytes of fetched data that may be alive at once.
//!
//! A fetch takes credit for all it may bring before it is sent. When the response is here, the loan
//! is settled to its length; what is left of it becomes a [`Lease`] that the slices of the response
//! share, because each of them keeps the whole buffer alive. The credit returns when the last lease
//! is dropped.
//!
//! A broker answers with at least one whole batch, however long. One longer than the named largest
//! batch overdraws the credit: nothing is asked for until it is paid back.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;

#[derive(Debug, Clone)]
pub(crate) struct Credit {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    total: usize,
    lent: Mutex<usize>,
    returned: Notify,
}

impl Credit {
    pub(crate) fn new(total: usize) -> Self {
        Self { pool: Arc::new(Pool { total, lent: Mutex::new(0), returned: Notify::new() }) }
    }

    /// Bytes that are lent.
    pub(crate) fn lent(&self) -> usize {
        *lock(&self.pool.lent)
    }

    /// As much of `want` as there is, but not less than `floor`.
    pub(crate) fn try_take(&self, floor: usize, want: usize) -> Option<Loan> {
        let mut lent = lock(&self.pool.lent);
        let bytes = want.min(self.pool.total.saturating_sub(*lent));
        // A floor above the total could never be met.
        if bytes < floor.min(self.pool.total) {
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

/// Credit of one fetch.
#[derive(Debug)]
pub(crate) struct Loan {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Loan {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the loan what the response really takes, and shareable.
    pub(crate) fn settle(mut self, used: usize) -> Lease {
        let lent = self.bytes;
        self.bytes = used;
        {
            let mut total = lock(&self.pool.lent);
            *total = (*total + used).saturating_sub(lent);
        }
        self.pool.returned.notify_waiters();
        Lease { _loan: Arc::new(self) }
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
    _loan: Arc<Loan>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn credit_returns_with_the_last_lease() {
        let credit = Credit::new(100);
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
        let credit = Credit::new(100);
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
}
