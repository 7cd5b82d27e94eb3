//! Nothing half-done is left behind: no reminders anywhere, no prints in libraries.

use super::source::has_word;
use super::{Finding, Tree};

/// Put together here, so that this file is not its own finding.
const REMINDERS: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

const PRINTS: [&str; 5] = ["dbg!", "print!", "println!", "eprint!", "eprintln!"];

/// Runs in tests alone, whose harness takes what is printed, and nothing else.
const IN_TESTS: &str = "crates/onrush/src/testing";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.members() {
        for (line, text) in (1..).zip(source.text().lines()) {
            for word in REMINDERS.iter().filter(|word| has_word(text, word)) {
                findings.push(Finding::new(
                    source.path(),
                    line,
                    format!("`{word}`: do it or file it"),
                ));
            }
        }
    }
    for source in tree.libraries().filter(|source| !source.path().starts_with(IN_TESTS)) {
        for (line, code) in source.code_lines() {
            for word in PRINTS.iter().filter(|word| has_word(code, word)) {
                findings.push(Finding::new(source.path(), line, format!("`{word}` in a library")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_are_found_in_comments() {
        for word in REMINDERS {
            let text = format!("//! A.\n// {word}: later\n");
            let found = check(&Tree::of(&[("sim/src/main.rs", &text)]));
            assert_eq!(found.len(), 1, "{word}");
            assert_eq!(found[0].line, 2);
        }
    }

    #[test]
    fn prints_are_found_in_libraries_alone() {
        let text = "//! A.\n/// println!(docs)\nfn a() { println!(\"dbg!\"); }\n";
        assert_eq!(check(&Tree::of(&[("crates/a/src/a.rs", text)])).len(), 1);
        let in_tests = &format!("{IN_TESTS}/a.rs");
        for fine in ["crates/cli/src/a.rs", "crates/a/examples/a.rs", "xtask/src/a.rs", in_tests] {
            assert_eq!(check(&Tree::of(&[(fine, text)])), [], "{fine}");
        }
    }
}
