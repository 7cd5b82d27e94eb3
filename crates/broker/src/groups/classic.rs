//! Consumer groups of the older protocol, which other people's clients speak: members agree on an
//! assignment by themselves, and the broker only keeps them in step.
//!
//! ```text
//!   Empty ──▶ PreparingRebalance    somebody joins; a new group waits a while for more
//!   PreparingRebalance              who was in the group is told by its heartbeats to join again;
//!                                   JoinGroup is answered when all did, or their time is over
//!     ──▶ CompletingRebalance       the next generation: its leader is told of all members and
//!                                   computes who gets what; SyncGroup is answered when it did
//!     ──▶ Empty                     nobody is left
//!   CompletingRebalance ──▶ Stable  the leader's SyncGroup brought the assignments
//!   CompletingRebalance, Stable ──▶ PreparingRebalance
//!                                   somebody joins, leaves, is silent for its session, changes what it
//!                                   supports, or does not sync in time
//! ```
//!
//! A member that has no id yet is given one and must join again with it, so that a client that
//! gives up leaves nothing behind but a *pending* id. A *static* member is known by the id of its
//! instance: a new process takes the place of the one before, and its assignment, without a
//! rebalance.
//!
//! Nothing here waits. Who cannot be answered yet is noted with its connection, and what becomes
//! known is put into a list of answers that the keeper of the group hands out after every step, once
//! what must survive is stored. Time-outs are looked at whenever the group is asked anything; a
//! request that waits carries the next of them, so none is missed while somebody could see it.

mod join;
mod member;
mod rebalance;
mod stored;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use onrush_runtime::Instant;
use onrush_wire::ErrorCode;

pub(crate) use self::join::{Joining, Limits};
pub(crate) use self::member::{Member, Protocol};
use self::rebalance::JoinTimer;
pub(crate) use self::stored::GROUP_ENTRY;
pub(crate) use self::sync::{Leaving, Syncing};
use crate::groups::MEMBER_WEIGHT;
use crate::parked::ConnectionId;

/// The type of protocol that consumers name.
pub(crate) const CONSUMER: &str = "consumer";

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What a member is told that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, ErrorCode>),
}

/// The generation that a member is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member_id: String,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: String,
    /// Whether the leader must leave the assignments as they are.
    pub(crate) skip_assignment: bool,
    /// For the leader: who takes part.
    pub(crate) members: Vec<Participant>,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Participant {
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Bytes,
}

/// Why somebody is not in the group, and under which id to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinRefused {
    pub(crate) member_id: String,
    pub(crate) error: ErrorCode,
}

/// What the leader assigned to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignment: Bytes,
}

/// A group of the classic protocol.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    state: State,
    generation: i32,
    protocol_type: Option<String>,
    /// The protocol of this generation.
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Member ids by instance.
    instances: BTreeMap<String, String>,
    /// Ids that were given away, and until when they are waited for.
    pending: BTreeMap<String, Instant>,
    /// Members of this generation that did not send their SyncGroup yet.
    unsynced: BTreeSet<String>,
    join_timer: Option<JoinTimer>,
    sync_deadline: Option<Instant>,
    answers: Vec<(ConnectionId, Answer)>,
    /// Whether what must survive has changed.
    unstored: bool,
    /// The time-out that one of the requests that wait carries.
    armed: Option<(Instant, ConnectionId)>,
}

impl ClassicGroup {
    /// A group without members whose next generation is above `generation`.
    pub(crate) fn new(generation: i32) -> Self {
        Self {
            state: State::Empty,
            generation,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            join_timer: None,
            sync_deadline: None,
            answers: Vec::new(),
            unstored: false,
            armed: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub(crate) fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or_default()
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Bytes that the group keeps for its members, and for those who may become some.
    pub(crate) fn weight(&self) -> usize {
        let members = self.members.values().map(Member::held).sum::<usize>();
        members + self.pending.len() * MEMBER_WEIGHT
    }

    /// Whether nobody is in the group.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether nobody is in the group and nobody was told how to join.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.pending.is_empty()
    }

    /// Whether what must survive has changed.
    pub(crate) fn is_unstored(&self) -> bool {
        self.unstored
    }

    /// Whether what must survive has changed since the last call.
    pub(crate) fn take_unstored(&mut self) -> bool {
        std::mem::take(&mut self.unstored)
    }

    /// What became known since the last call, with the connections that wait for it.
    pub(crate) fn take_answers(&mut self) -> Vec<(ConnectionId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// The topics that the members of a stable or completing generation want; `None` if that is not
    /// known.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type() != CONSUMER {
            return None;
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription(member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Whether a member may be what it says that it is.
    fn validate(&self, member_id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(holder) if holder != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Takes a member out and answers what it waits for.
    fn remove(&mut self, member_id: &str) {
        self.pending.remove(member_id);
        self.unsynced.remove(member_id);
        let Some(member) = self.members.remove(member_id) else { return };
        self.refuse_waiting(&member, "", ErrorCode::UNKNOWN_MEMBER_ID);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn refuse_waiting(&mut self, member: &Member, member_id: &str, error: ErrorCode) {
        if let Some(connection) = member.awaiting_join {
            self.answers.push((connection, refused(member_id, error)));
        }
        if let Some(connection) = member.awaiting_sync {
            self.answers.push((connection, Answer::Sync(Err(error))));
        }
    }
}

fn refused(member_id: &str, error: ErrorCode) -> Answer {
    Answer::Join(Err(JoinRefused { member_id: member_id.to_owned(), error }))
}

/// The topics of a consumer's subscription: of every version, the beginning is a version and a list
/// of names.
fn subscription(mut metadata: &[u8]) -> Option<BTreeSet<String>> {
    let _version = metadata.try_get_i16().ok()?;
    let count = metadata.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        let name = metadata.split_off(..length)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
    }
    Some(topics)
}
