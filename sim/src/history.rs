//! The history of a run, and the checker that judges it.
//!
//! What must hold (the words are those of Jepsen's Kafka workload where it has one):
//! - *lost*: every event of the final log that was acknowledged has a finished call at its offset or in a retry topic, or is
//!   a dead letter (unless the broker lost that, as far as it may). Every acknowledged event is in the final log, as far as the
//!   broker's policy of syncing promises it ([`Promise`]);
//! - *committed early*: no committed offset was ever seen above an offset without a finished call (judged from the last
//!   loss of log bytes on: before it, other records stood at the same offsets);
//! - *committed beyond the log*: no committed offset was ever seen above the end of the log;
//! - *reordered*: within one assignment the calls of a key rise in offset, and one that failed is followed by its next try,
//!   unless that was its last one. In retry topics there is no order;
//! - *overlap*: within one assignment no two calls of a key run at once;
//! - *stuck*: after the faults end, everything is committed in bounded time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_runtime::{Instant, Trace};

/// One start of a member; numbered over the run.
pub(crate) type Life = u32;

/// What a producer put into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) id: u64,
    pub(crate) key: Option<u64>,
}

impl Payload {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..].copy_from_slice(&self.key.map_or(u64::MAX, |key| key).to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let (id, key) = bytes.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let key = number(key);
        Some(Self { id: number(id), key: (key != u64::MAX).then_some(key) })
    }
}

/// A call of the handler: called at `at`, its outcome released at `until` if the member lived so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) life: Life,
    /// It was in a retry topic; partition and offset are those where it came from.
    pub(crate) moved: bool,
    pub(crate) partition: i32,
    pub(crate) epoch: i32,
    /// How often the handler was told of the partition: a cut log is read again from further down, as an assignment anew.
    pub(crate) session: u32,
    pub(crate) offset: i64,
    pub(crate) payload: Payload,
    pub(crate) at: Instant,
    pub(crate) until: Instant,
    /// It is to be tried again before any later event of its key.
    pub(crate) failed: bool,
    /// It failed for the last time: it may leave for a retry topic or the dead letters.
    pub(crate) leaves: bool,
}

/// Committed offset and log end of a partition, read in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) partition: i32,
    pub(crate) committed: i64,
    pub(crate) log_end: i64,
}

/// A record of the final log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) payload: Payload,
}

impl Logged {
    fn place(&self) -> (i32, i64, u64) {
        (self.partition, self.offset, self.payload.id)
    }
}

/// What the broker promises of an event that it acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// It survives.
    Everything,
    /// It survives a crash that comes this much later.
    OlderThan(Duration),
    /// It may be gone after any crash.
    Nothing,
}

/// The log lost bytes: the broker crashed, and came back.
#[derive(Clone, Copy, Debug)]
struct Cut {
    crashed: Instant,
    /// Until then answers of the earlier life may have been taken in.
    back: Option<Instant>,
}

impl Cut {
    /// Whether it may have taken what was acknowledged at that time.
    fn may_take(&self, acknowledged: Instant, promise: Promise) -> bool {
        let before = self.back.is_none_or(|back| acknowledged <= back);
        before
            && match promise {
                Promise::Everything => false,
                Promise::OlderThan(age) => acknowledged + age > self.crashed,
                Promise::Nothing => true,
            }
    }
}

/// What happened; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    events: Arc<Mutex<Events>>,
    trace: Trace,
}

#[derive(Debug, Default)]
struct Events {
    sent: BTreeMap<u64, Instant>,
    /// When.
    acknowledged: BTreeMap<u64, Instant>,
    calls: Vec<Call>,
    deaths: BTreeMap<Life, Instant>,
    samples: Vec<Sample>,
    assignments: BTreeSet<(Life, i32, i32)>,
    cuts: Vec<Cut>,
}

