//! A consumer that runs: for callers with a thread to wait on, and for callers inside of a runtime.

use onrush_engine::{Engine, EngineError, Handle, Summary};
use onrush_runtime::Executor;
use tokio::sync::oneshot;

use crate::Error;

/// A consumer that runs on threads of its own.
pub struct Running {
    executor: Executor,
    /// Where handlers are awaited.
    _tasks: Executor,
    handle: Handle,
    ended: oneshot::Receiver<Result<Summary, EngineError>>,
}

impl Running {
    pub(super) fn new(executor: Executor, tasks: Executor, engine: Engine, handle: Handle) -> Self {
        let (end, ended) = oneshot::channel();
        executor.spawn(async move {
            // Nobody waits any more when this fails.
            let _ = end.send(engine.run().await);
        });
        Self { executor, _tasks: tasks, handle, ended }
    }

    pub(super) fn shut_down_when_interrupted(&self) {
        let handle = self.handle.clone();
        self.executor.spawn(async move {
            if interrupted().await {
                handle.shutdown();
            }
        });
    }

    /// To look at it, or to end it from elsewhere.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has ended: of its own, or after [`Handle::shutdown`].
    ///
    /// # Errors
    /// It had to stop.
    pub fn join(self) -> Result<Summary, Error> {
        match self.executor.block_on(self.ended) {
            Ok(summary) => Ok(summary?),
            Err(_) => Err(Error::Incomplete(
                "the consumer's control task panicked; its message is on stderr",
            )),
        }
    }

    /// Drains, commits, leaves the group, and waits until that is done.
    ///
    /// # Errors
    /// It had to stop.
    pub fn stop(self) -> Result<Summary, Error> {
        self.handle.shutdown();
        self.join()
    }
}

/// A consumer whose handlers run on the caller's runtime, if they are awaited.
pub struct AsyncRunning {
    engine: Engine,
    handle: Handle,
}

impl AsyncRunning {
    pub(super) fn new(engine: Engine, handle: Handle) -> Self {
        Self { engine, handle }
    }

    /// To look at it, or to end it from elsewhere.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has ended: of its own, or after [`Handle::shutdown`].
    ///
    /// # Errors
    /// It had to stop.
    pub async fn join(self) -> Result<Summary, Error> {
        Ok(self.engine.run().await?)
    }

    /// Drains, commits, leaves the group, and waits until that is done.
    ///
    /// # Errors
    /// It had to stop.
    pub async fn stop(self) -> Result<Summary, Error> {
        self.handle.shutdown();
        self.join().await
    }
}

/// Waits for Ctrl-C or SIGTERM; false where signals cannot be had.
pub(super) async fn interrupted() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return false;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    }
}
