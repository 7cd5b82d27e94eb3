//! What is wrong with an input, and where.

use std::fmt;

/// A place in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line, from 1.
    Line(u64),
    /// A byte, from 0.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}

/// An input that is no record, or one that cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub(crate) struct Malformed {
    pub(crate) place: Place,
    pub(crate) reason: Reason,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{message} (column {column})")]
    Envelope { message: String, column: usize },
    #[error("there is no column {column:?}; the header row has {known}")]
    NoColumn { column: String, known: String },
    #[error("column {column:?} is there twice; each needs a name of its own")]
    ColumnTwice { column: String },
    #[error("{found} fields, but the header row names {named}")]
    FieldCount { found: usize, named: usize },
    #[error("field {column:?} is not UTF-8, which JSON cannot hold")]
    NotText { column: String },
    #[error("a quoted field is never closed")]
    OpenQuote,
    #[error("the length of the {field} is {length}; it is -1 for none, or at least 0")]
    Length { field: &'static str, length: i32 },
    #[error(
        "a record of more than {limit} bytes; raise --max-message-bytes if the topic allows more"
    )]
    TooLarge { limit: usize },
    #[error("the input ends inside of a record")]
    Cut,
    #[error(
        "there is no partition {partition}, the topic has {partitions}; --partition auto places records by their keys"
    )]
    Partition { partition: i32, partitions: usize },
    #[error("{0}")]
    Unsendable(String),
}
