//! The producer: appenders build batches, one sender numbers and sends them.
//!
//! An [`Appender`] belongs to one thread and writes records into its own open batch per partition;
//! no lock and no channel per record. A full or lingering batch is compressed on the appender's
//! thread and handed over; from the first record on, its memory is reserved from the producer's.
//! The sender (one task) gives each batch the partition's next sequence, over all appenders, and
//! the `Sequencer` decides what is sent, repeated, or given up. Sending and answers are the affair
//! of a lane per broker (another task), so that a broker that hangs holds up no other.
//!
//! Every batch handed over gets exactly one [`Acked`], whatever happens.

mod appender;
mod batch;
mod lane;
mod memory;
mod sender;
mod sequence;

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_record::Compression;
use onrush_runtime::Task;
use onrush_wire::message::init_producer_id;
use onrush_wire::{ApiKey, ErrorCode};
use tokio::sync::{Notify, watch};

pub use appender::{AppendError, Appender, TopicHandle};

use crate::client::Client;
use crate::error::ClientError;
use crate::lock::lock;
use crate::partition::TopicPartition;
use batch::Batch;
use memory::Memory;
use sequence::Sequencer;

/// Bytes of an open batch before compression at which it is handed over.
pub const BATCH_BYTES: usize = 128 * 1024;
/// How long an open batch waits for more records.
pub const LINGER: Duration = Duration::from_millis(5);
/// Bytes of all batches, open or on their way.
pub const BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Requests in flight per broker. A broker remembers five batches of a producer per partition: with
/// more, a repeated batch could be taken for a new one.
pub const MAX_IN_FLIGHT: usize = 5;
/// From the first record of a batch to the answer.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest batch and so largest record; a broker's default is a little above it.
pub const MAX_BATCH_BYTES: usize = 1_000_000;
/// Bytes of batches in one request, which carries at most one batch per partition.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

const _: () = assert!(BATCH_BYTES <= MAX_BATCH_BYTES && MAX_BATCH_BYTES <= MAX_REQUEST_BYTES);
const _: () = assert!(MAX_REQUEST_BYTES <= BUFFER_BYTES);

/// Who must have a batch before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// All replicas in sync.
    #[default]
    All,
    /// The leader.
    Leader,
}

/// How records are produced.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// See [`BATCH_BYTES`].
    pub batch_bytes: usize,
    /// See [`LINGER`].
    pub linger: Duration,
    /// What batches are compressed with.
    pub compression: Compression,
    /// See [`MAX_IN_FLIGHT`]; more than that is lowered to it.
    pub max_in_flight: usize,
    /// See [`BUFFER_BYTES`].
    pub buffer_bytes: usize,
    /// See [`DELIVERY_TIMEOUT`].
    pub delivery_timeout: Duration,
    /// See [`MAX_BATCH_BYTES`].
    pub max_batch_bytes: usize,
    /// Who must have written.
    pub acks: Acks,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            batch_bytes: BATCH_BYTES,
            linger: LINGER,
            compression: Compression::None,
            max_in_flight: MAX_IN_FLIGHT,
            buffer_bytes: BUFFER_BYTES,
            delivery_timeout: DELIVERY_TIMEOUT,
            max_batch_bytes: MAX_BATCH_BYTES,
            acks: Acks::All,
        }
    }
}

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The broker refused it: it is not in the log.
    #[error("{partition} refused a batch: {code}{}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// Where it should have gone.
        partition: TopicPartition,
        /// Why.
        code: ErrorCode,
        /// What the broker added.
        message: Option<String>,
    },
    /// It was sent, and its fate is not known: sending it again may write it twice.
    #[error(
        "a batch for {partition} may have been written, or not: {reason}; look into the topic before sending it again"
    )]
    MayHaveBeenWritten {
        /// Where it should have gone.
        partition: TopicPartition,
        /// What went wrong last.
        reason: String,
    },
    /// It was not written in time, and never sent without an answer: it is not in the log.
    #[error("a batch for {partition} could not be delivered within {after:?}: {reason}")]
    Expired {
        /// Where it should have gone.
        partition: TopicPartition,
        /// How long it was tried.
        after: Duration,
        /// What went wrong last.
        reason: String,
    },
    /// It could not be built.
    #[error("a batch for {partition} could not be sealed: {reason}")]
    Seal {
        /// Where it should have gone.
        partition: TopicPartition,
        /// Why.
        reason: String,
    },
    /// The producer was closed before it was sent: it is not in the log.
    #[error("the producer was closed before a batch for {partition} was sent")]
    Closed {
        /// Where it should have gone.
        partition: TopicPartition,
    },
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Acked {
    /// The batch, as [`Appender::append`] numbered it.
    pub batch: u64,
    /// Where it went.
    pub partition: TopicPartition,
    /// Offset of its first record (-1 where the broker only says that it has the batch already), or
    /// why there is none.
    pub outcome: Result<i64, ProduceError>,
    /// Records in it.
    pub count: u32,
}

