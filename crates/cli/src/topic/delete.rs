//! `onrush topic delete`.

use clap::Args;
use onrush_kafka::{Client, TopicDescription};
use serde::Serialize;

use super::extent::extents;
use super::named::{described, references};
use crate::cluster::Cluster;
use crate::confirm::{Confirmation, Decision};
use crate::failure::Failure;
use crate::outcome::{failure, failures};
use crate::stderr;
use crate::table::{self, Column, Table};

/// Delete topics with all that is in them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic delete flights
  onrush topic delete flights orders --yes
  onrush topic delete flights --dry-run            # what would go?")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Delete one of the cluster's own topics, too.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What goes with a topic.
struct Loss {
    topic: String,
    partitions: usize,
    offsets: i64,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partitions: usize,
    offsets: i64,
    deleted: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| delete(&session.client, arguments).await)
}

async fn delete(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let topics = described(client, &arguments.names).await?;
    if let Some(topic) = topics.iter().find(|topic| topic.internal && !arguments.internal) {
        return Err(Failure::usage(format!(
            "topic {} is one of the cluster's own, which works no longer without it; --internal deletes it all the same",
            topic.name
        )));
    }
    let losses = losses(client, &topics).await?;
    if !arguments.json {
        table::print(&text(&losses))?;
    } else if arguments.confirmation.asks() {
        stderr::print(text(&losses));
    }
    let what = match losses.as_slice() {
        [loss] => format!("topic {}", loss.topic),
        losses => format!("{} topics", losses.len()),
    };
    let decision = arguments.confirmation.decide(&format!("Delete {what} with all that is in it?"));
    if arguments.json && !matches!(decision, Ok(Decision::Make)) {
        show(&losses, &[])?;
    }
    if decision? == Decision::OnlyShow {
        return Ok(());
    }
    let names: Vec<String> = losses.iter().map(|loss| loss.topic.clone()).collect();
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for (name, outcome) in client.delete_topics(&references(&names)).await {
        match outcome {
            Ok(()) => {
                client.topic_settled(&name, |topic| topic.is_none()).await;
                deleted.push(name);
            }
            Err(error) => failed.push(failure(error)),
        }
    }
    if arguments.json {
        show(&losses, &deleted)?;
    } else if !deleted.is_empty() {
        stderr::note(format_args!("deleted {}", deleted.join(", ")));
    }
    failures(failed)
}

async fn losses(client: &Client, topics: &[TopicDescription]) -> Result<Vec<Loss>, Failure> {
    let extents = extents(client, topics).await?;
    let loss = |topic: &TopicDescription| Loss {
        topic: topic.name.clone(),
        partitions: topic.partitions.len(),
        offsets: topic
            .partition_names()
            .filter_map(|partition| extents.get(&partition))
            .map(|extent| extent.count())
            .sum(),
    };
    Ok(topics.iter().map(loss).collect())
}

fn text(losses: &[Loss]) -> String {
    let mut table =
        Table::new([Column::Left("TOPIC"), Column::Right("PARTITIONS"), Column::Right("OFFSETS")]);
    for loss in losses {
        table.row([loss.topic.clone(), loss.partitions.to_string(), loss.offsets.to_string()]);
    }
    table.text()
}

fn show(losses: &[Loss], deleted: &[String]) -> Result<(), Failure> {
    table::print_json(losses.iter().map(|loss| Row {
        topic: &loss.topic,
        partitions: loss.partitions,
        offsets: loss.offsets,
        deleted: deleted.contains(&loss.topic),
    }))
}
