//! The demo's handler: decodes a flight, counts it, and notes the call in the journal of the partition's assignment.

use std::sync::{Arc, Mutex, PoisonError};

use onrush_engine::{Assignment, Context, Event, Handler, HandlerError};

use super::event;
use super::journal::{Holding, Journal, Journals};
use super::tally::Tally;
use crate::stderr;

/// The handler of one lane.
pub(crate) struct FlightHandler {
    journals: Arc<Journals>,
    /// By partition: the journal of what this lane holds.
    open: Vec<Option<Arc<Journal>>>,
    /// The lane's own count; no lock, since a lane has a handler to itself.
    tally: Tally,
    total: Arc<Mutex<Tally>>,
}

impl FlightHandler {
    /// A handler whose count is added to `total` when it ends.
    pub(crate) fn new(journals: Arc<Journals>, total: Arc<Mutex<Tally>>) -> Self {
        Self { journals, open: Vec::new(), tally: Tally::new(), total }
    }
}

impl Drop for FlightHandler {
    fn drop(&mut self) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(&self.tally);
    }
}

impl Handler for FlightHandler {
    fn each(&mut self, event: &Event<'_>, _: &mut Context<'_>) -> Result<(), HandlerError> {
        let value = event.value.ok_or_else(|| HandlerError::msg("a flight without a value"))?;
        let journal =
            usize::try_from(event.partition).ok().and_then(|index| self.open.get(index)?.as_ref());
        let journal =
            journal.ok_or_else(|| HandlerError::msg("an event of a partition that is not held"))?;
        let flight = event::decode(value)?;
        journal.append(flight.entry()?)?;
        self.tally.count(flight.series()?, flight.delay);
        Ok(())
    }

    fn assigned(&mut self, assignment: &Assignment) {
        let Ok(index) = usize::try_from(assignment.partition) else { return };
        let holding = Holding {
            partition: assignment.partition,
            member: &assignment.member,
            epoch: assignment.epoch,
            start_offset: assignment.start,
        };
        if self.open.len() <= index {
            self.open.resize_with(index + 1, || None);
        }
        // A log that was cut is announced again under the same epoch: what follows is another assignment.
        self.open[index] = None;
        match self.journals.assignment(&holding) {
            Ok(journal) => self.open[index] = Some(journal),
            // Its events fail, go to the dead letters, and are lost to the proof: it cannot go unnoticed.
            Err(error) => stderr::note(format_args!(
                "no journal for partition {}: {error}",
                assignment.partition
            )),
        }
    }

    fn revoked(&mut self, assignment: &Assignment) {
        if let Some(open) =
            usize::try_from(assignment.partition).ok().and_then(|index| self.open.get_mut(index))
        {
            *open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::file::read_all;
    use super::*;

    #[test]
    fn a_log_that_was_cut_begins_a_journal_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let journals = Arc::new(Journals::new(folder.path(), 10).expect("journals"));
        let mut handler = FlightHandler::new(journals, Arc::new(Mutex::new(Tally::new())));
        let held =
            Assignment { topic: "t".into(), partition: 0, epoch: 1, start: 9, member: "m".into() };
        handler.assigned(&held);
        handler.assigned(&Assignment { start: 4, ..held.clone() });
        handler.revoked(&held);
        let starts: Vec<_> = read_all(folder.path())
            .expect("own files")
            .iter()
            .map(|file| (file.header.assignment, file.header.start_offset))
            .collect();
        assert_eq!(starts, [(0, 9), (1, 4)]);
    }
}
