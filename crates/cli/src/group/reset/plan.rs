//! Where a group would go: the new offset of each partition beside the old one.

use std::collections::BTreeMap;

use onrush_kafka::{Commit, TopicPartition};
use onrush_runtime::Fault;
use serde::Serialize;

use crate::cluster::Session;
use crate::failure::Failure;
use crate::group::offset_file::Offsets;
use crate::group::position::Position;
use crate::outcome::failures;
use crate::place::Place;
use crate::table::{Column, Table};
use crate::topic::Extent;

/// Where a group is to go.
#[derive(Debug)]
pub(super) enum Goal {
    /// To the same place in every partition.
    Place(Place),
    /// So many offsets on, or back, from where it is.
    Shift(i64),
    /// To these offsets, of a file or another group.
    Offsets(Offsets),
}

/// What becomes of a group's place in a partition.
#[derive(Debug)]
pub(super) struct Move {
    position: Position,
    extent: Extent,
    /// None leaves it as it is.
    new: Option<i64>,
    /// What was wanted, where the partition does not have it.
    clamped: Option<i64>,
}

/// The plan as JSON.
#[derive(Serialize)]
pub(super) struct PlanRow<'a> {
    group: &'a str,
    applied: bool,
    partitions: Vec<MoveRow<'a>>,
}

#[derive(Serialize)]
struct MoveRow<'a> {
    topic: &'a str,
    partition: i32,
    current: Option<i64>,
    new: Option<i64>,
    start: i64,
    end: i64,
    /// What was asked for, which the partition may not have.
    wanted: Option<i64>,
    changes: bool,
}

/// The moves to a goal. Partitions that cannot be asked about are named, all at once.
pub(super) async fn moves(
    session: &Session,
    goal: &Goal,
    positions: Vec<Position>,
) -> Result<Vec<Move>, Failure> {
    let missing = positions.iter().filter(|position| position.extent.is_none()).map(missing);
    failures(missing.collect())?;
    let partitions: Vec<_> = positions.iter().map(|position| position.partition.clone()).collect();
    let places = match goal {
        Goal::Place(place) => {
            let now = session.runtime.clock.wall_millis();
            place.offsets(&session.client, &partitions, now).await?
        }
        Goal::Shift(_) | Goal::Offsets(_) => BTreeMap::new(),
    };
    let planned = |position: Position| {
        let extent = position.extent?;
        let wanted = wanted(goal, &places, &position);
        Some(Move::new(position, extent, wanted))
    };
    Ok(positions.into_iter().filter_map(planned).collect())
}

fn missing(position: &Position) -> Failure {
    Failure::unavailable(format!(
        "{} does not exist or has no leader at the moment; leave it out with --topic, or wait for its broker",
        position.partition
    ))
    .code(Fault::NoLeader)
}

/// The offset that a goal asks for, whether or not the partition has it.
fn wanted(goal: &Goal, places: &BTreeMap<TopicPartition, i64>, position: &Position) -> Option<i64> {
    match goal {
        Goal::Place(place) => place.exact().or_else(|| places.get(&position.partition).copied()),
        Goal::Shift(by) => position.committed.map(|committed| committed.saturating_add(*by)),
        Goal::Offsets(offsets) => offsets.get(&position.partition).copied(),
    }
}

impl Move {
    fn new(position: Position, extent: Extent, wanted: Option<i64>) -> Self {
        let within = |offset: i64| offset.min(extent.end).max(extent.start);
        let new = wanted.map(within);
        Self { position, extent, new, clamped: wanted.filter(|wanted| Some(*wanted) != new) }
    }

    /// Whether anything changes: also a commit's metadata, which a reset takes away.
    pub(super) fn is_one(&self) -> bool {
        self.new.is_some()
            && (self.new != self.position.committed || !self.position.metadata.is_empty())
    }

    /// Its commit. What was done above the old offset is not carried over: done twice is better than never.
    pub(super) fn commit(&self) -> Option<Commit> {
        let partition = self.position.partition.clone();
        let commit =
            |offset| Commit { partition, offset, leader_epoch: -1, metadata: String::new() };
        self.new.filter(|_| self.is_one()).map(commit)
    }

    /// Offsets that would be read again (below 0) or passed over (above 0).
    fn change(&self) -> Option<i64> {
        let (committed, new) = (self.position.committed?, self.new?);
        Some(new - committed)
    }

