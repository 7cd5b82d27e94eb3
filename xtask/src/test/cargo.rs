//! The parts that are cargo's own: format, lints, documentation, dependencies, tests, release builds.

use super::stage::Stage;
use super::tally::Tally;
use crate::failure::Failure;
use crate::kafka::BROKERS_VARIABLE;
use crate::{host, process};

pub(super) fn fmt(stage: &mut Stage<'_>) -> Result<(), Failure> {
    process::run(stage.workspace().cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut clippy = stage.workspace().cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    process::run(&mut clippy)
}

pub(super) fn doc(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut doc = stage.workspace().cargo();
    doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    process::run(&mut doc)
}

/// Without the advisories, whose database is not in the tree: a run must not change by what others publish.
pub(super) fn deny(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut deny = host::cargo_deny(stage.workspace())?;
    process::run(deny.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

pub(super) fn test(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut test = stage.workspace().cargo();
    test.args(["test", "--workspace", "--no-fail-fast"]).env_remove(BROKERS_VARIABLE);
    let ended = process::tee(&mut test)?;
    process::success(&test, ended.status)?;
    let tally = Tally::of(&ended.stdout).check()?;
    stage.note(format!("unit, integration and documentation tests: {}", tally.passed));
    Ok(())
}

pub(super) fn build(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let onrush = stage.onrush();
    let simulation = stage.simulation();
    onrush.and(simulation).map(drop)
}
