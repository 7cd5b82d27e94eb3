//! The demo's members: engines of one group in one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush::health::{Health, live};
use onrush::http::Status;
use onrush::metrics::prometheus;
use onrush::view::View;
use onrush_engine::{Counts, Engine, EngineConfig, Handle, Place, Sabotage, Snapshot};
use onrush_kafka::ClientConfig;
use onrush_runtime::{Clock, Executor, Runtime};
use tokio::sync::oneshot;

use super::generator::Progress;
use super::handler::FlightHandler;
use super::journal::Journals;
use super::tally::Tally;
use crate::failure::{Exit, Failure};

/// The engine of a member of the group `name` that reads the topic `name`.
pub(super) fn config(name: &str, sabotage: Sabotage) -> EngineConfig {
    // Members share the cores; one lane each is what two of them on two cores would have.
    EngineConfig { lanes: std::num::NonZeroUsize::MIN, sabotage, ..EngineConfig::new(name, [name]) }
}

/// Members that run, and what those that left have done.
pub(crate) struct Members {
    runtime: Runtime,
    executor: Executor,
    config: EngineConfig,
    brokers: Vec<String>,
    journals: Arc<Journals>,
    tally: Arc<Mutex<Tally>>,
    running: Vec<Member>,
    started: u64,
    shared: Arc<Shared>,
}

struct Member {
    number: u64,
    handle: Handle,
    ended: oneshot::Receiver<Result<(), String>>,
}

/// What the HTTP server sees.
#[derive(Default)]
struct Shared {
    /// By the number of the member.
    handles: Mutex<BTreeMap<u64, Handle>>,
    /// Counts of members that have left.
    left: Mutex<Counts>,
    health: Health,
}

impl Members {
    /// No members yet, of the group `name` that reads the topic `name`.
    pub(crate) fn new(
        (runtime, executor): (&Runtime, &Executor),
        brokers: &[String],
        name: &str,
        sabotage: Sabotage,
        journals: Journals,
        tally: Arc<Mutex<Tally>>,
    ) -> Self {
        let config = config(name, sabotage);
        Self {
            runtime: runtime.clone(),
            executor: executor.clone(),
            config,
            brokers: brokers.to_vec(),
            journals: Arc::new(journals),
            tally,
            running: Vec::new(),
            started: 0,
            shared: Arc::default(),
        }
    }

    /// Adds a member to the group.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        let (journals, tally) = (self.journals.clone(), self.tally.clone());
        let factory = move |_: Place| FlightHandler::new(journals.clone(), tally.clone());
        let client = ClientConfig::new(&self.brokers);
        let started = Engine::start(self.config.clone(), &self.runtime, client, factory).await;
        let (engine, handle) = started?;
        let (end, ended) = oneshot::channel();
        self.executor.spawn(async move {
            let _ = end.send(engine.run().await.map(drop).map_err(|error| error.to_string()));
        });
        self.started += 1;
        let number = self.started;
        self.shared.handles().insert(number, handle.clone());
        self.running.push(Member { number, handle, ended });
        Ok(())
    }

    /// The planned hand-over: a member joins, and the one with the most partitions leaves in good order, while events
    /// flow again.
    pub(crate) async fn hand_over(&mut self, progress: &Progress) -> Result<(), Failure> {
        let held = |member: &Member| member.handle.snapshot().partitions.len();
        let most = (0..self.running.len()).max_by_key(|index| held(&self.running[*index]));
        let leaving = self.running.remove(most.unwrap_or(0));
        self.start().await?;
        progress.release();
        self.stop(leaving).await
    }

    /// All members drain, commit and leave.
    pub(crate) async fn stop_all(&mut self) -> Result<(), Failure> {
        for member in &self.running {
            member.handle.shutdown();
        }
        let mut outcome = Ok(());
        while let Some(member) = self.running.pop() {
            let stopped = self.stop(member).await;
            outcome = outcome.and(stopped);
        }
        outcome
    }

    async fn stop(&self, member: Member) -> Result<(), Failure> {
        member.handle.shutdown();
        let ended = member.ended.await.unwrap_or_else(|_| Err("it panicked".to_owned()));
        self.shared.left().add(&member.handle.snapshot().total);
        self.shared.handles().remove(&member.number);
        ended.map_err(|error| Failure::new(Exit::Wrong, format!("a member failed: {error}")))
    }

    /// An error if a member has ended although nobody asked it to.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let ended = |member: &mut Member| match member.ended.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => None,
            Ok(Err(error)) => Some(format!("a member failed: {error}")),
            Ok(Ok(())) | Err(oneshot::error::TryRecvError::Closed) => {
                Some("a member ended early".to_owned())
            }
        };
        let found = self
            .running
            .iter_mut()
            .enumerate()
            .find_map(|(index, member)| Some((index, ended(member)?)));
        match found {
            None => Ok(()),
            Some((index, what)) => {
                // It has told its end, which nobody can await again.
                drop(self.running.remove(index));
                Err(Failure::new(Exit::Wrong, what))
            }
        }
    }

    /// Events that have an outcome.
    pub(crate) fn done(&self) -> u64 {
        let running: u64 = self.snapshots().iter().map(|snapshot| outcomes(&snapshot.total)).sum();
        running + outcomes(&self.shared.left())
    }

    /// The state of every running member.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.running.iter().map(|member| member.handle.snapshot()).collect()
    }

    /// What `--http` serves.
    pub(crate) fn status(&self) -> Arc<impl Status> {
        Arc::clone(&self.shared)
    }
}

fn outcomes(counts: &Counts) -> u64 {
    counts.done + counts.dead_lettered
}

impl Shared {
    fn handles(&self) -> MutexGuard<'_, BTreeMap<u64, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        self.handles().values().map(Handle::snapshot).collect()
    }

    fn left(&self) -> MutexGuard<'_, Counts> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status for Shared {
    fn metrics(&self) -> String {
        prometheus(&self.snapshots(), &self.left())
    }

    fn not_ready(&self) -> Option<String> {
        self.health.ready(&self.snapshots(), Clock::System.now()).err()
    }

    fn not_live(&self) -> Option<String> {
        live(&self.snapshots(), Clock::System.wall_millis()).err()
    }

    fn snapshot(&self) -> Option<String> {
        let view = View::of(Clock::System.wall_millis(), &self.snapshots(), &self.left());
        serde_json::to_string(&view).ok()
    }
}