    fn note(&self) -> String {
        let done = self.position.done_above();
        match (self.new, self.clamped) {
            (None, _) => "nothing to go by; stays".to_owned(),
            (Some(_), Some(wanted)) if wanted < self.extent.start => {
                format!("{wanted} is before the start")
            }
            (Some(_), Some(wanted)) => format!("{wanted} is after the end"),
            (Some(_), None) if done > 0 => format!("forgets {done} done above"),
            (Some(_), None) if !self.is_one() => "stays".to_owned(),
            (Some(_), None) if self.new == self.position.committed => {
                "drops what was committed beside it".to_owned()
            }
            (Some(_), None) => String::new(),
        }
    }
}

pub(super) fn text(moves: &[Move]) -> String {
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Right("PARTITION"),
        Column::Right("CURRENT"),
        Column::Right("NEW"),
        Column::Right("CHANGE"),
        Column::Right("END"),
        Column::Left("NOTE"),
    ]);
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |n| n.to_string());
    for planned in moves {
        let position = &planned.position;
        table.row([
            position.partition.topic.to_string(),
            position.partition.partition.to_string(),
            number(position.committed),
            number(planned.new.or(position.committed)),
            planned.change().map_or("-".to_owned(), signed),
            planned.extent.end.to_string(),
            planned.note(),
        ]);
    }
    table.text()
}

/// A difference with its sign.
fn signed(change: i64) -> String {
    if change == 0 { "0".to_owned() } else { format!("{change:+}") }
}

pub(super) fn row<'a>(group: &'a str, moves: &'a [Move], applied: bool) -> PlanRow<'a> {
    let partition = |planned: &'a Move| MoveRow {
        topic: &planned.position.partition.topic,
        partition: planned.position.partition.partition,
        current: planned.position.committed,
        new: planned.new.or(planned.position.committed),
        start: planned.extent.start,
        end: planned.extent.end,
        wanted: planned.clamped.or(planned.new),
        changes: planned.is_one(),
    };
    PlanRow { group, applied, partitions: moves.iter().map(partition).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { start: 10, end: 100 };

    fn planned(goal: &Goal, committed: Option<i64>, metadata: &str) -> Move {
        let position = Position {
            partition: TopicPartition::new("t", 0),
            committed,
            metadata: metadata.to_owned(),
            extent: Some(EXTENT),
        };
        let wanted = wanted(goal, &BTreeMap::new(), &position);
        Move::new(position, EXTENT, wanted)
    }

    #[test]
    fn a_shift_stays_within_the_log() {
        let back = planned(&Goal::Shift(-5), Some(50), "");
        assert_eq!((back.new, back.change(), back.clamped), (Some(45), Some(-5), None));
        let start = planned(&Goal::Shift(-500), Some(50), "");
        assert_eq!((start.new, start.note().as_str()), (Some(10), "-450 is before the start"));
        let end = planned(&Goal::Shift(i64::MAX), Some(50), "");
        assert_eq!(end.new, Some(100));
        assert!(end.note().ends_with("is after the end"));
    }

    #[test]
    fn a_partition_without_an_offset_to_go_by_stays() {
        let offsets = Offsets::from([(TopicPartition::new("t", 1), 20)]);
        let goal = Goal::Offsets(offsets);
        for goal in [&Goal::Shift(5), &goal] {
            let stays = planned(goal, None, "");
            assert_eq!((stays.new, stays.commit(), stays.is_one()), (None, None, false));
        }
    }

    #[test]
    fn metadata_alone_is_a_change() {
        let same = planned(&Goal::Shift(0), Some(50), "");
        assert_eq!((same.is_one(), same.note().as_str()), (false, "stays"));
        let changed = planned(&Goal::Shift(0), Some(50), "of the old place");
        assert!(changed.note().starts_with("drops"));
        let commit = changed.commit();
        assert_eq!(
            commit.map(|commit| (commit.offset, commit.metadata)),
            Some((50, String::new()))
        );
    }

    #[test]
    fn an_exact_offset_is_shown_as_it_was_wanted() {
        let goal = Goal::Place("7".parse().expect("a place"));
        let clamped = planned(&goal, None, "");
        assert_eq!((clamped.new, clamped.clamped), (Some(10), Some(7)));
        assert_eq!(row("g", &[clamped], false).partitions[0].wanted, Some(7));
    }
}
