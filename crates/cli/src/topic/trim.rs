//! `onrush topic trim`.

use std::collections::BTreeMap;

use clap::Args;
use onrush_kafka::{TopicDescription, TopicPartition};
use serde::Serialize;

use super::extent::{Extent, extents};
use super::named::described;
use crate::cluster::{Cluster, Session};
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::{failure, failures};
use crate::place::Place;
use crate::stderr;
use crate::table::{self, Column, Table};

/// Delete the oldest records of topics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic trim flights --before -7d           # what is older than a week
  onrush topic trim flights --before 2026-08-01 --yes
  onrush topic trim flights --before 1000 --partition 3
  onrush topic trim flights --before latest        # all that is there")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Delete what is before: an offset, +N after the start, -N before the end, a time, a duration (-15m), latest.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    before: Place,
    /// Only in these partitions.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partition: Vec<i32>,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What goes of one partition.
struct Cut {
    partition: TopicPartition,
    extent: Extent,
    /// Where the log is to begin.
    start: i64,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    start: i64,
    new: i64,
    end: i64,
    applied: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| trim(session, arguments).await)
}

async fn trim(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let client = &session.client;
    let topics = described(client, &arguments.names).await?;
    let cuts = cuts(session, &topics, arguments).await?;
    if cuts.iter().all(|cut| cut.start == cut.extent.start) {
        stderr::note("nothing to delete: no log begins before that");
        return if arguments.json { show(&cuts, &BTreeMap::new()) } else { Ok(()) };
    }
    if !arguments.json {
        table::print(&text(&cuts))?;
    } else if arguments.confirmation.asks() {
        stderr::print(text(&cuts));
    }
    let decision = arguments.confirmation.decide("Delete these records?");
    if arguments.json && !matches!(decision, Ok(Decision::Make)) {
        show(&cuts, &BTreeMap::new())?;
    }
    if decision? == Decision::OnlyShow {
        return Ok(());
    }
    let below = cuts.iter().map(|cut| (cut.partition.clone(), cut.start)).collect();
    let (mut starts, mut failed) = (BTreeMap::new(), Vec::new());
    for (partition, outcome) in client.delete_records(&below).await {
        match outcome {
            Ok(start) => drop(starts.insert(partition, start)),
            Err(error) => failed.push(failure(error)),
        }
    }
    if arguments.json {
        show(&cuts, &starts)?;
    } else {
        stderr::note(format_args!("{} partitions trimmed", starts.len()));
    }
    failures(failed)
}

async fn cuts(
    session: &Session,
    topics: &[TopicDescription],
    arguments: &Arguments,
) -> Result<Vec<Cut>, Failure> {
    check_partitions(topics, &arguments.partition)?;
    let mut extents = extents(&session.client, topics).await?;
    let wanted =
        |partition: i32| arguments.partition.is_empty() || arguments.partition.contains(&partition);
    extents.retain(|partition, _| wanted(partition.partition));
    for topic in topics {
        let without_leader =
            topic.partitions.iter().find(|p| p.leader.is_none() && wanted(p.partition));
        if let Some(partition) = without_leader {
            return Err(Failure::unavailable(format!(
                "{}-{} has no leader at the moment; leave it out with --partition, or wait for its broker",
                topic.name, partition.partition
            ))
            .code(onrush_runtime::Fault::NoLeader));
        }
    }
    let names: Vec<TopicPartition> = extents.keys().cloned().collect();
    let now = session.runtime.clock.wall_millis();
    let offsets = arguments.before.offsets(&session.client, &names, now).await?;
    let cut = |(partition, extent): (TopicPartition, Extent)| {
        let start = offsets.get(&partition).copied().unwrap_or(extent.start);
        Cut { partition, extent, start: start.max(extent.start) }
    };
    Ok(extents.into_iter().map(cut).collect())
}

fn check_partitions(topics: &[TopicDescription], wanted: &[i32]) -> Result<(), Failure> {
    for topic in topics {
        let has = |number: &&i32| topic.partitions.iter().any(|p| p.partition == **number);
        if let Some(number) = wanted.iter().find(|number| !has(number)) {
            return Err(Failure::usage(format!(
                "topic {} has no partition {number}: it has {}",
                topic.name,
                topic.partitions.len()
            )));
        }
    }
    Ok(())
}

fn text(cuts: &[Cut]) -> String {
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Right("PARTITION"),
        Column::Right("START"),
        Column::Right("NEW"),
        Column::Right("END"),
        Column::Right("DELETED"),
    ]);
    for cut in cuts {
        table.row([
            cut.partition.topic.to_string(),
            cut.partition.partition.to_string(),
            cut.extent.start.to_string(),
            cut.start.to_string(),
            cut.extent.end.to_string(),
            (cut.start - cut.extent.start).to_string(),
        ]);
    }
    table.text()
}

fn show(cuts: &[Cut], starts: &BTreeMap<TopicPartition, i64>) -> Result<(), Failure> {
    table::print_json(cuts.iter().map(|cut| Row {
        topic: &cut.partition.topic,
        partition: cut.partition.partition,
        start: cut.extent.start,
        new: starts.get(&cut.partition).copied().unwrap_or(cut.start),
        end: cut.extent.end,
        applied: starts.contains_key(&cut.partition),
    }))
}
