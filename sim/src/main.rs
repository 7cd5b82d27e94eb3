//! Seeded simulation of the unmodified crates: a producer, the broker and two engine members in one thread, on virtual
//! time, with member crashes, hand-overs, cut connections, slow handlers, and broker restarts that lose unsynced bytes.
//!
//! A seed decides everything (see [`plan`]). The history of a run is judged by [`history`]; the trace of a run is hashed, and two
//! runs of one seed give the same lines.
//!
//! Exit codes: 0 the checker is content; 1 a seed failed, or the faults were fewer than asked for, or a sabotage was
//! caught too seldom; 2 the arguments are wrong.
#![forbid(unsafe_code)]

mod history;
mod member;
mod plan;
mod producer;
mod world;

use std::ops::Range;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::plan::Plan;
use crate::world::Outcome;

/// Run Onrush through crashes, cuts and hand-overs on virtual time.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// One seed, with its faults printed; the last line is `seed N hash HEX`.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many seeds, `A..B`.
    #[arg(long, value_parser = parse_range)]
    seeds: Option<Range<u64>>,
    /// Run this seed twice and compare the traces line by line.
    #[arg(long)]
    twice: Option<u64>,
    /// Print the trace of `--seed`.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break the engine or the broker on purpose; a run that notices counts as caught.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// With `--sabotage`: fail unless at least this many seeds caught it.
    #[arg(long, default_value_t = 1, requires = "sabotage")]
    require_caught: u64,
    /// Fail unless the seeds together crashed at least this many members.
    #[arg(long, default_value_t = 0)]
    require_crashes: u64,
    /// Fail unless the seeds together had at least this many broker restarts that lost bytes.
    #[arg(long, default_value_t = 0)]
    require_lossy_restarts: u64,
    /// Fail unless the seeds together handed over at least this many partitions.
    #[arg(long, default_value_t = 0)]
    require_hand_overs: u64,
}

/// What to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sabotage {
    /// Commit what was taken instead of what is finished.
    CommitEarly,
    /// Let later events of a key overtake the one that is tried again.
    Overtake,
    /// Count events that leave for a retry topic or the dead letters as written, without writing them.
    Vanish,
    /// Acknowledge what is not on the disk yet, though the broker syncs always.
    AckBeforeSync,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    parsed
        .filter(|range: &Range<u64>| !range.is_empty())
        .ok_or_else(|| "expected A..B with A < B".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let passed = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => one(&arguments, seed),
        (None, Some(seeds)) => many(&arguments, seeds.clone()),
        (None, None) => arguments.twice.is_some(),
    };
    let same = arguments.twice.is_none_or(|seed| same_twice(&arguments, seed));
    if passed && same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments, seed: u64, keep_lines: bool) -> Outcome {
    world::run(&Plan::draw(seed, arguments.sabotage), keep_lines)
}

fn one(arguments: &Arguments, seed: u64) -> bool {
    let outcome = run(arguments, seed, arguments.trace);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", outcome.faults);
    outcome.violations.iter().for_each(|violation| println!("seed {seed}: {violation}"));
    println!("seed {seed} hash {:016x}", outcome.hash);
    outcome.violations.is_empty()
}

fn many(arguments: &Arguments, seeds: Range<u64>) -> bool {
    let count = seeds.end - seeds.start;
    let (mut total, mut failed) = (world::Faults::default(), 0);
    for seed in seeds {
        let outcome = run(arguments, seed, false);
        total.add(&outcome.faults);
        if let Some(first) = outcome.violations.first() {
            failed += 1;
            if arguments.sabotage.is_none() {
                println!("seed {seed}: {first} ({} in all)", outcome.violations.len());
            }
        }
    }
    println!("{count} seeds, {failed} with violations; {total}");
    let enough = [
        ("member crashes", total.member_crashes, arguments.require_crashes),
        ("restarts that lost bytes", total.lossy_restarts, arguments.require_lossy_restarts),
        ("hand-overs", total.hand_overs, arguments.require_hand_overs),
    ];
    let mut passed = true;
    for (what, had, wanted) in enough {
        if had < wanted {
            println!("too few {what}: {had}, wanted {wanted}");
            passed = false;
        }
    }
    match arguments.sabotage {
        None => passed && failed == 0,
        Some(sabotage) => {
            println!(
                "sabotage {sabotage:?} caught in {failed} of {count} seeds, wanted {}",
                arguments.require_caught
            );
            failed >= arguments.require_caught
        }
    }
}

fn same_twice(arguments: &Arguments, seed: u64) -> bool {
    let [first, second] = [run(arguments, seed, true), run(arguments, seed, true)];
    let differs = (0..first.trace.len().max(second.trace.len()))
        .find(|&line| first.trace.get(line) != second.trace.get(line));
    match differs {
        None => println!(
            "seed {seed} twice: {} trace lines equal, hash {:016x}",
            first.trace.len(),
            first.hash
        ),
        Some(line) => {
            println!("seed {seed} twice: traces differ at line {line}");
            println!("  {}", first.trace.get(line).map_or("(end)", String::as_str));
            println!("  {}", second.trace.get(line).map_or("(end)", String::as_str));
        }
    }
    differs.is_none()
}
