//! JoinGroup and SyncGroup that wait for other members.
//!
//! Each is parked before its group hands out answers, so that its own answer reaches it the same way
//! as one that comes later. What it waits with is the next time-out of the group.

use std::time::Duration;

use onrush_runtime::{Fault, Instant};
use onrush_wire::WireError;
use onrush_wire::message::join_group::response::JoinGroupResponseMember;
use onrush_wire::message::{encode_response, join_group, sync_group};

use crate::core::{Core, Outcome, string};
use crate::groups::Group;
use crate::groups::classic::{Answer, JoinRefused, Joined, Limits, Participant};
use crate::parked::{ConnectionId, ParkedMember, Waiting};

/// When to look again if a group has no time-out to come.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The generation of those who are in none.
const NO_GENERATION: i32 = -1;

impl Core {
    /// What is configured of classic groups.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_members: self.config.group_max_size.min(crate::MAX_GROUP_SIZE),
            initial_delay: self.config.group_initial_rebalance_delay,
        }
    }

    /// Answers the request of a member, or parks it.
    pub(super) fn await_answer(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        member: ParkedMember,
    ) -> Result<Outcome, WireError> {
        let group = member.group.clone();
        self.parked.park(connection, Waiting::Group(member));
        self.publish(now, &group);
        let Some(Waiting::Group(mut member)) = self.parked.take(connection) else {
            return Ok(Outcome::Silent);
        };
        if let Some(answer) = member.answer.take() {
            return reply(member.correlation_id, member.version, answer);
        }
        let deadline = match self.groups.get_mut(&group) {
            Some(Group::Classic(group)) => group.arm(connection),
            None | Some(Group::Consumer(_)) => None,
        };
        self.parked.park(connection, Waiting::Group(member));
        Ok(Outcome::Parked(deadline.unwrap_or(now + LOOK_AGAIN)))
    }

    /// Goes on with the request of a member that was answered, or whose group has a time-out.
    pub(crate) fn resume_member(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        member: ParkedMember,
    ) -> Result<Outcome, WireError> {
        let limits = self.limits();
        if let (None, Some(Group::Classic(group))) =
            (&member.answer, self.groups.get_mut(&member.group))
        {
            // Parked again first: its answer may be among what the time-out brings.
            group.advance(now, limits);
        }
        self.await_answer(now, connection, member)
    }

    /// Takes note that the client of a request is gone that waited.
    pub(crate) fn abandon_member(&mut self, now: Instant, connection: ConnectionId, id: &str) {
        let limits = self.limits();
        if let Some(Group::Classic(group)) = self.groups.get_mut(id) {
            group.abandon(now, limits, connection);
        }
        self.publish(now, id);
    }

    /// Stores what changed of a classic group, then hands out what became known, and sees to it that
    /// one of the requests that wait carries the next time-out.
    pub(super) fn publish(&mut self, now: Instant, id: &str) {
        let limits = self.limits();
        let Some(Group::Classic(group)) = self.groups.get_mut(id) else { return };
        let is_next = group.take_unstored();
        if is_next {
            let (generation, members) = (group.generation(), group.members().len());
            tracing::info!(group = id, generation, members, "a group reached a generation");
        }
        if is_next && let Err(error) = self.store(id) {
            tracing::error!(group = id, code = %Fault::BrokerStorage, %error, "cannot store a group");
            if let Some(Group::Classic(group)) = self.groups.get_mut(id) {
                group.not_stored(now, limits);
            }
        }
        let Some(Group::Classic(group)) = self.groups.get_mut(id) else { return };
        for (connection, answer) in group.take_answers() {
            self.parked.answer(connection, answer);
        }
        if let Some(connection) = group.unarmed() {
            self.parked.make_ready(connection);
        }
    }
}

/// The answer on the wire.
pub(super) fn reply(
    correlation_id: i32,
    version: i16,
    answer: Answer,
) -> Result<Outcome, WireError> {
    let frame = match answer {
        Answer::Join(Ok(joined)) => encode_response(correlation_id, version, &part_of(joined)),
        Answer::Join(Err(refused)) => encode_response(correlation_id, version, &out_of(refused)),
        Answer::Sync(synced) => {
            let response = match synced {
                Ok(synced) => sync_group::Response {
                    protocol_type: synced.protocol_type.as_deref().map(string),
                    protocol_name: synced.protocol.as_deref().map(string),
                    assignment: synced.assignment,
                    ..sync_group::Response::default()
                },
                Err(error) => {
                    sync_group::Response { error_code: error.0, ..sync_group::Response::default() }
                }
            };
            encode_response(correlation_id, version, &response)
        }
    };
    Ok(Outcome::Reply(vec![frame?]))
}

fn part_of(joined: Joined) -> join_group::Response {
    let member = |member: Participant| JoinGroupResponseMember {
        member_id: member.member_id.into(),
        group_instance_id: member.instance.map(Into::into),
        metadata: member.metadata,
        ..JoinGroupResponseMember::default()
    };
    join_group::Response {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.map(Into::into),
        protocol_name: joined.protocol.map(Into::into),
        leader: joined.leader.into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.into(),
        members: joined.members.into_iter().map(member).collect(),
        ..join_group::Response::default()
    }
}

fn out_of(refused: JoinRefused) -> join_group::Response {
    join_group::Response {
        error_code: refused.error.0,
        generation_id: NO_GENERATION,
        member_id: refused.member_id.into(),
        ..join_group::Response::default()
    }
}
