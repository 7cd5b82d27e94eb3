//! Metadata, DescribeTopicPartitions, DescribeCluster and DescribeLogDirs: who leads what, and where
//! it is. One node leads everything, in one directory.

use std::collections::BTreeSet;
use std::ops::Range;

use onrush_wire::message::describe_log_dirs::response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use onrush_wire::message::describe_topic_partitions::response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use onrush_wire::message::metadata::request::MetadataRequestTopic;
use onrush_wire::message::metadata::response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use onrush_wire::message::{
    describe_cluster, describe_log_dirs, describe_topic_partitions, metadata,
};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::{Core, string};
use crate::log::Log;
use crate::requests::keep_first;
use crate::topics::{Topic, TopicRef};

/// The first version in which an empty list means none, not all.
const EMPTY_IS_NONE: i16 = 1;

/// What DescribeCluster calls the endpoints of brokers, not of controllers.
const BROKERS: i8 = 1;

/// Most partitions in one answer to DescribeTopicPartitions: what Kafka's
/// `max.request.partition.size.limit` is by default.
const MAX_DESCRIBED_PARTITIONS: usize = 2_000;

/// A number of bytes that is not known.
const UNKNOWN: i64 = -1;

impl Core {
    pub(crate) fn metadata(
        &mut self,
        version: i16,
        request: metadata::Request,
    ) -> metadata::Response {
        let auto_create = self.config.auto_create && request.allow_auto_topic_creation;
        let topics = match request.topics {
            Some(mut topics) if version >= EMPTY_IS_NONE || !topics.is_empty() => {
                keep_first(&mut topics, |topic| {
                    (topic.name.as_ref().map(KafkaString::to_string), topic.topic_id)
                });
                topics.iter().map(|topic| self.described(topic, auto_create)).collect()
            }
            _ => self.topics.iter().map(|topic| self.topic_metadata(topic)).collect(),
        };
        let (host, port) = self.endpoint.clone();
        metadata::Response {
            brokers: vec![MetadataResponseBroker {
                node_id: self.config.node_id,
                host: host.into(),
                port,
                ..MetadataResponseBroker::default()
            }],
            cluster_id: Some(string(&self.topics.cluster_id().to_string())),
            controller_id: self.config.node_id,
            topics,
            ..metadata::Response::default()
        }
    }

    fn described(
        &mut self,
        asked: &MetadataRequestTopic,
        auto_create: bool,
    ) -> MetadataResponseTopic {
        let name = asked.name.as_ref().map(KafkaString::as_str);
        let found = self.topics.find(name.map_or(TopicRef::Id(asked.topic_id), TopicRef::Name));
        let error = match (found, name) {
            (Ok(topic), _) => return self.topic_metadata(topic),
            (Err(_), Some(name)) if auto_create => {
                match self.topics.create(&self.random, name, self.config.default_partitions) {
                    Ok(_) => return self.described(asked, false),
                    Err(error) => error,
                }
            }
            (Err(error), _) => error,
        };
        MetadataResponseTopic {
            error_code: error.0,
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            ..MetadataResponseTopic::default()
        }
    }

    fn topic_metadata(&self, topic: &Topic) -> MetadataResponseTopic {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: self.config.node_id,
            leader_epoch: self.topics.leader_epoch(),
            replica_nodes: vec![self.config.node_id],
            isr_nodes: vec![self.config.node_id],
            ..MetadataResponsePartition::default()
        };
        MetadataResponseTopic {
            error_code: ErrorCode::NONE.0,
            name: Some(string(&topic.name)),
            topic_id: topic.id,
            partitions: (0..).take(topic.logs.len()).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    }

    pub(crate) fn describe_cluster(
        &self,
        request: describe_cluster::Request,
    ) -> describe_cluster::Response {
        if request.endpoint_type != BROKERS {
            return describe_cluster::Response {
                error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE.0,
                error_message: Some(string("this is a broker, not a controller")),
                ..describe_cluster::Response::default()
            };
        }
        let (host, port) = self.endpoint.clone();
        describe_cluster::Response {
            cluster_id: string(&self.topics.cluster_id().to_string()),
            controller_id: self.config.node_id,
            brokers: vec![describe_cluster::response::DescribeClusterBroker {
                broker_id: self.config.node_id,
                host: host.into(),
                port,
                ..describe_cluster::response::DescribeClusterBroker::default()
            }],
            ..describe_cluster::Response::default()
        }
    }

