//! `onrush man`: manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use onrush_runtime::Fault;

use crate::failure::Failure;
use crate::stdout;

/// Print the manual page, or write those of all commands into a directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush man | man -l -
  onrush man ~/.local/share/man/man1")]
pub(crate) struct Arguments {
    /// Write onrush.1, onrush-topic.1 and so on here.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, command: Command) -> Result<(), Failure> {
    match &arguments.directory {
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(|error| Failure::output(&error))?;
            stdout::write(&page)
        }
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .map_err(|error| {
                let what = format!("cannot write pages into {}: {error}", directory.display());
                Failure::unavailable(what).code(Fault::File)
            }),
    }
}
