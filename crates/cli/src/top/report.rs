//! A board as text and as JSON.

use std::time::Duration;

use onrush::view::{PartitionView, Totals};
use serde::Serialize;

use super::board::{Board, Row};
use super::finding::Finding;
use crate::duration::short;
use crate::table::{Column, Table, visible};

/// Characters of a key that are shown.
const KEY: usize = 24;

pub(super) fn text(board: &Board<'_>) -> String {
    let mut text = head(board);
    for (peer, error) in &board.silent {
        text.push_str(&format!("{peer} does not answer: {}\n", visible(error)));
    }
    for finding in Finding::all(board) {
        let (name, says) = (finding.kind.name(), finding.text());
        text.push_str(&format!("{name}: {}\n", visible(&says)));
        for command in std::iter::once(finding.command()).chain(finding.remedy()) {
            text.push_str(&format!("  -> {}\n", visible(&command)));
        }
    }
    format!("{text}\n{}\n{}", partitions(board), lanes(board))
}

fn head(board: &Board<'_>) -> String {
    let Totals { done, retried, dead_lettered, overdue, .. } = board.total;
    let rates = board.rates.unwrap_or_default();
    let members = if board.members == 1 { "member" } else { "members" };
    format!(
        "{} {members}: {done} done ({:.0}/s), lag {}, {} in flight, latency {}, {retried} retried ({:.0}/s), {dead_lettered} \
         dead letters ({:.0}/s), {overdue} overdue\n",
        board.members,
        rates.done,
        board.lag,
        board.in_flight,
        short(Duration::from_millis(board.latency_millis)),
        rates.retried,
        rates.dead_lettered,
    )
}

fn partitions(board: &Board<'_>) -> String {
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Right("PARTITION"),
        Column::Left("MEMBER"),
        Column::Right("LANE"),
        Column::Right("FINISHED"),
        Column::Right("LAG"),
        Column::Right("IN FLIGHT"),
        Column::Right("SLOTS"),
        Column::Right("QUEUED"),
        Column::Right("PARKED"),
        Column::Right("OLDEST"),
        Column::Right("OPEN FOR"),
        Column::Left("HOTTEST"),
        Column::Left("SLOWEST"),
        Column::Right("METADATA"),
        Column::Left("STATE"),
    ]);
    for row in &board.partitions {
        let view = row.view;
        table.row([
            view.topic.clone(),
            view.partition.to_string(),
            row.peer.to_string(),
            view.lane.to_string(),
            per_second(row.rate),
            view.lag.map(|lag| lag.to_string()).unwrap_or_default(),
            view.in_flight.to_string(),
            some(view.busy_slots, view.busy_slots.to_string()),
            some(view.queued_bytes, bytes(view.queued_bytes)),
            some(view.parked_keys, format!("{} {}", view.parked_keys, bytes(view.parked_bytes))),
            row.open_for_millis.and(view.oldest_offset).map(|o| o.to_string()).unwrap_or_default(),
            row.open_for_millis.map(|age| short(Duration::from_millis(age))).unwrap_or_default(),
            hottest(view),
            slowest(view),
            some(view.metadata_permille, format!("{} %", view.metadata_permille.div_ceil(10))),
            state(view).to_owned(),
        ]);
    }
    table.text()
}

fn lanes(board: &Board<'_>) -> String {
    let mut table = Table::new([
        Column::Right("LANE"),
        Column::Left("MEMBER"),
        Column::Right("PARTITIONS"),
        Column::Right("FINISHED"),
        Column::Right("RETRIED"),
    ]);
    for lane in &board.lanes {
        table.row([
            lane.number.to_string(),
            lane.peer.to_string(),
            lane.partitions.to_string(),
            per_second(lane.rates.map(|rates| rates.done)),
            per_second(lane.rates.map(|rates| rates.retried)),
        ]);
    }
    table.text()
}

fn per_second(rate: Option<f64>) -> String {
    rate.map(|rate| format!("{rate:.0}/s")).unwrap_or_default()
}

/// Nothing where there is nothing.
fn some(count: u64, text: String) -> String {
    if count == 0 { String::new() } else { text }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

fn hottest(view: &PartitionView) -> String {
    let Some(hot) = &view.hot_slot else { return String::new() };
    format!("{} x {}", hot.events, cut(hot.key.as_deref()))
}

fn slowest(view: &PartitionView) -> String {
    let Some(slowest) = &view.slowest else { return String::new() };
    let took = short(Duration::from_millis(slowest.took_millis));
    format!("{took} {}", cut(slowest.key.as_deref()))
}

fn cut(key: Option<&str>) -> String {
    key.unwrap_or("no key").chars().take(KEY).collect()
}

const fn state(view: &PartitionView) -> &'static str {
    match (view.stopped, view.paused) {
        (true, _) => "stopped",
        (false, true) => "paused",
        (false, false) => "",
    }
}

#[derive(Serialize)]
pub(super) struct BoardJson<'a> {
    members: usize,
    silent: Vec<SilentJson<'a>>,
    total: Totals,
    done_per_second: Option<f64>,
    retried_per_second: Option<f64>,
    dead_lettered_per_second: Option<f64>,
    lag: u64,
    in_flight: u64,
    latency_millis: u64,
    partitions: Vec<RowJson<'a>>,
    lanes: Vec<LaneJson>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct SilentJson<'a> {
    member: String,
    error: &'a str,
}

#[derive(Serialize)]
struct RowJson<'a> {
    member: String,
    finished_per_second: Option<f64>,
    open_for_millis: Option<u64>,
    #[serde(flatten)]
    partition: &'a PartitionView,
}

#[derive(Serialize)]
struct LaneJson {
    member: String,
    lane: usize,
    partitions: usize,
    done_per_second: Option<f64>,
    retried_per_second: Option<f64>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    finding: &'static str,
    member: String,
    topic: &'a str,
    partition: i32,
    says: String,
    command: String,
    remedy: Option<String>,
}

pub(super) fn json<'a>(board: &'a Board<'a>) -> BoardJson<'a> {
    let row = |row: &Row<'a>| RowJson {
        member: row.peer.to_string(),
        finished_per_second: row.rate,
        open_for_millis: row.open_for_millis,
        partition: row.view,
    };
    let finding = |finding: &Finding<'a>| FindingJson {
        finding: finding.kind.name(),
        member: finding.row.peer.to_string(),
        topic: &finding.row.view.topic,
        partition: finding.row.view.partition,
        says: finding.text(),
        command: finding.command(),
        remedy: finding.remedy(),
    };
    let silent = board.silent.iter();
    let lanes = board.lanes.iter().map(|lane| LaneJson {
        member: lane.peer.to_string(),
        lane: lane.number,
        partitions: lane.partitions,
        done_per_second: lane.rates.map(|rates| rates.done),
        retried_per_second: lane.rates.map(|rates| rates.retried),
    });
    BoardJson {
        members: board.members,
        silent: silent
            .map(|(peer, error)| SilentJson { member: peer.to_string(), error })
            .collect(),
        total: board.total,
        done_per_second: board.rates.map(|rates| rates.done),
        retried_per_second: board.rates.map(|rates| rates.retried),
        dead_lettered_per_second: board.rates.map(|rates| rates.dead_lettered),
        lag: board.lag,
        in_flight: board.in_flight,
        latency_millis: board.latency_millis,
        partitions: board.partitions.iter().map(row).collect(),
        lanes: lanes.collect(),
        findings: Finding::all(board).iter().map(finding).collect(),
    }
}
