//! The group coordinator: FindCoordinator here; membership of the two protocols, and offsets.

mod consumer_group_heartbeat;
mod delete_groups;
mod describe_groups;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_fetch;
mod sync_group;
mod waiting;

use std::sync::Arc;

use onrush_runtime::Instant;
use onrush_wire::message::find_coordinator::response::Coordinator;
use onrush_wire::message::find_coordinator::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString, Uuid};

use crate::core::{Caller, Core, string};
use crate::groups::consumer::Partitions;
use crate::groups::{Client, Group, MEMBER_WEIGHT};
use crate::requests::keep_first;

/// Most groups, with and without members.
const MAX_GROUPS: usize = 10_000;

/// Most bytes that all groups keep for their members. They are kept twice, once as they are stored.
const MAX_MEMBERS: usize = 128 * 1024 * 1024;

/// For how many groups room is made at a time.
const ROOM_MADE: usize = 100;

/// Longest id of a group: what the older encoding of strings can carry.
const MAX_GROUP_ID: usize = i16::MAX as usize;

/// The first version that asks for several coordinators.
const SEVERAL: i16 = 4;

/// The kind of coordinator that this broker is.
const GROUP: i8 = 0;

impl Core {
    pub(crate) fn find_coordinator(&self, version: i16, mut request: Request) -> Response {
        keep_first(&mut request.coordinator_keys, KafkaString::to_string);
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
    fn check_group(&mut self, now: Instant, group: &str) -> Result<(), ErrorCode> {
        if group.is_empty() || group.len() > MAX_GROUP_ID {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if self.groups.contains_key(group) || self.offsets.knows(group) {
            return Ok(());
        }
        self.forget_idle_groups(now);
        match self.groups.len().max(self.offsets.count()) < MAX_GROUPS {
            true => Ok(()),
            false => Err(ErrorCode::POLICY_VIOLATION),
        }
    }

    /// Whether members may take so many bytes more. What they take is summed up only when so much was asked for that it
    /// may not fit.
    fn check_members(&mut self, more: usize) -> Result<(), ErrorCode> {
        let more = more + MEMBER_WEIGHT;
        if more > self.members_room {
            let held = self.groups.values().map(Group::weight).sum::<usize>();
            self.members_room = MAX_MEMBERS.saturating_sub(held);
        }
        let left = self.members_room.checked_sub(more);
        self.members_room = left.ok_or(ErrorCode::GROUP_MAX_SIZE_REACHED)?;
        Ok(())
    }

    /// Makes room when there are too many groups: those go that nobody is in and that committed
    /// nothing. Clients that make up a name for every run leave one each time.
    fn forget_idle_groups(&mut self, now: Instant) {
        if self.groups.len().max(self.offsets.count()) < MAX_GROUPS {
            return;
        }
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            self.expire_members(now, &id);
            let idle = match self.groups.get(&id) {
                Some(Group::Classic(group)) => group.is_idle(),
                Some(Group::Consumer(group)) => group.is_empty(),
                None => false,
            };
            if idle && self.offsets.of_group(&id).next().is_none() {
                if self.delete_group(now, &id).is_err() {
                    // The next would not fare better.
                    return;
                }
                if self.groups.len().max(self.offsets.count()) <= MAX_GROUPS - ROOM_MADE {
                    return;
                }
            }
        }
    }

    /// Who sent a request.
    pub(crate) fn client(&self, caller: Caller) -> Client {
        // The form in which Kafka's tools show addresses.
        let host = self.hosts.get(&caller.connection).map(|host| format!("/{host}"));
        Client { id: caller.client_id, host: host.unwrap_or_default() }
    }

    /// Puts members out whose time is over.
    fn expire_members(&mut self, now: Instant, group: &str) {
        let limits = self.limits();
        match self.groups.get_mut(group) {
            None => {}
            Some(Group::Consumer(consumers)) => {
                for (member, reason) in consumers.expire(now) {
                    tracing::info!(group, member, reason, "a member is out of the group");
                }
            }
            Some(Group::Classic(classic)) => {
                classic.advance(now, limits);
                if classic.is_idle() && !classic.is_unstored() && !self.offsets.knows(group) {
                    self.groups.remove(group);
                } else {
                    self.publish(now, group);
                }
            }
        }
    }

    /// Stores a group. Nobody hears of what is not stored.
    fn store(&mut self, group: &str) -> std::io::Result<()> {
        let Some((id, group)) = self.groups.get_key_value(group) else { return Ok(()) };
        let (id, kind, epoch): (Arc<str>, _, _) = (id.clone(), group.kind(), group.epoch());
        match group {
            // In the order in which a crash between the two leaves something that is understood: a
            // generation without its members has none, a member of an epoch that never was is fenced.
            Group::Classic(group) => {
                self.members.store(&id, group.stored())?;
                self.offsets.reach_epoch(&id, epoch, kind)
            }
            Group::Consumer(group) => {
                self.offsets.reach_epoch(&id, epoch, kind)?;
                self.members.store(&id, group.stored())
            }
        }
    }
}

/// Partitions topic by topic.
fn by_topic(partitions: &Partitions) -> impl Iterator<Item = (Uuid, Vec<i32>)> {
    let mut topics: Vec<(Uuid, Vec<i32>)> = Vec::new();
    // In order, so those of one topic are side by side.
    for (topic, partition) in partitions {
        match topics.last_mut() {
            Some((last, partitions)) if last == topic => partitions.push(*partition),
            _ => topics.push((*topic, vec![*partition])),
        }
    }
    topics.into_iter()
}
