//! `onrush topic create`.

use clap::Args;
use onrush_kafka::{Client, Effect, ErrorCode, NewTopic};
use serde::Serialize;

use super::named::described;
use super::setting;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::outcome::{failure, failures};
use crate::table::{self, Column, Table};

/// Create topics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic create flights --partitions 12
  onrush topic create orders payments -p 6 -r 3 --config retention.ms=86400000
  onrush topic create flights --dry-run            # would the cluster do it?")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Partitions of each; the cluster's default without it.
    #[arg(long, short = 'p', value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; the cluster's default without it.
    #[arg(long, short = 'r', value_parser = clap::value_parser!(i16).range(1..))]
    replication: Option<i16>,
    /// Settings by Kafka's names (repeatable).
    #[arg(long = "config", short = 'c', value_name = "NAME=VALUE", value_parser = setting::assignment)]
    configs: Vec<(String, String)>,
    /// Leave those that exist as they are.
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask whether the cluster would do it.
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    /// None where the topic is not there.
    id: Option<String>,
    created: bool,
    /// None where the cluster would choose.
    partitions: Option<usize>,
    replicas: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| create(&session.client, arguments).await)
}

async fn create(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let mut names = arguments.names.clone();
    names.sort();
    names.dedup();
    let new = |name: &String| NewTopic {
        name: name.clone(),
        partitions: arguments.partitions,
        replication: arguments.replication,
        configs: arguments.configs.clone(),
    };
    let topics: Vec<_> = names.iter().map(new).collect();
    let effect = if arguments.dry_run { Effect::Validate } else { Effect::Apply };
    let (mut created, mut existing, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (name, outcome) in client.create_topics(&topics, effect).await {
        match outcome {
            Ok(()) => created.push(name),
            Err(error)
                if arguments.if_not_exists
                    && error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) =>
            {
                existing.push(name);
            }
            Err(error) => failed.push(failure(error)),
        }
    }
    if arguments.dry_run {
        show_plan(arguments, &created, &existing)?;
    } else {
        for name in &created {
            let led = |topic: &onrush_kafka::TopicDescription| {
                topic.partitions.iter().all(|partition| partition.leader.is_some())
            };
            client.topic_settled(name, |topic| topic.is_some_and(led)).await;
        }
        show_result(client, arguments, &created, &existing).await?;
    }
    failures(failed)
}

fn show_plan(arguments: &Arguments, new: &[String], existing: &[String]) -> Result<(), Failure> {
    if arguments.json {
        let count = |count: Option<i32>| count.and_then(|count| usize::try_from(count).ok());
        return table::print_json(new.iter().chain(existing).map(|name| Row {
            topic: name,
            id: None,
            created: false,
            partitions: count(arguments.partitions),
            replicas: count(arguments.replication.map(i32::from)),
        }));
    }
    let all = new.iter().map(|name| (name, false)).chain(existing.iter().map(|name| (name, true)));
    let mut table = Table::new(COLUMNS);
    let number = |number: Option<String>| number.unwrap_or_else(|| "default".to_owned());
    for (name, exists) in all {
        let (partitions, replicas) = if exists {
            (String::new(), String::new())
        } else {
            let partitions = number(arguments.partitions.map(|count| count.to_string()));
            (partitions, number(arguments.replication.map(|count| count.to_string())))
        };
        let note = if exists { "exists" } else { "would be created" };
        table.row([name.clone(), partitions, replicas, note.to_owned()]);
    }
    if table.is_empty() { Ok(()) } else { table::print(&table.text()) }
}

const COLUMNS: [Column; 4] = [
    Column::Left("TOPIC"),
    Column::Right("PARTITIONS"),
    Column::Right("REPLICAS"),
    Column::Left("RESULT"),
];

async fn show_result(
    client: &Client,
    arguments: &Arguments,
    created: &[String],
    existing: &[String],
) -> Result<(), Failure> {
    let topics = described(client, &[created, existing].concat()).await?;
    let is_new = |name: &String| created.contains(name);
    if arguments.json {
        return table::print_json(topics.iter().map(|topic| Row {
            topic: &topic.name,
            id: Some(topic.id.to_string()),
            created: is_new(&topic.name),
            partitions: Some(topic.partitions.len()),
            replicas: Some(topic.replication()),
        }));
    }
    let mut table = Table::new(COLUMNS);
    for topic in &topics {
        let (partitions, replicas) = (topic.partitions.len(), topic.replication());
        let note = if is_new(&topic.name) { "created" } else { "was there" };
        let name = topic.name.clone();
        table.row([name, partitions.to_string(), replicas.to_string(), note.to_owned()]);
    }
    if table.is_empty() { Ok(()) } else { table::print(&table.text()) }
}
