//! JoinGroup: who is let in, under which id, and whether that needs a rebalance.

use std::time::Duration;

use onrush_runtime::Instant;
use onrush_wire::ErrorCode;

use super::member::weight;
use super::{
    Answer, ClassicGroup, JoinRefused, JoinTimer, Joined, Member, Protocol, State, refused,
};
use crate::groups::Client;
use crate::parked::ConnectionId;

/// How long a new member is kept whose JoinGroup waits.
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

/// Most bytes that one member gives its leader to know.
pub(super) const MAX_MEMBER_WEIGHT: usize = 1024 * 1024;

/// Most protocols that one member supports: what all support is looked for among those of all.
pub(super) const MAX_PROTOCOLS: usize = 32;

/// Most bytes that all members give: they go to the leader in one response.
pub(super) const MAX_GROUP_WEIGHT: usize = 8 * 1024 * 1024;

/// Most ids of a group that were given away and not used yet.
const MAX_PENDING: usize = crate::MAX_GROUP_SIZE;

/// Somebody who wants to be in the group.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) connection: ConnectionId,
    /// Empty: it has none.
    pub(crate) member_id: String,
    /// Which it gets then.
    pub(crate) new_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<Protocol>,
    /// Whether it can be told its id by a refusal.
    pub(crate) can_be_pending: bool,
    /// Whether it can be told that it leads and that all assignments stand.
    pub(crate) can_skip_assignment: bool,
}

/// What is configured of groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_members: usize,
    /// How long an empty group waits for more members.
    pub(crate) initial_delay: Duration,
}

impl ClassicGroup {
    /// Lets somebody in, or refuses it; either is answered through
    /// [`take_answers`](Self::take_answers).
    pub(crate) fn join(&mut self, now: Instant, limits: Limits, joining: Joining) {
        let connection = joining.connection;
        if let Err(error) = self.check(limits, &joining) {
            let member_id = match error {
                ErrorCode::GROUP_MAX_SIZE_REACHED => "",
                _ => &joining.member_id,
            };
            return self.answers.push((connection, refused(member_id, error)));
        }
        let joined = match joining.member_id.is_empty() {
            true => self.join_unknown(now, limits, joining),
            false => self.join_known(now, limits, joining),
        };
        if let Err(refusal) = joined {
            self.answers.push((connection, Answer::Join(Err(refusal))));
        }
    }

    fn check(&mut self, limits: Limits, joining: &Joining) -> Result<(), ErrorCode> {
        if !self.has_room_for(limits, &joining.member_id) {
            self.remove(&joining.member_id);
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if joining.protocols.len() > MAX_PROTOCOLS {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if !self.supports(&joining.protocol_type, &joining.protocols) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let others = self.members.iter().filter(|(id, _)| **id != joining.member_id);
        let weight_of_others: usize = others.map(|(_, member)| member.weight()).sum();
        let own = weight(&joining.protocols);
        if own > MAX_MEMBER_WEIGHT || weight_of_others + own > MAX_GROUP_WEIGHT {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        Ok(())
    }

    fn has_room_for(&self, limits: Limits, member_id: &str) -> bool {
        if member_id.is_empty() && self.pending.len() >= MAX_PENDING {
            return false;
        }
        let member = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            // The last who join again are those above a limit that was lowered.
            State::PreparingRebalance => {
                let waiting = |member: &Member| member.awaiting_join.is_some();
                let count = self.members.values().filter(|member| waiting(member)).count();
                // Those who vanished are members for a session's time, too.
                let fits = member.is_some() || self.members.len() < crate::MAX_GROUP_SIZE;
                member.is_some_and(waiting) || (fits && count < limits.max_members)
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members.len() < limits.max_members
            }
        }
    }

    /// Whether some protocol is supported by all.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| {
            self.members.values().all(|member| member.supports(&protocol.name))
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    fn join_unknown(
        &mut self,
        now: Instant,
        limits: Limits,
        joining: Joining,
    ) -> Result<(), JoinRefused> {
        let holder = joining.instance.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(holder) = holder.cloned() {
            self.take_over(now, limits, &holder, joining);
            return Ok(());
        }
        if joining.instance.is_none() && joining.can_be_pending {
            let member_id = joining.new_id;
            self.pending.insert(member_id.clone(), now + joining.session_timeout);
            return Err(JoinRefused { member_id, error: ErrorCode::MEMBER_ID_REQUIRED });
        }
        let member_id = joining.new_id.clone();
        self.add(now, limits, member_id, false, joining);
        Ok(())
    }

    fn join_known(
        &mut self,
        now: Instant,
        limits: Limits,
        joining: Joining,
    ) -> Result<(), JoinRefused> {
        let member_id = joining.member_id.clone();
        let refusal = |error| JoinRefused { member_id: member_id.clone(), error };
        if joining.instance.is_none() && self.pending.contains_key(&member_id) {
            self.add(now, limits, member_id, true, joining);
            return Ok(());
        }
        self.validate(&member_id, joining.instance.as_deref()).map_err(refusal)?;
        let Some(member) = self.members.get_mut(&member_id) else {
            return Err(refusal(ErrorCode::UNKNOWN_MEMBER_ID));
        };
        member.knows_its_id = true;
        let is_unchanged = member.protocols == joining.protocols;
        let goes_on = match self.state {
            State::Empty => return Err(refusal(ErrorCode::UNKNOWN_MEMBER_ID)),
            State::PreparingRebalance => false,
            // The answer to its last JoinGroup was lost.
            State::CompletingRebalance => is_unchanged,
            // The leader joins again when what it assigns has changed, such as a topic's partitions.
            State::Stable => is_unchanged && !self.is_leader(&member_id),
        };
        if goes_on {
            let answer = Answer::Join(Ok(self.generation_for(&member_id)));
            self.answers.push((joining.connection, answer));
        } else {
            self.update(&member_id, joining);
            self.rebalance_or_complete_join(now, limits);
        }
        Ok(())
    }

    fn add(
        &mut self,
        now: Instant,
        limits: Limits,
        member_id: String,
        knows_its_id: bool,
        joining: Joining,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(joining.protocol_type.clone());
        }
        if let Some(JoinTimer::Initial { extend, .. }) = &mut self.join_timer {
            *extend = true;
        }
        if let Some(instance) = &joining.instance {
            self.instances.insert(instance.clone(), member_id.clone());
        }
        self.pending.remove(&member_id);
        self.leader.get_or_insert_with(|| member_id.clone());
        let member = Member::new(joining, knows_its_id, now + NEW_MEMBER_TIMEOUT);
        self.members.insert(member_id, member);
        self.rebalance_or_complete_join(now, limits);
    }

    /// Takes what a member that is there says in its new JoinGroup, which waits from now on.
    fn update(&mut self, member_id: &str, joining: Joining) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.protocols = joining.protocols;
        member.session_timeout = joining.session_timeout;
        member.rebalance_timeout = joining.rebalance_timeout;
        if let Some(before) = member.awaiting_join.replace(joining.connection) {
            // The client sent it again on another connection.
            self.answers.push((before, refused(member_id, ErrorCode::REBALANCE_IN_PROGRESS)));
        }
    }

