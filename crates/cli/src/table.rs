//! Aligned tables of text, and the way of text and JSON to stdout.
//!
//! Cells may hold what strangers chose (ids of clients, hosts): control characters in them are shown, not obeyed.

use serde::Serialize;

use crate::failure::Failure;
pub(crate) use crate::stdout::print;

/// Spaces between columns.
const GAP: usize = 2;

/// A column's name and the side that its cells lean to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Left(name) | Self::Right(name) => name,
        }
    }
}

/// Rows under a line of names. Columns without anything in them are left out.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into_iter().map(|cell| visible(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The table as lines.
    pub(crate) fn text(&self) -> String {
        let names = self.columns.iter().map(|column| column.name().to_owned()).collect();
        let lines: Vec<_> = std::iter::once(&names).chain(&self.rows).collect();
        let filled = |index: &usize| {
            self.rows.iter().any(|row| row.get(*index).is_some_and(|cell| !cell.is_empty()))
        };
        let shown: Vec<usize> = (0..self.columns.len()).filter(filled).collect();
        let width = |index: usize| {
            let cells = lines.iter().filter_map(|line| line.get(index));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = shown.iter().map(|index| width(*index)).collect();
        let mut text = String::new();
        for line in lines {
            let mut written = String::new();
            for (&index, &width) in shown.iter().zip(&widths) {
                let cell = line.get(index).map_or("", String::as_str);
                let padding = " ".repeat(width - cell.chars().count());
                match self.columns.get(index) {
                    Some(Column::Right(_)) => written.extend([&padding, cell]),
                    _ => written.extend([cell, &padding]),
                }
                written.push_str(&" ".repeat(GAP));
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Names with a value each, one a line.
pub(crate) fn facts<const N: usize>(facts: [(&str, String); N]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + GAP;
    let line = |(name, value): &(&str, String)| format!("{name:width$}{}\n", visible(value));
    facts.iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}

/// `text` with its control characters written out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Writes values to stdout as JSON, one a line.
pub(crate) fn print_json<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut text = String::new();
    for value in values {
        let line = serde_json::to_string(&value).map_err(|error| Failure::output(&error.into()))?;
        text.push_str(&line);
        text.push('\n');
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lean_to_their_sides_and_lines_end_without_spaces() {
        let mut table =
            Table::new([Column::Left("NAME"), Column::Right("N"), Column::Left("NOTE")]);
        table.row(["a".into(), "1".into(), String::new()]);
        table.row(["long name".into(), "1000".into(), "x".into()]);
        assert_eq!(table.text(), "NAME          N  NOTE\na             1\nlong name  1000  x\n");
    }

    #[test]
    fn a_column_without_anything_in_it_is_left_out() {
        let mut table = Table::new([Column::Left("A"), Column::Left("NOTE"), Column::Right("B")]);
        table.row(["x".into(), String::new(), "y".into()]);
        assert_eq!(table.text(), "A  B\nx  y\n");
    }

    #[test]
    fn control_characters_are_shown() {
        let mut table = Table::new([Column::Left("CLIENT")]);
        table.row(["a\u{1b}[2Jb\n".into()]);
        assert_eq!(table.text(), "CLIENT\na\\u{1b}[2Jb\\n\n");
        assert_eq!(facts([("name", "a\tb".into()), ("gone", String::new())]), "name  a\\tb\n");
    }
}
