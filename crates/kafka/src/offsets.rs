//! Committed offsets of a group: fetch and commit, by the group's coordinator.
//!
//! Both APIs name topics up to version 9 and carry topic ids from version 10 on; a topic whose id
//! is not known makes us use the older version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_wire::message::{offset_commit, offset_fetch};
use onrush_wire::{ApiKey, ErrorCode, KafkaString, Uuid};

use crate::client::Client;
use crate::error::{ClientError, Remedy, remedy_of};
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// First versions with topic ids instead of names.
const TOPIC_IDS: i16 = 10;
/// First version of OffsetFetch that takes several groups.
const GROUPS: i16 = 8;
/// Last versions that name topics.
const LAST_NAMED: i16 = TOPIC_IDS - 1;

/// What a group had committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset to go on from; -1 if the group has none.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// What the committer added.
    pub metadata: String,
}

/// What to commit for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset to go on from.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// What to keep beside it; the broker's limit is 4,096 bytes by default.
    pub metadata: String,
}

/// In whose name something is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committer {
    pub(crate) member: String,
    pub(crate) epoch: i32,
    pub(crate) instance: Option<String>,
}

impl Client {
    /// What `group` committed for these partitions. Offsets of open transactions are waited for.
    ///
    /// # Errors
    /// The coordinator could not be asked for as long as calls are retried, or it refused.
    pub async fn fetch_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Committed>, ClientError> {
        let mut tries = self.tries();
        loop {
            match self.ask_offsets(group, partitions).await {
                Ok(committed) => return Ok(committed),
                Err(error) => {
                    self.forget_coordinator(group);
                    tries.failed(error).await?;
                }
            }
        }
    }

    /// All that `group` has committed, by partition. Offsets of open transactions are not waited
    /// for: what held before them is told.
    ///
    /// # Errors
    /// The coordinator could not be asked for as long as calls are retried, or it refused.
    pub async fn fetch_all_offsets(&self, group: &str) -> Result<Vec<Committed>, ClientError> {
        let mut found = self
            .coordinated(group, async |address| {
                // Ids would have to be turned back into names.
                let response =
                    self.call_capped(address, LAST_NAMED, |_| fetch_all_request(group)).await?;
                all_committed(group, &response)
            })
            .await?;
        found.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(found)
    }

    async fn ask_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Committed>, ClientError> {
        let topics =
            self.by_topic(partitions.iter().map(|partition| (partition, partition.partition)));
        let response = self
            .group_call(group, &topics, |version, topics| fetch_request(group, topics, version))
            .await?;
        let answer = |code: i16| fetch_answer(group, code);
        answer(response.error_code)?;
        let mut committed = Vec::with_capacity(partitions.len());
        for group in &response.groups {
            answer(group.error_code)?;
            for topic in &group.topics {
                let Some(name) = topic_name(&topics, &topic.name, topic.topic_id) else { continue };
                for found in &topic.partitions {
                    answer(found.error_code)?;
                    committed.push(committed_at(name, found));
                }
            }
        }
        let told: BTreeSet<_> = committed.iter().map(|committed| &committed.partition).collect();
        match partitions.iter().find(|partition| !told.contains(partition)) {
            Some(partition) => Err(ClientError::Omitted {
                api: ApiKey::OFFSET_FETCH,
                partition: partition.clone(),
            }),
            None => Ok(committed),
        }
    }

    /// Commits once, as `committer` or as nobody (for a group without members). What the
    /// coordinator said of each partition, in the order given.
    pub(crate) async fn commit_once(
        &self,
        group: &str,
        committer: Option<&Committer>,
        commits: &[Commit],
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ClientError> {
        let topics = self.by_topic(commits.iter().map(|commit| (&commit.partition, commit)));
        let response = self
            .group_call(group, &topics, |_, topics| commit_request(group, committer, topics))
            .await?;
        let mut codes = BTreeMap::new();
        for topic in &response.topics {
            let Some(name) = topic_name(&topics, &topic.name, topic.topic_id) else { continue };
            for partition in &topic.partitions {
                codes.insert(
                    (Arc::clone(name), partition.partition_index),
                    ErrorCode(partition.error_code),
                );
            }
        }
        let code = |commit: &Commit| {
            let partition = commit.partition.clone();
            // A partition that the answer leaves out was not committed.
            let code = codes.get(&(Arc::clone(&partition.topic), partition.partition));
            (partition, code.copied().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR))
        };
        Ok(commits.iter().map(code).collect())
    }

    /// Commits for a group that has no members, as tools do.
    ///
    /// # Errors
    /// The coordinator could not be asked for as long as calls are retried, or it refused one of
    /// the partitions.
    pub async fn commit_offsets(&self, group: &str, commits: &[Commit]) -> Result<(), ClientError> {
        let mut tries = self.tries();
        loop {
            let outcome =
                self.commit_once(group, None, commits).await.and_then(|codes| first_error(&codes));
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.forget_coordinator(group);
                    tries.failed(error).await?;
                }
            }
        }
    }

    /// Asks the group's coordinator, in a version that can name all the topics.
    async fn group_call<R: onrush_wire::message::Request, T>(
        &self,
        group: &str,
        topics: &[Topic<T>],
        request: impl FnOnce(i16, &[Topic<T>]) -> R,
    ) -> Result<R::Response, ClientError> {
        let address = self.coordinator(group).await?;
        let cap = if topics.iter().all(|topic| topic.id.is_some()) { i16::MAX } else { LAST_NAMED };
        self.call_capped(&address, cap, |version| request(version, topics)).await
    }

    fn by_topic<'a, T>(
        &self,
        items: impl Iterator<Item = (&'a TopicPartition, T)>,
    ) -> Vec<Topic<T>> {
        let mut topics: BTreeMap<Arc<str>, Vec<T>> = BTreeMap::new();
        for (partition, item) in items {
            topics.entry(Arc::clone(&partition.topic)).or_default().push(item);
        }
        let topic = |(name, items): (Arc<str>, Vec<T>)| Topic {
            id: self.topic(&name).map(|topic| topic.id),
            name,
            items,
        };
        topics.into_iter().map(topic).collect()
    }
}

