//! Runs that anybody may take, from the partitions in turn: one that has just come, and one with
//! few events, does not wait behind all that others have handed over before.

use std::collections::VecDeque;

use crate::assignment::Origin;
use crate::slot::Run;

/// Where a partition is kept: its lane, and its index there.
type Place = (u32, u32);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By lane and index.
    lines: Vec<Vec<VecDeque<Run>>>,
    /// Those that have runs, the next one first.
    turns: VecDeque<Place>,
    waiting: usize,
}

impl Turns {
    pub(super) fn push(&mut self, run: Run) {
        let place = (run.origin.lane, run.origin.index);
        let line = self.line(place);
        let is_first = line.is_empty();
        line.push_back(run);
        self.waiting += 1;
        if is_first {
            self.turns.push_back(place);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Run> {
        let place = self.turns.pop_front()?;
        let line = self.line(place);
        let run = line.pop_front()?;
        let has_more = !line.is_empty();
        self.waiting -= 1;
        if has_more {
            self.turns.push_back(place);
        }
        Some(run)
    }

    /// Takes out the runs of an assignment.
    pub(super) fn recall(&mut self, origin: Origin, recalled: &mut Vec<Run>) {
        let place = (origin.lane, origin.index);
        let line = self.line(place);
        let before = line.len();
        let (ours, others): (Vec<_>, _) =
            std::mem::take(line).into_iter().partition(|run| run.origin == origin);
        *line = VecDeque::from(others);
        if before > 0 && line.is_empty() {
            self.turns.retain(|turn| *turn != place);
        }
        self.waiting -= ours.len();
        recalled.extend(ours);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// There are as many lines as partitions were held at once.
    fn line(&mut self, (lane, index): Place) -> &mut VecDeque<Run> {
        let (lane, index) = (lane as usize, index as usize);
        if self.lines.len() <= lane {
            self.lines.resize_with(lane + 1, Vec::new);
        }
        let lines = &mut self.lines[lane];
        if lines.len() <= index {
            lines.resize_with(index + 1, VecDeque::new);
        }
        &mut lines[index]
    }
}
