//! Puts an engine together: client, lanes, workers and the control driver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use onrush_kafka::{
    Client, ClientConfig, Credit, FetchConfig, Fetcher, GroupConfig, Member, Producer,
    TopicPartition,
};
use onrush_runtime::{Executor, Runtime, Task, Wake, Work};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout_at;

use crate::budget::Budget;
use crate::client::{AppenderOutlet, LaneAcks, WorkerAcks};
use crate::config::{EngineConfig, Mode, Saboteur};
use crate::control::{Cluster, Control, Crew, Ended, have_retry_topics};
use crate::emit::Emitter;
use crate::error::{EngineError, PartitionStopped};
use crate::handler::{HandlerFactory, Place};
use crate::inbox::Inbox;
use crate::lane::{Lane, LaneConfig, Runner};
use crate::message::{ControlInput, LaneInput, WorkerInput};
use crate::metrics::{Counts, Metrics, Snapshot};
use crate::pool::{Pool, Taker};
use crate::worker::group::{Group, TaskInput, Team};
use crate::worker::station::{Station, StationConfig};
use crate::worker::{Lanes, Tasks, Worker, WorkerConfig};

/// How long a lane may take to answer; one that runs handlers itself may be held up by one.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);
/// Smallest byte budget: two whole fetches.
pub const BYTE_BUDGET_MIN: usize = 16 << 20;
/// Most worker threads or tasks.
pub const CONCURRENCY_MAX: usize = 4_096;

/// An engine that runs. It goes on when this is dropped; [`Handle::shutdown`] ends it.
pub struct Engine {
    metrics: Arc<Metrics>,
    ended: oneshot::Receiver<Ended>,
    control: Task,
    /// Executors end with their last clone.
    _executors: Vec<Executor>,
}

/// Looks into an engine and ends it, from anywhere.
#[derive(Clone)]
pub struct Handle {
    metrics: Arc<Metrics>,
    shutdown: Arc<watch::Sender<bool>>,
    lanes: Arc<[Arc<Inbox<LaneInput>>]>,
}

impl Handle {
    /// Drains, commits, leaves the group and ends. [`Engine::run`] returns when that is done.
    pub fn shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// Tries again what the answer to failed events has paused; see [`Answer`](crate::Answer).
    pub fn resume(&self) {
        self.lanes.iter().for_each(|lane| lane.push(LaneInput::Resume));
    }

    /// Counts an event as dead-lettered, which somebody has written to the dead letters by hand: one
    /// that is stuck in its handler, or tried again and again. It is tried no more, and the commit
    /// goes on past it.
    ///
    /// # Errors
    /// The event is not at work here: its partition is elsewhere, or it is finished, or not taken yet.
    pub async fn settle(&self, partition: &TopicPartition, offset: i64) -> Result<(), String> {
        let answer = Arc::new(Inbox::new(Wake::new()));
        for lane in self.lanes.iter() {
            let (partition, answer) = (partition.clone(), Arc::clone(&answer));
            lane.push(LaneInput::Settle { partition, offset, answer });
        }
        let (mut told, mut silent) = (VecDeque::new(), self.lanes.len());
        let give_up = tokio::time::Instant::now() + SETTLE_PATIENCE;
        while silent > 0 {
            if timeout_at(give_up, answer.wake().notified()).await.is_err() {
                return Err(format!(
                    "a lane does not answer, its handler holds it: {partition} may be there"
                ));
            }
            answer.take(&mut told);
            silent -= told.len();
            if let Some(settled) = told.drain(..).flatten().next() {
                return settled;
            }
        }
        Err(format!("{partition} is not held here"))
    }

    /// Whether both belong to one engine.
    pub fn is_same(&self, other: &Handle) -> bool {
        Arc::ptr_eq(&self.metrics, &other.metrics)
    }

    /// How the engine stands.
    pub fn snapshot(&self) -> Snapshot {
        self.metrics.snapshot()
    }
}

/// What an engine did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Counts of all lanes.
    pub total: Counts,
    /// Partitions that were stopped on the way.
    pub stopped: Vec<PartitionStopped>,
}

/// The handlers of an engine.
pub enum Handlers {
    /// On the lanes or on worker threads.
    Called(Box<dyn HandlerFactory>),
    /// As tasks.
    Awaited(Tasks),
}

impl Engine {
    /// Connects, joins the group and starts the threads.
    ///
    /// # Errors
    /// The configuration cannot be run, the cluster cannot be reached, or a thread cannot be had.
    pub async fn start(
        config: EngineConfig,
        runtime: &Runtime,
        client: ClientConfig,
        factory: impl HandlerFactory,
    ) -> Result<(Self, Handle), EngineError> {
        if !matches!(config.mode, Mode::Each | Mode::EachBlocking { .. }) {
            return Err(EngineError::Config("handlers that await run as tasks".to_owned()));
        }
        Self::start_any(config, runtime, client, Callers::Threads(&factory)).await
    }

