//! A member of the group: the unmodified engine in a simulated process, with a handler that writes the history.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_engine::{
    Assignment, AsyncContext, AsyncHandler, BatchContext, BatchError, BatchHandler, Context,
    Engine, EngineConfig, Event, FailurePolicy, Handle, Handler, HandlerError, Handlers, Mode,
    OwnedEvent, Place, RetryPolicy, Sabotage, Tasks,
};
use onrush_kafka::ClientConfig;
use onrush_runtime::spawn::Process;
use onrush_runtime::{Executor, Instant, Random, Runtime, Task};

use crate::history::{Call, History, Life, Payload};
use crate::plan::Plan;
use crate::world::{GROUP, TOPIC};

/// Handlers on workers take up to this long; one in a hundred ten times as long.
const LONGEST_CALL: Duration = Duration::from_millis(40);
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// A member that runs.
pub(crate) struct Member {
    life: Life,
    process: Process,
    handle: Arc<Mutex<Option<Handle>>>,
    result: Arc<Mutex<Option<Result<(), String>>>>,
    task: Task,
}

impl Member {
    pub(crate) fn start(
        runtime: Runtime,
        process: Process,
        client: ClientConfig,
        life: Life,
        plan: &Plan,
        history: &History,
    ) -> Self {
        let config = config(plan);
        let (random, history) = (plan.random.fork(), history.clone());
        let failing = Failing {
            chance: plan.failing,
            attempts: plan.attempts.map(NonZeroU32::get),
            doomed: plan.doomed,
        };
        let factory = move |place: Place| Recorder {
            life,
            on_worker: !matches!(place, Place::Lane(_)),
            failing,
            random: random.fork(),
            history: history.clone(),
            sessions: BTreeMap::new(),
        };
        let (mode, batch) = (config.mode, most(plan));
        let handlers = move || match mode {
            Mode::EachAsync { .. } => Handlers::Awaited(Tasks::each(factory.clone())),
            Mode::EachBatch { .. } => Handlers::Awaited(Tasks::batch(batch, factory.clone())),
            _ => Handlers::Called(Box::new(factory.clone())),
        };
        let (handle, result) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let (shared_handle, shared_result) = (handle.clone(), result.clone());
        let executor = Executor::Process(process.clone());
        let task = executor.clone().spawn(async move {
            let (engine, running) = loop {
                let (config, client) = (config.clone(), client.clone());
                let executor = executor.clone();
                match Engine::start_with(config, &runtime, client, handlers(), executor).await {
                    Ok(started) => break started,
                    // The broker is down: whoever supervises the member starts it again.
                    Err(_) => tokio::time::sleep(RESTART_PAUSE).await,
                }
            };
            set(&shared_handle, running);
            let outcome = engine.run().await;
            set(&shared_result, outcome.map(drop).map_err(|error| error.to_string()));
        });
        Self { life, process, handle, result, task }
    }

    /// Ends at once; the host is off the network already.
    pub(crate) fn crash(self, history: &History) {
        history.died(self.life, Instant::now());
        self.process.crash();
    }

