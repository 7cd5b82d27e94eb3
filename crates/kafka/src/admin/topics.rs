//! Topics: list, look at, create, grow and delete.

use std::sync::Arc;

use onrush_wire::message::{create_partitions, create_topics, delete_topics, metadata};
use onrush_wire::{ApiKey, ErrorCode, KafkaString, Uuid};

use crate::admin::{Effect, Outcomes, answered, checked};
use crate::client::Client;
use crate::cluster::TopicMetadata;
use crate::config::NEW_TOPIC_PATIENCE;
use crate::error::ClientError;
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// First version of DeleteTopics that names topics by name or id.
const TOPIC_STATES: i16 = 6;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the cluster's default.
    pub partitions: Option<i32>,
    /// How many replicas of each; `None` for the cluster's default.
    pub replication: Option<i16>,
    /// Settings (name, value) that differ from the cluster's.
    pub configs: Vec<(String, String)>,
}

/// A topic as a broker knows it at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Whether it is one of the cluster's own.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as a broker knows it at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads, if there is one.
    pub leader: Option<i32>,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
}

impl TopicDescription {
    /// Its partitions' names.
    pub fn partition_names(&self) -> impl Iterator<Item = TopicPartition> {
        let name: Arc<str> = Arc::from(self.name.as_str());
        self.partitions.iter().map(move |partition| TopicPartition {
            topic: Arc::clone(&name),
            partition: partition.partition,
        })
    }

