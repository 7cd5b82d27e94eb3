//! What is shown of a group.

use std::collections::BTreeMap;
use std::time::Duration;

use onrush_kafka::{Client, ConfigResource, TopicPartition};
use serde::Serialize;

use super::finding::Finding;
use super::level::{Level, Thresholds};
use super::look::{Head, Look, Standing};
use super::trend::Trend;
use crate::duration::short;
use crate::failure::Failure;
use crate::outcome::failure;
use crate::table::{Column, Table, visible};

/// A group with its rates.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) look: &'a Look,
    pub(super) unfinished: u64,
    pub(super) trend: Option<Trend>,
    pub(super) level: Level,
    /// In how long the group should be level.
    pub(super) within: Duration,
    pub(super) rows: Vec<Row<'a>>,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) partition: &'a TopicPartition,
    pub(super) standing: &'a Standing,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    pub(super) unfinished: Option<u64>,
    pub(super) trend: Option<Trend>,
    /// The committed offset is the same as before.
    pub(super) committed_rests: bool,
    pub(super) head: Option<Head>,
    pub(super) behind: Option<Duration>,
    pub(super) level_in: Option<Duration>,
    pub(super) expires_in: Option<Duration>,
}

impl<'a> Report<'a> {
    /// Of what was seen before and is seen now.
    pub(super) async fn of(
        client: &Client,
        before: Option<&Look>,
        look: &'a Look,
        levels: Thresholds,
        within: Duration,
    ) -> Result<Self, Failure> {
        let mut heads = look.heads(client).await?;
        let retention = retention(client, look).await?;
        let passed = before.map(|before| look.at.saturating_duration_since(before.at));
        let row = |(partition, standing): (&'a TopicPartition, &'a Standing)| {
            let earlier = before.and_then(|before| before.partitions.get(partition));
            let trend = earlier
                .zip(passed)
                .and_then(|(earlier, passed)| Trend::of(earlier, standing, passed));
            let unfinished = standing.unfinished();
            let head = heads.remove(partition);
            let age = |head: &Head| millis(look.now - head.timestamp);
            let behind = match unfinished {
                Some(0) => Some(Duration::ZERO),
                _ => head.as_ref().map(age),
            };
            let expires = |head: &Head| {
                let retention = *retention.get(&*partition.topic)?;
                Some(millis((head.timestamp + retention).saturating_sub(look.now)))
            };
            Row {
                partition,
                standing,
                now: look.now,
                unfinished,
                trend,
                committed_rests: earlier.is_some_and(|earlier| {
                    earlier.position.committed == standing.position.committed
                }),
                behind,
                level_in: trend.zip(unfinished).and_then(|(trend, lag)| trend.level_in(lag)),
                expires_in: head.as_ref().and_then(expires),
                head,
            }
        };
        let rows: Vec<_> = look.partitions.iter().map(row).collect();
        let unfinished = look.unfinished();
        let trend = rows.iter().filter_map(|row| row.trend).reduce(Trend::plus);
        let level = levels.level(unfinished);
        Ok(Self { look, unfinished, trend, level, within, rows })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}: {}, {} events behind{}; {}\n",
            visible(&self.look.group),
            self.level,
            self.unfinished,
            self.rates(),
            self.level.action(),
        );
        text.push_str(&self.table());
        for finding in Finding::all(self) {
            text.push_str(&format!(
                "{}: {}\n  -> {}\n",
                finding.name(),
                visible(&finding.text()),
                visible(&finding.command(&self.look.group))
            ));
            if let Some(remedy) = finding.remedy(&self.look.group, self.has_members()) {
                text.push_str(&format!("  -> {}\n", visible(&remedy)));
            }
        }
        text
    }

    fn has_members(&self) -> bool {
        self.look.members.is_some_and(|members| members > 0)
    }

    fn rates(&self) -> String {
        let Some(trend) = self.trend else { return String::new() };
        let level_in = match trend.level_in(self.unfinished) {
            Some(Duration::ZERO) => String::new(),
            Some(level_in) => format!(", level in {}", short(level_in)),
            None => ", not getting less".to_owned(),
        };
        format!(
            ", {:.0} arrive and {:.0} are finished a second{level_in}",
            trend.arriving, trend.finishing
        )
    }

    fn table(&self) -> String {
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITION"),
            Column::Right("COMMITTED"),
            Column::Right("END"),
            Column::Right("LAG"),
            Column::Right("DONE ABOVE"),
            Column::Right("BEHIND"),
            Column::Right("SLOPE"),
            Column::Right("LEVEL IN"),
            Column::Right("EXPIRES"),
        ]);
        for row in &self.rows {
            let offset =
                |offset: Option<i64>| offset.map(|offset| offset.to_string()).unwrap_or_default();
            let time = |time: Option<Duration>| time.map(short).unwrap_or_default();
            let position = &row.standing.position;
            table.row([
                row.partition.topic.to_string(),
                row.partition.partition.to_string(),
                offset(position.committed),
                offset(position.extent.map(|extent| extent.end)),
                row.unfinished.map(|lag| lag.to_string()).unwrap_or_default(),
                Some(row.standing.done_above)
                    .filter(|done| *done > 0)
                    .map(|done| done.to_string())
                    .unwrap_or_default(),
                time(row.behind),
                row.trend.map(|trend| format!("{:+.0}/s", trend.slope())).unwrap_or_default(),
                time(row.level_in.filter(|_| row.unfinished != Some(0))),
                time(row.expires_in),
            ]);
        }
        table.text()
    }

    pub(super) fn row(&self) -> GroupJson<'_> {
        GroupJson {
            group: &self.look.group,
            level: self.level.name(),
            action: self.level.action(),
            members: self.look.members,
            lag: self.unfinished,
            arriving: self.trend.map(|trend| trend.arriving),
            finishing: self.trend.map(|trend| trend.finishing),
            level_in_ms: self
                .trend
                .and_then(|trend| trend.level_in(self.unfinished))
                .map(in_millis),
            partitions: self.rows.iter().map(Row::json).collect(),
            findings: Finding::all(self)
                .iter()
                .map(|finding| FindingJson::of(finding, &self.look.group, self.has_members()))
                .collect(),
        }
    }
}

