//! The soak on both brokers, and sabotaged.

use super::stage::Stage;
use crate::failure::Failure;
use crate::soak;

const MINUTES: &str = "2";
/// Seconds in which a sabotage does its damage.
const SABOTAGED_SECONDS: &str = "20";

/// A sabotage, and the counter that must notice.
const SABOTAGES: [(&str, &str); 5] = [
    ("lose", "lost"),
    ("repeat", "unexplained"),
    ("reorder", "reordered"),
    ("forget", "unexplained"),
    ("commit-early", "lost"),
];

pub(super) fn embedded(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let (soak, onrush) = (stage.soak()?, stage.onrush_path()?);
    let (status, line) = soak::embedded(&soak, &onrush, &["--minutes", MINUTES])?;
    stage.note(format!("soak, embedded: {line}"));
    proved(status.success(), &line)
}

pub(super) fn on_kafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let soak = stage.soak()?;
    let options = ["--minutes", MINUTES, "--seed", "2"];
    let (status, line) = soak::on_kafka(stage.workspace(), &soak, &options)?;
    stage.note(format!("soak, kafka: {line}"));
    proved(status.success(), &line)
}

pub(super) fn sabotages(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let (soak, onrush) = (stage.soak()?, stage.onrush_path()?);
    let mut missed = Vec::new();
    for (sabotage, counter) in SABOTAGES {
        let options = ["--seconds", SABOTAGED_SECONDS, "--sabotage", sabotage];
        let (status, line) = soak::embedded(&soak, &onrush, &options)?;
        let noticed = count(&line, counter).is_some_and(|count| count > 0);
        if status.success() || !noticed {
            missed.push(format!("--sabotage {sabotage} is not noticed in {counter}: {line}"));
        }
    }
    let options = ["--seconds", SABOTAGED_SECONDS, "--sabotage", "idle"];
    let (status, line) = soak::embedded(&soak, &onrush, &options)?;
    if status.success() {
        missed.push(format!("a soak without faults is taken for one: {line}"));
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(missed.join("\n"))),
    }
}

fn count(line: &str, counter: &str) -> Option<u64> {
    let verdict: serde_json::Value = serde_json::from_str(line).ok()?;
    verdict[counter].as_u64()
}

/// The exit code alone could come from a run that judged nothing.
fn proved(success: bool, line: &str) -> Result<(), Failure> {
    let none = |counter| count(line, counter) == Some(0);
    let some = |counter| count(line, counter).is_some_and(|count| count > 0);
    let clean = ["lost", "reordered", "unexplained", "misled"].into_iter().all(none);
    let worked = ["events", "kills", "slow", "retried", "dead_lettered"].into_iter().all(some);
    match success && clean && worked {
        true => Ok(()),
        false => Err(Failure::new(format!("the soak failed: {line}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"events":9,"kills":1,"slow":1,"retried":1,"dead_lettered":1,"lost":0,"reordered":0,"misled":0,"unexplained":0}"#;

    #[test]
    fn only_a_run_that_did_something_and_found_nothing_is_good() {
        assert!(proved(true, GOOD).is_ok());
        assert!(proved(false, GOOD).is_err());
        assert!(proved(true, &GOOD.replace("\"lost\":0", "\"lost\":1")).is_err());
        assert!(proved(true, &GOOD.replace("\"kills\":1", "\"kills\":0")).is_err());
        assert!(proved(true, "").is_err());
    }
}
