//! `onrush bench`, short: the figures mean little here, but they cannot rot.

use serde_json::Value;

use super::stage::Stage;
use crate::failure::{Context, Failure};
use crate::process;

const ARGUMENTS: [&str; 4] = ["bench", "--json", "--events", "200000"];

pub(super) fn embedded(stage: &mut Stage<'_>) -> Result<(), Failure> {
    measure(stage, "embedded", &[])
}

pub(super) fn on_kafka(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let brokers = stage.kafka()?;
    measure(stage, "kafka", &["--brokers", &brokers])
}

fn measure(stage: &mut Stage<'_>, target: &str, arguments: &[&str]) -> Result<(), Failure> {
    let mut bench = stage.onrush()?;
    bench.args(ARGUMENTS).args(arguments);
    let ended = process::tee(&mut bench)?;
    process::success(&bench, ended.status)?;
    let line = ended.last_line();
    figures(line)?;
    stage.note(format!("bench, {target}: {line}"));
    Ok(())
}

/// The last line is an object that holds something.
fn figures(line: &str) -> Result<(), Failure> {
    let value: Value =
        serde_json::from_str(line).context(|| format!("the last line is not JSON: `{line}`"))?;
    match value.as_object() {
        Some(figures) if !figures.is_empty() => Ok(()),
        _ => Err(Failure::new(format!("the last line has no figures: `{line}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_no_measurement() {
        assert!(figures(r#"{"pipeline_ns":97}"#).is_ok());
        for bad in ["", "{}", "[1]", "pipeline 97"] {
            assert!(figures(bad).is_err(), "{bad}");
        }
    }
}
