//! OffsetFetch: of one group up to version 7, of several from version 8 on. Both are answered
//! through the newer form.

use std::collections::{BTreeMap, BTreeSet};

use onrush_runtime::Instant;
use onrush_wire::message::offset_fetch::request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use onrush_wire::message::offset_fetch::response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use onrush_wire::message::offset_fetch::{Request, Response};
use onrush_wire::{ErrorCode, Uuid};

use crate::core::{Core, string};
use crate::groups::Group;
use crate::offsets::Committed;
use crate::requests::keep_first;
use crate::topics::{Place, TopicRef};

/// The first version that asks for several groups.
const SEVERAL: i16 = 8;

/// The first version that names topics by id.
const TOPIC_IDS: i16 = 10;

impl Core {
    pub(crate) fn offset_fetch(
        &mut self,
        now: Instant,
        version: i16,
        mut request: Request,
    ) -> Response {
        if version >= SEVERAL {
            keep_first(&mut request.groups, |group| group.group_id.to_string());
            let groups = request
                .groups
                .iter()
                .map(|group| self.group_offsets(now, version, group))
                .collect();
            return Response { groups, ..Response::default() };
        }
        let topics = request.topics.map(|topics| topics.into_iter().map(newer_form).collect());
        let group = OffsetFetchRequestGroup {
            group_id: request.group_id,
            member_epoch: -1,
            topics,
            ..OffsetFetchRequestGroup::default()
        };
        let answer = self.group_offsets(now, version, &group);
        Response {
            error_code: answer.error_code,
            topics: answer.topics.into_iter().map(older_form).collect(),
            ..Response::default()
        }
    }

    fn group_offsets(
        &mut self,
        now: Instant,
        version: i16,
        asked: &OffsetFetchRequestGroup,
    ) -> OffsetFetchResponseGroup {
        let group = asked.group_id.as_str();
        self.expire_members(now, group);
        let mut answer = OffsetFetchResponseGroup {
            group_id: asked.group_id.clone(),
            ..OffsetFetchResponseGroup::default()
        };
        match (self.may_fetch(asked), &asked.topics) {
            (Err(error), _) => answer.error_code = error.0,
            (Ok(()), Some(topics)) => {
                let mut told = BTreeSet::new();
                let offsets = topics.iter().map(|asked| {
                    self.topic_offsets(version, group, asked, |partition| {
                        told.insert((asked.name.as_str(), asked.topic_id, partition))
                    })
                });
                answer.topics = offsets.collect();
            }
            (Ok(()), None) => answer.topics = self.all_offsets(group),
        }
        answer
    }

    fn may_fetch(&self, asked: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        // Without an epoch it comes from a consumer that assigns itself, or from a tool.
        let Some(member) = asked.member_id.as_ref().filter(|_| asked.member_epoch >= 0) else {
            return Ok(());
        };
        match self.groups.get(asked.group_id.as_str()) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            // Members of classic groups are not known by an epoch.
            Some(Group::Classic(_)) => Ok(()),
            Some(Group::Consumer(group)) => group.validate(member.as_str(), asked.member_epoch),
        }
    }

    /// What was committed for the partitions that are told for the first time: metadata is a thousand
    /// times longer than the number of a partition.
    fn topic_offsets(
        &self,
        version: i16,
        group: &str,
        asked: &OffsetFetchRequestTopics,
        mut is_first: impl FnMut(i32) -> bool,
    ) -> OffsetFetchResponseTopics {
        let found = match version {
            TOPIC_IDS.. => {
                self.topics.find(TopicRef::Id(asked.topic_id)).map(|topic| topic.name.clone())
            }
            _ => Ok(asked.name.as_str().into()),
        };
        let indexes = asked.partition_indexes.iter().copied();
        let partitions = indexes.filter(|index| is_first(*index)).map(|partition| match &found {
            Ok(topic) => {
                let place = Place { topic: topic.clone(), partition };
                partition_offset(partition, self.offsets.get(group, &place))
            }
            Err(error) => OffsetFetchResponsePartitions {
                error_code: error.0,
                ..partition_offset(partition, None)
            },
        });
        OffsetFetchResponseTopics {
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            partitions: partitions.collect(),
            ..OffsetFetchResponseTopics::default()
        }
    }

    fn all_offsets(&self, group: &str) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: BTreeMap<&str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
        for (place, committed) in self.offsets.of_group(group) {
            let partitions = topics.entry(&place.topic).or_default();
            partitions.push(partition_offset(place.partition, Some(committed)));
        }
        let topics = topics.into_iter().map(|(name, partitions)| OffsetFetchResponseTopics {
            name: string(name),
            topic_id: self.topics.find(TopicRef::Name(name)).map_or(Uuid::ZERO, |topic| topic.id),
            partitions,
            ..OffsetFetchResponseTopics::default()
        });
        topics.collect()
    }
}

fn partition_offset(
    partition: i32,
    committed: Option<&Committed>,
) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(string(committed.map_or("", |committed| &committed.metadata))),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn newer_form(topic: OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..OffsetFetchRequestTopics::default()
    }
}

fn older_form(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..OffsetFetchResponseTopic::default()
    }
}
