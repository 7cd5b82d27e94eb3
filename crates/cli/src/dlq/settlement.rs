//! How an event that was dead-lettered by hand gets its outcome: from the member that holds its partition, or, in a group that
//! has none, by a commit that counts it as finished.

use onrush::http::Place;
use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun, SPAN_LIMIT};
use onrush_engine::{Metadata, MetadataError, Note};
use onrush_kafka::{Client, Commit, Committed, GroupDescription, TopicPartition};
use onrush_runtime::Fault;

use crate::failure::Failure;
use crate::group::{find, joined_meanwhile, unknown};
use crate::outcome::failure;
use crate::peer::Peer;
use crate::table::visible;

/// See the module.
#[derive(Debug)]
pub(super) enum Settlement {
    /// One of these holds the partition; the one that said so comes first.
    Member { peers: Vec<Peer> },
    /// The group has no members, and would commit this.
    Commit { group: String, before: i64, after: i64 },
}

/// What is known of an event, and how it can be settled.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) settlement: Settlement,
    pub(super) note: Option<Note>,
}

/// Looks for a way; refuses where there is none.
pub(super) async fn find_way(
    client: &Client,
    event: &Place,
    group: Option<&str>,
    members: &[Peer],
) -> Result<Found, Failure> {
    let note = match group {
        Some(group) => note(&committed(client, group, event).await?, event.offset),
        None => None,
    };
    let settlement = match group.filter(|_| members.is_empty()) {
        None => Settlement::Member { peers: holder_first(members, event).await? },
        Some(group) => {
            let description = find(client, group).await?.ok_or_else(|| unknown(group))?;
            refuse_members(&description, event)?;
            let before = committed(client, group, event).await?;
            let after =
                passing(&before, event.offset).map_err(|why| refused(group, event, &why))?;
            let (group, before, after) = (group.to_owned(), before.offset, after.offset);
            Settlement::Commit { group, before, after }
        }
    };
    Ok(Found { settlement, note })
}

impl Settlement {
    /// What it will be, or was.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Member { peers } => {
                let peer = peers.first().map(ToString::to_string).unwrap_or_default();
                format!("the member at {peer} counts it as dead-lettered")
            }
            Self::Commit { group, before, after } if before == after => {
                format!("group {group} commits {after} again, with this one finished above it")
            }
            Self::Commit { group, before, after } => {
                format!("group {group} commits {after} in place of {before}")
            }
        }
    }

    /// Gives the event its outcome.
    pub(super) async fn settle(&self, client: &Client, event: &Place) -> Result<(), Failure> {
        match self {
            Self::Member { peers } => settle_at(peers, event).await,
            Self::Commit { group, .. } => {
                // Members may have come, finished more, and left since it was looked at.
                let before = committed(client, group, event).await?;
                let commit =
                    passing(&before, event.offset).map_err(|why| refused(group, event, &why))?;
                let outcome = client.commit_offsets(group, &[commit]).await;
                outcome.map_err(|error| joined_meanwhile(group, error))
            }
        }
    }
}

async fn settle_at(peers: &[Peer], event: &Place) -> Result<(), Failure> {
    let mut said = Vec::new();
    for peer in peers {
        match peer.settle(event).await {
            Ok(()) => return Ok(()),
            Err(error) => said.push(format!("{peer}: {error}")),
        }
    }
    Err(Failure::unavailable(format!("no member settled it: {}", said.join("; "))))
}

/// The peers, the one that holds the event's partition first.
async fn holder_first(peers: &[Peer], event: &Place) -> Result<Vec<Peer>, Failure> {
    let mut said = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        let view = match peer.snapshot().await {
            Ok(view) => view,
            Err(error) => {
                said.push(format!("{peer}: {error}"));
                continue;
            }
        };
        let partitions = view.consumers.iter().flat_map(|consumer| &consumer.partitions);
        let held = partitions
            .filter(|held| held.topic == event.topic && held.partition == event.partition)
            .map(|held| held.position)
            .next();
        match held {
            Some(position) if position <= event.offset => {
                return Err(Failure::unavailable(format!(
                    "offset {} of {} has not been taken yet, the member at {peer} is at {position}: there is nothing to settle",
                    event.offset,
                    name(event)
                )));
            }
            Some(_) => {
                let mut sorted = peers.to_vec();
                sorted[..=index].rotate_right(1);
                return Ok(sorted);
            }
            None => said.push(format!("{peer}: it does not hold the partition")),
        }
    }
    Err(Failure::unavailable(format!(
        "no --member holds {}, so nothing was written: {}. `onrush group describe GROUP` shows who does",
        name(event),
        said.join("; ")
    )))
}

