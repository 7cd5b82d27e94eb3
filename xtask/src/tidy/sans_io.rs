//! State machines know no runtime: what steps by `now` and input must not be able to wait.

use std::path::Path;

use super::source::has_word;
use super::{Finding, Tree};

/// A module's file and the folder of its parts.
const MACHINES: [&str; 20] = [
    "crates/broker/src/core",
    "crates/broker/src/groups",
    "crates/broker/src/journal",
    "crates/broker/src/log",
    "crates/broker/src/producers",
    "crates/broker/src/recovery",
    "crates/broker/src/requests",
    "crates/broker/src/topics",
    "crates/engine/src/admission",
    "crates/engine/src/commit",
    "crates/engine/src/completed",
    "crates/engine/src/lane",
    "crates/engine/src/ledger",
    "crates/engine/src/metadata",
    "crates/engine/src/parked",
    "crates/engine/src/pool",
    "crates/engine/src/slot",
    "crates/engine/src/worker/outbox",
    "crates/engine/src/worker/progress",
    "crates/engine/src/worker/thread",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.members().filter(|source| is_machine(source.path())) {
        for (line, code) in source.code_lines().filter(|(_, code)| has_word(code, "tokio")) {
            let what = format!("tokio in a sans-I/O file: {}", code.trim());
            findings.push(Finding::new(source.path(), line, what));
        }
    }
    findings
}

/// A machine's tests may drive it by a runtime's paused clock.
fn is_machine(path: &Path) -> bool {
    let module = path.with_extension("");
    !module.ends_with("tests") && MACHINES.iter().any(|machine| module.starts_with(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_in_a_state_machine_is_found() {
        let text = "//! No tokio here.\nuse onrush_runtime::Instant;\nuse tokio::sync::mpsc;\n";
        for machine in ["crates/engine/src/lane.rs", "crates/broker/src/core/group.rs"] {
            let found = check(&Tree::of(&[(machine, text)]));
            assert_eq!(found.len(), 1, "{machine}");
            assert_eq!(found[0].line, 3);
        }
        assert_eq!(check(&Tree::of(&[("crates/broker/src/server.rs", text)])), []);
        assert_eq!(check(&Tree::of(&[("crates/engine/src/slotted.rs", text)])), []);
        assert_eq!(check(&Tree::of(&[("crates/engine/src/lane/tests.rs", text)])), []);
    }
}
