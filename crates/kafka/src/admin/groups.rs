//! Groups: list, look at, delete, and take committed offsets away.
//!
//! A consumer group is of one of two kinds: *classic* (the members agree among themselves, through
//! JoinGroup and SyncGroup) or *consumer* (KIP-848: the coordinator assigns). Each kind is
//! described by an API of its own, and the coordinator says `GROUP_ID_NOT_FOUND` where a group is
//! of another kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use onrush_wire::message::{
    consumer_group_describe, delete_groups, describe_groups, list_groups, offset_delete,
};
use onrush_wire::{ApiKey, ErrorCode};

use crate::admin::consumer_protocol::{self, assigned_partitions, subscribed_topics};
use crate::admin::{Outcomes, answered, checked};
use crate::client::Client;
use crate::error::ClientError;
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// The kind of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// The members agree among themselves.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
    /// A share group (KIP-932): a queue.
    Share,
    /// An application of Kafka Streams (KIP-1071).
    Streams,
    /// A kind that this client does not know, or the broker does not tell.
    Other,
}

impl GroupKind {
    fn of(name: &str) -> Self {
        let kinds = [Self::Classic, Self::Consumer, Self::Share, Self::Streams];
        let named = |kind: &Self| name.eq_ignore_ascii_case(kind.name());
        kinds.into_iter().find(named).unwrap_or(Self::Other)
    }

    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
            Self::Other => "unknown",
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// Its kind.
    pub kind: GroupKind,
    /// Its state, as the broker names it; empty if it does not tell.
    pub state: String,
    /// What its members are: `consumer`, `connect`, ... or nothing.
    pub protocol_type: String,
    /// Its coordinator (`host:port`).
    pub coordinator: String,
}

/// A group as its coordinator knows it at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its kind: classic or consumer.
    pub kind: GroupKind,
    /// Its state, as the broker names it.
    pub state: String,
    /// What its members are: `consumer`, `connect`, ... or nothing.
    pub protocol_type: String,
    /// How partitions are assigned, as the broker names it; empty without members.
    pub assignor: String,
    /// The group's epoch; classic groups do not tell theirs.
    pub epoch: Option<i32>,
    /// Its coordinator (`host:port`).
    pub coordinator: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// The name of a static member.
    pub instance: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// From where the broker saw it connect.
    pub host: String,
    /// Its epoch; classic members have none.
    pub epoch: Option<i32>,
    /// The topics that it asks for.
    pub topics: Vec<String>,
    /// The expression that the topics it asks for match.
    pub topic_regex: Option<String>,
    /// The partitions that it has.
    pub assigned: Vec<TopicPartition>,
    /// The partitions that it is to have when the rebalance is through; classic groups do not tell.
    pub target: Option<Vec<TopicPartition>>,
}

