//! Logs: where they begin and end, which offset has a time, and what of them is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use onrush_wire::message::{delete_records, list_offsets};
use onrush_wire::{ApiKey, ErrorCode};

use crate::admin::{Outcomes, checked};
use crate::client::Client;
use crate::error::{ClientError, Remedy, remedy_of};
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
        for (node, partitions) in self.by_leader(missing).await? {
            let response =
                self.call_node(node, |version| offsets_request(&partitions, at, version)).await?;
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

    /// Deletes the records below these offsets (or all, where the offset is -1), and says where the
    /// logs begin now. Records are never deleted one by one: a log loses its start.
    pub async fn delete_records(
        &self,
        below: &BTreeMap<TopicPartition, i64>,
    ) -> Outcomes<TopicPartition, i64> {
        self.for_each(ApiKey::DELETE_RECORDS, below.keys().cloned(), async |open| {
            let mut outcomes = Outcomes::new();
            for (node, partitions) in self.by_leader(open).await? {
                let request = |_| self.deletion_below(&partitions, below);
                let response = self.call_node(node, request).await?;
                take_starts(&response, &mut outcomes);
            }
            Ok(outcomes)
        })
        .await
    }

    fn deletion_below(
        &self,
        partitions: &[(&TopicPartition, i32)],
        below: &BTreeMap<TopicPartition, i64>,
    ) -> delete_records::Request {
        let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (partition, _) in partitions {
            let Some(offset) = below.get(*partition) else { continue };
            topics.entry(&partition.topic).or_default().push(
                delete_records::request::DeleteRecordsPartition {
                    partition_index: partition.partition,
                    offset: *offset,
                    ..delete_records::request::DeleteRecordsPartition::default()
                },
            );
        }
        let topic = |(name, partitions): (&str, _)| delete_records::request::DeleteRecordsTopic {
            name: kafka_string(name),
            partitions,
            ..delete_records::request::DeleteRecordsTopic::default()
        };
        delete_records::Request {
            topics: topics.into_iter().map(topic).collect(),
            timeout_ms: self.change_timeout_ms(),
            ..delete_records::Request::default()
        }
    }

    /// The partitions with their leaders' epochs, by the broker that leads them.
    async fn by_leader<'a>(
        &self,
        partitions: &'a [TopicPartition],
    ) -> Result<BTreeMap<i32, Vec<(&'a TopicPartition, i32)>>, ClientError> {
        let topics = partitions.iter().map(|partition| &partition.topic);
        let unknown: Vec<_> = topics.filter(|topic| self.topic(topic).is_none()).cloned().collect();
        if !unknown.is_empty() {
            self.refresh(&unknown).await?;
        }
        let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, i32)>> = BTreeMap::new();
        for partition in partitions {
            let leader = self
                .leader(&partition.topic, partition.partition)
                .ok_or_else(|| ClientError::NoLeader { partition: partition.clone() })?;
            by_leader.entry(leader.node).or_default().push((partition, leader.epoch));
        }
        Ok(by_leader)
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

fn take_starts(response: &delete_records::Response, outcomes: &mut Outcomes<TopicPartition, i64>) {
    for topic in &response.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        for partition in &topic.partitions {
            let key =
                TopicPartition { topic: Arc::clone(&name), partition: partition.partition_index };
            let outcome = checked(ApiKey::DELETE_RECORDS, &key, partition.error_code, None);
            outcomes.insert(key, outcome.map(|()| partition.low_watermark));
        }
    }
}