    /// The same, with handlers of any kind; those that await run as tasks on `executor`, whose
    /// runtime needs timers.
    ///
    /// # Errors
    /// See [`Engine::start`].
    pub async fn start_with(
        config: EngineConfig,
        runtime: &Runtime,
        client: ClientConfig,
        handlers: Handlers,
        executor: Executor,
    ) -> Result<(Self, Handle), EngineError> {
        match handlers {
            Handlers::Called(factory) => Self::start(config, runtime, client, factory).await,
            Handlers::Awaited(_)
                if !matches!(config.mode, Mode::EachAsync { .. } | Mode::EachBatch { .. }) =>
            {
                Err(EngineError::Config("tasks are for handlers that await".to_owned()))
            }
            Handlers::Awaited(tasks) => {
                let callers = Callers::Tasks(&tasks, &executor);
                Self::start_any(config, runtime, client, callers).await
            }
        }
    }

    async fn start_any(
        config: EngineConfig,
        runtime: &Runtime,
        client: ClientConfig,
        callers: Callers<'_>,
    ) -> Result<(Self, Handle), EngineError> {
        check(&config)?;
        let io = executor(runtime, "onrush-io")?;
        let control = executor(runtime, "onrush-control")?;
        let cluster = connect(&config, runtime, client, io.clone(), control.clone()).await?;
        let metrics = Arc::new(Metrics::new(config.lanes.get()));
        metrics.watch(cluster.fetcher.credit());
        metrics.beat(runtime.clock.wall_millis());
        let crew = Crew {
            inbox: Arc::new(Inbox::new(Wake::new())),
            lanes: inboxes(config.lanes.get()),
            workers: inboxes(emitters(&config)),
        };
        let threads = Threads {
            config: &config,
            runtime,
            control: &control,
            crew: &crew,
            producer: &cluster.producer,
            credit: cluster.fetcher.credit(),
        };
        let mut executors = vec![io, control.clone()];
        if let Callers::Tasks(_, executor) = &callers {
            executors.push((*executor).clone());
        }
        threads.start_all(&metrics, callers)?;
        let lanes = crew.lanes.clone().into();
        let driver = Control::new(
            config,
            cluster,
            crew,
            Arc::clone(&metrics),
            runtime.clock,
            control.clone(),
        );
        let (shutdown, told) = watch::channel(false);
        let (tell, ended) = oneshot::channel();
        let task = control.spawn(async move {
            let end = driver.run(told).await;
            // Nobody waits for an engine whose `run` was dropped.
            let _ = tell.send(end);
        });
        let handle = Handle { metrics: Arc::clone(&metrics), shutdown: Arc::new(shutdown), lanes };
        Ok((Self { metrics, ended, control: task, _executors: executors }, handle))
    }

    /// Waits for the end of the engine.
    ///
    /// # Errors
    /// It ended before it was told to.
    pub async fn run(self) -> Result<Summary, EngineError> {
        let Ok(Ended { stopped, failed }) = self.ended.await else {
            self.control.join().await;
            return Err(EngineError::Panicked { thread: "onrush-control".to_owned() });
        };
        match failed {
            Some(error) => Err(error),
            None => Ok(Summary { total: self.metrics.snapshot().total, stopped }),
        }
    }
}

fn check(config: &EngineConfig) -> Result<(), EngineError> {
    let problem = if config.group.is_empty() {
        "the group needs a name".to_owned()
    } else if config.topics.is_empty() {
        "name at least one topic".to_owned()
    } else if config.byte_budget < BYTE_BUDGET_MIN {
        format!(
            "a byte budget of {} is too small; {BYTE_BUDGET_MIN} is the least",
            config.byte_budget
        )
    } else if config.commit_interval.is_zero() {
        "the commit interval must be above zero".to_owned()
    } else if config.drain_deadline * 2 > config.rebalance_timeout {
        "the rebalance timeout must be at least twice the drain deadline, or the group gives partitions away undrained".to_owned()
    } else if let Err(problem) = config.ladder() {
        problem
    } else if workers(config.mode) > CONCURRENCY_MAX {
        format!("a concurrency above {CONCURRENCY_MAX} does not pay")
    } else {
        return Ok(());
    };
    Err(EngineError::Config(problem))
}

/// Events that are called at once, beside those on lanes.
fn workers(mode: Mode) -> usize {
    match mode {
        Mode::Each => 0,
        Mode::EachBlocking { concurrency }
        | Mode::EachAsync { concurrency }
        | Mode::EachBatch { concurrency } => concurrency.get(),
    }
}

