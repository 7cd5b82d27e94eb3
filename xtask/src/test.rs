//! `cargo xtask test`: everything CI does, in named parts.
//!
//! Every part is tried, whatever became of the others; each is timed. The last lines of stdout are the table, the
//! failures, and `N passed, N failed`, which counts parts. What a part needs is started or installed by the first that
//! asks for it (`stage`); where that cannot be, the part fails and says what to do.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::tidy;
use crate::workspace::Workspace;

mod bench;
mod cargo;
mod counts;
mod demo;
mod end_to_end;
mod fuzz;
mod interop;
mod served;
mod simulation;
mod soak;
mod stage;
mod tally;

use stage::Stage;

struct Part {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Stage<'_>) -> Result<(), Failure>,
}

/// In the order they run: the quick ones first.
const PARTS: [Part; 29] = [
    Part { name: "tidy", about: "rules of the tree", run: |stage| tidy::run(stage.workspace()) },
    Part { name: "fmt", about: "rustfmt has nothing to change", run: cargo::fmt },
    Part { name: "clippy", about: "no warnings in any target", run: cargo::clippy },
    Part {
        name: "doc",
        about: "the documentation builds, its links lead somewhere",
        run: cargo::doc,
    },
    Part {
        name: "deny",
        about: "licences, bans and sources of what is built in",
        run: cargo::deny,
    },
    Part { name: "unit", about: "unit, integration and documentation tests", run: cargo::test },
    Part {
        name: "fuzz",
        about: "a minute of changed inputs for every parser of foreign bytes",
        run: fuzz::targets,
    },
    Part { name: "fuzz-sabotage", about: "planted bugs are found", run: fuzz::canaries },
    Part {
        name: "build",
        about: "release builds of `onrush` and the simulation",
        run: cargo::build,
    },
    Part {
        name: "counts",
        about: "instructions per event are those of the baseline",
        run: counts::all,
    },
    Part {
        name: "sim",
        about: "200 seeds under faults, one of them twice",
        run: simulation::seeds,
    },
    Part {
        name: "sim-sabotage",
        about: "the simulation's canary is caught",
        run: simulation::sabotage,
    },
    Part {
        name: "kafka",
        about: "one Apache Kafka starts, for the parts that need it",
        run: |stage| stage.kafka().map(drop),
    },
    Part {
        name: "e2e",
        about: "the same tests on the embedded broker and on Kafka",
        run: end_to_end::both,
    },
    Part {
        name: "commands-kafka",
        about: "commands and admin calls on Kafka",
        run: end_to_end::commands,
    },
    Part {
        name: "demo",
        about: "the demo and its proof on the embedded broker",
        run: demo::embedded,
    },
    Part { name: "demo-kafka", about: "the demo and its proof on Kafka", run: demo::on_kafka },
    Part {
        name: "demo-sabotage",
        about: "losses, repeats and swaps are counted",
        run: demo::sabotages,
    },
    Part {
        name: "demo-kill",
        about: "members are killed, nothing is lost, repeats have their bound",
        run: demo::kill,
    },
    Part { name: "kill-kafka", about: "the same on Kafka", run: demo::kill_on_kafka },
    Part {
        name: "kill-sabotage",
        about: "a kill excuses no loss, no swap and no repeat of what was committed",
        run: demo::kill_sabotages,
    },
    Part {
        name: "soak",
        about: "two minutes of slow, failing and panicking handlers, kills and broker restarts",
        run: soak::embedded,
    },
    Part { name: "soak-kafka", about: "the same on Kafka", run: soak::on_kafka },
    Part { name: "soak-sabotage", about: "every kind of damage is noticed", run: soak::sabotages },
    Part {
        name: "python",
        about: "PyPI packages for the recomputation, in an environment of their own",
        run: |stage| stage.python().map(drop),
    },
    Part {
        name: "interop",
        about: "librdkafka, unmodified, on the embedded broker and on Kafka",
        run: interop::librdkafka,
    },
    Part {
        name: "recompute",
        about: "Python comes to the same results from journals and topic",
        run: demo::recompute,
    },
    Part {
        name: "bench",
        about: "every benchmark runs on the embedded broker",
        run: bench::embedded,
    },
    Part { name: "bench-kafka", about: "every benchmark runs on Kafka", run: bench::on_kafka },
];

