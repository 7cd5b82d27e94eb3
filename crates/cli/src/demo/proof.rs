//! The proof: what the journals say, against what the flights say.
//!
//! From the flights, the number of events and the number of partitions, the replay is computed again: which event has which
//! number in which partition, what it must decode to, and which of its key it is. Against this stand the entries of the
//! journals, walked by partition and assignment:
//!
//! - **lost**: an event without an entry. **repeated**: an entry of an event that has one already.
//! - **reordered**: within an assignment, an entry whose event is earlier of its key than the one before; after a hand-over,
//!   a key that starts later than one after the latest marked so far. Events without a key have no order.
//! - **overlaps**: entries that an assignment got after the next one of its partition had begun.
//! - **corrupt**: an entry of an event that does not exist, or that is not what the event decodes to; a broken chain of
//!   assignments.
//! - the table, from all entries; it **matches** if it equals the one computed from the flights directly.
use super::event;
use super::flights::Flights;
use super::journal::entry::Entry;
use super::journal::file::JournalFile;
use super::replay::Replay;
use super::results::Row;
use super::tally::Tally;

/// What the proof found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Events that were sent.
    pub(crate) events: u64,
    /// Partitions of the topic.
    pub(crate) partitions: i32,
    /// How often a partition was assigned to a member.
    pub(crate) assignments: u64,
    /// See the module.
    pub(crate) lost: u64,
    /// See the module.
    pub(crate) repeated: u64,
    /// See the module.
    pub(crate) reordered: u64,
    /// See the module.
    pub(crate) overlaps: u64,
    /// See the module.
    pub(crate) corrupt: u64,
    /// See the module.
    pub(crate) matches_direct: bool,
    /// The table from the journals.
    pub(crate) table: Vec<Row>,
}

impl Proof {
    /// Everything came out right.
    pub(crate) fn holds(&self) -> bool {
        self.matches_direct && self.faults() == 0
    }

    /// All that went wrong, counted.
    pub(crate) fn faults(&self) -> u64 {
        self.lost + self.repeated + self.reordered + self.overlaps + self.corrupt
    }
}

/// Compares the journals of a run with its replay; `partition_for` is the producer's partitioner.
pub(crate) fn prove(
    flights: &Flights,
    events: u64,
    partitions: i32,
    partition_for: impl Fn(&[u8]) -> i32,
    journals: &[JournalFile],
) -> Proof {
    let (expected, direct) =
        expect(flights, Replay::new(flights, events, partitions, partition_for), partitions);
    let mut findings = Findings::default();
    let mut tally = Tally::new();
    for (partition, expected) in expected.iter().enumerate() {
        let of_partition = |journal: &&JournalFile| journal.header.partition == partition as i32;
        let chain: Vec<&JournalFile> = journals.iter().filter(of_partition).collect();
        check_chain(&chain, &mut findings);
        let mut walk = Walk::new(expected, flights.aircraft());
        for journal in chain {
            walk.assignment(&journal.entries, &mut tally, &mut findings);
        }
        findings.lost += walk.unmarked();
    }
    let foreign = |journal: &&JournalFile| !(0..partitions).contains(&journal.header.partition);
    findings.corrupt += journals.iter().filter(foreign).count() as u64;
    let table = tally.table();
    Proof {
        events,
        partitions,
        assignments: journals.len() as u64,
        lost: findings.lost,
        repeated: findings.repeated,
        reordered: findings.reordered,
        overlaps: findings.overlaps,
        corrupt: findings.corrupt,
        matches_direct: table == direct.table(),
        table,
    }
}

#[derive(Default)]
struct Findings {
    lost: u64,
    repeated: u64,
    reordered: u64,
    overlaps: u64,
    corrupt: u64,
}

/// The events of a partition, by number.
#[derive(Default)]
struct Expected {
    /// What a correct entry is; bits, for comparison.
    entries: Vec<u64>,
    /// The aircraft, if the event has a key.
    keys: Vec<Option<u16>>,
    /// How many events of the key came before; 0 without a key.
    ordinals: Vec<u32>,
}

