//! Requests that wait, with the connections that wait for them.
//!
//! A connection has one request at work at a time, so at most one of it is parked. It is resumed when
//! it is ready, or at the deadline that its [`Outcome`](crate::core::Outcome) named, whichever comes
//! first; resumed, it is answered or parked again.
//!
//! A fetch that found less than it asked for is parked with the number of bytes that are missing.
//! What readers newly see of one of its partitions counts them down; at zero it is ready. Nothing is
//! read again in between.
//!
//! A produce that must be synced before it is acknowledged is parked with its answer. Each sync settles the batches it covers;
//! those that a failed sync took back fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_wire::fetch::FetchRequest;
use onrush_wire::produce::{PartitionProduced, ProduceResponse};
use onrush_wire::{ErrorCode, WireError};

use crate::core::Outcome;
use crate::groups::classic::Answer;
use crate::topics::Place;

/// Names a connection.
pub(crate) type ConnectionId = u64;

/// A request that waits.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// For bytes.
    Fetch(ParkedFetch),
    /// For the disk.
    Produce(ParkedProduce),
    /// For the other members of a classic group.
    Group(ParkedMember),
}

/// A fetch that waits.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    pub(crate) correlation_id: i32,
    pub(crate) version: i16,
    pub(crate) request: FetchRequest,
    pub(crate) places: Vec<Place>,
    pub(crate) missing: usize,
}

/// A JoinGroup or SyncGroup that waits.
#[derive(Debug)]
pub(crate) struct ParkedMember {
    pub(crate) correlation_id: i32,
    pub(crate) version: i16,
    pub(crate) group: Arc<str>,
    /// What it is told, once that is known.
    pub(crate) answer: Option<Answer>,
}

/// A produce all of whose batches are written, and not all of them synced.
#[derive(Debug)]
pub(crate) struct ParkedProduce {
    pub(crate) correlation_id: i32,
    pub(crate) version: i16,
    /// Whether the client wants no answer.
    pub(crate) silent: bool,
    /// The answer if everything can be synced.
    pub(crate) response: ProduceResponse,
    pub(crate) pending: Vec<PendingBatch>,
}

/// A batch that is not synced.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    pub(crate) place: Place,
    /// Offset after its last record.
    pub(crate) end: i64,
    /// Its topic and partition in the answer.
    pub(crate) answer: (usize, usize),
}

impl ParkedProduce {
    /// Settles the batches of a log that is synced up to `synced` and written up to `written`.
    pub(crate) fn settle(&mut self, place: &Place, synced: i64, written: i64) {
        for batch in self.pending.extract_if(.., |batch| {
            batch.place == *place && (batch.end <= synced || batch.end > written)
        }) {
            if batch.end > synced {
                fail(&mut self.response, batch.answer, ErrorCode::KAFKA_STORAGE_ERROR);
            }
        }
    }

    /// The answer now.
    pub(crate) fn answer(mut self) -> Result<Outcome, WireError> {
        for batch in &self.pending {
            fail(&mut self.response, batch.answer, ErrorCode::REQUEST_TIMED_OUT);
        }
        if self.silent {
            return Ok(Outcome::Silent);
        }
        self.response
            .encode(self.correlation_id, self.version)
            .map(|frame| Outcome::Reply(vec![frame]))
    }
}

fn fail(response: &mut ProduceResponse, (topic, partition): (usize, usize), error: ErrorCode) {
    let topic = response.topics.get_mut(topic);
    if let Some(answer) = topic.and_then(|topic| topic.partitions.get_mut(partition)) {
        *answer = PartitionProduced::failed(answer.index, error);
    }
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    requests: BTreeMap<ConnectionId, Waiting>,
    /// Those of the requests that can be answered.
    ready: BTreeSet<ConnectionId>,
    /// Who fetches from where.
    readers: BTreeMap<Place, BTreeSet<ConnectionId>>,
    /// Who waits for the disk where.
    writers: BTreeMap<Place, BTreeSet<ConnectionId>>,
    woken: Vec<ConnectionId>,
}

impl Parked {
    pub(crate) fn park(&mut self, connection: ConnectionId, request: Waiting) {
        if let Waiting::Fetch(fetch) = &request {
            for place in &fetch.places {
                self.readers.entry(place.clone()).or_default().insert(connection);
            }
        }
        if let Waiting::Produce(produce) = &request {
            for batch in &produce.pending {
                self.writers.entry(batch.place.clone()).or_default().insert(connection);
            }
        }
        self.ready.remove(&connection);
        self.requests.insert(connection, request);
    }

