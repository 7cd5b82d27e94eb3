//! The produce requests of one broker: sent in the order they come in, answered in that order.
//!
//! The sequencer lets only so many be in flight, so that the lane's queue never fills. When the
//! connection breaks, every request in flight is reported as failed before the next one is sent on
//! a new connection.
//!
//! A broker that throttles is sent nothing until the time is over; answers still land.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::produce::{PartitionProduce, ProduceRequest, ProduceResponse, TopicProduce};
use onrush_wire::{ApiKey, KafkaString, Uuid};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::sequence::{Outgoing, Verdict};
use super::{Acks, Shared};
use crate::connection::{Answer, Connection, received};
use crate::error::ClientError;
use crate::link::{Link, Purpose};
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// What became of a request.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) request: u64,
    pub(super) result: Result<BTreeMap<TopicPartition, Verdict>, ClientError>,
}

struct Sent {
    request: u64,
    version: i16,
    /// Which topics it was about: answers of newer versions name ids only.
    topics: Vec<(Arc<str>, Uuid)>,
    answer: Answer,
    broker: String,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    node: i32,
    mut requests: mpsc::Receiver<Outgoing>,
    landed: mpsc::Sender<Landed>,
) {
    let mut lane = Lane { shared, node, connection: None, sent: VecDeque::new(), silence: None };
    loop {
        let silence = lane.silence;
        // A branch that loses is dropped where it stands: each waits for what it would meet again,
        // and takes nothing before its last wait.
        let result = tokio::select! {
            biased;
            frame = lane.oldest() => lane.land(frame).await,
            request = next(&mut requests, silence) => match request {
                Some(request) => lane.send(request).await,
                None => return,
            },
        };
        if let Some(result) = result
            && landed.send(result).await.is_err()
        {
            return;
        }
    }
}

/// The next request, when the silence is over.
async fn next(
    requests: &mut mpsc::Receiver<Outgoing>,
    silence: Option<Instant>,
) -> Option<Outgoing> {
    if let Some(end) = silence {
        sleep_until(end).await;
    }
    requests.recv().await
}

struct Lane {
    shared: Arc<Shared>,
    node: i32,
    connection: Option<(Arc<Link>, Connection)>,
    sent: VecDeque<Sent>,
    /// The broker asked for silence until then.
    silence: Option<Instant>,
}

impl Lane {
    /// Sends a request, or tells at once why not.
    async fn send(&mut self, request: Outgoing) -> Option<Landed> {
        match self.try_send(&request).await {
            Ok(sent) => {
                self.sent.push_back(sent);
                None
            }
            Err(error) => Some(Landed { request: request.id, result: Err(error) }),
        }
    }

    async fn try_send(&mut self, request: &Outgoing) -> Result<Sent, ClientError> {
        let connection = self.connection().await?;
        let version = connection.version(ApiKey::PRODUCE)?;
        let config = self.shared.client.config();
        let acks = match self.shared.config.acks {
            Acks::All => -1,
            Acks::Leader => 1,
        };
        let topics = by_topic(request);
        let asked = ProduceRequest {
            transactional_id: None,
            acks,
            timeout_ms: i32::try_from(config.request_timeout.as_millis()).unwrap_or(i32::MAX),
            topics: topics
                .iter()
                .map(|(name, id, partitions)| topic(name, *id, partitions))
                .collect(),
        };
        let answer =
            connection.request(ApiKey::PRODUCE, version, config.request_timeout, |header| {
                asked.encode(header)
            })?;
        let topics = topics.into_iter().map(|(name, id, _)| (name, id)).collect();
        Ok(Sent {
            request: request.id,
            version,
            topics,
            answer,
            broker: connection.broker().to_owned(),
        })
    }

    async fn connection(&mut self) -> Result<Connection, ClientError> {
        if let Some((_, connection)) =
            self.connection.as_ref().filter(|(_, connection)| connection.is_open())
        {
            return Ok(connection.clone());
        }
        let (link, connection) = self.shared.client.connection(self.node, Purpose::Produce).await?;
        self.connection = Some((link, connection.clone()));
        Ok(connection)
    }

    /// The answer to the oldest request, which stays the oldest until it [lands](Self::land).
    async fn oldest(&mut self) -> Result<Bytes, ClientError> {
        match self.sent.front_mut() {
            Some(sent) => received(&sent.broker, &mut sent.answer).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the oldest request's answer.
    async fn land(&mut self, frame: Result<Bytes, ClientError>) -> Option<Landed> {
        let sent = self.sent.pop_front()?;
        let decoded = frame.and_then(|frame| {
            ProduceResponse::decode(sent.version, frame)
                .map_err(|error| ClientError::wire(&sent.broker, error))
        });
        let result = match decoded {
            Ok((_, response)) => {
                if let Some((link, _)) = &self.connection {
                    link.is_well().await;
                }
                self.throttled(response.throttle_ms);
                Ok(self.verdicts(&sent.topics, response))
            }
            Err(error) => Err(error),
        };
        Some(Landed { request: sent.request, result })
    }

    fn throttled(&mut self, millis: i32) {
        if let Ok(millis @ 1..) = u64::try_from(millis) {
            let end = Instant::now() + Duration::from_millis(millis);
            self.silence = self.silence.max(Some(end));
        }
    }

    fn verdicts(
        &self,
        topics: &[(Arc<str>, Uuid)],
        response: ProduceResponse,
    ) -> BTreeMap<TopicPartition, Verdict> {
        let mut verdicts = BTreeMap::new();
        for topic in response.topics {
            let same = |(name, id): &&(Arc<str>, Uuid)| {
                if topic.name.is_empty() {
                    *id == topic.topic_id
                } else {
                    **name == *topic.name.as_str()
                }
            };
            let Some((name, _)) = topics.iter().find(same) else { continue };
            for partition in topic.partitions {
                if let Some(leader) = partition.current_leader {
                    self.shared.client.leader_moved(name, partition.index, leader.id, leader.epoch);
                }
                let verdict = Verdict {
                    code: partition.error_code,
                    base_offset: partition.base_offset,
                    message: partition
                        .error_message
                        .as_ref()
                        .map(|message: &KafkaString| message.as_str().to_owned()),
                };
                verdicts.insert(TopicPartition::new(Arc::clone(name), partition.index), verdict);
            }
        }
        verdicts
    }
}

type TopicBatches = (Arc<str>, Uuid, Vec<PartitionProduce>);

fn by_topic(request: &Outgoing) -> Vec<TopicBatches> {
    let mut topics: Vec<TopicBatches> = Vec::new();
    for (partition, id, bytes) in &request.batches {
        let produce = PartitionProduce { index: partition.partition, records: Some(bytes.clone()) };
        match topics.iter_mut().find(|(name, ..)| *name == partition.topic) {
            Some((.., partitions)) => partitions.push(produce),
            None => topics.push((Arc::clone(&partition.topic), *id, vec![produce])),
        }
    }
    topics
}

fn topic(name: &str, topic_id: Uuid, partitions: &[PartitionProduce]) -> TopicProduce {
    TopicProduce { name: kafka_string(name), topic_id, partitions: partitions.to_vec() }
}
