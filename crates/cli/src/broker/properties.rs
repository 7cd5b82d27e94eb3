//! Files of names and values as Kafka has them: Java's properties.
//!
//! A line is `name=value`; `:` or blanks do as well as `=`. `#` and `!` begin a comment, a backslash at
//! the end of a line joins the next one to it, and `\t`, `\n`, `\r`, `\f`, `\uXXXX` stand for what they
//! do in Java; before anything else a backslash takes away its meaning.

/// A name, its value, and the line where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// All properties of a file.
pub(super) fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = first.to_owned();
        while continues(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        properties.push(property(line, &whole));
    }
    properties
}

/// Whether the last backslash is not itself behind one.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|letter| *letter == '\\').count() % 2 == 1
}

fn property(line: usize, text: &str) -> Property {
    let mut letters = text.chars().peekable();
    let mut name = String::new();
    while let Some(letter) = letters.next_if(|letter| !ends_name(*letter)) {
        unescape(letter, &mut letters, &mut name);
    }
    while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
    if letters.next_if(|letter| matches!(letter, '=' | ':')).is_some() {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
    }
    let mut value = String::new();
    while let Some(letter) = letters.next() {
        unescape(letter, &mut letters, &mut value);
    }
    Property { line, name, value: value.trim_end().to_owned() }
}

fn ends_name(letter: char) -> bool {
    matches!(letter, '=' | ':') || letter.is_whitespace()
}

fn unescape(letter: char, rest: &mut impl Iterator<Item = char>, text: &mut String) {
    if letter != '\\' {
        text.push(letter);
        return;
    }
    text.extend(match rest.next() {
        Some('t') => Some('\t'),
        Some('n') => Some('\n'),
        Some('r') => Some('\r'),
        Some('f') => Some('\u{c}'),
        Some('u') => {
            let digits: String = rest.take(4).collect();
            let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
            // Not text that any setting has; told in the error about its value.
            Some(code.unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        other => other,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let all = parse(text).into_iter();
        all.map(|property| (property.line, property.name, property.value)).collect()
    }

    fn pair(line: usize, name: &str, value: &str) -> (usize, String, String) {
        (line, name.to_owned(), value.to_owned())
    }

    #[test]
    fn names_and_values_as_java_reads_them() {
        let text =
            "# a comment\n\n  num.partitions=3\r\n! another\na : b\nc d = e\nempty\nf==g  \n";
        let expected = [
            pair(3, "num.partitions", "3"),
            pair(5, "a", "b"),
            pair(6, "c", "d = e"),
            pair(7, "empty", ""),
            pair(8, "f", "=g"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn lines_are_joined_and_escapes_undone() {
        let text = "a=1,\\\n   2\nb\\=c=\\u0041\\tx\\\\\nd=last\\";
        let expected = [pair(1, "a", "1,2"), pair(3, "b=c", "A\tx\\"), pair(4, "d", "last")];
        assert_eq!(pairs(text), expected);
    }
}
