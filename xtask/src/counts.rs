//! `cargo xtask counts`: instructions per event of the guards' workloads, compared with the committed baseline.
//!
//! Callgrind counts what is executed, whatever else the machine does. A baseline holds for one version of the compiler
//! and one of valgrind; the file has one for each pair that was blessed. Valgrind does not know every instruction set,
//! so checksums may take another path than natively: which one is part of the baseline, and printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::failure::{Context, Failure};
use crate::workspace::Workspace;
use crate::{host, process};

const BASELINE: &str = "guards/counts.json";
const WORKLOADS: [&str; 3] = ["batch-walk", "batch-build", "ledger"];
/// What makes a new baseline.
const BLESS: &str = "cargo xtask counts --bless";
/// Most that a count may differ from its baseline, in percent.
const TOLERANCE: f64 = 3.0;
/// The difference between these is what a round costs, without start and preparation.
const ROUNDS: [u32; 2] = [5, 25];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Make these counts the baseline of this compiler and this valgrind
    #[arg(long)]
    bless: bool,
}

/// What was counted, and with what.
#[derive(Debug, Clone, PartialEq)]
struct Counts {
    /// Compiler and valgrind.
    key: String,
    /// The path that checksums took.
    crc: String,
    /// Instructions per event.
    per_event: BTreeMap<String, f64>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let counts = count(workspace)?;
    if arguments.bless {
        let file = workspace.path(BASELINE);
        let mut all = read(&file)?;
        all[&counts.key] = json!({ "crc": counts.crc, "per_event": counts.per_event });
        let text = serde_json::to_string_pretty(&all).context(|| "write the baseline".into())?;
        std::fs::write(&file, text + "\n").context(|| format!("write {}", file.display()))?;
        println!("{}: the baseline of {BASELINE} is made", counts.key);
        return Ok(ExitCode::SUCCESS);
    }
    let lines = compare(&counts, &read(&workspace.path(BASELINE))?)?;
    lines.iter().for_each(|line| println!("{line}"));
    Ok(ExitCode::SUCCESS)
}

/// Counts, and returns a line for each workload that is within the tolerance.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let counts = count(workspace)?;
    compare(&counts, &read(&workspace.path(BASELINE))?)
}

fn compare(counts: &Counts, baseline: &Value) -> Result<Vec<String>, Failure> {
    let Counts { key, crc, per_event } = counts;
    let mut lines = vec![format!("{key}, checksums under valgrind by {crc}")];
    let told = |lines: &[String], what: String| {
        Failure::new(format!("{}\n{what}; if that is meant: {BLESS}", lines.join("\n")))
    };
    let Some(known) = baseline.get(key) else {
        lines.extend(per_event.iter().map(|(name, count)| format!("{name}: {count:.1}")));
        let keys: Vec<_> = baseline.as_object().into_iter().flatten().map(|(key, _)| key).collect();
        return Err(told(&lines, format!("{BASELINE} has no counts of {key}, only of {keys:?}")));
    };
    if known["crc"] != crc.as_str() {
        let before = &known["crc"];
        return Err(told(&lines, format!("checksums took another path before: {before}")));
    }
    let mut off = Vec::new();
    for (name, count) in per_event {
        let before = known["per_event"][name].as_f64().unwrap_or(f64::NAN);
        let percent = (count / before - 1.0) * 100.0;
        lines.push(format!(
            "{name}: {count:.1} instructions per event, {percent:+.2} % of {before:.1}"
        ));
        // Not a number is not within the tolerance either.
        if !(-TOLERANCE..=TOLERANCE).contains(&percent) {
            off.push(format!("{name} is off by {percent:+.2} %"));
        }
    }
    if off.is_empty() {
        return Ok(lines);
    }
    Err(told(&lines, format!("{}, {TOLERANCE} % are tolerated", off.join(" and "))))
}

