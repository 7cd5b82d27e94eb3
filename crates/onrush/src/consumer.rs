//! The consumer: a builder over the engine, and the threads that it runs on.

mod failures;
mod running;
mod source;

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use onrush_engine::{
    AsyncContext, AsyncHandler, BatchContext, BatchError, BatchHandler, Context, Engine,
    EngineConfig, Event, Handler, HandlerError, Handlers, Mode, Order, OwnedEvent, Place, Start,
};
use onrush_kafka::ClientConfig;
use onrush_runtime::{Disk, Executor, Runtime};

use self::running::interrupted;
pub use self::running::{AsyncRunning, Running};
pub(crate) use self::source::Source;
use self::source::{Awaited, Batched, Called};
use crate::Error;

/// Describes what to read, and how. A handler makes it a [`Subscription`].
#[derive(Debug, Clone)]
pub struct Consumer {
    client: ClientConfig,
    engine: EngineConfig,
    lanes: Option<NonZeroUsize>,
    #[cfg(feature = "http")]
    http: Option<String>,
}

impl Consumer {
    /// Reads from the cluster of these brokers: `host:port`, several with commas.
    pub fn new(brokers: impl AsRef<str>) -> Self {
        let brokers = brokers.as_ref().split(',').map(|broker| broker.trim().to_owned());
        let engine = EngineConfig::new("", [""; 0]);
        Self {
            client: ClientConfig::new(brokers),
            engine,
            lanes: None,
            #[cfg(feature = "http")]
            http: None,
        }
    }

    /// Connects to `to` instead of `from`, an address that brokers advertise: the other end of a tunnel or a forwarded port. Both
    /// are `host:port`; call it again for more of them.
    pub fn reroute(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.client.reroute.insert(from.into(), to.into());
        self
    }

    /// Shows metrics, health and how it stands on this address (`host:port`), see [`http`](crate::http).
    #[cfg(feature = "http")]
    pub fn http(mut self, address: impl Into<String>) -> Self {
        self.http = Some(address.into());
        self
    }

    /// The consumer group: its members share the partitions.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.engine.group = group.into();
        self
    }

    /// Names the member across restarts (static membership): when it has ended in order, its partitions wait for it, as
    /// long as a session lasts, and move to nobody. No other member may have the name.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.engine.instance = Some(name.into());
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
        self.lanes = Some(lanes);
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

    /// Calls `handler` for each event and awaits it, in `concurrency` tasks: for handlers that wait for something. They
    /// run on the runtime of whoever calls [`Subscription::start_async`], or else on one of their own. Each task has a
    /// clone of the handler. Concurrency costs little: a thousand tasks are a fine number.
    pub fn each_async<H, F>(self, concurrency: NonZeroUsize, handler: H) -> Subscription
    where
        H: Fn(OwnedEvent, AsyncContext) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.async_handlers(concurrency, move |_: Place| handler.clone())
    }

    /// Calls `handler` with up to `most` events at once and awaits it, in `concurrency` tasks: for sinks that take many
    /// rows in one go. A batch has the events that are there, of many keys; those of a key are in order, and no other
    /// batch has any of that key meanwhile.
    pub fn each_batch<H, F>(
        self,
        concurrency: NonZeroUsize,
        most: NonZeroUsize,
        handler: H,
    ) -> Subscription
    where
        H: Fn(Vec<OwnedEvent>, BatchContext) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<(), BatchError>> + Send + 'static,
    {
        self.batch_handlers(concurrency, most, move |_: Place| handler.clone())
    }

    /// Makes an [`AsyncHandler`] per task, with state of its own that needs no lock.
    pub fn async_handlers<F, H>(mut self, concurrency: NonZeroUsize, factory: F) -> Subscription
    where
        F: Fn(Place) -> H + Send + Sync + 'static,
        H: AsyncHandler + 'static,
    {
        self.engine.mode = Mode::EachAsync { concurrency };
        Subscription { consumer: self, source: Box::new(Awaited(Arc::new(factory))) }
    }

    /// Makes a [`BatchHandler`] per task, with state of its own that needs no lock.
    pub fn batch_handlers<F, H>(
        mut self,
        concurrency: NonZeroUsize,
        most: NonZeroUsize,
        factory: F,
    ) -> Subscription
    where
        F: Fn(Place) -> H + Send + Sync + 'static,
        H: BatchHandler + 'static,
    {
        self.engine.mode = Mode::EachBatch { concurrency };
        Subscription { consumer: self, source: Box::new(Batched(Arc::new(factory), most)) }
    }

    /// How long an event (or a batch) may take; without limit by default. A handler that is awaited is cancelled after
    /// this time, and its event tried again. One that blocks cannot be interrupted: it is counted.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.engine.time_limit = Some(limit);
        self
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
        Subscription { consumer: self, source: Box::new(Called(Arc::new(factory))) }
    }
}

