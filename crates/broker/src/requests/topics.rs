//! CreateTopics, DeleteTopics, InitProducerId.

use std::collections::BTreeMap;

use onrush_wire::message::create_topics::request::CreatableTopic;
use onrush_wire::message::create_topics::response::CreatableTopicResult;
use onrush_wire::message::delete_topics::response::DeletableTopicResult;
use onrush_wire::message::{create_topics, delete_topics, init_producer_id};
use onrush_wire::{ErrorCode, KafkaString, Uuid};

use crate::core::{Core, string};
use crate::topics::TopicRef;

/// "As the broker thinks best", for the number of partitions and of replicas.
const DEFAULT: i32 = -1;

/// The first version of DeleteTopics that may name topics by id.
const DELETE_BY_ID: i16 = 6;

impl Core {
    pub(crate) fn create_topics(
        &mut self,
        request: create_topics::Request,
    ) -> create_topics::Response {
        let mut named: BTreeMap<&str, u32> = BTreeMap::new();
        for topic in &request.topics {
            *named.entry(topic.name.as_str()).or_default() += 1;
        }
        let topics = request
            .topics
            .iter()
            .map(|topic| match named.get(topic.name.as_str()) {
                Some(1) => self.create_topic(topic, request.validate_only),
                _ => refused(
                    topic,
                    ErrorCode::INVALID_REQUEST,
                    "the request names it more than once",
                ),
            })
            .collect();
        create_topics::Response { topics, ..create_topics::Response::default() }
    }

    fn create_topic(
        &mut self,
        topic: &CreatableTopic,
        validate_only: bool,
    ) -> CreatableTopicResult {
        if !matches!(topic.replication_factor, -1 | 1) && topic.assignments.is_empty() {
            let reason = "there is one broker: the replication factor is 1 (or -1, the default)";
            return refused(topic, ErrorCode::INVALID_REPLICATION_FACTOR, reason);
        }
        let partitions = match topic.num_partitions {
            DEFAULT if topic.assignments.is_empty() => self.config.default_partitions,
            DEFAULT => i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX),
            count => count,
        };
        let name = topic.name.as_str();
        for config in &topic.configs {
            tracing::warn!(
                topic = name,
                config = config.name.as_str(),
                "topics have no settings here: ignored one"
            );
        }
        let created = if validate_only {
            self.topics.may_create(name, partitions).map(|()| Uuid::ZERO)
        } else {
            self.topics.create(&self.random, name, partitions).map(|topic| topic.id)
        };
        match created {
            Ok(topic_id) => CreatableTopicResult {
                name: topic.name.clone(),
                topic_id,
                num_partitions: partitions,
                replication_factor: 1,
                configs: Some(Vec::new()),
                ..CreatableTopicResult::default()
            },
            Err(error) => refused(topic, error, reason(error)),
        }
    }

    pub(crate) fn delete_topics(
        &mut self,
        version: i16,
        request: delete_topics::Request,
    ) -> delete_topics::Response {
        let responses = if version >= DELETE_BY_ID {
            let by_state = request.topics.iter();
            by_state.map(|topic| self.delete_topic(topic.name.as_ref(), topic.topic_id)).collect()
        } else {
            let names = request.topic_names.iter();
            names.map(|name| self.delete_topic(Some(name), Uuid::ZERO)).collect()
        };
        delete_topics::Response { responses, ..delete_topics::Response::default() }
    }

    fn delete_topic(&mut self, name: Option<&KafkaString>, id: Uuid) -> DeletableTopicResult {
        let asked = name.map_or(TopicRef::Id(id), |name| TopicRef::Name(name.as_str()));
        let found = self.topics.find(asked).map(|topic| topic.name.clone());
        let deleted = found.and_then(|name| {
            // First, so that no crash can leave them for another topic of that name.
            self.offsets.forget_topic(&name).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
            let id = self.topics.delete(&name)?;
            Ok((name, id))
        });
        match deleted {
            Ok((name, topic_id)) => DeletableTopicResult {
                name: Some(string(&name)),
                topic_id,
                ..DeletableTopicResult::default()
            },
            Err(error) => DeletableTopicResult {
                name: name.cloned(),
                topic_id: id,
                error_code: error.0,
                ..DeletableTopicResult::default()
            },
        }
    }

    pub(crate) fn init_producer_id(
        &mut self,
        request: init_producer_id::Request,
    ) -> init_producer_id::Response {
        let refused = |error: ErrorCode| init_producer_id::Response {
            error_code: error.0,
            producer_id: -1,
            producer_epoch: -1,
            ..init_producer_id::Response::default()
        };
        if request.transactional_id.is_some() {
            tracing::warn!("a producer asked for transactions, which are not served");
            return refused(ErrorCode::INVALID_REQUEST);
        }
        // Without a transactional id the broker has no memory of the producer: a new epoch is a new
        // id.
        match self.topics.new_producer_id() {
            Ok(producer_id) => init_producer_id::Response {
                producer_id,
                producer_epoch: 0,
                ..init_producer_id::Response::default()
            },
            Err(_) => refused(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        }
    }
}

fn refused(topic: &CreatableTopic, error: ErrorCode, reason: &str) -> CreatableTopicResult {
    CreatableTopicResult {
        name: topic.name.clone(),
        error_code: error.0,
        error_message: Some(string(reason)),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopicResult::default()
    }
}

fn reason(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::TOPIC_ALREADY_EXISTS => "a topic of that name exists",
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "topic names have 1 to 249 letters, digits, dots, underscores and hyphens, and are not . or .."
        }
        ErrorCode::INVALID_PARTITIONS => "the number of partitions is not between 1 and 1024",
        ErrorCode::POLICY_VIOLATION => "the broker would have more than 10000 partitions",
        _ => "the broker could not write it to its disk; its log says why",
    }
}

#[cfg(test)]
mod tests {
    use onrush_runtime::disk::MemoryDisk;
    use onrush_runtime::{Disk, Runtime};

    use super::*;
    use crate::BrokerConfig;
    use crate::offsets::Committed;
    use crate::topics::Place;

    #[test]
    fn commits_go_before_their_topic() {
        let memory = MemoryDisk::default();
        let runtime = Runtime::production(Disk::Memory(memory.clone()));
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 1).expect("created");
        let place = Place { topic: "t".into(), partition: 0 };
        let committed =
            Committed { offset: 0, leader_epoch: 1, metadata: String::new(), log_end: 0 };
        core.offsets.commit("g", vec![(place.clone(), committed)]).expect("stored");
        // There is room for the entry that forgets the commits, not for the one of the topic as well.
        memory.limit(Some(memory.used() + 20));
        let refused = core.delete_topic(Some(&string("t")), Uuid::ZERO);
        assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR.0);
        assert!(core.topics.log("t", 0).is_ok());
        assert_eq!(core.offsets.get("g", &place), None);
        memory.limit(None);
        let deleted = core.delete_topic(Some(&string("t")), Uuid::ZERO);
        assert_eq!(deleted.error_code, 0);
        assert!(core.topics.log("t", 0).is_err());
    }
}