/// Prints the parts.
pub(crate) fn list() -> ExitCode {
    for part in &PARTS {
        println!("{:<14} {}", part.name, part.about);
    }
    ExitCode::SUCCESS
}

/// Runs the named parts, or all of them.
pub(crate) fn run(workspace: &Workspace, names: &[String]) -> Result<ExitCode, Failure> {
    let parts = select(names)?;
    let mut stage = Stage::new(workspace);
    let mut results = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        println!("\n== {} ({number} of {}): {}", part.name, parts.len(), part.about);
        let start = Instant::now();
        let failure = (part.run)(&mut stage).err();
        if let Some(failure) = &failure {
            println!("{} failed: {failure}", part.name);
        }
        results.push(Done { name: part.name, took: start.elapsed(), failure });
    }
    let notes = stage.end();
    print!("{}", summary(&results, &notes));
    let passed = results.iter().all(|done| done.failure.is_none());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn select(names: &[String]) -> Result<Vec<&'static Part>, Failure> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        return Err(Failure::new(format!(
            "no part is called `{unknown}`; `cargo xtask test --list` names them"
        )));
    }
    let wanted = |part: &&Part| names.is_empty() || names.iter().any(|name| name == part.name);
    Ok(PARTS.iter().filter(wanted).collect())
}

struct Done {
    name: &'static str,
    took: Duration,
    failure: Option<Failure>,
}

/// The table, what the parts have to tell, the failures, and the line that counts.
fn summary(results: &[Done], notes: &[String]) -> String {
    let mut text = format!("\n{:<14} {:>8}\n", "part", "seconds");
    let mut total = Duration::ZERO;
    for done in results {
        let word = if done.failure.is_none() { "passed" } else { "FAILED" };
        total += done.took;
        text += &format!("{:<14} {:>8.1}  {word}\n", done.name, done.took.as_secs_f64());
    }
    text += &format!("{:<14} {:>8.1}\n", "together", total.as_secs_f64());
    for note in notes {
        text += &format!("{note}\n");
    }
    let failures: Vec<_> = results
        .iter()
        .filter_map(|done| done.failure.as_ref().map(|failure| (done.name, failure)))
        .collect();
    for (name, failure) in &failures {
        text += &format!("failed: {name}: {failure}\n");
    }
    text + &format!("{} passed, {} failed\n", results.len() - failures.len(), failures.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &'static str, failure: Option<&str>) -> Done {
        Done { name, took: Duration::from_millis(1500), failure: failure.map(Failure::new) }
    }

    #[test]
    fn the_last_line_counts_parts() {
        let results = [done("tidy", None), done("fmt", Some("not formatted")), done("unit", None)];
        let text = summary(&results, &["end-to-end tests: embedded 7, kafka 7".to_owned()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.last(), Some(&"2 passed, 1 failed"));
        assert!(lines.contains(&"failed: fmt: not formatted"));
        assert!(lines.contains(&"fmt                 1.5  FAILED"));
        assert!(lines.contains(&"end-to-end tests: embedded 7, kafka 7"));
    }

    #[test]
    fn parts_are_chosen_by_name_and_run_in_their_order() {
        let chosen = select(&["sim".to_owned(), "tidy".to_owned()]).ok().unwrap();
        assert_eq!(chosen.iter().map(|part| part.name).collect::<Vec<_>>(), ["tidy", "sim"]);
        assert_eq!(select(&[]).ok().unwrap().len(), PARTS.len());
        assert!(select(&["gone".to_owned()]).is_err());
    }
}
