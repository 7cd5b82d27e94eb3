//! Where the logs of topics begin and end.

use std::collections::BTreeMap;

use onrush_kafka::{At, Client, ClientError, ErrorCode, TopicDescription, TopicPartition};
use onrush_runtime::Fault;

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

/// The descriptions of these topics, in the order given.
pub(crate) async fn described(
    client: &Client,
    names: &[String],
) -> Result<Vec<TopicDescription>, Failure> {
    let mut outcomes = client.describe_topics(&references(names)).await;
    let (mut topics, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match outcomes.remove(name) {
            Some(Ok(topic)) => topics.push(topic),
            Some(Err(error)) if is_unknown(&error) => failed.push(unknown(name)),
            Some(Err(error)) => failed.push(failure(error)),
            // It was named twice.
            None => {}
        }
    }
    crate::outcome::failures(failed)?;
    Ok(topics)
}

fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn unknown(name: &str) -> Failure {
    Failure::unavailable(format!(
        "there is no topic {name}; `onrush topic list` shows the topics that there are"
    ))
    .code(Fault::UnknownTopic)
}

pub(crate) fn references(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
