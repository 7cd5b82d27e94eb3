//! `cargo xtask soak`: minutes of events through member processes that are killed and a broker that is restarted.
//!
//! The package `soak` runs and judges; here the binaries are built, and where the broker is Apache Kafka, it is restarted when
//! the soak asks for it on its stdout.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use crate::failure::{Context, Failure};
use crate::kafka::{self, Jit, Kafka};
use crate::process;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long events are sent
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// What decides keys, what becomes of each event, and the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On Apache Kafka, which is started for it
    #[arg(long)]
    kafka: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (minutes, seed) = (arguments.minutes.to_string(), arguments.seed.to_string());
    let options = ["--minutes", &minutes, "--seed", &seed];
    let onrush = workspace.release_build("onrush-cli", "onrush")?;
    let soak = workspace.release_build("onrush-soak", "onrush-soak")?;
    let (status, _) = match arguments.kafka {
        false => embedded(&soak, &onrush, &options)?,
        true => on_kafka(workspace, &soak, &options)?,
    };
    Ok(process::exit_code(status))
}

/// Soaks the embedded broker; how it ended, and the last line of stdout.
pub(crate) fn embedded(
    soak: &Path,
    onrush: &Path,
    options: &[&str],
) -> Result<(ExitStatus, String), Failure> {
    let mut command = Command::new(soak);
    command.arg("run").args(options).arg("--onrush").arg(onrush);
    let ended = process::tee(&mut command)?;
    Ok((ended.status, ended.last_line().to_owned()))
}

/// Soaks an Apache Kafka of its own.
pub(crate) fn on_kafka(
    workspace: &Workspace,
    soak: &Path,
    options: &[&str],
) -> Result<(ExitStatus, String), Failure> {
    let data = workspace.fresh_folder("soak-kafka")?;
    let port = free_port()?;
    let start = || {
        let options = kafka::Options { port: Some(port), data: Some(data.clone()), jit: Jit::Full };
        Kafka::start(workspace, &options)
    };
    let mut kafka = Some(start()?);
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(soak);
    command.arg("run").args(options).args(["--brokers", &address]);
    let line = process::line(&command);
    let doing = || format!("run `{line}`");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(doing)?;
    let (stdout, stdin) = (child.stdout.take(), child.stdin.take());
    let (Some(stdout), Some(mut stdin)) = (stdout, stdin) else {
        return Err(Failure::new(format!("`{line}` has no pipes")));
    };
    let mut last = String::new();
    for said in BufReader::new(stdout).lines() {
        last = said.context(doing)?;
        println!("{last}");
        if last == "restart" {
            drop(kafka.take());
            kafka = Some(start()?);
            writeln!(stdin, "restarted").context(doing)?;
        }
    }
    let status = child.wait().context(doing)?;
    Ok((status, last))
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").context(|| "find a free port".into())?;
    Ok(listener.local_addr().context(|| "find a free port".into())?.port())
}