fn budget(config: &EngineConfig) -> Budget {
    Budget::new(config.byte_budget, config.failures.parked_bytes)
}

/// What workers emit through: threads have one each, tasks one per core.
fn emitters(config: &EngineConfig) -> usize {
    match config.mode {
        Mode::Each | Mode::EachBlocking { .. } => workers(config.mode),
        Mode::EachAsync { .. } | Mode::EachBatch { .. } => {
            workers(config.mode).min(config.lanes.get())
        }
    }
}

fn inboxes<T>(count: usize) -> Vec<Arc<Inbox<T>>> {
    (0..count).map(|_| Arc::new(Inbox::new(Wake::new()))).collect()
}

/// Who calls handlers.
enum Callers<'a> {
    /// Lanes or workers.
    Threads(&'a dyn HandlerFactory),
    Tasks(&'a Tasks, &'a Executor),
}

fn executor(runtime: &Runtime, name: &str) -> Result<Executor, EngineError> {
    runtime.spawn.executor(name, 1).map_err(|error| thread_error(name, &error))
}

fn thread_error(name: &str, error: &std::io::Error) -> EngineError {
    EngineError::Thread { name: name.to_owned(), reason: error.to_string() }
}

async fn connect(
    config: &EngineConfig,
    runtime: &Runtime,
    client: ClientConfig,
    io: Executor,
    control: Executor,
) -> Result<Cluster, EngineError> {
    let failed = |doing| move |source| EngineError::Client { doing, source };
    let client = Client::connect(client, runtime, io).await.map_err(failed("connecting"))?;
    let producer = Producer::start(&client, config.producer.clone())
        .await
        .map_err(failed("starting the producer"))?;
    let (budget, defaults) = (budget(config), FetchConfig::default());
    let fetch = FetchConfig {
        budget: budget.pool,
        reserve: budget.reserve(),
        max_fetch_bytes: defaults.max_fetch_bytes.min(config.byte_budget / 4),
        ..defaults
    };
    let fetcher = Fetcher::start(&client, fetch);
    let ladder = config.ladder().map_err(EngineError::Config)?;
    have_retry_topics(&client, &ladder).await.map_err(failed("creating the retry topics"))?;
    let retry_topics = ladder.topics().map(|(topic, _)| topic);
    let group = GroupConfig {
        rebalance_timeout: config.rebalance_timeout,
        instance_id: config.instance.clone(),
        ..GroupConfig::new(&*config.group, config.topics.iter().cloned().chain(retry_topics))
    };
    let (member, events) =
        Member::join(&client, control, group).await.map_err(failed("joining the group"))?;
    Ok(Cluster { client, fetcher, producer, member: Arc::new(member), events })
}

/// Starts lanes and workers.
struct Threads<'a> {
    config: &'a EngineConfig,
    runtime: &'a Runtime,
    control: &'a Executor,
    crew: &'a Crew,
    producer: &'a Producer,
    credit: Credit,
}

