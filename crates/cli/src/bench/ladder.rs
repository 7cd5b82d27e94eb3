//! `--concurrency`: the rate of slow handlers against how many of them may run at once, beside a consumer that does one
//! after the other.
//!
//! Each handler sleeps for a millisecond. Timers round up, so what it took is measured, and the ideal is what so many
//! handlers of that length can do. A rung counts from the first call to the one that completes its number of events; the
//! topic has more, so that the end of a topic, where keys run out, is not part of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onrush_engine::{
    AsyncContext, Engine, EngineConfig, HandlerError, Handlers, Mode, OwnedEvent, Place, Tasks,
};
use onrush_kafka::{At, ClientConfig, FetchConfig, FetchEvent, FetchSink, Fetcher, TopicPartition};
use onrush_record::{batches, records};
use onrush_runtime::{Executor, Instant};
use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use super::stages::{Bench, LIMIT, PARTITIONS, failed};
use crate::failure::{Exit, Failure};
use crate::table::{Column, Table};
use crate::{stdout, table, usage};

/// How long a handler sleeps.
const SLEEP: Duration = Duration::from_millis(1);
const RUNGS: [usize; 6] = [1, 4, 16, 64, 256, 1_024];
/// Events of the highest rung; lower ones take about as long with fewer.
const EVENTS: u64 = 100_000;
const EVENTS_PER_TASK: u64 = 1_000;
/// Events of the topic.
const PRODUCED: u64 = EVENTS * 6 / 5;

/// What was measured at one concurrency.
#[derive(Debug, Serialize)]
struct Rung {
    consumer: &'static str,
    concurrency: u64,
    events: u64,
    seconds: f64,
    /// What one call took, on average.
    handler_ms: f64,
    events_per_second: f64,
    /// Of what so many handlers of that length can do.
    share_of_ideal: f64,
    /// Cores that this process kept busy.
    cores: f64,
}

/// Counts the calls of one rung.
#[derive(Default)]
struct Calls {
    started: std::sync::OnceLock<Instant>,
    finished: std::sync::OnceLock<Instant>,
    nanos: AtomicU64,
    count: AtomicU64,
    events: u64,
    all: Notify,
}

impl Calls {
    fn new(events: u64) -> Arc<Self> {
        Arc::new(Self { events, ..Self::default() })
    }

    async fn call(&self) {
        let start = Instant::now();
        self.started.get_or_init(|| start);
        tokio::time::sleep(SLEEP).await;
        let end = Instant::now();
        if self.count.load(Ordering::Relaxed) < self.events {
            self.nanos.fetch_add((end - start).as_nanos() as u64, Ordering::Relaxed);
            if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.events {
                self.finished.get_or_init(|| end);
                self.all.notify_one();
            }
        }
    }

    fn rung(&self, consumer: &'static str, concurrency: u64, cpu: Duration) -> Option<Rung> {
        let (started, finished) = (self.started.get()?, self.finished.get()?);
        let seconds = (*finished - *started).as_secs_f64();
        let handler = self.nanos.load(Ordering::Relaxed) as f64 / 1e9 / self.events as f64;
        let (rate, ideal) = (self.events as f64 / seconds, concurrency as f64 / handler);
        Some(Rung {
            consumer,
            concurrency,
            events: self.events,
            seconds,
            handler_ms: handler * 1e3,
            events_per_second: rate,
            share_of_ideal: rate / ideal,
            cores: cpu.as_secs_f64() / seconds,
        })
    }
}

/// Measures and prints all rungs.
pub(super) async fn ladder(bench: &Bench<'_>, json: bool) -> Result<(), Failure> {
    let topic = bench.create_topic().await?;
    bench.produce_some(&topic, PRODUCED).await?;
    let mut rungs = vec![sequential(bench, &topic).await?];
    for concurrency in RUNGS {
        rungs.push(concurrent(bench, &topic, concurrency).await?);
    }
    if json {
        return table::print_json(&rungs);
    }
    print(&rungs)
}

