//! The command: what runs when, from the broker's start to the proof.
//!
//! 1. a broker (ours, in a process of its own, or the one of `--brokers`), a topic and a group that are new;
//! 2. the members join; the generator sends the replay;
//! 3. half-way the generator waits until members work, a new one has joined, and the one with the most partitions begins
//!    to leave: the planned hand-over;
//! 4. it ends when every partition's committed offset is the end offset read after the last acknowledgement;
//! 5. the members leave; the proof is computed from the journals; nothing but the result is left (or all, with `--keep`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use onrush_engine::Sabotage;
use onrush_kafka::{At, Client, ClientConfig, Producer, ProducerConfig, TopicPartition};
use onrush_record::{Compression, partition_for_key};
use onrush_runtime::{Disk, Executor, Instant, Random, Runtime, Wake};

use super::event::Templates;
use super::flights::Flights;
use super::generator::{Generator, Progress};
use super::journal::Journals;
use super::journal::cost::measure_cost;
use super::journal::file::read_all;
use super::live::Live;
use super::members::Members;
use super::proof::{self, Proof};
use super::replay::Replay;
use super::results::{JOURNAL_FOLDER, RESULTS_FILE, Results};
use super::tally::Tally;
use crate::embedded::EmbeddedBroker;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::usage;

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 6;
/// Without an event committed for so long, the run has failed.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Longer than a drain, its commit and the members' goodbyes.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Send real flights through a Kafka-protocol log, process them in key order, and prove the result.
///
/// The input is every flight that left New York in 2013: 336,776 events (and as many laps of them as --events asks for),
/// keyed by aircraft. Members count them per carrier and airport while one planned hand-over takes place. Every handler call
/// is journaled; afterwards the proof is computed from the journals and the flights alone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush demo
  onrush demo --events 3000000 --json
  onrush demo --brokers 127.0.0.1:9092        # on your Apache Kafka
  onrush demo --keep ./run                    # leaves log, journals and results.json")]
pub(crate) struct Arguments {
    /// How many events to send.
    #[arg(long, value_name = "N", default_value_t = 336_776, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    events: u64,
    /// Engine members, all in this process.
    #[arg(long, value_name = "M", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    members: u16,
    /// Use this Kafka cluster instead of the embedded log (several with commas).
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    brokers: Vec<String>,
    /// Leave log, journals and results.json in this directory, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the results as one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Serve /metrics, /livez and /readyz here while it runs.
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Break the engine on purpose, once: the proof must notice.
    #[arg(long, value_enum)]
    sabotage: Option<SabotageArgument>,
}

/// What to break.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SabotageArgument {
    /// Record an event as done without running it.
    Lose,
    /// Run an event twice.
    Repeat,
    /// Run two events of a key in the wrong order.
    Reorder,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = Folder::of(arguments.keep.as_deref())?;
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("demo", 1).map_err(Failure::threads)?;
    executor.block_on(demo(arguments, &folder, &runtime, executor.clone()))
}

async fn demo(
    arguments: &Arguments,
    folder: &Folder,
    runtime: &Runtime,
    executor: Executor,
) -> Result<(), Failure> {
    let flights: &'static Flights = Box::leak(Box::new(
        Flights::load().map_err(|error| Failure::unavailable(error.to_string()))?,
    ));
    let broker = match arguments.brokers.is_empty() {
        true => Some(EmbeddedBroker::start(Some(&folder.path().join("log"))).await?),
        false => None,
    };
    let brokers = match &broker {
        Some(broker) => vec![broker.address().to_owned()],
        None => arguments.brokers.clone(),
    };
    let run = Run { arguments, folder, runtime, executor, flights, brokers };
    let results = run.to_the_end().await;
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let (results, proof) = results?;
    let agree = results.figures.get("members_agree").is_some_and(|agree| *agree == true);
    report(arguments, folder, &results)?;
    match (proof.holds(), agree) {
        (true, true) => Ok(()),
        (true, false) => Err(Failure::new(
            Exit::Wrong,
            "what the members counted is not what their journals say",
        )),
        (false, _) => Err(Failure::new(Exit::Wrong, "the proof failed: see the counts above")),
    }
}

/// One run of the demo.
struct Run<'a> {
    arguments: &'a Arguments,
    folder: &'a Folder,
    runtime: &'a Runtime,
    executor: Executor,
    flights: &'static Flights,
    brokers: Vec<String>,
}

