//! `cargo xtask`: everything CI does, by the command a person types.
//!
//! A driver: it starts processes, reads files and tells the time for real, so the seams of `onrush-runtime` do not
//! apply here.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a driver outside the simulation: it runs real processes on real files"
)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

mod failure;
mod host;
mod kafka;
mod process;
mod workspace;

use failure::Failure;
use kafka::{Jit, Kafka};
use workspace::Workspace;

/// What CI does, by the command a person types.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start one real Apache Kafka on loopback and keep it until Ctrl-C.
    ///
    /// With a command after `--`, run that with ONRUSH_TEST_BROKERS set to the address, then stop Kafka and exit as
    /// the command did: `cargo xtask kafka -- cargo test -p onrush --test e2e`.
    Kafka(KafkaArguments),
}

#[derive(clap::Args)]
struct KafkaArguments {
    /// Port to listen on [default: a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Folder that keeps the log between runs [default: a new one under target/kafka, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How the JVM compiles: `quick` is up a second sooner, `full` is what figures are measured with
    #[arg(long, value_enum, default_value_t = Jit::Full)]
    jit: Jit,
    /// Command to run against it
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match Workspace::find() {
        Ok(workspace) => run(&workspace, arguments.task),
        Err(failure) => Err(failure),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}

fn run(workspace: &Workspace, task: Task) -> Result<ExitCode, Failure> {
    match task {
        Task::Kafka(arguments) => serve_kafka(workspace, arguments),
    }
}

fn serve_kafka(workspace: &Workspace, arguments: KafkaArguments) -> Result<ExitCode, Failure> {
    let KafkaArguments { port, data, jit, command } = arguments;
    let mut kafka = Kafka::start(workspace, &kafka::Options { port, data, jit })?;
    println!("kafka {} ready on {}", kafka::VERSION, kafka.address());
    let Some((program, rest)) = command.split_first() else {
        return Err(kafka.wait());
    };
    let mut command = Command::new(program);
    command.args(rest).env(kafka::BROKERS_VARIABLE, kafka.address());
    Ok(process::exit_code(process::status(&mut command)?))
}
