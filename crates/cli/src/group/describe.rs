//! `onrush group describe`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use onrush_kafka::{Client, GroupDescription, GroupMember, TopicPartition};
use serde::Serialize;

use super::found::{find, unknown};
use super::position::{Position, positions};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::outcome::failures;
use crate::table::{self, Column, Table};

/// Show groups: their members, and how far they are in each partition.
///
/// LAG is what is in the log and not committed. In a group of Onrush, what was finished above the committed offset is told
/// apart: one event that is stuck with 50,000 done above it is not 50,000 behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  onrush group describe billing
  onrush group describe billing --json | jq .lag
  onrush group describe billing --offsets > saved.txt")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    /// Only the committed offsets, as `onrush group reset --to-file` takes them.
    #[arg(long)]
    offsets: bool,
    /// One JSON object a line.
    #[arg(long, conflicts_with = "offsets")]
    json: bool,
}

#[derive(Serialize)]
struct GroupRow<'a> {
    group: &'a str,
    kind: &'static str,
    state: &'a str,
    protocol_type: &'a str,
    assignor: &'a str,
    epoch: Option<i32>,
    coordinator: &'a str,
    lag: i64,
    done_above: u64,
    members: Vec<MemberRow<'a>>,
    partitions: Vec<PositionRow<'a>>,
}

#[derive(Serialize)]
struct MemberRow<'a> {
    member: &'a str,
    instance: Option<&'a str>,
    client: &'a str,
    host: &'a str,
    epoch: Option<i32>,
    topics: &'a [String],
    topic_regex: Option<&'a str>,
    assigned: Vec<PartitionRow<'a>>,
    target: Option<Vec<PartitionRow<'a>>>,
}

#[derive(Serialize)]
struct PartitionRow<'a> {
    topic: &'a str,
    partition: i32,
}

#[derive(Serialize)]
struct PositionRow<'a> {
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    done_above: u64,
    member: Option<&'a str>,
}

/// A group with its places.
struct Group {
    description: GroupDescription,
    positions: Vec<Position>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |session| {
        let (mut groups, mut failed) = (Vec::new(), Vec::new());
        for name in &arguments.names {
            match group(&session.client, name).await {
                Ok(group) => groups.push(group),
                Err(error) => failed.push(error),
            }
        }
        if arguments.offsets {
            table::print(&groups.iter().map(Group::offsets).collect::<String>())?;
        } else if arguments.json {
            table::print_json(groups.iter().map(Group::row))?;
        } else {
            let texts: Vec<_> = groups.iter().map(Group::text).collect();
            table::print(&texts.join("\n"))?;
        }
        failures(failed)
    })
}

async fn group(client: &Client, name: &str) -> Result<Group, Failure> {
    let description = find(client, name).await?.ok_or_else(|| unknown(name))?;
    let assigned: BTreeSet<TopicPartition> =
        description.members.iter().flat_map(|member| &member.assigned).cloned().collect();
    let positions = positions(client, name, &assigned).await?;
    Ok(Group { description, positions })
}

impl Group {
    fn lag(&self) -> i64 {
        self.positions.iter().filter_map(Position::lag).sum()
    }

    fn done_above(&self) -> u64 {
        self.positions.iter().map(Position::done_above).sum()
    }

    /// The member that has each partition.
    fn owners(&self) -> BTreeMap<&TopicPartition, &GroupMember> {
        let mut owners = BTreeMap::new();
        for member in &self.description.members {
            owners.extend(member.assigned.iter().map(|partition| (partition, member)));
        }
        owners
    }

