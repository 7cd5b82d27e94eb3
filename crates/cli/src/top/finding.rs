//! What is wrong with members, by name, with the command that helps.

use std::time::Duration;

use onrush_runtime::Fault;

use super::board::{Board, Row};
use crate::duration::short;

/// An event that is open for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// A slot with so many events, and this part of its partition's, has a hot key.
const HOT_EVENTS: u64 = 100;
const HOT_SHARE: f64 = 0.5;
/// A handler that takes so long waits for something.
const SLOW: Duration = Duration::from_secs(1);
/// So many slots at work with slow events are more than one event.
const SLOW_SLOTS: u64 = 4;
/// Metadata is nearly full from this part of what the broker takes, in thousandths.
const NEARLY_FULL: u64 = 750;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stopped,
    Paused,
    StuckOffset,
    HotKey,
    SlowDownstream,
    MetadataNearlyFull,
}

/// A kind, and where.
pub(super) struct Finding<'a> {
    pub(super) kind: Kind,
    pub(super) row: &'a Row<'a>,
}

impl Kind {
    /// The gravest first.
    const ALL: [Self; 6] = [
        Self::Stopped,
        Self::Paused,
        Self::StuckOffset,
        Self::HotKey,
        Self::SlowDownstream,
        Self::MetadataNearlyFull,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Paused => "Paused",
            Self::StuckOffset => "StuckOffset",
            Self::HotKey => "HotKey",
            Self::SlowDownstream => "SlowDownstream",
            Self::MetadataNearlyFull => "MetadataNearlyFull",
        }
    }

    fn is_in(self, row: &Row<'_>) -> bool {
        let view = row.view;
        let open_for = row.open_for_millis.map_or(Duration::ZERO, Duration::from_millis);
        match self {
            Self::Stopped => view.stopped,
            Self::Paused => view.paused,
            Self::StuckOffset => open_for >= STUCK_AFTER && view.oldest_offset.is_some(),
            Self::HotKey => view.hot_slot.as_ref().is_some_and(|hot| {
                hot.events >= HOT_EVENTS && hot.events as f64 >= view.in_flight as f64 * HOT_SHARE
            }),
            Self::SlowDownstream => {
                let is_slow = |took| Duration::from_millis(took) >= SLOW;
                view.busy_slots >= SLOW_SLOTS
                    && view.slowest.as_ref().is_some_and(|slowest| is_slow(slowest.took_millis))
            }
            Self::MetadataNearlyFull => view.metadata_permille >= NEARLY_FULL,
        }
    }
}

impl<'a> Finding<'a> {
    pub(super) fn all(board: &'a Board<'a>) -> Vec<Self> {
        let of_kind = |kind: Kind| {
            let rows = board.partitions.iter().filter(move |row| kind.is_in(row));
            rows.map(move |row| Self { kind, row })
        };
        Kind::ALL.into_iter().flat_map(of_kind).collect()
    }

    /// What it is, for a person.
    pub(super) fn text(&self) -> String {
        let view = self.row.view;
        let key = |key: &Option<String>| {
            key.as_ref().map_or_else(|| "no key".to_owned(), |key| format!("key \"{key}\""))
        };
        let what = match self.kind {
            Kind::Stopped => "an error stopped it".to_owned(),
            Kind::Paused => "it takes nothing more, because events failed".to_owned(),
            Kind::StuckOffset => {
                let open_for =
                    self.row.open_for_millis.map_or(Duration::ZERO, Duration::from_millis);
                let offset = view.oldest_offset.unwrap_or(view.position);
                format!("offset {offset} has no outcome for {}", short(open_for))
            }
            Kind::HotKey => {
                let hot = view.hot_slot.clone().unwrap_or_default();
                let (key, offset) = (key(&hot.key), hot.offset);
                format!(
                    "{} of {} open events are in one slot ({key}, offset {offset}); they run one after the other",
                    hot.events, view.in_flight
                )
            }
            Kind::SlowDownstream => {
                let slowest = view.slowest.clone().unwrap_or_default();
                let took = short(Duration::from_millis(slowest.took_millis));
                format!(
                    "{} slots are at work, and an event took {took} (offset {}, {}): what the handler calls is slow",
                    view.busy_slots,
                    slowest.offset,
                    key(&slowest.key)
                )
            }
            Kind::MetadataNearlyFull => format!(
                "{} % of the commit metadata is used; when it is full, intake waits for the oldest events",
                view.metadata_permille / 10
            ),
        };
        format!("{}-{}: {what}", view.topic, view.partition)
    }

