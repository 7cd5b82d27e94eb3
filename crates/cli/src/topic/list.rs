//! `onrush topic list`.

use clap::Args;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::stderr;
use crate::table::{self, Column, Table};

/// List topics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic list
  onrush topic list --internal --json | jq -r 'select(.partitions > 10) | .topic'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Show the cluster's own topics, too.
    #[arg(long)]
    internal: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    id: String,
    internal: bool,
    partitions: usize,
    replicas: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let topics = arguments.cluster.run(async |session| Ok(session.client.list_topics().await?))?;
    let topics = topics.iter().filter(|topic| arguments.internal || !topic.internal);
    if arguments.json {
        return table::print_json(topics.map(|topic| Row {
            topic: &topic.name,
            id: topic.id.to_string(),
            internal: topic.internal,
            partitions: topic.partitions.len(),
            replicas: topic.replication(),
        }));
    }
    let mut table =
        Table::new([Column::Left("TOPIC"), Column::Right("PARTITIONS"), Column::Right("REPLICAS")]);
    for topic in topics {
        let (partitions, replicas) = (topic.partitions.len(), topic.replication());
        table.row([topic.name.clone(), partitions.to_string(), replicas.to_string()]);
    }
    if table.is_empty() {
        stderr::note("there are no topics; `onrush topic create` makes one");
        return Ok(());
    }
    table::print(&table.text())
}
