//! The catalogue: which topics there are, their ids and partitions, and what else the broker as a
//! whole must remember.
//!
//! The file `catalogue` is a [`Journal`]; its entries begin with a kind:
//!
//! | kind | entry |
//! |---|---|
//! | 1 | cluster id, once |
//! | 2 | leader epoch: one more at every start, so that a client that saw bytes which a crash lost can tell |
//! | 3 | topic created: id, partitions, name |
//! | 4 | topic deleted: id |
//! | 5 | producer ids up to here are given out (in blocks) |
//!
//! These entries are synced under every policy: they are rare, and what they guard must not repeat.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use onrush_record::BatchHeader;
use onrush_runtime::{Disk, Random};
use onrush_wire::{ErrorCode, Uuid, uuid};

use crate::config::{MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC};
use crate::journal::{Entries, Journal, put_string, take_string};
use crate::log::{Appended, Log, LogLimits};
use crate::{BrokerError, Fsync};

const FILE: &str = "catalogue";

const CLUSTER: u8 = 1;
const LEADER_EPOCH: u8 = 2;
const CREATED: u8 = 3;
const DELETED: u8 = 4;
const PRODUCER_IDS: u8 = 5;

/// Producer ids reserved at a time.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Longest topic name: Kafka's limit, which keeps the directory name of a partition short enough
/// for file systems.
const MAX_TOPIC_NAME: usize = 249;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// A topic and its logs.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) logs: Vec<Log>,
}

/// How a request names a topic: older versions by name, newer ones by id.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TopicRef<'a> {
    Name(&'a str),
    Id(Uuid),
}

/// All topics of the broker.
#[derive(Debug)]
pub(crate) struct Topics {
    disk: Disk,
    limits: LogLimits,
    memory_cap: Option<u64>,
    journal: Journal,
    record: Record,
    topics: BTreeMap<Arc<str>, Topic>,
    names: BTreeMap<Uuid, Arc<str>>,
    next_producer_id: i64,
    /// Bytes of records in all logs.
    size: u64,
}

/// What the journal says.
#[derive(Debug, Default)]
struct Record {
    cluster_id: Option<Uuid>,
    leader_epoch: i32,
    topics: BTreeMap<Uuid, (String, i32)>,
    producer_ids_end: i64,
}

impl Topics {
    /// Opens the catalogue and all logs.
    pub(crate) fn open(
        disk: &Disk,
        random: &Random,
        limits: LogLimits,
        memory_cap: Option<u64>,
    ) -> Result<Self, BrokerError> {
        let mut record = Record::default();
        let mut journal = Journal::open(disk, FILE, |entry| record.replay(entry))?;
        record.leader_epoch += 1;
        let mut entries = Entries::default();
        let cluster_id = *record.cluster_id.get_or_insert_with(|| uuid::from_random(random.uuid()));
        if journal.len() == 0 {
            put_uuid(&mut entries, CLUSTER, cluster_id);
        }
        entries.push(|buffer| {
            buffer.put_u8(LEADER_EPOCH);
            buffer.put_i32(record.leader_epoch);
        });
        journal.append(entries, Fsync::Always).map_err(BrokerError::storage("write", FILE))?;
        let mut topics = Self {
            disk: disk.clone(),
            limits,
            memory_cap,
            journal,
            next_producer_id: record.producer_ids_end,
            record,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            size: 0,
        };
        topics.open_logs()?;
        Ok(topics)
    }

    fn open_logs(&mut self) -> Result<(), BrokerError> {
        for (id, (name, partitions)) in self.record.topics.clone() {
            let logs = (0..partitions)
                .map(|partition| Log::open(&self.disk, dir(&name, partition), self.limits))
                .collect::<Result<Vec<_>, _>>()?;
            self.size += logs.iter().map(Log::size).sum::<u64>();
            self.insert(name.into(), id, logs);
        }
        Ok(())
    }

    fn insert(&mut self, name: Arc<str>, id: Uuid, logs: Vec<Log>) {
        self.names.insert(id, name.clone());
        self.topics.insert(name.clone(), Topic { name, id, logs });
    }

