//! The driver: sockets around the [`Core`].
//!
//! One task accepts; each connection is a task that reads a frame, has it answered and writes the
//! answer before it reads the next, so answers come in the order of requests however many a client
//! sends ahead. What is wrong with one connection closes that one, with a line in the log.
//!
//! Shutdown: 1. the stop signal; nothing new is accepted, connections end at their next await
//! outside of a write. 2. The accepting task waits for them up to [`DRAIN`], then aborts them. 3. The syncer ends its
//! round. 4. Everything is synced and the directory unlocked.

mod connection;
mod memory;
mod pace;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_runtime::disk::Lock;
use onrush_runtime::{Clock, Executor, Instant, Listener, Runtime, Stream, Task, Wake};
use tokio::sync::{mpsc, watch};

use crate::config::MAX_CONNECTIONS;
use crate::core::Core;
use crate::parked::ConnectionId;
use crate::syncer::Syncer;
use crate::{BrokerConfig, BrokerError};
use memory::Memory;

/// How long connections may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that a lack of file descriptors is not a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const LOCK_FILE: &str = "lock";

/// A running broker. Dropping it stops it without waiting; [`Broker::close`] is the orderly way.
#[derive(Debug)]
pub struct Broker {
    address: String,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: Task,
    syncer: Syncer,
}

/// What connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    hub: Mutex<Hub>,
    clock: Clock,
    max_request: usize,
    /// What requests that come in take.
    requests: Arc<Memory>,
    /// What answers take that are not written yet.
    answers: Arc<Memory>,
    /// Wakes the syncer.
    pub(crate) syncer: Wake,
    /// Here, because a connection that still runs may still write.
    _lock: Lock,
}

#[derive(Debug)]
struct Hub {
    core: Core,
    wakes: BTreeMap<ConnectionId, Wake>,
}

impl Broker {
    /// Recovers what is on the disk of `runtime`, listens, and serves on `executor`.
    ///
    /// # Errors
    /// A [`BrokerError`] that names the setting, address or path and says what to do.
    pub async fn open(
        config: BrokerConfig,
        runtime: &Runtime,
        executor: Executor,
    ) -> Result<Self, BrokerError> {
        let config = config.validated()?;
        let lock = lock(runtime)?;
        let started = runtime.clock.now();
        let (listen, max_request) = (config.listen.clone(), config.max_request);
        let (fsync, retention) = (config.log_fsync(), config.log_retention_check_interval);
        let mut core = Core::open(config, runtime)?;
        let listener = runtime
            .net
            .listen(&listen)
            .await
            .map_err(|source| BrokerError::Listen { address: listen, source })?;
        let address = listener.local_address();
        core.advertise(&address);
        let topics = core.topics.iter().count();
        let recovery = runtime.clock.now().saturating_duration_since(started);
        tracing::info!(
            address,
            directory = runtime.disk.describe(),
            topics,
            ?recovery,
            "the broker serves"
        );
        let hub = Mutex::new(Hub { core, wakes: BTreeMap::new() });
        let syncer = Wake::new();
        let shared = Shared {
            hub,
            clock: runtime.clock,
            max_request,
            requests: Arc::default(),
            answers: Arc::default(),
            syncer,
            _lock: lock,
        };
        let shared = Arc::new(shared);
        let syncer = Syncer::start(runtime, shared.clone(), fsync, retention)?;
        let (stop, stopped) = watch::channel(false);
        let accepting = executor.spawn(accept(listener, shared.clone(), executor.clone(), stopped));
        Ok(Self { address, shared, stop, accepting, syncer })
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the connections, forces everything to the disk and unlocks the directory.
    ///
    /// # Errors
    /// The last sync failed: what was acknowledged and not synced before, if the policy was
    /// not `Fsync::Always`, may be missing after a power cut.
    pub async fn close(self) -> Result<(), BrokerError> {
        // Nobody listens any more if the accepting task was killed from outside.
        let _ = self.stop.send(true);
        self.accepting.join().await;
        self.syncer.stop().await;
        let synced = self.shared.lock().core.close();
        synced.map_err(BrokerError::storage("sync", "the data directory"))
    }
}

fn lock(runtime: &Runtime) -> Result<Lock, BrokerError> {
    runtime.disk.lock(LOCK_FILE).map_err(|source| {
        let path = format!("{}/{LOCK_FILE}", runtime.disk.describe());
        match source.kind() {
            io::ErrorKind::WouldBlock => BrokerError::Locked { path, source },
            _ => BrokerError::Storage { action: "lock", path, source },
        }
    })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Hub> {
        // The core returns errors and does not panic; if it did after all, what is on the disk is
        // still whole, and serving the other connections is better than stopping.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on the core, then wakes those whose requests it made ready, and the syncer if it is waited for.
    pub(crate) fn with_core<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut hub = self.lock();
        let result = act(&mut hub.core);
        for connection in hub.core.take_woken() {
            if let Some(wake) = hub.wakes.get(&connection) {
                wake.wake();
            }
        }
        let wants_sync = hub.core.wants_sync();
        drop(hub);
        if wants_sync {
            self.syncer.wake();
        }
        result
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    executor: Executor,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections: Vec<Task> = Vec::new();
    // Every connection holds a sender, so that the channel closes with the last one.
    let (alive, ended) = mpsc::channel(1);
    let mut next_id = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
        };
        connections.retain(|connection| !connection.is_finished());
        match accepted {
            Ok((_, peer)) if connections.len() >= MAX_CONNECTIONS => {
                tracing::warn!(peer, MAX_CONNECTIONS, "closed a connection above the limit");
            }
            Ok((stream, peer)) => {
                next_id += 1;
                let serving =
                    serve(alive.clone(), shared.clone(), next_id, stream, peer, stopped.clone());
                connections.push(executor.spawn(serving));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, alive));
    drain(connections, ended).await;
}

async fn serve(
    // The first parameter is dropped last: once it is, nothing of the connection is left.
    _alive: mpsc::Sender<()>,
    shared: Arc<Shared>,
    id: ConnectionId,
    stream: Stream,
    peer: String,
    stopped: watch::Receiver<bool>,
) {
    let wake = Wake::new();
    {
        let mut hub = shared.lock();
        hub.wakes.insert(id, wake.clone());
        hub.core.connected(id, &peer);
    }
    let served = connection::serve(&shared, id, stream, wake, stopped).await;
    match served {
        Ok(()) => tracing::debug!(peer, "a connection ended"),
        Err(error) if error.is_a_farewell() => tracing::debug!(peer, %error, "a connection ended"),
        Err(error) => tracing::warn!(peer, %error, "closed a connection"),
    }
    shared.lock().wakes.remove(&id);
    shared.with_core(|core| core.disconnected(shared.now(), id));
}

async fn drain(connections: Vec<Task>, mut ended: mpsc::Receiver<()>) {
    if tokio::time::timeout(DRAIN, ended.recv()).await.is_err() {
        tracing::warn!("connections did not end in time; cut them");
        connections.iter().for_each(Task::abort);
    }
}