impl Client {
    /// All groups of the cluster, by id.
    ///
    /// # Errors
    /// One of the brokers could not be asked for as long as calls are retried: its groups would be
    /// missing.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.refresh(&[]).await?;
        let mut groups = BTreeMap::new();
        let mut tries = self.tries();
        let mut asked = Vec::new();
        // A broker may go while others are asked: who is left to ask is read anew.
        while let Some(address) =
            self.broker_addresses().into_iter().find(|address| !asked.contains(address))
        {
            match self.ask_groups(&address).await {
                Ok(listed) => {
                    groups.extend(listed.into_iter().map(|group| (group.group.clone(), group)));
                    asked.push(address);
                }
                Err(error) => tries.failed(error).await?,
            }
        }
        Ok(groups.into_values().collect())
    }

    async fn ask_groups(&self, address: &str) -> Result<Vec<GroupListing>, ClientError> {
        let response = self.call(address, |_| list_groups::Request::default()).await?;
        let target = format!("the groups of {address}");
        checked(ApiKey::LIST_GROUPS, target, response.error_code, None)?;
        let listing = |group: &list_groups::response::ListedGroup| GroupListing {
            group: group.group_id.as_str().to_owned(),
            kind: GroupKind::of(group.group_type.as_str()),
            state: group.group_state.as_str().to_owned(),
            protocol_type: group.protocol_type.as_str().to_owned(),
            coordinator: address.to_owned(),
        };
        Ok(response.groups.iter().map(listing).collect())
    }

    /// How a consumer group, of either kind, is at the moment.
    ///
    /// # Errors
    /// There is no consumer group of this name (`GROUP_ID_NOT_FOUND`), or its coordinator could not
    /// be asked, or refused.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let found = self.coordinated(group, async |address| {
            match self.describe_consumer(address, group).await {
                Err(error) if is_other_kind(&error) => self.describe_classic(address, group).await,
                outcome => outcome,
            }
        });
        found.await
    }

    async fn describe_consumer(
        &self,
        address: &str,
        group: &str,
    ) -> Result<GroupDescription, ClientError> {
        let api = ApiKey::CONSUMER_GROUP_DESCRIBE;
        let response = self
            .call(address, |_| consumer_group_describe::Request {
                group_ids: vec![kafka_string(group)],
                ..consumer_group_describe::Request::default()
            })
            .await?;
        let found = response.groups.iter().find(|found| found.group_id.as_str() == group);
        let found = found.ok_or_else(|| not_told(api, group))?;
        checked(
            api,
            format_args!("group {group}"),
            found.error_code,
            found.error_message.as_ref(),
        )?;
        Ok(GroupDescription {
            group: group.to_owned(),
            kind: GroupKind::Consumer,
            state: found.group_state.as_str().to_owned(),
            protocol_type: consumer_protocol::PROTOCOL_TYPE.to_owned(),
            assignor: found.assignor_name.as_str().to_owned(),
            epoch: Some(found.group_epoch),
            coordinator: address.to_owned(),
            members: found.members.iter().map(consumer_member).collect(),
        })
    }

    async fn describe_classic(
        &self,
        address: &str,
        group: &str,
    ) -> Result<GroupDescription, ClientError> {
        let api = ApiKey::DESCRIBE_GROUPS;
        let response = self
            .call(address, |_| describe_groups::Request {
                groups: vec![kafka_string(group)],
                ..describe_groups::Request::default()
            })
            .await?;
        let found = response.groups.iter().find(|found| found.group_id.as_str() == group);
        let found = found.ok_or_else(|| not_told(api, group))?;
        let target = format!("group {group}");
        checked(api, &target, found.error_code, found.error_message.as_ref())?;
        // Up to version 5 a group that is not there is a dead one.
        if found.group_state.as_str() == "Dead" {
            return Err(answered(api, target, ErrorCode::GROUP_ID_NOT_FOUND, ""));
        }
        let protocol_type = found.protocol_type.as_str();
        let member = |member| classic_member(protocol_type, member);
        Ok(GroupDescription {
            group: group.to_owned(),
            kind: GroupKind::Classic,
            state: found.group_state.as_str().to_owned(),
            protocol_type: protocol_type.to_owned(),
            assignor: found.protocol_data.as_str().to_owned(),
            epoch: None,
            coordinator: address.to_owned(),
            members: found.members.iter().map(member).collect(),
        })
    }

    /// Deletes a group that has no members, with its committed offsets.
    ///
    /// # Errors
    /// It has members (`NON_EMPTY_GROUP`), it is not there (`GROUP_ID_NOT_FOUND`), or its coordinator
    /// could not be asked, or refused.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let api = ApiKey::DELETE_GROUPS;
        let deleted = self.coordinated(group, async |address| {
            let response = self
                .call(address, |_| delete_groups::Request {
                    groups_names: vec![kafka_string(group)],
                    ..delete_groups::Request::default()
                })
                .await?;
            let result = response.results.iter().find(|result| result.group_id.as_str() == group);
            let result = result.ok_or_else(|| not_told(api, group))?;
            checked(api, format_args!("group {group}"), result.error_code, None)
        });
        deleted.await
    }

    /// Deletes what a group committed for these partitions.
    ///
    /// # Errors
    /// The group is not there, or its coordinator could not be asked, or refused. A partition of a
    /// topic that a member asks for has an error of its own (`GROUP_SUBSCRIBED_TO_TOPIC`).
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Outcomes<TopicPartition, ()>, ClientError> {
        let api = ApiKey::OFFSET_DELETE;
        let deleted = self.coordinated(group, async |address| {
            let response = self.call(address, |_| deletion(group, partitions)).await?;
            checked(api, format_args!("group {group}"), response.error_code, None)?;
            let mut outcomes = Outcomes::new();
            for topic in &response.topics {
                let name: Arc<str> = Arc::from(topic.name.as_str());
                for partition in &topic.partitions {
                    let (topic, partition, code) =
                        (Arc::clone(&name), partition.partition_index, partition.error_code);
                    let key = TopicPartition { topic, partition };
                    let target = format!("group {group}, {key}");
                    outcomes.insert(key, checked(api, target, code, None));
                }
            }
            Ok(outcomes)
        });
        deleted.await
    }

    /// Asks a group's coordinator, and who that is anew after every failure.
    pub(crate) async fn coordinated<T>(
        &self,
        group: &str,
        ask: impl AsyncFn(&str) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tries = self.tries();
        loop {
            let outcome = match self.coordinator(group).await {
                Ok(address) => ask(&address).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.forget_coordinator(group);
                    tries.failed(error).await?;
                }
            }
        }
    }
}

