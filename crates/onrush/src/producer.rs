//! The producer for code that just wants to send: an appender, its acknowledgements, and the thread of its I/O.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_kafka::{
    AckSink, Acked, AppendError, Appender, Client, ClientConfig, ProduceError, ProducerConfig,
    TopicHandle,
};
use onrush_record::{Compression, Header};
use onrush_runtime::{Clock, Disk, Executor, Instant, Runtime};
use tokio::sync::Notify;

use crate::Error;

/// While the producer's memory is used up, it is looked at again at least this often.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);

/// Settings of a [`Producer`].
#[derive(Debug, Clone)]
pub struct ProducerBuilder {
    client: ClientConfig,
    config: ProducerConfig,
}

impl ProducerBuilder {
    /// What batches are compressed with; nothing by default.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// How long a batch waits for more events; 5 ms by default.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// Bytes of events that may wait for their acknowledgement; then sending waits. 32 MiB by default.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub fn connect(self) -> Result<Producer, Error> {
        let runtime = Runtime::production(Disk::memory());
        let executor = runtime.spawn.executor("onrush-producer", 1).map_err(Error::Threads)?;
        let (client, producer) = executor.block_on(async {
            let client = Client::connect(self.client, &runtime, executor.clone()).await?;
            let producer = onrush_kafka::Producer::start(&client, self.config).await?;
            Ok::<_, Error>((client, producer))
        })?;
        let acks = Arc::new(Acks::default());
        let appender = producer.appender(acks.clone());
        Ok(Producer { executor, client, producer, appender, acks, clock: Clock::System })
    }
}

/// Sends events, idempotently and in order per partition.
///
/// Events are batched: [`Producer::send`] returns before they are acknowledged, [`Producer::flush`] waits until all are.
/// What lingers is handed over by the next call, so flush at the end of a burst.
pub struct Producer {
    executor: Executor,
    client: Client,
    producer: onrush_kafka::Producer,
    appender: Appender,
    acks: Arc<Acks>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Acks {
    failure: Mutex<Option<ProduceError>>,
    changed: Notify,
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        if let Err(error) = result.outcome {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        self.changed.notify_one();
    }
}

impl Acks {
    fn check(&self) -> Result<(), Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Producer {
    /// Connects to the cluster of these brokers (`host:port`, several with commas), all else by default.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub fn connect(brokers: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(brokers).connect()
    }

    /// Settings first.
    pub fn builder(brokers: impl AsRef<str>) -> ProducerBuilder {
        let brokers = brokers.as_ref().split(',').map(|broker| broker.trim().to_owned());
        ProducerBuilder { client: ClientConfig::new(brokers), config: ProducerConfig::default() }
    }

    /// Sends an event to the partition of its key. Waits while the memory for events is used up.
    ///
    /// # Errors
    /// The topic does not exist, the event is too large, or an earlier event was not acknowledged.
    pub fn send(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        self.send_with(topic, key, value, &[])
    }

    /// As [`Producer::send`], with headers.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send_with(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), Error> {
        self.acks.check()?;
        let handle = self.topic(topic)?;
        let timestamp = self.clock.wall_millis();
        loop {
            let now = Instant::now();
            match self.appender.append(handle, None, timestamp, key, value, headers, now) {
                Ok(_) => {
                    self.appender.poll(now);
                    return Ok(());
                }
                Err(AppendError::Full) => self.wait_for_room(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn topic(&mut self, topic: &str) -> Result<TopicHandle, Error> {
        match self.appender.topic(topic) {
            Ok(handle) => Ok(handle),
            Err(_) => {
                self.executor.block_on(self.client.metadata(&[topic]))?;
                Ok(self.appender.topic(topic)?)
            }
        }
    }

    fn wait_for_room(&self) {
        self.executor.block_on(async {
            // An acknowledgement frees memory; should it come before the wait, the interval ends it.
            let _ = tokio::time::timeout(ROOM_INTERVAL, self.acks.changed.notified()).await;
        });
    }

    /// Waits until every event is acknowledged.
    ///
    /// # Errors
    /// One was not; the error says whether it may have been written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.appender.flush(Instant::now());
        self.executor.block_on(self.producer.flush());
        self.acks.check()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Best effort for who forgot: errors are told by `flush` only.
        self.appender.flush(Instant::now());
        self.executor.block_on(self.producer.flush());
    }
}
