//! The proof: what the journals say, against what the flights say.
//!
//! From the flights, the number of events and the number of partitions, the replay is computed again: which event has which
//! number in which partition, what it must decode to, and which of its key it is. Against this stand the entries of the
//! journals, walked by partition and assignment:
//!
//! - **lost**: an event without an entry. **repeated**: an entry of an event that has one already.
//! - **reordered**: an entry whose event is earlier of its key than the one before it in the assignment; an event whose first
//!   entry comes after the first one of a later event of its key; after a hand-over, a key that starts later than one after
//!   the latest marked so far. Events without a key have no order.
//! - **overlaps**: entries that an assignment got after the next one of its partition had begun.
//! - **corrupt**: an entry of an event that does not exist, or that is not what the event decodes to; a broken chain of
//!   assignments; a victim whose journal is not as it was when it was killed.
//! - the table, from all entries; it **matches** if it equals the one computed from the flights directly.
//!
//! Members that were killed ([`Death`]) change this much:
//!
//! - **repeat bound**: the events that victims marked after their last acknowledged commit, over all victims and partitions.
//!   Not only the sum is held against the repeats: each such event may be repeated once per victim that left it uncommitted,
//!   in a later assignment than that victim's; any other repeat is **unexplained**. Without victims all are.
//! - order: who comes after a victim begins a key again where the commit stands, so that the calls of a key are an ascending
//!   row, then a piece of its end again, and on. That is no reordering by the rules above: rows ascend within an assignment, no
//!   event is skipped on the way up, and nothing is called for the first time after a later event was.
//! - the table counts an event by its first entry: this is what a sink that knows what it has would keep.
use super::death::{Death, Left};
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
    /// Member processes that were killed.
    pub(crate) kills: u64,
    /// See the module.
    pub(crate) repeat_bound: u64,
    /// See the module.
    pub(crate) unexplained: u64,
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
        self.lost + self.unexplained + self.reordered + self.overlaps + self.corrupt
    }
}

/// Compares the journals of a run with its replay; `partition_for` is the producer's partitioner.
pub(crate) fn prove(
    flights: &Flights,
    events: u64,
    partitions: i32,
    partition_for: impl Fn(&[u8]) -> i32,
    journals: &[JournalFile],
    deaths: &[Death],
) -> Proof {
    let (expected, direct) =
        expect(flights, Replay::new(flights, events, partitions, partition_for), partitions);
    let mut findings = Findings::default();
    let mut tally = Tally::new();
    let counted = if deaths.is_empty() { Counted::Entries } else { Counted::Events };
    let left: Vec<&Left> = deaths.iter().flat_map(|death| &death.left).collect();
    for (partition, expected) in expected.iter().enumerate() {
        let of_partition = |journal: &&JournalFile| journal.header.partition == partition as i32;
        let chain: Vec<&JournalFile> = journals.iter().filter(of_partition).collect();
        check_chain(&chain, &mut findings);
        let mut walk = Walk::new(expected, flights.aircraft(), counted);
        for journal in chain {
            walk.assignment(&journal.entries, &mut tally, &mut findings);
            let of_journal = |left: &&&Left| {
                (left.partition, left.assignment)
                    == (journal.header.partition, journal.header.assignment)
            };
            if let Some(left) = left.iter().find(of_journal) {
                walk.death(left, &journal.entries, &mut findings);
            }
        }
        findings.lost += walk.unmarked();
    }
    let foreign = |journal: &&JournalFile| !(0..partitions).contains(&journal.header.partition);
    findings.corrupt += journals.iter().filter(foreign).count() as u64;
    findings.corrupt += (left.len() as u64).abs_diff(findings.left);
    let table = tally.table();
    Proof {
        events,
        partitions,
        assignments: journals.len() as u64,
        lost: findings.lost,
        repeated: findings.repeated,
        kills: deaths.len() as u64,
        repeat_bound: findings.repeat_bound,
        unexplained: findings.unexplained,
        reordered: findings.reordered,
        overlaps: findings.overlaps,
        corrupt: findings.corrupt,
        matches_direct: table == direct.table(),
        table,
    }
}

/// What the table is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Every entry.
    Entries,
    /// Every event, by its first entry.
    Events,
}

#[derive(Default)]
struct Findings {
    lost: u64,
    repeated: u64,
    repeat_bound: u64,
    unexplained: u64,
    reordered: u64,
    overlaps: u64,
    corrupt: u64,
    /// Partitions of victims whose journal was found.
    left: u64,
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
    counted: Counted,
    marked: Vec<bool>,
    /// By event: how many repeats are still to be expected.
    excused: Vec<u32>,
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
    fn new(expected: &'a Expected, keys: usize, counted: Counted) -> Self {
        Self {
            expected,
            counted,
            marked: vec![false; expected.entries.len()],
            excused: vec![0; expected.entries.len()],
            keys: vec![Key::default(); keys],
            assignment: 0,
        }
    }