fn name(event: &Place) -> TopicPartition {
    TopicPartition::new(event.topic.as_str(), event.partition)
}

/// A group with members would not hear of a commit that somebody else makes.
fn refuse_members(group: &GroupDescription, event: &Place) -> Result<(), Failure> {
    if group.members.is_empty() {
        return Ok(());
    }
    let name = name(event);
    let holder = group.members.iter().find(|member| member.assigned.contains(&name));
    let holder = holder.map_or_else(
        || format!("one of its members holds {name}"),
        |member| {
            let (client, host) = (visible(&member.client_id), visible(&member.host));
            format!("{name} is held by {} (client {client}, {host})", visible(&member.id))
        },
    );
    Err(Failure::unavailable(format!(
        "group {} has members, which would not hear of a commit: {holder}. Say where it shows itself over HTTP with --member \
         HOST:PORT, or stop all members first",
        visible(&group.group)
    ))
    .code(Fault::GroupInUse))
}

async fn committed(client: &Client, group: &str, event: &Place) -> Result<Committed, Failure> {
    let name = name(event);
    let asked = client.fetch_offsets(group, std::slice::from_ref(&name)).await;
    let committed = asked.map_err(failure)?.into_iter().find(|offset| offset.partition == name);
    let none = || Committed {
        partition: name.clone(),
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
    };
    Ok(committed.unwrap_or_else(none))
}

/// What the group noted of an event.
fn note(committed: &Committed, offset: i64) -> Option<Note> {
    let metadata = Metadata::decode(committed.offset, &committed.metadata).ok()?;
    metadata.notes.into_iter().find(|note| note.offset == offset)
}

/// Why a commit cannot count an event as finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(
        "it has committed nothing there, so nobody knows where it begins; see `onrush group reset`"
    )]
    NothingCommitted,
    #[error("it has finished the event already")]
    Finished,
    #[error("{0}; who wrote it would not know that the event is finished")]
    Metadata(MetadataError),
    #[error("its commit has no room to say that the event is finished")]
    NoRoom,
}

fn refused(group: &str, event: &Place, why: &Refusal) -> Failure {
    let about = format!("group {} and offset {} of {}", visible(group), event.offset, name(event));
    let failure = Failure::unavailable(format!("{about}: {why}"));
    match why {
        Refusal::Metadata(_) => failure.code(Fault::ForeignMetadata),
        _ => failure,
    }
}

