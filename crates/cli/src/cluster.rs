//! Which cluster a command talks to, and the connection to it.

use clap::Args;
use onrush_kafka::{Client, ClientConfig, ClientError};
use onrush_runtime::{Disk, Executor, Runtime};

use crate::config::{self, Flags, Key, Origin, Settings};
use crate::failure::Failure;

/// Where help shows them: apart, and after what a command is about.
const CONNECTION: &str = "Connection";

/// The arguments of every command that talks to a cluster. Each can also be a variable or stand in the configuration file;
/// what is typed here is judged together with those (`config`).
#[derive(Clone, Debug, Args)]
pub(crate) struct Cluster {
    /// Brokers to ask first, of Apache Kafka or `onrush broker` (several with commas) [default: 127.0.0.1:9092] [env: ONRUSH_BROKERS]
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// A cluster of the configuration file, see `onrush config` [env: ONRUSH_CLUSTER]
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// What seldom is another than by default.
#[derive(Clone, Debug, Args)]
struct Connection {
    /// Name in the brokers' logs and quotas [default: onrush] [env: ONRUSH_CLIENT_ID]
    #[arg(long, value_name = "NAME", help_heading = CONNECTION, hide_short_help = true)]
    client_id: Option<String>,
    /// Where to connect instead of an address that brokers tell (several with commas) [env: ONRUSH_REROUTE]
    #[arg(long, value_name = "FROM=TO", help_heading = CONNECTION, hide_short_help = true)]
    reroute: Option<String>,
    /// How long a connection and its negotiation may take [default: 10s] [env: ONRUSH_CONNECT_TIMEOUT]
    #[arg(long, value_name = "DURATION", help_heading = CONNECTION, hide_short_help = true)]
    connect_timeout: Option<String>,
    /// How long an answer may take [default: 30s] [env: ONRUSH_REQUEST_TIMEOUT]
    #[arg(long, value_name = "DURATION", help_heading = CONNECTION, hide_short_help = true)]
    request_timeout: Option<String>,
    /// How long a call is repeated before it is given up [default: 1m] [env: ONRUSH_CALL_TIMEOUT]
    #[arg(long, value_name = "DURATION", help_heading = CONNECTION, hide_short_help = true)]
    call_timeout: Option<String>,
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
        let settings = config::settings(&self.flags())?;
        let connected = connected(settings.client(), command);
        connected.map_err(|error| match error {
            Unconnected::Client(error) => unreachable(&settings, error),
            Unconnected::Failure(failure) => failure,
        })
    }

    /// What was typed.
    pub(crate) fn flags(&self) -> Flags {
        let typed = &self.connection;
        let values = [
            (Key::Brokers, &self.brokers),
            (Key::ClientId, &typed.client_id),
            (Key::Reroute, &typed.reroute),
            (Key::ConnectTimeout, &typed.connect_timeout),
            (Key::RequestTimeout, &typed.request_timeout),
            (Key::CallTimeout, &typed.call_timeout),
        ];
        let values = values.into_iter().filter_map(|(key, text)| Some((key, text.clone()?)));
        Flags { cluster: self.cluster.clone(), values: values.collect() }
    }
}

/// Why a command with a client failed: before there was one, or later.
pub(crate) enum Unconnected {
    Client(ClientError),
    Failure(Failure),
}

/// Runs a command with a client.
pub(crate) fn connected<T>(
    config: ClientConfig,
    command: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Unconnected> {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("command", 1).map_err(Failure::threads);
    let executor = executor.map_err(Unconnected::Failure)?;
    let io = executor.clone();
    executor.block_on(async {
        let client = Client::connect(config, &runtime, io.clone()).await;
        let client = client.map_err(Unconnected::Client)?;
        let session = Session { client, runtime: runtime.clone(), executor: io };
        command(&session).await.map_err(Unconnected::Failure)
    })
}

/// Says who named the brokers, unless it was typed just now.
fn unreachable(settings: &Settings, error: ClientError) -> Failure {
    let failure = Failure::from(error);
    let hint = match settings.origin(Key::Brokers) {
        Origin::Flag(_) => return failure,
        Origin::Default => {
            "nobody said which brokers: give --brokers, or see `onrush config`".to_owned()
        }
        origin => format!("the brokers are from {origin}"),
    };
    Failure { message: format!("{} ({hint})", failure.message), ..failure }
}
