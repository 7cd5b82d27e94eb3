//! A member in a process of its own, whose handlers all stand still for a while: its resident memory
//! stays below the budget and a quarter, it stays in the group, and when the handlers go on nothing is
//! fetched a second time.
//!
//! `cargo xtask stall --minutes 10` lets them stand still for longer than the seconds of CI.
#![expect(
    clippy::disallowed_methods,
    reason = "outside the simulation: a real process, of which the kernel is asked"
)]

#[path = "../engine/bulk.rs"]
mod bulk;
mod member;
mod scenario;

use std::time::Duration;

use onrush_kafka::Compression;

/// How long the handlers stand still in CI: longer than the session time-out.
const SECONDS: u64 = 5;

const SCENARIOS: [(&str, Compression); 2] = [
    ("trap_19_a_stalled_downstream_costs_no_more_than_the_budget", Compression::None),
    ("trap_19_nor_does_it_with_compressed_batches", Compression::Lz4),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["member", brokers, topic, budget] = words[..] {
        return member::run(brokers, topic, budget.parse().unwrap());
    }
    if words.contains(&"--list") {
        SCENARIOS.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let minutes = words.iter().position(|word| *word == "--minutes");
    let stall = match minutes.and_then(|at| words.get(at + 1)) {
        Some(minutes) => Duration::from_secs_f64(minutes.parse::<f64>().unwrap() * 60.0),
        None => Duration::from_secs(SECONDS),
    };
    // As the test harness has it: a word that is no option is a part of a name.
    let part = words.first().filter(|word| !word.starts_with('-'));
    let mut passed = 0;
    for (name, compression) in SCENARIOS {
        if part.is_none_or(|part| name.contains(part)) {
            let told = scenario::run(compression, stall);
            println!("test {name} ... ok: {told}");
            passed += 1;
        }
    }
    // The words by which runs of tests are counted.
    let left_out = SCENARIOS.len() - passed;
    println!(
        "test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {left_out} filtered out"
    );
}
