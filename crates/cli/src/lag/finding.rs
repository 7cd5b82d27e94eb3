//! What is wrong, by name, with the command that helps.

use std::time::Duration;

use onrush_engine::completed::METADATA_LIMIT;
use onrush_kafka::TopicPartition;

use super::level::Level;
use super::look::Head;
use super::report::{Report, Row};
use crate::duration::short;

/// An event that is open for so long, or that so many later ones have overtaken, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);
const STUCK_ABOVE: u64 = 1_000;
/// A partition that has more than this part of the lag of a group with several is hot.
const HOT_SHARE: f64 = 0.5;
const HOT_PARTITIONS: usize = 3;
/// Retention that takes the first unfinished event this soon is worth a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(60 * 60);
/// Metadata is nearly full from this part of what brokers take by default.
const NEARLY_FULL: f64 = 0.75;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// One event is not finished while later ones are.
    StuckOffset {
        partition: TopicPartition,
        head: Head,
        done_above: u64,
        attempts: u32,
        open_for: Option<Duration>,
        error: String,
    },
    /// The group is behind and has nobody.
    NoMembers,
    /// It has members, and they finish nothing.
    Standstill,
    /// More arrives than is finished.
    FallingBehind { members: usize, needed: Option<usize>, partitions: usize },
    /// Most of the lag is in one partition.
    HotPartition { partition: TopicPartition, share: f64 },
    /// Retention will take what is not finished.
    Expiring { partition: TopicPartition, within: Duration },
    /// Retention has taken what was not finished.
    Expired { partition: TopicPartition, events: i64 },
    /// The group is ahead of the log: the topic was made anew, or lost its end.
    BeyondEnd { partition: TopicPartition },
    /// There is little room to say what is done above the committed offset.
    MetadataNearlyFull { partition: TopicPartition, share: f64 },
}

impl Finding {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::StuckOffset { .. } => "StuckOffset",
            Self::NoMembers => "NoMembers",
            Self::Standstill => "Standstill",
            Self::FallingBehind { .. } => "FallingBehind",
            Self::HotPartition { .. } => "HotPartition",
            Self::Expiring { .. } => "Expiring",
            Self::Expired { .. } => "Expired",
            Self::BeyondEnd { .. } => "BeyondEnd",
            Self::MetadataNearlyFull { .. } => "MetadataNearlyFull",
        }
    }

    pub(super) const fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::StuckOffset { partition, .. }
            | Self::HotPartition { partition, .. }
            | Self::Expiring { partition, .. }
            | Self::Expired { partition, .. }
            | Self::BeyondEnd { partition }
            | Self::MetadataNearlyFull { partition, .. } => Some(partition),
            Self::NoMembers | Self::Standstill | Self::FallingBehind { .. } => None,
        }
    }

    /// What it is, for a person.
    pub(super) fn text(&self) -> String {
        match self {
            Self::StuckOffset { partition, head, done_above, attempts, open_for, error } => {
                let key = head.key.as_deref().map(String::from_utf8_lossy);
                let key = key.map_or_else(|| "no key".to_owned(), |key| format!("key \"{key}\""));
                let mut text =
                    format!("{partition}: one event is stuck, offset {} ({key})", head.offset);
                if let Some(open_for) = open_for {
                    text.push_str(&format!(", for {}", short(*open_for)));
                }
                text.push_str(&format!("; {done_above} above it are done"));
                if *attempts > 0 {
                    text.push_str(&format!("; {attempts} attempts"));
                }
                if !error.is_empty() {
                    text.push_str(&format!("; last error: {error}"));
                }
                text
            }
            Self::NoMembers => "the group has no members: nobody works on what is there".to_owned(),
            Self::Standstill => "members hold partitions and finish nothing".to_owned(),
            Self::FallingBehind { members, needed: Some(needed), partitions } => {
                let capped = match needed > partitions {
                    true => format!(
                        " (more than its {partitions} partitions: raise the concurrency of each, or add partitions)"
                    ),
                    false => String::new(),
                };
                format!(
                    "more arrives than {members} members finish; {needed} would bring it down in time{capped}"
                )
            }
            Self::FallingBehind { members, .. } => {
                format!("more arrives than {members} members finish")
            }
            Self::HotPartition { partition, share } => {
                format!(
                    "{partition} has {:.0} % of the lag: a key, or a few, have most events",
                    share * 100.0
                )
            }
            Self::Expiring { partition, within } => {
                format!(
                    "{partition}: retention takes the first unfinished event in {}",
                    short(*within)
                )
            }
            Self::Expired { partition, events } => {
                format!("{partition}: {events} events expired before they were finished")
            }
            Self::BeyondEnd { partition } => format!(
                "{partition}: the committed offset is beyond the end of the log; the topic was made anew, or lost its end"
            ),
            Self::MetadataNearlyFull { partition, share } => format!(
                "{partition}: {:.0} % of the commit metadata is used; when it is full, intake waits for the oldest events",
                share * 100.0
            ),
        }
    }

    /// The command that helps, or shows more.
    pub(super) fn command(&self, group: &str) -> String {
        let partition = self.partition();
        let (topic, number) = partition.map_or(("", 0), |p| (&*p.topic, p.partition));
        match self {
            Self::StuckOffset { head, .. } => {
                let (from, to) = (head.offset, head.offset + 1);
                format!("onrush consume {topic} -p {number} -o {from}:{to} --json")
            }
            Self::NoMembers | Self::Standstill | Self::FallingBehind { .. } => {
                format!("onrush group describe {group}")
            }
            Self::HotPartition { .. } => {
                format!(
                    "onrush consume {topic} -p {number} -o -1000:end --json | jq -r .key | sort | uniq -c | sort -rn | head"
                )
            }
            Self::Expiring { .. } => {
                format!("onrush topic alter {topic} --config retention.ms=…")
            }
            Self::Expired { .. } => format!("onrush topic describe {topic}"),
            Self::BeyondEnd { .. } => {
                format!(
                    "onrush group reset {group} --topic {topic}:{number} --to earliest --dry-run"
                )
            }
            Self::MetadataNearlyFull { .. } => format!("onrush lag {group} --topic {topic}"),
        }
    }

    /// What a person may decide to do about it, where there is such a thing.
    pub(super) fn remedy(&self, group: &str, has_members: bool) -> Option<String> {
        let Self::StuckOffset { partition, head, .. } = self else { return None };
        let (topic, number, offset) = (&partition.topic, partition.partition, head.offset);
        let member = if has_members { " --member HOST:PORT" } else { "" };
        Some(format!("onrush dlq send {topic} {number}:{offset} --group {group}{member}"))
    }

    /// What is wrong with a group; the gravest first.
    pub(super) fn all(report: &Report<'_>) -> Vec<Self> {
        let mut found: Vec<Self> = report.rows.iter().filter_map(stuck).collect();
        let behind = report.unfinished > 0;
        let members = report.look.members.unwrap_or(0);
        if behind && members == 0 {
            found.push(Self::NoMembers);
        }
        if let Some(trend) = report.trend.filter(|_| behind && members > 0) {
            if trend.finishing == 0.0
                && !report.rows.iter().all(|row| row.unfinished == Some(0) || stuck(row).is_some())
            {
                found.push(Self::Standstill);
            } else if trend.slope() > 0.0 && report.level >= Level::Warning {
                let needed = trend.members_needed(report.unfinished, members, report.within);
                let partitions = report.rows.len();
                found.push(Self::FallingBehind { members, needed, partitions });
            }
        }
        found.extend(report.rows.iter().filter_map(|row| hot(report, row)));
        found.extend(report.rows.iter().flat_map(of_row));
        found
    }
}

