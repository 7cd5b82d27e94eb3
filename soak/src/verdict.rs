//! What must hold after a soak, from the journals of all members and the dead letters.
//!
//! A *stay* is one member's time with one partition. Within a stay, events of a key run one after the other, in order, and
//! one that failed is tried again before the next (unless it is in the dead letters). Over all stays, every event is done or
//! in the dead letters, and those that can never succeed are there. An event may be done a second time only where the first
//! one could not be committed: it was done shortly before its member was killed or its broker was down, or after the
//! partition had been let go.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use onrush_runtime::random::FixedState;
use serde::Serialize;

use crate::Failure;
use crate::crew::{End, Former};
use crate::fate::{Event, Fate, Fates};
use crate::journal::{self, Entry, Kind};

/// A commit that was due this long before an end was made: the interval of a second, and what a busy machine adds.
const COMMITTED_WITHIN: u64 = 5_000_000;
/// Around an outage of the broker, commits fail and members join anew.
const OUTAGE_MARGIN: u64 = 10_000_000;
/// Violations that are told.
const TOLD: usize = 10;

/// When the broker was down, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) events: u64,
    pub(crate) former: Vec<Former>,
    pub(crate) outages: Vec<Outage>,
    /// Numbers of the events in the dead letters.
    pub(crate) dead: Vec<u64>,
}

/// See the module.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) events: u64,
    /// Members killed while they held partitions and had events at work.
    pub(crate) kills: u64,
    pub(crate) restarts: u64,
    pub(crate) rebalances: u64,
    pub(crate) slow: u64,
    pub(crate) retried: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) lost: u64,
    /// Events of a key that ran out of order, or at once.
    pub(crate) reordered: u64,
    /// Events that were in the dead letters and had no reason to be.
    pub(crate) misled: u64,
    pub(crate) repeated: u64,
    /// Of those, the ones that must not be.
    pub(crate) unexplained: u64,
    /// Events that still ran at their old owner when the new one began them.
    pub(crate) overlaps: u64,
    #[serde(skip)]
    pub(crate) problems: Vec<String>,
}

/// A completion of an event.
#[derive(Debug, Clone, Copy)]
struct Done {
    started: u64,
    micros: u64,
    stay: usize,
}

/// One member's time with one partition.
#[derive(Debug, Clone, Copy)]
struct Stay {
    /// When it was let go or its member was killed; the end of the run if neither.
    end: u64,
    killed: bool,
}

impl Verdict {
    pub(crate) fn of(run: &Run) -> Result<Self, Failure> {
        let members: Result<Vec<_>, _> = run
            .former
            .iter()
            .map(|former| journal::read(&former.journal).map(|entries| (former.end, entries)))
            .collect();
        Ok(Self::judge(run, &members?))
    }

    fn judge(run: &Run, members: &[(End, Vec<Entry>)]) -> Self {
        let dead: BTreeSet<u64> = run.dead.iter().copied().collect();
        let mut judge = Judge {
            fates: Fates::new(run.seed),
            dead: &dead,
            verdict: Self {
                seed: run.seed,
                events: run.events,
                restarts: run.outages.len() as u64,
                dead_lettered: dead.len() as u64,
                ..Self::default()
            },
            stays: Vec::new(),
            done: HashMap::default(),
            epochs: BTreeSet::new(),
            keys: HashMap::default(),
        };
        members.iter().for_each(|(end, entries)| judge.member(*end, entries));
        judge.over_all(run);
        judge.verdict
    }

    pub(crate) fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// A run that had less of it proves nothing.
    pub(crate) fn require(&mut self, what: &str, had: u64, least: u64) {
        if had < least {
            self.problems.push(format!("{had} {what}, but {least} were announced"));
        }
    }

    fn tell(&mut self, problem: String) {
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }
}

struct Judge<'a> {
    fates: Fates,
    dead: &'a BTreeSet<u64>,
    verdict: Verdict,
    stays: Vec<Stay>,
    done: HashMap<u64, Vec<Done>, FixedState>,
    epochs: BTreeSet<i32>,
    /// Of every event that was seen.
    keys: HashMap<u64, u32, FixedState>,
}

/// A partition at a member, while its journal is read.
#[derive(Default)]
struct Open {
    stay: usize,
    let_go: bool,
    /// By key: the event called last, and how it stands.
    last: HashMap<u32, (i64, u64, Standing), FixedState>,
    running: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Running { since: u64 },
    Done,
    Failed,
}

