//! What the broker must remember of topics, of settings that were altered, and of itself.
//!
//! The file `catalogue` is a [`Journal`](crate::journal::Journal); its entries begin with a kind:
//!
//! | kind | entry |
//! |---|---|
//! | 1 | cluster id, once |
//! | 2 | leader epoch: one more at every start, so that a client that saw bytes which a crash lost can tell |
//! | 3 | topic created: id, partitions, name |
//! | 4 | topic deleted: id; with it go its settings |
//! | 5 | producer ids up to here are given out (in blocks) |
//! | 6 | partitions of a topic: id, number |
//! | 7 | all settings of a resource: which one, number, names and values. Those of a topic stand before its creation |
//!
//! These entries are synced under every policy: they are rare, and what they guard must not repeat.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_wire::{Uuid, uuid};

use crate::config::MAX_PARTITIONS_PER_TOPIC;
use crate::journal::{Entries, put_string, take_string};
use crate::settings::Overrides;
use crate::topics::is_topic_name;

/// The name of the file.
pub(super) const FILE: &str = "catalogue";

/// Above, producer ids could run out.
const LAST_PRODUCER_ID: i64 = i64::MAX / 2;

const CLUSTER: u8 = 1;
const LEADER_EPOCH: u8 = 2;
const CREATED: u8 = 3;
const DELETED: u8 = 4;
const PRODUCER_IDS: u8 = 5;
const PARTITIONS: u8 = 6;
const SETTINGS: u8 = 7;

/// What settings can be set on while the broker runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Topic(Uuid),
    /// All brokers.
    Cluster,
    /// The broker of that id.
    Broker(i32),
    Group(String),
}

const TOPIC_RESOURCE: u8 = 1;
const CLUSTER_RESOURCE: u8 = 2;
const BROKER_RESOURCE: u8 = 3;
const GROUP_RESOURCE: u8 = 4;

/// A line of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Cluster(Uuid),
    LeaderEpoch(i32),
    Created { id: Uuid, partitions: i32, name: String },
    Deleted(Uuid),
    ProducerIds(i64),
    Partitions { id: Uuid, partitions: i32 },
    Settings { resource: Resource, overrides: Overrides },
}

/// What the catalogue says.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) cluster_id: Option<Uuid>,
    pub(super) leader_epoch: i32,
    /// Names and numbers of partitions.
    pub(super) topics: BTreeMap<Uuid, (String, i32)>,
    pub(super) settings: BTreeMap<Resource, Overrides>,
    pub(super) producer_ids_end: i64,
}

impl Record {
    /// Reads an entry and takes note of it.
    pub(super) fn replay(&mut self, entry: Bytes) -> Result<(), String> {
        self.note(Entry::read(entry)?);
        Ok(())
    }

    pub(super) fn note(&mut self, entry: Entry) {
        match entry {
            Entry::Cluster(id) => self.cluster_id = Some(id),
            Entry::LeaderEpoch(epoch) => self.leader_epoch = epoch,
            Entry::Created { id, partitions, name } => {
                self.topics.insert(id, (name, partitions));
            }
            Entry::Deleted(id) => {
                self.topics.remove(&id);
                self.settings.remove(&Resource::Topic(id));
            }
            Entry::ProducerIds(end) => self.producer_ids_end = end,
            Entry::Partitions { id, partitions } => {
                if let Some((_, number)) = self.topics.get_mut(&id) {
                    *number = partitions;
                }
            }
            Entry::Settings { resource, overrides } if overrides.is_empty() => {
                self.settings.remove(&resource);
            }
            Entry::Settings { resource, overrides } => {
                self.settings.insert(resource, overrides);
            }
        }
    }

    /// The entries that say all this and nothing else.
    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        if let Some(id) = self.cluster_id {
            Entry::Cluster(id).put(&mut entries);
        }
        Entry::LeaderEpoch(self.leader_epoch).put(&mut entries);
        Entry::ProducerIds(self.producer_ids_end).put(&mut entries);
        for (resource, overrides) in &self.settings {
            let (resource, overrides) = (resource.clone(), overrides.clone());
            Entry::Settings { resource, overrides }.put(&mut entries);
        }
        for (id, (name, partitions)) in &self.topics {
            let (id, partitions, name) = (*id, *partitions, name.clone());
            Entry::Created { id, partitions, name }.put(&mut entries);
        }
        entries
    }
}

