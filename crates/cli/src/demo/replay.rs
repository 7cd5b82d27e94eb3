//! The order of the demo's events: which flight, to which partition, as which number.
//!
//! The flights are replayed in the order of their scheduled departure, as often as the number of events asks for, each
//! lap a year of 365 days later. An event with a key goes where its key says; one without goes to the next partition in turn.
//! The number of an event counts the events of its partition before it. All of this follows from the flights, the
//! number of events and the number of partitions alone, so that the proof can compute it again.
use super::flights::{Flight, Flights};

/// What a lap adds to the scheduled departures: the data span less, so that the order stays.
const LAP_SECONDS: i64 = 365 * 24 * 60 * 60;

/// The mark of a flight without a key in [`Replay::targets`].
const IN_TURN: i32 = -1;

/// One event, as planned: what the generator sends, and what the proof expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Index of the flight in [`Flights::all`].
    pub(crate) flight: usize,
    /// How often all flights were replayed before.
    pub(crate) lap: u32,
    /// Scheduled departure in this lap, seconds since 1970.
    pub(crate) scheduled: i64,
    /// Where the event goes.
    pub(crate) partition: i32,
    /// How many events went there before.
    pub(crate) number: u64,
}

/// Yields the events in the order in which they are sent.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    flights: &'a [Flight],
    targets: Box<[i32]>,
    numbers: Box<[u64]>,
    in_turn: usize,
    next: usize,
    lap: u32,
    left: u64,
}

impl<'a> Replay<'a> {
    /// A replay of `events` events over `partitions` partitions; `partition_for` is the producer's partitioner.
    ///
    /// # Panics
    /// If `partitions` is 0 or `partition_for` answers with a partition that is not below it.
    pub(crate) fn new(
        flights: &'a Flights,
        events: u64,
        partitions: i32,
        partition_for: impl Fn(&[u8]) -> i32,
    ) -> Self {
        assert!(partitions > 0, "a replay needs a partition");
        let target = |flight| match flights.tail(flight) {
            None => IN_TURN,
            Some(tail) => {
                let partition = partition_for(tail.as_bytes());
                assert!((0..partitions).contains(&partition), "no partition {partition}");
                partition
            }
        };
        Self {
            flights: flights.all(),
            targets: flights.all().iter().map(target).collect(),
            numbers: vec![0; partitions as usize].into(),
            in_turn: 0,
            next: 0,
            lap: 0,
            left: if flights.all().is_empty() { 0 } else { events },
        }
    }

    fn turn(&mut self) -> i32 {
        let partition = self.in_turn;
        self.in_turn = (partition + 1) % self.numbers.len();
        partition as i32
    }
}

impl Iterator for Replay<'_> {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        self.left = self.left.checked_sub(1)?;
        let flight = self.next;
        let lap = self.lap;
        let partition = match self.targets[flight] {
            IN_TURN => self.turn(),
            target => target,
        };
        let count = &mut self.numbers[partition as usize];
        let number = *count;
        *count += 1;
        self.next += 1;
        if self.next == self.flights.len() {
            self.next = 0;
            self.lap += 1;
        }
        Some(Planned {
            flight,
            lap,
            scheduled: self.flights[flight].scheduled + i64::from(lap) * LAP_SECONDS,
            partition,
            number,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// A partitioner for tests, unlike the producer's: the replay must not depend on which one it is.
#[cfg(test)]
pub(crate) fn by_bytes(partitions: i32) -> impl Fn(&[u8]) -> i32 {
    move |key| {
        let sum: i32 = key.iter().map(|byte| i32::from(*byte)).sum();
        sum % partitions
    }
}

#[cfg(test)]
mod tests {
    use super::super::flights::loaded;
    use super::*;

    #[test]
    fn numbers_are_dense_in_each_partition_and_dates_never_fall() {
        let events = 400_000;
        let mut next = [0_u64; 6];
        let mut last = i64::MIN;
        let mut count = 0;
        for planned in Replay::new(loaded(), events, 6, by_bytes(6)) {
            let expected = &mut next[planned.partition as usize];
            assert_eq!(planned.number, *expected);
            *expected += 1;
            assert!(planned.scheduled >= last);
            last = planned.scheduled;
            count += 1;
        }
        assert_eq!(count, events);
        assert_eq!(next.iter().sum::<u64>(), events);
    }

    #[test]
    fn a_second_lap_is_a_year_later() {
        let laps: Vec<Planned> = Replay::new(loaded(), 336_777, 6, by_bytes(6)).collect();
        let (first, again) = (laps[0], laps[336_776]);
        assert_eq!((first.flight, first.lap), (0, 0));
        assert_eq!((again.flight, again.lap), (0, 1));
        assert_eq!(again.scheduled - first.scheduled, LAP_SECONDS);
        assert_eq!(again.partition, first.partition);
    }

    #[test]
    fn keyless_events_take_turns_and_keys_stay() {
        let flights = loaded();
        let partition_for = by_bytes(6);
        let mut keyless = 0;
        for planned in Replay::new(flights, 336_776, 6, by_bytes(6)) {
            match flights.tail(&flights.all()[planned.flight]) {
                Some(tail) => assert_eq!(planned.partition, partition_for(tail.as_bytes())),
                None => {
                    assert_eq!(planned.partition, keyless % 6);
                    keyless += 1;
                }
            }
        }
        assert_eq!(keyless, 2_512);
    }

    #[test]
    fn the_same_replay_twice_is_equal() {
        let replay = || Replay::new(loaded(), 10_000, 6, by_bytes(6));
        assert!(replay().eq(replay()));
    }
}
