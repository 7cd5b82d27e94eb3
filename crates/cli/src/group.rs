//! `onrush group`: list, describe, reset and delete consumer groups.

mod delete;
mod describe;
mod found;
mod list;
mod offset_file;
mod position;
mod reset;
mod scope;

pub(crate) use self::found::{find, joined_meanwhile, unknown};
pub(crate) use self::position::{Position, positions};

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Look after consumer groups.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush group list
  onrush group describe billing
  onrush group reset billing --to -15m --dry-run
  onrush group delete billing --yes")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Describe(describe::Arguments),
    Reset(reset::Arguments),
    Delete(delete::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Describe(arguments) => describe::run(arguments),
        Command::Reset(arguments) => reset::run(arguments),
        Command::Delete(arguments) => delete::run(arguments),
    }
}
