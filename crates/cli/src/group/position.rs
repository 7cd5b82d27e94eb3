//! Where a group stands in a partition, and what lies before it.

use std::collections::{BTreeMap, BTreeSet};

use onrush_engine::Metadata;
use onrush_engine::completed::CompletedSet;
use onrush_kafka::{Client, Committed, ErrorCode, TopicDescription, TopicPartition};

use crate::failure::Failure;
use crate::outcome::failure;
use crate::topic::{Extent, extents};

/// A group's place in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    /// What was committed; none if nothing was.
    pub(crate) committed: Option<i64>,
    /// What the committer added.
    pub(crate) metadata: String,
    /// Where the log begins and ends; none if the partition is gone or has no leader.
    pub(crate) extent: Option<Extent>,
}

impl Position {
    /// Offsets that are there and not committed. What retention took away is not waited for.
    pub(crate) fn lag(&self) -> Option<i64> {
        let (committed, extent) = (self.committed?, self.extent?);
        Some(extent.end.saturating_sub(committed.max(extent.start)).max(0))
    }

    /// Events above the committed offset that an Onrush group has finished, as its commit says.
    pub(crate) fn done_above(&self) -> u64 {
        let Some(committed) = self.committed else { return 0 };
        let done = Metadata::decode(committed, &self.metadata).unwrap_or_default().completed;
        let done = self.extent.map_or_else(CompletedSet::empty, |extent| done.below(extent.end));
        done.runs().iter().map(|run| run.count()).sum()
    }

    /// What a person should know beside the numbers.
    pub(super) fn note(&self) -> String {
        let Some(extent) = self.extent else { return "no such partition, or no leader".to_owned() };
        match (self.committed, self.done_above()) {
            (Some(committed), _) if committed > extent.end => "beyond the end".to_owned(),
            (Some(committed), _) if committed < extent.start => {
                format!("{} expired unread", extent.start - committed)
            }
            (_, 0) => String::new(),
            (_, done) => format!("{done} done above"),
        }
    }
}

/// What a group has committed, and where the logs of these partitions and of `more` are. Offsets are asked for before the
/// ends of logs: the other way round, a commit in between would be above the end.
pub(crate) async fn positions(
    client: &Client,
    group: &str,
    more: &BTreeSet<TopicPartition>,
) -> Result<Vec<Position>, Failure> {
    let committed = client.fetch_all_offsets(group).await.map_err(failure)?;
    let committed: BTreeMap<TopicPartition, Committed> =
        committed.into_iter().map(|offset| (offset.partition.clone(), offset)).collect();
    let wanted: BTreeSet<TopicPartition> = committed.keys().chain(more).cloned().collect();
    let topics = present(client, wanted.iter().map(|partition| &*partition.topic)).await?;
    let extents = extents(client, &topics).await?;
    let position = |partition: TopicPartition| {
        let commit = committed.get(&partition).filter(|commit| commit.offset >= 0);
        Position {
            committed: commit.map(|commit| commit.offset),
            metadata: commit.map(|commit| commit.metadata.clone()).unwrap_or_default(),
            extent: extents.get(&partition).copied(),
            partition,
        }
    };
    Ok(wanted.into_iter().map(position).collect())
}

/// Those of these topics that exist.
pub(super) async fn present<'a>(
    client: &Client,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<TopicDescription>, Failure> {
    let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    let mut topics = Vec::new();
    for outcome in client.describe_topics(&names).await.into_values() {
        match outcome {
            Ok(topic) => topics.push(topic),
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use onrush_engine::completed::{METADATA_LIMIT, OffsetRun};

    use super::*;

    fn position(committed: Option<i64>, metadata: &str) -> Position {
        Position {
            partition: TopicPartition::new("t", 0),
            committed,
            metadata: metadata.to_owned(),
            extent: Some(Extent { start: 10, end: 100 }),
        }
    }

    #[test]
    fn lag_counts_what_is_there() {
        assert_eq!(position(Some(40), "").lag(), Some(60));
        assert_eq!(position(Some(100), "").lag(), Some(0));
        assert_eq!(position(Some(3), "").lag(), Some(90), "what expired is gone");
        assert_eq!(position(Some(120), "").lag(), Some(0), "never below 0");
        assert_eq!(position(None, "").lag(), None);
    }

    #[test]
    fn what_is_done_above_is_told_apart_from_what_is_behind() {
        let mut done = CompletedSet::empty();
        done.push(OffsetRun::new(41, 60));
        done.push(OffsetRun::new(90, 120));
        let metadata = Metadata { completed: done, notes: Vec::new() };
        let position = position(Some(40), &metadata.encode(40, METADATA_LIMIT));
        assert_eq!(position.done_above(), 20 + 10, "what is above the end was in another log");
        assert_eq!(position.note(), "30 done above");
    }

    #[test]
    fn notes_name_what_is_odd() {
        assert_eq!(position(Some(40), "of another program").note(), "");
        assert_eq!(position(Some(3), "").note(), "7 expired unread");
        assert_eq!(position(Some(101), "").note(), "beyond the end");
        let gone = Position { extent: None, ..position(Some(1), "") };
        assert!(gone.note().starts_with("no such partition"));
    }
}
