//! SyncGroup and Heartbeat.

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::message::sync_group::Request;
use onrush_wire::message::{decode_request, heartbeat};
use onrush_wire::{ErrorCode, KafkaString, WireError};

use super::waiting::reply;
use crate::core::{Core, Envelope, Outcome, tolerant};
use crate::groups::Group;
use crate::groups::classic::{Answer, ClassicGroup, Syncing};
use crate::parked::{ConnectionId, ParkedMember};

/// The first version that names the protocol of the generation.
const PROTOCOL_NAMED: i16 = 5;

impl Core {
    pub(crate) fn sync_group(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let Envelope { version, correlation_id, .. } = envelope;
        let request: Request = tolerant(body, |body| decode_request(version, body))?;
        let id = request.group_id.clone();
        let is_named = request.protocol_type.is_some() && request.protocol_name.is_some();
        if version >= PROTOCOL_NAMED && !is_named {
            let answer = Answer::Sync(Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
            return reply(correlation_id, version, answer);
        }
        let assigned = request.assignments.iter().map(|assigned| assigned.assignment.len()).sum();
        let room = if assigned == 0 { Ok(()) } else { self.check_members(assigned) };
        match room.and_then(|()| self.classic_group(now, id.as_str())) {
            Ok(group) => {
                group.sync(now, syncing(connection, request));
                let group = id.as_str().into();
                let member = ParkedMember { correlation_id, version, group, answer: None };
                self.await_answer(now, connection, member)
            }
            Err(error) => reply(correlation_id, version, Answer::Sync(Err(error))),
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        request: heartbeat::Request,
    ) -> heartbeat::Response {
        let member_id = request.member_id.as_str();
        let instance = request.group_instance_id.as_ref().map(KafkaString::as_str);
        let alive = self
            .classic_group(now, request.group_id.as_str())
            .and_then(|group| group.heartbeat(now, member_id, instance, request.generation_id));
        let error_code = alive.err().unwrap_or(ErrorCode::NONE).0;
        heartbeat::Response { error_code, ..heartbeat::Response::default() }
    }

    /// The classic group that somebody says to be a member of.
    pub(super) fn classic_group(
        &mut self,
        now: Instant,
        id: &str,
    ) -> Result<&mut ClassicGroup, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.expire_members(now, id);
        match self.groups.get_mut(id) {
            Some(Group::Classic(group)) => Ok(group),
            None | Some(Group::Consumer(_)) => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }
}

fn syncing(connection: ConnectionId, request: Request) -> Syncing {
    let text = |text: KafkaString| text.to_string();
    // A slice would keep the whole request in memory.
    let assignments = request.assignments.into_iter().map(|assigned| {
        (assigned.member_id.to_string(), Bytes::copy_from_slice(&assigned.assignment))
    });
    Syncing {
        connection,
        member_id: text(request.member_id),
        instance: request.group_instance_id.map(text),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(text),
        protocol: request.protocol_name.map(text),
        assignments: assignments.collect(),
    }
}