/// Runs the replay once more, and tallies its events directly.
fn expect(flights: &Flights, replay: Replay<'_>, partitions: i32) -> (Vec<Expected>, Tally) {
    let mut expected: Vec<Expected> = (0..partitions).map(|_| Expected::default()).collect();
    let mut tally = Tally::new();
    let mut seen = vec![0_u32; flights.aircraft()];
    let prefixes: Vec<u64> =
        flights.all().iter().map(|flight| event::flight_check_prefix(flights, flight)).collect();
    for planned in replay {
        let flight = &flights.all()[planned.flight];
        tally.count(flight.series, flight.delay);
        let check = event::check(prefixes[planned.flight], planned.scheduled);
        let entry = Entry::new(planned.number, flight.series, flight.delay, check);
        let of_partition = &mut expected[planned.partition as usize];
        // A number beyond the journal's limit has no entry: 0 is none's bits, so the event counts as lost.
        of_partition.entries.push(entry.map_or(0, Entry::bits));
        of_partition.keys.push(flight.aircraft);
        of_partition.ordinals.push(match flight.aircraft {
            None => 0,
            Some(key) => {
                let ordinal = seen[usize::from(key)];
                seen[usize::from(key)] += 1;
                ordinal
            }
        });
    }
    (expected, tally)
}

/// Assignments follow each other without a gap, and none grew after its successor began.
fn check_chain(chain: &[&JournalFile], findings: &mut Findings) {
    for (index, journal) in chain.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| chain[before]);
        let assignment = before.map(|before| before.header.assignment);
        let named = journal.header.predecessor.map(|(assignment, _)| assignment);
        if named != assignment || journal.header.assignment as usize != index {
            findings.corrupt += 1;
        }
        if let (Some(before), Some((_, stood))) = (before, journal.header.predecessor) {
            findings.overlaps += (before.entries.len() as u64).saturating_sub(stood);
        }
    }
}

/// The state of one partition while its assignments are walked.
struct Walk<'a> {
    expected: &'a Expected,
    marked: Vec<bool>,
    keys: Vec<Key>,
    /// Counts assignments from 1.
    assignment: u32,
}

/// What is known of a key.
#[derive(Clone, Copy, Default)]
struct Key {
    /// One after the latest of its events that was marked.
    next: u32,
    /// The last event that was marked in assignment `seen_in`.
    last: u32,
    /// The assignment that marked one last; 0 for none.
    seen_in: u32,
}

impl<'a> Walk<'a> {
    fn new(expected: &'a Expected, keys: usize) -> Self {
        Self {
            expected,
            marked: vec![false; expected.entries.len()],
            keys: vec![Key::default(); keys],
            assignment: 0,
        }
    }

    fn assignment(&mut self, entries: &[u64], tally: &mut Tally, findings: &mut Findings) {
        self.assignment += 1;
        for entry in entries.iter().copied().filter_map(Entry::from_bits) {
            if let Some(series) = entry.series() {
                tally.count(series, entry.delay());
            }
            self.entry(entry, findings);
        }
    }

    fn entry(&mut self, entry: Entry, findings: &mut Findings) {
        let Some(number) =
            usize::try_from(entry.number()).ok().filter(|number| *number < self.marked.len())
        else {
            findings.corrupt += 1;
            return;
        };
        if entry.bits() != self.expected.entries[number] {
            findings.corrupt += 1;
        }
        if std::mem::replace(&mut self.marked[number], true) {
            findings.repeated += 1;
        }
        if let Some(key) = self.expected.keys[number] {
            let ordinal = self.expected.ordinals[number];
            let key = &mut self.keys[usize::from(key)];
            if key.is_reordered_by(ordinal, self.assignment) {
                findings.reordered += 1;
            }
            key.mark(ordinal, self.assignment);
        }
    }

    fn unmarked(&self) -> u64 {
        self.marked.iter().filter(|marked| !**marked).count() as u64
    }
}

impl Key {
    fn is_reordered_by(&self, ordinal: u32, assignment: u32) -> bool {
        if self.seen_in == assignment {
            ordinal < self.last
        } else {
            assignment > 1 && ordinal > self.next
        }
    }

