//! The broker without sockets, for the fuzz targets of `guards`: a request in, an answer out; and what it serves and
//! remembers, to be compared with the files that it was opened over.

use std::io;

use bytes::Bytes;
use onrush_record::BatchHeader;
use onrush_runtime::{Disk, Instant, Random, Runtime};
use onrush_wire::{ApiKey, VersionRange};

use crate::config::MAX_FETCH_BYTES;
use crate::core::{Core, Outcome};
use crate::log::{Oversized, Slice};
use crate::parked::ConnectionId;
use crate::producers::Verdict;
use crate::requests::api_versions;
use crate::{BrokerConfig, BrokerError};

/// There is one connection.
const CONNECTION: ConnectionId = 1;

/// A broker and its one client.
#[derive(Debug)]
pub struct Bench {
    core: Core,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The segments of a frame.
    Frame(Vec<Bytes>),
    /// The client asked for none, or must wait for it.
    None,
    /// The connection is closed: the request is malformed or not served.
    Closed,
}

/// A partition, and what readers are told of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The name of its topic.
    pub topic: String,
    /// Its number in the topic.
    pub index: i32,
    /// First offset that can be read.
    pub start: i64,
    /// Up to where can be read.
    pub end: i64,
}

impl Bench {
    /// Recovers what is on the disk.
    ///
    /// # Errors
    /// It cannot be recovered.
    pub fn open(disk: &Disk, config: BrokerConfig) -> Result<Self, BrokerError> {
        let runtime = Runtime { random: Random::seeded(1), ..Runtime::production(disk.clone()) };
        let mut core = Core::open(config.validated()?, &runtime)?;
        core.advertise("127.0.0.1:9092");
        Ok(Self { core })
    }

    /// Ends cleanly.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(mut self) -> io::Result<()> {
        self.core.close()
    }

    /// Syncs every log and writes a checkpoint of it, as the syncer does from time to time.
    ///
    /// # Errors
    /// The disk's.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        let topics = &mut self.core.topics;
        for place in topics.places() {
            let Some(mut task) = topics.checkpoint(place) else { continue };
            let done = task.run();
            topics.synced(&task, &done);
            done?;
        }
        Ok(())
    }

    /// All partitions.
    pub fn partitions(&self) -> Vec<Partition> {
        let topics = self.core.topics.iter();
        let of_topic = topics.flat_map(|topic| {
            (0..).zip(&topic.logs).map(|(index, log)| Partition {
                topic: topic.name.to_string(),
                index,
                start: log.start(),
                end: log.end(),
            })
        });
        of_topic.collect()
    }

    /// What a fetch of up to `max` bytes from `offset` gets: whole batches; `None` if the offset is out of range.
    ///
    /// # Errors
    /// The fetch is answered with one.
    pub fn read(&self, of: &Partition, offset: i64, max: usize) -> io::Result<Option<Bytes>> {
        let Ok(log) = self.core.topics.log(&of.topic, of.index) else { return Ok(None) };
        Ok(match log.read(offset, max, Oversized::Allowed)? {
            Slice::Records(records) => Some(records),
            Slice::OutOfRange => None,
        })
    }

    /// The offset that a producer is told who sends a batch again; `None` if it would be appended or refused.
    pub fn known(&self, of: &Partition, batch: &BatchHeader) -> Option<i64> {
        match self.core.topics.log(&of.topic, of.index).ok()?.check(batch) {
            Ok(Verdict::Duplicate { base_offset }) => Some(base_offset),
            _ => None,
        }
    }

    /// What the journals say, for comparisons. The leader epoch, which every start raises, is left out.
    pub fn remembered(&self) -> String {
        let topics = self.core.topics.iter().map(|topic| (&topic.name, topic.id, topic.settings));
        let offsets = &self.core.offsets;
        let mut groups: Vec<_> = offsets.ids().collect();
        groups.sort();
        groups.dedup();
        let groups = groups.into_iter().map(|group| {
            let committed: Vec<_> = offsets.of_group(group).collect();
            (group, offsets.epoch(group), committed, self.core.members.groups().get(group))
        });
        let (topics, groups): (Vec<_>, Vec<_>) = (topics.collect(), groups.collect());
        format!("{} {topics:?} {groups:?}", self.core.topics.cluster_id())
    }

    /// Handles a frame without its length prefix. A request that waits waits no longer.
    pub fn request(&mut self, frame: Bytes) -> Answer {
        match self.core.handle(Instant::now(), CONNECTION, MAX_FETCH_BYTES, frame) {
            Ok(Outcome::Parked(_)) => {
                let resumed = self.core.resume(Instant::now(), CONNECTION, MAX_FETCH_BYTES);
                // A member may have to go on waiting for others: its client goes away instead.
                self.core.disconnected(Instant::now(), CONNECTION);
                match resumed {
                    Some(Ok(outcome)) => answer(outcome),
                    Some(Err(_)) => Answer::Closed,
                    None => Answer::None,
                }
            }
            Ok(outcome) => answer(outcome),
            Err(_) => Answer::Closed,
        }
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Reply(segments) => Answer::Frame(segments),
        Outcome::Silent | Outcome::Parked(_) => Answer::None,
    }
}

/// The APIs and versions that the broker announces.
pub fn served() -> impl Iterator<Item = (ApiKey, VersionRange)> {
    ApiKey::all().filter_map(|key| Some((key, api_versions::served(key)?)))
}
