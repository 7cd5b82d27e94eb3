//! One member of a classic group.

use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::Instant;

use super::Joining;
use crate::groups::{Client, MEMBER_WEIGHT};
use crate::parked::ConnectionId;

/// A way to assign that a member supports, with what the leader must know about the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// The first is liked best.
    pub(super) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// The connection whose JoinGroup waits.
    pub(super) awaiting_join: Option<ConnectionId>,
    /// The connection whose SyncGroup waits.
    pub(super) awaiting_sync: Option<ConnectionId>,
    /// Whether it was never part of a generation. Then a JoinGroup that waits does not keep its
    /// session alive: the client may have given up, and would come back as another member.
    pub(super) is_new: bool,
    /// Whether the client was told its id.
    pub(super) knows_its_id: bool,
    pub(super) session_deadline: Instant,
}

impl Member {
    pub(super) fn new(joining: Joining, knows_its_id: bool, session_deadline: Instant) -> Self {
        Self {
            instance: joining.instance,
            client: joining.client,
            session_timeout: joining.session_timeout,
            rebalance_timeout: joining.rebalance_timeout,
            protocols: joining.protocols,
            assignment: Bytes::new(),
            awaiting_join: Some(joining.connection),
            awaiting_sync: None,
            is_new: true,
            knows_its_id,
            session_deadline,
        }
    }

    /// What it wants its leader to know under a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> &[u8] {
        self.shared_metadata(protocol).map_or(&[], |metadata| metadata)
    }

    pub(super) fn shared_metadata(&self, protocol: &str) -> Option<&Bytes> {
        let supported = self.protocols.iter().find(|supported| supported.name == protocol);
        supported.map(|supported| &supported.metadata)
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.shared_metadata(protocol).is_some()
    }

    /// When its session is over; `None` while a request of it waits that keeps it alive.
    pub(super) fn session_end(&self) -> Option<Instant> {
        let waits = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        (self.is_new || !waits).then_some(self.session_deadline)
    }

    /// Starts its session anew.
    pub(super) fn touch(&mut self, now: Instant) {
        self.session_deadline = now + self.session_timeout;
    }

    /// Bytes that the group keeps for it.
    pub(super) fn held(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, String::len);
        let protocols = self.weight() + self.protocols.len() * size_of::<Protocol>();
        MEMBER_WEIGHT + self.client.weight() + instance + protocols + self.assignment.len()
    }

    /// Bytes that it shows to its leader.
    pub(super) fn weight(&self) -> usize {
        weight(&self.protocols)
    }
}

/// Bytes of what a member supports.
pub(super) fn weight(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}