fn is_other_kind(error: &ClientError) -> bool {
    matches!(error, ClientError::Unsupported { .. })
        || matches!(
            error.code(),
            Some(ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::UNSUPPORTED_VERSION)
        )
}

fn not_told(api: ApiKey, group: &str) -> ClientError {
    let target = format_args!("group {group}");
    answered(api, target, ErrorCode::UNKNOWN_SERVER_ERROR, super::SAYS_NOTHING)
}

fn consumer_member(member: &consumer_group_describe::response::Member) -> GroupMember {
    GroupMember {
        id: member.member_id.as_str().to_owned(),
        instance: member.instance_id.as_ref().map(|instance| instance.as_str().to_owned()),
        client_id: member.client_id.as_str().to_owned(),
        host: member.client_host.as_str().to_owned(),
        epoch: Some(member.member_epoch),
        topics: member.subscribed_topic_names.iter().map(|name| name.as_str().to_owned()).collect(),
        topic_regex: member.subscribed_topic_regex.as_ref().map(|regex| regex.as_str().to_owned()),
        assigned: partitions(&member.assignment),
        target: Some(partitions(&member.target_assignment)),
    }
}

fn partitions(assignment: &consumer_group_describe::response::Assignment) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for topic in &assignment.topic_partitions {
        let name: Arc<str> = Arc::from(topic.topic_name.as_str());
        let named =
            |partition: &i32| TopicPartition { topic: Arc::clone(&name), partition: *partition };
        partitions.extend(topic.partitions.iter().map(named));
    }
    partitions.sort();
    partitions
}

/// Only consumers' own bytes can be read; members of other types have no topics here.
fn classic_member(
    protocol_type: &str,
    member: &describe_groups::response::DescribedGroupMember,
) -> GroupMember {
    let consumer = protocol_type == consumer_protocol::PROTOCOL_TYPE;
    let mut assigned = Some(&member.member_assignment)
        .filter(|_| consumer)
        .and_then(|bytes| assigned_partitions(bytes))
        .unwrap_or_default();
    assigned.sort();
    let topics = Some(&member.member_metadata)
        .filter(|_| consumer)
        .and_then(|bytes| subscribed_topics(bytes))
        .unwrap_or_default();
    GroupMember {
        id: member.member_id.as_str().to_owned(),
        instance: member.group_instance_id.as_ref().map(|instance| instance.as_str().to_owned()),
        client_id: member.client_id.as_str().to_owned(),
        host: member.client_host.as_str().to_owned(),
        epoch: None,
        topics,
        topic_regex: None,
        assigned,
        target: None,
    }
}

fn deletion(group: &str, partitions: &[TopicPartition]) -> offset_delete::Request {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(
            offset_delete::request::OffsetDeleteRequestPartition {
                partition_index: partition.partition,
                ..offset_delete::request::OffsetDeleteRequestPartition::default()
            },
        );
    }
    let topic = |(name, partitions): (&str, _)| offset_delete::request::OffsetDeleteRequestTopic {
        name: kafka_string(name),
        partitions,
        ..offset_delete::request::OffsetDeleteRequestTopic::default()
    };
    offset_delete::Request {
        group_id: kafka_string(group),
        topics: topics.into_iter().map(topic).collect(),
        ..offset_delete::Request::default()
    }
}