/// A consumer that fetches, decodes and waits for one event after the other.
async fn sequential(bench: &Bench<'_>, topic: &str) -> Result<Rung, Failure> {
    let client = bench.client().await?;
    let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(topic, p)).collect();
    let ends = client.list_offsets(&partitions, At::Latest).await;
    ends.map_err(failed("read the end offsets"))?;
    let (sender, mut fetched) = mpsc::unbounded_channel();
    let (fetcher, sink) =
        (Fetcher::start(&client, FetchConfig::default()), Arc::new(Passing(sender)));
    for partition in partitions {
        fetcher.assign(partition, 0, 0, sink.clone());
    }
    let (calls, before) = (Calls::new(EVENTS_PER_TASK), usage::cpu());
    let read = async {
        while calls.finished.get().is_none()
            && let Some(event) = fetched.recv().await
        {
            let FetchEvent::Records(fetched) = event else { continue };
            for raw in batches(&fetched.records).filter_map(Result::ok) {
                for _ in records(raw.body(), &raw.header).filter_map(Result::ok) {
                    if calls.finished.get().is_none() {
                        calls.call().await;
                    }
                }
            }
        }
    };
    let in_time = tokio::time::timeout(LIMIT, read).await.is_ok();
    let rung = calls.rung("sequential", 1, usage::cpu() - before).filter(|_| in_time);
    fetcher.close().await;
    rung.ok_or_else(|| stalled("sequential", &calls))
}

struct Passing(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Passing {
    fn deliver(&self, event: FetchEvent) {
        // Nobody listens any more at the end.
        let _ = self.0.send(event);
    }
}

async fn concurrent(bench: &Bench<'_>, topic: &str, concurrency: usize) -> Result<Rung, Failure> {
    let calls = Calls::new(EVENTS.min(EVENTS_PER_TASK * concurrency as u64));
    let counting = Arc::clone(&calls);
    let tasks = Tasks::each(move |_: Place| {
        let calls = Arc::clone(&counting);
        move |_: OwnedEvent, _: AsyncContext| {
            let calls = Arc::clone(&calls);
            async move {
                calls.call().await;
                Ok::<_, HandlerError>(())
            }
        }
    });
    let concurrency = NonZeroUsize::new(concurrency).unwrap_or(NonZeroUsize::MIN);
    let config = EngineConfig {
        mode: Mode::EachAsync { concurrency },
        ..EngineConfig::new(format!("{topic}-{concurrency}"), [topic])
    };
    let threads = config.lanes.get();
    let executor = bench.runtime.spawn.executor("bench-task", threads).map_err(Failure::threads)?;
    let before = usage::cpu();
    let engine = start(bench, config, tasks, executor).await?;
    let in_time = tokio::time::timeout(LIMIT, calls.all.notified()).await.is_ok();
    let rung = calls.rung("onrush", concurrency.get() as u64, usage::cpu() - before);
    let (engine, handle) = engine;
    handle.shutdown();
    engine.run().await?;
    rung.filter(|_| in_time).ok_or_else(|| stalled("onrush", &calls))
}

async fn start(
    bench: &Bench<'_>,
    config: EngineConfig,
    tasks: Tasks,
    executor: Executor,
) -> Result<(Engine, onrush_engine::Handle), Failure> {
    let (client, handlers) = (ClientConfig::new(&bench.brokers), Handlers::Awaited(tasks));
    Ok(Engine::start_with(config, bench.runtime, client, handlers, executor).await?)
}

fn stalled(consumer: &str, calls: &Calls) -> Failure {
    let count = calls.count.load(Ordering::Relaxed);
    Failure::new(Exit::Stalled, format!("{consumer}: stopped at {count} of {}", calls.events))
}

fn print(rungs: &[Rung]) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::Left("CONSUMER"),
        Column::Right("CONCURRENCY"),
        Column::Right("EVENTS"),
        Column::Right("SECONDS"),
        Column::Right("HANDLER-MS"),
        Column::Right("EVENTS/S"),
        Column::Right("OF-IDEAL"),
        Column::Right("CORES"),
    ]);
    for rung in rungs {
        table.row([
            rung.consumer.to_owned(),
            rung.concurrency.to_string(),
            rung.events.to_string(),
            format!("{:.2}", rung.seconds),
            format!("{:.2}", rung.handler_ms),
            format!("{:.0}", rung.events_per_second),
            format!("{:.0} %", rung.share_of_ideal * 100.0),
            format!("{:.2}", rung.cores),
        ]);
    }
    stdout::print(&table.text())
}
