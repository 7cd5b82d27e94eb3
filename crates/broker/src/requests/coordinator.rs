//! The group coordinator: FindCoordinator, ConsumerGroupHeartbeat, OffsetCommit, OffsetFetch.

mod heartbeat;
mod offset_commit;
mod offset_fetch;

use onrush_runtime::Instant;
use onrush_wire::message::find_coordinator::response::Coordinator;
use onrush_wire::message::find_coordinator::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::{Core, string};

/// Most groups, with and without members.
const MAX_GROUPS: usize = 10_000;

/// Longest id of a group: what the older encoding of strings can carry.
const MAX_GROUP_ID: usize = i16::MAX as usize;

/// The first version that asks for several coordinators.
const SEVERAL: i16 = 4;

/// The kind of coordinator that this broker is.
const GROUP: i8 = 0;

impl Core {
    pub(crate) fn find_coordinator(&self, version: i16, request: Request) -> Response {
        let found = if request.key_type == GROUP {
            ErrorCode::NONE
        } else {
            tracing::warn!(
                request.key_type,
                "a client asked for a coordinator of transactions or share groups"
            );
            ErrorCode::INVALID_REQUEST
        };
        if version >= SEVERAL {
            let coordinators = request
                .coordinator_keys
                .into_iter()
                .map(|key| self.coordinator(key, found))
                .collect();
            return Response { coordinators, ..Response::default() };
        }
        let Coordinator { node_id, host, port, error_code, error_message, .. } =
            self.coordinator(request.key, found);
        Response { node_id, host, port, error_code, error_message, ..Response::default() }
    }

    fn coordinator(&self, key: KafkaString, error: ErrorCode) -> Coordinator {
        if !error.is_ok() {
            return Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: error.0,
                error_message: Some(string("only consumer groups are served")),
                ..Coordinator::default()
            };
        }
        let (host, port) = self.endpoint.clone();
        Coordinator {
            key,
            node_id: self.config.node_id,
            host: host.into(),
            port,
            ..Coordinator::default()
        }
    }

    /// Whether a group of that name is there or may come.
    fn check_group(&self, group: &str) -> Result<(), ErrorCode> {
        if group.is_empty() || group.len() > MAX_GROUP_ID {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if !self.offsets.knows(group) && self.offsets.count() >= MAX_GROUPS {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        Ok(())
    }

    /// Puts members out whose time is over.
    fn expire_members(&mut self, now: Instant, group: &str) {
        let Some(group_state) = self.groups.get_mut(group) else { return };
        for (member, reason) in group_state.expire(now) {
            tracing::info!(group, member, reason, "a member is out of the group");
        }
    }
}