    /// The largest number of replicas that one of its partitions has.
    #[must_use]
    pub fn replication(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
    }
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
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            replication: Some(replication),
            configs: Vec::new(),
        };
        // Not by `create_topics`: the engine awaits this in a task, and a future that asks by way of
        // an async closure is not known to be `Send`.
        let mut tries = self.tries();
        loop {
            let asked = self.ask_creation(vec![creatable(&topic)], Effect::Apply).await;
            match asked.and_then(|mut outcomes| outcomes.remove(name).unwrap_or(Ok(()))) {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                    tries.failed(error).await?;
                }
                _ => break,
            }
        }
        let mut topics = self.metadata(&[name]).await?;
        topics.pop().ok_or_else(|| ClientError::UnknownTopic { topic: name.to_owned() })
    }

    /// Creates topics. One that is there already is `TOPIC_ALREADY_EXISTS`, also where an earlier
    /// try made it whose answer was lost.
    pub async fn create_topics(&self, topics: &[NewTopic], effect: Effect) -> Outcomes<String, ()> {
        let names = topics.iter().map(|topic| topic.name.clone());
        self.for_each(ApiKey::CREATE_TOPICS, names, async |open| {
            let wanted = topics.iter().filter(|topic| open.contains(&topic.name));
            self.ask_creation(wanted.map(creatable).collect(), effect).await
        })
        .await
    }

    async fn ask_creation(
        &self,
        wanted: Vec<create_topics::request::CreatableTopic>,
        effect: Effect,
    ) -> Result<Outcomes<String, ()>, ClientError> {
        // Any broker forwards it to the controller.
        let response = self
            .call_any(|_| create_topics::Request {
                topics: wanted.clone(),
                timeout_ms: self.change_timeout_ms(),
                validate_only: effect.validate_only(),
                ..create_topics::Request::default()
            })
            .await?;
        let outcomes = response.topics.iter().map(|topic| {
            let (name, message) = (topic.name.as_str(), topic.error_message.as_ref());
            outcome(ApiKey::CREATE_TOPICS, name, topic.error_code, message)
        });
        Ok(outcomes.collect())
    }

    /// Deletes topics with all that is in them.
    pub async fn delete_topics(&self, names: &[&str]) -> Outcomes<String, ()> {
        let names = names.iter().map(|name| (*name).to_owned());
        self.for_each(ApiKey::DELETE_TOPICS, names, async |open| {
            let response = self.call_any(|version| self.deletion(open, version)).await?;
            let outcomes = response.responses.iter().filter_map(|topic| {
                let (name, message) = (topic.name.as_ref()?.as_str(), topic.error_message.as_ref());
                Some(outcome(ApiKey::DELETE_TOPICS, name, topic.error_code, message))
            });
            Ok(outcomes.collect())
        })
        .await
    }

    fn deletion(&self, names: &[String], version: i16) -> delete_topics::Request {
        let mut request = delete_topics::Request {
            timeout_ms: self.change_timeout_ms(),
            ..delete_topics::Request::default()
        };
        let names = names.iter().map(|name| kafka_string(name));
        if version >= TOPIC_STATES {
            let state = |name| delete_topics::request::DeleteTopicState {
                name: Some(name),
                ..delete_topics::request::DeleteTopicState::default()
            };
            request.topics = names.map(state).collect();
        } else {
            request.topic_names = names.collect();
        }
        request
    }

    /// Gives topics (name, count) more partitions, so that they have `count` in all. Records stay
    /// where they are; new ones of a key may go to another partition than its older ones.
    pub async fn create_partitions(
        &self,
        topics: &[(&str, i32)],
        effect: Effect,
    ) -> Outcomes<String, ()> {
        let names = topics.iter().map(|(name, _)| (*name).to_owned());
        self.for_each(ApiKey::CREATE_PARTITIONS, names, async |open| {
            let wanted = topics.iter().filter(|(name, _)| open.iter().any(|open| open == name));
            self.ask_growth(wanted.map(grown).collect(), effect).await
        })
        .await
    }

    /// Gives one topic more partitions, so that it has `partitions` in all, for who awaits that in a
    /// task (see [`Client::create_topic`]).
    ///
    /// # Errors
    /// The cluster refused, maybe since it has as many already, or nobody answered in time.
    pub async fn grow_topic(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        let mut tries = self.tries();
        loop {
            let asked = self.ask_growth(vec![grown(&(name, partitions))], Effect::Apply).await;
            match asked.and_then(|mut outcomes| outcomes.remove(name).unwrap_or(Ok(()))) {
                Ok(()) => return Ok(()),
                Err(error) => tries.failed(error).await?,
            }
        }
    }

    async fn ask_growth(
        &self,
        wanted: Vec<create_partitions::request::CreatePartitionsTopic>,
        effect: Effect,
    ) -> Result<Outcomes<String, ()>, ClientError> {
        let response = self
            .call_any(|_| create_partitions::Request {
                topics: wanted.clone(),
                timeout_ms: self.change_timeout_ms(),
                validate_only: effect.validate_only(),
                ..create_partitions::Request::default()
            })
            .await?;
        let outcomes = response.results.iter().map(|topic| {
            let (name, message) = (topic.name.as_str(), topic.error_message.as_ref());
            outcome(ApiKey::CREATE_PARTITIONS, name, topic.error_code, message)
        });
        Ok(outcomes.collect())
    }

    /// All topics, by name. The answer is not kept.
    ///
    /// # Errors
    /// Nobody answered in time.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, ClientError> {
        let mut tries = self.tries();
        loop {
            match self.ask_topics(None).await {
                Ok(response) => {
                    let mut topics: Vec<_> = response.topics.iter().filter_map(described).collect();
                    topics.sort_by(|a, b| a.name.cmp(&b.name));
                    return Ok(topics);
                }
                Err(error) => tries.failed(error).await?,
            }
        }
    }

    /// How these topics are at the moment. The answer is not kept.
    pub async fn describe_topics(&self, names: &[&str]) -> Outcomes<String, TopicDescription> {
        let names = names.iter().map(|name| (*name).to_owned());
        self.for_each(ApiKey::METADATA, names, async |open| {
            let response = self.ask_topics(Some(open)).await?;
            let outcomes = response.topics.iter().filter_map(|topic| {
                let name = topic.name.as_ref()?.as_str().to_owned();
                let found = match ErrorCode(topic.error_code) {
                    ErrorCode::NONE => described(topic),
                    _ => None,
                };
                let target = format!("topic {name}");
                let found = found.ok_or_else(|| {
                    answered(ApiKey::METADATA, target, ErrorCode(topic.error_code), "")
                });
                Some((name, found))
            });
            Ok(outcomes.collect())
        })
        .await
    }

    async fn ask_topics(
        &self,
        names: Option<&[String]>,
    ) -> Result<metadata::Response, ClientError> {
        let topic = |name: &String| metadata::request::MetadataRequestTopic {
            name: Some(kafka_string(name)),
            ..metadata::request::MetadataRequestTopic::default()
        };
        let topics: Option<Vec<_>> = names.map(|names| names.iter().map(topic).collect());
        self.call_any(|_| metadata::Request {
            topics: topics.clone(),
            allow_auto_topic_creation: false,
            ..metadata::Request::default()
        })
        .await
    }

    /// Waits until a broker shows what a change made of a topic: brokers hear of changes a moment
    /// after the controller answered. Returns whether it does; after [`NEW_TOPIC_PATIENCE`] it is
    /// not waited any longer.
    pub async fn topic_settled(
        &self,
        name: &str,
        settled: impl Fn(Option<&TopicDescription>) -> bool,
    ) -> bool {
        let mut tries = self.tries();
        loop {
            let error = match self.describe_topics(&[name]).await.remove(name) {
                Some(Ok(topic)) if settled(Some(&topic)) => return true,
                Some(Err(error)) if is_unknown(&error) && settled(None) => return true,
                Some(Err(error)) if !is_unknown(&error) => error,
                _ => ClientError::UnknownTopic { topic: name.to_owned() },
            };
            if tries.failed_within(error, NEW_TOPIC_PATIENCE).await.is_err() {
                return false;
            }
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
}

fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn outcome(
    api: ApiKey,
    name: &str,
    code: i16,
    message: Option<&KafkaString>,
) -> (String, Result<(), ClientError>) {
    (name.to_owned(), checked(api, format_args!("topic {name}"), code, message))
}

fn grown(&(name, count): &(&str, i32)) -> create_partitions::request::CreatePartitionsTopic {
    create_partitions::request::CreatePartitionsTopic {
        name: kafka_string(name),
        count,
        assignments: None,
        ..create_partitions::request::CreatePartitionsTopic::default()
    }
}

fn creatable(topic: &NewTopic) -> create_topics::request::CreatableTopic {
    let config = |(name, value): &(String, String)| create_topics::request::CreatableTopicConfig {
        name: kafka_string(name),
        value: Some(kafka_string(value)),
        ..create_topics::request::CreatableTopicConfig::default()
    };
    create_topics::request::CreatableTopic {
        name: kafka_string(&topic.name),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication.unwrap_or(-1),
        configs: topic.configs.iter().map(config).collect(),
        ..create_topics::request::CreatableTopic::default()
    }
}

/// A partition that has no leader carries an error of its own, and is described all the same.
fn described(topic: &metadata::response::MetadataResponseTopic) -> Option<TopicDescription> {
    let partition =
        |partition: &metadata::response::MetadataResponsePartition| PartitionDescription {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        };
    let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|partition| partition.partition);
    Some(TopicDescription {
        name: topic.name.as_ref()?.as_str().to_owned(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    })
}
