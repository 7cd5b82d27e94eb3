//! `onrush demo-member`: one member of the demo as a process of its own, for `onrush demo --kill`.
//!
//! It runs until its stdin says [`STOP`]: then it drains, commits and leaves. If stdin ends without that, whoever started it
//! is dead, and it ends at once. A member that stands still (SIGSTOP) when that happens hears nothing; there the kernel helps,
//! on Linux by a signal that is asked for at the start, elsewhere by the hangup that a group of processes gets that is left
//! alone.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clap::Args;
use onrush_engine::{Engine, Place, Sabotage};
use onrush_kafka::ClientConfig;
use onrush_runtime::{Disk, Runtime};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::command::SabotageArgument;
use super::handler::FlightHandler;
use super::journal::Journals;
use super::members::config;
use super::run::{STOP_LIMIT, failed};
use super::tally::Tally;
use crate::failure::{Exit, Failure};

/// The name of the command.
pub(crate) const COMMAND: &str = "demo-member";
/// What the member is told on stdin when it shall leave.
pub(super) const STOP: &str = "stop\n";

/// One member of the demo.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(long, value_delimiter = ',')]
    brokers: Vec<String>,
    /// Of the group and of the topic.
    #[arg(long)]
    name: String,
    #[arg(long)]
    journals: PathBuf,
    #[arg(long)]
    events: u64,
    #[arg(long, value_enum)]
    sabotage: Option<SabotageArgument>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    die_with_parent()?;
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("member", 1).map_err(Failure::threads)?;
    executor.block_on(member(arguments, &runtime))
}

async fn member(arguments: &Arguments, runtime: &Runtime) -> Result<(), Failure> {
    let journals = Journals::new(&arguments.journals, arguments.events)
        .map(Arc::new)
        .map_err(failed("make the journals"))?;
    // Nobody asks a member of a killed crew what it counted.
    let tally = Arc::new(Mutex::new(Tally::new()));
    let factory = move |_: Place| FlightHandler::new(journals.clone(), tally.clone());
    let config = config(&arguments.name, arguments.sabotage.map_or(Sabotage::None, Sabotage::from));
    let client = ClientConfig::new(&arguments.brokers);
    let (engine, handle) = Engine::start(config, runtime, client, factory).await?;
    let mut ended = std::pin::pin!(engine.run());
    tokio::select! {
        biased;
        ended = &mut ended => {
            let how = ended.map_or_else(|error| error.to_string(), |_| "nobody asked it to".to_owned());
            return Err(Failure::new(Exit::Wrong, format!("a member ended: {how}")));
        }
        told = told_to_stop() => told?,
    }
    handle.shutdown();
    match tokio::time::timeout(STOP_LIMIT, ended).await {
        Ok(ended) => ended
            .map(drop)
            .map_err(|error| Failure::new(Exit::Wrong, format!("a member failed: {error}"))),
        Err(_) => Err(Failure::new(Exit::Stalled, "a member does not stop")),
    }
}

/// Returns when the member shall leave; an error if there is nobody any more to say so.
async fn told_to_stop() -> Result<(), Failure> {
    let mut line = String::new();
    // An end of input and an error mean the same.
    let _ = BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
    match line == STOP {
        true => Ok(()),
        false => Err(Failure::unavailable("a member is without the demo that started it")),
    }
}

/// Asks for SIGKILL when the process that started this one ends.
#[cfg(target_os = "linux")]
fn die_with_parent() -> Result<(), Failure> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    // If it has ended before this, stdin tells.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("ask to end with the process that started it"))
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> Result<(), Failure> {
    Ok(())
}
