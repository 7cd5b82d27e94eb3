//! Reading as a member of a group: the group says which partitions, and what is written to stdout is committed.
//!
//! A commit follows a flush of stdout, never the other way round. It happens in intervals, before a partition is given back,
//! and at the end. What was written and not committed is printed again by whoever reads the partition next.
//!
//! A member that is to end at the ends, and has no partition (there are more members than partitions), is a spare: it ends when
//! the group has committed up to where the partitions ended when the command started.

use std::collections::BTreeMap;
use std::time::Duration;

use onrush_kafka::{
    At, Client, Commit, ErrorCode, GroupConfig, GroupEvent, Member, Tenure, TopicPartition,
};
use onrush_runtime::{Executor, Fault};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::reader::Reader;
use crate::failure::Failure;
use crate::records::range::{self, Range, Span};

/// Time between commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A member of a group that prints what it is assigned.
pub(super) struct GroupReader<'a> {
    client: &'a Client,
    group: &'a str,
    member: Member,
    events: mpsc::Receiver<GroupEvent>,
    reader: Reader,
    assigned: BTreeMap<TopicPartition, Assigned>,
    /// Where a partition begins that the group has no offset of.
    start: Range,
    /// Whether to end at the ends of the partitions.
    stop: bool,
    /// What the whole group is to read until a member without partitions ends, if it is to end.
    goal: BTreeMap<TopicPartition, Span>,
}

struct Assigned {
    tenure: Tenure,
    committed: i64,
}

impl<'a> GroupReader<'a> {
    pub(super) async fn join(
        client: &'a Client,
        control: Executor,
        group: &'a str,
        topics: &[String],
        reader: Reader,
        start: Range,
        stop: bool,
    ) -> Result<Self, Failure> {
        let config = GroupConfig::new(group, topics.iter().cloned());
        let (member, events) = Member::join(client, control, config).await?;
        let assigned = BTreeMap::new();
        let goal = match stop {
            true => {
                let all = super::partitions(client, topics, &[]).await?;
                range::resolve(client, &all, start, true).await?
            }
            false => BTreeMap::new(),
        };
        Ok(Self { client, group, member, events, reader, assigned, start, stop, goal })
    }

    /// Prints until it is done. May be cancelled: [`GroupReader::end`] knows what was printed.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        let mut commits = interval(COMMIT_INTERVAL);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.assigned.is_empty() || !self.reader.is_done() {
            tokio::select! {
                biased;
                event = self.events.recv() => self.follow(event).await?,
                _ = commits.tick() => {
                    self.commit(|_| true).await?;
                    if self.stop && self.assigned.is_empty() && self.is_goal_reached().await? {
                        return Ok(());
                    }
                }
                event = self.reader.next() => self.reader.take(event?)?,
            }
        }
        Ok(())
    }

    /// Whether the group has committed all that there was when the command started.
    async fn is_goal_reached(&self) -> Result<bool, Failure> {
        let partitions: Vec<_> = self.goal.keys().cloned().collect();
        let committed = self.client.fetch_offsets(self.group, &partitions).await?;
        Ok(committed.iter().all(|committed| {
            self.goal.get(&committed.partition).is_none_or(|span| {
                let next = if committed.offset >= 0 { committed.offset } else { span.from };
                span.to.is_none_or(|end| next >= end)
            })
        }))
    }

    async fn follow(&mut self, event: Option<GroupEvent>) -> Result<(), Failure> {
        match event {
            Some(GroupEvent::Assigned(partitions, tenure)) => {
                self.assign(&partitions, tenure).await
            }
            Some(GroupEvent::Revoked(partitions)) => {
                self.commit(|partition| partitions.contains(partition)).await?;
                self.forget(&partitions);
                self.member.released(&partitions);
                Ok(())
            }
            Some(GroupEvent::Lost(partitions)) => {
                self.forget(&partitions);
                Ok(())
            }
            Some(GroupEvent::Fatal(error)) => {
                Err(Failure::from(error).doing(format!("group {}", self.group)))
            }
            None => Err(Failure::unavailable(format!("the member of group {} ended", self.group))),
        }
    }

    async fn assign(
        &mut self,
        partitions: &[TopicPartition],
        tenure: Tenure,
    ) -> Result<(), Failure> {
        let committed = self.client.fetch_offsets(self.group, partitions).await?;
        let (known, fresh): (Vec<_>, Vec<_>) =
            committed.into_iter().partition(|committed| committed.offset >= 0);
        let fresh: Vec<_> = fresh.into_iter().map(|committed| committed.partition).collect();
        let mut spans = BTreeMap::new();
        if !fresh.is_empty() {
            spans = range::resolve(self.client, &fresh, self.start, self.stop).await?;
        }
        let ends = match self.stop {
            true => self.client.list_offsets(partitions, At::Latest).await?,
            false => BTreeMap::new(),
        };
        for committed in known {
            let (from, to) = (committed.offset, ends.get(&committed.partition));
            let to = to.map(|end| end.offset);
            spans.insert(committed.partition, Span { from, fetch: from, to });
        }
        for (partition, span) in spans {
            self.assigned.insert(partition.clone(), Assigned { tenure, committed: span.from });
            self.reader.add(partition, span);
        }
        Ok(())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.reader.remove(partition);
            self.assigned.remove(partition);
        }
    }

    /// Writes what was read, then commits it.
    async fn commit(&mut self, wanted: impl Fn(&TopicPartition) -> bool) -> Result<(), Failure> {
        self.reader.printer.flush()?;
        let mut commits = Vec::new();
        for (partition, position) in self.reader.positions().filter(|(p, _)| wanted(p)) {
            let Some(assigned) = self.assigned.get(partition) else { continue };
            if position.next > assigned.committed {
                let commit = Commit {
                    partition: partition.clone(),
                    offset: position.next,
                    leader_epoch: position.leader_epoch,
                    metadata: String::new(),
                };
                commits.push((assigned.tenure, commit));
            }
        }
        let offsets: BTreeMap<_, _> =
            commits.iter().map(|(_, commit)| (commit.partition.clone(), commit.offset)).collect();
        for (partition, code) in self.member.commit(commits).await? {
            self.committed(&partition, code, offsets.get(&partition).copied());
        }
        Ok(())
    }

    fn committed(&mut self, partition: &TopicPartition, code: ErrorCode, offset: Option<i64>) {
        if !code.is_ok() {
            tracing::warn!(%partition, error = %code, code = %Fault::CommitFailed, "an offset was not committed; its records will be read again");
            return;
        }
        if let (Some(assigned), Some(offset)) = (self.assigned.get_mut(partition), offset) {
            assigned.committed = offset;
        }
    }

    /// Commits what is printed (not after a failure, which may be stdout's), and leaves the group.
    pub(super) async fn end(mut self, failed: bool) -> (Reader, Result<(), Failure>) {
        let committed = match failed {
            true => Ok(()),
            false => self.commit(|_| true).await,
        };
        self.member.leave().await;
        (self.reader, committed)
    }
}
