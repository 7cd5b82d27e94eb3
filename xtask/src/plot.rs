//! `cargo xtask plot`: drawings in `docs/` that are computed by the code that they are about.
//!
//! A test of the guards compares the committed drawing with what would be drawn now.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which drawing
    #[arg(value_enum)]
    plot: Plot,
}

#[derive(Clone, Copy, ValueEnum)]
enum Plot {
    /// How far a partition goes on above a stuck event, against the size of its commit's metadata
    Window,
}

impl Plot {
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Window => ("window", "docs/window.svg"),
        }
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (name, file) = arguments.plot.file();
    let mut guards = workspace.cargo();
    guards.args(["run", "--quiet", "--package", "onrush-guards", "--", "plot", name]);
    process::run(guards.arg(workspace.path(file)))?;
    println!("{file} is drawn");
    Ok(ExitCode::SUCCESS)
}
