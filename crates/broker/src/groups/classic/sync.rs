//! What members do within a generation: SyncGroup, Heartbeat, LeaveGroup, commits.

use std::collections::BTreeMap;

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::ErrorCode;

use super::{Answer, ClassicGroup, Limits, State, Synced};
use crate::parked::ConnectionId;

/// A SyncGroup.
#[derive(Clone, Debug)]
pub(crate) struct Syncing {
    pub(crate) connection: ConnectionId,
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// By member id; from the leader only.
    pub(crate) assignments: BTreeMap<String, Bytes>,
}

/// Who leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving<'a> {
    /// Empty: whoever holds the instance.
    pub(crate) member_id: &'a str,
    pub(crate) instance: Option<&'a str>,
}

impl ClassicGroup {
    /// Takes a SyncGroup; it is answered through [`take_answers`](Self::take_answers).
    pub(crate) fn sync(&mut self, now: Instant, syncing: Syncing) {
        let connection = syncing.connection;
        if let Err(error) = self.try_sync(now, syncing) {
            self.answers.push((connection, Answer::Sync(Err(error))));
        }
    }

    fn try_sync(&mut self, now: Instant, syncing: Syncing) -> Result<(), ErrorCode> {
        self.validate_generation(
            &syncing.member_id,
            syncing.instance.as_deref(),
            syncing.generation,
        )?;
        if differ(&syncing.protocol_type, &self.protocol_type)
            || differ(&syncing.protocol, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.state {
            State::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance | State::Stable => {}
        }
        self.unsynced.remove(&syncing.member_id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
        let Some(member) = self.members.get_mut(&syncing.member_id) else {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        if let Some(before) = member.awaiting_sync.replace(syncing.connection) {
            // The client sent it again on another connection.
            let error = ErrorCode::REBALANCE_IN_PROGRESS;
            self.answers.push((before, Answer::Sync(Err(error))));
        }
        if self.state == State::Stable {
            self.answer_sync(now, &syncing.member_id, Ok(()));
        } else if self.is_leader(&syncing.member_id) {
            self.assign(now, syncing.assignments);
        }
        Ok(())
    }

    /// Gives every member what the leader assigned to it.
    fn assign(&mut self, now: Instant, mut assignments: BTreeMap<String, Bytes>) {
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.state = State::Stable;
        self.unstored = true;
        self.propagate(now, Ok(()));
    }

    /// Answers all who wait for their assignment.
    pub(super) fn propagate(&mut self, now: Instant, outcome: Result<(), ErrorCode>) {
        if outcome.is_err() {
            self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
        }
        let waiting = self.members.iter().filter(|(_, member)| member.awaiting_sync.is_some());
        let waiting: Vec<String> = waiting.map(|(id, _)| id.clone()).collect();
        waiting.iter().for_each(|id| self.answer_sync(now, id, outcome));
    }

    fn answer_sync(&mut self, now: Instant, member_id: &str, outcome: Result<(), ErrorCode>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let Some(connection) = member.awaiting_sync.take() else { return };
        member.touch(now);
        let synced = outcome.map(|()| Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.clone(),
        });
        self.answers.push((connection, Answer::Sync(synced)));
    }

    fn validate_generation(
        &self,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.validate(member_id, instance)?;
        match generation == self.generation {
            true => Ok(()),
            false => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    /// Takes a member's sign of life.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.validate_generation(member_id, instance, generation)?;
        self.touch(now, member_id);
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Whether a commit may come from this member; if so, it is a sign of life, too.
    pub(crate) fn validate_commit(
        &mut self,
        now: Instant,
        member_id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.validate_generation(member_id, instance, generation)?;
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.touch(now, member_id);
        Ok(())
    }

    fn touch(&mut self, now: Instant, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
    }

    /// Takes members out that say so, or of which an admin says so.
    pub(crate) fn leave(
        &mut self,
        now: Instant,
        limits: Limits,
        leaving: &[Leaving<'_>],
    ) -> Vec<Result<(), ErrorCode>> {
        let left: Vec<_> = leaving.iter().map(|leaving| self.leave_one(*leaving)).collect();
        if left.iter().any(Result::is_ok) {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(now, limits),
                State::PreparingRebalance => self.complete_join_if_all_joined(now),
                State::Empty => {}
            }
        }
        left
    }

    fn leave_one(&mut self, leaving: Leaving<'_>) -> Result<(), ErrorCode> {
        let Leaving { member_id, instance } = leaving;
        if member_id.is_empty() {
            let holder = instance.and_then(|instance| self.instances.get(instance)).cloned();
            self.remove(&holder.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?);
            return Ok(());
        }
        if !self.pending.contains_key(member_id) {
            self.validate(member_id, instance)?;
        }
        self.remove(member_id);
        Ok(())
    }
}

/// Whether both are given and differ.
fn differ(one: &Option<String>, other: &Option<String>) -> bool {
    one.is_some() && other.is_some() && one != other
}