    /// Drains, commits, leaves.
    pub(crate) async fn stop(self) -> Result<(), String> {
        // A member that has not started yet is asked again until it has, or has failed.
        while !self.task.is_finished() {
            if let Some(handle) = &*self.handle.lock().unwrap_or_else(PoisonError::into_inner) {
                handle.shutdown();
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.task.join().await;
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| Err("it panicked".to_owned()))
    }
}

fn set<T>(shared: &Mutex<Option<T>>, value: T) {
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// Events of a batch.
fn most(plan: &Plan) -> NonZeroUsize {
    NonZeroUsize::new(plan.batch).unwrap_or(NonZeroUsize::MIN)
}

fn config(plan: &Plan) -> EngineConfig {
    let mode = match NonZeroUsize::new(plan.concurrency) {
        None => Mode::Each,
        Some(concurrency) if plan.batch > 0 => Mode::EachBatch { concurrency },
        Some(concurrency) if plan.awaits => Mode::EachAsync { concurrency },
        Some(concurrency) => Mode::EachBlocking { concurrency },
    };
    let sabotage = match plan.sabotage {
        None | Some(crate::Sabotage::AckBeforeSync) => Sabotage::None,
        Some(crate::Sabotage::CommitEarly) => Sabotage::CommitEarly,
        Some(crate::Sabotage::Overtake) => Sabotage::Overtake,
        Some(crate::Sabotage::Vanish) => Sabotage::Vanish,
    };
    let lanes = NonZeroUsize::MIN.saturating_add(plan.lanes - 1);
    EngineConfig {
        mode,
        sabotage,
        lanes,
        in_flight: plan.in_flight,
        failures: FailurePolicy {
            retry: RetryPolicy { attempts: plan.attempts, ..RetryPolicy::default() },
            retry_topics: plan.rungs.clone(),
            ..FailurePolicy::default()
        },
        ..EngineConfig::new(GROUP, [TOPIC])
    }
}

/// Which calls fail.
#[derive(Clone, Copy)]
struct Failing {
    /// Of 64 calls, this many.
    chance: u64,
    /// Tries after which an event leaves.
    attempts: Option<u32>,
    /// Of 128 events, this many whenever they are tried; every other one leaves at once.
    doomed: u64,
}

impl Failing {
    /// How a call ends, and whether its event leaves if it may.
    fn draw(self, id: u64, attempt: u32, random: &Random) -> Ending {
        if id % 128 < self.doomed && id.is_multiple_of(2) {
            return Ending::DeadLetter;
        }
        let fails = random.chance(self.chance, 64) || id % 128 < self.doomed;
        match self.attempts {
            _ if !fails => Ending::Success,
            Some(most) if attempt >= most => Ending::LastFailure,
            _ => Ending::Failure,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Success,
    /// It is tried again.
    Failure,
    /// It leaves, if there is a token for it.
    LastFailure,
    DeadLetter,
}

impl Ending {
    fn result(self) -> Result<(), HandlerError> {
        match self {
            Self::Success => Ok(()),
            Self::Failure | Self::LastFailure => Err(HandlerError::msg("the seed says so")),
            Self::DeadLetter => Err(HandlerError::dead_letter("the seed says so")),
        }
    }
}

struct Recorder {
    life: Life,
    /// Inline on a lane, calls take no time.
    on_worker: bool,
    failing: Failing,
    random: Random,
    history: History,
    /// By partition: how often it was assigned. Every worker is told of every assignment.
    sessions: BTreeMap<i32, u32>,
}

impl Recorder {
    /// How long the call takes, and how it ends then.
    fn call(
        &mut self,
        event: &Event<'_>,
        attempt: u32,
    ) -> Result<(Duration, Ending), HandlerError> {
        let payload = event
            .value
            .and_then(Payload::from_bytes)
            .ok_or_else(|| HandlerError::msg("foreign value"))?;
        let at = Instant::now();
        let longest = LONGEST_CALL * if self.random.chance(1, 100) { 10 } else { 1 };
        let took = Duration::from_millis(self.random.below(longest.as_millis() as u64 + 1));
        let ending = self.failing.draw(payload.id, attempt, &self.random);
        let failed = ending != Ending::Success;
        let origin = event.origin();
        // A call that fails is over at once.
        let took = if self.on_worker && !failed { took } else { Duration::ZERO };
        self.history.called(Call {
            life: self.life,
            moved: *event.topic != *origin.topic,
            partition: origin.partition,
            epoch: event.epoch,
            session: self.sessions.get(&event.partition).copied().unwrap_or(0),
            offset: origin.offset,
            payload,
            at,
            until: at + took,
            failed,
            leaves: matches!(ending, Ending::LastFailure | Ending::DeadLetter),
        });
        Ok((took, ending))
    }

    fn told(&mut self, assignment: &Assignment) {
        if *assignment.topic != *TOPIC {
            return;
        }
        *self.sessions.entry(assignment.partition).or_default() += 1;
        self.history.assigned(self.life, assignment.partition, assignment.epoch);
    }
}

impl Handler for Recorder {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let (took, ending) = self.call(event, cx.attempt())?;
        cx.finish_after(took);
        ending.result()
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.told(assignment);
    }
}

impl AsyncHandler for Recorder {
    async fn each(&mut self, event: OwnedEvent, cx: AsyncContext) -> Result<(), HandlerError> {
        let (took, ending) = self.call(&event.borrowed(), cx.attempt())?;
        tokio::time::sleep(took).await;
        ending.result()
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.told(assignment);
    }
}

impl BatchHandler for Recorder {
    async fn batch(&mut self, events: Vec<OwnedEvent>, _: BatchContext) -> Result<(), BatchError> {
        for (index, event) in events.iter().enumerate() {
            let called = self.call(&event.borrowed(), event.attempt());
            let (took, ending) = called.map_err(|error| BatchError::at(index, error))?;
            tokio::time::sleep(took).await;
            if let Err(error) = ending.result() {
                // Before the first one nothing is done that would be repeated.
                let unknown = index == 0 && ending == Ending::Failure && self.random.chance(1, 2);
                return Err(match unknown {
                    true => BatchError::whole(error),
                    false => BatchError::at(index, error),
                });
            }
        }
        Ok(())
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.told(assignment);
    }
}