/// A topic of a request with what is asked about its partitions.
struct Topic<T> {
    name: Arc<str>,
    id: Option<Uuid>,
    items: Vec<T>,
}

impl<T> Topic<T> {
    fn wire_id(&self) -> Uuid {
        self.id.unwrap_or(Uuid::ZERO)
    }
}

/// The asked topic that an answer is about: by its name, or by its id where there is none.
fn topic_name<'a, T>(topics: &'a [Topic<T>], name: &KafkaString, id: Uuid) -> Option<&'a Arc<str>> {
    let same = |topic: &&Topic<T>| {
        if name.is_empty() { topic.id == Some(id) } else { *topic.name == *name.as_str() }
    };
    topics.iter().find(same).map(|topic| &topic.name)
}

fn first_error(codes: &[(TopicPartition, ErrorCode)]) -> Result<(), ClientError> {
    let failed = |class: Remedy| {
        codes.iter().find(|(_, code)| {
            !code.is_ok() && (remedy_of(*code) == Remedy::Fatal) == (class == Remedy::Fatal)
        })
    };
    match failed(Remedy::Fatal).or_else(|| failed(Remedy::Retry)) {
        Some((partition, code)) => {
            Err(ClientError::answered(ApiKey::OFFSET_COMMIT, partition.to_string(), *code))
        }
        None => Ok(()),
    }
}

fn fetch_answer(group: &str, code: i16) -> Result<(), ClientError> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => Err(ClientError::answered(ApiKey::OFFSET_FETCH, format!("group {group}"), code)),
    }
}

fn committed_at(
    topic: &Arc<str>,
    found: &offset_fetch::response::OffsetFetchResponsePartitions,
) -> Committed {
    let metadata = found.metadata.as_ref().map(|metadata| metadata.as_str().to_owned());
    Committed {
        partition: TopicPartition { topic: Arc::clone(topic), partition: found.partition_index },
        offset: found.committed_offset,
        leader_epoch: found.committed_leader_epoch,
        metadata: metadata.unwrap_or_default(),
    }
}

fn all_committed(
    group: &str,
    response: &offset_fetch::Response,
) -> Result<Vec<Committed>, ClientError> {
    fetch_answer(group, response.error_code)?;
    let mut committed = Vec::new();
    for answer in &response.groups {
        fetch_answer(group, answer.error_code)?;
        for topic in &answer.topics {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            for found in &topic.partitions {
                fetch_answer(group, found.error_code)?;
                committed.push(committed_at(&name, found));
            }
        }
    }
    Ok(committed)
}

fn fetch_all_request(group: &str) -> offset_fetch::Request {
    let asked = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: kafka_string(group),
        member_epoch: -1,
        topics: None,
        ..offset_fetch::request::OffsetFetchRequestGroup::default()
    };
    offset_fetch::Request { groups: vec![asked], ..offset_fetch::Request::default() }
}

fn fetch_request(group: &str, topics: &[Topic<i32>], version: i16) -> offset_fetch::Request {
    // Below this version there is no field for several groups; Kafka 3.9 is far above it.
    let asked = offset_fetch::request::OffsetFetchRequestGroup {
        group_id: kafka_string(group),
        member_epoch: -1,
        topics: Some(topics.iter().map(|topic| fetch_topic(topic, version)).collect()),
        ..offset_fetch::request::OffsetFetchRequestGroup::default()
    };
    debug_assert!(version >= GROUPS);
    offset_fetch::Request {
        groups: vec![asked],
        require_stable: true,
        ..offset_fetch::Request::default()
    }
}

fn fetch_topic(
    topic: &Topic<i32>,
    version: i16,
) -> offset_fetch::request::OffsetFetchRequestTopics {
    let mut asked = offset_fetch::request::OffsetFetchRequestTopics {
        name: kafka_string(&topic.name),
        partition_indexes: topic.items.clone(),
        ..offset_fetch::request::OffsetFetchRequestTopics::default()
    };
    if version >= TOPIC_IDS {
        asked.topic_id = topic.wire_id();
    }
    asked
}

fn commit_request(
    group: &str,
    committer: Option<&Committer>,
    topics: &[Topic<&Commit>],
) -> offset_commit::Request {
    let partition = |commit: &&Commit| offset_commit::request::OffsetCommitRequestPartition {
        partition_index: commit.partition.partition,
        committed_offset: commit.offset,
        committed_leader_epoch: commit.leader_epoch,
        committed_metadata: Some(kafka_string(commit.metadata.as_str())),
        ..offset_commit::request::OffsetCommitRequestPartition::default()
    };
    let topic = |topic: &Topic<&Commit>| offset_commit::request::OffsetCommitRequestTopic {
        name: kafka_string(&topic.name),
        topic_id: topic.wire_id(),
        partitions: topic.items.iter().map(partition).collect(),
        ..offset_commit::request::OffsetCommitRequestTopic::default()
    };
    offset_commit::Request {
        group_id: kafka_string(group),
        generation_id_or_member_epoch: committer.map_or(-1, |committer| committer.epoch),
        member_id: kafka_string(committer.map_or("", |committer| committer.member.as_str())),
        group_instance_id: committer
            .and_then(|committer| committer.instance.as_deref())
            .map(kafka_string),
        topics: topics.iter().map(topic).collect(),
        ..offset_commit::Request::default()
    }
}