    fn mark(&mut self, ordinal: u32, assignment: u32) {
        self.next = self.next.max(ordinal + 1);
        self.last = ordinal;
        self.seen_in = assignment;
    }
}

#[cfg(test)]
mod tests {
    use super::super::flights::loaded;
    use super::super::journal::Holding;
    use super::super::journal::header::Header;
    use super::super::replay::{Planned, by_bytes};
    use super::*;

    const EVENTS: u64 = 20_000;
    const PARTITIONS: i32 = 6;

    fn entry(planned: &Planned) -> u64 {
        let flights = loaded();
        let flight = &flights.all()[planned.flight];
        let prefix = event::flight_check_prefix(flights, flight);
        let check = event::check(prefix, planned.scheduled);
        Entry::new(planned.number, flight.series, flight.delay, check).expect("in range").bits()
    }

    fn journal(partition: i32, entries: Vec<u64>, predecessor: Option<(u32, u64)>) -> JournalFile {
        let holding = Holding { partition, member: "m", epoch: 1, start_offset: 0 };
        JournalFile { header: Header::new(&holding, 1 << 20, predecessor), entries }
    }

    fn planned() -> Vec<Planned> {
        Replay::new(loaded(), EVENTS, PARTITIONS, by_bytes(PARTITIONS)).collect()
    }

    /// One assignment per partition with every event in order.
    fn perfect() -> Vec<JournalFile> {
        let mut journals: Vec<_> = (0..PARTITIONS).map(|p| journal(p, Vec::new(), None)).collect();
        for planned in planned() {
            journals[planned.partition as usize].entries.push(entry(&planned));
        }
        journals
    }

    /// Hands partition 0 over after `stood` entries.
    fn handed_over(stood: usize) -> Vec<JournalFile> {
        let mut journals = perfect();
        let rest = journals[0].entries.split_off(stood);
        journals.insert(1, journal(0, rest, Some((0, stood as u64))));
        journals
    }

    /// Numbers, in partition 0, of the events of the aircraft that has most, which is what reordering needs.
    fn busy_key() -> Vec<usize> {
        let mut numbers = vec![Vec::new(); loaded().aircraft()];
        for planned in planned().iter().filter(|planned| planned.partition == 0) {
            if let Some(key) = loaded().all()[planned.flight].aircraft {
                numbers[usize::from(key)].push(planned.number as usize);
            }
        }
        numbers.into_iter().max_by_key(Vec::len).expect("some aircraft")
    }

    fn keyless() -> Vec<usize> {
        planned()
            .iter()
            .filter(|p| p.partition == 0 && loaded().all()[p.flight].aircraft.is_none())
            .map(|planned| planned.number as usize)
            .collect()
    }

    fn found(journals: &[JournalFile]) -> Proof {
        prove(loaded(), EVENTS, PARTITIONS, by_bytes(PARTITIONS), journals)
    }

    /// lost, repeated, reordered, overlaps, corrupt, and whether the tables match.
    fn counts(journals: &[JournalFile]) -> (u64, u64, u64, u64, u64, bool) {
        let proof = found(journals);
        let right = (0, 0, 0, 0, 0, true);
        let counts = (
            proof.lost,
            proof.repeated,
            proof.reordered,
            proof.overlaps,
            proof.corrupt,
            proof.matches_direct,
        );
        assert_eq!(proof.holds(), counts == right);
        counts
    }

    #[test]
    fn a_perfect_run_holds() {
        assert_eq!(counts(&perfect()), (0, 0, 0, 0, 0, true));
        for stood in [0, 1, 1_000] {
            assert_eq!(counts(&handed_over(stood)), (0, 0, 0, 0, 0, true), "{stood}");
        }
    }

    #[test]
    fn the_table_of_one_lap_is_the_known_one() {
        let mut journals = vec![journal(0, Vec::new(), None)];
        let flights = loaded();
        journals[0].entries = Replay::new(flights, 336_776, 1, |_| 0).map(|p| entry(&p)).collect();
        let proof = prove(flights, 336_776, 1, |_| 0, &journals);
        assert!(proof.holds());
        assert_eq!(proof.table.iter().map(|row| row.cancelled).sum::<u64>(), 8_255);
        let row = proof.table.iter().find(|row| row.carrier == "UA" && row.origin == "EWR");
        assert_eq!(row.expect("United").flights, 46_087);
    }

