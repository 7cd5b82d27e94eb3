//! One run of the demo: what both kinds of it share, and the one with a planned hand-over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_kafka::{
    At, Client, ClientConfig, Committed, Compression, Producer, ProducerConfig, TopicPartition,
};
use onrush_record::partition_for_key;
use onrush_runtime::{Executor, Instant, Random, Runtime, Wake};

use super::command::Arguments;
use super::death;
use super::event::Templates;
use super::flights::Flights;
use super::folder::Folder;
use super::generator::{Generator, Pace, Progress};
use super::journal::Journals;
use super::journal::cost::measure_cost;
use super::journal::file::read_all;
use super::kill;
use super::live::Live;
use super::members::Members;
use super::proof::{self, Proof};
use super::replay::Replay;
use super::results::{JOURNAL_FOLDER, Results};
use super::tally::Tally;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::stderr;
use crate::usage;

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 6;
/// Members, unless the arguments say how many.
const MEMBERS: u16 = 2;
/// Without an event committed for so long, the run has failed.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Longer than a drain, its commit and the members' goodbyes.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(50);

/// What a run works with.
pub(super) struct Run<'a> {
    pub(super) arguments: &'a Arguments,
    pub(super) folder: &'a Folder,
    pub(super) runtime: &'a Runtime,
    pub(super) executor: Executor,
    pub(super) flights: &'static Flights,
    pub(super) brokers: Vec<String>,
}

/// The topic of a run, and the group of the same name.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) name: String,
    partitions: Vec<TopicPartition>,
}

impl Target {
    /// A new topic on a cluster.
    async fn create(run: &Run<'_>) -> Result<Self, Failure> {
        let name = format!("onrush-demo-{:08x}", Random::from_entropy().next_u64() as u32);
        let config = ClientConfig::new(&run.brokers);
        let client = Client::connect(config, run.runtime, run.executor.clone()).await?;
        client.create_topic(&name, PARTITIONS, 1).await.map_err(failed("create the topic"))?;
        let partitions = (0..PARTITIONS).map(|p| TopicPartition::new(name.as_str(), p)).collect();
        Ok(Self { client, name, partitions })
    }

    /// Partitions that are not committed up to their end: committed offset, end.
    pub(super) async fn behind(&self) -> Result<Vec<(i32, i64, i64)>, Failure> {
        // Committed first: the other way round, a partition could seem to be ahead of its end.
        let committed = self.committed(&self.partitions).await?;
        let ends = self
            .client
            .list_offsets(&self.partitions, At::Latest)
            .await
            .map_err(failed("read the end offsets"))?;
        let behind = committed.into_iter().filter_map(|committed| {
            let end = ends.get(&committed.partition).map_or(i64::MAX, |end| end.offset);
            let at = committed.offset.max(0);
            (at != end).then_some((committed.partition.partition, at, end))
        });
        Ok(behind.collect())
    }

    /// What the group has committed of partitions.
    pub(super) async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Committed>, Failure> {
        let committed = self.client.fetch_offsets(&self.name, partitions).await;
        committed.map_err(failed("read the committed offsets"))
    }
}

