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

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

mod counts;
mod failure;
mod fuzz;
mod host;
mod kafka;
mod plot;
mod process;
mod soak;
mod stall;
mod test;
mod tidy;
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
    /// Everything CI does, in named parts; without names, all of them.
    Test {
        /// Say which parts there are
        #[arg(long)]
        list: bool,
        /// Parts to run, in the order of the list
        #[arg(value_name = "PART")]
        parts: Vec<String>,
    },
    /// Check the rules of the tree that no compiler checks.
    Tidy,
    /// Simulate: `cargo xtask sim --seed 42` replays a run, `cargo xtask sim --help` tells the rest.
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Soak: events for minutes while members are killed and the broker is restarted, with a verdict at the end.
    Soak(soak::Arguments),
    /// Feed every parser of foreign bytes with changed inputs; without arguments a minute in all, as in CI.
    ///
    /// On demand for longer: `cargo xtask fuzz --minutes 10 --target broker`.
    Fuzz(fuzz::Arguments),
    /// Count instructions per event under callgrind, and compare them with the committed baseline.
    Counts(counts::Arguments),
    /// Draw what a page of `docs/` shows: `cargo xtask plot window`.
    Plot(plot::Arguments),
    /// Let all handlers of a member stand still: memory, membership, and what is fetched afterwards.
    Stall(stall::Arguments),
    /// Check licences, sources, bans and advisories of what is built in, with cargo-deny.
    Deny,
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
        Task::Test { list: true, .. } => Ok(test::list()),
        Task::Test { parts, .. } => test::run(workspace, &parts),
        Task::Tidy => tidy::run(workspace).map(|()| ExitCode::SUCCESS),
        Task::Sim { arguments } => simulate(workspace, &arguments),
        Task::Soak(arguments) => soak::run(workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(workspace, &arguments),
        Task::Counts(arguments) => counts::run(workspace, &arguments),
        Task::Plot(arguments) => plot::run(workspace, &arguments),
        Task::Stall(arguments) => stall::run(workspace, &arguments),
        Task::Deny => host::cargo_deny(workspace)
            .and_then(|mut deny| process::run(deny.arg("check")))
            .map(|()| ExitCode::SUCCESS),
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

fn simulate(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let mut sim = workspace.cargo();
    sim.args(["run", "--quiet", "--release", "--package", "onrush-sim", "--"]).args(arguments);
    process::status(&mut sim).map(process::exit_code)
}
