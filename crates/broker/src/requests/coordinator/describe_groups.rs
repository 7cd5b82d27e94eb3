//! DescribeGroups and ConsumerGroupDescribe: the state and members of groups, of classic ones and of
//! those of KIP-848.

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::message::consumer_group_describe::response as consumer;
use onrush_wire::message::describe_groups::response as classic;
use onrush_wire::message::{consumer_group_describe, describe_groups};
use onrush_wire::{ErrorCode, KafkaString};

use super::by_topic;
use crate::core::{Core, string};
use crate::groups::Group;
use crate::groups::classic::{ClassicGroup, Member, State};
use crate::groups::consumer::{Described, Partitions};
use crate::requests::keep_first;
use crate::topics::TopicRef;

/// The first version of DescribeGroups in which a group that is not there is an error.
const NOT_FOUND: i16 = 6;

/// Kafka's name of the state of a classic group that is not there.
const DEAD: &str = "Dead";

/// What who may do everything may do with a group, as bits by Kafka's numbers of operations: Read,
/// Delete, Describe, DescribeConfigs, AlterConfigs.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Not asked for.
const UNKNOWN_OPERATIONS: i32 = i32::MIN;

/// A member of the protocol of KIP-848 in a description.
const CONSUMER_MEMBER: i8 = 1;

impl Core {
    pub(crate) fn describe_groups(
        &mut self,
        now: Instant,
        version: i16,
        mut request: describe_groups::Request,
    ) -> describe_groups::Response {
        keep_first(&mut request.groups, KafkaString::to_string);
        let operations = operations(request.include_authorized_operations);
        let describe = |id: KafkaString| {
            self.expire_members(now, id.as_str());
            let described = match self.groups.get(id.as_str()) {
                Some(Group::Classic(group)) => Ok(described_classic(group)),
                Some(Group::Consumer(_)) => Err(format!("Group {id} is not a classic group.")),
                None if self.offsets.knows(id.as_str()) => Ok(classic::DescribedGroup {
                    group_state: string(State::Empty.name()),
                    ..classic::DescribedGroup::default()
                }),
                None => Err(format!("Group {id} not found.")),
            };
            match described {
                Ok(group) => classic::DescribedGroup {
                    group_id: id,
                    authorized_operations: operations,
                    ..group
                },
                Err(reason) => classic::DescribedGroup {
                    error_code: match version {
                        NOT_FOUND.. => ErrorCode::GROUP_ID_NOT_FOUND.0,
                        _ => ErrorCode::NONE.0,
                    },
                    error_message: (version >= NOT_FOUND).then(|| reason.into()),
                    group_id: id,
                    group_state: string(DEAD),
                    authorized_operations: match version {
                        NOT_FOUND.. => UNKNOWN_OPERATIONS,
                        _ => operations,
                    },
                    ..classic::DescribedGroup::default()
                },
            }
        };
        let groups = request.groups.into_iter().map(describe).collect();
        describe_groups::Response { groups, ..describe_groups::Response::default() }
    }

    pub(crate) fn consumer_group_describe(
        &mut self,
        now: Instant,
        mut request: consumer_group_describe::Request,
    ) -> consumer_group_describe::Response {
        keep_first(&mut request.group_ids, KafkaString::to_string);
        let operations = operations(request.include_authorized_operations);
        let describe = |id: KafkaString| {
            self.expire_members(now, id.as_str());
            let reason = match self.groups.get(id.as_str()) {
                Some(Group::Consumer(group)) => {
                    return consumer::DescribedGroup {
                        group_id: id,
                        group_state: string(group.state().name()),
                        group_epoch: group.epoch(),
                        assignment_epoch: group.target_epoch(),
                        assignor_name: string(group.assignor().name()),
                        members: group
                            .described()
                            .map(|member| self.described_member(member))
                            .collect(),
                        authorized_operations: operations,
                        ..consumer::DescribedGroup::default()
                    };
                }
                None if !self.offsets.knows(id.as_str()) => format!("Group {id} not found."),
                None | Some(Group::Classic(_)) => format!("Group {id} is not a consumer group."),
            };
            consumer::DescribedGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND.0,
                error_message: Some(reason.into()),
                group_id: id,
                ..consumer::DescribedGroup::default()
            }
        };
        let groups = request.group_ids.into_iter().map(describe).collect();
        consumer_group_describe::Response { groups, ..consumer_group_describe::Response::default() }
    }

    fn described_member(&self, member: Described<'_>) -> consumer::Member {
        consumer::Member {
            member_id: string(member.id),
            instance_id: member.instance.map(string),
            member_epoch: member.epoch,
            client_id: string(&member.client.id),
            client_host: string(&member.client.host),
            subscribed_topic_names: member.topics.iter().map(|name| string(name)).collect(),
            subscribed_topic_regex: member.pattern.map(string),
            assignment: self.named(member.assigned),
            target_assignment: self.named(member.target),
            member_type: CONSUMER_MEMBER,
            ..consumer::Member::default()
        }
    }

    /// Partitions with the names of their topics, as far as these still exist.
    fn named(&self, partitions: &Partitions) -> consumer::Assignment {
        let topic_partitions = by_topic(partitions).filter_map(|(topic_id, partitions)| {
            let topic = self.topics.find(TopicRef::Id(topic_id)).ok()?;
            Some(consumer::TopicPartitions {
                topic_id,
                topic_name: string(&topic.name),
                partitions,
                ..consumer::TopicPartitions::default()
            })
        });
        consumer::Assignment {
            topic_partitions: topic_partitions.collect(),
            ..consumer::Assignment::default()
        }
    }
}

fn operations(asked: bool) -> i32 {
    if asked { ALL_OPERATIONS } else { UNKNOWN_OPERATIONS }
}

fn described_classic(group: &ClassicGroup) -> classic::DescribedGroup {
    // Between two generations nothing is agreed on.
    let protocol = match group.state() {
        State::Stable => group.protocol(),
        State::Empty | State::PreparingRebalance | State::CompletingRebalance => "",
    };
    let member = |(id, member): (&String, &Member)| classic::DescribedGroupMember {
        member_id: string(id),
        group_instance_id: member.instance.as_deref().map(string),
        client_id: string(&member.client.id),
        client_host: string(&member.client.host),
        member_metadata: Bytes::copy_from_slice(member.metadata(protocol)),
        member_assignment: member.assignment.clone(),
        ..classic::DescribedGroupMember::default()
    };
    classic::DescribedGroup {
        group_state: string(group.state().name()),
        protocol_type: string(group.protocol_type()),
        protocol_data: string(protocol),
        members: group.members().iter().map(member).collect(),
        ..classic::DescribedGroup::default()
    }
}