impl Run<'_> {
    pub(super) async fn to_the_end(&self) -> Result<(Results, Proof), Failure> {
        let mut interrupt = Interrupt::listen_twice(&self.executor);
        let target = Target::create(self).await?;
        match self.arguments.kill {
            true => kill::to_the_end(self, &target, &mut interrupt).await,
            false => self.with_hand_over(&target, &mut interrupt).await,
        }
    }

    async fn with_hand_over(
        &self,
        target: &Target,
        interrupt: &mut Interrupt,
    ) -> Result<(Results, Proof), Failure> {
        let journals = self.folder.path().join(JOURNAL_FOLDER);
        let journals =
            Journals::new(&journals, self.arguments.events).map_err(failed("make the journals"))?;
        let tally = Arc::new(Mutex::new(Tally::new()));
        let mut members = Members::new(
            (self.runtime, &self.executor),
            &self.brokers,
            &target.name,
            self.arguments.sabotage(),
            journals,
            tally.clone(),
        );
        for _ in 0..self.arguments.members.unwrap_or(MEMBERS) {
            members.start().await?;
        }
        if let Some(address) = &self.arguments.http {
            let address = crate::http::serve(address, &self.executor, members.status()).await?;
            stderr::note(format_args!("http on {address}"));
        }

        let start = Instant::now();
        let pace = Pace::PauseAfter(self.arguments.events / 2);
        let (producer, progress) = self.generate(target, pace).await?;
        let outcome = self.watch(target, &progress, &mut members, interrupt).await;
        let elapsed = start.elapsed();
        progress.stop();
        let stopped = tokio::time::timeout(STOP_LIMIT, members.stop_all()).await;
        outcome?;
        stopped.unwrap_or_else(|_| Err(Failure::new(Exit::Stalled, "the members do not stop")))?;
        producer.close().await;

        let (mut results, proof) = self.results(target, elapsed)?;
        let counted = tally.lock().unwrap_or_else(PoisonError::into_inner).table();
        results.figures.insert("members_agree".to_owned(), (counted == results.table).into());
        Ok((results, proof))
    }

    /// Starts the generator.
    pub(super) async fn generate(
        &self,
        target: &Target,
        pace: Pace,
    ) -> Result<(Producer, Arc<Progress>), Failure> {
        let config = ProducerConfig { compression: Compression::Lz4, ..ProducerConfig::default() };
        let producer =
            Producer::start(&target.client, config).await.map_err(failed("start the producer"))?;
        let replay = Replay::new(self.flights, self.arguments.events, PARTITIONS, |key| {
            partition_for_key(key, PARTITIONS)
        });
        let wake = Wake::new();
        let (generator, progress) =
            Generator::new(self.flights, replay, pace, &producer, &target.name, wake.clone())
                .map_err(failed("find the topic"))?;
        let spawned = self.runtime.spawn.work("generator".to_owned(), wake, Box::new(generator));
        spawned.map_err(Failure::threads)?;
        Ok((producer, progress))
    }

    /// Shows progress and hands over half-way; returns when everything is committed.
    async fn watch(
        &self,
        target: &Target,
        progress: &Progress,
        members: &mut Members,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        let mut live = Live::new(self.arguments.events, !self.arguments.json);
        let (mut last_done, mut last_change, mut handed_over) = (0, Instant::now(), false);
        loop {
            next_look(progress, interrupt).await?;
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
            if progress.acknowledged() == self.arguments.events && target.behind().await?.is_empty()
            {
                return Ok(());
            }
            if last_change.elapsed() > STALL_LIMIT {
                return Err(self.stalled(target, progress, done, STALL_LIMIT).await);
            }
        }
    }

    /// The failure of a run that made no progress for `limit`.
    pub(super) async fn stalled(
        &self,
        target: &Target,
        progress: &Progress,
        done: u64,
        limit: Duration,
    ) -> Failure {
        let behind = match target.behind().await {
            Ok(behind) => format!("{behind:?}"),
            Err(failure) => failure.to_string(),
        };
        let (sent, events) = (progress.acknowledged(), self.arguments.events);
        let seconds = limit.as_secs();
        Failure::new(
            Exit::Stalled,
            format!(
                "no progress for {seconds} s: {sent} of {events} events acknowledged, {done} processed; not committed: {behind}"
            ),
        )
    }

    /// The results of a run that came to its end, computed from what it left.
    pub(super) fn results(
        &self,
        target: &Target,
        elapsed: Duration,
    ) -> Result<(Results, Proof), Failure> {
        let (mut results, proof) = self.prove(&target.name)?;
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
        Ok((results, proof))
    }

    fn prove(&self, name: &str) -> Result<(Results, Proof), Failure> {
        let journals = read_all(&self.folder.path().join(JOURNAL_FOLDER))
            .map_err(failed("read the journals"))?;
        let deaths = death::read_all(self.folder.path()).map_err(failed("read the kills"))?;
        let partition_for = |key: &[u8]| partition_for_key(key, PARTITIONS);
        let events = self.arguments.events;
        let proof =
            proof::prove(self.flights, events, PARTITIONS, partition_for, &journals, &deaths);
        Ok((Results::new(name, name, &proof), proof))
    }

    fn journal_cost(&self) -> Result<f64, Failure> {
        let mut templates = Templates::new(self.flights);
        measure_cost(self.folder.path(), self.flights, &mut templates, usage::cpu)
            .map_err(failed("measure the journal"))
    }
}

/// An error of something outside, with what was to be done.
pub(super) fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::unavailable(format!("cannot {what}: {error}"))
}

/// Returns when progress is to be looked at again; an error if the user ended the run, or nothing more will be sent.
pub(super) async fn next_look(
    progress: &Progress,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = interrupt.requested() => return Err(interrupted()),
        () = tokio::time::sleep(TICK) => {}
    }
    match progress.failure() {
        Some(reason) => Err(Failure::unavailable(format!("the generator failed: {reason}"))),
        None => Ok(()),
    }
}

/// The failure of a run that the user ended.
fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted; what was taken is drained and committed")
}
