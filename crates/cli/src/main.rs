//! The `onrush` command. Each subcommand is a module with its arguments and its `run`; this file shows all of them.
//!
//! Data goes to stdout, all else to stderr. Exit codes are in [`failure`].

mod bench;
mod broker;
mod cluster;
mod consume;
mod demo;
mod embedded;
mod failure;
mod group;
mod http;
mod interrupt;
mod metrics;
mod produce;
mod topic;
mod usage;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{EXIT_CODES, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Move events into Apache Kafka and process them out of it: fast, in key order, without losing one.
#[derive(Debug, Parser)]
#[command(name = "onrush", version, after_help = EXIT_CODES, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Broker(broker::Arguments),
    Topic(topic::Arguments),
    Produce(produce::Arguments),
    Consume(consume::Arguments),
    Group(group::Arguments),
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("onrush: {failure}");
            failure.exit.into()
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Broker(arguments) => broker::run(arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Group(arguments) => group::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    }
}

/// Warnings and worse, or what `RUST_LOG` says.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}