impl Run<'_> {
    async fn to_the_end(&self) -> Result<(Results, Proof), Failure> {
        let mut interrupt = Interrupt::listen_twice(&self.executor);
        let name = format!("onrush-demo-{:08x}", Random::from_entropy().next_u64() as u32);
        let client =
            Client::connect(ClientConfig::new(&self.brokers), self.runtime, self.executor.clone());
        let client = client.await.map_err(|error| Failure::unavailable(error.to_string()))?;
        client.create_topic(&name, PARTITIONS, 1).await.map_err(failed("create the topic"))?;

        let journals = self.folder.path().join(JOURNAL_FOLDER);
        let journals =
            Journals::new(&journals, self.arguments.events).map_err(failed("make the journals"))?;
        let tally = Arc::new(Mutex::new(Tally::new()));
        let mut members = Members::new(
            (self.runtime, &self.executor),
            &self.brokers,
            &name,
            self.sabotage(),
            journals,
            tally.clone(),
        );
        for _ in 0..self.arguments.members {
            members.start().await?;
        }
        if let Some(address) = &self.arguments.http {
            let address = crate::http::serve(address, &self.executor, members.status()).await?;
            eprintln!("http on {address}");
        }

        let start = Instant::now();
        let (producer, progress) = self.generate(&client, &name).await?;
        let outcome = self.watch(&client, &name, &progress, &mut members, &mut interrupt).await;
        let elapsed = start.elapsed();
        progress.stop();
        let stopped = tokio::time::timeout(STOP_LIMIT, members.stop_all()).await;
        outcome?;
        stopped.unwrap_or_else(|_| Err(Failure::new(Exit::Stalled, "the members do not stop")))?;
        producer.close().await;

        let (mut results, proof) = self.prove(&name)?;
        let counted = tally.lock().unwrap_or_else(PoisonError::into_inner).table();
        let seconds = elapsed.as_secs_f64();
        let figures = [
            ("seconds", seconds),
            ("events_per_second", (self.arguments.events as f64 / seconds).round()),
            ("journal_ns_per_event", self.journal_cost()?),
        ];
        let rounded = |value: f64| (value * 100.0).round() / 100.0;
        results
            .figures
            .extend(figures.map(|(name, value)| (name.to_owned(), rounded(value).into())));
        results.figures.insert("members_agree".to_owned(), (counted == results.table).into());
        Ok((results, proof))
    }

    fn sabotage(&self) -> Sabotage {
        match self.arguments.sabotage {
            None => Sabotage::None,
            Some(SabotageArgument::Lose) => Sabotage::Lose,
            Some(SabotageArgument::Repeat) => Sabotage::Repeat,
            Some(SabotageArgument::Reorder) => Sabotage::Reorder,
        }
    }

    async fn generate(
        &self,
        client: &Client,
        topic: &str,
    ) -> Result<(Producer, Arc<Progress>), Failure> {
        let config = ProducerConfig { compression: Compression::Lz4, ..ProducerConfig::default() };
        let producer =
            Producer::start(client, config).await.map_err(failed("start the producer"))?;
        let replay = Replay::new(self.flights, self.arguments.events, PARTITIONS, |key| {
            partition_for_key(key, PARTITIONS)
        });
        let wake = Wake::new();
        let (generator, progress) = Generator::new(
            self.flights,
            replay,
            self.arguments.events / 2,
            &producer,
            topic,
            wake.clone(),
        )
        .map_err(failed("find the topic"))?;
        let spawned = self.runtime.spawn.work("generator".to_owned(), wake, Box::new(generator));
        spawned.map_err(Failure::threads)?;
        Ok((producer, progress))
    }

    /// Shows progress and hands over half-way; returns when everything is committed.
    async fn watch(
        &self,
        client: &Client,
        topic: &str,
        progress: &Progress,
        members: &mut Members,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(topic, p)).collect();
        let mut live = Live::new(self.arguments.events, !self.arguments.json);
        let (mut last_done, mut last_change, mut handed_over) = (0, Instant::now(), false);
        loop {
            tokio::select! {
                biased;
                () = interrupt.requested() => {
                    live.finish();
                    return Err(Failure::new(Exit::Interrupted, "interrupted; what was taken is drained and committed"));
                }
                () = tokio::time::sleep(TICK) => {}
            }
            if let Some(reason) = progress.failure() {
                return Err(Failure::unavailable(format!("the generator failed: {reason}")));
            }
            members.check()?;
            let done = members.done();
            live.show(progress, members);
            if done != last_done {
                (last_done, last_change) = (done, Instant::now());
            }
            // Only once members hold partitions and work is there something to hand over.
            if !handed_over && progress.is_waiting() && done >= self.arguments.events / 4 {
                handed_over = true;
                members.hand_over(progress).await?;
                last_change = Instant::now();
            }
            if progress.acknowledged() == self.arguments.events
                && self.behind(client, topic, &partitions).await?.is_empty()
            {
                live.finish();
                return Ok(());
            }
            if last_change.elapsed() > STALL_LIMIT {
                live.finish();
                let behind = self.behind(client, topic, &partitions).await?;
                let sent = progress.acknowledged();
                return Err(Failure::new(
                    Exit::Stalled,
                    format!(
                        "no progress for {} s: {sent} of {} events acknowledged, {done} processed; not committed: {behind:?}",
                        STALL_LIMIT.as_secs(),
                        self.arguments.events
                    ),
                ));
            }
        }
    }

    /// Partitions that are not committed up to their end: committed offset, end.
    async fn behind(
        &self,
        client: &Client,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(i32, i64, i64)>, Failure> {
        // Committed first: the other way round, a partition could seem to be ahead of its end.
        let committed = client
            .fetch_offsets(group, partitions)
            .await
            .map_err(failed("read the committed offsets"))?;
        let ends = client
            .list_offsets(partitions, At::Latest)
            .await
            .map_err(failed("read the end offsets"))?;
        let behind = committed.into_iter().filter_map(|committed| {
            let end = ends.get(&committed.partition).map_or(i64::MAX, |end| end.offset);
            let at = committed.offset.max(0);
            (at != end).then_some((committed.partition.partition, at, end))
        });
        Ok(behind.collect())
    }

    fn prove(&self, name: &str) -> Result<(Results, Proof), Failure> {
        let journals = read_all(&self.folder.path().join(JOURNAL_FOLDER))
            .map_err(failed("read the journals"))?;
        let partition_for = |key: &[u8]| partition_for_key(key, PARTITIONS);
        let proof =
            proof::prove(self.flights, self.arguments.events, PARTITIONS, partition_for, &journals);
        Ok((Results::new(name, name, &proof), proof))
    }

    fn journal_cost(&self) -> Result<f64, Failure> {
        let mut templates = Templates::new(self.flights);
        measure_cost(self.folder.path(), self.flights, &mut templates, usage::cpu)
            .map_err(failed("measure the journal"))
    }
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::unavailable(format!("cannot {what}: {error}"))
}

