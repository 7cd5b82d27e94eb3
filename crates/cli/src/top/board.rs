//! All members together, from two looks at them.

use onrush::view::{PartitionView, Totals, View};

use super::Look;
use crate::peer::Peer;

/// See the module.
pub(super) struct Board<'a> {
    /// Members that answered.
    pub(super) members: usize,
    /// Those that did not, with the reason.
    pub(super) silent: Vec<(&'a Peer, String)>,
    pub(super) total: Totals,
    /// Per second; none without two looks at a member.
    pub(super) rates: Option<Rates>,
    pub(super) lag: u64,
    pub(super) in_flight: u64,
    pub(super) latency_millis: u64,
    /// Those with most lag first.
    pub(super) partitions: Vec<Row<'a>>,
    pub(super) lanes: Vec<Lane<'a>>,
}

/// A partition, as its member holds it.
pub(super) struct Row<'a> {
    pub(super) peer: &'a Peer,
    pub(super) view: &'a PartitionView,
    /// Finished events per second.
    pub(super) rate: Option<f64>,
    /// How old its oldest open event is, in milliseconds.
    pub(super) open_for_millis: Option<u64>,
}

/// A lane of a member.
pub(super) struct Lane<'a> {
    pub(super) peer: &'a Peer,
    pub(super) number: usize,
    pub(super) partitions: usize,
    pub(super) rates: Option<Rates>,
}

/// Events per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) done: f64,
    pub(super) retried: f64,
    pub(super) dead_lettered: f64,
}

impl Rates {
    fn of(before: &Totals, after: &Totals, seconds: f64) -> Option<Self> {
        // A member that started anew has lower counts.
        let rate = |of: fn(&Totals) -> u64| of(after).saturating_sub(of(before)) as f64 / seconds;
        (seconds > 0.0).then(|| Self {
            done: rate(|totals| totals.done),
            retried: rate(|totals| totals.retried),
            dead_lettered: rate(|totals| totals.dead_lettered),
        })
    }

    fn add(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            retried: self.retried + other.retried,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }
}

impl<'a> Board<'a> {
    pub(super) fn of(before: &'a [Look], after: &'a [Look]) -> Self {
        let mut board = Self {
            members: 0,
            silent: Vec::new(),
            total: Totals::default(),
            rates: None,
            lag: 0,
            in_flight: 0,
            latency_millis: 0,
            partitions: Vec::new(),
            lanes: Vec::new(),
        };
        for (before, Look { peer, view }) in before.iter().zip(after) {
            match view {
                Ok(view) => board.add(peer, before.view.as_ref().ok(), view),
                Err(error) => board.silent.push((peer, error.to_string())),
            }
        }
        board.partitions.sort_by_key(|row| std::cmp::Reverse((row.view.lag, row.open_for_millis)));
        board
    }

    fn add(&mut self, peer: &'a Peer, before: Option<&'a View>, view: &'a View) {
        self.members += 1;
        sum(&mut self.total, &view.total);
        let seconds = before.map(|before| (view.at_millis - before.at_millis) as f64 / 1_000.0);
        let before = before.zip(seconds);
        let rates = before.and_then(|(before, s)| Rates::of(&before.total, &view.total, s));
        self.rates = self.rates.into_iter().chain(rates).reduce(Rates::add);
        for (index, consumer) in view.consumers.iter().enumerate() {
            self.latency_millis = self.latency_millis.max(consumer.latency_millis);
            let earlier = before.and_then(|(before, s)| Some((before.consumers.get(index)?, s)));
            for (number, totals) in consumer.lanes.iter().enumerate() {
                let held = consumer.partitions.iter().filter(|held| held.lane == number);
                let rates = earlier.and_then(|(e, s)| Rates::of(e.lanes.get(number)?, totals, s));
                self.lanes.push(Lane { peer, number, partitions: held.count(), rates });
            }
            for held in &consumer.partitions {
                self.lag += held.lag.unwrap_or(held.in_flight);
                self.in_flight += held.in_flight;
                let since = held.oldest_since_millis.filter(|_| held.in_flight > 0);
                let open_for = since.map(|since| view.at_millis.saturating_sub(since));
                let rate = earlier.and_then(|(earlier, seconds)| {
                    let same = |other: &&PartitionView| {
                        other.topic == held.topic && other.partition == held.partition
                    };
                    let was = finished(earlier.partitions.iter().find(same)?);
                    (seconds > 0.0).then(|| (finished(held) - was).max(0) as f64 / seconds)
                });
                self.partitions.push(Row {
                    peer,
                    view: held,
                    rate,
                    open_for_millis: open_for.and_then(|millis| u64::try_from(millis).ok()),
                });
            }
        }
    }
}

/// Grows with every event that is finished, whatever the committed offset does.
fn finished(held: &PartitionView) -> i64 {
    held.position.saturating_sub_unsigned(held.in_flight)
}

fn sum(total: &mut Totals, more: &Totals) {
    total.done += more.done;
    total.dead_lettered += more.dead_lettered;
    total.moved += more.moved;
    total.skipped += more.skipped;
    total.failed += more.failed;
    total.retried += more.retried;
    total.overdue += more.overdue;
    total.batches += more.batches;
    total.bytes += more.bytes;
}

#[cfg(test)]
pub(super) mod tests {
    use onrush::view::ConsumerView;

    use super::*;
    use crate::peer::PeerError;

    pub(in crate::top) fn partition(number: i32, position: i64, in_flight: u64) -> PartitionView {
        PartitionView {
            topic: "payments".to_owned(),
            partition: number,
            position,
            in_flight,
            lag: Some(in_flight),
            ..PartitionView::default()
        }
    }

    pub(in crate::top) fn look(at_millis: i64, done: u64, partitions: Vec<PartitionView>) -> Look {
        let totals = Totals { done, ..Totals::default() };
        let consumer = ConsumerView { lanes: vec![totals], partitions, ..ConsumerView::default() };
        let view = View { at_millis, total: totals, consumers: vec![consumer] };
        Look { peer: "a:1".parse().expect("an address"), view: Ok(view) }
    }

    #[test]
    fn two_looks_give_rates_and_the_one_that_is_most_behind_is_first() {
        let before = [look(10_000, 100, vec![partition(0, 100, 0), partition(1, 50, 2)])];
        let after = [look(12_000, 160, vec![partition(0, 150, 0), partition(1, 63, 5)])];
        let board = Board::of(&before, &after);
        assert_eq!(board.rates.map(|rates| rates.done), Some(30.0));
        let rows: Vec<_> =
            board.partitions.iter().map(|row| (row.view.partition, row.rate)).collect();
        assert_eq!(rows, [(1, Some(5.0)), (0, Some(25.0))]);
        assert_eq!((board.lag, board.in_flight, board.lanes.len()), (5, 5, 1));
    }

    #[test]
    fn a_member_that_is_silent_or_new_has_no_rates() {
        let silent = || Look { peer: "b:2".parse().expect("valid"), view: Err(PeerError::Silent) };
        let before = [silent(), look(0, 5, Vec::new())];
        let after = [look(1_000, 5, vec![partition(0, 5, 0)]), silent()];
        let board = Board::of(&before, &after);
        assert_eq!((board.members, board.silent.len()), (1, 1));
        assert_eq!((board.rates, board.partitions[0].rate), (None, None));
        // It was started anew between two looks.
        let anew = [look(2_000, 1, vec![partition(0, 1, 0)])];
        assert_eq!(Board::of(&after[..1], &anew).rates, Some(Rates::default()));
    }
}
