//! `select!` polls in the order written, or a simulated run would depend on chance that no seed draws.

use super::source::word_positions;
use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.members() {
        let code = source.code();
        for at in word_positions(code, "select!") {
            if !is_biased(&code[at + "select!".len()..]) {
                let line = source.line_at(at);
                findings.push(Finding::new(source.path(), line, "`select!` without `biased;`"));
            }
        }
    }
    findings
}

fn is_biased(after: &str) -> bool {
    after
        .trim_start()
        .strip_prefix(['{', '('])
        .is_some_and(|body| body.trim_start().starts_with("biased;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_that_draws_lots_is_found() {
        let text = "//! A.\nfn a() {\n    tokio::select! {\n        // biased;\n        x = y => {}\n    }\n}\n";
        let found = check(&Tree::of(&[("crates/a/src/a.rs", text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
    }

    #[test]
    fn a_biased_select_is_fine() {
        let text = "//! A.\nfn a() { select! { /* in order */ biased;\n x = y => {} } }\n";
        assert_eq!(check(&Tree::of(&[("crates/a/src/a.rs", text)])), []);
    }
}
