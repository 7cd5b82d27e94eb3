//! A group as it is at one moment.

use std::collections::{BTreeMap, BTreeSet};

use onrush_engine::metadata::{Metadata, Note};
use onrush_kafka::{Client, TopicPartition};
use onrush_runtime::Instant;

use crate::cluster::Session;
use crate::failure::Failure;
use crate::group::{Position, find, positions};
use crate::records::scan::Scan;

/// See the module.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) group: String,
    pub(super) at: Instant,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    /// None if the cluster does not know the group.
    pub(super) members: Option<usize>,
    pub(super) partitions: BTreeMap<TopicPartition, Standing>,
}

/// How a group stands in a partition.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) position: Position,
    /// What was finished above the committed offset, and what is known of what was not.
    pub(super) done_above: u64,
    pub(super) notes: Vec<Note>,
}

impl Standing {
    fn of(position: Position) -> Self {
        let metadata = match position.committed {
            // Another client's metadata says nothing to us.
            Some(offset) => Metadata::decode(offset, &position.metadata).unwrap_or_default(),
            None => Metadata::default(),
        };
        Self { done_above: position.done_above(), notes: metadata.notes, position }
    }

    /// Events in the log that are not finished; none without an offset or a log.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let lag = u64::try_from(self.position.lag()?).unwrap_or(0);
        Some(lag.saturating_sub(self.done_above))
    }

    /// Events that were finished, counted from the log's first offset: it grows even while the committed offset cannot.
    pub(super) fn finished(&self) -> Option<i64> {
        Some(self.position.committed?.saturating_add_unsigned(self.done_above))
    }

    /// The first offset that is not finished, if it is in the log.
    pub(super) fn first_open(&self) -> Option<i64> {
        let (committed, extent) = (self.position.committed?, self.position.extent?);
        let first = committed.max(extent.start);
        (first < extent.end).then_some(first)
    }

    /// What is known of that one.
    pub(super) fn note(&self) -> Option<&Note> {
        let first = self.first_open()?;
        self.notes.iter().find(|note| note.offset == first)
    }
}

impl Look {
    pub(super) async fn at(
        session: &Session,
        group: &str,
        topics: &[String],
    ) -> Result<Self, Failure> {
        let client = &session.client;
        let found = find(client, group).await?;
        // Offsets before ends, so that no lag is negative; what is assigned and not committed counts from the log's start.
        let assigned = found.iter().flat_map(|group| &group.members);
        let assigned: BTreeSet<_> =
            assigned.flat_map(|member| member.assigned.iter().cloned()).collect();
        let positions = positions(client, group, &assigned).await?;
        let wanted = |position: &Position| {
            topics.is_empty() || topics.iter().any(|topic| *topic == *position.partition.topic)
        };
        let standings = positions.into_iter().filter(wanted);
        let partitions =
            standings.map(|position| (position.partition.clone(), Standing::of(position)));
        Ok(Self {
            group: group.to_owned(),
            partitions: partitions.collect(),
            members: found.map(|group| group.members.len()),
            at: session.runtime.clock.now(),
            now: session.runtime.clock.wall_millis(),
        })
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.partitions.values().filter_map(Standing::unfinished).sum()
    }

    /// The first unfinished record of each partition that has one.
    pub(super) async fn heads(
        &self,
        client: &Client,
    ) -> Result<BTreeMap<TopicPartition, Head>, Failure> {
        let open = |(partition, standing): (&TopicPartition, &Standing)| {
            let end = standing.position.extent?.end;
            Some((partition.clone(), standing.first_open()?..end))
        };
        let parts: BTreeMap<_, _> = self.partitions.iter().filter_map(open).collect();
        let mut heads = BTreeMap::new();
        let count = parts.len();
        let mut scan = Scan::new(client, parts);
        while heads.len() < count {
            let mut first = true;
            let head = |_: &TopicPartition, record: &onrush_record::Record<'_>| {
                let key = record.key.map(<[u8]>::to_vec);
                let head = Head { offset: record.offset, timestamp: record.timestamp, key };
                Ok(std::mem::take(&mut first).then_some(head))
            };
            let Some(scanned) = scan.next(head).await? else { break };
            if let Some(head) = scanned.kept.into_iter().next() {
                scan.skip(&scanned.partition);
                heads.insert(scanned.partition, head);
            }
        }
        scan.close().await;
        Ok(heads)
    }
}

/// A record that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) offset: i64,
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
}
