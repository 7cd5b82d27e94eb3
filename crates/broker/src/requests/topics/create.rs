//! CreateTopics and CreatePartitions.

use std::collections::BTreeMap;

use onrush_wire::message::create_partitions::request::CreatePartitionsTopic;
use onrush_wire::message::create_partitions::response::CreatePartitionsTopicResult;
use onrush_wire::message::create_topics::request::CreatableTopic;
use onrush_wire::message::create_topics::response::CreatableTopicResult;
use onrush_wire::message::{create_partitions, create_topics};
use onrush_wire::{ErrorCode, KafkaString, Uuid};

use super::{Refusal, named_twice};
use crate::config::{MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC};
use crate::core::{Core, string};
use crate::settings::Overrides;
use crate::topics::TopicRef;

/// "As the broker thinks best", for the number of partitions and of replicas.
const DEFAULT: i32 = -1;

impl Core {
    pub(crate) fn create_topics(
        &mut self,
        request: create_topics::Request,
    ) -> create_topics::Response {
        let named = counted(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut planned: i32 = 0;
        for asked in &request.topics {
            let created = match named.get(asked.name.as_str()) {
                Some(1) => self.create_topic(asked, request.validate_only),
                _ => Err(named_twice()),
            };
            // What is only validated must fit together, too.
            let created = created.and_then(|created| {
                if request.validate_only {
                    planned = planned.saturating_add(created.num_partitions);
                    self.topics.has_room_for(planned).map_err(why)?;
                }
                Ok(created)
            });
            topics.push(created.unwrap_or_else(|(error, reason)| CreatableTopicResult {
                name: asked.name.clone(),
                error_code: error.0,
                error_message: Some(string(&reason)),
                num_partitions: -1,
                replication_factor: -1,
                ..CreatableTopicResult::default()
            }));
        }
        create_topics::Response { topics, ..create_topics::Response::default() }
    }

    fn create_topic(
        &mut self,
        asked: &CreatableTopic,
        validate_only: bool,
    ) -> Result<CreatableTopicResult, Refusal> {
        let name = asked.name.as_str();
        // First what is wrong with the name, whatever else is.
        self.topics.may_create(name, 1).map_err(why)?;
        let configs = asked
            .configs
            .iter()
            .map(|config| (config.name.as_str(), config.value.as_ref().map(KafkaString::as_str)));
        let overrides = self.new_topic_settings(configs)?;
        let partitions = self.partitions_asked(asked)?;
        self.topics.may_create(name, partitions).map_err(why)?;
        let configs = self.described_new_topic(&overrides);
        let topic_id =
            if validate_only { Uuid::ZERO } else { self.created(name, partitions, overrides)? };
        Ok(CreatableTopicResult {
            name: asked.name.clone(),
            topic_id,
            num_partitions: partitions,
            replication_factor: 1,
            configs: Some(configs),
            ..CreatableTopicResult::default()
        })
    }

    fn created(
        &mut self,
        name: &str,
        partitions: i32,
        overrides: Overrides,
    ) -> Result<Uuid, Refusal> {
        let created = self.topics.create_with(&self.random, name, partitions, overrides);
        created.map(|topic| topic.id).map_err(why)
    }

    /// How many partitions a topic is to have, by number or by the brokers of each.
    fn partitions_asked(&self, asked: &CreatableTopic) -> Result<i32, Refusal> {
        let refused = |error, reason: &str| Err((error, reason.to_owned()));
        if !asked.assignments.is_empty() {
            if asked.num_partitions != DEFAULT || asked.replication_factor != -1 {
                let reason = "with brokers named for each partition, the number of partitions and the replication factor are -1";
                return refused(ErrorCode::INVALID_REQUEST, reason);
            }
            let mut indexes: Vec<i32> =
                asked.assignments.iter().map(|assignment| assignment.partition_index).collect();
            indexes.sort_unstable();
            if !indexes.iter().copied().eq((0..).take(indexes.len())) {
                let reason = "the partitions with brokers are not 0, 1, 2 and so on";
                return refused(ErrorCode::INVALID_REPLICA_ASSIGNMENT, reason);
            }
            for assignment in &asked.assignments {
                self.check_replicas(&assignment.broker_ids)?;
            }
            return Ok(i32::try_from(indexes.len()).unwrap_or(i32::MAX));
        }
        if !matches!(asked.replication_factor, -1 | 1) {
            let reason = "there is one broker: the replication factor is 1 (or -1, the default)";
            return refused(ErrorCode::INVALID_REPLICATION_FACTOR, reason);
        }
        match asked.num_partitions {
            DEFAULT => Ok(self.config.default_partitions),
            count => Ok(count),
        }
    }

    fn check_replicas(&self, brokers: &[i32]) -> Result<(), Refusal> {
        if brokers == [self.config.node_id] {
            return Ok(());
        }
        let reason = format!("each partition is on broker {} and on no other", self.config.node_id);
        Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, reason))
    }

    pub(crate) fn create_partitions(
        &mut self,
        request: create_partitions::Request,
    ) -> create_partitions::Response {
        let named = counted(request.topics.iter().map(|topic| topic.name.as_str()));
        let mut results = Vec::with_capacity(request.topics.len());
        for asked in &request.topics {
            let added = match named.get(asked.name.as_str()) {
                Some(1) => self.add_partitions(asked, request.validate_only),
                _ => Err(named_twice()),
            };
            let (error, message) = match added {
                Ok(()) => (ErrorCode::NONE, None),
                Err((error, reason)) => (error, Some(string(&reason))),
            };
            results.push(CreatePartitionsTopicResult {
                name: asked.name.clone(),
                error_code: error.0,
                error_message: message,
                ..CreatePartitionsTopicResult::default()
            });
        }
        create_partitions::Response { results, ..create_partitions::Response::default() }
    }

    fn add_partitions(
        &mut self,
        asked: &CreatePartitionsTopic,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (name, count) = (asked.name.as_str(), asked.count);
        let present = self.topics.find(TopicRef::Name(name)).map_err(why)?.partitions();
        if count <= present {
            let reason = format!("the topic has {present} partitions; {count} is not more");
            return Err((ErrorCode::INVALID_PARTITIONS, reason));
        }
        self.topics.may_add_partitions(name, count).map_err(why)?;
        if let Some(assignments) = &asked.assignments {
            if i32::try_from(assignments.len()) != Ok(count - present) {
                let reason = format!(
                    "brokers are named for {} partitions; {} are added",
                    assignments.len(),
                    count - present
                );
                return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, reason));
            }
            for assignment in assignments {
                self.check_replicas(&assignment.broker_ids)?;
            }
        }
        if validate_only {
            return Ok(());
        }
        self.topics.add_partitions(name, count).map_err(why)
    }
}

/// How often each name is there.
fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counted = BTreeMap::new();
    for name in names {
        *counted.entry(name).or_default() += 1;
    }
    counted
}

fn why(error: ErrorCode) -> Refusal {
    let reason = match error {
        ErrorCode::TOPIC_ALREADY_EXISTS => "a topic of that name exists".to_owned(),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "there is no topic of that name".to_owned(),
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "topic names have 1 to 249 letters, digits, dots, underscores and hyphens, and are not . or .."
                .to_owned()
        }
        ErrorCode::INVALID_PARTITIONS => {
            format!("the number of partitions is not between 1 and {MAX_PARTITIONS_PER_TOPIC}")
        }
        ErrorCode::POLICY_VIOLATION => {
            format!("the broker would have more than {MAX_PARTITIONS} partitions")
        }
        _ => "the broker could not write it to its disk; its log says why".to_owned(),
    };
    (error, reason)
}