    /// Tells partitions in pages, which continue where the last one ended.
    pub(crate) fn describe_topic_partitions(
        &self,
        request: describe_topic_partitions::Request,
    ) -> describe_topic_partitions::Response {
        let first = request.cursor.as_ref();
        let first = first.map_or(("", 0), |at| (at.topic_name.as_str(), at.partition_index));
        let asked: BTreeSet<&str> = match request.topics.is_empty() {
            true => self.topics.iter().map(|topic| &*topic.name).collect(),
            false => request.topics.iter().map(|topic| topic.name.as_str()).collect(),
        };
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
        let mut left = limit.clamp(1, MAX_DESCRIBED_PARTITIONS);
        let mut response = describe_topic_partitions::Response::default();
        for name in asked.range(first.0..) {
            let from = if *name == first.0 { first.1.max(0) } else { 0 };
            let Ok(topic) = self.topics.find(TopicRef::Name(name)) else {
                response.topics.push(unknown_topic(name));
                continue;
            };
            let until = topic.partitions().min(from.saturating_add(left as i32));
            if left == 0 || until < topic.partitions() {
                response.next_cursor = Some(Box::new(Cursor {
                    topic_name: string(name),
                    partition_index: if left == 0 { from } else { until },
                    ..Cursor::default()
                }));
            }
            if left > 0 {
                response.topics.push(self.topic_page(topic, from..until));
            }
            if response.next_cursor.is_some() {
                break;
            }
            left -= usize::try_from(until - from).unwrap_or(0);
        }
        response
    }

    fn topic_page(
        &self,
        topic: &Topic,
        partitions: Range<i32>,
    ) -> DescribeTopicPartitionsResponseTopic {
        let node = self.config.node_id;
        let partition = |index| DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: node,
            leader_epoch: self.topics.leader_epoch(),
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        };
        DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::NONE.0,
            name: Some(string(&topic.name)),
            topic_id: topic.id,
            partitions: partitions.map(partition).collect(),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    }

    pub(crate) fn describe_log_dirs(
        &self,
        mut request: describe_log_dirs::Request,
    ) -> describe_log_dirs::Response {
        if let Some(asked) = &mut request.topics {
            keep_first(asked, |asked| asked.topic.to_string());
        }
        let topics = match &request.topics {
            None => self.topics.iter().map(|topic| sizes(topic, |_| true)).collect(),
            Some(asked) => asked
                .iter()
                .filter_map(|asked| {
                    let topic = self.topics.find(TopicRef::Name(asked.topic.as_str())).ok()?;
                    let wanted: BTreeSet<i32> = asked.partitions.iter().copied().collect();
                    Some(sizes(topic, |index| wanted.contains(&index)))
                })
                .collect(),
        };
        let directory = DescribeLogDirsResult {
            log_dir: string(&self.topics.directory()),
            topics,
            total_bytes: UNKNOWN,
            usable_bytes: UNKNOWN,
            ..DescribeLogDirsResult::default()
        };
        describe_log_dirs::Response {
            results: vec![directory],
            ..describe_log_dirs::Response::default()
        }
    }
}

fn sizes(topic: &Topic, wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let numbered = (0..).zip(&topic.logs).filter(|(index, _)| wanted(*index));
    let partition = |(index, log): (i32, &Log)| DescribeLogDirsPartition {
        partition_index: index,
        partition_size: i64::try_from(log.size()).unwrap_or(i64::MAX),
        ..DescribeLogDirsPartition::default()
    };
    DescribeLogDirsTopic {
        name: string(&topic.name),
        partitions: numbered.map(partition).collect(),
        ..DescribeLogDirsTopic::default()
    }
}

fn unknown_topic(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
        name: Some(string(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

#[cfg(test)]
mod tests {
    use onrush_runtime::{Disk, Runtime};

    use super::*;
    use crate::BrokerConfig;

    #[test]
    fn log_directories_tell_a_partition_once_however_often_it_is_asked_for() {
        use describe_log_dirs::request::DescribableLogDirTopic;

        let runtime = Runtime::production(Disk::memory());
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 3).expect("created");
        let asked = |partitions: &[i32]| DescribableLogDirTopic {
            topic: string("t"),
            partitions: partitions.to_vec(),
            ..DescribableLogDirTopic::default()
        };
        let topics = Some(vec![asked(&[2, 0, 2, 9]), asked(&[0])]);
        let request =
            describe_log_dirs::Request { topics, ..describe_log_dirs::Request::default() };
        let told = core.describe_log_dirs(request).results.remove(0).topics;
        let indexes: Vec<Vec<i32>> = told
            .iter()
            .map(|topic| topic.partitions.iter().map(|told| told.partition_index).collect())
            .collect();
        assert_eq!(indexes, [[0, 2]]);
    }

    #[test]
    fn a_topic_that_is_named_often_is_described_once() {
        let runtime = Runtime::production(Disk::memory());
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 1).expect("created");
        let named = |name| MetadataRequestTopic { name: Some(string(name)), ..Default::default() };
        let topics = Some(vec![named("t"), named("other"), named("t")]);
        let request = metadata::Request { topics, ..metadata::Request::default() };
        let told = core.metadata(12, request).topics;
        let names: Vec<_> = told.iter().filter_map(|topic| topic.name.as_ref()).collect();
        assert_eq!(names, [&string("t"), &string("other")]);
    }
}
