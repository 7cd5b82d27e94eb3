//! `onrush dlq`: look at dead letters, send them back, and make one by hand.
//!
//! A dead letter is a record of a dead-letter topic with the headers of `onrush_engine::dead_letter`: where the event came
//! from, what its handler said, how often it was tried. [`letter`] reads one, [`selection`] says which are meant.

mod letter;
mod list;
mod progress;
mod redrive;
mod selection;
mod send;
mod settlement;
mod show;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Look at dead letters, send them back, and make one by hand.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush dlq list                                          # the dead-letter topics
  onrush dlq list payments.dead-letter --by error          # what went wrong, and how often
  onrush dlq list payments.dead-letter -o @-1h:end --error '~time.*out'
  onrush dlq show payments.dead-letter 0:17                # one, with all it has
  onrush dlq redrive payments.dead-letter --dry-run        # back to where they came from
  onrush dlq redrive payments.dead-letter --at 0:17 --to payments-repair --yes
  onrush dlq send payments 3:1742 --group billing --member 10.0.0.7:9100   # an event that is stuck")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Show(show::Arguments),
    Redrive(redrive::Arguments),
    Send(send::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Redrive(arguments) => redrive::run(arguments),
        Command::Send(arguments) => send::run(arguments),
    }
}
