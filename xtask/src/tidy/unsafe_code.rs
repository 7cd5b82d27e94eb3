//! `unsafe` is forbidden at the root of every crate but the binary's, which maps the audit file.

use std::path::Path;

use super::{Finding, Tree};

const ATTRIBUTE: &str = "#![forbid(unsafe_code)]";
const EXEMPT: &str = "crates/cli/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.members()
        .filter(|source| is_root(source.path()) && !source.path().starts_with(EXEMPT))
        .filter(|source| !source.code().lines().any(|line| line.trim() == ATTRIBUTE))
        .map(|source| Finding::new(source.path(), 1, format!("crate root without `{ATTRIBUTE}`")))
        .collect()
}

fn is_root(path: &Path) -> bool {
    ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_root_that_allows_unsafe_is_found() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "//! A.\n// #![forbid(unsafe_code)]\n"),
            ("crates/b/src/lib.rs", "//! B.\n#![forbid(unsafe_code)]\n"),
            ("crates/b/src/c.rs", "//! C.\n"),
            ("crates/cli/src/main.rs", "//! The binary.\n"),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert!(found[0].path.starts_with("crates/a"));
    }
}
