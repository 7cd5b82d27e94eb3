//! The topics, their logs and settings, and what else the broker as a whole must remember. What is
//! to survive stands in the [`catalogue`].

mod catalogue;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use onrush_record::BatchHeader;
use onrush_runtime::{Disk, Fault, Random};
use onrush_wire::{ErrorCode, Uuid, uuid};

use crate::config::{MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC};
use crate::journal::{Entries, Journal};
use crate::log::{Log, LogLimits};
use crate::segment::SEGMENT_SUFFIX;
use crate::settings::{Overrides, TopicSettings};
use crate::{BrokerConfig, BrokerError, Fsync};

pub(crate) use catalogue::Resource;
use catalogue::{Entry, FILE, Record};
pub(crate) use upkeep::SyncTask;

/// Producer ids reserved at a time.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Longest topic name: Kafka's limit, which keeps the directory name of a partition short enough
/// for file systems.
const MAX_TOPIC_NAME: usize = 249;

/// What to do about a catalogue with nothing in it.
const EMPTY_REMEDY: &str =
    "restore the file from a copy, or move the directories of the logs away and start anew";

/// What to do about a catalogue that says something twice.
const TWICE_REMEDY: &str = "restore the file from a copy";

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
    /// What is in force, be it set on the topic or on the broker.
    pub(crate) settings: TopicSettings,
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
    /// What is in force for a topic on which nothing is set.
    defaults: BrokerConfig,
    journal: Journal,
    record: Record,
    topics: BTreeMap<Arc<str>, Topic>,
    names: BTreeMap<Uuid, Arc<str>>,
    /// How often a topic came or went.
    changes: u64,
    next_producer_id: i64,
    /// Bytes of records in all logs.
    size: u64,
    /// Logs with something for the syncer.
    dirty: BTreeSet<Place>,
    /// Whether one of them must not wait for the next interval.
    urgent: bool,
}

impl Topic {
    /// How many partitions it has.
    pub(crate) fn partitions(&self) -> i32 {
        i32::try_from(self.logs.len()).unwrap_or(i32::MAX)
    }
}

impl Topics {
    /// Opens the catalogue and all logs.
    pub(crate) fn open(
        disk: &Disk,
        random: &Random,
        config: &BrokerConfig,
    ) -> Result<Self, BrokerError> {
        let mut record = Record::default();
        let mut journal = Journal::open(disk, FILE, |entry| record.replay(entry))?;
        let mut entries = Entries::default();
        if record.cluster_id.is_none() {
            refuse_ownerless(disk)?;
            let entry = Entry::Cluster(uuid::from_random(random.uuid()));
            entry.put(&mut entries);
            record.note(entry);
        }
        let entry = Entry::LeaderEpoch(record.leader_epoch + 1);
        entry.put(&mut entries);
        record.note(entry);
        journal.append(entries, Fsync::Always).map_err(BrokerError::storage("write", FILE))?;
        let mut topics = Self {
            disk: disk.clone(),
            limits: LogLimits {
                segment_bytes: config.segment_bytes,
                segment_age: config.log_roll,
                fsync: config.log_fsync(),
            },
            memory_cap: config.memory_cap,
            defaults: config.clone(),
            journal,
            next_producer_id: record.producer_ids_end,
            record,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            changes: 0,
            size: 0,
            dirty: BTreeSet::new(),
            urgent: false,
        };
        topics.defaults = topics.effective(config);
        topics.open_logs()?;
        Ok(topics)
    }

