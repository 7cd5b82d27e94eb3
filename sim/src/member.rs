//! A member of the group: the unmodified engine in a simulated process, with a handler that writes the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_engine::{
    Assignment, Context, Engine, EngineConfig, Event, Handle, Handler, HandlerError, Mode, Place,
    Sabotage,
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
        let factory = move |place: Place| Recorder {
            life,
            on_worker: matches!(place, Place::Worker(_)),
            random: random.fork(),
            history: history.clone(),
            sessions: BTreeMap::new(),
        };
        let (handle, result) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let (shared_handle, shared_result) = (handle.clone(), result.clone());
        let task = Executor::Process(process.clone()).spawn(async move {
            let (engine, running) = loop {
                let start =
                    Engine::start(config.clone(), &runtime, client.clone(), factory.clone());
                match start.await {
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

fn config(plan: &Plan) -> EngineConfig {
    let mode = match std::num::NonZeroUsize::new(plan.concurrency) {
        None => Mode::Each,
        Some(concurrency) => Mode::EachBlocking { concurrency },
    };
    let sabotage = match plan.sabotage {
        None | Some(crate::Sabotage::AckBeforeSync) => Sabotage::None,
        Some(crate::Sabotage::CommitEarly) => Sabotage::CommitEarly,
    };
    let lanes = std::num::NonZeroUsize::MIN.saturating_add(plan.lanes - 1);
    EngineConfig {
        mode,
        sabotage,
        lanes,
        in_flight: plan.in_flight,
        ..EngineConfig::new(GROUP, [TOPIC])
    }
}

struct Recorder {
    life: Life,
    /// Inline on a lane, calls take no time.
    on_worker: bool,
    random: Random,
    history: History,
    /// By partition: how often it was assigned. Every worker is told of every assignment.
    sessions: BTreeMap<i32, u32>,
}

impl Handler for Recorder {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let payload = event
            .value
            .and_then(Payload::from_bytes)
            .ok_or_else(|| HandlerError::msg("foreign value"))?;
        let at = Instant::now();
        let longest = LONGEST_CALL * if self.random.chance(1, 100) { 10 } else { 1 };
        let took = Duration::from_millis(self.random.below(longest.as_millis() as u64 + 1));
        let took = if self.on_worker { took } else { Duration::ZERO };
        cx.finish_after(took);
        self.history.called(Call {
            life: self.life,
            partition: event.partition,
            epoch: event.epoch,
            session: self.sessions.get(&event.partition).copied().unwrap_or(0),
            offset: event.offset,
            payload,
            at,
            until: at + took,
        });
        Ok(())
    }

    fn assigned(&mut self, assignment: &Assignment) {
        *self.sessions.entry(assignment.partition).or_default() += 1;
        self.history.assigned(self.life, assignment.partition, assignment.epoch);
    }
}