    /// Counts new bytes down for the fetches that wait for them.
    pub(crate) fn appended(&mut self, place: &Place, bytes: usize) {
        for connection in self.readers.get(place).into_iter().flatten() {
            let Some(Waiting::Fetch(fetch)) = self.requests.get_mut(connection) else { continue };
            fetch.missing = fetch.missing.saturating_sub(bytes);
            if fetch.missing == 0 && self.ready.insert(*connection) {
                self.woken.push(*connection);
            }
        }
    }

    /// Settles the produces that wait for a log which is synced up to `synced` and written up to `written`.
    pub(crate) fn settle(&mut self, place: &Place, synced: i64, written: i64) {
        let Some(writers) = self.writers.get_mut(place) else { return };
        writers.retain(|connection| {
            let Some(Waiting::Produce(produce)) = self.requests.get_mut(connection) else {
                return false;
            };
            produce.settle(place, synced, written);
            if produce.pending.is_empty() && self.ready.insert(*connection) {
                self.woken.push(*connection);
            }
            produce.pending.iter().any(|batch| batch.place == *place)
        });
        if writers.is_empty() {
            self.writers.remove(place);
        }
    }

    /// Ends the waiting of the fetches from a log that is gone.
    pub(crate) fn gone(&mut self, place: &Place) {
        for connection in self.readers.get(place).cloned().into_iter().flatten() {
            self.make_ready(connection);
        }
    }

    /// Says what the member of a classic group is told that waits on a connection.
    pub(crate) fn answer(&mut self, connection: ConnectionId, answer: Answer) {
        if let Some(Waiting::Group(member)) = self.requests.get_mut(&connection) {
            member.answer = Some(answer);
            self.make_ready(connection);
        }
    }

    /// Says that the request of a connection, if one is parked, can be answered.
    pub(crate) fn make_ready(&mut self, connection: ConnectionId) {
        if self.requests.contains_key(&connection) && self.ready.insert(connection) {
            self.woken.push(connection);
        }
    }

    /// The connections to wake since the last call.
    pub(crate) fn take_woken(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.woken)
    }

    /// Whether the request of a connection has what it waits for; a wake-up alone may be of one
    /// before it.
    pub(crate) fn is_ready(&self, connection: ConnectionId) -> bool {
        self.ready.contains(&connection) || !self.requests.contains_key(&connection)
    }

    /// Ends the waiting of a connection's request.
    pub(crate) fn take(&mut self, connection: ConnectionId) -> Option<Waiting> {
        let request = self.requests.remove(&connection)?;
        self.ready.remove(&connection);
        if let Waiting::Fetch(fetch) = &request {
            forget(&mut self.readers, connection, fetch.places.iter());
        }
        if let Waiting::Produce(produce) = &request {
            let places = produce.pending.iter().map(|batch| &batch.place);
            forget(&mut self.writers, connection, places);
        }
        Some(request)
    }
}

fn forget<'a>(
    waiting: &mut BTreeMap<Place, BTreeSet<ConnectionId>>,
    connection: ConnectionId,
    places: impl Iterator<Item = &'a Place>,
) {
    for place in places {
        if let Some(connections) = waiting.get_mut(place) {
            connections.remove(&connection);
            if connections.is_empty() {
                waiting.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        Place { topic: "t".into(), partition }
    }

    fn fetch(missing: usize) -> Waiting {
        Waiting::Fetch(ParkedFetch {
            correlation_id: 1,
            version: 12,
            request: FetchRequest::default(),
            places: vec![place(0), place(1)],
            missing,
        })
    }

    #[test]
    fn a_fetch_is_woken_once_by_the_append_that_fills_it() {
        let mut parked = Parked::default();
        parked.park(7, fetch(100));
        parked.appended(&place(0), 60);
        parked.appended(&place(2), 60);
        assert!(parked.take_woken().is_empty() && !parked.is_ready(7));
        parked.appended(&place(1), 40);
        parked.appended(&place(1), 40);
        assert_eq!(parked.take_woken(), [7]);
        assert!(parked.is_ready(7));
        assert!(parked.take(7).is_some() && parked.take(7).is_none());
        assert!(parked.readers.is_empty());
    }

    #[test]
    fn one_that_was_made_ready_is_woken_once_and_one_that_is_not_there_never() {
        let mut parked = Parked::default();
        parked.make_ready(7);
        assert!(parked.take_woken().is_empty());
        parked.park(7, fetch(100));
        parked.make_ready(7);
        parked.make_ready(7);
        parked.appended(&place(0), 100);
        assert_eq!(parked.take_woken(), [7]);
        assert!(parked.is_ready(7));
        parked.park(7, fetch(100));
        assert!(!parked.is_ready(7));
    }
}
