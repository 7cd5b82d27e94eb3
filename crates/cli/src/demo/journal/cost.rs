//! What the proof costs a handler call: the check of the fields that the computation does not read, and the entry.
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use super::super::event::{Templates, decode};
use super::super::flights::Flights;
use super::super::replay::Replay;
use super::{Holding, JournalError, Journals};

/// Events that are journaled over and over, few enough to stay in the cache as a fetched batch does.
const EVENTS: u64 = 512;

/// How often.
const ROUNDS: u64 = 1_024;

/// Nanoseconds per event, by a clock of the caller's (CPU time of this thread, if it has one), on a journal in a new folder of
/// its own below `folder`, which is removed.
pub(crate) fn measure_cost(
    folder: &Path,
    flights: &Flights,
    templates: &mut Templates,
    now: impl Fn() -> Duration,
) -> Result<f64, JournalError> {
    let folder = folder.join("cost");
    let journals = Journals::new(&folder, EVENTS * ROUNDS)?;
    let holding = Holding { partition: 0, member: "cost", epoch: 0, start_offset: 0 };
    let journal = journals.assignment(&holding)?;
    let values: Vec<Vec<u8>> = Replay::new(flights, EVENTS, 1, |_| 0)
        .map(|planned| templates.stamp(&planned).to_vec())
        .collect();
    let events: Vec<_> = values.iter().filter_map(|value| decode(value).ok()).collect();
    let start = now();
    for _ in 0..ROUNDS {
        for event in black_box(&events) {
            if let Ok(entry) = event.entry() {
                journal.append(entry)?;
            }
        }
    }
    let elapsed = now().saturating_sub(start);
    drop(journal);
    std::fs::remove_dir_all(&folder).map_err(JournalError::io(&folder, "remove the folder"))?;
    Ok(elapsed.as_nanos() as f64 / (EVENTS * ROUNDS) as f64)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::super::flights::loaded;
    use super::*;

    #[test]
    fn the_cost_is_the_elapsed_time_per_event_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let seconds = Cell::new(0);
        let now = || {
            seconds.set(seconds.get() + 1);
            Duration::from_secs(seconds.get())
        };
        let flights = loaded();
        let cost = measure_cost(folder.path(), flights, &mut Templates::new(flights), now);
        assert_eq!(cost.expect("measured"), 1e9 / (512.0 * 1024.0));
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }
}
