//! The guards' seeded loop over every target, and the canaries that it must find.

use super::stage::Stage;
use crate::failure::Failure;
use crate::{fuzz, process};

pub(super) fn targets(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let workspace = stage.workspace();
    let guards = fuzz::build(workspace)?;
    let millis = fuzz::share(workspace, &guards, &[])?.to_string();
    let mut fuzz = fuzz::command(workspace, &guards);
    fuzz.args(["fuzz", "--millis", &millis]);
    let ended = process::tee(&mut fuzz)?;
    process::success(&fuzz, ended.status)?;
    for line in ended.stdout.lines() {
        stage.note(format!("fuzz: {line}"));
    }
    Ok(())
}

pub(super) fn canaries(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let workspace = stage.workspace();
    let guards = fuzz::build(workspace)?;
    let mut canaries = fuzz::command(workspace, &guards);
    let ended = process::tee(canaries.arg("canaries"))?;
    process::success(&canaries, ended.status)?;
    let found: Vec<&str> = ended.stdout.lines().collect();
    stage.note(format!("fuzz, sabotaged: {}", found.join("; ")));
    Ok(())
}
