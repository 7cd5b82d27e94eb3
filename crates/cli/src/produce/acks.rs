//! What became of what was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use onrush_kafka::{AckSink, Acked, ProduceError};
use tokio::sync::Notify;

/// Counts acknowledged records and those that were not, with the first reason.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<ProduceError>>,
    failure: Notify,
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let count = u64::from(result.count);
        match result.outcome {
            Ok(_) => {
                self.acknowledged.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.failed.fetch_add(count, Ordering::Relaxed);
                self.failure.notify_one();
            }
        }
    }
}

impl Acks {
    /// Returns when a batch has failed.
    pub(crate) async fn failure(&self) {
        self.failure.notified().await;
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many records failed, and why the first did.
    pub(crate) fn failed(&self) -> Option<(u64, ProduceError)> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some((self.failed.load(Ordering::Relaxed), first))
    }
}