    fn open_logs(&mut self) -> Result<(), BrokerError> {
        for (id, (name, partitions)) in self.record.topics.clone() {
            let limits = self.log_limits(&self.settings_of(id));
            if self.topics.contains_key(name.as_str()) {
                return Err(damaged(format!("two topics of the name {name}"), TWICE_REMEDY));
            }
            let logs = (0..partitions)
                .map(|partition| self.open_log(dir(&name, partition), limits))
                .collect::<Result<Vec<_>, _>>()?;
            self.size += logs.iter().map(Log::size).sum::<u64>();
            let name: Arc<str> = name.into();
            if matches!(self.limits.fsync, Fsync::Interval(_)) {
                // What the life before did not sync is in the memory of the machine at best.
                let places = (0..).zip(&logs).filter(|(_, log)| log.unsynced().is_some());
                let place = |(partition, _)| Place { topic: name.clone(), partition };
                self.dirty.extend(places.map(place));
            }
            self.insert(name, id, logs);
        }
        Ok(())
    }

    /// Opens a log that was begun before its topic came into the catalogue: if it is not there, it was lost.
    fn open_log(&self, dir: String, limits: LogLimits) -> Result<Log, BrokerError> {
        if !self.disk.exists(&dir) {
            let reason = "it is gone, and with it all records of the partition";
            let source = io::Error::new(io::ErrorKind::NotFound, reason);
            return Err(BrokerError::storage("open the directory", &dir)(source));
        }
        Log::open(&self.disk, dir, limits)
    }

    fn insert(&mut self, name: Arc<str>, id: Uuid, logs: Vec<Log>) {
        self.changes += 1;
        self.names.insert(id, name.clone());
        let settings = self.settings_of(id);
        self.topics.insert(name.clone(), Topic { name, id, logs, settings });
    }

    fn settings_of(&self, topic: Uuid) -> TopicSettings {
        match self.overrides(&Resource::Topic(topic)) {
            Some(overrides) => TopicSettings::with(&self.defaults, overrides),
            None => TopicSettings::of(&self.defaults),
        }
    }

    fn log_limits(&self, settings: &TopicSettings) -> LogLimits {
        LogLimits {
            segment_bytes: settings.segment_bytes,
            segment_age: settings.segment_age,
            ..self.limits
        }
    }

    /// What was set on a resource while the broker ran.
    pub(crate) fn overrides(&self, resource: &Resource) -> Option<&Overrides> {
        self.record.settings.get(resource)
    }