    fn row(&self) -> GroupRow<'_> {
        let owners = self.owners();
        let group = &self.description;
        GroupRow {
            group: &group.group,
            kind: group.kind.name(),
            state: &group.state,
            protocol_type: &group.protocol_type,
            assignor: &group.assignor,
            epoch: group.epoch,
            coordinator: &group.coordinator,
            lag: self.lag(),
            done_above: self.done_above(),
            members: group.members.iter().map(member_row).collect(),
            partitions: self
                .positions
                .iter()
                .map(|p| position_row(p, owners.get(&p.partition)))
                .collect(),
        }
    }

    fn offsets(&self) -> String {
        let line = |position: &Position| {
            let (TopicPartition { topic, partition }, committed) =
                (&position.partition, position.committed?);
            Some(format!("{topic} {partition} {committed}\n"))
        };
        self.positions.iter().filter_map(line).collect()
    }

    fn text(&self) -> String {
        let group = &self.description;
        let done = match self.done_above() {
            0 => String::new(),
            done => format!(", {done} of it done above what is committed"),
        };
        let mut text = table::facts([
            ("group", group.group.clone()),
            ("kind", group.kind.name().to_owned()),
            ("state", group.state.clone()),
            ("assignor", group.assignor.clone()),
            ("epoch", group.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()),
            ("coordinator", group.coordinator.clone()),
            ("members", group.members.len().to_string()),
            ("lag", format!("{}{done}", self.lag())),
        ]);
        for table in [self.member_table(), self.position_table()] {
            if !table.is_empty() {
                text.push_str(&format!("\n{}", table.text()));
            }
        }
        text
    }

    fn member_table(&self) -> Table {
        let mut table = Table::new([
            Column::Left("MEMBER"),
            Column::Left("INSTANCE"),
            Column::Left("CLIENT"),
            Column::Left("HOST"),
            Column::Right("EPOCH"),
            Column::Left("PARTITIONS"),
            Column::Left("MOVES TO"),
        ]);
        for member in &self.description.members {
            let moves = member.target.as_ref().filter(|target| **target != member.assigned);
            table.row([
                member.id.clone(),
                member.instance.clone().unwrap_or_default(),
                member.client_id.clone(),
                member.host.clone(),
                member.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
                ranges(&member.assigned),
                moves.map(|target| ranges(target)).unwrap_or_default(),
            ]);
        }
        table
    }

    fn position_table(&self) -> Table {
        let owners = self.owners();
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITION"),
            Column::Right("COMMITTED"),
            Column::Right("END"),
            Column::Right("LAG"),
            Column::Left("NOTE"),
            Column::Left("MEMBER"),
        ]);
        let number = |number: Option<i64>| number.map_or("-".to_owned(), |n| n.to_string());
        for position in &self.positions {
            table.row([
                position.partition.topic.to_string(),
                position.partition.partition.to_string(),
                number(position.committed),
                number(position.extent.map(|extent| extent.end)),
                number(position.lag()),
                position.note(),
                owners.get(&position.partition).map(|member| member.id.clone()).unwrap_or_default(),
            ]);
        }
        table
    }
}

fn member_row(member: &GroupMember) -> MemberRow<'_> {
    MemberRow {
        member: &member.id,
        instance: member.instance.as_deref(),
        client: &member.client_id,
        host: &member.host,
        epoch: member.epoch,
        topics: &member.topics,
        topic_regex: member.topic_regex.as_deref(),
        assigned: member.assigned.iter().map(partition_row).collect(),
        target: member.target.as_ref().map(|target| target.iter().map(partition_row).collect()),
    }
}

fn partition_row(partition: &TopicPartition) -> PartitionRow<'_> {
    PartitionRow { topic: &partition.topic, partition: partition.partition }
}

fn position_row<'a>(position: &'a Position, owner: Option<&&'a GroupMember>) -> PositionRow<'a> {
    PositionRow {
        topic: &position.partition.topic,
        partition: position.partition.partition,
        committed: position.committed,
        start: position.extent.map(|extent| extent.start),
        end: position.extent.map(|extent| extent.end),
        lag: position.lag(),
        done_above: position.done_above(),
        member: owner.map(|member| member.id.as_str()),
    }
}

/// Sorted partitions in short: `flights:0-2,5 orders:1`; `-` for none.
fn ranges(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<(i32, i32)>> = BTreeMap::new();
    for partition in partitions {
        let runs = topics.entry(&partition.topic).or_default();
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == partition.partition => *last = partition.partition,
            _ => runs.push((partition.partition, partition.partition)),
        }
    }
    let run = |(first, last): &(i32, i32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let topic = |(topic, runs): (&str, Vec<(i32, i32)>)| {
        format!("{topic}:{}", runs.iter().map(run).collect::<Vec<_>>().join(","))
    };
    let text = topics.into_iter().map(topic).collect::<Vec<_>>().join(" ");
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_written_in_ranges() {
        let partitions = |numbers: &[i32]| -> Vec<TopicPartition> {
            numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
        };
        assert_eq!(ranges(&partitions(&[0, 1, 2, 5, 7, 8])), "t:0-2,5,7-8");
        assert_eq!(ranges(&[]), "-");
        let two = [TopicPartition::new("a", 3), TopicPartition::new("b", 0)];
        assert_eq!(ranges(&two), "a:3 b:0");
    }
}
