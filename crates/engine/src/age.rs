//! Since when an event is open.
//!
//! Up to where events were taken is noted now and then, with the time: an event below that mark was
//! taken by then at the latest. So ages are never overstated, and understated by [`MARK_INTERVAL`]
//! at most, or by more when so much was taken since that marks had to be thinned out.

use std::collections::VecDeque;
use std::time::Duration;

use onrush_runtime::Instant;

/// Least time between marks.
const MARK_INTERVAL: Duration = Duration::from_millis(250);
/// Most marks that are kept.
const MARKS: usize = 64;

/// When something was taken, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) wall_millis: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// Everything below the offset was taken by then; offsets and times rise.
    marks: VecDeque<(i64, Moment)>,
}

impl Ages {
    /// Everything below `taken` was taken by now, and below `base` it has its outcome.
    #[inline]
    pub(crate) fn mark(
        &mut self,
        base: i64,
        taken: i64,
        now: Instant,
        wall_millis: impl FnOnce() -> i64,
    ) {
        while self.marks.front().is_some_and(|(offset, _)| *offset <= base) {
            self.marks.pop_front();
        }
        let is_marked = self.marks.back().is_some_and(|(offset, moment)| {
            *offset >= taken || now.duration_since(moment.at) < MARK_INTERVAL
        });
        if base < taken && !is_marked {
            if self.marks.len() == MARKS {
                // The lowest mark is that of the oldest event: it stays.
                let mut keep = false;
                self.marks.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.marks.push_back((taken, Moment { at: now, wall_millis: wall_millis() }));
        }
    }

    /// When `offset` was taken at the latest; `None` if it was so lately that nothing is noted yet.
    pub(crate) fn since(&self, offset: i64) -> Option<Moment> {
        let mark = self.marks.partition_point(|(taken, _)| *taken <= offset);
        self.marks.get(mark).map(|(_, moment)| *moment)
    }

    /// The log begins anew.
    pub(crate) fn clear(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> (Instant, i64) {
        (start + Duration::from_millis(millis), 1_000_000 + millis as i64)
    }

    fn mark(ages: &mut Ages, base: i64, taken: i64, (now, wall): (Instant, i64)) {
        ages.mark(base, taken, now, || wall);
    }

    #[test]
    fn an_event_is_as_old_as_the_first_mark_above_it() {
        let (start, mut ages) = (Instant::now(), Ages::default());
        mark(&mut ages, 10, 10, at(start, 0));
        assert_eq!(ages.since(10), None);
        mark(&mut ages, 10, 20, at(start, 100));
        // Too soon for another one.
        mark(&mut ages, 10, 25, at(start, 200));
        mark(&mut ages, 10, 30, at(start, 400));
        let since = |ages: &Ages, offset| ages.since(offset).map(|since| since.wall_millis);
        assert_eq!(since(&ages, 10), Some(1_000_100));
        assert_eq!((since(&ages, 20), since(&ages, 29)), (Some(1_000_400), Some(1_000_400)));
        assert_eq!(since(&ages, 30), None);
        mark(&mut ages, 22, 30, at(start, 9_000));
        assert_eq!(since(&ages, 22), Some(1_000_400));
        mark(&mut ages, 30, 30, at(start, 9_100));
        assert!(ages.marks.is_empty());
    }

    #[test]
    fn however_much_is_taken_the_oldest_keeps_its_age() {
        let (start, mut ages) = (Instant::now(), Ages::default());
        for step in 0..5_000 {
            mark(&mut ages, 7, 8 + step * 100, at(start, 1_000 * step as u64));
        }
        assert!(ages.marks.len() <= MARKS);
        assert_eq!(ages.since(7).map(|since| since.wall_millis), Some(1_000_000));
        assert!(ages.marks.iter().is_sorted_by(|a, b| a.0 < b.0 && a.1.at < b.1.at));
    }
}
