//! Requests that wait, with the connections that wait for them.
//!
//! A connection has one request at work at a time, so at most one of it is parked. It is resumed when
//! it is ready, or at the deadline that its [`Outcome`](crate::core::Outcome) named, whichever comes
//! first; resumed, it is answered or parked again.
//!
//! A fetch that found less than it asked for is parked with the number of bytes that are missing.
//! What readers newly see of one of its partitions counts them down; at zero it is ready. Nothing is
//! read again in between.

use std::collections::{BTreeMap, BTreeSet};

use onrush_wire::fetch::FetchRequest;

use crate::topics::Place;

/// Names a connection.
pub(crate) type ConnectionId = u64;

/// A request that waits.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// For bytes.
    Fetch(ParkedFetch),
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

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    requests: BTreeMap<ConnectionId, Waiting>,
    /// Those of the requests that can be answered.
    ready: BTreeSet<ConnectionId>,
    /// Who fetches from where.
    readers: BTreeMap<Place, BTreeSet<ConnectionId>>,
    woken: Vec<ConnectionId>,
}

impl Parked {
    pub(crate) fn park(&mut self, connection: ConnectionId, request: Waiting) {
        if let Waiting::Fetch(fetch) = &request {
            for place in &fetch.places {
                self.readers.entry(place.clone()).or_default().insert(connection);
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

    /// Says that the request of a connection, if one is parked, can be answered.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the requests that wait for others"))]
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
            self.forget_reader(connection, &fetch.places);
        }
        Some(request)
    }

    fn forget_reader(&mut self, connection: ConnectionId, places: &[Place]) {
        for place in places {
            if let Some(readers) = self.readers.get_mut(place) {
                readers.remove(&connection);
                if readers.is_empty() {
                    self.readers.remove(place);
                }
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