    /// The command that helps, or shows more.
    pub(super) fn command(&self) -> String {
        let view = self.row.view;
        let (topic, partition) = (&view.topic, view.partition);
        let consume = |offset: i64| {
            format!("onrush consume {topic} -p {partition} -o {offset}:{} --json", offset + 1)
        };
        match self.kind {
            Kind::Stopped => format!("onrush explain {}", Fault::HandlerStopped),
            Kind::Paused => format!("onrush explain {}", Fault::PartitionPaused),
            Kind::StuckOffset => consume(view.oldest_offset.unwrap_or(view.position)),
            Kind::HotKey => consume(view.hot_slot.as_ref().map_or(view.position, |hot| hot.offset)),
            Kind::SlowDownstream => {
                consume(view.slowest.as_ref().map_or(view.position, |slowest| slowest.offset))
            }
            Kind::MetadataNearlyFull => format!("onrush lag --topic {topic}"),
        }
    }

    /// What a person may decide to do about it, where there is such a thing.
    pub(super) fn remedy(&self) -> Option<String> {
        let (view, peer) = (self.row.view, self.row.peer);
        let offset = view.oldest_offset.filter(|_| self.kind == Kind::StuckOffset)?;
        let place = format!("{}:{offset}", view.partition);
        Some(format!("onrush dlq send {} {place} --member {peer}", view.topic))
    }
}

#[cfg(test)]
mod tests {
    use onrush::view::{HotSlotView, SlowestView};

    use super::super::board::tests::{look, partition};
    use super::*;

    #[test]
    fn each_is_found_by_what_it_is() {
        let mut held: Vec<_> = (0..7).map(|number| partition(number, 900, 200)).collect();
        held[0].stopped = true;
        held[1].paused = true;
        (held[2].oldest_offset, held[2].oldest_since_millis) = (Some(7), Some(0));
        let key = Some("k".to_owned());
        held[3].hot_slot =
            Some(HotSlotView { slot: 1, events: 150, offset: 750, key: key.clone() });
        held[4].busy_slots = 4;
        held[4].slowest = Some(SlowestView { offset: 9, key, took_millis: 2_500 });
        held[5].metadata_permille = 750;
        // Nothing of it is enough for a finding.
        held[6].hot_slot = Some(HotSlotView { events: 99, ..HotSlotView::default() });
        held[6].metadata_permille = 749;
        (held[6].oldest_offset, held[6].oldest_since_millis) = (Some(7), Some(10_001));
        let (before, after) = ([look(10_000, 0, Vec::new())], [look(20_000, 0, held)]);
        let board = Board::of(&before, &after);
        let found = Finding::all(&board);
        let names: Vec<_> = found.iter().map(|f| (f.row.view.partition, f.kind.name())).collect();
        let expected = [
            (0, "Stopped"),
            (1, "Paused"),
            (2, "StuckOffset"),
            (3, "HotKey"),
            (4, "SlowDownstream"),
            (5, "MetadataNearlyFull"),
        ];
        assert_eq!(names, expected);
        assert_eq!(found[2].text(), "payments-2: offset 7 has no outcome for 20s");
        let remedy = "onrush dlq send payments 2:7 --member a:1";
        assert_eq!(found[2].remedy().as_deref(), Some(remedy));
        assert!(found[3].text().contains("150 of 200") && found[3].remedy().is_none());
        assert!(found[4].text().contains("took 2.5s") && found[4].command().contains("-o 9:10"));
    }
}
