//! What a handler says when it fails, and the event that it said it of.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::assignment::{Holding, Origin};
use crate::source::Batch;

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Trying again, not before this time has passed if one is given.
    Retry {
        /// Instead of the policy's own time.
        after: Option<Duration>,
    },
    /// Nothing: the event goes to the dead letters at once.
    DeadLetter,
    /// Nothing: the event's bytes are not what the handler can read.
    Undecodable,
    /// Nothing here: the partition stops, and the event stays where it is.
    Fatal,
}

/// Why an event could not be processed.
///
/// Any error turns into one by `?`, and is tried again; the other classes have a constructor each.
pub struct HandlerError {
    class: ErrorClass,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl HandlerError {
    /// An error that is only text, and that trying again may help against.
    pub fn msg(text: impl Into<String>) -> Self {
        Self::new(ErrorClass::Retry { after: None }, text.into())
    }

    /// An error of this class: made of another error, or of text.
    pub fn new(
        class: ErrorClass,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { class, error: error.into() }
    }

    /// Trying again may help, once `after` has passed.
    pub fn retry_after(
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        after: Duration,
    ) -> Self {
        Self::new(ErrorClass::Retry { after: Some(after) }, error)
    }

    /// Trying again does not help.
    pub fn dead_letter(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorClass::DeadLetter, error)
    }

    /// The event's bytes cannot be read.
    pub fn undecodable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorClass::Undecodable, error)
    }

    /// The partition must stop.
    pub fn fatal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorClass::Fatal, error)
    }

    /// What helps against it.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The error that it was made of, if it was one of this type.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// What a handler panicked with.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::msg(panic_text(panic))
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(ErrorClass::Retry { after: None }, error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.class, self.error)
    }
}

/// An event that failed, with the batch that holds it.
#[derive(Debug)]
pub struct Failure {
    /// The partition.
    pub holding: Arc<Holding>,
    /// Its assignment on the lane.
    pub origin: Origin,
    /// Its slot.
    pub slot: u32,
    /// Its batch.
    pub batch: Arc<Batch>,
    /// Where in the batch's records it is.
    pub position: u32,
    /// Its offset.
    pub offset: i64,
    /// What the handler said, or with what it panicked.
    pub error: HandlerError,
}

/// Most bytes that are kept of what a handler said.
pub const ERROR_LIMIT: usize = 2_048;

/// What a handler said, as far as it is kept. How it is written is user code, and may panic.
pub(crate) fn error_text(error: &HandlerError) -> String {
    let written = catch_unwind(AssertUnwindSafe(|| error.to_string()));
    let mut text = written.unwrap_or_else(|panic| format!("an error that {}", panic_text(&*panic)));
    text.truncate(text.floor_char_boundary(ERROR_LIMIT));
    text
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no text)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_cannot_be_written_is_named_all_the_same() {
        #[derive(Debug)]
        struct Unwritable;
        impl std::error::Error for Unwritable {}
        impl fmt::Display for Unwritable {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("no text")
            }
        }
        assert_eq!(error_text(&Unwritable.into()), "an error that panicked: no text");
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = HandlerError::msg("é".repeat(ERROR_LIMIT) + "x");
        assert_eq!(error_text(&long).len(), ERROR_LIMIT);
        let odd = HandlerError::msg("x".to_owned() + &"é".repeat(ERROR_LIMIT));
        assert_eq!(error_text(&odd).len(), ERROR_LIMIT - 1);
        assert_eq!(error_text(&HandlerError::msg("short")), "short");
    }
}
