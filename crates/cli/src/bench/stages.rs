//! The stages: each does its work through the public client and engine, and checks that it saw every event.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use onrush_engine::{Context, Engine, EngineConfig, Event, Handler, HandlerError, Place};
use onrush_kafka::{
    AckSink, Acked, AppendError, Appender, At, Client, ClientConfig, FetchConfig, FetchEvent,
    FetchSink, Fetcher, Producer, ProducerConfig, TopicHandle, TopicPartition,
};
use onrush_record::{Compression, Decompressor, batches, records};
use onrush_runtime::{Executor, Instant, Random, Runtime, Step, Wake, Work};
use tokio::sync::{Notify, mpsc};

use crate::failure::{Exit, Failure};

pub(super) const PARTITIONS: i32 = 6;
const KEYS: u64 = 10_000;
const CHUNK: u64 = 1_024;
const MAX_DECOMPRESSED: usize = 64 << 20;
/// A stage that takes longer has hung.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// What the stages share.
pub(super) struct Bench<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) executor: Executor,
    pub(super) brokers: Vec<String>,
    pub(super) events: u64,
    pub(super) value: Vec<u8>,
    pub(super) compression: Compression,
}

pub(super) fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::unavailable(format!("cannot {what}: {error}"))
}

impl Bench<'_> {
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let client =
            Client::connect(ClientConfig::new(&self.brokers), self.runtime, self.executor.clone());
        Ok(client.await?)
    }

    /// A new topic.
    pub(super) async fn create_topic(&self) -> Result<String, Failure> {
        let name = format!("onrush-bench-{:08x}", Random::from_entropy().next_u64() as u32);
        self.client()
            .await?
            .create_topic(&name, PARTITIONS, 1)
            .await
            .map_err(failed("create the topic"))?;
        Ok(name)
    }

    /// Produces the events, keyed, and waits for all acknowledgements.
    pub(super) async fn produce(&self, topic: &str) -> Result<(), Failure> {
        self.produce_some(topic, self.events).await
    }

    pub(super) async fn produce_some(&self, topic: &str, events: u64) -> Result<(), Failure> {
        let load = self.load(topic, events).await?;
        load.finished(events).await
    }

    async fn load(&self, topic: &str, events: u64) -> Result<Load, Failure> {
        let client = self.client().await?;
        client.metadata(&[topic]).await.map_err(failed("look the topic up"))?;
        let config = ProducerConfig { compression: self.compression, ..ProducerConfig::default() };
        let producer =
            Producer::start(&client, config).await.map_err(failed("start a producer"))?;
        let (acks, wake) = (Arc::new(Acks::default()), Wake::new());
        let mut appender = producer.appender(acks.clone());
        appender.wake_on_room(wake.clone());
        let topic = appender.topic(topic).map_err(failed("find the topic"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let value = self.value.clone();
        let work = Loader { appender, topic, value, next: 0, events, stop: stop.clone() };
        self.runtime
            .spawn
            .work("load".to_owned(), wake, Box::new(work))
            .map_err(Failure::threads)?;
        Ok(Load { producer, acks, stop })
    }

    /// Fetches the topic, checks CRCs and walks every record.
    pub(super) async fn fetch(&self, topic: &str) -> Result<(), Failure> {
        let client = self.client().await?;
        let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(topic, p)).collect();
        client
            .list_offsets(&partitions, At::Latest)
            .await
            .map_err(failed("read the end offsets"))?;
        let (sender, mut walked) = mpsc::unbounded_channel();
        let walker =
            Arc::new(Walker(std::sync::Mutex::new(Decompressor::new(MAX_DECOMPRESSED)), sender));
        let fetcher = Fetcher::start(&client, FetchConfig::default());
        for partition in partitions {
            fetcher.assign(partition, 0, 0, walker.clone());
        }
        let mut seen = 0;
        while seen < self.events {
            let next = tokio::time::timeout(LIMIT, walked.recv()).await;
            match next {
                Ok(Some(Ok(count))) => seen += count,
                Ok(Some(Err(error))) => {
                    return Err(Failure::new(Exit::Wrong, format!("fetch: {error}")));
                }
                Ok(None) | Err(_) => {
                    return Err(Failure::new(Exit::Stalled, format!("fetch stopped at {seen}")));
                }
            }
        }
        fetcher.close().await;
        Ok(())
    }

    /// Runs the engine over the topic with a handler that counts, until all is committed.
    pub(super) async fn pipeline(&self, topic: &str) -> Result<(), Failure> {
        let counted = Arc::new(AtomicU64::new(0));
        let (engine, handle) = self.engine(topic, &counted).await?;
        let all_done = async {
            while handle.snapshot().total.done < self.events {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let running = engine.run();
        tokio::pin!(running);
        let in_time = tokio::select! {
            biased;
            ended = &mut running => {
                let why = ended.map_or_else(|error| error.to_string(), |_| "it ended early".to_owned());
                return Err(Failure::new(Exit::Wrong, format!("pipeline: {why}")));
            }
            done = tokio::time::timeout(LIMIT, all_done) => done.is_ok(),
        };
        handle.shutdown();
        running.await.map_err(|error| Failure::new(Exit::Wrong, format!("pipeline: {error}")))?;
        let counted = counted.load(Ordering::Relaxed);
        if !in_time || counted != self.events {
            let message = format!("the pipeline's handler saw {counted} of {} events", self.events);
            return Err(Failure::new(Exit::Wrong, message));
        }
        Ok(())
    }

    async fn engine(
        &self,
        topic: &str,
        counted: &Arc<AtomicU64>,
    ) -> Result<(Engine, onrush_engine::Handle), Failure> {
        let counted = counted.clone();
        let factory = move |_: Place| Counter { count: 0, total: counted.clone() };
        let config = EngineConfig {
            lanes: NonZeroUsize::MIN,
            ..EngineConfig::new(format!("{topic}-group"), [topic])
        };
        let started =
            Engine::start(config, self.runtime, ClientConfig::new(&self.brokers), factory).await;
        Ok(started?)
    }

    /// Produces and processes for some time, calling `sample` four times a second; returns how many events went through.
    pub(super) async fn at_full_rate(
        &self,
        time: Duration,
        mut sample: impl FnMut(),
    ) -> Result<u64, Failure> {
        let topic = self.create_topic().await?;
        let (counted, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
        let (engine, handle) = self.engine(&topic, &counted).await?;
        let load = self.load(&topic, u64::MAX).await?;
        let watching = async {
            while Instant::now() < end {
                tokio::time::sleep(SAMPLE_INTERVAL).await;
                sample();
            }
            load.stop.store(true, Ordering::Relaxed);
            load.producer.flush().await;
            handle.shutdown();
        };
        let (ran, ()) = tokio::join!(engine.run(), watching);
        ran.map_err(|error| Failure::new(Exit::Wrong, format!("pipeline: {error}")))?;
        Ok(counted.load(Ordering::Relaxed))
    }
}

/// Counts in a plain field; the sum is told when the lane ends.
struct Counter {
    count: u64,
    total: Arc<AtomicU64>,
}

impl Handler for Counter {
    fn each(&mut self, event: &Event<'_>, _: &mut Context<'_>) -> Result<(), HandlerError> {
        self.count += u64::from(event.value.is_some());
        Ok(())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.total.fetch_add(self.count, Ordering::Relaxed);
    }
}

/// A load that is being produced.
struct Load {
    producer: Producer,
    acks: Arc<Acks>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn finished(self, events: u64) -> Result<(), Failure> {
        let all = async {
            while self.acks.count.load(Ordering::Acquire) < events
                && !self.acks.failed.load(Ordering::Relaxed)
            {
                self.acks.changed.notified().await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, all).await;
        if waited.is_err() || self.acks.failed.load(Ordering::Relaxed) {
            let count = self.acks.count.load(Ordering::Relaxed);
            return Err(Failure::new(
                Exit::Wrong,
                format!("{count} of {events} events were acknowledged"),
            ));
        }
        self.producer.close().await;
        Ok(())
    }
}

#[derive(Default)]
struct Acks {
    count: AtomicU64,
    failed: AtomicBool,
    changed: Notify,
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        match result.outcome {
            Ok(_) => drop(self.count.fetch_add(u64::from(result.count), Ordering::Release)),
            Err(_) => self.failed.store(true, Ordering::Relaxed),
        }
        self.changed.notify_one();
    }
}

/// Appends keyed events on a thread of its own.
struct Loader {
    appender: Appender,
    topic: TopicHandle,
    value: Vec<u8>,
    next: u64,
    events: u64,
    stop: Arc<AtomicBool>,
}

impl Work for Loader {
    fn run_once(&mut self, now: Instant) -> Step {
        let end = self.events.min(self.next.saturating_add(CHUNK));
        while self.next < end {
            // 16 bytes: a number that returns every KEYS events, spread over the partitions by its hash.
            let mut key = [b'k'; 16];
            key[8..].copy_from_slice(&(self.next % KEYS).to_be_bytes());
            match self.appender.append(self.topic, None, 0, Some(&key), Some(&self.value), &[], now)
            {
                Ok(_) => self.next += 1,
                Err(AppendError::Full) => {
                    return Step::Idle { until: Some(now + Duration::from_millis(50)) };
                }
                // Shows as events that are never acknowledged.
                Err(_) => return Step::Done,
            }
        }
        if self.next == self.events || self.stop.load(Ordering::Relaxed) {
            self.appender.flush(now);
            return Step::Done;
        }
        Step::Worked
    }
}

/// Walks what was fetched, on the fetcher's thread, and tells how many records there were.
struct Walker(std::sync::Mutex<Decompressor>, mpsc::UnboundedSender<Result<u64, String>>);

impl Walker {
    fn walk(&self, event: &FetchEvent) -> Result<u64, String> {
        let FetchEvent::Records(fetched) = event else { return Err(format!("{event:?}")) };
        let mut decompressor = self.0.lock().map_err(|error| error.to_string())?;
        let (mut count, mut buffer) = (0, Vec::new());
        for raw in batches(&fetched.records) {
            let raw = raw.map_err(|error| error.to_string())?;
            raw.verify_crc().map_err(|error| error.to_string())?;
            buffer.clear();
            let payload =
                decompressor.payload(&raw, &mut buffer).map_err(|error| error.to_string())?;
            for record in records(payload.bytes(&raw, &buffer), &raw.header) {
                count += u64::from(record.map_err(|error| error.to_string())?.value.is_some());
            }
        }
        Ok(count)
    }
}

impl FetchSink for Walker {
    fn deliver(&self, event: FetchEvent) {
        let _ = self.1.send(self.walk(&event));
    }
}
