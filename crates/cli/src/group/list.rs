//! `onrush group list`.

use clap::Args;
use onrush_kafka::GroupListing;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::stderr;
use crate::table::{self, Column, Table};

/// List groups.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush group list
  onrush group list --state empty
  onrush group list --json | jq -r 'select(.kind == \"classic\") | .group'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Only those in one of these states, as the cluster names them: stable, empty, ...
    #[arg(long, value_delimiter = ',')]
    state: Vec<String>,
    /// Only those of these kinds: classic, consumer, share, streams.
    #[arg(long, visible_alias = "type", value_delimiter = ',')]
    kind: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    kind: &'static str,
    state: &'a str,
    protocol_type: &'a str,
    coordinator: &'a str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let groups = arguments.cluster.run(async |session| Ok(session.client.list_groups().await?))?;
    let wanted = |wanted: &[String], name: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let shown = groups.iter().filter(|group| {
        wanted(&arguments.state, &group.state) && wanted(&arguments.kind, group.kind.name())
    });
    if arguments.json {
        return table::print_json(shown.map(|group| Row {
            group: &group.group,
            kind: group.kind.name(),
            state: &group.state,
            protocol_type: &group.protocol_type,
            coordinator: &group.coordinator,
        }));
    }
    let table = text(shown);
    if table.is_empty() {
        stderr::note("there are no such groups");
        return Ok(());
    }
    table::print(&table.text())
}

fn text<'a>(groups: impl Iterator<Item = &'a GroupListing>) -> Table {
    let mut table = Table::new([
        Column::Left("GROUP"),
        Column::Left("KIND"),
        Column::Left("STATE"),
        Column::Left("PROTOCOL"),
        Column::Left("COORDINATOR"),
    ]);
    for group in groups {
        table.row([
            group.group.clone(),
            group.kind.name().to_owned(),
            group.state.clone(),
            group.protocol_type.clone(),
            group.coordinator.clone(),
        ]);
    }
    table
}
