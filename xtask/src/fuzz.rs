//! `cargo xtask fuzz`: the guards' seeded loop, for longer or on one target, and what belongs to it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use crate::failure::Failure;
use crate::process;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// These targets, instead of all
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Minutes for each target; without it a minute is shared by all
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<f64>,
    /// What is drawn depends on it alone
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Parse this one input, as a failure has told
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    replay: Option<PathBuf>,
    /// Make the corpus anew, to be committed: when an API got a version, or a file its format
    #[arg(long, conflicts_with_all = ["minutes", "replay"])]
    corpus: bool,
    /// Write one target's corpus as files for cargo-fuzz into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["minutes", "replay", "corpus"])]
    unpack: Option<PathBuf>,
    /// Say which targets there are
    #[arg(long)]
    list: bool,
}

/// What all targets together take when nothing else is said, and in CI.
pub(crate) const MILLIS_IN_ALL: u64 = 60_000;

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let guards = build(workspace)?;
    let status = if arguments.list {
        process::status(command(workspace, &guards).arg("targets"))?
    } else if let Some(folder) = &arguments.unpack {
        let [target] = &arguments.targets[..] else {
            return Err(Failure::new("name one --target to unpack"));
        };
        process::status(command(workspace, &guards).arg("unpack").arg(target).arg(folder))?
    } else {
        let mut task = command(workspace, &guards);
        task.arg(if arguments.corpus { "corpus" } else { "fuzz" });
        for target in &arguments.targets {
            task.args(["--target", target]);
        }
        if !arguments.corpus {
            let millis = match arguments.minutes {
                Some(minutes) => (minutes * 60_000.0) as u64,
                None => share(workspace, &guards, &arguments.targets)?,
            };
            let (millis, seed) = (millis.to_string(), arguments.seed.to_string());
            task.args(["--millis", &millis, "--seed", &seed]);
        }
        if let Some(file) = &arguments.replay {
            task.arg("--replay").arg(file);
        }
        let status = process::status(&mut task)?;
        note_death(status);
        status
    };
    Ok(process::exit_code(status))
}

/// The guards' driver, built with debug assertions and checks for overflow.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    process::run(workspace.cargo().args(["build", "--quiet", "--package", "onrush-guards"]))?;
    Ok(workspace.target().join("debug/onrush-guards"))
}

pub(crate) fn command(workspace: &Workspace, guards: &PathBuf) -> Command {
    let mut command = Command::new(guards);
    command.current_dir(workspace.root());
    command
}

/// Milliseconds for each of the chosen targets.
pub(crate) fn share(
    workspace: &Workspace,
    guards: &PathBuf,
    chosen: &[String],
) -> Result<u64, Failure> {
    let all = process::capture(command(workspace, guards).arg("targets"))?.lines().count();
    let count = if chosen.is_empty() { all } else { chosen.len() };
    Ok(MILLIS_IN_ALL / count.max(1) as u64)
}

/// A process that died cannot tell of what.
fn note_death(status: ExitStatus) {
    if status.code().is_none() {
        eprintln!(
            "the loop did not survive an input: run `target/debug/onrush-guards fuzz --record` with the same \
             target and seed, and find the input in target/fuzz"
        );
    }
}
