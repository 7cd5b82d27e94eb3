//! Where reading a partition stands.

use crate::records::range::Span;

/// The next offset, and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The first offset that was not looked at yet.
    pub(super) next: i64,
    /// The first one that is not wanted any more.
    pub(super) to: Option<i64>,
    /// Epoch of the leader that took the last batch, or -1.
    pub(super) leader_epoch: i32,
}

impl Position {
    pub(super) fn new(span: Span) -> Self {
        Self { next: span.from, to: span.to, leader_epoch: -1 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.to.is_some_and(|to| self.next >= to)
    }

    /// The log has `[start, end)` now, and not what is next: reading goes on with what it has.
    pub(super) fn moved(self, start: i64, end: i64) -> Self {
        let end = end.max(start);
        Self { next: self.next.clamp(start, end), to: self.to.map(|to| to.min(end)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(next: i64, to: Option<i64>) -> Position {
        Position { next, to, leader_epoch: 7 }
    }

    #[test]
    fn reading_goes_on_with_what_the_log_still_has() {
        assert_eq!(position(3, None).moved(10, 20), position(10, None), "its start was deleted");
        assert_eq!(position(3, Some(8)).moved(10, 20), position(10, Some(8)));
        assert!(position(3, Some(8)).moved(10, 20).is_at_end(), "all that was wanted is gone");
        assert_eq!(position(30, None).moved(10, 20), position(20, None), "its end was lost");
        assert_eq!(position(30, Some(40)).moved(10, 20), position(20, Some(20)));
    }
}