impl Threads<'_> {
    fn start_all(&self, metrics: &Metrics, callers: Callers<'_>) -> Result<(), EngineError> {
        let workers = &self.crew.workers;
        match (callers, self.config.mode) {
            (Callers::Threads(factory), Mode::Each) => {
                let inline = |number| Runner::Inline(factory.make(Place::Lane(number)));
                self.start_lanes(metrics, inline)
            }
            (Callers::Threads(factory), _) => {
                let taker = |(emitter, inbox): (usize, &Arc<Inbox<WorkerInput>>)| Taker {
                    wake: inbox.wake().clone(),
                    emitter,
                };
                let pool = Arc::new(Pool::new(workers.iter().enumerate().map(taker).collect()));
                self.start_lanes(metrics, |_| self.runner(&pool))?;
                self.start_workers(&pool, factory)
            }
            (Callers::Tasks(tasks, executor), _) => {
                let inboxes: Vec<Arc<Inbox<TaskInput>>> = inboxes(self::workers(self.config.mode));
                let taker = |(number, inbox): (usize, &Arc<Inbox<TaskInput>>)| Taker {
                    wake: inbox.wake().clone(),
                    emitter: number % workers.len(),
                };
                let pool = Arc::new(Pool::new(inboxes.iter().enumerate().map(taker).collect()));
                self.start_lanes(metrics, |_| self.runner(&pool))?;
                self.start_tasks(&pool, &inboxes, tasks, executor);
                Ok(())
            }
        }
    }

    fn runner(&self, pool: &Arc<Pool>) -> Runner {
        Runner::Workers { pool: Arc::clone(pool), inboxes: self.crew.workers.clone() }
    }

    fn start_lanes(
        &self,
        metrics: &Metrics,
        runner: impl Fn(usize) -> Runner,
    ) -> Result<(), EngineError> {
        let lanes = self.config.lanes.get();
        let saboteur = Saboteur::new(self.config.sabotage);
        let failures = Arc::new(self.config.failures.clone());
        let ladder = Arc::new(self.config.ladder().unwrap_or_default());
        for (number, inbox) in self.crew.lanes.iter().enumerate() {
            let config = LaneConfig {
                number,
                order: self.config.order,
                slots: self.config.slots.get(),
                in_flight: (self.config.in_flight / lanes as u64).max(1),
                clock: self.runtime.clock,
                credit: self.credit.clone(),
                dead_letter_topic: self.config.dead_letter_topic.as_deref().map(Into::into),
                failures: Arc::clone(&failures),
                ladder: Arc::clone(&ladder),
                parked_bytes: budget(self.config).parked / lanes,
                random: self.runtime.random.fork(),
            };
            let emitter = self.emitter(Arc::new(LaneAcks(Arc::clone(inbox))), inbox.wake());
            let control = Arc::clone(&self.crew.inbox);
            let mut lane = Lane::new(
                config,
                Arc::clone(inbox),
                control,
                runner(number),
                emitter,
                metrics.lane(number),
            );
            lane.sabotage(saboteur.clone());
            self.start(format!("onrush-lane-{number}"), inbox.wake(), Box::new(lane))?;
        }
        Ok(())
    }

    fn start_workers(
        &self,
        pool: &Arc<Pool>,
        factory: &dyn HandlerFactory,
    ) -> Result<(), EngineError> {
        for (number, inbox) in self.crew.workers.iter().enumerate() {
            let emitter = self.emitter(Arc::new(WorkerAcks(Arc::clone(inbox))), inbox.wake());
            let config = WorkerConfig {
                number,
                inbox: Arc::clone(inbox),
                pool: Arc::clone(pool),
                lanes: self.crew.lanes.clone(),
                control: Arc::clone(&self.crew.inbox),
                clock: self.runtime.clock,
                time_limit: self.config.time_limit,
            };
            let worker = Worker::new(config, factory.make(Place::Worker(number)), emitter);
            self.start(format!("onrush-worker-{number}"), inbox.wake(), Box::new(worker))?;
        }
        Ok(())
    }

    fn start_tasks(
        &self,
        pool: &Arc<Pool>,
        inboxes: &[Arc<Inbox<TaskInput>>],
        tasks: &Tasks,
        executor: &Executor,
    ) {
        let groups = self.crew.workers.len();
        for (number, inbox) in self.crew.workers.iter().enumerate() {
            let emitter = self.emitter(Arc::new(WorkerAcks(Arc::clone(inbox))), inbox.wake());
            let config = Team {
                number,
                inbox: Arc::clone(inbox),
                tasks: inboxes.iter().skip(number).step_by(groups).cloned().collect(),
                lanes: Lanes(self.crew.lanes.clone()),
                control: Arc::clone(&self.crew.inbox),
                clock: self.runtime.clock,
            };
            let group = Arc::new(Group::new(config, emitter));
            for (task, inbox) in inboxes.iter().enumerate().skip(number).step_by(groups) {
                let station = Station::new(StationConfig {
                    number: task,
                    group: Arc::clone(&group),
                    inbox: Arc::clone(inbox),
                    pool: Arc::clone(pool),
                    time_limit: self.config.time_limit,
                });
                executor.spawn(tasks.make(task, station));
            }
            self.drive(number, group);
        }
    }

    fn drive(&self, number: usize, group: Arc<Group>) {
        let (control, driver) = (Arc::clone(&self.crew.inbox), Arc::clone(&group));
        let task = self.control.spawn(driver.drive());
        self.control.spawn(async move {
            let well = task.join().await && group.is_whole();
            control.push(ControlInput::Ended(format!("onrush-tasks-{number}"), well));
        });
    }

    fn emitter(&self, acks: Arc<dyn onrush_kafka::AckSink>, room: &Wake) -> Emitter {
        let mut appender = self.producer.appender(acks);
        appender.wake_on_room(room.clone());
        Emitter::new(Box::new(AppenderOutlet::new(appender)))
    }

    fn start(&self, name: String, wake: &Wake, work: Box<dyn Work>) -> Result<(), EngineError> {
        let thread = self.runtime.spawn.work(name.clone(), wake.clone(), work);
        let handle = thread.map_err(|error| thread_error(&name, &error))?;
        let inbox = Arc::clone(&self.crew.inbox);
        self.control.spawn(async move {
            let well = handle.join().await;
            inbox.push(ControlInput::Ended(name, well));
        });
        Ok(())
    }
}
