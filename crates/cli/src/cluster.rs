//! Which cluster a command talks to, and the connection to it.

use clap::Args;
use onrush_kafka::{Client, ClientConfig};
use onrush_runtime::{Disk, Executor, Runtime};

use crate::failure::Failure;

/// The arguments of every command that talks to a cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Cluster {
    /// Brokers to ask first, of Apache Kafka or `onrush broker` (several with commas).
    #[arg(
        long,
        short = 'b',
        env = "ONRUSH_BROKERS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    brokers: Vec<String>,
}

/// A connected client with the threads that it runs on.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    pub(crate) executor: Executor,
}

impl Cluster {
    /// Connects, runs a command to its end, and returns what it returns.
    pub(crate) fn run<T>(
        &self,
        command: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime = Runtime::production(Disk::memory());
        let executor = runtime.spawn.executor("command", 1).map_err(Failure::threads)?;
        let io = executor.clone();
        executor.block_on(async {
            let config = ClientConfig::new(&self.brokers);
            let client = Client::connect(config, &runtime, io.clone())
                .await
                .map_err(|error| Failure::unavailable(error.to_string()))?;
            command(&Session { client, runtime: runtime.clone(), executor: io }).await
        })
    }
}
