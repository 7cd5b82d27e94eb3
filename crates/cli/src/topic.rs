//! `onrush topic`: list, create, describe, alter, trim and delete topics.

mod alter;
mod create;
mod delete;
mod describe;
mod extent;
mod list;
mod named;
mod setting;
mod trim;

pub(crate) use self::extent::{Extent, extents};
pub(crate) use self::named::described;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Look after topics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic create flights --partitions 12 --config retention.ms=86400000
  onrush topic describe flights
  onrush topic alter flights --partitions 24 --unset retention.ms
  onrush topic list --json | jq -r .topic")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Arguments),
    Create(create::Arguments),
    Describe(describe::Arguments),
    Alter(alter::Arguments),
    Trim(trim::Arguments),
    Delete(delete::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Create(arguments) => create::run(arguments),
        Command::Describe(arguments) => describe::run(arguments),
        Command::Alter(arguments) => alter::run(arguments),
        Command::Trim(arguments) => trim::run(arguments),
        Command::Delete(arguments) => delete::run(arguments),
    }
}
