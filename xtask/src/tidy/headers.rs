//! Every Rust file says at its head what it is.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.written()
        .filter(|source| !source.text().starts_with("//! "))
        .map(|source| Finding::new(source.path(), 1, "starts without a `//!` header"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "//! A.\n"),
            ("crates/a/src/b.rs", "use c;\n//! late\n"),
            ("crates/a/src/schema_generated.rs", ""),
            ("build.rs", ""),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert!(found[0].path.ends_with("b.rs"));
    }
}
