//! Fetches that wait for bytes.
//!
//! A fetch that found less than it asked for is parked with the number of bytes that are missing.
//! Every append to one of its partitions counts them down; at zero its connection is woken. Nothing
//! is read again in between. A connection has one request at work at a time, so at most one fetch
//! of it is parked.

use std::collections::{BTreeMap, BTreeSet};

use onrush_wire::fetch::FetchRequest;

use crate::topics::Place;

/// Names a connection.
pub(crate) type ConnectionId = u64;

/// A fetch that waits.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    pub(crate) correlation_id: i32,
    pub(crate) version: i16,
    pub(crate) request: FetchRequest,
    pub(crate) places: Vec<Place>,
    pub(crate) missing: usize,
}

/// All fetches that wait.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    fetches: BTreeMap<ConnectionId, ParkedFetch>,
    waiting: BTreeMap<Place, BTreeSet<ConnectionId>>,
    woken: Vec<ConnectionId>,
}

impl Parked {
    pub(crate) fn park(&mut self, connection: ConnectionId, fetch: ParkedFetch) {
        for place in &fetch.places {
            self.waiting.entry(place.clone()).or_default().insert(connection);
        }
        self.fetches.insert(connection, fetch);
    }

    /// Counts appended bytes down for those that wait for them.
    pub(crate) fn appended(&mut self, place: &Place, bytes: usize) {
        for connection in self.waiting.get(place).into_iter().flatten() {
            let Some(fetch) = self.fetches.get_mut(connection).filter(|fetch| fetch.missing > 0)
            else {
                continue;
            };
            fetch.missing = fetch.missing.saturating_sub(bytes);
            if fetch.missing == 0 {
                self.woken.push(*connection);
            }
        }
    }

    /// The connections to wake since the last call.
    pub(crate) fn take_woken(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.woken)
    }

    /// Whether the fetch of a connection has what it waits for; a wake-up alone may be of one
    /// before it.
    pub(crate) fn is_filled(&self, connection: ConnectionId) -> bool {
        self.fetches.get(&connection).is_none_or(|fetch| fetch.missing == 0)
    }

    /// Ends the waiting of a connection's fetch.
    pub(crate) fn take(&mut self, connection: ConnectionId) -> Option<ParkedFetch> {
        let fetch = self.fetches.remove(&connection)?;
        for place in &fetch.places {
            if let Some(waiting) = self.waiting.get_mut(place) {
                waiting.remove(&connection);
                if waiting.is_empty() {
                    self.waiting.remove(place);
                }
            }
        }
        Some(fetch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        Place { topic: "t".into(), partition }
    }

    fn fetch(missing: usize) -> ParkedFetch {
        ParkedFetch {
            correlation_id: 1,
            version: 12,
            request: FetchRequest::default(),
            places: vec![place(0), place(1)],
            missing,
        }
    }

    #[test]
    fn a_fetch_is_woken_once_by_the_append_that_fills_it() {
        let mut parked = Parked::default();
        parked.park(7, fetch(100));
        parked.appended(&place(0), 60);
        parked.appended(&place(2), 60);
        assert!(parked.take_woken().is_empty() && !parked.is_filled(7));
        parked.appended(&place(1), 40);
        parked.appended(&place(1), 40);
        assert_eq!(parked.take_woken(), [7]);
        assert!(parked.is_filled(7));
        assert!(parked.take(7).is_some() && parked.take(7).is_none());
        assert!(parked.waiting.is_empty());
    }
}