impl Entry {
    pub(super) fn put(&self, entries: &mut Entries) {
        entries.push(|buffer| match self {
            Self::Cluster(id) => {
                buffer.put_u8(CLUSTER);
                buffer.put_slice(&id.to_bytes());
            }
            Self::LeaderEpoch(epoch) => {
                buffer.put_u8(LEADER_EPOCH);
                buffer.put_i32(*epoch);
            }
            Self::Created { id, partitions, name } => {
                buffer.put_u8(CREATED);
                buffer.put_slice(&id.to_bytes());
                buffer.put_i32(*partitions);
                put_string(buffer, name);
            }
            Self::Deleted(id) => {
                buffer.put_u8(DELETED);
                buffer.put_slice(&id.to_bytes());
            }
            Self::ProducerIds(end) => {
                buffer.put_u8(PRODUCER_IDS);
                buffer.put_i64(*end);
            }
            Self::Partitions { id, partitions } => {
                buffer.put_u8(PARTITIONS);
                buffer.put_slice(&id.to_bytes());
                buffer.put_i32(*partitions);
            }
            Self::Settings { resource, overrides } => {
                buffer.put_u8(SETTINGS);
                put_resource(buffer, resource);
                buffer.put_u32(u32::try_from(overrides.len()).unwrap_or(u32::MAX));
                for (name, value) in overrides {
                    put_string(buffer, name);
                    put_string(buffer, value);
                }
            }
        });
    }

    fn read(mut entry: Bytes) -> Result<Self, String> {
        let cut_off = |error: bytes::TryGetError| error.to_string();
        Ok(match entry.try_get_u8().map_err(cut_off)? {
            CLUSTER => Self::Cluster(take_uuid(&mut entry)?),
            LEADER_EPOCH => match entry.try_get_i32().map_err(cut_off)? {
                // Every start raises it.
                epoch if (0..i32::MAX).contains(&epoch) => Self::LeaderEpoch(epoch),
                epoch => return Err(format!("the leader epoch {epoch}")),
            },
            CREATED => {
                let id = take_uuid(&mut entry)?;
                let partitions = take_partitions(&mut entry)?;
                let name = take_string(&mut entry)?;
                if !is_topic_name(&name) {
                    return Err(format!("a topic of the name {name:?}"));
                }
                Self::Created { id, partitions, name }
            }
            DELETED => Self::Deleted(take_uuid(&mut entry)?),
            PRODUCER_IDS => match entry.try_get_i64().map_err(cut_off)? {
                end @ 0..=LAST_PRODUCER_ID => Self::ProducerIds(end),
                end => return Err(format!("producer ids up to {end}")),
            },
            PARTITIONS => {
                let id = take_uuid(&mut entry)?;
                Self::Partitions { id, partitions: take_partitions(&mut entry)? }
            }
            SETTINGS => {
                let resource = take_resource(&mut entry)?;
                let mut overrides = Overrides::new();
                for _ in 0..entry.try_get_u32().map_err(cut_off)? {
                    let name = take_string(&mut entry)?;
                    overrides.insert(name, take_string(&mut entry)?);
                }
                Self::Settings { resource, overrides }
            }
            kind => return Err(format!("entry of the unknown kind {kind}")),
        })
    }
}

fn put_resource(buffer: &mut BytesMut, resource: &Resource) {
    match resource {
        Resource::Topic(id) => {
            buffer.put_u8(TOPIC_RESOURCE);
            buffer.put_slice(&id.to_bytes());
        }
        Resource::Cluster => buffer.put_u8(CLUSTER_RESOURCE),
        Resource::Broker(id) => {
            buffer.put_u8(BROKER_RESOURCE);
            buffer.put_i32(*id);
        }
        Resource::Group(id) => {
            buffer.put_u8(GROUP_RESOURCE);
            put_string(buffer, id);
        }
    }
}

