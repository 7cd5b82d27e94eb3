//! `onrush group reset`: a plan of where the group would go on from, and its commit.

mod plan;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use onrush_kafka::{Client, Commit, GroupDescription, TopicDescription, TopicPartition};

use self::plan::{Goal, Move, moves};
use super::found::{find, in_use, joined_meanwhile, unknown};
use super::offset_file::{self, Offsets};
use super::position::{self, Position, present};
use super::scope::Scope;
use crate::cluster::{Cluster, Session};
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::failure;
use crate::place::Place;
use crate::stderr;
use crate::table;

/// Set where a group goes on from.
///
/// What would change is shown first. A group that has members is refused: they would not hear of it and commit over it.
/// Without --topic it is about all partitions of the topics that the group has committed offsets of. What an Onrush group
/// had done above a committed offset is forgotten by a reset, so that it is done again and never skipped.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("goal").required(true).multiple(false),
    after_help = "\
Examples:
  onrush group reset billing --to earliest
  onrush group reset billing --to -15m --topic flights:0,3   # a quarter of an hour ago, in two partitions
  onrush group reset billing --to 2026-08-01T12:00:00Z --dry-run
  onrush group reset billing --shift -100 --yes
  onrush group reset billing --to-file saved.txt             # of `onrush group describe billing --offsets`
  onrush group reset billing-2 --to-group billing"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The group's name.
    #[arg(value_name = "GROUP")]
    name: String,
    /// Go to a place: earliest, latest, an offset, +N after the start, -N before the end, a time, a duration back (-15m).
    #[arg(long, group = "goal", value_name = "PLACE", allow_hyphen_values = true)]
    to: Option<Place>,
    /// Go N on from what is committed, or back with -N.
    #[arg(long, group = "goal", value_name = "N", allow_hyphen_values = true)]
    shift: Option<i64>,
    /// Go where another group is.
    #[arg(long, group = "goal", value_name = "GROUP")]
    to_group: Option<String>,
    /// Go to the offsets of a file, with a topic, a partition and an offset in each line.
    #[arg(long, group = "goal", value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Only this topic, or only some of its partitions as in flights:0,3 (repeatable).
    #[arg(long = "topic", short = 't', value_name = "TOPIC[:N,...]")]
    scopes: Vec<Scope>,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = arguments.to_file.as_deref().map(offset_file::read).transpose()?;
    arguments.cluster.run(async |session| reset(session, arguments, file).await)
}

async fn reset(
    session: &Session,
    arguments: &Arguments,
    file: Option<Offsets>,
) -> Result<(), Failure> {
    let client = &session.client;
    let found = find(client, &arguments.name).await?;
    let goal = goal(session, arguments, file).await?;
    let positions = wanted(client, arguments, found.as_ref(), &goal).await?;
    let moves = moves(session, &goal, positions).await?;
    let refused = found.as_ref().map_or(Ok(()), |group| in_use(group, "reset it"));
    if arguments.confirmation.only_shows() {
        if let Err(refused) = &refused {
            stderr::note(format_args!("note: {refused}"));
        }
    } else {
        refused?;
    }
    let changes = moves.iter().filter(|change| change.is_one()).count();
    if !arguments.json {
        table::print(&plan::text(&moves))?;
    } else if arguments.confirmation.asks() {
        stderr::print(plan::text(&moves));
    }
    if changes == 0 {
        stderr::note("nothing to change");
        return show(arguments, &moves, false);
    }
    let question = format!("Set {changes} offsets of group {}?", arguments.name);
    let decision = arguments.confirmation.decide(&question);
    if matches!(decision, Ok(Decision::Make)) {
        let commits: Vec<Commit> = moves.iter().filter_map(Move::commit).collect();
        let committed = client.commit_offsets(&arguments.name, &commits).await;
        committed.map_err(|error| joined_meanwhile(&arguments.name, error))?;
        stderr::note(format_args!("{changes} offsets of group {} were set", arguments.name));
    }
    show(arguments, &moves, matches!(decision, Ok(Decision::Make)))?;
    decision.map(drop)
}

fn show(arguments: &Arguments, moves: &[Move], applied: bool) -> Result<(), Failure> {
    if !arguments.json {
        return Ok(());
    }
    table::print_json([plan::row(&arguments.name, moves, applied)])
}

async fn goal(
    session: &Session,
    arguments: &Arguments,
    file: Option<Offsets>,
) -> Result<Goal, Failure> {
    if let Some(offsets) = file {
        return Ok(Goal::Offsets(offsets));
    }
    if let Some(other) = &arguments.to_group {
        let committed = session.client.fetch_all_offsets(other).await.map_err(failure)?;
        let there = committed.into_iter().filter(|offset| offset.offset >= 0);
        let offsets: Offsets = there.map(|offset| (offset.partition, offset.offset)).collect();
        if offsets.is_empty() {
            return Err(find(&session.client, other).await?.map_or_else(
                || unknown(other),
                |_| Failure::unavailable(format!("group {other} has no committed offsets")),
            ));
        }
        return Ok(Goal::Offsets(offsets));
    }
    match (arguments.to, arguments.shift) {
        (Some(place), _) => Ok(Goal::Place(place)),
        (None, shift) => Ok(Goal::Shift(shift.unwrap_or(0))),
    }
}

/// Where the group is in the partitions that the command is about.
async fn wanted(
    client: &Client,
    arguments: &Arguments,
    found: Option<&GroupDescription>,
    goal: &Goal,
) -> Result<Vec<Position>, Failure> {
    let mut partitions = BTreeSet::new();
    match goal {
        Goal::Offsets(offsets) => partitions.extend(offsets.keys().cloned()),
        _ if arguments.scopes.is_empty() => {
            let committed = client.fetch_all_offsets(&arguments.name).await.map_err(failure)?;
            let names = committed.iter().map(|offset| &*offset.partition.topic);
            let topics = present(client, names).await?;
            partitions.extend(topics.iter().flat_map(TopicDescription::partition_names));
        }
        _ => {}
    }
    if partitions.is_empty() && arguments.scopes.is_empty() {
        return Err(match found {
            None => unknown(&arguments.name),
            Some(_) => Failure::usage(format!(
                "group {} has no committed offsets; say with --topic what it is about",
                arguments.name
            )),
        });
    }
    let in_scope = scoped(client, &arguments.scopes).await?;
    match goal {
        Goal::Offsets(_) if !arguments.scopes.is_empty() => {
            partitions.retain(|partition| arguments.scopes.iter().any(|s| s.contains(partition)));
        }
        _ => partitions.extend(in_scope),
    }
    let mut positions = position::positions(client, &arguments.name, &partitions).await?;
    positions.retain(|position| partitions.contains(&position.partition));
    Ok(positions)
}

async fn scoped(client: &Client, scopes: &[Scope]) -> Result<Vec<TopicPartition>, Failure> {
    let names: Vec<String> = scopes.iter().map(|scope| scope.topic.clone()).collect();
    let topics = crate::topic::described(client, &names).await?;
    let mut partitions = Vec::new();
    for scope in scopes {
        if let Some(topic) = topics.iter().find(|topic| topic.name == scope.topic) {
            partitions.extend(scope.partitions_of(topic)?);
        }
    }
    Ok(partitions)
}
