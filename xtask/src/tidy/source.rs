//! A Rust file as its text and as its code: the same lines, with comments and literals blanked.

use std::path::{Path, PathBuf};

pub(super) struct Source {
    path: PathBuf,
    text: String,
    code: String,
}

impl Source {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let code = blank(&text);
        Self { path, text, code }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Lines of the code, counted from 1.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The line of a byte of the code.
    pub(super) fn line_at(&self, at: usize) -> usize {
        1 + self.code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// Whether `word` stands in `text` with no letter, digit or underscore next to it.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    word_positions(text, word).next().is_some()
}

/// Where `word` stands by itself.
pub(super) fn word_positions<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let goes_on = ends_in_word(word) && after.is_some_and(is_word);
        !before.is_some_and(is_word) && !goes_on
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(word: &str) -> bool {
    word.chars().next_back().is_some_and(is_word)
}

/// Spaces instead of every comment and literal; line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + opaque(bytes, at);
        if end == at {
            code.push(bytes[at]);
            at += 1;
            continue;
        }
        let end = end.min(bytes.len());
        code.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { byte } else { b' ' }));
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// How long the comment or literal is that starts here; 0 when none does.
fn opaque(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => until(rest, b"\n", 2),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', ..] => character(rest),
        [b'b' | b'c' | b'r', ..] if !follows_word(bytes, at) => raw_string(rest),
        _ => 0,
    }
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// Up to the start of `end`, or everything.
fn until(rest: &[u8], end: &[u8], from: usize) -> usize {
    (from..rest.len()).find(|&at| rest[at..].starts_with(end)).unwrap_or(rest.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; a lifetime is code.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return quoted(rest, b'\'');
    }
    let width = match rest.get(1) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

/// `r"…"`, `r#"…"#` and their byte and C forms; `0` for a plain word.
fn raw_string(rest: &[u8]) -> usize {
    let prefix = usize::from(rest[0] != b'r');
    if rest.get(prefix) != Some(&b'r') {
        return 0;
    }
    let hashes = rest[prefix + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    (until(rest, &close, open + 1) + close.len()).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("x(\"a\\\"b\", y)", "x(      , y)"),
            ("r#\"a\"b\"#; z", "        ; z"),
            ("br\"a\\\"; z", "      ; z"),
            ("for r in bar {}", "for r in bar {}"),
            ("('\"', 'a, '\\'', 'ü')", "(   , 'a,     ,     )"),
            ("r#type", "r#type"),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        for text in ["\"a", "/* a", "r##\"a\"#", "'\\", "\"\\"] {
            assert!(blank(text).trim().is_empty(), "{text}");
        }
    }

    #[test]
    fn words_stand_by_themselves() {
        assert!(has_word("use tokio::time", "tokio"));
        assert!(!has_word("tokio_util", "tokio"));
        assert!(has_word("  println!(x)", "println!"));
        assert!(!has_word("eprintln!(x)", "println!"));
    }
}