impl Judge<'_> {
    fn member(&mut self, end: End, entries: &[Entry]) {
        let mut open: BTreeMap<i32, Open> = BTreeMap::new();
        let killed_at = match end {
            End::Killed { micros } => Some(micros),
            End::Left => None,
        };
        let last = entries.last().map_or(0, |entry| entry.micros);
        for entry in entries {
            match entry.kind {
                Kind::Assigned => {
                    self.epochs.insert(entry.epoch);
                    let begins = open.get(&entry.partition).is_none_or(|open| open.let_go);
                    if begins {
                        self.stays.push(Stay {
                            end: killed_at.unwrap_or(last),
                            killed: killed_at.is_some(),
                        });
                        let stay = self.stays.len() - 1;
                        open.insert(entry.partition, Open { stay, ..Open::default() });
                    }
                }
                Kind::Revoked => {
                    if let Some(open) = open.get_mut(&entry.partition).filter(|open| !open.let_go) {
                        open.let_go = true;
                        self.stays[open.stay] = Stay { end: entry.micros, killed: false };
                    }
                }
                Kind::Started | Kind::Done | Kind::Failed => match open.get_mut(&entry.partition) {
                    Some(open) => self.call(open, entry),
                    None => {
                        self.verdict.tell(format!("{entry:?}: nobody was told of its partition"))
                    }
                },
            }
        }
        let working = open.values().any(|open| !open.let_go && open.running > 0);
        self.verdict.kills += u64::from(killed_at.is_some() && working);
    }

    fn call(&mut self, open: &mut Open, entry: &Entry) {
        self.keys.insert(entry.number, entry.key);
        let last = open.last.get(&entry.key).copied();
        match entry.kind {
            Kind::Started => {
                if let Some((offset, number, standing)) = last {
                    let is_retry = offset == entry.offset && standing == Standing::Failed;
                    let may_follow = offset < entry.offset
                        && (standing == Standing::Done
                            || (standing == Standing::Failed && self.dead.contains(&number)));
                    if is_retry {
                        self.verdict.retried += 1;
                    } else if !may_follow {
                        self.verdict.reordered += 1;
                        self.verdict.tell(format!(
                            "key {}: event {} (offset {}) began after event {number} (offset {offset}), which was {standing:?}",
                            entry.key, entry.number, entry.offset
                        ));
                    }
                }
                open.running += 1;
                let standing = Standing::Running { since: entry.micros };
                open.last.insert(entry.key, (entry.offset, entry.number, standing));
            }
            _ => {
                open.running = open.running.saturating_sub(1);
                let since = match last {
                    Some((_, number, Standing::Running { since })) if number == entry.number => {
                        since
                    }
                    _ => entry.micros,
                };
                let standing =
                    if entry.kind == Kind::Done { Standing::Done } else { Standing::Failed };
                open.last.insert(entry.key, (entry.offset, entry.number, standing));
                if standing == Standing::Done {
                    let done = Done { started: since, micros: entry.micros, stay: open.stay };
                    self.done.entry(entry.number).or_default().push(done);
                }
            }
        }
    }

    /// What holds over all stays.
    fn over_all(&mut self, run: &Run) {
        self.verdict.rebalances = (self.epochs.len() as u64).saturating_sub(1);
        for number in 0..run.events {
            let key = self.keys.get(&number).copied();
            let fate = key.map(|key| self.fates.of(Event { number, key }));
            let is_dead = self.dead.contains(&number);
            let is_done = self.done.contains_key(&number);
            if !is_done && !is_dead {
                self.verdict.lost += 1;
                self.verdict.tell(format!("event {number} was lost"));
            }
            if is_dead && fate != Some(Fate::Poison) {
                self.verdict.misled += 1;
                self.verdict
                    .tell(format!("event {number} is in the dead letters, but it can be done"));
            }
            self.verdict.slow += u64::from(fate == Some(Fate::Slow));
        }
        let mut done = std::mem::take(&mut self.done);
        for (number, times) in &mut done {
            times.sort_by_key(|done| done.micros);
            for (earlier, later) in times.iter().zip(&times[1..]) {
                self.verdict.repeated += 1;
                self.verdict.overlaps += u64::from(later.started < earlier.micros);
                if !self.is_explained(earlier, later, &run.outages) {
                    self.verdict.unexplained += 1;
                    let stay = self.stays[earlier.stay];
                    self.verdict.tell(format!(
                        "event {number} was done again {} ms later; its first owner went {} ms after it was done ({})",
                        (later.micros - earlier.micros) / 1_000,
                        stay.end.saturating_sub(earlier.micros) / 1_000,
                        if stay.killed { "killed" } else { "in order" },
                    ));
                }
            }
        }
    }

    /// Whether the earlier completion could not be committed.
    fn is_explained(&self, earlier: &Done, later: &Done, outages: &[Outage]) -> bool {
        if earlier.stay == later.stay {
            return false;
        }
        let stay = self.stays[earlier.stay];
        // After it was let go nothing of it counts any more.
        let too_late = earlier.micros >= stay.end;
        let just_before_a_kill =
            stay.killed && stay.end - earlier.micros.min(stay.end) < COMMITTED_WITHIN;
        let in_an_outage = outages.iter().any(|outage| {
            earlier.micros < outage.to + OUTAGE_MARGIN
                && outage.from < stay.end + OUTAGE_MARGIN
                && earlier.micros + COMMITTED_WITHIN > outage.from
        });
        too_late || just_before_a_kill || in_an_outage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn entry(kind: Kind, number: u64, seconds: u64) -> Entry {
        Entry {
            kind,
            partition: 0,
            offset: number as i64,
            number,
            key: 1,
            epoch: 1,
            micros: seconds * SECOND,
        }
    }

    fn run(events: u64, dead: Vec<u64>) -> Run {
        Run { seed: 1, events, former: Vec::new(), outages: Vec::new(), dead }
    }

    fn judged(events: u64, members: &[(End, Vec<Entry>)]) -> Verdict {
        Verdict::judge(&run(events, Vec::new()), members)
    }

    fn well() -> Vec<Entry> {
        let mut entries = vec![entry(Kind::Assigned, 0, 0)];
        for number in 0..3 {
            entries.push(entry(Kind::Started, number, 1 + number));
            entries.push(entry(Kind::Done, number, 1 + number));
        }
        entries.push(entry(Kind::Revoked, 0, 20));
        entries
    }

    #[test]
    fn a_good_run_is_good() {
        let verdict = judged(3, &[(End::Left, well())]);
        assert!(verdict.is_good(), "{:?}", verdict.problems);
        assert_eq!((verdict.repeated, verdict.kills), (0, 0));
    }

    #[test]
    fn an_event_without_an_outcome_is_lost() {
        assert_eq!(judged(4, &[(End::Left, well())]).lost, 1);
        let with_letter = Verdict::judge(&run(4, vec![3]), &[(End::Left, well())]);
        assert_eq!((with_letter.lost, with_letter.misled), (0, 1), "nobody knows its fate");
    }

    #[test]
    fn order_within_a_stay() {
        let mut swapped = well();
        swapped.swap(1, 3);
        swapped.swap(2, 4);
        assert!(judged(3, &[(End::Left, swapped)]).reordered > 0);
        let mut at_once = well();
        at_once.swap(2, 3);
        assert!(judged(3, &[(End::Left, at_once)]).reordered > 0);
        let mut retried = well();
        retried.splice(2..2, [entry(Kind::Failed, 0, 1), entry(Kind::Started, 0, 1)]);
        let verdict = judged(3, &[(End::Left, retried)]);
        assert_eq!((verdict.reordered, verdict.retried), (0, 1));
        let mut passed_over = well();
        passed_over[2].kind = Kind::Failed;
        assert_eq!(judged(3, &[(End::Left, passed_over)]).reordered, 1);
    }

    #[test]
    fn repeats_need_a_reason() {
        let again = |second: u64| {
            let mut entries = vec![entry(Kind::Assigned, 0, second)];
            entries.push(entry(Kind::Started, 2, second));
            entries.push(entry(Kind::Done, 2, second));
            entries
        };
        let of = |end, first: Vec<Entry>| judged(3, &[(end, first), (End::Left, again(30))]);
        let in_order = of(End::Left, well());
        assert_eq!((in_order.repeated, in_order.unexplained), (1, 1));
        let mut held = well();
        held.pop();
        let killed = |second| of(End::Killed { micros: second * SECOND }, held.clone()).unexplained;
        assert_eq!((killed(4), killed(25)), (0, 1));
        let outages = vec![Outage { from: 4 * SECOND, to: 5 * SECOND }];
        let members = [(End::Left, well()), (End::Left, again(30))];
        let verdict = Verdict::judge(&Run { outages, ..run(3, Vec::new()) }, &members);
        assert_eq!((verdict.repeated, verdict.unexplained), (1, 0));
        let mut twice = well();
        twice.insert(3, entry(Kind::Done, 0, 2));
        assert_eq!(judged(3, &[(End::Left, twice)]).unexplained, 1);
    }

    #[test]
    fn a_kill_counts_when_something_was_at_work() {
        let killed = End::Killed { micros: 3 * SECOND };
        let working = vec![entry(Kind::Assigned, 0, 0), entry(Kind::Started, 0, 1)];
        assert_eq!(judged(1, &[(killed, working)]).kills, 1);
        assert_eq!(judged(1, &[(killed, vec![entry(Kind::Assigned, 0, 0)])]).kills, 0);
    }

    #[test]
    fn fewer_faults_than_announced_are_a_problem() {
        let mut verdict = Verdict::default();
        verdict.require("kills", 19, 20);
        assert!(!verdict.is_good());
    }
}