fn take_resource(entry: &mut Bytes) -> Result<Resource, String> {
    let cut_off = |error: bytes::TryGetError| error.to_string();
    Ok(match entry.try_get_u8().map_err(cut_off)? {
        TOPIC_RESOURCE => Resource::Topic(take_uuid(entry)?),
        CLUSTER_RESOURCE => Resource::Cluster,
        BROKER_RESOURCE => Resource::Broker(entry.try_get_i32().map_err(cut_off)?),
        GROUP_RESOURCE => Resource::Group(take_string(entry)?),
        kind => return Err(format!("settings of the unknown kind of resource {kind}")),
    })
}

/// A number of partitions that a topic can have.
fn take_partitions(entry: &mut Bytes) -> Result<i32, String> {
    let partitions = entry.try_get_i32().map_err(|error| error.to_string())?;
    match partitions {
        1..=MAX_PARTITIONS_PER_TOPIC => Ok(partitions),
        _ => Err(format!("a topic of {partitions} partitions")),
    }
}

fn take_uuid(entry: &mut Bytes) -> Result<Uuid, String> {
    let mut bytes = [0; 16];
    entry.try_copy_to_slice(&mut bytes).map_err(|error| error.to_string())?;
    Ok(uuid::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use onrush_runtime::Disk;

    use super::*;
    use crate::Fsync;
    use crate::journal::Journal;

    #[test]
    fn numbers_that_cannot_be_raised_are_refused() {
        for (entry, reason) in [
            (Entry::LeaderEpoch(i32::MAX), "leader epoch"),
            (Entry::LeaderEpoch(-1), "leader epoch"),
            (Entry::ProducerIds(i64::MAX), "producer ids"),
            (Entry::ProducerIds(-1), "producer ids"),
        ] {
            let disk = Disk::memory();
            let mut journal = Journal::open(&disk, FILE, |_| Ok(())).expect("opens");
            let mut entries = Entries::default();
            entry.put(&mut entries);
            journal.append(entries, Fsync::Always).expect("written");
            let mut record = Record::default();
            let error = Journal::open(&disk, FILE, |entry| record.replay(entry));
            let error = error.expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_is_rewritten_says_the_same() {
        let (kept, gone) = (uuid::from_bytes([1; 16]), uuid::from_bytes([2; 16]));
        let overrides = Overrides::from([("retention.ms".to_owned(), "1".to_owned())]);
        let set = |resource| Entry::Settings { resource, overrides: overrides.clone() };
        let mut record = Record::default();
        for entry in [
            Entry::Cluster(uuid::from_bytes([9; 16])),
            Entry::LeaderEpoch(3),
            set(Resource::Topic(kept)),
            Entry::Created { id: kept, partitions: 1, name: "kept".to_owned() },
            Entry::Partitions { id: kept, partitions: 5 },
            set(Resource::Topic(gone)),
            Entry::Created { id: gone, partitions: 1, name: "gone".to_owned() },
            Entry::Deleted(gone),
            set(Resource::Cluster),
            set(Resource::Broker(1)),
            set(Resource::Group("g".to_owned())),
            set(Resource::Group("emptied".to_owned())),
            Entry::Settings {
                resource: Resource::Group("emptied".to_owned()),
                overrides: Overrides::new(),
            },
            Entry::ProducerIds(2_000),
        ] {
            record.note(entry);
        }
        assert_eq!(record.topics, BTreeMap::from([(kept, ("kept".to_owned(), 5))]));
        assert_eq!(record.settings.len(), 4);

        let disk = Disk::memory();
        let mut journal = Journal::open(&disk, FILE, |_| Ok(())).expect("opens");
        journal.append(record.entries(), Fsync::Always).expect("written");
        let mut replayed = Record::default();
        Journal::open(&disk, FILE, |entry| replayed.replay(entry)).expect("opens");
        assert_eq!(format!("{replayed:?}"), format!("{record:?}"));
    }
}