    /// The groups on which something is set.
    pub(crate) fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.record.settings.keys().filter_map(|resource| match resource {
            Resource::Group(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// The settings that the broker was started with, and over them what was altered since.
    pub(crate) fn effective(&self, started: &BrokerConfig) -> BrokerConfig {
        let resources = [Resource::Cluster, Resource::Broker(started.node_id)];
        let altered = resources.iter().filter_map(|resource| self.overrides(resource));
        altered.fold(started.clone(), |config, overrides| config.with(overrides))
    }

    /// Stores all that is set on a resource, and puts it in force for the topics.
    pub(crate) fn set_overrides(
        &mut self,
        started: &BrokerConfig,
        resource: Resource,
        overrides: Overrides,
    ) -> io::Result<()> {
        let of_group = matches!(resource, Resource::Group(_));
        self.note(vec![Entry::Settings { resource, overrides }])?;
        if of_group {
            return Ok(());
        }
        self.defaults = self.effective(started);
        let names: Vec<(Arc<str>, Uuid)> =
            self.topics.values().map(|topic| (topic.name.clone(), topic.id)).collect();
        for (name, id) in names {
            let settings = self.settings_of(id);
            let limits = self.log_limits(&settings);
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            if topic.settings != settings {
                topic.settings = settings;
                topic.logs.iter_mut().for_each(|log| log.set_limits(limits));
            }
        }
        Ok(())
    }

    /// Writes entries into the catalogue and takes note of them.
    fn note(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let mut written = Entries::default();
        entries.iter().for_each(|entry| entry.put(&mut written));
        self.journal.append(written, Fsync::Always)?;
        entries.into_iter().for_each(|entry| self.record.note(entry));
        self.journal.rewrite_if_grown(|| self.record.entries());
        Ok(())
    }

    /// Where everything is kept.
    pub(crate) fn directory(&self) -> String {
        self.disk.describe().to_string()
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

    /// How often a topic came or went since the start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
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
    ) -> Result<(), ErrorCode> {
        // It may also shrink, if it takes back what could not be synced.
        let appended = self.change(place, |log| log.append(header, batch));
        let appended = appended.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.wrote(place);
        self.keep_below_cap();
        appended.map_err(|error| {
            let Place { topic, partition } = place;
            tracing::error!(%topic, partition, code = %Fault::BrokerStorage, %error, "cannot append to a log");
            ErrorCode::KAFKA_STORAGE_ERROR
        })
    }

    /// Deletes the records of a log below an offset, and tells where it begins now.
    pub(crate) fn delete_below(&mut self, place: &Place, offset: i64) -> Result<i64, ErrorCode> {
        let deleted = self.change(place, |log| log.delete_below(offset).map(|()| log.start()));
        let deleted = deleted.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let start = deleted.map_err(|error| {
            let Place { topic, partition } = place;
            tracing::error!(%topic, partition, code = %Fault::BrokerStorage, %error, "cannot delete records");
            ErrorCode::KAFKA_STORAGE_ERROR
        })?;
        tracing::info!(topic = &*place.topic, place.partition, start, "deleted records");
        Ok(start)
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
                tracing::error!(code = %Fault::BrokerStorage, %error, "cannot drop the oldest segment");
                return;
            }
            let freed = before - log.size();
            self.size -= freed;
            if freed == 0 {
                return;
            }
        }
    }

    /// Creates a topic on which nothing is set.
    pub(crate) fn create(
        &mut self,
        random: &Random,
        name: &str,
        partitions: i32,
    ) -> Result<&Topic, ErrorCode> {
        self.create_with(random, name, partitions, Overrides::new())
    }

    /// Creates a topic with settings.
    pub(crate) fn create_with(
        &mut self,
        random: &Random,
        name: &str,
        partitions: i32,
        overrides: Overrides,
    ) -> Result<&Topic, ErrorCode> {
        self.may_create(name, partitions)?;
        let id = uuid::from_random(random.uuid());
        let settings = TopicSettings::with(&self.defaults, &overrides);
        let logs = self.new_logs(name, 0..partitions, &settings)?;
        let set = Entry::Settings { resource: Resource::Topic(id), overrides };
        let created = Entry::Created { id, partitions, name: name.to_owned() };
        // If that fails, the logs stay: after a crash the catalogue may have the topic all the same.
        self.note(vec![set, created]).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
        tracing::info!(topic = name, partitions, %id, "created a topic");
        self.insert(name.into(), id, logs);
        self.find(TopicRef::Id(id))
    }

    /// Gives a topic more partitions, so that it has `partitions`.
    pub(crate) fn add_partitions(&mut self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        self.may_add_partitions(name, partitions)?;
        let topic = self.find(TopicRef::Name(name))?;
        let (id, settings) = (topic.id, topic.settings);
        let added = topic.partitions()..partitions;
        let logs = self.new_logs(name, added, &settings)?;
        let noted = self.note(vec![Entry::Partitions { id, partitions }]);
        noted.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.logs.extend(logs);
        }
        self.changes += 1;
        tracing::info!(topic = name, partitions, "gave a topic more partitions");
        Ok(())
    }

