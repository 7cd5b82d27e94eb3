//! JoinGroup.

use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::message::decode_request;
use onrush_wire::message::join_group::Request;
use onrush_wire::{ErrorCode, KafkaString, WireError, uuid};

use super::consumer_group_heartbeat::MAX_MEMBER_ID;
use super::waiting::reply;
use crate::core::{Caller, Core, Envelope, Outcome, tolerant};
use crate::groups::Group;
use crate::groups::classic::{Answer, ClassicGroup, JoinRefused, Joining, Protocol};
use crate::parked::ParkedMember;

/// The first version with a rebalance time-out of its own.
const REBALANCE_TIMEOUT: i16 = 1;

/// The first version in which who has no member id is told one before it is let in.
const MEMBER_ID_REQUIRED: i16 = 4;

/// The first version that can say that the leader is not to assign.
const SKIP_ASSIGNMENT: i16 = 9;

/// Most of a client's id that becomes part of a member's.
const CLIENT_ID_IN_MEMBER_ID: usize = 255;

impl Core {
    pub(crate) fn join_group(
        &mut self,
        now: Instant,
        caller: Caller,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let Envelope { version, correlation_id, .. } = envelope;
        let request: Request = tolerant(body, |body| decode_request(version, body))?;
        let connection = caller.connection;
        let group = request.group_id.as_str().into();
        let member_id = request.member_id.to_string();
        match self.let_join(now, caller, version, request) {
            Ok(()) => {
                let member = ParkedMember { correlation_id, version, group, answer: None };
                self.await_answer(now, connection, member)
            }
            Err(error) => {
                tracing::info!(%group, member_id, %error, "refused a JoinGroup");
                let refused = JoinRefused { member_id, error };
                reply(correlation_id, version, Answer::Join(Err(refused)))
            }
        }
    }

    fn let_join(
        &mut self,
        now: Instant,
        caller: Caller,
        version: i16,
        request: Request,
    ) -> Result<(), ErrorCode> {
        let id = request.group_id.as_str();
        self.expire_members(now, id);
        self.check_group(now, id)?;
        let session_timeout = duration(request.session_timeout_ms);
        let allowed = self.config.group_min_session_timeout..=self.config.group_max_session_timeout;
        if !session_timeout.is_some_and(|timeout| allowed.contains(&timeout)) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        if longest_name(&request) > MAX_MEMBER_ID {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let protocols = request.protocols.iter();
        let protocols = protocols.map(|protocol| protocol.name.len() + protocol.metadata.len());
        self.check_members(protocols.sum())?;
        match self.groups.get(id) {
            Some(Group::Classic(_)) => {}
            Some(Group::Consumer(group)) if !group.is_empty() => {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
            None | Some(Group::Consumer(_)) if !request.member_id.is_empty() => {
                return Err(ErrorCode::UNKNOWN_MEMBER_ID);
            }
            None | Some(Group::Consumer(_)) => {
                let group = ClassicGroup::new(self.offsets.epoch(id));
                self.groups.insert(id.into(), Group::Classic(group));
            }
        }
        let limits = self.limits();
        let group_id = request.group_id.clone();
        let joining = self.joining(caller, version, request);
        if let Some(Group::Classic(group)) = self.groups.get_mut(group_id.as_str()) {
            group.join(now, limits, joining);
        }
        Ok(())
    }

    fn joining(&self, caller: Caller, version: i16, request: Request) -> Joining {
        let connection = caller.connection;
        let client = self.client(caller);
        let instance = request.group_instance_id.as_ref().map(KafkaString::to_string);
        let name = instance.as_deref().unwrap_or(&client.id);
        let name = &name[..name.floor_char_boundary(CLIENT_ID_IN_MEMBER_ID)];
        let new_id = format!("{name}-{}", uuid::from_random(self.random.uuid()));
        let session_timeout = duration(request.session_timeout_ms).unwrap_or_default();
        let rebalance_timeout = match version {
            REBALANCE_TIMEOUT.. => duration(request.rebalance_timeout_ms).unwrap_or_default(),
            _ => session_timeout,
        };
        let protocols = request.protocols.into_iter().map(|protocol| Protocol {
            name: protocol.name.to_string(),
            // A slice would keep the whole request in memory.
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        });
        Joining {
            connection,
            member_id: request.member_id.to_string(),
            new_id,
            instance,
            client,
            session_timeout,
            rebalance_timeout,
            protocol_type: request.protocol_type.to_string(),
            protocols: protocols.collect(),
            can_be_pending: version >= MEMBER_ID_REQUIRED,
            can_skip_assignment: version >= SKIP_ASSIGNMENT,
        }
    }
}

fn duration(millis: i32) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

fn longest_name(request: &Request) -> usize {
    let instance = request.group_instance_id.as_ref().map_or(0, |id| id.as_str().len());
    let member = request.member_id.as_str().len();
    let protocols = request.protocols.iter().map(|protocol| protocol.name.as_str().len());
    let protocol = protocols.max().unwrap_or(0);
    instance.max(member).max(request.protocol_type.as_str().len()).max(protocol)
}
