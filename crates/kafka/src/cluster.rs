//! What is known of the cluster: brokers, topics with their ids, and who leads each partition.
//!
//! Pure: responses go in, answers come out. A leader epoch never goes back, because the answer of a
//! broker that lags would otherwise send us to a leader that was deposed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_wire::message::metadata::Response;
use onrush_wire::message::metadata::response::{MetadataResponsePartition, MetadataResponseTopic};
use onrush_wire::{ErrorCode, Uuid};

/// Most topics that the cache keeps asking for.
pub const MAX_TOPICS: usize = 10_000;

/// A topic as the metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; it changes when a topic is deleted and made again.
    pub id: Uuid,
    /// Its partitions by number.
    pub partitions: Vec<PartitionMetadata>,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The broker, if there is a leader.
    pub leader: Option<i32>,
    /// The leader's epoch.
    pub leader_epoch: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    brokers: BTreeMap<i32, String>,
    topics: BTreeMap<Arc<str>, Arc<TopicMetadata>>,
    wanted: BTreeSet<Arc<str>>,
}

impl Cluster {
    /// Topics to ask for, with these added. Above the limit new ones are asked for once and not
    /// remembered.
    pub(crate) fn want(&mut self, topics: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut asked = self.wanted.clone();
        for topic in topics {
            asked.insert(Arc::clone(topic));
            if self.wanted.len() < MAX_TOPICS {
                self.wanted.insert(Arc::clone(topic));
            }
        }
        asked.into_iter().collect()
    }

    pub(crate) fn address(&self, node: i32) -> Option<&str> {
        self.brokers.get(&node).map(String::as_str)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.brokers.values().map(String::as_str)
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    /// The leader's broker and epoch, and the topic's id.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?;
        partition.leader.map(|node| Leader {
            node,
            epoch: partition.leader_epoch,
            topic_id: topic.id,
        })
    }

    /// A broker said in passing who leads now (KIP-951).
    pub(crate) fn moved(&mut self, topic: &str, partition: i32, node: i32, epoch: i32) -> bool {
        let Some(known) = self.topics.get_mut(topic) else { return false };
        if !self.brokers.contains_key(&node) {
            return false;
        }
        let Ok(index) = usize::try_from(partition) else { return false };
        match known.partitions.get(index) {
            Some(old) if epoch > old.leader_epoch => {
                if let Some(slot) = Arc::make_mut(known).partitions.get_mut(index) {
                    *slot = PartitionMetadata { leader: Some(node), leader_epoch: epoch };
                }
                true
            }
            _ => false,
        }
    }

    pub(crate) fn apply(&mut self, response: &Response) {
        if !response.brokers.is_empty() {
            let address = |host: &str, port: i32| format!("{host}:{port}");
            self.brokers = response
                .brokers
                .iter()
                .map(|b| (b.node_id, address(b.host.as_str(), b.port)))
                .collect();
        }
        for topic in &response.topics {
            self.apply_topic(topic);
        }
    }

    fn apply_topic(&mut self, topic: &MetadataResponseTopic) {
        let Some(name) = topic.name.as_ref().map(|name| name.as_str()) else { return };
        match ErrorCode(topic.error_code) {
            ErrorCode::NONE => {
                let old = self.topics.get(name).filter(|old| old.id == topic.topic_id);
                let partitions =
                    partitions(old.map(|old| old.partitions.as_slice()), &topic.partitions);
                let name = self.wanted.get(name).cloned().unwrap_or_else(|| Arc::from(name));
                let known =
                    TopicMetadata { name: Arc::clone(&name), id: topic.topic_id, partitions };
                self.topics.insert(name, Arc::new(known));
            }
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                self.topics.remove(name);
            }
            // The broker cannot say at the moment; what was known is the better guess.
            _ => {}
        }
    }
}

/// A partition's leader and what a request to it needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: i32,
    pub(crate) epoch: i32,
    pub(crate) topic_id: Uuid,
}

