//! `onrush bench`: CPU nanoseconds per event of produce, fetch and the whole pipeline, and of the broker that serves them.
//!
//! Times are CPU times of this process, all threads, so that a noisy neighbour does not count. The calibration loop is a
//! fixed piece of integer work measured in the same run: divide by it to compare runs on different machines. Work is
//! checked: a stage that did not see every event fails. `--memory` watches resident memory instead, `--concurrency` measures the
//! rate of slow handlers.

mod ladder;
mod shapes;
mod stages;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use onrush_record::Compression;
use onrush_runtime::{Disk, Executor, Runtime};
use serde::Serialize;

use self::shapes::Shape;
use self::stages::Bench;
use crate::embedded::EmbeddedBroker;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::{stderr, stdout, table, usage};

/// Measure what an event costs: CPU time of produce, fetch and the whole pipeline.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush bench                                 # on the embedded log, in a process of its own
  onrush bench --codec lz4 --json
  onrush bench --brokers 127.0.0.1:9092        # on your Apache Kafka
  onrush bench --memory 60                     # resident memory at full rate over 60 s
  onrush bench --concurrency                   # handlers of 1 ms: rate against concurrency")]
pub(crate) struct Arguments {
    /// Events per run.
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    events: u64,
    /// Runs of each stage; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    value_bytes: u32,
    /// What batches are compressed with.
    #[arg(long, value_enum, default_value = "none")]
    codec: CodecArgument,
    /// Use this Kafka cluster instead of the embedded log (several with commas).
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    brokers: Vec<String>,
    /// Instead of the stages: produce and process at full rate for so many seconds, and watch resident memory.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(4..=86_400))]
    memory: Option<u64>,
    /// Instead of the stages: the rate of handlers that take 1 ms, against how many run at once.
    #[arg(long, conflicts_with = "memory")]
    concurrency: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CodecArgument {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CodecArgument {
    fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip { level: 6 },
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd { level: 1 },
        }
    }
}

/// CPU nanoseconds per event; medians.
#[derive(Debug, Serialize)]
struct Figures {
    events: u64,
    runs: u16,
    /// Of the calibration loop, per step.
    calibration_ns: f64,
    produce_ns: f64,
    fetch_ns: f64,
    /// With the handler inline, by `each`.
    pipeline_ns: f64,
    /// What the engine adds to fetching and decoding: order, ledger, commits, metrics.
    engine_ns: f64,
    each_blocking_ns: f64,
    each_async_ns: f64,
    each_batch_ns: f64,
    /// Of the broker's process, taking an event in and giving it out twice; none for a cluster elsewhere.
    broker_produce_ns: Option<f64>,
    broker_fetch_ns: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("bench", 1).map_err(Failure::threads)?;
    executor.block_on(bench(arguments, &runtime, executor.clone()))
}

async fn bench(
    arguments: &Arguments,
    runtime: &Runtime,
    executor: Executor,
) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("onrush-bench-").tempdir();
    let folder = folder.map_err(|error| {
        Failure::unavailable(format!("cannot make a temporary directory: {error}"))
    })?;
    let broker = match arguments.brokers.is_empty() {
        true => Some(EmbeddedBroker::start(Some(folder.path())).await?),
        false => None,
    };
    let brokers =
        broker.as_ref().map_or_else(|| arguments.brokers.clone(), |b| vec![b.address().to_owned()]);
    let process = broker.as_ref().and_then(EmbeddedBroker::process);
    let bench = Bench {
        runtime,
        executor,
        brokers,
        events: arguments.events,
        value: vec![b'v'; arguments.value_bytes as usize],
        compression: arguments.codec.compression(),
    };
    let mut interrupt = Interrupt::listen();
    let work = async {
        match arguments.memory {
            None if arguments.concurrency => ladder::ladder(&bench, arguments.json).await,
            Some(seconds) => memory(arguments, &bench, process, Duration::from_secs(seconds)).await,
            None => stages(arguments, &bench, process).await,
        }
    };
    tokio::select! {
        biased;
        () = interrupt.requested() => return Err(Failure::new(Exit::Interrupted, "interrupted")),
        done = work => done?,
    }
    if let Some(broker) = broker {
        broker.stop().await;
    }
    Ok(())
}

