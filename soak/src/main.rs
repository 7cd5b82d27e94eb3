//! Numbered events through member processes that are killed and a broker that is restarted, with a verdict at the end.
//!
//! The driver ([`run`]) sends events, kills members, restarts the broker; members ([`member`]) are programs as a user would
//! write them, and note every call of their handlers in a journal; [`verdict`] judges the journals and the dead letters.
//! What an event does to its handler (take 5 s, fail, panic) is decided by the seed ([`fate`]), so the verdict knows what
//! must have become of each.
//!
//! `cargo xtask soak` builds and starts it, with an embedded broker or Apache Kafka.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a driver outside the simulation: it runs real processes on real files"
)]

mod broker;
mod crew;
mod fate;
mod generator;
mod journal;
mod member;
mod run;
mod verdict;
mod zipf;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Why a soak could not be run, or what it found.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Soak, and judge.
    Run(run::Arguments),
    /// A member; the driver starts them.
    #[command(hide = true)]
    Member(member::Arguments),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error")),
        )
        .with_writer(std::io::stderr)
        .init();
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Member(arguments) => member::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Microseconds since 1970: the processes of a run share the machine and so its clock.
pub(crate) fn now_micros() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}