/// Takes what became of an appender's batches. Called on the I/O side, and on the appender's thread
/// for a batch that cannot be sealed: it must only enqueue and wake.
pub trait AckSink: Send + Sync + 'static {
    /// One batch is done.
    fn acked(&self, result: Acked);
}

/// Sends batches. A cheap handle. The sender ends with [`Producer::close`], or when the last handle
/// and the last appender are dropped; what is not done then is told to be so.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// What producers and appenders share; the tasks have only what is in it.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

impl Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    memory: Memory,
    /// Batches handed over; bounded by the memory.
    inbox: Mutex<VecDeque<Batch>>,
    arrived: Notify,
    /// Batches handed over and not acknowledged.
    outstanding: AtomicUsize,
    settled: Notify,
    closed: watch::Sender<bool>,
    sender: Mutex<Option<Task>>,
}

impl Producer {
    /// Gets a producer id (waiting while the cluster is still loading) and starts the sender on the
    /// client's executor.
    ///
    /// # Errors
    /// No producer id was to be had.
    pub async fn start(client: &Client, config: ProducerConfig) -> Result<Self, ClientError> {
        let producer_id = producer_id(client).await?;
        let config = ProducerConfig {
            max_in_flight: config.max_in_flight.clamp(1, MAX_IN_FLIGHT),
            ..config
        };
        let sequencer =
            Sequencer::new(producer_id, &config, client.backoff(), client.random().clone());
        let shared = Arc::new(Shared {
            client: client.clone(),
            memory: Memory::new(config.buffer_bytes),
            config,
            inbox: Mutex::default(),
            arrived: Notify::new(),
            outstanding: AtomicUsize::new(0),
            settled: Notify::new(),
            closed: watch::Sender::new(false),
            sender: Mutex::new(None),
        });
        let task = client.io().spawn(sender::run(Arc::clone(&shared), sequencer));
        *lock(&shared.sender) = Some(task);
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// An appender for one thread; `ack` hears of its batches.
    #[must_use]
    pub fn appender(&self, ack: Arc<dyn AckSink>) -> Appender {
        Appender::new(Arc::clone(&self.handle), ack)
    }

    /// Bytes of batches, open or on their way; never above the limit.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.handle.memory.used()
    }

    /// Waits until all batches that were handed over are done. Appenders hand over their open ones
    /// with [`Appender::flush`].
    pub async fn flush(&self) {
        loop {
            let settled = self.handle.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.handle.outstanding.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Flushes and ends the sender. Batches handed over later are answered with
    /// [`ProduceError::Closed`].
    pub async fn close(self) {
        self.flush().await;
        self.handle.closed.send_replace(true);
        let task = lock(&self.handle.sender).take();
        if let Some(task) = task {
            task.join().await;
        }
    }
}

impl Shared {
    /// Takes a sealed batch from an appender.
    fn hand_over(&self, batch: Batch) {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        let refused = {
            let mut inbox = lock(&self.inbox);
            // Looked at under the lock: the sender empties the inbox once more after it was closed.
            if *self.closed.borrow() {
                Some(batch)
            } else {
                inbox.push_back(batch);
                None
            }
        };
        match refused {
            None => self.arrived.notify_one(),
            Some(batch) => {
                let partition = batch.partition.clone();
                self.settle(batch, Err(ProduceError::Closed { partition }));
            }
        }
    }

    /// Tells the appender's sink, then gives the memory back.
    fn settle(&self, batch: Batch, outcome: Result<i64, ProduceError>) {
        batch.acknowledge(outcome);
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
    }
}

async fn producer_id(client: &Client) -> Result<i64, ClientError> {
    let mut tries = client.tries();
    loop {
        let request = |_| init_producer_id::Request {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..init_producer_id::Request::default()
        };
        let outcome = client.call_any(request).await.and_then(|response| {
            match ErrorCode(response.error_code) {
                ErrorCode::NONE => Ok(response.producer_id),
                code => Err(ClientError::answered(ApiKey::INIT_PRODUCER_ID, "a producer id", code)),
            }
        });
        match outcome {
            Ok(id) => return Ok(id),
            Err(error) => tries.failed(error).await?,
        }
    }
}