fn partitions(
    old: Option<&[PartitionMetadata]>,
    new: &[MetadataResponsePartition],
) -> Vec<PartitionMetadata> {
    // Partitions are numbered from 0 without gaps; a response that says otherwise is cut at the
    // first gap.
    let mut sorted: Vec<_> = new.iter().collect();
    sorted.sort_by_key(|partition| partition.partition_index);
    let dense = sorted
        .into_iter()
        .enumerate()
        .take_while(|(index, p)| i32::try_from(*index) == Ok(p.partition_index));
    dense
        .map(|(index, partition)| {
            let news = PartitionMetadata {
                leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
                leader_epoch: partition.leader_epoch,
            };
            match old.and_then(|old| old.get(index)) {
                Some(known) if known.leader_epoch > news.leader_epoch && news.leader_epoch >= 0 => {
                    *known
                }
                _ => news,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::string::kafka_string;
    use onrush_wire::message::metadata::response::MetadataResponseBroker;
    use onrush_wire::uuid;

    use super::*;

    fn answer(id: u8, leaders: &[(i32, i32)]) -> Response {
        let partition =
            |(index, (leader, epoch)): (usize, &(i32, i32))| MetadataResponsePartition {
                partition_index: i32::try_from(index).expect("small"),
                leader_id: *leader,
                leader_epoch: *epoch,
                ..MetadataResponsePartition::default()
            };
        let broker = |node_id| MetadataResponseBroker {
            node_id,
            host: kafka_string("h"),
            port: node_id,
            ..MetadataResponseBroker::default()
        };
        let topic = MetadataResponseTopic {
            name: Some(kafka_string("t")),
            topic_id: uuid::from_bytes([id; 16]),
            partitions: leaders.iter().enumerate().map(partition).collect(),
            ..MetadataResponseTopic::default()
        };
        Response { brokers: vec![broker(1), broker(2)], topics: vec![topic], ..Response::default() }
    }

    #[test]
    fn leader_epochs_never_go_back_unless_the_topic_is_new() {
        let mut cluster = Cluster::default();
        cluster.apply(&answer(7, &[(1, 5), (-1, 3)]));
        assert_eq!(cluster.leader("t", 0).map(|l| (l.node, l.epoch)), Some((1, 5)));
        assert_eq!(cluster.leader("t", 1), None);
        cluster.apply(&answer(7, &[(2, 4), (2, 4)]));
        assert_eq!(cluster.leader("t", 0).map(|l| l.node), Some(1));
        assert_eq!(cluster.leader("t", 1).map(|l| l.node), Some(2));
        cluster.apply(&answer(8, &[(2, 0)]));
        assert_eq!(cluster.leader("t", 0).map(|l| l.node), Some(2));
        assert_eq!(cluster.leader("t", 1), None);
    }

    #[test]
    fn a_broker_may_name_a_newer_leader_in_passing() {
        let mut cluster = Cluster::default();
        cluster.apply(&answer(7, &[(1, 5)]));
        assert!(!cluster.moved("t", 0, 2, 5), "the epoch is not newer");
        assert!(!cluster.moved("t", 0, 9, 6), "nobody knows that broker");
        assert!(cluster.moved("t", 0, 2, 6));
        assert_eq!(cluster.leader("t", 0).map(|l| l.node), Some(2));
    }

    #[test]
    fn a_deleted_topic_is_forgotten_and_gaps_are_cut() {
        let mut cluster = Cluster::default();
        let mut gap = answer(7, &[(1, 0), (1, 0)]);
        gap.topics[0].partitions[1].partition_index = 5;
        cluster.apply(&gap);
        assert_eq!(cluster.topic("t").map(|t| t.partitions.len()), Some(1));
        let mut gone = answer(7, &[]);
        gone.topics[0].error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        cluster.apply(&gone);
        assert!(cluster.topic("t").is_none());
    }
}
