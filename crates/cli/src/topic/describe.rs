//! `onrush topic describe`.

use std::collections::BTreeMap;

use clap::Args;
use onrush_kafka::{
    ConfigEntry, ConfigResource, ConfigSource, PartitionDescription, TopicDescription,
    TopicPartition,
};
use serde::Serialize;

use super::extent::{Extent, extents};
use super::named::described;
use super::setting;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::outcome::failure;
use crate::table::{self, Column, Table};

/// Show topics: their partitions, offsets and settings.
///
/// Settings that nobody set are left out; --all shows them, and marks the others with an asterisk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush topic describe flights
  onrush topic describe flights --all
  onrush topic describe flights --json | jq '.configs[] | select(.default | not)'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Show all settings.
    #[arg(long)]
    all: bool,
    /// One JSON object a line, with all settings.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct TopicRow<'a> {
    topic: &'a str,
    id: String,
    internal: bool,
    partitions: Vec<PartitionRow<'a>>,
    configs: Vec<ConfigRow<'a>>,
}

#[derive(Serialize)]
struct PartitionRow<'a> {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: &'a [i32],
    in_sync: &'a [i32],
    start: Option<i64>,
    end: Option<i64>,
}

#[derive(Serialize)]
struct ConfigRow<'a> {
    name: &'a str,
    value: Option<&'a str>,
    source: &'static str,
    default: bool,
    read_only: bool,
    sensitive: bool,
}

/// A topic with all that is shown of it.
struct Topic {
    description: TopicDescription,
    extents: BTreeMap<TopicPartition, Extent>,
    configs: Vec<ConfigEntry>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let topics = arguments.cluster.run(async |session| {
        let client = &session.client;
        let descriptions = described(client, &arguments.names).await?;
        let resource = |topic: &TopicDescription| ConfigResource::Topic(topic.name.clone());
        let resources: Vec<_> = descriptions.iter().map(resource).collect();
        let mut configs = client.describe_configs(&resources).await;
        let mut topics = Vec::new();
        for description in descriptions {
            let configs = configs.remove(&resource(&description)).unwrap_or(Ok(Vec::new()));
            let configs = configs.map_err(failure)?;
            let extents = extents(client, std::slice::from_ref(&description)).await?;
            topics.push(Topic { description, extents, configs });
        }
        Ok(topics)
    })?;
    if arguments.json {
        return table::print_json(topics.iter().map(Topic::row));
    }
    let texts: Vec<_> = topics.iter().map(|topic| topic.text(arguments.all)).collect();
    table::print(&texts.join("\n"))
}

impl Topic {
    fn partitions(&self) -> impl Iterator<Item = (&PartitionDescription, Option<Extent>)> {
        let extents =
            self.description.partition_names().map(|name| self.extents.get(&name).copied());
        self.description.partitions.iter().zip(extents)
    }

    fn row(&self) -> TopicRow<'_> {
        TopicRow {
            topic: &self.description.name,
            id: self.description.id.to_string(),
            internal: self.description.internal,
            partitions: self.partitions().map(|(p, extent)| partition_row(p, extent)).collect(),
            configs: self.configs.iter().map(config_row).collect(),
        }
    }

    fn text(&self, all: bool) -> String {
        let count: i64 = self.extents.values().map(|extent| extent.count()).sum();
        let head = table::facts([
            ("topic", self.description.name.clone()),
            ("id", self.description.id.to_string()),
            ("internal", if self.description.internal { "yes".into() } else { String::new() }),
            ("partitions", self.description.partitions.len().to_string()),
            ("replicas", self.description.replication().to_string()),
            ("offsets", format!("{count} in all")),
        ]);
        let configs = self.config_table(all);
        let rest = self.configs.len() - configs.len();
        let mut text = format!("{head}\n{}", self.partition_table().text());
        if !configs.is_empty() {
            text.push_str(&format!("\n{}", configs.text()));
        }
        if rest > 0 {
            text.push_str(&format!(
                "\n{rest} more settings have their defaults; --all shows them\n"
            ));
        }
        text
    }

    fn partition_table(&self) -> Table {
        let mut table = Table::new([
            Column::Right("PARTITION"),
            Column::Right("LEADER"),
            Column::Left("REPLICAS"),
            Column::Left("IN SYNC"),
            Column::Right("START"),
            Column::Right("END"),
            Column::Left("NOTE"),
        ]);
        for (partition, extent) in self.partitions() {
            let offset = |offset: Option<i64>| offset.map_or("-".to_owned(), |o| o.to_string());
            let note = if partition.leader.is_none() {
                "no leader"
            } else if partition.in_sync.len() < partition.replicas.len() {
                "replicas behind"
            } else {
                ""
            };
            table.row([
                partition.partition.to_string(),
                partition.leader.map_or("-".to_owned(), |leader| leader.to_string()),
                numbers(&partition.replicas),
                numbers(&partition.in_sync),
                offset(extent.map(|extent| extent.start)),
                offset(extent.map(|extent| extent.end)),
                note.to_owned(),
            ]);
        }
        table
    }

    fn config_table(&self, all: bool) -> Table {
        let mut table = Table::new([
            Column::Left(""),
            Column::Left("SETTING"),
            Column::Left("VALUE"),
            Column::Left("FROM"),
        ]);
        for entry in &self.configs {
            let is_default = entry.source == ConfigSource::Default;
            if is_default && !all {
                continue;
            }
            table.row([
                if all && !is_default { "*".to_owned() } else { String::new() },
                entry.name.clone(),
                if entry.sensitive {
                    "(secret)".into()
                } else {
                    entry.value.clone().unwrap_or_default()
                },
                setting::source(entry.source).to_owned(),
            ]);
        }
        table
    }
}

fn partition_row(partition: &PartitionDescription, extent: Option<Extent>) -> PartitionRow<'_> {
    PartitionRow {
        partition: partition.partition,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: &partition.replicas,
        in_sync: &partition.in_sync,
        start: extent.map(|extent| extent.start),
        end: extent.map(|extent| extent.end),
    }
}

fn config_row(entry: &ConfigEntry) -> ConfigRow<'_> {
    ConfigRow {
        name: &entry.name,
        value: entry.value.as_deref(),
        source: setting::source(entry.source),
        default: entry.source == ConfigSource::Default,
        read_only: entry.read_only,
        sensitive: entry.sensitive,
    }
}

fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
