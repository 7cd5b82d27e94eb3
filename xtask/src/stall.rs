//! `cargo xtask stall`: a member whose handlers all stand still, for as long as one likes.
//!
//! The part `unit` of `cargo xtask test` does the same for some seconds: what is checked, and how, is in
//! `crates/engine/tests/stall/`.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes that the handlers stand still, once with plain and once with compressed batches
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut stall = workspace.cargo();
    stall.args(["test", "--quiet", "--package", "onrush-engine", "--test", "stall", "--"]);
    stall.args(["--minutes", &arguments.minutes.to_string()]);
    process::run(&mut stall)?;
    Ok(ExitCode::SUCCESS)
}
