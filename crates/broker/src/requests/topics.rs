//! CreateTopics, CreatePartitions, DeleteTopics, InitProducerId.

mod create;

use std::collections::BTreeSet;
use std::sync::Arc;

use onrush_wire::message::delete_topics::response::DeletableTopicResult;
use onrush_wire::message::{delete_topics, init_producer_id};
use onrush_wire::{ErrorCode, KafkaString, Uuid};

use crate::core::{Core, string};
use crate::topics::{Place, TopicRef};

/// The first version of DeleteTopics that has an error for brokers which keep all topics.
const DELETION_DISABLED: i16 = 3;

/// The first version of DeleteTopics that may name topics by id.
const DELETE_BY_ID: i16 = 6;

/// Why a request is not carried out for a topic.
type Refusal = (ErrorCode, String);

impl Core {
    pub(crate) fn delete_topics(
        &mut self,
        version: i16,
        request: delete_topics::Request,
    ) -> delete_topics::Response {
        let named: Vec<(Option<&KafkaString>, Uuid)> = if version >= DELETE_BY_ID {
            request.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id)).collect()
        } else {
            request.topic_names.iter().map(|name| (Some(name), Uuid::ZERO)).collect()
        };
        let mut seen = BTreeSet::new();
        let mut responses = Vec::with_capacity(named.len());
        for (name, id) in named {
            let first = seen.insert((name.map(KafkaString::as_str), id));
            let deleted =
                if first { self.delete_topic(version, name, id) } else { Err(named_twice()) };
            responses.push(match deleted {
                Ok((name, topic_id)) => DeletableTopicResult {
                    name: Some(string(&name)),
                    topic_id,
                    ..DeletableTopicResult::default()
                },
                Err((error, reason)) => DeletableTopicResult {
                    name: name.cloned(),
                    topic_id: id,
                    error_code: error.0,
                    error_message: Some(string(&reason)),
                    ..DeletableTopicResult::default()
                },
            });
        }
        delete_topics::Response { responses, ..delete_topics::Response::default() }
    }

    fn delete_topic(
        &mut self,
        version: i16,
        name: Option<&KafkaString>,
        id: Uuid,
    ) -> Result<(Arc<str>, Uuid), Refusal> {
        if !self.config.delete_topics {
            let error = if version >= DELETION_DISABLED {
                ErrorCode::TOPIC_DELETION_DISABLED
            } else {
                ErrorCode::INVALID_REQUEST
            };
            return Err((
                error,
                "the broker keeps topics: delete.topic.enable is false".to_owned(),
            ));
        }
        let asked = match name {
            Some(name) if id == Uuid::ZERO => TopicRef::Name(name.as_str()),
            None if id != Uuid::ZERO => TopicRef::Id(id),
            _ => {
                let reason = "a topic is named by its name or by its id".to_owned();
                return Err((ErrorCode::INVALID_REQUEST, reason));
            }
        };
        let found = self.topics.find(asked).map(|topic| (topic.name.clone(), topic.partitions()));
        let (name, partitions) =
            found.map_err(|error| (error, "there is no such topic".to_owned()))?;
        let unwritten = || {
            let reason = "the broker could not write it to its disk; its log says why".to_owned();
            (ErrorCode::KAFKA_STORAGE_ERROR, reason)
        };
        // First, so that no crash can leave them for another topic of that name.
        self.offsets.forget_topic(&name).map_err(|_| unwritten())?;
        let id = self.topics.delete(&name).map_err(|_| unwritten())?;
        // Now, before there is another topic of that name.
        for partition in 0..partitions {
            let place = Place { topic: name.clone(), partition };
            self.settle(&place);
            self.parked.gone(&place);
        }
        Ok((name, id))
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

fn named_twice() -> Refusal {
    (ErrorCode::INVALID_REQUEST, "the request names it more than once".to_owned())
}

#[cfg(test)]
mod tests {
    use onrush_runtime::disk::MemoryDisk;
    use onrush_runtime::{Disk, Runtime};

    use super::*;
    use crate::BrokerConfig;
    use crate::offsets::Committed;

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
        memory.limit(Some(memory.used() + 40));
        let refused = core.delete_topic(6, Some(&string("t")), Uuid::ZERO).expect_err("no room");
        assert_eq!(refused.0, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(core.topics.log("t", 0).is_ok());
        assert_eq!(core.offsets.get("g", &place), None);
        memory.limit(None);
        core.delete_topic(6, Some(&string("t")), Uuid::ZERO).expect("deleted");
        assert!(core.topics.log("t", 0).is_err());
    }
}
