//! `onrush group delete`.

use std::collections::BTreeSet;

use clap::Args;
use onrush_kafka::{Client, Committed, GroupDescription};
use serde::Serialize;

use super::found::{find, in_use, joined_meanwhile, unknown};
use super::scope::Scope;
use crate::cluster::Cluster;
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::{failure, failures};
use crate::stderr;
use crate::table::{self, Column, Table};

/// Delete groups, or what they have committed of some topics.
///
/// A group that has members is refused. With --topic the group stays, and only what it has committed there is deleted, also
/// while members read other topics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush group delete billing
  onrush group delete billing --topic flights      # only its offsets of one topic
  onrush group delete billing audit --yes")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    /// Only the offsets of this topic, or of some of its partitions as in flights:0,3 (repeatable).
    #[arg(long = "topic", short = 't', value_name = "TOPIC[:N,...]")]
    scopes: Vec<Scope>,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What goes with a group.
struct Loss {
    group: GroupDescription,
    offsets: Vec<Committed>,
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    kind: &'static str,
    state: &'a str,
    members: usize,
    offsets: Vec<OffsetRow<'a>>,
    deleted: bool,
}

#[derive(Serialize)]
struct OffsetRow<'a> {
    topic: &'a str,
    partition: i32,
    committed: i64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| delete(&session.client, arguments).await)
}

async fn delete(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let losses = losses(client, arguments).await?;
    if !arguments.json {
        table::print(&text(&losses))?;
    } else if arguments.confirmation.asks() {
        stderr::print(text(&losses));
    }
    let decision = arguments.confirmation.decide(&question(&losses, arguments));
    if arguments.json && !matches!(decision, Ok(Decision::Make)) {
        show(&losses, &BTreeSet::new())?;
    }
    if decision? == Decision::OnlyShow {
        return Ok(());
    }
    let (mut deleted, mut failed) = (BTreeSet::new(), Vec::new());
    for loss in &losses {
        match delete_one(client, loss, arguments).await {
            Ok(()) => drop(deleted.insert(loss.group.group.clone())),
            Err(error) => failed.push(error),
        }
    }
    if arguments.json {
        show(&losses, &deleted)?;
    } else if !deleted.is_empty() {
        let what = if arguments.scopes.is_empty() { "deleted" } else { "deleted offsets of" };
        stderr::note(format_args!("{what} {}", deleted.into_iter().collect::<Vec<_>>().join(", ")));
    }
    failures(failed)
}

async fn delete_one(client: &Client, loss: &Loss, arguments: &Arguments) -> Result<(), Failure> {
    let group = &loss.group.group;
    if arguments.scopes.is_empty() {
        let deleted = client.delete_group(group).await;
        return deleted.map_err(|error| joined_meanwhile(group, error));
    }
    let partitions: Vec<_> = loss.offsets.iter().map(|offset| offset.partition.clone()).collect();
    if partitions.is_empty() {
        return Ok(());
    }
    let outcomes = client.delete_offsets(group, &partitions).await.map_err(failure)?;
    failures(outcomes.into_values().filter_map(Result::err).map(failure).collect())
}

async fn losses(client: &Client, arguments: &Arguments) -> Result<Vec<Loss>, Failure> {
    let (mut losses, mut failed) = (Vec::new(), Vec::new());
    for name in arguments.names.iter().collect::<BTreeSet<_>>() {
        match loss(client, name, arguments).await {
            Ok(loss) => losses.push(loss),
            Err(error) => failed.push(error),
        }
    }
    failures(failed)?;
    Ok(losses)
}

async fn loss(client: &Client, name: &str, arguments: &Arguments) -> Result<Loss, Failure> {
    let group = find(client, name).await?.ok_or_else(|| unknown(name))?;
    let scopes = &arguments.scopes;
    if scopes.is_empty() && !arguments.confirmation.only_shows() {
        in_use(&group, "delete it")?;
    }
    let mut offsets = client.fetch_all_offsets(name).await.map_err(failure)?;
    let in_scope = |offset: &Committed| scopes.iter().any(|s| s.contains(&offset.partition));
    offsets.retain(|offset| scopes.is_empty() || in_scope(offset));
    Ok(Loss { group, offsets })
}

fn question(losses: &[Loss], arguments: &Arguments) -> String {
    let groups = match losses {
        [loss] => format!("group {}", loss.group.group),
        losses => format!("{} groups", losses.len()),
    };
    if arguments.scopes.is_empty() {
        return format!("Delete {groups} with all that was committed?");
    }
    let count: usize = losses.iter().map(|loss| loss.offsets.len()).sum();
    format!("Delete {count} offsets of {groups}?")
}

fn text(losses: &[Loss]) -> String {
    let mut table = Table::new([
        Column::Left("GROUP"),
        Column::Left("KIND"),
        Column::Left("STATE"),
        Column::Right("MEMBERS"),
        Column::Right("OFFSETS"),
    ]);
    for Loss { group, offsets } in losses {
        table.row([
            group.group.clone(),
            group.kind.name().to_owned(),
            group.state.clone(),
            group.members.len().to_string(),
            offsets.len().to_string(),
        ]);
    }
    table.text()
}

fn show(losses: &[Loss], deleted: &BTreeSet<String>) -> Result<(), Failure> {
    table::print_json(losses.iter().map(|Loss { group, offsets }| Row {
        group: &group.group,
        kind: group.kind.name(),
        state: &group.state,
        members: group.members.len(),
        offsets: offsets.iter().map(offset_row).collect(),
        deleted: deleted.contains(&group.group),
    }))
}

fn offset_row(offset: &Committed) -> OffsetRow<'_> {
    OffsetRow {
        topic: &offset.partition.topic,
        partition: offset.partition.partition,
        committed: offset.offset,
    }
}
