//! A log line that tells of an error has the code under which a person finds the cure.

use super::source::word_positions;
use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.libraries() {
        let code = source.code();
        for at in word_positions(code, "tracing::error!") {
            // Literals are blanked, so the first semicolon or brace ends the statement or arm.
            let call = code[at..].split([';', '{', '}']).next().unwrap_or_default();
            if word_positions(call, "code").next().is_none() {
                let what = "`tracing::error!` without a `code` of `onrush_runtime::Fault`";
                findings.push(Finding::new(source.path(), source.line_at(at), what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_a_code_is_found() {
        let text =
            "//! A.\nfn a() {\n    tracing::error!(%error, \"code = 1; no\");\n    code();\n}\n";
        let found = check(&Tree::of(&[("crates/a/src/a.rs", text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
    }

    #[test]
    fn a_code_is_fine_and_so_is_the_command() {
        let coded =
            "//! A.\nfn a() { tracing::error!(\n    code = %Fault::Bug,\n    %error, \"x\"\n); }\n";
        assert_eq!(check(&Tree::of(&[("crates/a/src/a.rs", coded)])), []);
        let command = "//! A.\nfn a() { tracing::error!(\"x\"); }\n";
        assert_eq!(check(&Tree::of(&[("crates/cli/src/a.rs", command)])), []);
    }
}
