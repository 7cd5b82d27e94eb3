//! `onrush demo` on both targets with its proof, sabotaged, and computed again by another program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use super::stage::Stage;
use crate::failure::{Context, Failure};
use crate::process;

const EVENTS: u64 = 300_000;

/// What the proof counts; all 0 in an honest run.
const COUNTERS: [&str; 4] = ["lost", "repeated", "reordered", "overlaps"];

/// A sabotage, and the counter that must notice.
const SABOTAGES: [(&str, &str); 3] =
    [("lose", "lost"), ("repeat", "repeated"), ("reorder", "reordered")];

pub(super) fn embedded(stage: &mut Stage<'_>) -> Result<(), Failure> {
    honest(stage, "embedded", &[])
}

pub(super) fn on_kafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let brokers = stage.kafka()?;
    honest(stage, "kafka", &["--brokers", &brokers])
}

pub(super) fn sabotages(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let mut missed = Vec::new();
    for (sabotage, counter) in SABOTAGES {
        let (status, line) = demo(stage, &["--sabotage", sabotage])?;
        if let Err(failure) = noticed(status.success(), &line, counter) {
            missed.push(format!("--sabotage {sabotage}: {failure}"));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Failure::new(missed.join("; "))) }
}

pub(super) fn recompute(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let folder = stage.workspace().fresh_folder("recompute")?;
    let keep = folder.display().to_string();
    let (status, line) = demo(stage, &["--keep", &keep])?;
    proved(status.success(), &line)?;
    let mut broker = stage.onrush()?;
    broker.args(["broker", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]);
    let kept = KeptLog::serve(broker.arg(folder.join("log")))?;
    let mut canaries = stage.python()?;
    process::run(canaries.args(["-m", "unittest", "discover", "-s", "data", "-p", "*_test.py"]))?;
    let mut recheck = stage.python()?;
    recheck.arg("data/recheck.py").arg("--results").arg(&folder);
    process::run(recheck.args(["--brokers", &kept.address]))
}

/// A broker on the log that a demo left, as long as this lives.
struct KeptLog {
    address: String,
    /// Its stdin is what keeps it running.
    broker: Child,
}

impl KeptLog {
    fn serve(command: &mut Command) -> Result<Self, Failure> {
        let unsaid = format!("{} does not say where it listens", process::line(command));
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut broker = spawned.context(|| unsaid.clone())?;
        let mut line = String::new();
        if let Some(stdout) = broker.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context(|| unsaid.clone())?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Ok(Self { address: address.to_owned(), broker }),
            None => Err(Failure::new(unsaid)),
        }
    }
}

impl Drop for KeptLog {
    fn drop(&mut self) {
        drop(self.broker.stdin.take());
        // It ends of its own once its stdin is closed; there is nothing to do about one that fails.
        let _ = self.broker.wait();
    }
}

fn honest(stage: &mut Stage<'_>, target: &str, arguments: &[&str]) -> Result<(), Failure> {
    let (status, line) = demo(stage, arguments)?;
    stage.note(format!("demo, {target}: {line}"));
    proved(status.success(), &line)
}

/// Runs the demo; its exit status and the last line of its stdout.
fn demo(stage: &mut Stage<'_>, arguments: &[&str]) -> Result<(ExitStatus, String), Failure> {
    let mut demo = stage.onrush()?;
    demo.args(["demo", "--json", "--events"]).arg(EVENTS.to_string()).args(arguments);
    let ended = process::tee(&mut demo)?;
    Ok((ended.status, ended.last_line().to_owned()))
}

fn proved(succeeded: bool, line: &str) -> Result<(), Failure> {
    let result = parse(line)?;
    let mut wrong = Vec::new();
    if !succeeded {
        wrong.push("the exit code is not 0".to_owned());
    }
    let expected = COUNTERS.map(|counter| (counter, Value::from(0_u64)));
    let expected = expected
        .into_iter()
        .chain([("events", Value::from(EVENTS)), ("matches_direct", Value::from(true))]);
    for (name, value) in expected {
        if result[name] != value {
            wrong.push(format!("{name} is {}, not {value}", result[name]));
        }
    }
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
}
