//! The simulation's seeds, the one that runs twice, and its canaries.

use std::process::Command;

use super::stage::Stage;
use crate::failure::Failure;
use crate::process;

/// Fewer faults than announced are a failure: a calm run proves nothing.
const SEEDS: &[&str] = &[
    "--seeds",
    "0..200",
    "--require-crashes",
    "200",
    "--require-lossy-restarts",
    "200",
    "--require-hand-overs",
    "400",
];

/// This seed runs twice, and its traces are compared line by line.
const TWICE: &[&str] = &["--twice", "7"];

/// A commit before the work is done, an event that overtakes one of its key that is tried again, one that leaves for nowhere, an acknowledgement before the
/// sync; each must be caught this often.
const SABOTAGES: [&[&str]; 4] = [
    &["--seeds", "0..200", "--sabotage", "commit-early", "--require-caught", "20"],
    &["--seeds", "0..50", "--sabotage", "overtake", "--require-caught", "30"],
    &["--seeds", "0..50", "--sabotage", "vanish", "--require-caught", "30"],
    &["--seeds", "0..100", "--sabotage", "ack-before-sync", "--require-caught", "20"],
];

pub(super) fn seeds(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let line = last_line(stage.simulation()?.args(SEEDS))?;
    stage.note(format!("simulation: {line}"));
    let line = last_line(stage.simulation()?.args(TWICE))?;
    stage.note(format!("simulation, twice: {line}"));
    Ok(())
}

pub(super) fn sabotage(stage: &mut Stage<'_>) -> Result<(), Failure> {
    for sabotage in SABOTAGES {
        let line = last_line(stage.simulation()?.args(sabotage))?;
        stage.note(format!("simulation, sabotaged: {line}"));
    }
    Ok(())
}

fn last_line(command: &mut Command) -> Result<String, Failure> {
    let ended = process::tee(command)?;
    process::success(command, ended.status)?;
    match ended.last_line() {
        "" => Err(Failure::new(format!("{} said nothing", process::line(command)))),
        line => Ok(line.to_owned()),
    }
}