    #[test]
    fn nothing_marked_is_everything_lost() {
        assert_eq!(counts(&[]), (EVENTS, 0, 0, 0, 0, false));
    }

    #[test]
    fn a_lost_event_is_counted() {
        for number in [busy_key()[1], keyless()[0]] {
            let mut journals = perfect();
            journals[0].entries.remove(number);
            assert_eq!(counts(&journals), (1, 0, 0, 0, 0, false));
        }
    }

    #[test]
    fn a_place_that_was_reserved_and_not_written_marks_nothing() {
        let mut journals = perfect();
        journals[0].entries[7] = 0;
        assert_eq!(counts(&journals), (1, 0, 0, 0, 0, false));
    }

    #[test]
    fn a_repeated_event_is_counted() {
        for number in [busy_key()[1], keyless()[0]] {
            let mut journals = perfect();
            let again = journals[0].entries[number];
            journals[0].entries.insert(number + 1, again);
            assert_eq!(counts(&journals), (0, 1, 0, 0, 0, false));
        }
    }

    #[test]
    fn two_events_of_one_key_swapped_are_counted() {
        let mut journals = perfect();
        let key = busy_key();
        journals[0].entries.swap(key[3], key[4]);
        assert_eq!(counts(&journals), (0, 0, 1, 0, 0, true));
    }

    #[test]
    fn events_of_two_keys_or_without_one_may_change_places() {
        let mut journals = perfect();
        let key = busy_key();
        let moved = journals[0].entries.remove(key[3] + 1);
        journals[0].entries.insert(key[3], moved);
        let keyless = keyless();
        journals[0].entries.swap(keyless[0], keyless[1]);
        assert_eq!(counts(&journals), (0, 0, 0, 0, 0, true));
    }

    #[test]
    fn a_key_that_starts_too_late_after_a_hand_over_is_counted() {
        let key = busy_key();
        let mut journals = handed_over(key[3]);
        // The event that the new owner should begin with comes after the next one of its key.
        let (first, second) = (0, key[4] - key[3]);
        journals[1].entries.swap(first, second);
        // Started above the highest marked plus one, and then fell back.
        assert_eq!(counts(&journals), (0, 0, 2, 0, 0, true));
        journals[1].entries.remove(second);
        assert_eq!(counts(&journals), (1, 0, 1, 0, 0, false));
    }

    #[test]
    fn a_key_may_start_again_from_before_after_a_hand_over() {
        let key = busy_key();
        let mut journals = handed_over(key[3] + 1);
        let again: Vec<u64> =
            key[1..=3].iter().map(|number| journals[0].entries[*number]).collect();
        journals[1].entries.splice(0..0, again);
        assert_eq!(counts(&journals), (0, 3, 0, 0, 0, false));
    }

    #[test]
    fn an_entry_after_the_next_assignment_began_is_an_overlap() {
        let mut journals = handed_over(500);
        let late: Vec<u64> = journals[1].entries.drain(..2).collect();
        journals[0].entries.extend(late);
        assert_eq!(counts(&journals), (0, 0, 0, 2, 0, true));
    }

    #[test]
    fn an_entry_that_is_not_its_event_is_corrupt() {
        for (bit, table_matches) in [(60, true), (51, false), (32, false)] {
            let mut journals = perfect();
            journals[0].entries[7] ^= 1 << bit;
            assert_eq!(counts(&journals), (0, 0, 0, 0, 1, table_matches), "bit {bit}");
        }
        let mut journals = perfect();
        journals[0].entries.push(u64::from(u32::MAX));
        assert_eq!(counts(&journals).4, 1);
    }

    #[test]
    fn a_missing_assignment_is_noticed() {
        let mut journals = handed_over(500);
        journals.remove(0);
        assert_eq!(counts(&journals).4, 1);
        let mut journals = perfect();
        journals.push(journal(6, Vec::new(), None));
        assert_eq!(counts(&journals), (0, 0, 0, 0, 1, true));
    }
}
