//! Programs of strangers, unmodified: `interop/librdkafka.py` on the embedded broker and on Apache Kafka; both must pass the
//! same number of scenarios.

use super::served::Served;
use super::stage::Stage;
use crate::failure::{Context, Failure};
use crate::process;

/// What makes the scenarios quick: members that vanish are noticed soon, as on the Kafka of the tests.
const SETTINGS: [&str; 6] = [
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=100",
    "group.consumer.heartbeat.interval.ms=500",
];

pub(super) fn librdkafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let folder = stage.workspace().fresh_folder("interop")?;
    let data = folder.display().to_string();
    let settings = SETTINGS.iter().flat_map(|setting| ["--config", setting]);
    let arguments: Vec<&str> = ["--data", &data].into_iter().chain(settings).collect();
    let broker = Served::start(stage.onrush()?, &arguments)?;
    let ours = passed(stage, broker.address()).context(|| "on the embedded broker".into())?;
    drop(broker);
    let kafka = stage.kafka()?;
    let theirs = passed(stage, &kafka).context(|| "on Apache Kafka".into())?;
    stage.note(format!("librdkafka's scenarios: embedded {ours}, kafka {theirs}"));
    match ours == theirs {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("{ours} passed on the embedded broker, {theirs} on Kafka")))
        }
    }
}

/// How many scenarios passed, if none failed.
fn passed(stage: &mut Stage<'_>, brokers: &str) -> Result<u64, Failure> {
    let mut python = stage.python()?;
    python.args(["interop/librdkafka.py", brokers]);
    let ended = process::tee(&mut python)?;
    process::success(&python, ended.status)?;
    all_passed(ended.last_line())
}

fn all_passed(line: &str) -> Result<u64, Failure> {
    let count = line.strip_suffix(" passed, 0 failed").and_then(|count| count.parse().ok());
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| Failure::new(format!("not every scenario passed: `{line}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_only_if_something_passed_and_nothing_failed() {
        assert_eq!(all_passed("28 passed, 0 failed"), Ok(28));
        for line in ["27 passed, 1 failed", "0 passed, 0 failed", "", "28 passed"] {
            assert!(all_passed(line).is_err(), "{line}");
        }
    }
}