/// What a group that committed `before` commits so that `offset` is finished, too.
fn passing(before: &Committed, offset: i64) -> Result<Commit, Refusal> {
    if before.offset < 0 {
        return Err(Refusal::NothingCommitted);
    }
    let metadata = match Metadata::decode(before.offset, &before.metadata) {
        Ok(metadata) => metadata,
        // Of what another program wrote nothing is left when the commit moves: that is so with each of its own.
        Err(MetadataError::Foreign) if offset == before.offset => Metadata::default(),
        Err(error) => return Err(Refusal::Metadata(error)),
    };
    let is_done = |run: &OffsetRun| (run.first..=run.last).contains(&offset);
    if offset < before.offset || metadata.completed.runs().iter().any(is_done) {
        return Err(Refusal::Finished);
    }
    if offset - before.offset > SPAN_LIMIT {
        return Err(Refusal::NoRoom);
    }
    let mut done = metadata.completed.runs().to_vec();
    done.push(OffsetRun::new(offset, offset));
    done.sort_unstable();
    let (mut next, mut completed) = (before.offset, CompletedSet::empty());
    for run in done {
        if run.first <= next {
            next = next.max(run.last + 1);
        } else {
            completed.push(run);
        }
    }
    let is_open = |note: &Note| note.offset >= next && note.offset != offset;
    let notes = metadata.notes.into_iter().filter(is_open).collect();
    let after = Metadata { completed, notes };
    let written = after.encode(next, METADATA_LIMIT);
    let read = Metadata::decode(next, &written).unwrap_or_default();
    if read.completed != after.completed {
        return Err(Refusal::NoRoom);
    }
    let partition = before.partition.clone();
    Ok(Commit { partition, offset: next, leader_epoch: -1, metadata: written })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(runs: &[(i64, i64)]) -> CompletedSet {
        let mut set = CompletedSet::empty();
        runs.iter().for_each(|(first, last)| set.push(OffsetRun::new(*first, *last)));
        set
    }

    fn note(offset: i64) -> Note {
        Note { offset, attempts: 3, since_millis: 1_790_000_000_000, error: "no".to_owned() }
    }

    fn committed(offset: i64, metadata: &str) -> Committed {
        let partition = TopicPartition::new("t", 0);
        Committed { partition, offset, leader_epoch: -1, metadata: metadata.to_owned() }
    }

    fn before(runs: &[(i64, i64)], notes: &[i64]) -> Committed {
        let notes = notes.iter().copied().map(note).collect();
        let metadata = Metadata { completed: set(runs), notes };
        committed(100, &metadata.encode(100, METADATA_LIMIT))
    }

    fn after(before: &Committed, offset: i64) -> (i64, Metadata) {
        let commit = passing(before, offset).unwrap();
        (commit.offset, Metadata::decode(commit.offset, &commit.metadata).unwrap())
    }

    #[test]
    fn the_first_unfinished_event_moves_the_commit_to_the_next_one() {
        let before = before(&[(101, 149), (151, 160)], &[100, 150]);
        let expected = Metadata { completed: set(&[(151, 160)]), notes: vec![note(150)] };
        assert_eq!(after(&before, 100), (150, expected));
        assert_eq!(after(&committed(7, ""), 7), (8, Metadata::default()));
        assert_eq!(after(&committed(7, "of another program"), 7), (8, Metadata::default()));
    }

    #[test]
    fn one_above_it_is_added_to_what_is_done() {
        let before = before(&[(101, 149), (151, 160)], &[100, 150]);
        let expected = Metadata { completed: set(&[(101, 160)]), notes: vec![note(100)] };
        assert_eq!(after(&before, 150), (100, expected));
        let (offset, metadata) = after(&before, 5_000);
        assert_eq!(offset, 100);
        assert_eq!(metadata.completed, set(&[(101, 149), (151, 160), (5_000, 5_000)]));
        assert_eq!(metadata.notes, [note(100), note(150)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let before = before(&[(101, 149)], &[]);
        for finished in [0, 99, 101, 149] {
            assert_eq!(passing(&before, finished), Err(Refusal::Finished), "{finished}");
        }
        assert_eq!(passing(&before, 101 + SPAN_LIMIT), Err(Refusal::NoRoom));
        assert_eq!(passing(&committed(-1, ""), 5), Err(Refusal::NothingCommitted));
        let foreign = passing(&committed(7, "of another program"), 8);
        assert_eq!(foreign, Err(Refusal::Metadata(MetadataError::Foreign)));
    }

    #[test]
    fn nothing_that_was_done_is_left_out_for_one_more() {
        // More than metadata holds, so that what there is of it is nearly full.
        let runs: Vec<_> = (0..24_000).map(|at| (101 + 2 * at, 101 + 2 * at)).collect();
        let full = before(&runs, &[]);
        let kept = Metadata::decode(100, &full.metadata).unwrap().completed;
        let above = kept.end().unwrap() + 1_000;
        if let Ok(commit) = passing(&full, above) {
            let after = Metadata::decode(commit.offset, &commit.metadata).unwrap().completed;
            assert_eq!(
                after.runs().split_last(),
                Some((&OffsetRun::new(above, above), kept.runs()))
            );
        }
    }
}
