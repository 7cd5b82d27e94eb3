//! The live view of the demo: one line on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use onrush_engine::Snapshot;

use super::generator::Progress;
use super::members::Members;

/// A bar with rate, lag, lanes, slots and the most events in flight in one partition.
pub(crate) struct Live {
    bar: ProgressBar,
    most_in_flight: u64,
}

impl Live {
    /// A view of a run of `events` events; `wanted` is whether a person asked for it.
    pub(crate) fn new(events: u64, wanted: bool) -> Self {
        // Draws to stderr, and only if that is a terminal.
        let target =
            if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} at {per_sec}  {msg}");
        let bar = ProgressBar::with_draw_target(Some(events), target);
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            most_in_flight: 0,
        }
    }

    pub(crate) fn show(&mut self, progress: &Progress, members: &Members) {
        if self.bar.is_hidden() {
            return;
        }
        let snapshots = members.snapshots();
        let partitions = || snapshots.iter().flat_map(|snapshot| &snapshot.partitions);
        let most = partitions().map(|partition| partition.in_flight_max).max().unwrap_or(0);
        self.most_in_flight = self.most_in_flight.max(most);
        let lanes: usize = snapshots.iter().map(|snapshot| snapshot.lanes.len()).sum();
        let busy: u64 = partitions().map(|partition| partition.busy_slots).sum();
        let (done, lag) = (members.done(), progress.acknowledged().saturating_sub(members.done()));
        self.bar.set_position(done);
        self.bar.set_message(format!(
            "lag {lag}  latency {} ms  members {}  lanes {lanes}  slots {busy}  in flight in one partition: at most {}",
            snapshots.iter().map(Snapshot::latency_millis).max().unwrap_or(0),
            snapshots.len(),
            self.most_in_flight
        ));
    }

    /// Where a run with kills stands.
    pub(crate) fn show_kills(&self, progress: &Progress, marked: u64, members: usize, kills: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(progress.acknowledged());
        self.bar.set_message(format!("marked {marked}  members {members}  killed {kills}"));
    }
}

impl Drop for Live {
    /// Removes the line, however the run ended.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
