//! Documents name files that exist. A path is what stands in backticks and either starts with a folder of the tree, or
//! of `crates/`, or is the bare name of a source file.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Finding, Tree};

/// Endings by which a bare name is taken for a file of the tree.
const ENDINGS: [&str; 6] = [".rs", ".toml", ".md", ".py", ".fbs", ".xml"];

/// It tells what was, too.
const EXEMPT: &str = "CHANGELOG.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let known = Known::of(tree);
    let mut findings = Vec::new();
    for document in &tree.documents {
        let is_page = document.path.extension().is_some_and(|extension| extension == "md");
        if !is_page || document.path.ends_with(EXEMPT) {
            continue;
        }
        let folder = document.path.parent().unwrap_or(Path::new(""));
        for (line, quoted) in quotations(&document.text) {
            for path in braces(quoted) {
                if known.looks_like_path(&path) && !known.has(&path, folder) {
                    let what = format!("names `{path}`, which is not there");
                    findings.push(Finding::new(&document.path, line, what));
                }
            }
        }
    }
    findings
}

/// What the tree has: files and their folders, as seen from the root and from `crates`.
struct Known {
    paths: BTreeSet<String>,
    names: BTreeSet<String>,
    roots: BTreeSet<String>,
}

impl Known {
    fn of(tree: &Tree) -> Self {
        let mut known =
            Self { paths: BTreeSet::new(), names: BTreeSet::new(), roots: BTreeSet::new() };
        for file in &tree.files {
            known.add(file);
            if let Ok(below) = file.strip_prefix("crates") {
                known.add(below);
            }
        }
        known
    }

    fn add(&mut self, file: &Path) {
        self.paths.extend(file.ancestors().map(|path| path.display().to_string()));
        self.names.extend(file.file_name().map(|name| name.display().to_string()));
        let root = file.iter().next().filter(|_| file.components().count() > 1);
        self.roots.extend(root.map(|root| root.display().to_string()));
    }

    fn looks_like_path(&self, text: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./*".contains(c);
        if !text.chars().all(plain) {
            return false;
        }
        match text.split_once('/') {
            Some((root, _)) => self.roots.contains(root),
            None => {
                let stem = ENDINGS.iter().find_map(|ending| text.strip_suffix(ending));
                stem.is_some_and(|stem| !stem.is_empty() && !stem.contains('*'))
            }
        }
    }

    /// Up to the first part with a `*`, which stands for whatever is there.
    fn has(&self, text: &str, folder: &Path) -> bool {
        let fixed: Vec<&str> =
            text.trim_end_matches('/').split('/').take_while(|part| !part.contains('*')).collect();
        let fixed = fixed.join("/");
        self.paths.contains(&fixed)
            || self.paths.contains(&folder.join(&fixed).display().to_string())
            || (!fixed.contains('/') && self.names.contains(&fixed))
    }
}

/// What stands between backticks outside of fenced blocks, with its line.
fn quotations(text: &str) -> Vec<(usize, &str)> {
    let mut quoted = Vec::new();
    let mut fenced = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            quoted.extend(text.split('`').skip(1).step_by(2).map(|inner| (line, inner)));
        }
    }
    quoted
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`; a line number at the end is dropped.
fn braces(text: &str) -> Vec<String> {
    let text = match text.rsplit_once(':') {
        Some((path, line)) if line.chars().all(|c| c.is_ascii_digit()) => path,
        _ => text,
    };
    let parts = text.split_once('{').and_then(|(head, rest)| {
        let (choices, tail) = rest.split_once('}')?;
        Some((head, choices, tail))
    });
    match parts {
        Some((head, choices, tail)) => choices
            .split(',')
            .flat_map(|choice| braces(&format!("{head}{}{tail}", choice.trim())))
            .collect(),
        None => vec![text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("README.md", page),
            ("CHANGELOG.md", "`crates/engine/src/gone.rs`"),
            ("crates/engine/src/lane.rs", ""),
            ("crates/engine/src/slot.rs", ""),
            ("data/flights.fbs", ""),
        ]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn names_of_things_that_are_gone_are_found() {
        for gone in [
            "crates/engine/src/gone.rs",
            "engine/src/gone.rs",
            "engine/src/{lane,gone}.rs",
            "gone.rs",
            "data/gone.csv",
            "crates/gone/*",
        ] {
            let found = found(&format!("see `{gone}`\n"));
            assert_eq!(found.len(), 1, "{gone}");
            assert!(found[0].contains("gone"), "{gone}");
        }
    }

    #[test]
    fn what_is_there_or_is_no_path_is_fine() {
        for fine in [
            "crates/engine/src/lane.rs",
            "crates/engine/src/lane.rs:12",
            "engine/src/{lane,slot}.rs",
            "crates/engine/",
            "crates/*/src",
            "slot.rs",
            "flights.fbs",
            "cargo run --release -- demo",
            "onrush::testing",
            "target/kafka",
            "events/s",
            "/metrics",
        ] {
            assert_eq!(found(&format!("see `{fine}`\n")), [""; 0], "{fine}");
        }
    }

    #[test]
    fn fenced_blocks_are_no_prose() {
        assert_eq!(found("```\n`gone.rs`\n```\n"), [""; 0]);
    }
}
