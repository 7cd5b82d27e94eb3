//! DeleteGroups and OffsetDelete.

use std::collections::BTreeSet;

use onrush_runtime::{Fault, Instant};
use onrush_wire::message::delete_groups::response::DeletableGroupResult;
use onrush_wire::message::offset_delete::request::OffsetDeleteRequestTopic;
use onrush_wire::message::offset_delete::response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use onrush_wire::message::{delete_groups, offset_delete};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::groups::Group;
use crate::groups::classic::CONSUMER;
use crate::members::Stored;
use crate::requests::keep_first;
use crate::topics::{Place, TopicRef};

/// The topics that members of a group want.
enum Wanted {
    Topics(BTreeSet<String>),
    /// They are consumers whose subscriptions are not understood.
    Unknown,
}

impl Wanted {
    fn contains(&self, topic: &str) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(topic),
            Self::Unknown => true,
        }
    }
}

impl Core {
    pub(crate) fn delete_groups(
        &mut self,
        now: Instant,
        mut request: delete_groups::Request,
    ) -> delete_groups::Response {
        keep_first(&mut request.groups_names, KafkaString::to_string);
        let delete = |id: KafkaString| {
            let deleted = self.delete_group(now, id.as_str());
            DeletableGroupResult {
                group_id: id,
                error_code: deleted.err().unwrap_or(ErrorCode::NONE).0,
                ..DeletableGroupResult::default()
            }
        };
        let results = request.groups_names.into_iter().map(delete).collect();
        delete_groups::Response { results, ..delete_groups::Response::default() }
    }

    pub(super) fn delete_group(&mut self, now: Instant, id: &str) -> Result<(), ErrorCode> {
        self.expire_members(now, id);
        let is_empty = match self.groups.get(id) {
            Some(group) => group.is_empty(),
            None if self.offsets.knows(id) => true,
            None => return Err(ErrorCode::GROUP_ID_NOT_FOUND),
        };
        if !is_empty {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let forgotten = self.members.store(&id.into(), Stored::new());
        let forgotten = forgotten.and_then(|()| self.offsets.forget_group(id));
        forgotten.map_err(|error| {
            tracing::error!(group = id, code = %Fault::BrokerStorage, %error, "cannot delete a group");
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        })?;
        self.groups.remove(id);
        tracing::info!(group = id, "deleted a group");
        Ok(())
    }

    pub(crate) fn offset_delete(
        &mut self,
        now: Instant,
        request: offset_delete::Request,
    ) -> offset_delete::Response {
        let id = request.group_id.as_str();
        self.expire_members(now, id);
        let wanted = match self.wanted(id) {
            Ok(wanted) => wanted,
            Err(error) => {
                return offset_delete::Response {
                    error_code: error.0,
                    ..offset_delete::Response::default()
                };
            }
        };
        let mut places = Vec::new();
        let mut topics: Vec<OffsetDeleteResponseTopic> = request
            .topics
            .iter()
            .map(|topic| self.deletable(&wanted, topic, &mut places))
            .collect();
        if let Err(error) = self.offsets.delete(id, &places) {
            tracing::error!(group = id, code = %Fault::BrokerStorage, %error, "cannot delete committed offsets");
            let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            for partition in partitions.filter(|partition| partition.error_code == 0) {
                partition.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
            }
        }
        offset_delete::Response { topics, ..offset_delete::Response::default() }
    }

    /// What members want whose offsets must stay.
    fn wanted(&self, id: &str) -> Result<Wanted, ErrorCode> {
        match self.groups.get(id) {
            None if self.offsets.knows(id) => Ok(Wanted::Topics(BTreeSet::new())),
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(group) if group.is_empty() => Ok(Wanted::Topics(BTreeSet::new())),
            Some(Group::Consumer(group)) => Ok(Wanted::Topics(group.subscribed_topics())),
            Some(Group::Classic(group)) if group.protocol_type() != CONSUMER => {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            Some(Group::Classic(group)) => {
                Ok(group.subscribed_topics().map_or(Wanted::Unknown, Wanted::Topics))
            }
        }
    }

    fn deletable(
        &self,
        wanted: &Wanted,
        topic: &OffsetDeleteRequestTopic,
        places: &mut Vec<Place>,
    ) -> OffsetDeleteResponseTopic {
        let found = self.topics.find(TopicRef::Name(topic.name.as_str()));
        let found = found.and_then(|found| match wanted.contains(&found.name) {
            true => Err(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC),
            false => Ok(found.name.clone()),
        });
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            if let Ok(name) = &found {
                places.push(Place { topic: name.clone(), partition: partition.partition_index });
            }
            partitions.push(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: found.as_ref().err().map_or(ErrorCode::NONE.0, |error| error.0),
                ..OffsetDeleteResponsePartition::default()
            });
        }
        OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions,
            ..OffsetDeleteResponseTopic::default()
        }
    }
}