impl History {
    /// A history whose events are lines of `trace`, too.
    pub(crate) fn traced(trace: Trace) -> Self {
        Self { trace, ..Self::default() }
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event is handed to the producer (perhaps again).
    pub(crate) fn sent(&self, id: u64, at: Instant) {
        self.events().sent.insert(id, at);
    }

    pub(crate) fn acknowledged(&self, id: u64, at: Instant) {
        self.trace.line(|| format!("acknowledged {id}"));
        self.events().acknowledged.insert(id, at);
    }

    pub(crate) fn called(&self, call: Call) {
        let Call { life, partition, epoch, offset, payload, .. } = call;
        let took = call.until.saturating_duration_since(call.at).as_millis();
        let failed = if call.failed { " failed" } else { "" };
        self.trace.line(|| {
            format!("call {life} {partition}@{epoch} {offset} {payload:?} {took} ms{failed}")
        });
        self.events().calls.push(call);
    }

    pub(crate) fn assigned(&self, life: Life, partition: i32, epoch: i32) {
        self.trace.line(|| format!("assigned {life} {partition}@{epoch}"));
        self.events().assignments.insert((life, partition, epoch));
    }

    /// The log lost bytes in a crash.
    pub(crate) fn log_was_cut(&self, crashed: Instant) {
        self.events().cuts.push(Cut { crashed, back: None });
    }

    /// The broker is back after a crash that took bytes.
    pub(crate) fn cut_log_is_back(&self, at: Instant) {
        if let Some(cut) = self.events().cuts.last_mut() {
            cut.back = Some(at);
        }
    }

    /// What was committed before that may stand above records that came later.
    pub(crate) fn last_cut(&self) -> Option<Instant> {
        self.events().last_cut()
    }

    pub(crate) fn died(&self, life: Life, at: Instant) {
        self.events().deaths.insert(life, at);
    }

    pub(crate) fn sampled(&self, sample: Sample) {
        let Sample { partition, committed, log_end, .. } = sample;
        self.trace.line(|| format!("sample {partition} {committed} of {log_end}"));
        self.events().samples.push(sample);
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        self.events().acknowledged.len()
    }

    /// Assignments of a partition to a member beyond the first one of each partition.
    pub(crate) fn hand_overs(&self, partitions: i32) -> u64 {
        let assignments = self.events().assignments.len() as u64;
        assignments.saturating_sub(u64::from(partitions.unsigned_abs()))
    }

    /// Judges the run by the final log, and by the dead letters (at the place where they came from).
    pub(crate) fn check(
        &self,
        log: &[Logged],
        letters: &[Logged],
        promise: Promise,
    ) -> Vec<Violation> {
        let events = self.events();
        let mut violations = Vec::new();
        let finished = events.finished();
        events.check_lost(log, letters, promise, &finished, &mut violations);
        events.check_commits(log, &finished, &mut violations);
        events.check_order(&mut violations);
        violations
    }
}

/// When the first call of an event at its place in the log finished.
type Finished = BTreeMap<(i32, i64, u64), Instant>;

impl Events {
    fn last_cut(&self) -> Option<Instant> {
        self.cuts.last().map(|cut| cut.back.unwrap_or(cut.crashed))
    }

    fn finished(&self) -> Finished {
        let mut finished = Finished::new();
        for call in self.calls.iter().filter(|call| !call.failed) {
            let died = self.deaths.get(&call.life);
            if died.is_none_or(|died| call.until <= *died) {
                let first = finished
                    .entry((call.partition, call.offset, call.payload.id))
                    .or_insert(call.until);
                *first = call.until.min(*first);
            }
        }
        finished
    }

    /// When an event that leaves was tried for the last time, first.
    fn left(&self) -> Finished {
        let mut left = Finished::new();
        for call in self.calls.iter().filter(|call| call.leaves) {
            left.entry((call.partition, call.offset, call.payload.id)).or_insert(call.at);
        }
        left
    }

    /// Whether bytes were lost after this that the broker may lose.
    fn may_be_cut_after(&self, at: Instant, promise: Promise) -> bool {
        let after = |cut: &Cut| cut.back.is_none_or(|back| at <= back);
        !matches!(promise, Promise::Everything) && self.cuts.iter().any(after)
    }

    fn check_lost(
        &self,
        log: &[Logged],
        letters: &[Logged],
        promise: Promise,
        finished: &Finished,
        violations: &mut Vec<Violation>,
    ) {
        let mut logged = BTreeSet::new();
        let dead: BTreeSet<_> = letters.iter().map(Logged::place).collect();
        let left = self.left();
        let is_cut = |place: &(i32, i64, u64)| {
            left.get(place).is_some_and(|at| self.may_be_cut_after(*at, promise))
        };
        for record in log {
            logged.insert(record.payload.id);
            let place = record.place();
            let has_outcome =
                finished.contains_key(&place) || dead.contains(&place) || is_cut(&place);
            if self.acknowledged.contains_key(&record.payload.id) && !has_outcome {
                violations.push(Violation::Lost {
                    partition: place.0,
                    offset: place.1,
                    id: place.2,
                });
            }
        }
        let kept = |at: &Instant| !self.cuts.iter().any(|cut| cut.may_take(*at, promise));
        let must_be_there = self.acknowledged.iter().filter(|(_, at)| kept(at));
        let vanished = must_be_there.filter(|(id, _)| !logged.contains(*id));
        violations.extend(vanished.map(|(&id, _)| Violation::Vanished { id }));
    }

