//! A member of a group: a simulated process that runs the unmodified engine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_engine::{Engine, EngineConfig, EngineError, Handle, Summary};
use onrush_kafka::ClientConfig;
use onrush_runtime::simulation::Hosts;
use onrush_runtime::spawn::Process;
use onrush_runtime::{Disk, Task};
use tokio::sync::oneshot;

use super::bed::BROKER;
use super::history::History;
use super::observed::{Observer, Pace};
use crate::consumer::{Parts, Source};

/// Lanes of a consumer that does not say how many it wants: more than one, and the same on every machine.
const LANES: NonZeroUsize = NonZeroUsize::new(2).unwrap();

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What the members of one consumer have in common.
pub(super) struct Plan {
    pub(super) engine: EngineConfig,
    client: ClientConfig,
    source: Box<dyn Source>,
}

impl Plan {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { client, mut engine, lanes, source } = parts;
        engine.lanes = lanes.unwrap_or(LANES);
        let client = ClientConfig { bootstrap: vec![BROKER.to_owned()], ..client };
        Self { engine, client, source }
    }
}

/// See the module.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) plan: Rc<Plan>,
    pub(super) pace: Pace,
    running: RefCell<Option<Running>>,
}

type Ended = Arc<Mutex<Option<Result<Summary, EngineError>>>>;

#[derive(Clone)]
struct Running {
    process: Process,
    handle: Handle,
    ended: Ended,
    task: Rc<Task>,
}

impl Running {
    fn take_end(&self) -> Option<Result<Summary, EngineError>> {
        let end = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let panicked = || EngineError::Panicked { thread: "onrush-control".to_owned() };
        end.or_else(|| self.task.is_finished().then(|| Err(panicked())))
    }
}

impl Member {
    pub(super) fn new(name: &str, plan: Rc<Plan>) -> Self {
        Self { name: name.into(), plan, pace: Pace::default(), running: RefCell::default() }
    }

    pub(super) fn group(&self) -> &str {
        &self.plan.engine.group
    }

    /// Starts the engine in a new process; returns when it has joined the group.
    pub(super) async fn start(
        &self,
        hosts: &Hosts,
        history: &History,
        life: u32,
    ) -> Result<(), EngineError> {
        let host = hosts.process(&self.name, Disk::memory());
        let observer = Observer {
            group: self.group().into(),
            app: Arc::clone(&self.name),
            life,
            history: history.clone(),
            process: host.process.clone(),
            pace: self.pace.clone(),
            stays: BTreeMap::new(),
        };
        let handlers = self.plan.source.observed(observer);
        let (config, client) = (self.plan.engine.clone(), self.plan.client.clone());
        let (tell, started) = oneshot::channel();
        let ended = Ended::default();
        let (end, runtime, tasks) = (Arc::clone(&ended), host.runtime.clone(), host.executor());
        let task = host.executor().spawn(async move {
            // Nobody waits for the start of a member that crashed.
            match Engine::start_with(config, &runtime, client, handlers, tasks).await {
                Ok((engine, handle)) => {
                    let _ = tell.send(Ok(handle));
                    let outcome = engine.run().await;
                    *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
                }
                Err(error) => _ = tell.send(Err(error)),
            }
        });
        let panicked = |_| Err(EngineError::Panicked { thread: "onrush-control".to_owned() });
        let handle = started.await.unwrap_or_else(panicked)?;
        let running = Running { process: host.process, handle, ended, task: Rc::new(task) };
        *self.running.borrow_mut() = Some(running);
        history.note(format!("{} has started", self.name));
        Ok(())
    }

    /// Looks into the engine, if it runs.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.running.borrow().as_ref().map(|running| running.handle.clone())
    }

    /// Drains, commits, leaves; none if the member does not run.
    pub(super) async fn stop(&self) -> Option<Result<Summary, EngineError>> {
        let running = self.running.borrow().clone()?;
        running.handle.shutdown();
        let end = loop {
            match running.take_end() {
                Some(end) => break end,
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        };
        *self.running.borrow_mut() = None;
        Some(end)
    }

    /// Ends at once; its host is off the network already.
    pub(super) fn crash(&self) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.process.crash();
        }
    }

    /// Why the engine ended, if it did without having been told to.
    pub(super) fn take_failure(&self) -> Option<String> {
        let end = self.running.borrow().as_ref()?.take_end()?;
        *self.running.borrow_mut() = None;
        Some(match end {
            Ok(_) => format!("{} ended, and nobody told it to", self.name),
            Err(error) => format!("{} ended: {error}", self.name),
        })
    }
}
