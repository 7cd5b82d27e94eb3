//! `onrush broker`: the embedded Kafka-protocol log as a process of its own.

mod named;
mod properties;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use onrush::http::Status;
use onrush_broker::{Broker, BrokerConfig, Fsync, Sabotage};
use onrush_runtime::{Disk, Executor, Fault, Runtime};
use tokio::io::AsyncReadExt;

use crate::failure::Failure;
use crate::http;
use crate::interrupt::Interrupt;
use crate::stderr;

/// Run a single-node Kafka-protocol log.
///
/// Any Kafka client connects to it. Without --data it lives in memory, and drops its oldest segments above --memory-cap.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush broker --data ./log --listen 127.0.0.1:9092
  onrush broker --listen 127.0.0.1:0 --json        # in memory, on a free port, told as JSON
  onrush broker --config num.partitions=3 --config log.retention.hours=24
  onrush broker --config-file server.properties
  kcat -b 127.0.0.1:9092 -L

The first line on stdout says the address; all else goes to stderr. Ctrl-C or SIGTERM stops it in good order.")]
pub(crate) struct Arguments {
    /// Keep the log in this directory; without it, in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen on this address; port 0 takes a free one [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Tell clients this address instead of the one listened on.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// When what was acknowledged is on the disk.
    #[arg(long, value_enum, default_value = "interval")]
    fsync: FsyncArgument,
    /// With --fsync interval: sync so often.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    fsync_interval_ms: u64,
    /// In memory: keep at most this many MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    memory_cap: u64,
    /// Set what Kafka calls so, with Kafka's defaults; may be given more than once. Goes before --config-file.
    #[arg(long = "config", value_name = "NAME=VALUE")]
    configs: Vec<String>,
    /// Take such settings from a file of NAME=VALUE lines, as Kafka's server.properties.
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Serve /metrics, /livez and /readyz here.
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Tell the address as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Stop when stdin is closed, so that the broker ends with whoever started it.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// What the data directory keeps when the process is killed; volatile: what a power cut would leave.
    #[arg(long, value_enum, hide = true, default_value = "files", requires = "data")]
    disk: DiskArgument,
    /// Break something on purpose, to show that a test would notice.
    #[arg(long, value_enum, hide = true)]
    sabotage: Option<SabotageArgument>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FsyncArgument {
    /// At once: what was acknowledged survives a power cut.
    Always,
    /// After --fsync-interval-ms at most; a power cut loses no more.
    Interval,
    /// When the operating system thinks fit: what was acknowledged survives the end of the process, not of the machine.
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiskArgument {
    /// All that was written.
    Files,
    /// All that was synced.
    Volatile,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SabotageArgument {
    /// With --fsync always: acknowledge what is not on the disk yet.
    AckBeforeSync,
}

/// Where it listens if nothing else is said: where clients look for a Kafka.
const LISTEN: &str = "127.0.0.1:9092";

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = config(arguments)?;
    let disk = match &arguments.data {
        None => Disk::memory(),
        Some(dir) => match arguments.disk {
            DiskArgument::Files => Disk::files(dir),
            DiskArgument::Volatile => Disk::volatile(dir),
        }
        .map_err(|error| {
            Failure::unavailable(format!(
                "cannot use the data directory: {error}. Choose another one with --data."
            ))
            .code(Fault::DataDirectory)
        })?,
    };
    let runtime = Runtime::production(disk);
    let executor = runtime.spawn.executor("broker", 2).map_err(Failure::threads)?;
    executor.block_on(serve(arguments, config, &runtime, executor.clone()))
}

async fn serve(
    arguments: &Arguments,
    config: BrokerConfig,
    runtime: &Runtime,
    executor: Executor,
) -> Result<(), Failure> {
    let mut interrupt = Interrupt::listen_twice(&executor);
    let broker = Broker::open(config, runtime, executor.clone()).await?;
    if let Some(address) = &arguments.http {
        let address = http::serve(address, &executor, Arc::new(Up)).await?;
        stderr::note(format_args!("http on {address}"));
    }
    announce(arguments, broker.address());
    tokio::select! {
        biased;
        () = interrupt.requested() => {}
        () = stdin_closed(), if arguments.until_stdin_closes => {}
    }
    Ok(broker.close().await?)
}

fn config(arguments: &Arguments) -> Result<BrokerConfig, Failure> {
    let mut config = BrokerConfig {
        listen: LISTEN.to_owned(),
        fsync: match arguments.fsync {
            FsyncArgument::Always => Fsync::Always,
            FsyncArgument::Interval => {
                Fsync::Interval(Duration::from_millis(arguments.fsync_interval_ms))
            }
            FsyncArgument::Never => Fsync::Never,
        },
        sabotage: arguments.sabotage.map(|SabotageArgument::AckBeforeSync| Sabotage::AckBeforeSync),
        memory_cap: arguments.data.is_none().then_some(arguments.memory_cap << 20),
        // As Kafka, which is what people expect of a broker of its own.
        auto_create: true,
        ..BrokerConfig::default()
    };
    named::apply(&mut config, arguments.config_file.as_deref(), &arguments.configs)?;
    if let Some(listen) = &arguments.listen {
        config.listen.clone_from(listen);
    }
    if arguments.advertise.is_some() {
        config.advertised.clone_from(&arguments.advertise);
    }
    Ok(config)
}

fn announce(arguments: &Arguments, address: &str) {
    let mut out = std::io::stdout().lock();
    // A closed stdout is no reason not to serve.
    let _ = if arguments.json {
        writeln!(out, "{}", serde_json::json!({ "listening": address }))
    } else {
        writeln!(out, "listening on {address}")
    };
    let _ = out.flush();
}

async fn stdin_closed() {
    let mut rest = [0; 64];
    while tokio::io::stdin().read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

/// A broker that listens is live and ready.
struct Up;

impl Status for Up {
    fn metrics(&self) -> String {
        "# HELP onrush_broker_up 1 while the broker listens.\n# TYPE onrush_broker_up gauge\nonrush_broker_up 1\n".to_owned()
    }

    fn not_ready(&self) -> Option<String> {
        None
    }
}
