//! The `onrush` command. Each subcommand is a module with its arguments and its `run`; this file shows all of them.
//!
//! Data goes to stdout, all else to stderr. Exit codes are in [`failure`].

// A reader that has gone makes these macros panic: `stdout` and `stderr` write instead.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bench;
mod broker;
mod cluster;
mod completion;
mod config;
mod confirm;
mod consume;
mod demo;
mod dlq;
mod duration;
mod embedded;
mod explain;
mod failure;
mod group;
mod http;
mod interrupt;
mod lag;
mod man;
mod outcome;
mod peer;
mod place;
mod produce;
mod records;
mod stderr;
mod stdout;
mod table;
mod top;
mod topic;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    #[command(name = "demo-member", hide = true)]
    DemoMember(demo::MemberArguments),
    Broker(broker::Arguments),
    Topic(topic::Arguments),
    Produce(produce::Arguments),
    Consume(consume::Arguments),
    Group(group::Arguments),
    Lag(lag::Arguments),
    Top(top::Arguments),
    Dlq(dlq::Arguments),
    Config(config::Arguments),
    Bench(bench::Arguments),
    Explain(explain::Arguments),
    Completion(completion::Arguments),
    Man(man::Arguments),
}

fn main() -> ExitCode {
    if completion::answered(Arguments::command) {
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return stderr::arguments(&error).into(),
    };
    log_to_stderr();
    match run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => stderr::failure(&failure).into(),
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::DemoMember(arguments) => demo::run_member(arguments),
        Command::Broker(arguments) => broker::run(arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Group(arguments) => group::run(arguments),
        Command::Lag(arguments) => lag::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::Dlq(arguments) => dlq::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Completion(arguments) => completion::run(arguments),
        Command::Man(arguments) => man::run(arguments, Arguments::command()),
    }
}

/// Warnings and worse, or what `RUST_LOG` says.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(stderr::colours())
        .with_target(false)
        // It would print that it cannot print.
        .log_internal_errors(false)
        .init();
}