    fn assignment(&mut self, entries: &[u64], tally: &mut Tally, findings: &mut Findings) {
        self.assignment += 1;
        for entry in entries.iter().copied().filter_map(Entry::from_bits) {
            let times = self.entry(entry, findings);
            if let Some(series) = entry.series()
                && (times == Times::First || self.counted == Counted::Entries)
            {
                tally.count(series, entry.delay());
            }
        }
    }

    fn entry(&mut self, entry: Entry, findings: &mut Findings) -> Times {
        let Some(number) =
            usize::try_from(entry.number()).ok().filter(|number| *number < self.marked.len())
        else {
            findings.corrupt += 1;
            return Times::First;
        };
        if entry.bits() != self.expected.entries[number] {
            findings.corrupt += 1;
        }
        let times = match std::mem::replace(&mut self.marked[number], true) {
            true => Times::Again,
            false => Times::First,
        };
        if times == Times::Again {
            findings.repeated += 1;
            match self.excused[number].checked_sub(1) {
                Some(left) => self.excused[number] = left,
                None => findings.unexplained += 1,
            }
        }
        if let Some(key) = self.expected.keys[number] {
            let ordinal = self.expected.ordinals[number];
            let key = &mut self.keys[usize::from(key)];
            if key.is_reordered_by(ordinal, times, self.assignment) {
                findings.reordered += 1;
            }
            key.mark(ordinal, self.assignment);
        }
        times
    }

    /// The owner of the assignment that was walked last was killed.
    fn death(&mut self, left: &Left, entries: &[u64], findings: &mut Findings) {
        findings.left += 1;
        if entries.len() as u64 != left.entries {
            findings.corrupt += 1;
        }
        for number in left.uncovered(entries) {
            findings.repeat_bound += 1;
            let excused = usize::try_from(number).ok().and_then(|at| self.excused.get_mut(at));
            excused.into_iter().for_each(|repeats| *repeats += 1);
        }
    }

    fn unmarked(&self) -> u64 {
        self.marked.iter().filter(|marked| !**marked).count() as u64
    }
}

/// Whether an event was marked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    First,
    Again,
}

impl Key {
    fn is_reordered_by(&self, ordinal: u32, times: Times, assignment: u32) -> bool {
        let falls_back = self.seen_in == assignment && ordinal < self.last;
        let skips = self.seen_in != assignment && assignment > 1 && ordinal > self.next;
        let comes_late = times == Times::First && ordinal < self.next;
        falls_back || skips || comes_late
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
        prove(loaded(), EVENTS, PARTITIONS, by_bytes(PARTITIONS), journals, &[])
    }

    /// Kills the owner of an assignment of partition 0; the group has committed all below `committed`.
    fn killed(journals: &[JournalFile], assignment: usize, committed: usize) -> Death {
        let left = Left::new(&journals[assignment], committed as i64, "");
        Death { kill: 1, after_ms: 0, process: 1, member: "m".to_owned(), left: vec![left] }
    }

    /// A run in which the owner of partition 0 was killed after `stood` entries, with `committed` of them committed.
    fn taken_over(stood: usize, committed: usize) -> (Vec<JournalFile>, Vec<Death>) {
        let mut journals = handed_over(stood);
        let again = journals[0].entries[committed..].to_vec();
        journals[1].entries.splice(0..0, again);
        let death = killed(&journals, 0, committed);
        (journals, vec![death])
    }

    fn found_with(journals: &[JournalFile], deaths: &[Death]) -> Proof {
        prove(loaded(), EVENTS, PARTITIONS, by_bytes(PARTITIONS), journals, deaths)
    }