    fn check_commits(&self, log: &[Logged], finished: &Finished, violations: &mut Vec<Violation>) {
        let left = self.left();
        for sample in &self.samples {
            if sample.committed > sample.log_end {
                violations.push(Violation::CommittedBeyondLog(*sample));
            }
            if self.last_cut().is_some_and(|cut| sample.at <= cut) {
                continue;
            }
            let below = log
                .iter()
                .filter(|r| r.partition == sample.partition && r.offset < sample.committed);
            for record in below {
                // Sent (again) after the sample: it may stand where a lost record stood.
                if self.sent.get(&record.payload.id).is_none_or(|sent| *sent >= sample.at) {
                    continue;
                }
                let place = record.place();
                let has_outcome =
                    |known: &Finished| known.get(&place).is_some_and(|at| *at <= sample.at);
                if !has_outcome(finished) && !has_outcome(&left) {
                    violations
                        .push(Violation::CommittedEarly { sample: *sample, offset: record.offset });
                    break;
                }
            }
        }
    }

    fn check_order(&self, violations: &mut Vec<Violation>) {
        let mut last = BTreeMap::<(Life, i32, i32, u32, u64), Call>::new();
        for call in self.calls.iter().filter(|call| !call.moved) {
            let Some(key) = call.payload.key else { continue };
            let Some(before) =
                last.insert((call.life, call.partition, call.epoch, call.session, key), *call)
            else {
                continue;
            };
            // After a call that failed comes the same event, else a later one.
            let in_order = match before.failed {
                true if before.leaves => call.offset >= before.offset,
                true => call.offset == before.offset,
                false => call.offset > before.offset,
            };
            if !in_order {
                violations.push(Violation::Reordered { before, call: *call });
            } else if call.at < before.until {
                violations.push(Violation::Overlap { before, call: *call });
            }
        }
    }
}

/// Something that must not happen.
#[derive(Clone, Debug)]
pub(crate) enum Violation {
    Lost { partition: i32, offset: i64, id: u64 },
    Vanished { id: u64 },
    CommittedEarly { sample: Sample, offset: i64 },
    CommittedBeyondLog(Sample),
    Reordered { before: Call, call: Call },
    Overlap { before: Call, call: Call },
    Stuck { what: String },
    MemberFailed { member: usize, error: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { partition, offset, id } => {
                write!(
                    f,
                    "lost: event {id} at {partition}/{offset} was acknowledged and never finished"
                )
            }
            Self::Vanished { id } => {
                write!(f, "lost: event {id} was acknowledged and is not in the log")
            }
            Self::CommittedEarly { sample, offset } => write!(
                f,
                "committed early: {} was committed in partition {} before offset {offset} was finished",
                sample.committed, sample.partition
            ),
            Self::CommittedBeyondLog(sample) => write!(
                f,
                "committed beyond the log: {} of {} in partition {}",
                sample.committed, sample.log_end, sample.partition
            ),
            Self::Reordered { before, call } => write!(
                f,
                "reordered: key {:?} of partition {} at {} after {}, member life {} epoch {}",
                call.payload.key, call.partition, call.offset, before.offset, call.life, call.epoch
            ),
            Self::Overlap { before, call } => write!(
                f,
                "overlap: key {:?} of partition {} ran at {} while {} ran, member life {}",
                call.payload.key, call.partition, call.offset, before.offset, call.life
            ),
            Self::Stuck { what } => write!(f, "stuck: {what}"),
            Self::MemberFailed { member, error } => write!(f, "member {member} failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYED: Payload = Payload { id: 7, key: Some(1) };

    fn call(offset: i64, at: Instant, millis: u64) -> Call {
        let until = at + Duration::from_millis(millis);
        Call {
            life: 0,
            moved: false,
            partition: 0,
            epoch: 1,
            session: 0,
            offset,
            payload: KEYED,
            at,
            until,
            failed: false,
            leaves: false,
        }
    }

    fn logged(offset: i64) -> Logged {
        Logged { partition: 0, offset, payload: KEYED }
    }

    fn history(start: Instant) -> History {
        let history = History::default();
        history.sent(KEYED.id, start);
        history.acknowledged(KEYED.id, start);
        history
    }

    #[test]
    fn a_call_that_outlives_its_member_is_not_finished() {
        let start = Instant::now();
        let history = history(start);
        history.called(call(0, start, 10));
        assert!(history.check(&[logged(0)], &[], Promise::Everything).is_empty());
        history.died(0, start + Duration::from_millis(5));
        assert!(matches!(
            history.check(&[logged(0)], &[], Promise::Everything)[..],
            [Violation::Lost { .. }]
        ));
    }

    #[test]
    fn an_acknowledged_event_that_is_not_in_a_synced_log_is_lost() {
        let start = Instant::now();
        let history = history(start);
        assert!(matches!(
            history.check(&[], &[], Promise::Everything)[..],
            [Violation::Vanished { id: 7 }]
        ));
        assert!(matches!(
            history.check(&[], &[], Promise::Nothing)[..],
            [Violation::Vanished { id: 7 }]
        ));
        history.log_was_cut(start + Duration::from_millis(1));
        history.cut_log_is_back(start + Duration::from_millis(2));
        assert!(
            history.check(&[], &[], Promise::Nothing).is_empty(),
            "it was acknowledged before the cut"
        );
        assert!(matches!(
            history.check(&[], &[], Promise::Everything)[..],
            [Violation::Vanished { id: 7 }]
        ));
    }

    #[test]
    fn only_what_is_older_than_the_interval_survives_for_sure() {
        let start = Instant::now();
        let (history, age) = (history(start), Duration::from_millis(100));
        history.log_was_cut(start + age - Duration::from_millis(1));
        history.cut_log_is_back(start + Duration::from_secs(1));
        assert!(history.check(&[], &[], Promise::OlderThan(age)).is_empty());
        let sooner = Promise::OlderThan(age - Duration::from_millis(1));
        assert!(matches!(history.check(&[], &[], sooner)[..], [Violation::Vanished { id: 7 }]));
    }

    #[test]
    fn a_commit_before_the_outcome_is_early() {
        let start = Instant::now();
        let history = history(start);
        history.called(call(0, start, 10));
        let at = start + Duration::from_millis(5);
        history.sampled(Sample { at, partition: 0, committed: 1, log_end: 1 });
        assert!(matches!(
            history.check(&[logged(0)], &[], Promise::Everything)[..],
            [Violation::CommittedEarly { .. }]
        ));
    }

    #[test]
    fn a_commit_above_the_log_end_is_noticed() {
        let history = History::default();
        history.sampled(Sample { at: Instant::now(), partition: 0, committed: 2, log_end: 1 });
        assert!(matches!(
            history.check(&[], &[], Promise::Everything)[..],
            [Violation::CommittedBeyondLog(_)]
        ));
    }

    #[test]
    fn a_call_that_failed_is_not_finished_and_not_overtaken() {
        let start = Instant::now();
        let history = history(start);
        history.called(Call { failed: true, ..call(0, start, 0) });
        let check = || history.check(&[logged(0)], &[], Promise::Everything);
        assert!(matches!(check()[..], [Violation::Lost { .. }]));
        history.called(call(0, start, 0));
        assert!(check().is_empty());
        history.called(Call { failed: true, ..call(1, start, 0) });
        history.called(call(2, start, 0));
        assert!(matches!(check()[..], [Violation::Reordered { .. }]));
    }

    #[test]
    fn falling_and_overlapping_calls_of_a_key_are_noticed() {
        let start = Instant::now();
        let fell = History::default();
        fell.called(call(1, start, 0));
        fell.called(call(0, start, 0));
        assert!(matches!(
            fell.check(&[], &[], Promise::Nothing)[..],
            [Violation::Reordered { .. }]
        ));
        let overlapped = History::default();
        overlapped.called(call(0, start, 10));
        overlapped.called(call(1, start + Duration::from_millis(9), 0));
        assert!(matches!(
            overlapped.check(&[], &[], Promise::Nothing)[..],
            [Violation::Overlap { .. }]
        ));
    }

    #[test]
    fn an_event_that_left_has_its_outcome_in_the_dead_letters_or_a_retry_topic() {
        let start = Instant::now();
        let history = history(start);
        history.called(Call { failed: true, leaves: true, ..call(0, start, 0) });
        history.called(call(1, start, 0));
        let check = |letters: &[Logged]| history.check(&[logged(0)], letters, Promise::Everything);
        assert!(matches!(check(&[])[..], [Violation::Lost { .. }]));
        assert!(check(&[logged(0)]).is_empty());
        history.called(Call { moved: true, ..call(0, start, 0) });
        assert!(check(&[]).is_empty());
    }

    #[test]
    fn a_dead_letter_is_lost_with_the_log_only_as_far_as_the_broker_may_lose_it() {
        let start = Instant::now();
        let history = history(start);
        history.called(Call { failed: true, leaves: true, ..call(0, start, 0) });
        history.log_was_cut(start + Duration::from_millis(1));
        history.cut_log_is_back(start + Duration::from_millis(2));
        let check = |promise| history.check(&[logged(0)], &[], promise);
        assert!(check(Promise::Nothing).is_empty());
        assert!(matches!(check(Promise::Everything)[..], [Violation::Lost { .. }]));
    }
}
