//! `onrush demo` on both targets with its proof, with members killed, sabotaged, and computed again by another program.

use std::process::ExitStatus;

use serde_json::Value;

use super::served::Served;
use super::stage::Stage;
use crate::failure::{Context, Failure};
use crate::process;

const EVENTS: u64 = 300_000;

/// Of a run with `--kill`: 15 s of events, in which as many members have to die.
const KILL_EVENTS: u64 = 1_500_000;
const KILLS: u64 = 10;

/// Of one that is there for another reason than its kills.
const FEW_KILL_EVENTS: u64 = 450_000;
const FEW_KILLS: u64 = 3;

/// What else a run with kills must not have, beside what [`COUNTERS`] has but for what is repeated.
const UNEXPLAINED: &str = "unexplained";

/// What the proof counts; all 0 in an honest run.
const COUNTERS: [&str; 4] = ["lost", "repeated", "reordered", "overlaps"];

/// A sabotage, and the counter that must notice.
const SABOTAGES: [(&str, &str); 3] =
    [("lose", "lost"), ("repeat", "repeated"), ("reorder", "reordered")];

/// The same with kills: they excuse no loss, no swap, and no repeat of what was committed.
const KILL_SABOTAGES: [(&str, &str); 4] =
    [("lose", "lost"), ("repeat", UNEXPLAINED), ("reorder", "reordered"), ("forget", UNEXPLAINED)];

pub(super) fn embedded(stage: &mut Stage<'_>) -> Result<(), Failure> {
    honest(stage, "embedded", &[])
}

pub(super) fn on_kafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let brokers = stage.kafka()?;
    honest(stage, "kafka", &["--brokers", &brokers])
}

pub(super) fn kill(stage: &mut Stage<'_>) -> Result<(), Failure> {
    with_kills(stage, "embedded", &[])
}

pub(super) fn kill_on_kafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let brokers = stage.kafka()?;
    with_kills(stage, "kafka", &["--brokers", &brokers])
}

pub(super) fn sabotages(stage: &mut Stage<'_>) -> Result<(), Failure> {
    every_one_noticed(stage, EVENTS, &[], &SABOTAGES)
}

pub(super) fn kill_sabotages(stage: &mut Stage<'_>) -> Result<(), Failure> {
    every_one_noticed(stage, FEW_KILL_EVENTS, &["--kill"], &KILL_SABOTAGES)
}

fn every_one_noticed(
    stage: &mut Stage<'_>,
    events: u64,
    arguments: &[&str],
    sabotages: &[(&str, &str)],
) -> Result<(), Failure> {
    let mut missed = Vec::new();
    for (sabotage, counter) in sabotages {
        let arguments = [arguments, &["--sabotage", sabotage]].concat();
        let (status, line) = demo(stage, events, &arguments)?;
        if let Err(failure) = noticed(status.success(), &line, counter) {
            missed.push(format!("--sabotage {sabotage}: {failure}"));
        }
    }
    verdict(missed)
}

pub(super) fn recompute(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut canaries = stage.python()?;
    process::run(canaries.args(["-m", "unittest", "discover", "-s", "data", "-p", "*_test.py"]))?;
    let folder = stage.workspace().fresh_folder("recompute")?;
    let keep = folder.display().to_string();
    let (status, line) = demo(stage, EVENTS, &["--keep", &keep])?;
    proved(status.success(), &line)?;
    recheck(stage, &keep)?;
    let folder = stage.workspace().fresh_folder("recompute-kill")?;
    let keep = folder.display().to_string();
    let (status, line) = demo(stage, FEW_KILL_EVENTS, &["--kill", "--keep", &keep])?;
    proved_with_kills(status.success(), &line, FEW_KILL_EVENTS, FEW_KILLS)?;
    recheck(stage, &keep)
}

/// Python's word on what a demo left in a folder, its log included.
fn recheck(stage: &mut Stage<'_>, folder: &str) -> Result<(), Failure> {
    let kept = Served::start(stage.onrush()?, &["--data", &format!("{folder}/log")])?;
    let mut recheck = stage.python()?;
    recheck.args(["data/recheck.py", "--results", folder, "--brokers", kept.address()]);
    process::run(&mut recheck)
}

fn with_kills(stage: &mut Stage<'_>, target: &str, arguments: &[&str]) -> Result<(), Failure> {
    let (status, line) = demo(stage, KILL_EVENTS, &[&["--kill"], arguments].concat())?;
    stage.note(format!("demo --kill, {target}: {line}"));
    proved_with_kills(status.success(), &line, KILL_EVENTS, KILLS)
}

fn honest(stage: &mut Stage<'_>, target: &str, arguments: &[&str]) -> Result<(), Failure> {
    let (status, line) = demo(stage, EVENTS, arguments)?;
    stage.note(format!("demo, {target}: {line}"));
    proved(status.success(), &line)
}

