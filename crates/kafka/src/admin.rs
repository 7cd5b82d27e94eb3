//! What a client asks about topics and logs: create a topic, look topics up, find offsets by place
//! or time.

use std::collections::BTreeMap;
use std::sync::Arc;

use onrush_wire::message::{create_topics, list_offsets};
use onrush_wire::{ApiKey, ErrorCode};

use crate::client::Client;
use crate::cluster::TopicMetadata;
use crate::config::NEW_TOPIC_PATIENCE;
use crate::error::{ClientError, Remedy, remedy_of};
use crate::link::Purpose;
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The first offset.
    Earliest,
    /// The offset after the last one.
    Latest,
    /// The first record with at least this timestamp, in milliseconds since 1970.
    Timestamp(i64),
}

impl At {
    const fn on_wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(millis) => millis,
        }
    }
}

/// An offset that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 if no record has the timestamp.
    pub offset: i64,
    /// The record's timestamp, or -1.
    pub timestamp: i64,
    /// The leader epoch of the record, or -1.
    pub leader_epoch: i32,
}

impl Client {
    /// Creates a topic and waits until its partitions have leaders. A topic that is there already
    /// is not an error.
    ///
    /// # Errors
    /// The cluster refused, or nobody answered in time.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
    ) -> Result<Arc<TopicMetadata>, ClientError> {
        let mut tries = self.tries();
        while let Err(error) = self.ask_for_topic(name, partitions, replication).await {
            tries.failed(error).await?;
        }
        let mut topics = self.metadata(&[name]).await?;
        topics.pop().ok_or_else(|| ClientError::UnknownTopic { topic: name.to_owned() })
    }

    async fn ask_for_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
    ) -> Result<(), ClientError> {
        let timeout_ms =
            i32::try_from(self.config().request_timeout.as_millis() / 2).unwrap_or(i32::MAX);
        let topic = create_topics::request::CreatableTopic {
            name: kafka_string(name),
            num_partitions: partitions,
            replication_factor: replication,
            ..create_topics::request::CreatableTopic::default()
        };
        // Any broker forwards it to the controller.
        let response = self
            .call_any(|_| create_topics::Request {
                topics: vec![topic.clone()],
                timeout_ms,
                ..create_topics::Request::default()
            })
            .await?;
        let result = response
            .topics
            .first()
            .map(|topic| (ErrorCode(topic.error_code), topic.error_message.as_ref()));
        match result {
            Some((ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS, _)) => Ok(()),
            other => Err(ClientError::Answered {
                api: ApiKey::CREATE_TOPICS,
                target: format!("topic {name}"),
                code: other.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |(code, _)| code),
                message: other
                    .and_then(|(_, message)| message)
                    .map(|message| message.as_str().to_owned()),
            }),
        }
    }

    /// Looks topics up, waiting a while for those that are new: until every partition has a leader.
    ///
    /// # Errors
    /// A topic does not exist, or nobody answered in time.
    pub async fn metadata(&self, topics: &[&str]) -> Result<Vec<Arc<TopicMetadata>>, ClientError> {
        let names: Vec<Arc<str>> = topics.iter().map(|name| Arc::from(*name)).collect();
        let mut tries = self.tries();
        loop {
            let outcome = match self.refresh(&names).await {
                Ok(()) => names.iter().map(|name| self.led_topic(name)).collect(),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(topics) => return Ok(topics),
                Err(error @ ClientError::UnknownTopic { .. }) => {
                    tries.failed_within(error, NEW_TOPIC_PATIENCE).await?;
                }
                Err(error) => tries.failed(error).await?,
            }
        }
    }

    fn led_topic(&self, name: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        let topic =
            self.topic(name).ok_or_else(|| ClientError::UnknownTopic { topic: name.to_owned() })?;
        match topic.partitions.iter().zip(0..).find(|(partition, _)| partition.leader.is_none()) {
            Some((_, index)) => {
                Err(ClientError::NoLeader { partition: TopicPartition::new(name, index) })
            }
            None => Ok(topic),
        }
    }

    /// Offsets of these partitions, from their leaders.
    ///
    /// # Errors
    /// One partition could not be asked about for as long as calls are retried, or its leader
    /// refused.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: At,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
        let mut found = BTreeMap::new();
        let mut tries = self.tries();
        loop {
            let missing: Vec<_> = partitions
                .iter()
                .filter(|partition| !found.contains_key(*partition))
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(found);
            }
            if let Err(error) = self.list_missing(&missing, at, &mut found).await {
                tries.failed(error).await?;
            }
        }
    }

    async fn list_missing(
        &self,
        missing: &[TopicPartition],
        at: At,
        found: &mut BTreeMap<TopicPartition, ListedOffset>,
    ) -> Result<(), ClientError> {
        let unknown: Vec<_> = missing
            .iter()
            .map(|p| &p.topic)
            .filter(|topic| self.topic(topic).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            self.refresh(&unknown).await?;
        }
        let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, i32)>> = BTreeMap::new();
        for partition in missing {
            let leader = self
                .leader(&partition.topic, partition.partition)
                .ok_or_else(|| ClientError::NoLeader { partition: partition.clone() })?;
            by_leader.entry(leader.node).or_default().push((partition, leader.epoch));
        }
        for (node, partitions) in by_leader {
            let (link, connection) = self.connection(node, Purpose::Control).await?;
            let response = connection
                .call(self.config().request_timeout, |version| {
                    offsets_request(&partitions, at, version)
                })
                .await?;
            link.is_well().await;
            take_offsets(&response, found)?;
        }
        match missing.iter().find(|partition| !found.contains_key(*partition)) {
            Some(partition) => Err(ClientError::Omitted {
                api: ApiKey::LIST_OFFSETS,
                partition: partition.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// First version of ListOffsets that takes a leader epoch.
const LEADER_EPOCH: i16 = 4;

fn offsets_request(
    partitions: &[(&TopicPartition, i32)],
    at: At,
    version: i16,
) -> list_offsets::Request {
    let mut topics: BTreeMap<&str, Vec<list_offsets::request::ListOffsetsPartition>> =
        BTreeMap::new();
    for (partition, leader_epoch) in partitions {
        topics.entry(&partition.topic).or_default().push(
            list_offsets::request::ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: if version >= LEADER_EPOCH { *leader_epoch } else { -1 },
                timestamp: at.on_wire(),
                ..list_offsets::request::ListOffsetsPartition::default()
            },
        );
    }
    let topic = |(name, partitions): (&str, _)| list_offsets::request::ListOffsetsTopic {
        name: kafka_string(name),
        partitions,
        ..list_offsets::request::ListOffsetsTopic::default()
    };
    list_offsets::Request {
        replica_id: -1,
        topics: topics.into_iter().map(topic).collect(),
        ..list_offsets::Request::default()
    }
}

/// Keeps what was found, also when a partition failed. A fatal error wins over one that a retry may
/// cure.
fn take_offsets(
    response: &list_offsets::Response,
    found: &mut BTreeMap<TopicPartition, ListedOffset>,
) -> Result<(), ClientError> {
    let mut failed: Option<ClientError> = None;
    for topic in &response.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        for partition in &topic.partitions {
            let key =
                TopicPartition { topic: Arc::clone(&name), partition: partition.partition_index };
            match ErrorCode(partition.error_code) {
                ErrorCode::NONE => {
                    let (offset, timestamp, leader_epoch) =
                        (partition.offset, partition.timestamp, partition.leader_epoch);
                    found.insert(key, ListedOffset { offset, timestamp, leader_epoch });
                }
                code => {
                    if failed.is_none() || remedy_of(code) == Remedy::Fatal {
                        failed = Some(ClientError::answered(
                            ApiKey::LIST_OFFSETS,
                            key.to_string(),
                            code,
                        ));
                    }
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