    /// Whether a topic may have so many partitions, which is more than it has.
    pub(crate) fn may_add_partitions(&self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        let present = self.find(TopicRef::Name(name))?.partitions();
        if partitions <= present || partitions > MAX_PARTITIONS_PER_TOPIC {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        self.has_room_for(partitions - present)
    }

    pub(crate) fn has_room_for(&self, partitions: i32) -> Result<(), ErrorCode> {
        let all = self.topics.values().map(|topic| topic.logs.len()).sum::<usize>();
        let added = usize::try_from(partitions).unwrap_or(usize::MAX);
        if all.saturating_add(added) > MAX_PARTITIONS {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        Ok(())
    }

    /// Whether a topic of that name and size could be created.
    pub(crate) fn may_create(&self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        if !is_topic_name(name) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if self.topics.contains_key(name) {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        if !(1..=MAX_PARTITIONS_PER_TOPIC).contains(&partitions) {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        self.has_room_for(partitions)
    }

    fn new_logs(
        &self,
        name: &str,
        partitions: Range<i32>,
        settings: &TopicSettings,
    ) -> Result<Vec<Log>, ErrorCode> {
        let limits = self.log_limits(settings);
        let logs: Result<Vec<Log>, BrokerError> = partitions
            .clone()
            .map(|partition| {
                let dir = dir(name, partition);
                // Left over from a creation or deletion that a crash cut short.
                if self.disk.exists(&dir) {
                    self.disk.remove_dir(&dir).map_err(BrokerError::storage("remove", &dir))?;
                }
                Log::open(&self.disk, dir, limits)
            })
            .collect();
        logs.map_err(|error| {
            tracing::error!(topic = name, code = %Fault::BrokerStorage, %error, "cannot create the logs of a topic");
            self.remove_dirs(name, partitions);
            ErrorCode::KAFKA_STORAGE_ERROR
        })
    }

    /// Deletes a topic and its records.
    pub(crate) fn delete(&mut self, name: &str) -> Result<Uuid, ErrorCode> {
        let id = self.find(TopicRef::Name(name))?.id;
        self.note(vec![Entry::Deleted(id)]).map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
        self.changes += 1;
        self.names.remove(&id);
        if let Some(topic) = self.topics.remove(name) {
            self.size -= topic.logs.iter().map(Log::size).sum::<u64>();
            self.remove_dirs(name, 0..topic.partitions());
        }
        tracing::info!(topic = name, %id, "deleted a topic");
        Ok(id)
    }

    /// What stays behind is removed when a topic of that name is created again.
    fn remove_dirs(&self, name: &str, partitions: Range<i32>) {
        for dir in partitions.map(|partition| dir(name, partition)) {
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
            self.note(vec![Entry::ProducerIds(end)])?;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    /// Forces everything to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let logs = self.topics.values_mut().flat_map(|topic| &mut topic.logs);
        // One that fails is no reason to give the others up.
        logs.map(Log::close).fold(Ok(()), io::Result::and)
    }
}

/// An error if there are logs although the catalogue is empty: they would be removed when their topics are created again.
fn refuse_ownerless(disk: &Disk) -> Result<(), BrokerError> {
    let names = disk.list("").map_err(BrokerError::storage("list", "the data directory"))?;
    let is_log = |name: &&String| {
        let files = disk.list(name).unwrap_or_default();
        files.iter().any(|file| file.ends_with(SEGMENT_SUFFIX))
    };
    match names.iter().find(is_log) {
        Some(log) => {
            Err(damaged(format!("nothing, although there is the log {log}"), EMPTY_REMEDY))
        }
        None => Ok(()),
    }
}

fn damaged(reason: String, remedy: &'static str) -> BrokerError {
    BrokerError::Damaged { path: FILE.to_owned(), position: 0, reason, remedy }
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
    use std::time::Duration;

    use onrush_runtime::disk::MemoryDisk;

    use super::*;

    fn open(disk: &Disk) -> Topics {
        Topics::open(disk, &Random::seeded(1), &BrokerConfig::default()).expect("opens")
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

    fn refused(disk: &Disk) -> BrokerError {
        let opened = Topics::open(disk, &Random::seeded(1), &BrokerConfig::default());
        opened.expect_err("refused")
    }

    #[test]
    fn a_log_that_is_gone_is_not_begun_anew() {
        let disk = Disk::memory();
        open(&disk).create(&Random::seeded(2), "t", 2).expect("created");
        disk.remove_dir("t-1").expect("removed");
        let error = refused(&disk);
        assert!(error.to_string().contains("t-1: it is gone"), "{error}");
        // Who gives it up says so.
        disk.create_dir("t-1").expect("created");
        assert_eq!(open(&disk).log("t", 1).expect("there").end(), 0);
    }

    #[test]
    fn a_topic_that_could_not_be_noted_keeps_its_logs_until_it_is_created_again() {
        let memory = MemoryDisk::default();
        let disk = Disk::Memory(memory.clone());
        let mut topics = open(&disk);
        let mut create = || topics.create(&Random::seeded(2), "t", 1).map(|topic| topic.id);
        // The directories of the data and of the log are synced first.
        memory.fail_syncs_after(2, 1);
        assert_eq!(create(), Err(ErrorCode::KAFKA_STORAGE_ERROR));
        assert!(disk.exists("t-0"));
        let id = create().expect("created");
        assert_eq!(open(&disk).find(TopicRef::Id(id)).expect("there").partitions(), 1);
    }

    #[test]
    fn logs_without_a_catalogue_are_not_taken_for_leftovers() {
        let disk = Disk::memory();
        open(&disk).create(&Random::seeded(2), "t", 1).expect("created");
        disk.open(FILE).expect("there").truncate(0).expect("cut");
        let error = refused(&disk);
        assert!(error.to_string().contains("catalogue at byte 0: nothing, although"), "{error}");
        assert!(disk.exists("t-0"));
        disk.remove_dir("t-0").expect("moved away");
        assert_eq!(open(&disk).iter().count(), 0);
    }

    #[test]
    fn a_catalogue_with_two_topics_of_a_name_is_refused() {
        let disk = Disk::memory();
        let mut topics = open(&disk);
        topics.create(&Random::seeded(2), "t", 1).expect("created");
        let (id, name) = (uuid::from_bytes([9; 16]), "t".to_owned());
        topics.note(vec![Entry::Created { id, partitions: 1, name }]).expect("written");
        let error = refused(&disk);
        assert!(error.to_string().contains("two topics of the name t"), "{error}");
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

    #[test]
    fn partitions_are_added_and_survive() {
        let disk = Disk::memory();
        let mut topics = open(&disk);
        topics.create(&Random::seeded(2), "t", 2).expect("created");
        for refused in [1, 2, MAX_PARTITIONS_PER_TOPIC + 1] {
            assert_eq!(topics.add_partitions("t", refused), Err(ErrorCode::INVALID_PARTITIONS));
        }
        topics.add_partitions("t", 5).expect("added");
        assert_eq!(topics.add_partitions("u", 5), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        drop(topics);
        assert_eq!(open(&disk).find(TopicRef::Name("t")).expect("there").partitions(), 5);
    }

    #[test]
    fn settings_survive_and_go_with_their_topic() {
        let disk = Disk::memory();
        let started = BrokerConfig::default();
        let mut topics = open(&disk);
        let of = |name: &str, value: &str| Overrides::from([(name.to_owned(), value.to_owned())]);
        let random = Random::seeded(2);
        let id = topics.create_with(&random, "t", 1, of("retention.ms", "5")).expect("created").id;
        topics.create(&random, "u", 1).expect("created");
        topics
            .set_overrides(&started, Resource::Cluster, of("log.retention.ms", "7"))
            .expect("stored");
        topics
            .set_overrides(&started, Resource::Cluster, of("log.segment.bytes", "9999"))
            .expect("stored");
        drop(topics);

        let mut topics = open(&disk);
        let settings =
            |topics: &Topics, name| topics.find(TopicRef::Name(name)).map(|topic| topic.settings);
        let (t, u) =
            (settings(&topics, "t").expect("there"), settings(&topics, "u").expect("there"));
        assert_eq!((t.retention, t.segment_bytes), (Some(Duration::from_millis(5)), 9_999));
        assert_eq!((u.retention, u.segment_bytes), (started.log_retention, 9_999));
        topics.delete("t").expect("deleted");
        assert_eq!(topics.overrides(&Resource::Topic(id)), None);
    }
}
