//! OffsetCommit.

use std::io::ErrorKind;

use onrush_runtime::{Fault, Instant};
use onrush_wire::message::offset_commit::request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use onrush_wire::message::offset_commit::response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use onrush_wire::message::offset_commit::{Request, Response};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::Core;
use crate::groups::Group;
use crate::offsets::Committed;
use crate::topics::{Place, TopicRef};

/// The first version that names topics by id.
const TOPIC_IDS: i16 = 10;

/// The first version that knows member epochs.
const MEMBER_EPOCHS: i16 = 9;

impl Core {
    pub(crate) fn offset_commit(
        &mut self,
        now: Instant,
        version: i16,
        request: Request,
    ) -> Response {
        let group = request.group_id.as_str();
        self.expire_members(now, group);
        let allowed =
            self.check_group(now, group).and_then(|()| self.may_commit(now, version, &request));
        let mut commits = Vec::new();
        let mut topics: Vec<OffsetCommitResponseTopic> = request
            .topics
            .iter()
            .map(|topic| self.accept(version, allowed, topic, &mut commits))
            .collect();
        if let Err(error) = self.offsets.commit(group, commits) {
            tracing::error!(group, code = %Fault::BrokerStorage, %error, "cannot store committed offsets");
            let refused = match error.kind() {
                ErrorKind::QuotaExceeded => ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
                _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            };
            let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            for partition in partitions.filter(|partition| partition.error_code == 0) {
                partition.error_code = refused.0;
            }
        }
        Response { topics, ..Response::default() }
    }

    fn may_commit(
        &mut self,
        now: Instant,
        version: i16,
        request: &Request,
    ) -> Result<(), ErrorCode> {
        let epoch = request.generation_id_or_member_epoch;
        let member = request.member_id.as_str();
        match self.groups.get_mut(request.group_id.as_str()) {
            // Without an epoch it comes from a consumer that assigns itself, or from a tool.
            None if epoch < 0 => Ok(()),
            None if version >= MEMBER_EPOCHS => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
            Some(Group::Classic(group)) => {
                let instance = request.group_instance_id.as_ref().map(KafkaString::as_str);
                group.validate_commit(now, member, instance, epoch)
            }
            Some(Group::Consumer(group)) if epoch < 0 && group.is_empty() => Ok(()),
            Some(Group::Consumer(group)) => {
                group.validate(member, epoch)?;
                match version {
                    MEMBER_EPOCHS.. => Ok(()),
                    _ => Err(ErrorCode::UNSUPPORTED_VERSION),
                }
            }
        }
    }

    fn accept(
        &self,
        version: i16,
        allowed: Result<(), ErrorCode>,
        topic: &OffsetCommitRequestTopic,
        commits: &mut Vec<(Place, Committed)>,
    ) -> OffsetCommitResponseTopic {
        let asked = match version {
            TOPIC_IDS.. => TopicRef::Id(topic.topic_id),
            _ => TopicRef::Name(topic.name.as_str()),
        };
        let found = allowed.and_then(|()| self.topics.find(asked));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let place = found.map(|topic| Place {
                topic: topic.name.clone(),
                partition: partition.partition_index,
            });
            let accepted = place.and_then(|place| self.committed(place, partition));
            let error =
                accepted.map(|commit| commits.push(commit)).err().unwrap_or(ErrorCode::NONE);
            partitions.push(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.0,
                ..OffsetCommitResponsePartition::default()
            });
        }
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
            ..OffsetCommitResponseTopic::default()
        }
    }

    fn committed(
        &self,
        place: Place,
        asked: &OffsetCommitRequestPartition,
    ) -> Result<(Place, Committed), ErrorCode> {
        let log_end = self.topics.log(&place.topic, place.partition)?.end();
        let metadata = asked.committed_metadata.as_ref().map_or("", KafkaString::as_str);
        if metadata.len() > self.config.offset_metadata_max_bytes {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        // A consumer that processed what a crash took would otherwise skip what comes in its place.
        if !(0..=log_end).contains(&asked.committed_offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let committed = Committed {
            offset: asked.committed_offset,
            leader_epoch: asked.committed_leader_epoch,
            metadata: metadata.to_owned(),
            log_end,
        };
        Ok((place, committed))
    }
}
