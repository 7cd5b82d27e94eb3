//! How the groups of a test bed stand, asked of the broker as anybody could.

use std::collections::BTreeSet;

use onrush_engine::{Metadata, Start};
use onrush_kafka::{At, Client, ClientError, Committed, TopicPartition};

use super::log;
use super::member::Member;

/// Why the group has not settled on who has what; none if it has.
pub(super) async fn unbalanced(
    client: &Client,
    group: &str,
    members: &[&Member],
) -> Result<Option<String>, ClientError> {
    let described = client.describe_group(group).await?;
    if described.members.len() != members.len() {
        let (known, running) = (described.members.len(), members.len());
        return Ok(Some(format!("the group {group} has {known} members, and {running} run")));
    }
    if !described.state.eq_ignore_ascii_case("stable") {
        return Ok(Some(format!("the group {group} is {}", described.state)));
    }
    let given: BTreeSet<TopicPartition> =
        described.members.into_iter().flat_map(|member| member.assigned).collect();
    let held: BTreeSet<TopicPartition> = members.iter().flat_map(|member| held(member)).collect();
    Ok((given != held)
        .then(|| format!("{} of {} partitions of {group} are held", held.len(), given.len())))
}

fn held(member: &Member) -> impl Iterator<Item = TopicPartition> {
    let snapshot = member.handle().map(|handle| handle.snapshot()).unwrap_or_default();
    snapshot.partitions.into_iter().map(|state| state.partition)
}

/// What a group committed for the partitions of its topics, those of its retries among them.
pub(super) async fn committed(
    client: &Client,
    members: &[&Member],
) -> Result<Vec<Committed>, ClientError> {
    let Some(first) = members.first() else { return Ok(Vec::new()) };
    let all = client.fetch_all_offsets(first.group()).await?;
    let mut topics: BTreeSet<String> = first.plan.engine.topics.iter().cloned().collect();
    topics.extend(all.iter().map(|committed| committed.partition.topic.to_string()));
    for member in members {
        topics.extend(held(member).map(|partition| partition.topic.to_string()));
    }
    let mut partitions = Vec::new();
    for topic in &topics {
        partitions.extend(log::partitions(client, topic).await?);
    }
    client.fetch_offsets(first.group(), &partitions).await
}

/// What of these groups is not finished, in words.
///
/// Commits are read before the ends of logs: what was emitted before a commit is in the end that is read after it, so
/// groups that feed each other are judged as of one instant.
pub(super) async fn unfinished(
    client: &Client,
    groups: &[Vec<&Member>],
) -> Result<Vec<String>, ClientError> {
    let mut commits = Vec::new();
    for members in groups {
        for commit in committed(client, members).await? {
            commits.push((members, commit));
        }
    }
    let partitions: BTreeSet<_> =
        commits.iter().map(|(_, commit)| commit.partition.clone()).collect();
    let partitions: Vec<_> = partitions.into_iter().collect();
    let ends = client.list_offsets(&partitions, At::Latest).await?;
    let mut open = Vec::new();
    for (members, commit) in commits {
        let end = ends.get(&commit.partition).map_or(0, |end| end.offset);
        if commit.offset.max(0) < end && !skips(members, &commit, end) {
            open.push(describe(members, &commit, end));
        }
    }
    Ok(open)
}

/// Whether the group began at the end of the partition, and has nothing to commit.
fn skips(members: &[&Member], commit: &Committed, end: i64) -> bool {
    commit.offset < 0
        && members.iter().any(|member| member.plan.engine.start == Start::Latest)
        && members.iter().filter_map(|member| member.handle()).any(|handle| {
            handle.snapshot().partitions.iter().any(|state| {
                state.partition == commit.partition && state.position >= end && state.in_flight == 0
            })
        })
}

fn describe(members: &[&Member], commit: &Committed, end: i64) -> String {
    let Committed { partition, offset, metadata, .. } = commit;
    let group = members.first().map_or("", |member| member.group());
    let above: i64 = Metadata::decode(*offset, metadata)
        .unwrap_or_default()
        .completed
        .runs()
        .iter()
        .map(|run| run.last - run.first + 1)
        .sum();
    let mut text = format!("{group} has committed {} of {end} in {partition}", offset.max(&0));
    if above > 0 {
        text += &format!(", and finished {above} events above that");
    }
    let states = members.iter().filter_map(|member| member.handle());
    for state in states.flat_map(|handle| handle.snapshot().partitions) {
        if state.partition == *partition && state.stopped {
            text += "; the partition is stopped";
        } else if state.partition == *partition && state.paused {
            text += "; the partition is paused, since too many events failed";
        }
    }
    text
}