    /// Whether the disk keeps the very bytes that are appended.
    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.disk, Disk::Memory(_))
    }

    /// The id of the cluster.
    pub(crate) fn cluster_id(&self) -> Uuid {
        self.record.cluster_id.unwrap_or(Uuid::ZERO)
    }

    /// The leader epoch of all partitions.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.record.leader_epoch
    }

    /// The topics by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// The topic, or the error that tells the client how it is wrong.
    pub(crate) fn find(&self, topic: TopicRef<'_>) -> Result<&Topic, ErrorCode> {
        match topic {
            TopicRef::Name(name) => {
                self.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            }
            TopicRef::Id(id) => self
                .names
                .get(&id)
                .and_then(|name| self.topics.get(name))
                .ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
        }
    }

    /// The log of a partition.
    pub(crate) fn log(&self, topic: &str, partition: i32) -> Result<&Log, ErrorCode> {
        let topic = self.find(TopicRef::Name(topic))?;
        usize::try_from(partition)
            .ok()
            .and_then(|partition| topic.logs.get(partition))
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Appends a checked batch.
    pub(crate) fn append(
        &mut self,
        place: &Place,
        header: &BatchHeader,
        batch: Bytes,
    ) -> Result<Appended, ErrorCode> {
        let log = self.log_mut(place).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let appended = log.append(header, batch).map_err(|error| {
            let Place { topic, partition } = place;
            tracing::error!(%topic, partition, %error, "cannot append to a log");
            ErrorCode::KAFKA_STORAGE_ERROR
        })?;
        self.size += appended.bytes as u64;
        self.keep_below_cap();
        Ok(appended)
    }

    fn log_mut(&mut self, place: &Place) -> Option<&mut Log> {
        let topic = self.topics.get_mut(&place.topic)?;
        topic.logs.get_mut(usize::try_from(place.partition).ok()?)
    }

    /// Drops oldest segments of the largest logs until the records fit into the memory cap.
    fn keep_below_cap(&mut self) {
        let Some(cap) = self.memory_cap else { return };
        while self.size > cap {
            let logs = self.topics.values_mut().flat_map(|topic| &mut topic.logs);
            let largest = logs.max_by_key(|log| (log.has_closed_segments(), log.size()));
            let Some(log) = largest else { return };
            let before = log.size();
            if let Err(error) = log.drop_oldest() {
                tracing::error!(%error, "cannot drop the oldest segment");
                return;
            }
            let freed = before - log.size();
            self.size -= freed;
            if freed == 0 {
                return;
            }
        }
    }

    /// Creates a topic.
    pub(crate) fn create(
        &mut self,
        random: &Random,
        name: &str,
        partitions: i32,
    ) -> Result<&Topic, ErrorCode> {
        self.may_create(name, partitions)?;
        let id = uuid::from_random(random.uuid());
        let logs = self.new_logs(name, partitions).map_err(|error| {
            tracing::error!(topic = name, %error, "cannot create a topic");
            self.remove_dirs(name, partitions);
            ErrorCode::KAFKA_STORAGE_ERROR
        })?;
        let mut entries = Entries::default();
        entries.push(|buffer| {
            buffer.put_u8(CREATED);
            buffer.put_slice(&id.to_bytes());
            buffer.put_i32(partitions);
            put_string(buffer, name);
        });
        if self.journal.append(entries, Fsync::Always).is_err() {
            self.remove_dirs(name, partitions);
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        tracing::info!(topic = name, partitions, %id, "created a topic");
        self.insert(name.into(), id, logs);
        self.find(TopicRef::Id(id))
    }

    /// Whether a topic of that name and size could be created.
    pub(crate) fn may_create(&self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        if !is_topic_name(name) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if self.topics.contains_key(name) {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        let count = usize::try_from(partitions).unwrap_or(0);
        if !(1..=MAX_PARTITIONS_PER_TOPIC).contains(&partitions) {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        let all = self.topics.values().map(|topic| topic.logs.len()).sum::<usize>();
        if all + count > MAX_PARTITIONS { Err(ErrorCode::POLICY_VIOLATION) } else { Ok(()) }
    }

    fn new_logs(&self, name: &str, partitions: i32) -> Result<Vec<Log>, BrokerError> {
        (0..partitions)
            .map(|partition| {
                let dir = dir(name, partition);
                // Left over from a creation or deletion that a crash cut short.
                if self.disk.exists(&dir) {
                    self.disk.remove_dir(&dir).map_err(BrokerError::storage("remove", &dir))?;
                }
                Log::open(&self.disk, dir, self.limits)
            })
            .collect()
    }

    /// Deletes a topic and its records.
    pub(crate) fn delete(&mut self, name: &str) -> Result<Uuid, ErrorCode> {
        let id = self.find(TopicRef::Name(name))?.id;
        let mut entries = Entries::default();
        put_uuid(&mut entries, DELETED, id);
        self.journal.append(entries, Fsync::Always).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
        self.names.remove(&id);
        if let Some(topic) = self.topics.remove(name) {
            self.size -= topic.logs.iter().map(Log::size).sum::<u64>();
            self.remove_dirs(name, i32::try_from(topic.logs.len()).unwrap_or(i32::MAX));
        }
        tracing::info!(topic = name, %id, "deleted a topic");
        Ok(id)
    }

    /// What stays behind is removed when a topic of that name is created again.
    fn remove_dirs(&self, name: &str, partitions: i32) {
        for dir in (0..partitions).map(|partition| dir(name, partition)) {
            if self.disk.exists(&dir)
                && let Err(error) = self.disk.remove_dir(&dir)
            {
                tracing::warn!(dir, %error, "cannot remove the directory of a partition");
            }
        }
    }

    /// A producer id that nobody has.
    pub(crate) fn new_producer_id(&mut self) -> io::Result<i64> {
        if self.next_producer_id >= self.record.producer_ids_end {
            let end = self.record.producer_ids_end + PRODUCER_ID_BLOCK;
            let mut entries = Entries::default();
            entries.push(|buffer| {
                buffer.put_u8(PRODUCER_IDS);
                buffer.put_i64(end);
            });
            self.journal.append(entries, Fsync::Always)?;
            self.record.producer_ids_end = end;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.topics.values().flat_map(|topic| &topic.logs).try_for_each(Log::sync)
    }
}

impl Record {
    fn replay(&mut self, mut entry: Bytes) -> Result<(), String> {
        let cut_off = |error: bytes::TryGetError| error.to_string();
        match entry.try_get_u8().map_err(cut_off)? {
            CLUSTER => self.cluster_id = Some(take_uuid(&mut entry)?),
            LEADER_EPOCH => self.leader_epoch = entry.try_get_i32().map_err(cut_off)?,
            CREATED => {
                let id = take_uuid(&mut entry)?;
                let partitions = entry.try_get_i32().map_err(cut_off)?;
                self.topics.insert(id, (take_string(&mut entry)?, partitions));
            }
            DELETED => {
                self.topics.remove(&take_uuid(&mut entry)?);
            }
            PRODUCER_IDS => self.producer_ids_end = entry.try_get_i64().map_err(cut_off)?,
            kind => return Err(format!("entry of the unknown kind {kind}")),
        }
        Ok(())
    }
}

fn put_uuid(entries: &mut Entries, kind: u8, id: Uuid) {
    entries.push(|buffer| {
        buffer.put_u8(kind);
        buffer.put_slice(&id.to_bytes());
    });
}

fn take_uuid(entry: &mut Bytes) -> Result<Uuid, String> {
    let mut bytes = [0; 16];
    entry.try_copy_to_slice(&mut bytes).map_err(|error| error.to_string())?;
    Ok(uuid::from_bytes(bytes))
}

fn dir(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// Kafka's rule for topic names, which also keeps them safe as names of directories.
fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_TOPIC_NAME && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits { segment_bytes: 1 << 20, fsync: Fsync::Always };

    fn open(disk: &Disk) -> Topics {
        Topics::open(disk, &Random::seeded(1), LIMITS, None).expect("opens")
    }

    #[test]
    fn topics_ids_and_producer_ids_survive_and_the_epoch_moves() {
        let disk = Disk::memory();
        let mut topics = open(&disk);
        let id = topics.create(&Random::seeded(2), "flights", 3).expect("created").id;
        topics.create(&Random::seeded(3), "gone", 1).expect("created");
        topics.delete("gone").expect("deleted");
        assert_eq!(topics.new_producer_id().expect("given"), 0);
        let (cluster, epoch) = (topics.cluster_id(), topics.leader_epoch());
        drop(topics);

        let mut topics = open(&disk);
        assert_eq!((topics.cluster_id(), topics.leader_epoch()), (cluster, epoch + 1));
        let found = topics.find(TopicRef::Id(id)).expect("known");
        assert_eq!((&*found.name, found.logs.len()), ("flights", 3));
        assert_eq!(topics.iter().count(), 1);
        assert_eq!(topics.new_producer_id().expect("given"), PRODUCER_ID_BLOCK);
    }

    #[test]
    fn names_and_sizes_are_checked() {
        let mut topics = open(&Disk::memory());
        let random = Random::seeded(1);
        for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert_eq!(
                topics.create(&random, name, 1).err(),
                Some(ErrorCode::INVALID_TOPIC_EXCEPTION)
            );
        }
        assert_eq!(topics.create(&random, "a", 0).err(), Some(ErrorCode::INVALID_PARTITIONS));
        topics.create(&random, "a", 1).expect("created");
        assert_eq!(topics.create(&random, "a", 1).err(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
    }
}
