//! The fetcher: reads assigned partitions from their leaders, a loop per broker, and hands slices
//! to the partitions' sinks.
//!
//! A *slot* is what is known of an assigned partition. Its states: *unplaced* (leader not looked up
//! yet), *ready* (its leader's loop asks for it), *stale* (the leader is not known or said no: the
//! metadata is fetched anew), *out of range* (the ends of the log are being looked up), *stopped*
//! (a failure was delivered; only a new assignment helps). The router places slots and starts the
//! loops; a loop asks for the slots that are placed with its broker.
//!
//! One round of a loop: take credit, plan (which slots, in rotated order, so that the first
//! partition is not always the one that fills the response), send, *then* deliver what the round
//! before brought, await the response, move the slots' offsets. So the broker works on the next
//! response while sinks take the last one. What a failed connection did not bring is asked for
//! again from the same offsets. A slot that was assigned anew in between has another token, and
//! what was asked for the old one is dropped.
//!
//! Only batch headers are looked at here; CRC and records are the sink's affair. Records are
//! fetched up to the high watermark, whether or not their transactions are decided.

pub mod config;
mod round;
mod slot;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use onrush_runtime::Task;
use tokio::sync::{Notify, watch};

pub use config::FetchConfig;

use crate::admin::At;
use crate::client::Client;
use crate::credit::{Credit, Lease};
use crate::error::ClientError;
use crate::lock::lock;
use crate::partition::TopicPartition;
use slot::{Slot, Slots, Status};

/// Batches of one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The partition.
    pub partition: TopicPartition,
    /// What [`Fetcher::assign`] was given: tells a fresh slice from one of an assignment that
    /// ended.
    pub token: u64,
    /// A slice of the response: whole batches, the first of which may start below `fetch_offset`,
    /// and no cut one.
    pub records: Bytes,
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The first offset still in the log.
    pub log_start: i64,
    /// What had been asked for.
    pub fetch_offset: i64,
    /// Credit for the whole response buffer; kept as long as a slice of `records` is.
    pub lease: Lease,
}

/// What a fetcher tells about a partition.
#[derive(Debug)]
pub enum FetchEvent {
    /// Batches.
    Records(Fetched),
    /// The offset is not in the log. The partition is not asked for any more until it is assigned
    /// anew.
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The assignment's token.
        token: u64,
        /// The first offset in the log.
        log_start: i64,
        /// The offset after the last one.
        end: i64,
    },
    /// The partition cannot be read. It is not asked for any more until it is assigned anew.
    Failed {
        /// The partition.
        partition: TopicPartition,
        /// The assignment's token.
        token: u64,
        /// Why.
        error: ClientError,
    },
}

/// Takes what was fetched. Called on the I/O side: it must only enqueue and wake.
pub trait FetchSink: Send + Sync + 'static {
    /// One slice, or the end of the partition's fetching.
    fn deliver(&self, event: FetchEvent);
}

/// Reads partitions. A cheap handle; the loops end with [`Fetcher::close`], or when the last handle
/// is dropped.
#[derive(Debug, Clone)]
pub struct Fetcher {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: FetchConfig,
    credit: Credit,
    /// Bytes asked for per partition at present.
    partition_bytes: AtomicUsize,
    state: Mutex<State>,
    /// Slots want to be placed.
    unplaced: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    loops: BTreeMap<i32, Arc<Notify>>,
    tasks: Vec<Task>,
}

impl Fetcher {
    /// Starts the router on the client's I/O executor.
    #[must_use]
    pub fn start(client: &Client, config: FetchConfig) -> Self {
        let credit = Credit::new(config.budget, config.reserve);
        let partition_bytes = AtomicUsize::new(config.max_partition_bytes);
        let shared = Arc::new(Shared {
            client: client.clone(),
            config,
            credit,
            partition_bytes,
            state: Mutex::default(),
            unplaced: Notify::new(),
            closed: watch::Sender::new(false),
        });
        shared.spawn(route(Arc::clone(&shared)));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Reads `partition` from `offset` on, in place of any earlier assignment of it.
    pub fn assign(
        &self,
        partition: TopicPartition,
        token: u64,
        offset: i64,
        sink: Arc<dyn FetchSink>,
    ) {
        lock(&self.handle.shared.state).slots.assign(partition, token, offset, sink);
        self.handle.shared.unplaced.notify_one();
    }

    /// Stops reading; a slice that is being delivered may still come.
    pub fn unassign(&self, partition: &TopicPartition) {
        lock(&self.handle.shared.state).slots.unassign(partition);
    }

    /// Stops asking for a partition. What was asked for still comes.
    pub fn pause(&self, partition: &TopicPartition) {
        lock(&self.handle.shared.state).slots.set_paused(partition, true);
    }

    /// Goes on where [`Fetcher::pause`] stopped.
    pub fn resume(&self, partition: &TopicPartition) {
        let mut state = lock(&self.handle.shared.state);
        if let Some(node) = state.slots.set_paused(partition, false) {
            state.wake(node);
        }
    }

    /// Asks for at most so many bytes per partition from now on, but not for more than
    /// [`FetchConfig::max_partition_bytes`].
    pub fn set_partition_bytes(&self, bytes: usize) {
        let most = self.handle.shared.config.max_partition_bytes;
        // Relaxed: whether the next fetch or the one after it asks for less does not matter.
        self.handle.shared.partition_bytes.store(bytes.min(most), Ordering::Relaxed);
    }

    /// The pool that response buffers are charged to.
    #[must_use]
    pub fn credit(&self) -> Credit {
        self.handle.shared.credit.clone()
    }

    /// Bytes of response buffers that are alive or may come: never above the budget, but for a
    /// batch longer than [`FetchConfig::max_batch_bytes`].
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.handle.shared.credit.lent()
    }

