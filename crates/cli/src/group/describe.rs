//! `onrush group describe`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use onrush_kafka::{Client, GroupDescription, GroupMember, TopicPartition};
use serde_json::{Value, json};

use super::position::{Position, find, positions, unknown};
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
  onrush group describe billing --json | jq .lag")]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// Their names.
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
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
        if arguments.json {
            table::print_json(groups.iter().map(Group::json))?;
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

    fn json(&self) -> Value {
        let owners = self.owners();
        let member = |member: &GroupMember| {
            json!({
                "member": member.id,
                "instance": member.instance,
                "client": member.client_id,
                "host": member.host,
                "epoch": member.epoch,
                "topics": member.topics,
                "topic_regex": member.topic_regex,
                "assigned": member.assigned.iter().map(named).collect::<Vec<_>>(),
                "target": member.target.as_ref().map(|target| target.iter().map(named).collect::<Vec<_>>()),
            })
        };
        let position = |position: &Position| {
            json!({
                "topic": &*position.partition.topic,
                "partition": position.partition.partition,
                "committed": position.committed,
                "start": position.extent.map(|extent| extent.start),
                "end": position.extent.map(|extent| extent.end),
                "lag": position.lag(),
                "done_above": position.done_above(),
                "member": owners.get(&position.partition).map(|member| &member.id),
            })
        };
        json!({
            "group": self.description.group,
            "kind": self.description.kind.name(),
            "state": self.description.state,
            "protocol_type": self.description.protocol_type,
            "assignor": self.description.assignor,
            "epoch": self.description.epoch,
            "coordinator": self.description.coordinator,
            "lag": self.lag(),
            "done_above": self.done_above(),
            "members": self.description.members.iter().map(member).collect::<Vec<_>>(),
            "partitions": self.positions.iter().map(position).collect::<Vec<_>>(),
        })
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

fn named(partition: &TopicPartition) -> Value {
    json!({ "topic": &*partition.topic, "partition": partition.partition })
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