    /// A new process of a static member takes the place of the one before.
    fn take_over(&mut self, now: Instant, limits: Limits, holder: &str, joining: Joining) {
        let Some(mut member) = self.members.remove(holder) else { return };
        self.refuse_waiting(&member, holder, ErrorCode::FENCED_INSTANCE_ID);
        let member_id = joining.new_id.clone();
        member.awaiting_join = None;
        member.awaiting_sync = None;
        member.is_new = false;
        member.client.clone_from(&joining.client);
        member.touch(now);
        self.members.insert(member_id.clone(), member);
        if let Some(instance) = &joining.instance {
            self.instances.insert(instance.clone(), member_id.clone());
        }
        if self.unsynced.remove(holder) {
            self.unsynced.insert(member_id.clone());
        }
        let leader_before = self.leader.clone().unwrap_or_default();
        if self.is_leader(holder) {
            self.leader = Some(member_id.clone());
        }
        let can_skip_assignment = joining.can_skip_assignment;
        self.update(&member_id, joining);
        match self.state {
            State::Stable if self.selected_protocol() == self.protocol => {
                let mut joined = self.generation_for(&member_id);
                if can_skip_assignment {
                    joined.skip_assignment = self.is_leader(&member_id);
                } else {
                    // It must not think that it leads, or it would assign anew.
                    joined.leader = leader_before;
                    joined.members.clear();
                }
                self.unstored = true;
                self.answer_join(now, &member_id, Ok(joined));
            }
            // The leader may assign to the id that is gone.
            State::CompletingRebalance => self.prepare_rebalance(now, limits),
            State::Stable => self.rebalance_or_complete_join(now, limits),
            State::Empty | State::PreparingRebalance => self.complete_join_if_all_joined(now),
        }
    }

    /// What a member is told of this generation.
    pub(super) fn generation_for(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let participant = |(id, member): (&String, &Member)| super::Participant {
            member_id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.shared_metadata(protocol).cloned().unwrap_or_default(),
        };
        let members = match self.is_leader(member_id) {
            true => self.members.iter().map(participant).collect(),
            false => Vec::new(),
        };
        Joined {
            member_id: member_id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members,
        }
    }

    pub(super) fn answer_join(
        &mut self,
        now: Instant,
        member_id: &str,
        answer: Result<Joined, JoinRefused>,
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.touch(now);
        member.is_new = false;
        member.knows_its_id = true;
        if let Some(connection) = member.awaiting_join.take() {
            self.answers.push((connection, Answer::Join(answer)));
        }
    }
}