    /// Stops all loops; nothing is delivered afterwards.
    pub async fn close(self) {
        self.handle.shared.closed.send_replace(true);
        loop {
            // The router may have started a loop while it was told.
            let tasks = std::mem::take(&mut lock(&self.handle.shared.state).tasks);
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                task.join().await;
            }
        }
    }
}

impl State {
    fn wake(&self, node: i32) {
        if let Some(wake) = self.loops.get(&node) {
            wake.notify_one();
        }
    }
}

impl Shared {
    /// Runs `work` until it ends or the fetcher is closed.
    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let mut closed = self.closed.subscribe();
        let task = self.client.io().spawn(async move {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => {}
                () = work => {}
            }
        });
        let mut state = lock(&self.state);
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task);
    }

    /// Gives every slot its leader's loop, and says what could not be placed.
    fn place(self: &Arc<Self>) -> Unplaced {
        let mut started = Vec::new();
        let mut unplaced = Unplaced::default();
        {
            let mut state = lock(&self.state);
            let State { slots, loops, .. } = &mut *state;
            for (partition, slot) in slots.iter_mut() {
                match slot.place(self.client.leader(&partition.topic, partition.partition)) {
                    Status::Ready(leader) => {
                        let wake = loops.entry(leader.node).or_insert_with(|| {
                            started.push(leader.node);
                            Arc::default()
                        });
                        wake.notify_one();
                    }
                    Status::OutOfRange { resolving: false } => {
                        slot.status = Status::OutOfRange { resolving: true };
                        unplaced.out_of_range.push((partition.clone(), slot.clone()));
                    }
                    Status::Stale => unplaced.stale.push(Arc::clone(&partition.topic)),
                    _ => {}
                }
            }
        }
        for node in started {
            self.spawn(round::run(Arc::clone(self), node));
        }
        unplaced.stale.dedup();
        unplaced
    }

    /// Looks up the ends of a log that does not have the offset, and tells the sink. While nobody
    /// can be asked, the slot is a stale one: the fetch that follows tells whether the offset is
    /// still not there.
    async fn resolve(self: Arc<Self>, partition: TopicPartition, slot: Slot) {
        let one = std::slice::from_ref(&partition);
        let ends = async {
            let start = self.client.list_offsets(one, At::Earliest).await?;
            let end = self.client.list_offsets(one, At::Latest).await?;
            Ok((
                start.get(&partition).map_or(0, |at| at.offset),
                end.get(&partition).map_or(0, |at| at.offset),
            ))
        };
        let token = slot.token;
        let event = match ends.await {
            Ok((log_start, end)) => {
                FetchEvent::OutOfRange { partition: partition.clone(), token, log_start, end }
            }
            Err(error @ ClientError::GaveUp { .. }) => {
                tracing::warn!(%partition, code = %error.fault(), %error, "cannot look up the ends of a log; it is tried again");
                lock(&self.state).slots.put(&partition, token, Status::Stale);
                self.unplaced.notify_one();
                return;
            }
            Err(error) => FetchEvent::Failed { partition: partition.clone(), token, error },
        };
        if lock(&self.state).slots.put(&partition, token, Status::Stopped) {
            slot.sink.deliver(event);
        }
    }
}

#[derive(Debug, Default)]
struct Unplaced {
    stale: Vec<Arc<str>>,
    out_of_range: Vec<(TopicPartition, Slot)>,
}

/// Places slots whenever there are new ones, one was refused, or the metadata changed.
async fn route(shared: Arc<Shared>) {
    let mut changes = shared.client.changes();
    let mut backoff = shared.client.backoff();
    loop {
        changes.mark_unchanged();
        let unplaced = shared.place();
        for (partition, slot) in unplaced.out_of_range {
            shared.spawn(Arc::clone(&shared).resolve(partition, slot));
        }
        if unplaced.stale.is_empty() {
            tokio::select! {
                biased;
                () = shared.unplaced.notified() => {}
                _ = changes.changed() => {}
            }
            continue;
        }
        match shared.client.refresh(&unplaced.stale).await {
            Ok(()) => lock(&shared.state).slots.refreshed(),
            Err(error) => {
                tracing::warn!(code = %error.fault(), %error, "cannot refresh the metadata for fetching")
            }
        }
        let known = unplaced.stale.iter().all(|topic| shared.client.topic(topic).is_some());
        if known {
            backoff.succeeded();
        } else {
            tokio::time::sleep(backoff.failed(shared.client.random())).await;
        }
    }
}
