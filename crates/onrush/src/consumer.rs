//! The consumer: a builder over the engine, and the threads that it runs on.

use std::num::NonZeroUsize;
use std::time::Duration;

use onrush_engine::{
    Context, Engine, EngineConfig, Event, Handle, Handler, HandlerError, HandlerFactory, Mode,
    Order, Place, Start, Summary,
};
use onrush_kafka::ClientConfig;
use onrush_runtime::{Disk, Executor, Runtime};
use tokio::sync::oneshot;

use crate::Error;

/// Describes what to read, and how. A handler makes it a [`Subscription`].
#[derive(Debug, Clone)]
pub struct Consumer {
    client: ClientConfig,
    engine: EngineConfig,
}

impl Consumer {
    /// Reads from the cluster of these brokers: `host:port`, several with commas.
    pub fn new(brokers: impl AsRef<str>) -> Self {
        let brokers = brokers.as_ref().split(',').map(|broker| broker.trim().to_owned());
        Self { client: ClientConfig::new(brokers), engine: EngineConfig::new("", [""; 0]) }
    }

    /// The consumer group: its members share the partitions.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.engine.group = group.into();
        self
    }

    /// Reads this topic; call it again for more topics.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.engine.topics.push(topic.into());
        self
    }

    /// Which events run one after the other; those of one key by default.
    pub fn order(mut self, order: Order) -> Self {
        self.engine.order = order;
        self
    }

    /// Where a partition starts that has no committed offset; at its first record by default.
    pub fn start_at(mut self, start: Start) -> Self {
        self.engine.start = start;
        self
    }

    /// How many threads own partitions; as many as cores by default.
    pub fn lanes(mut self, lanes: NonZeroUsize) -> Self {
        self.engine.lanes = lanes;
        self
    }

    /// Time between commits; 1 s by default.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.engine.commit_interval = interval;
        self
    }

    /// How long a partition that leaves is waited for; 10 s by default. What has not finished then is repeated by the next
    /// owner.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.engine.drain_deadline = deadline;
        self
    }

    /// Bytes of fetched data that may be in memory; 256 MiB by default.
    pub fn byte_budget(mut self, bytes: usize) -> Self {
        self.engine.byte_budget = bytes;
        self
    }

    /// Damage done on purpose, to show that a checker sees it.
    #[doc(hidden)]
    pub fn sabotage(mut self, sabotage: onrush_engine::Sabotage) -> Self {
        self.engine.sabotage = sabotage;
        self
    }

    /// Where events go whose handler failed; by default the event's topic with `.dead-letter` after it.
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.engine.dead_letter_topic = Some(topic.into());
        self
    }

    /// Calls `handler` for each event, on the thread that decoded it: the fastest way, for handlers that do not block.
    /// Each lane has a clone of it.
    pub fn each<H>(self, handler: H) -> Subscription
    where
        H: FnMut(&Event<'_>, &mut Context<'_>) -> Result<(), HandlerError>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.handlers(move |_: Place| handler.clone())
    }

    /// Calls `handler` for each event on one of `concurrency` threads: for handlers that block. Each has a clone of it.
    pub fn each_blocking<H>(mut self, concurrency: NonZeroUsize, handler: H) -> Subscription
    where
        H: FnMut(&Event<'_>, &mut Context<'_>) -> Result<(), HandlerError>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.engine.mode = Mode::EachBlocking { concurrency };
        self.handlers(move |_: Place| handler.clone())
    }

    /// Where handlers run; for [`Consumer::handlers`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.engine.mode = mode;
        self
    }

    /// Makes a [`Handler`] per lane or worker, with state of its own that needs no lock, told of assignment and revocation.
    pub fn handlers<F, H>(self, factory: F) -> Subscription
    where
        F: Fn(Place) -> H + Send + Sync + 'static,
        H: Handler + 'static,
    {
        Subscription { consumer: self, factory: Box::new(factory) }
    }
}

/// A consumer with its handler.
pub struct Subscription {
    consumer: Consumer,
    factory: Box<dyn HandlerFactory>,
}

impl Subscription {
    /// Runs until Ctrl-C or SIGTERM, then drains, commits and leaves the group.
    ///
    /// # Errors
    /// The cluster cannot be reached, or the consumer had to stop.
    pub fn run(self) -> Result<(), Error> {
        let running = self.start()?;
        let handle = running.handle.clone();
        let executor = running.executor.clone();
        executor.spawn(async move {
            if interrupted().await {
                handle.shutdown();
            }
        });
        running.join().map(drop)
    }

    /// Starts, and returns once the member runs.
    ///
    /// # Errors
    /// The cluster cannot be reached, or something is missing.
    pub fn start(self) -> Result<Running, Error> {
        let Self { consumer: Consumer { client, engine }, factory } = self;
        if engine.group.is_empty() {
            return Err(Error::Incomplete("a consumer needs a group: call .group(\"name\")"));
        }
        if engine.topics.is_empty() {
            return Err(Error::Incomplete("a consumer needs a topic: call .topic(\"name\")"));
        }
        let runtime = Runtime::production(Disk::memory());
        let executor = runtime.spawn.executor("onrush", 1).map_err(Error::Threads)?;
        let (engine, handle) =
            executor.block_on(Engine::start(engine, &runtime, client, factory))?;
        let (end, ended) = oneshot::channel();
        executor.spawn(async move {
            // Nobody waits any more when this fails.
            let _ = end.send(engine.run().await);
        });
        Ok(Running { executor, handle, ended })
    }
}

/// A consumer that runs on threads of its own.
pub struct Running {
    executor: Executor,
    handle: Handle,
    ended: oneshot::Receiver<Result<Summary, onrush_engine::EngineError>>,
}

impl Running {
    /// To look at it, or to end it from elsewhere.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has ended: of its own, or after [`Handle::shutdown`].
    ///
    /// # Errors
    /// It had to stop.
    pub fn join(self) -> Result<Summary, Error> {
        let Self { executor, ended, .. } = self;
        match executor.block_on(ended) {
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

/// Waits for Ctrl-C or SIGTERM; false where signals cannot be had.
async fn interrupted() -> bool {
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