/// Runs the demo; its exit status and the last line of its stdout.
fn demo(
    stage: &mut Stage<'_>,
    events: u64,
    arguments: &[&str],
) -> Result<(ExitStatus, String), Failure> {
    let mut demo = stage.onrush()?;
    demo.args(["demo", "--json", "--events"]).arg(events.to_string()).args(arguments);
    let ended = process::tee(&mut demo)?;
    Ok((ended.status, ended.last_line().to_owned()))
}

fn proved(succeeded: bool, line: &str) -> Result<(), Failure> {
    let result = parse(line)?;
    verdict(faults(succeeded, &result, EVENTS, &COUNTERS))
}

/// Repeats are no fault, as long as all of them are explained by the kills.
fn proved_with_kills(succeeded: bool, line: &str, events: u64, kills: u64) -> Result<(), Failure> {
    let result = parse(line)?;
    let counters: Vec<&str> = COUNTERS
        .into_iter()
        .filter(|counter| *counter != "repeated")
        .chain([UNEXPLAINED])
        .collect();
    let mut wrong = faults(succeeded, &result, events, &counters);
    let count = |name: &str| result[name].as_u64();
    if count("kills").is_none_or(|killed| killed < kills) {
        wrong.push(format!("kills is {}, less than {kills}", result["kills"]));
    }
    if count("repeated").zip(count("repeat_bound")).is_none_or(|(count, bound)| count > bound) {
        let bound = &result["repeat_bound"];
        wrong.push(format!("repeated is {}, the bound {bound}", result["repeated"]));
    }
    verdict(wrong)
}

/// What is not as it must be: the exit code, a counter above 0, the number of events, the table.
fn faults(succeeded: bool, result: &Value, events: u64, counters: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    if !succeeded {
        wrong.push("the exit code is not 0".to_owned());
    }
    let expected = counters.iter().map(|counter| (*counter, Value::from(0_u64)));
    let expected =
        expected.chain([("events", Value::from(events)), ("matches_direct", Value::from(true))]);
    for (name, value) in expected {
        if result[name] != value {
            wrong.push(format!("{name} is {}, not {value}", result[name]));
        }
    }
    wrong
}

fn verdict(wrong: Vec<String>) -> Result<(), Failure> {
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("; "))) }
}

fn noticed(succeeded: bool, line: &str, counter: &str) -> Result<(), Failure> {
    let result = parse(line)?;
    if succeeded {
        return Err(Failure::new("the exit code is 0"));
    }
    match result[counter].as_u64() {
        Some(1..) => Ok(()),
        _ => Err(Failure::new(format!("{counter} is {}", result[counter]))),
    }
}

fn parse(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line).context(|| format!("the last line is not JSON: `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"events":300000,"lost":0,"repeated":0,"reordered":0,"overlaps":0,"matches_direct":true}"#;

    #[test]
    fn a_proof_needs_every_number_and_the_exit_code() {
        assert_eq!(proved(true, GOOD), Ok(()));
        assert!(proved(false, GOOD).is_err());
        assert!(proved(true, "").is_err());
        for (good, bad) in [
            ("\"lost\":0", "\"lost\":1"),
            ("\"repeated\":0,", ""),
            ("\"reordered\":0", "\"reordered\":null"),
            ("\"overlaps\":0", "\"overlaps\":\"0\""),
            ("300000", "299999"),
            ("true", "false"),
        ] {
            assert!(proved(true, &GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sabotage_must_show_in_its_counter_and_in_the_exit_code() {
        let line = GOOD.replace("\"lost\":0", "\"lost\":3");
        assert_eq!(noticed(false, &line, "lost"), Ok(()));
        assert!(noticed(true, &line, "lost").is_err());
        assert!(noticed(false, &line, "repeated").is_err());
        assert!(noticed(false, GOOD, "lost").is_err());
    }

    #[test]
    fn kills_excuse_repeats_up_to_their_bound_and_nothing_else() {
        let good = r#"{"events":1500000,"lost":0,"repeated":70,"kills":10,"repeat_bound":70,"unexplained":0,"reordered":0,"overlaps":0,"matches_direct":true}"#;
        let proved = |line: &str| proved_with_kills(true, line, KILL_EVENTS, KILLS);
        assert_eq!(proved(good), Ok(()));
        assert!(proved_with_kills(false, good, KILL_EVENTS, KILLS).is_err());
        for (part, bad) in [
            ("\"lost\":0", "\"lost\":1"),
            ("\"repeated\":70", "\"repeated\":71"),
            ("\"kills\":10", "\"kills\":9"),
            ("\"kills\":10,", ""),
            ("\"repeat_bound\":70,", ""),
            ("\"unexplained\":0", "\"unexplained\":1"),
            ("\"reordered\":0", "\"reordered\":1"),
            ("true", "false"),
        ] {
            assert!(proved(&good.replace(part, bad)).is_err(), "{bad}");
        }
    }
}