impl Row<'_> {
    fn json(&self) -> RowJson<'_> {
        let position = &self.standing.position;
        RowJson {
            topic: &self.partition.topic,
            partition: self.partition.partition,
            committed: position.committed,
            start: position.extent.map(|extent| extent.start),
            end: position.extent.map(|extent| extent.end),
            lag: self.unfinished,
            done_above: self.standing.done_above,
            behind_ms: self.behind.map(in_millis),
            slope: self.trend.map(Trend::slope),
            level_in_ms: self.level_in.map(in_millis),
            expires_in_ms: self.expires_in.map(in_millis),
        }
    }
}

#[derive(Serialize)]
pub(super) struct GroupJson<'a> {
    group: &'a str,
    level: &'static str,
    action: &'static str,
    members: Option<usize>,
    lag: u64,
    arriving: Option<f64>,
    finishing: Option<f64>,
    level_in_ms: Option<u64>,
    partitions: Vec<RowJson<'a>>,
    findings: Vec<FindingJson>,
}

#[derive(Serialize)]
struct RowJson<'a> {
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    start: Option<i64>,
    end: Option<i64>,
    lag: Option<u64>,
    done_above: u64,
    behind_ms: Option<u64>,
    slope: Option<f64>,
    level_in_ms: Option<u64>,
    expires_in_ms: Option<u64>,
}

#[derive(Serialize)]
struct FindingJson {
    finding: &'static str,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    attempts: Option<u32>,
    error: Option<String>,
    says: String,
    command: String,
    remedy: Option<String>,
}

impl FindingJson {
    fn of(finding: &Finding, group: &str, has_members: bool) -> Self {
        let partition = finding.partition();
        let (offset, attempts, error) = match finding {
            Finding::StuckOffset { head, attempts, error, .. } => {
                (Some(head.offset), Some(*attempts), Some(error.clone()))
            }
            _ => (None, None, None),
        };
        Self {
            finding: finding.name(),
            topic: partition.map(|partition| partition.topic.to_string()),
            partition: partition.map(|partition| partition.partition),
            offset,
            attempts,
            error,
            says: finding.text(),
            command: finding.command(group),
            remedy: finding.remedy(group, has_members),
        }
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long the topics keep records, in milliseconds; those that keep them for ever are not in it. Who may not read settings
/// does without.
async fn retention(client: &Client, look: &Look) -> Result<BTreeMap<String, i64>, Failure> {
    let topics: std::collections::BTreeSet<&str> =
        look.partitions.keys().map(|partition| &*partition.topic).collect();
    let resources: Vec<_> =
        topics.into_iter().map(|topic| ConfigResource::Topic(topic.to_owned())).collect();
    let mut kept = BTreeMap::new();
    for (resource, outcome) in client.describe_configs(&resources).await {
        let ConfigResource::Topic(topic) = resource else { continue };
        let entries = match outcome {
            Ok(entries) => entries,
            Err(error) if error.code().is_some() => continue,
            Err(error) => return Err(failure(error)),
        };
        let value = entries.iter().find(|entry| entry.name == "retention.ms");
        let millis = value.and_then(|entry| entry.value.as_deref()?.parse::<i64>().ok());
        kept.extend(millis.filter(|millis| *millis >= 0).map(|millis| (topic, millis)));
    }
    Ok(kept)
}
