//! The way to one broker for one purpose: makes a connection when one is asked for, again when the
//! last one broke, and not more often than the back-off allows.

use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::{Executor, Instant, Net, Random};
use tokio::sync::Mutex;
use tokio::time::sleep_until;

use crate::backoff::Backoff;
use crate::connection::{Connection, Endpoint};
use crate::error::ClientError;

/// What a connection carries. A broker serves one request of a connection at a time, so a fetch
/// that waits for data must not stand before a heartbeat or a produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Metadata, group, commits, admin.
    Control,
    /// Fetch.
    Fetch,
    /// Produce.
    Produce,
}

#[derive(Debug)]
pub(crate) struct Link {
    net: Net,
    io: Executor,
    random: Random,
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(
        net: Net,
        io: Executor,
        random: Random,
        endpoint: Endpoint,
        base: Duration,
        limit: Duration,
    ) -> Arc<Self> {
        let state =
            State { connection: None, backoff: Backoff::new(base, limit), not_before: None };
        Arc::new(Self { net, io, random, endpoint, state: Mutex::new(state) })
    }

    /// The open connection, or a new one. Those who ask at once share one attempt; each call makes
    /// at most one.
    pub(crate) async fn connection(&self) -> Result<Connection, ClientError> {
        let mut state = self.state.lock().await;
        if let Some(connection) =
            state.connection.as_ref().filter(|connection| connection.is_open())
        {
            return Ok(connection.clone());
        }
        if state.connection.take().is_some() {
            // A broker that accepts and hangs up at once must not be asked in a tight loop.
            state.delay(&self.random);
        }
        if let Some(not_before) = state.not_before {
            sleep_until(not_before).await;
        }
        match Connection::connect(&self.net, &self.io, &self.endpoint).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.delay(&self.random);
                Err(error)
            }
        }
    }

    /// A request was answered: the broker is well, the next break starts the back-off anew.
    pub(crate) async fn is_well(&self) {
        let mut state = self.state.lock().await;
        state.backoff.succeeded();
        state.not_before = None;
    }
}

impl State {
    fn delay(&mut self, random: &Random) {
        self.not_before = Some(Instant::now() + self.backoff.failed(random));
    }
}
