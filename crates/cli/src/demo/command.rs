//! The command: what runs when, from the broker's start to the proof.
//!
//! 1. a broker (ours, in a process of its own, or the one of `--brokers`), a topic and a group that are new;
//! 2. the members join; the generator sends the replay;
//! 3. half-way the generator waits until members work, a new one has joined, and the one with the most partitions begins
//!    to leave: the planned hand-over; or, with `--kill`, one member after the other is killed (`kill`);
//! 4. it ends when every partition's committed offset is the end offset read after the last acknowledgement;
//! 5. the members leave; the proof is computed from the journals; nothing but the result is left (or all, with `--keep`).

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onrush_engine::Sabotage;
use onrush_runtime::{Disk, Executor, Runtime};

use super::flights::{self, Flights};
use super::folder::Folder;
use super::kill;
use super::proof::Proof;
use super::results::{RESULTS_FILE, Results};
use super::run::{Run, failed};
use crate::embedded::EmbeddedBroker;
use crate::failure::{Exit, Failure};
use crate::stdout;

/// Send real flights through a Kafka-protocol log, process them in key order, and prove the result.
///
/// The input is every flight that left New York in 2013: 336,776 events (and as many laps of them as --events asks for),
/// keyed by aircraft. Members count them per carrier and airport while one planned hand-over takes place. Every handler call
/// is journaled; afterwards the proof is computed from the journals and the flights alone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush demo
  onrush demo --events 3000000 --json
  onrush demo --events 1500000 --kill         # members die, and nothing is lost
  onrush demo --brokers 127.0.0.1:9092        # on your Apache Kafka
  onrush demo --csv > flights.csv             # the flights, for a try of your own
  onrush demo --keep ./run                    # leaves log, journals and results.json")]
pub(crate) struct Arguments {
    /// How many events to send.
    #[arg(long, value_name = "N", default_value_t = 336_776, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) events: u64,
    /// Engine members: 2 in this process, or with --kill 4 in processes of their own.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) members: Option<u16>,
    /// Once a second, kill a member (SIGKILL) that has marked events and not committed them, and start another at once.
    ///
    /// Members are processes then, and at most 100,000 events are sent in a second. Repeated may be what a victim had marked
    /// after its last commit, and nothing else. Runs of less than one kill for 150,000 events have failed.
    #[arg(long, conflicts_with = "http")]
    pub(super) kill: bool,
    /// Use this Kafka cluster instead of the embedded log (several with commas).
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) brokers: Vec<String>,
    /// Leave log, journals and results.json in this directory, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print the results as one line of JSON at the end.
    #[arg(long)]
    pub(super) json: bool,
    /// Serve /metrics, /livez and /readyz here while it runs.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) http: Option<String>,
    /// Only print the flights, as the CSV file that they are.
    #[arg(long, exclusive = true)]
    csv: bool,
    /// Break the engine on purpose: the proof must notice.
    #[arg(long, value_enum)]
    pub(super) sabotage: Option<SabotageArgument>,
}

/// What to break.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SabotageArgument {
    /// Record an event as done without running it, once in a process.
    Lose,
    /// Run an event twice, once in a process.
    Repeat,
    /// Run two events of a key in the wrong order, once in a process.
    Reorder,
    /// Begin every assignment at the start of the log, whatever was committed.
    Forget,
}

impl From<SabotageArgument> for Sabotage {
    fn from(argument: SabotageArgument) -> Self {
        match argument {
            SabotageArgument::Lose => Self::Lose,
            SabotageArgument::Repeat => Self::Repeat,
            SabotageArgument::Reorder => Self::Reorder,
            SabotageArgument::Forget => Self::Forget,
        }
    }
}

impl Arguments {
    pub(super) fn sabotage(&self) -> Sabotage {
        self.sabotage.map_or(Sabotage::None, Sabotage::from)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.csv {
        return print_csv();
    }
    if arguments.kill && kill::announced(arguments.events) == 0 {
        let least = kill::EVENTS_PER_KILL;
        return Err(Failure::usage(format!(
            "--kill needs time for a kill: give it --events {least} or more"
        )));
    }
    let folder = Folder::of(arguments.keep.as_deref())?;
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("demo", 1).map_err(Failure::threads)?;
    executor.block_on(demo(arguments, &folder, &runtime, executor.clone()))
}

fn print_csv() -> Result<(), Failure> {
    let csv = flights::csv().map_err(|error| Failure::unavailable(error.to_string()))?;
    stdout::write(&csv)
}

async fn demo(
    arguments: &Arguments,
    folder: &Folder,
    runtime: &Runtime,
    executor: Executor,
) -> Result<(), Failure> {
    let flights: &'static Flights = Box::leak(Box::new(
        Flights::load().map_err(|error| Failure::unavailable(error.to_string()))?,
    ));
    let settings: &[&str] = if arguments.kill { &kill::BROKER_SETTINGS } else { &[] };
    let broker = match arguments.brokers.is_empty() {
        true => Some(EmbeddedBroker::start_with(Some(&folder.path().join("log")), settings).await?),
        false => None,
    };
    let brokers = match &broker {
        Some(broker) => vec![broker.address().to_owned()],
        None => arguments.brokers.clone(),
    };
    let run = Run { arguments, folder, runtime, executor, flights, brokers };
    let results = run.to_the_end().await;
    if let Some(broker) = broker {
        broker.stop().await;
    }
    let (results, proof) = results?;
    report(arguments, folder, &results)?;
    judge(arguments, &results, &proof)
}

/// Whether what was printed is as it must be.
fn judge(arguments: &Arguments, results: &Results, proof: &Proof) -> Result<(), Failure> {
    let wrong = |what: String| Err(Failure::new(Exit::Wrong, what));
    if !proof.holds() {
        return wrong("the proof failed: see the counts above".to_owned());
    }
    if results.figures.get("members_agree").is_some_and(|agree| *agree == false) {
        return wrong("what the members counted is not what their journals say".to_owned());
    }
    let announced = if arguments.kill { kill::announced(arguments.events) } else { 0 };
    if proof.kills < announced {
        return wrong(format!(
            "{} members were killed, not the {announced} that were announced: too few had something to lose at the time",
            proof.kills
        ));
    }
    Ok(())
}

/// Writes `results.json` where it is kept, and the results to stdout.
fn report(arguments: &Arguments, folder: &Folder, results: &Results) -> Result<(), Failure> {
    let line = serde_json::to_string(results).map_err(failed("write the results"))?;
    if arguments.keep.is_some() {
        folder.write(RESULTS_FILE, &line)?;
    }
    let text = if arguments.json {
        format!("{line}\n")
    } else {
        let figures = results.figures.iter();
        let figures =
            figures.map(|(name, value)| format!("{:<22}{value}\n", name.replace('_', " ")));
        format!("{}\n{}{}", results.table_text(), results.proof_text(), figures.collect::<String>())
    };
    // A reader that has gone does not make the run wrong.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
