//! Where the logs of topics begin and end.

use std::collections::BTreeMap;

use onrush_kafka::{At, Client, TopicDescription, TopicPartition};

use crate::failure::Failure;
use crate::outcome::failure;

/// The offsets of a log: from `start` on, before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Extent {
    /// How many offsets it has. Compaction and transactions leave offsets without a record.
    pub(crate) fn count(self) -> i64 {
        self.end.saturating_sub(self.start).max(0)
    }
}

/// The extents of the partitions that have a leader: the others cannot be asked about.
pub(crate) async fn extents(
    client: &Client,
    topics: &[TopicDescription],
) -> Result<BTreeMap<TopicPartition, Extent>, Failure> {
    let mut led = Vec::new();
    for topic in topics {
        let partitions = topic.partition_names().zip(&topic.partitions);
        led.extend(partitions.filter(|(_, p)| p.leader.is_some()).map(|(name, _)| name));
    }
    // Starts first: one that moves in between is not above the end.
    let starts = client.list_offsets(&led, At::Earliest).await.map_err(failure)?;
    let ends = client.list_offsets(&led, At::Latest).await.map_err(failure)?;
    let extents = led.into_iter().filter_map(|partition| {
        let (start, end) = (starts.get(&partition)?.offset, ends.get(&partition)?.offset);
        Some((partition, Extent { start, end }))
    });
    Ok(extents.collect())
}