fn read(file: &Path) -> Result<Value, Failure> {
    if !file.exists() {
        return Ok(json!({}));
    }
    let text = std::fs::read_to_string(file).context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).context(|| format!("read {}", file.display()))
}

fn count(workspace: &Workspace) -> Result<Counts, Failure> {
    let valgrind = host::valgrind()?;
    let rustc = process::capture(Command::new("rustc").arg("--version"))?;
    // "rustc 1.95.0 (59807616e 2026-04-14)" and "valgrind-3.19.0".
    let rustc = rustc.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let key = format!("{rustc}, {}", valgrind.replace('-', " "));
    process::run(workspace.cargo().args(["build", "--release", "--package", "onrush-guards"]))?;
    let guards = workspace.target().join("release/onrush-guards");
    let mut counts = Counts { key, crc: String::new(), per_event: BTreeMap::new() };
    for workload in WORKLOADS {
        let [few, many] = ROUNDS.map(|rounds| callgrind(workspace, &guards, workload, rounds));
        let (few, many) = (few?, many?);
        let per_event = (many.instructions - few.instructions) / (many.events - few.events);
        counts.per_event.insert(workload.to_owned(), (per_event * 100.0).round() / 100.0);
        counts.crc = many.crc;
    }
    Ok(counts)
}

struct Run {
    instructions: f64,
    events: f64,
    crc: String,
}

fn callgrind(
    workspace: &Workspace,
    guards: &PathBuf,
    workload: &str,
    rounds: u32,
) -> Result<Run, Failure> {
    let out = workspace.target().join(format!("callgrind-{workload}.out"));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(guards);
    valgrind.args(["count", workload, "--rounds", &rounds.to_string()]);
    let told = process::capture(&mut valgrind)?;
    let profile = std::fs::read_to_string(&out).context(|| format!("read {}", out.display()))?;
    let missing = |what| Failure::new(format!("no {what} from {}", process::line(&valgrind)));
    Ok(Run {
        instructions: after(&profile, "summary: ").ok_or_else(|| missing("summary"))?,
        events: after(&told, "events ").ok_or_else(|| missing("events"))?,
        crc: told
            .lines()
            .find_map(|line| line.strip_prefix("crc "))
            .ok_or_else(|| missing("path of checksums"))?
            .to_owned(),
    })
}

/// The number behind `prefix` at the start of a line.
fn after(text: &str, prefix: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(prefix))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(walk: f64) -> Counts {
        Counts {
            key: "rustc 1.0.0, valgrind 3.0.0".to_owned(),
            crc: "tables".to_owned(),
            per_event: BTreeMap::from([("batch-walk".to_owned(), walk)]),
        }
    }

    fn baseline() -> Value {
        json!({ "rustc 1.0.0, valgrind 3.0.0": {
            "crc": "tables", "per_event": { "batch-walk": 100.0 } } })
    }

    #[test]
    fn the_tolerance_holds_both_ways() {
        for (count, fine) in [(97.1, true), (102.9, true), (96.9, false), (103.1, false)] {
            assert_eq!(compare(&counts(count), &baseline()).is_ok(), fine, "{count}");
        }
    }

    #[test]
    fn what_does_not_compare_names_the_command() {
        let other = Counts { key: "rustc 2.0.0, valgrind 3.0.0".to_owned(), ..counts(100.0) };
        let path = Counts { crc: "avx".to_owned(), ..counts(100.0) };
        let unknown =
            Counts { per_event: BTreeMap::from([("new".to_owned(), 1.0)]), ..counts(100.0) };
        for counts in [other, path, unknown, counts(200.0)] {
            let failure = compare(&counts, &baseline()).unwrap_err().to_string();
            assert!(failure.contains(BLESS), "{failure}");
        }
    }

    #[test]
    fn numbers_are_read_from_lines() {
        assert_eq!(after("desc: x\nsummary: 1234\n", "summary: "), Some(1234.0));
        assert_eq!(after("totals: 1234", "summary: "), None);
    }
}