async fn stages(
    arguments: &Arguments,
    bench: &Bench<'_>,
    broker: Option<u32>,
) -> Result<(), Failure> {
    let mut samples: [Vec<f64>; 9] = Default::default();
    for run in 1..=arguments.runs {
        if std::io::stderr().is_terminal() {
            stderr::note(format_args!("run {run} of {}", arguments.runs));
        }
        samples[0].push(calibrate());
        let topic = bench.create_topic().await?;
        let (ours, theirs) = measured(broker, bench.events, bench.produce(&topic)).await?;
        samples[1].push(ours);
        samples[4].extend(theirs);
        let (ours, theirs) = measured(broker, bench.events, bench.fetch(&topic)).await?;
        samples[2].push(ours);
        samples[5].extend(theirs);
        samples[3].push(measured(broker, bench.events, bench.pipeline(&topic)).await?.0);
        for (at, shape) in [Shape::Blocking, Shape::Async, Shape::Batch].into_iter().enumerate() {
            let work = shapes::run(bench, &topic, shape);
            samples[6 + at].push(measured(broker, bench.events, work).await?.0);
        }
    }
    let [
        calibration,
        produce,
        fetch,
        pipeline,
        broker_produce,
        broker_fetch,
        each_blocking,
        each_async,
        each_batch,
    ] = samples.map(median);
    let figures = Figures {
        events: arguments.events,
        runs: arguments.runs,
        calibration_ns: calibration.unwrap_or(0.0),
        produce_ns: produce.unwrap_or(0.0),
        fetch_ns: fetch.unwrap_or(0.0),
        pipeline_ns: pipeline.unwrap_or(0.0),
        engine_ns: pipeline.zip(fetch).map_or(0.0, |(all, fetch)| all - fetch),
        each_blocking_ns: each_blocking.unwrap_or(0.0),
        each_async_ns: each_async.unwrap_or(0.0),
        each_batch_ns: each_batch.unwrap_or(0.0),
        broker_produce_ns: broker_produce,
        broker_fetch_ns: broker_fetch,
    };
    print(arguments.json, &figures)
}

/// CPU time per event of this process and of the broker's while `work` runs.
async fn measured(
    broker: Option<u32>,
    events: u64,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(f64, Option<f64>), Failure> {
    let theirs = |process: Option<u32>| process.and_then(usage::cpu_of);
    let before = (usage::cpu(), theirs(broker));
    work.await?;
    let after = (usage::cpu(), theirs(broker));
    let per_event = |used: Duration| used.as_nanos() as f64 / events as f64;
    let broker =
        after.1.zip(before.1).map(|(after, before)| per_event(after.saturating_sub(before)));
    Ok((per_event(after.0.saturating_sub(before.0)), broker))
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let middle = samples.get(samples.len() / 2)?;
    Some((middle * 10.0).round() / 10.0)
}

/// CPU nanoseconds of one step of a fixed piece of integer work.
fn calibrate() -> f64 {
    const STEPS: u64 = 50_000_000;
    let before = usage::cpu();
    let mut state = std::hint::black_box(1_u64);
    for _ in 0..STEPS {
        state = (state ^ (state >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17);
    }
    std::hint::black_box(state);
    (usage::cpu() - before).as_nanos() as f64 / STEPS as f64
}

fn print(json: bool, figures: &Figures) -> Result<(), Failure> {
    if json {
        return table::print_json([figures]);
    }
    let broker =
        |figure: Option<f64>| figure.map_or_else(String::new, |ns| format!("  (broker {ns:.0})"));
    stdout::print(&format!(
        "CPU ns per event, median of {} runs of {} events\n\
         produce      {:>6.1}{}\n\
         fetch        {:>6.1}{}\n\
         pipeline     {:>6.1}  (the engine {:.1} over fetching and decoding)\n\
         blocking     {:>6.1}\n\
         async        {:>6.1}\n\
         batch        {:>6.1}\n\
         calibration  {:>6.2} per step\n",
        figures.runs,
        figures.events,
        figures.produce_ns,
        broker(figures.broker_produce_ns),
        figures.fetch_ns,
        broker(figures.broker_fetch_ns),
        figures.pipeline_ns,
        figures.engine_ns,
        figures.each_blocking_ns,
        figures.each_async_ns,
        figures.each_batch_ns,
        figures.calibration_ns,
    ))
}

/// Resident memory at full rate: the largest of the first and of the second half.
#[derive(Debug, Serialize)]
struct MemoryFigures {
    seconds: u64,
    events: u64,
    first_half_bytes: u64,
    second_half_bytes: u64,
    ratio: f64,
    broker_ratio: Option<f64>,
}

async fn memory(
    arguments: &Arguments,
    bench: &Bench<'_>,
    broker: Option<u32>,
    time: Duration,
) -> Result<(), Failure> {
    let mut resident: Vec<(u64, Option<u64>)> = Vec::new();
    let sample =
        || (usage::resident(std::process::id()).unwrap_or(0), broker.and_then(usage::resident));
    let events = bench.at_full_rate(time, || resident.push(sample())).await?;
    let (first, second) = resident.split_at(resident.len() / 2);
    let most = |half: &[(u64, Option<u64>)]| half.iter().map(|s| s.0).max().unwrap_or(0);
    let most_of_broker = |half: &[(u64, Option<u64>)]| half.iter().filter_map(|s| s.1).max();
    let ratio =
        |first: u64, second: u64| (second as f64 / first.max(1) as f64 * 1_000.0).round() / 1_000.0;
    let figures = MemoryFigures {
        seconds: time.as_secs(),
        events,
        first_half_bytes: most(first),
        second_half_bytes: most(second),
        ratio: ratio(most(first), most(second)),
        broker_ratio: most_of_broker(first).zip(most_of_broker(second)).map(|(a, b)| ratio(a, b)),
    };
    if arguments.json {
        return table::print_json([&figures]);
    }
    stdout::print(&format!(
        "{} events in {} s\nresident memory, second half against first: members {}, broker {:?}\n",
        figures.events, figures.seconds, figures.ratio, figures.broker_ratio
    ))
}