    /// lost, repeated, bound, unexplained, reordered, corrupt, and whether the proof holds.
    fn judged(
        (journals, deaths): &(Vec<JournalFile>, Vec<Death>),
    ) -> (u64, u64, u64, u64, u64, u64, bool) {
        let proof = found_with(journals, deaths);
        assert_eq!(proof.overlaps, 0);
        (
            proof.lost,
            proof.repeated,
            proof.repeat_bound,
            proof.unexplained,
            proof.reordered,
            proof.corrupt,
            proof.holds(),
        )
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
        let proof = prove(flights, 336_776, 1, |_| 0, &journals, &[]);
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

    #[test]
    fn a_key_that_a_later_owner_fills_in_was_reordered() {
        let key = busy_key();
        let mut journals = handed_over(key[5]);
        let skipped = journals[0].entries.remove(key[3]);
        journals[1].entries.insert(0, skipped);
        journals[1].header.predecessor = Some((0, key[5] as u64 - 1));
        assert_eq!(counts(&journals), (0, 0, 1, 0, 0, true));
    }

    #[test]
    fn who_follows_a_victim_may_repeat_what_it_left_uncommitted() {
        assert_eq!(judged(&taken_over(1_000, 1_000)), (0, 0, 0, 0, 0, 0, true));
        assert_eq!(judged(&taken_over(1_000, 400)), (0, 600, 600, 0, 0, 0, true));
        // Less is repeated than was left: a commit landed after it was looked at.
        let (mut journals, deaths) = taken_over(1_000, 400);
        journals[1].entries.drain(..50);
        assert_eq!(judged(&(journals, deaths)), (0, 550, 600, 0, 0, 0, true));
    }

    #[test]
    fn a_repeat_of_what_was_committed_is_unexplained() {
        let (mut journals, deaths) = taken_over(1_000, 400);
        let covered = journals[0].entries[399];
        journals[1].entries.insert(0, covered);
        assert_eq!(judged(&(journals, deaths)), (0, 601, 600, 1, 0, 0, false));
    }

    #[test]
    fn an_event_is_repeated_once_for_each_victim() {
        // Keyless, so that a second repeat is no falling back.
        let number = keyless()[0];
        let (mut journals, deaths) = taken_over(number + 1, number);
        let again = journals[1].entries[0];
        journals[1].entries.insert(0, again);
        assert_eq!(judged(&(journals.clone(), deaths.clone())), (0, 2, 1, 1, 0, 0, false));
        // The second owner is killed as well, and has committed nothing.
        journals[1].entries.remove(0);
        let rest = journals[1].entries.split_off(1);
        let stood = Some((1, journals[1].entries.len() as u64));
        let mut last = journal(0, rest, stood);
        last.entries.insert(0, again);
        journals.insert(2, last);
        let second = killed(&journals, 1, number);
        let deaths = vec![deaths[0].clone(), second];
        assert_eq!(judged(&(journals, deaths)), (0, 2, 2, 0, 0, 0, true));
    }

    #[test]
    fn a_repeat_by_the_victim_itself_is_unexplained() {
        let number = keyless()[0];
        let (mut journals, _) = taken_over(number + 1, number + 1);
        let again = journals[0].entries[number];
        journals[0].entries.push(again);
        journals[1].header.predecessor = Some((0, number as u64 + 2));
        let deaths = vec![killed(&journals, 0, number)];
        assert_eq!(judged(&(journals, deaths)), (0, 1, 1, 1, 0, 0, false));
    }

    #[test]
    fn what_a_victim_had_not_marked_must_be_marked_by_the_next() {
        let key = busy_key();
        let (mut journals, deaths) = taken_over(key[3], key[1]);
        let first_new = key[3] - key[1];
        journals[1].entries.remove(first_new);
        let (lost, .., reordered, _, holds) = judged(&(journals, deaths));
        assert_eq!((lost, reordered, holds), (1, 0, false));
    }

    #[test]
    fn order_holds_across_a_death() {
        let key = busy_key();
        let (mut journals, deaths) = taken_over(key[4], key[1]);
        // Two repeats of one key change places.
        journals[1].entries.swap(key[2] - key[1], key[3] - key[1]);
        let (_, _, _, unexplained, reordered, _, holds) = judged(&(journals, deaths));
        assert_eq!((unexplained, reordered, holds), (0, 1, false));
        // The next owner begins a key beyond what the victim had marked, and comes back to it.
        let (mut journals, deaths) = taken_over(key[3], key[3]);
        journals[1].entries.swap(0, key[4] - key[3]);
        assert_eq!(judged(&(journals, deaths)).4, 2);
    }

    #[test]
    fn a_victim_whose_journal_went_on_or_is_missing_is_noticed() {
        let (journals, mut deaths) = taken_over(1_000, 400);
        deaths[0].left[0].entries -= 1;
        assert_eq!(judged(&(journals.clone(), deaths.clone())).5, 1);
        deaths[0].left[0].entries += 1;
        deaths[0].left[0].assignment = 7;
        let (_, _, bound, unexplained, _, corrupt, holds) = judged(&(journals, deaths));
        assert_eq!((bound, unexplained, corrupt, holds), (0, 600, 1, false));
    }

    #[test]
    fn with_victims_the_table_counts_events_not_entries() {
        let (journals, deaths) = taken_over(1_000, 400);
        assert!(found_with(&journals, &deaths).matches_direct);
        assert!(!found_with(&journals, &[]).matches_direct);
    }
}
