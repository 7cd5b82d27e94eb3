//! Files are named by nouns of the field, not by having no better name.

use super::{Finding, Tree};

const NAMELESS: [&str; 7] = ["common", "helper", "helpers", "manager", "misc", "util", "utils"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.members()
        .filter_map(|source| {
            let path = source.path().with_extension("");
            let part = path.iter().find(|part| NAMELESS.iter().any(|name| part == name))?;
            let what = format!("`{}` says nothing: name it by what it holds", part.display());
            Some(Finding::new(source.path(), 1, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_without_a_name_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/utils.rs", ""),
            ("crates/a/tests/common/mod.rs", ""),
            ("crates/a/src/ledger.rs", ""),
        ]);
        assert_eq!(check(&tree).len(), 2);
    }
}
