//! One set of end-to-end tests, on the embedded broker and on Apache Kafka; both must run the same number. And the tests of
//! commands and of the client's calls behind them, which `unit` ran on the embedded broker, on Apache Kafka.

use super::stage::Stage;
use super::tally::Tally;
use crate::failure::{Context, Failure};
use crate::kafka::BROKERS_VARIABLE;
use crate::process;
use crate::workspace::Workspace;

/// `crates/onrush/tests/e2e.rs`. Chosen from the whole workspace, so that no feature changes and nothing is built anew.
const END_TO_END: [&str; 4] = ["test", "--workspace", "--test", "e2e"];
/// `crates/kafka/tests/admin.rs`, `crates/cli/tests/admin` and `crates/cli/tests/produce_consume`, chosen likewise.
const COMMANDS: [&str; 6] = ["test", "--workspace", "--test", "admin", "--test", "produce_consume"];

pub(super) fn both(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let embedded = against(stage.workspace(), None).context(|| "on the embedded broker".into());
    let kafka = stage
        .kafka()
        .and_then(|brokers| against(stage.workspace(), Some(&brokers)))
        .context(|| "on Apache Kafka".into());
    let (embedded, kafka) = match (embedded, kafka) {
        (Ok(embedded), Ok(kafka)) => (embedded, kafka),
        (Err(embedded), Err(kafka)) => return Err(Failure::new(format!("{embedded}; {kafka}"))),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => return Err(failure),
    };
    stage.note(format!("end-to-end tests: embedded {embedded}, kafka {kafka}"));
    equal(embedded, kafka)
}

pub(super) fn commands(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let brokers = stage.kafka()?;
    let passed = ran(stage.workspace(), &COMMANDS, Some(&brokers))?;
    stage.note(format!("tests of commands and admin calls on kafka: {passed}"));
    Ok(())
}

fn equal(embedded: u64, kafka: u64) -> Result<(), Failure> {
    if embedded == kafka {
        return Ok(());
    }
    Err(Failure::new(format!("{embedded} tests on the embedded broker, {kafka} on Apache Kafka")))
}

fn against(workspace: &Workspace, brokers: Option<&str>) -> Result<u64, Failure> {
    ran(workspace, &END_TO_END, brokers)
}

fn ran(workspace: &Workspace, arguments: &[&str], brokers: Option<&str>) -> Result<u64, Failure> {
    let mut test = workspace.cargo();
    test.args(arguments);
    match brokers {
        Some(brokers) => test.env(BROKERS_VARIABLE, brokers),
        None => test.env_remove(BROKERS_VARIABLE),
    };
    let ended = process::tee(&mut test)?;
    process::success(&test, ended.status)?;
    Ok(Tally::of(&ended.stdout).check()?.passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_one_target_lacks_fails_the_part() {
        assert!(equal(7, 7).is_ok());
        assert!(equal(7, 6).is_err());
    }
}
