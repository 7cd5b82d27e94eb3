//! An example shows one thing on one screen.

use super::{Finding, Tree};

const FOLDER: &str = "crates/onrush/examples";
const LIMIT: usize = 40;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.members()
        .filter(|source| source.path().starts_with(FOLDER))
        .filter_map(|source| {
            let lines = source.text().lines().count();
            let what = format!("an example of {lines} lines; {LIMIT} are one screen");
            (lines >= LIMIT).then(|| Finding::new(source.path(), lines, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_that_does_not_fit_is_found() {
        for (lines, findings) in [(LIMIT - 1, 0), (LIMIT, 1)] {
            let text = "//! A.\n".repeat(lines);
            let tree = Tree::of(&[("crates/onrush/examples/consume.rs", &text)]);
            assert_eq!(check(&tree).len(), findings);
        }
    }
}
