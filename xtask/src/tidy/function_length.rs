//! Functions that are long enough to deserve a second look. A note, since some protocol steps are one piece.

use super::source::{Source, word_positions};
use super::{Finding, Tree};

const LIMIT: usize = 70;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.written() {
        for at in word_positions(source.code(), "fn") {
            if let Some(lines) = body_lines(source, at).filter(|&lines| lines > LIMIT) {
                let what =
                    format!("a function of {lines} lines; more than {LIMIT} are hard to follow");
                findings.push(Finding::new(source.path(), source.line_at(at), what));
            }
        }
    }
    findings
}

/// From the line of `fn` to that of its closing brace; nothing for a signature or a function type.
fn body_lines(source: &Source, at: usize) -> Option<usize> {
    if source.code()[at + "fn".len()..].trim_start().starts_with('(') {
        return None;
    }
    let code = &source.code().as_bytes()[at..];
    let mut nesting = 0_usize;
    let open = code.iter().position(|&byte| {
        match byte {
            b'(' | b'[' => nesting += 1,
            b')' | b']' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        nesting == 0 && matches!(byte, b'{' | b';' | b'=' | b',')
    })?;
    if code[open] != b'{' {
        return None;
    }
    let mut depth = 0_usize;
    let close = code[open..].iter().position(|&byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })?;
    Some(source.line_at(at + open + close) - source.line_at(at) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        let body = "    a('{');\n".repeat(lines - 2);
        format!("//! A.\nfn a(b: [u8; 4]) -> fn(u8) {{\n{body}}}\nfn c();\n")
    }

    #[test]
    fn a_long_function_is_noted() {
        let found = check(&Tree::of(&[("xtask/src/a.rs", &function(LIMIT + 1))]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert_eq!(check(&Tree::of(&[("xtask/src/a.rs", &function(LIMIT))])), []);
    }
}
