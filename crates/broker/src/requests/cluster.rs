//! Metadata and DescribeCluster: who leads what. One node leads everything.

use onrush_wire::message::metadata::request::MetadataRequestTopic;
use onrush_wire::message::metadata::response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use onrush_wire::message::{describe_cluster, metadata};
use onrush_wire::{ErrorCode, KafkaString};

use crate::core::{Core, string};
use crate::topics::{Topic, TopicRef};

/// The first version in which an empty list means none, not all.
const EMPTY_IS_NONE: i16 = 1;

/// What DescribeCluster calls the endpoints of brokers, not of controllers.
const BROKERS: i8 = 1;

impl Core {
    pub(crate) fn metadata(
        &mut self,
        version: i16,
        request: metadata::Request,
    ) -> metadata::Response {
        let auto_create = self.config.auto_create && request.allow_auto_topic_creation;
        let topics = match request.topics {
            Some(topics) if version >= EMPTY_IS_NONE || !topics.is_empty() => {
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
}