/// A consumer with its handler.
pub struct Subscription {
    consumer: Consumer,
    source: Box<dyn Source>,
}

impl Subscription {
    /// Runs until Ctrl-C or SIGTERM, then drains, commits and leaves the group.
    ///
    /// # Errors
    /// The cluster cannot be reached, or the consumer had to stop.
    pub fn run(self) -> Result<(), Error> {
        let running = self.start()?;
        running.shut_down_when_interrupted();
        running.join().map(drop)
    }

    /// The same, inside of a tokio runtime.
    ///
    /// # Errors
    /// See [`Subscription::run`].
    pub async fn run_async(self) -> Result<(), Error> {
        let running = self.start_async().await?;
        let handle = running.handle().clone();
        let ended = running.join();
        tokio::pin!(ended);
        tokio::select! {
            biased;
            ended = &mut ended => return ended.map(drop),
            told = interrupted() => if told { handle.shutdown() },
        }
        ended.await.map(drop)
    }

    /// Starts, and returns once the member runs. Handlers that are awaited get a runtime of their own, with as many
    /// threads as there are lanes.
    ///
    /// # Errors
    /// The cluster cannot be reached, or something is missing; or the caller is inside of a runtime, where
    /// [`Subscription::start_async`] is the right one.
    pub fn start(self) -> Result<Running, Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(Error::Incomplete(
                "inside of a tokio runtime, start it with start_async or run_async",
            ));
        }
        #[cfg(feature = "http")]
        let http = self.consumer.http.clone();
        let Parts { client, engine, source, .. } = self.into_parts()?;
        let handlers = source.handlers();
        let runtime = Runtime::production(Disk::memory());
        let executor =
            |name, threads| runtime.spawn.executor(name, threads).map_err(Error::Threads);
        let driver = executor("onrush", 1)?;
        #[cfg(feature = "http")]
        let listener = driver.block_on(listen(http))?;
        let tasks = match handlers {
            Handlers::Called(_) => driver.clone(),
            Handlers::Awaited(_) => executor("onrush-task", engine.lanes.get())?,
        };
        let started = Engine::start_with(engine, &runtime, client, handlers, tasks.clone());
        let (engine, handle) = driver.block_on(started)?;
        #[cfg(feature = "http")]
        show(listener, &driver, &handle);
        Ok(Running::new(driver, tasks, engine, handle))
    }

    /// Starts inside of a tokio runtime, whose timers are enabled, and returns once the member runs. Handlers that are
    /// awaited run on this runtime.
    ///
    /// # Errors
    /// The cluster cannot be reached, or something is missing.
    pub async fn start_async(self) -> Result<AsyncRunning, Error> {
        #[cfg(feature = "http")]
        let http = self.consumer.http.clone();
        let Parts { client, engine, source, .. } = self.into_parts()?;
        let handlers = source.handlers();
        let runtime = Runtime::production(Disk::memory());
        let executor = Executor::current();
        #[cfg(feature = "http")]
        let listener = listen(http).await?;
        let (engine, handle) =
            Engine::start_with(engine, &runtime, client, handlers, executor.clone()).await?;
        #[cfg(feature = "http")]
        show(listener, &executor, &handle);
        Ok(AsyncRunning::new(engine, handle))
    }

    /// What an engine is started with.
    pub(crate) fn into_parts(self) -> Result<Parts, Error> {
        let Self { consumer, source } = self;
        let Consumer { client, mut engine, lanes, .. } = consumer;
        if engine.group.is_empty() {
            return Err(Error::Incomplete("a consumer needs a group: call .group(\"name\")"));
        }
        if engine.topics.is_empty() {
            return Err(Error::Incomplete("a consumer needs a topic: call .topic(\"name\")"));
        }
        engine.lanes = lanes.unwrap_or(engine.lanes);
        Ok(Parts { client, engine, lanes, source })
    }
}

/// Takes the address first: a consumer that cannot be watched should not begin.
#[cfg(feature = "http")]
async fn listen(address: Option<String>) -> Result<Option<crate::http::Listener>, Error> {
    let Some(address) = address else { return Ok(None) };
    let bound = crate::http::Listener::bind(&address).await;
    bound.map(Some).map_err(|source| Error::Http { address, source })
}

#[cfg(feature = "http")]
fn show(
    listener: Option<crate::http::Listener>,
    executor: &Executor,
    handle: &onrush_engine::Handle,
) {
    if let Some(listener) = listener {
        let watched = crate::http::Watched::new(handle.clone());
        listener.serve(executor, Arc::new(watched));
    }
}

/// What a [`Subscription`] consists of.
pub(crate) struct Parts {
    pub(crate) client: ClientConfig,
    pub(crate) engine: EngineConfig,
    /// As many as the user wants, if that was said.
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "a test's machine has its own default")
    )]
    pub(crate) lanes: Option<NonZeroUsize>,
    pub(crate) source: Box<dyn Source>,
}