/// Writes `results.json` where it is kept, and the results to stdout.
fn report(arguments: &Arguments, folder: &Folder, results: &Results) -> Result<(), Failure> {
    let line = serde_json::to_string(results).map_err(failed("write the results"))?;
    if arguments.keep.is_some() {
        folder.write(RESULTS_FILE, &line)?;
    }
    let text = if arguments.json {
        format!("{line}\n")
    } else {
        let figures = results.figures.iter();
        let figures =
            figures.map(|(name, value)| format!("{:<22}{value}\n", name.replace('_', " ")));
        format!("{}\n{}{}", results.table_text(), results.proof_text(), figures.collect::<String>())
    };
    // A reader that has gone does not make the run wrong.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Where a run keeps its log and journals.
enum Folder {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn of(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(keep) = keep else {
            let made = tempfile::Builder::new().prefix("onrush-demo-").tempdir();
            return made.map(Self::Temporary).map_err(failed("make a temporary directory"));
        };
        std::fs::create_dir_all(keep)
            .map_err(|e| Failure::unavailable(format!("cannot make {}: {e}", keep.display())))?;
        let empty = std::fs::read_dir(keep).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            Ok(Self::Kept(keep.to_owned()))
        } else {
            Err(Failure::usage(format!(
                "{} is not empty: give --keep a new directory",
                keep.display()
            )))
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the command is a driver")]
    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path().join(name);
        std::fs::write(&path, text)
            .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))
    }
}