fn stuck(row: &Row<'_>) -> Option<Finding> {
    let head = row.head.clone()?;
    let note = row.standing.note();
    let open_for = note
        .filter(|note| note.since_millis > 0)
        .map(|note| Duration::from_millis(u64::try_from(row.now - note.since_millis).unwrap_or(0)));
    let rests = row.committed_rests && row.standing.done_above >= STUCK_ABOVE;
    let is_stuck = open_for.is_some_and(|open_for| open_for >= STUCK_AFTER) || rests;
    is_stuck.then(|| Finding::StuckOffset {
        partition: row.partition.clone(),
        head,
        done_above: row.standing.done_above,
        attempts: note.map_or(0, |note| note.attempts),
        open_for,
        error: note.map(|note| note.error.clone()).unwrap_or_default(),
    })
}

fn hot(report: &Report<'_>, row: &Row<'_>) -> Option<Finding> {
    let share = row.unfinished? as f64 / report.unfinished.max(1) as f64;
    let is_hot =
        report.level >= Level::Warning && report.rows.len() >= HOT_PARTITIONS && share > HOT_SHARE;
    is_hot.then(|| Finding::HotPartition { partition: row.partition.clone(), share })
}

fn of_row(row: &Row<'_>) -> Vec<Finding> {
    let partition = || row.partition.clone();
    let mut found = Vec::new();
    if let Some(within) = row.expires_in.filter(|within| {
        *within < EXPIRES_SOON || row.level_in.is_some_and(|level_in| level_in > *within)
    }) {
        found.push(Finding::Expiring { partition: partition(), within });
    }
    let position = &row.standing.position;
    if let (Some(committed), Some(extent)) = (position.committed, position.extent) {
        if committed < extent.start {
            let events = extent.start - committed;
            found.push(Finding::Expired { partition: partition(), events });
        } else if committed > extent.end {
            found.push(Finding::BeyondEnd { partition: partition() });
        }
    }
    let share = position.metadata.len() as f64 / METADATA_LIMIT as f64;
    if share >= NEARLY_FULL {
        found.push(Finding::MetadataNearlyFull { partition: partition(), share });
    }
    found
}
