//! A partition on its lane: everything that lives as long as one assignment.
//!
//! ```text
//! active -> draining (revoked: nothing is started, what runs ends or the deadline passes)
//!        -> leaving  (drained and told; its last commit is under way, then the handlers' hooks)
//! ```
//!
//! Beside that it may be *stopped* (an error: nothing is taken any more, loudly) or *paused* (events
//! failed, and there is no token to send them to the dead letters, or the answer is to pause).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use onrush_record::RecordError;
use onrush_runtime::{Clock, Instant};

use crate::age::Ages;
use crate::assignment::{Assignment, Holding, Origin};
use crate::commit::{CommitState, METADATA_FLOOR, Proposal};
use crate::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};
use crate::config::{Order, Sabotage};
use crate::departure::{Bucket, Gate, Leaving};
use crate::detail::Observer;
use crate::error::StopReason;
use crate::failure::{Failure, HandlerError};
use crate::incident::Incidents;
use crate::ledger::Ledger;
use crate::message::{Assign, ControlInput};
use crate::metadata::Note;
use crate::metrics::PartitionCells;
use crate::parked::{Line, Parked, Place, Trial};
use crate::retry_topic::{Due, Held, Rung};
use crate::slot::{Entry, Slots};
use crate::source::{Batch, Source};

/// Most events of which a commit is told that they wait: more than its metadata has room for.
const NOTES_MAX: usize = METADATA_LIMIT / 4;
/// The first open event of a partition is noted in the commit when it is open for so long.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Active,
    Draining(Instant),
    Leaving,
}

/// The batch that is being walked or scattered.
pub(crate) struct Cursor {
    pub(crate) batch: Arc<Batch>,
    /// Inline: where the next record starts.
    pub(crate) position: usize,
    /// For workers: all its records, and how many of them were taken.
    pub(crate) entries: Vec<Entry>,
    pub(crate) taken: usize,
}

pub(crate) struct Partition {
    pub(crate) holding: Arc<Holding>,
    pub(crate) origin: Origin,
    pub(crate) cells: Arc<PartitionCells>,
    pub(crate) state: State,
    pub(crate) stopped: Option<StopReason>,
    pub(crate) ledger: Ledger,
    /// Since when events are open.
    ages: Ages,
    pub(crate) commit: CommitState,
    /// What earlier owners knew of events that are open.
    pub(crate) inherited: Vec<Note>,
    pub(crate) source: Source,
    /// Tells the slices of the present reading from those of an earlier one.
    pub(crate) fetch_token: u64,
    /// A batch that was bad twice, and why, while what follows it is waited for.
    pub(crate) unread: Option<(Bytes, RecordError)>,
    /// Where a bad batch was fetched once more.
    pub(crate) refetched: Option<i64>,
    pub(crate) fetch_paused: bool,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) slots: Slots,
    /// Events that failed and are tried again, with what waits behind them.
    pub(crate) parked: Parked,
    /// Those that leave for another topic: of failed events, and of undecodable ones.
    gates: [Gate; 2],
    pub(crate) incidents: Incidents,
    /// The answer to an event that failed was to pause the partition.
    pub(crate) held: bool,
    order: Order,
    /// Where its topic stands in the ladder of retry topics.
    pub(crate) rung: Rung,
    /// In a retry topic, the event that is next.
    held_event: Option<Held>,
    /// Taken events that will not be run here any more.
    pub(crate) given_up: u64,
    /// Events at work that somebody dead-lettered by hand.
    pub(crate) by_hand: BTreeSet<i64>,
    /// Workers whose handlers do not know yet that the partition has gone.
    pub(crate) hooks: usize,
    /// When something is to be tried again.
    pub(crate) due: Option<Instant>,
    pub(crate) observer: Observer,
}

impl Partition {
    pub(crate) fn new(
        assign: Assign,
        origin: Origin,
        order: Order,
        slots: usize,
        rung: Rung,
    ) -> Self {
        let Assign { holding, committed, completed, notes, cells } = assign;
        let start = holding.assignment.start;
        let ledger = Ledger::resume(holding.token, start, &completed, METADATA_LIMIT);
        let commit = CommitState::new(committed, ledger.version(), notes.clone());
        cells.committed.store(committed.unwrap_or(-1), Ordering::Relaxed);
        cells.end.store(-1, Ordering::Relaxed);
        let fetch_token = holding.token;
        let partition = Self {
            holding,
            origin,
            cells,
            state: State::Active,
            stopped: None,
            ledger,
            ages: Ages::default(),
            commit,
            inherited: notes,
            source: Source::default(),
            fetch_token,
            unread: None,
            refetched: None,
            fetch_paused: false,
            cursor: None,
            slots: Slots::new(order, slots),
            parked: Parked::default(),
            gates: Default::default(),
            incidents: Incidents::default(),
            held: false,
            order,
            rung,
            held_event: None,
            given_up: 0,
            by_hand: BTreeSet::new(),
            hooks: 0,
            due: None,
            observer: Observer::default(),
        };
        partition.show();
        partition
    }

    /// Whether events may be taken.
    pub(crate) fn takes(&self) -> bool {
        self.starts() && self.parked.has_room()
    }

    /// Whether events may be started that did not fail before.
    pub(crate) fn starts(&self) -> bool {
        let blocked = self.order == Order::Partition && !self.parked.is_empty();
        self.takes_data() && !blocked && !self.is_paused()
    }

    /// In a retry topic, what is asked about every event before it is taken.
    pub(crate) fn due_times(&self, clock: &Clock, now: Instant) -> Option<Due> {
        let delay = self.rung.delay?;
        Some(Due { delay, now, wall_millis: clock.wall_millis(), held: self.held_event })
    }

    /// The next event is not due: nothing is taken before it is.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held_event = Some(held);
        self.due = self.due.into_iter().chain([held.until]).min();
    }

    /// Whether the next event is not due.
    pub(crate) fn is_held(&mut self, now: Instant) -> bool {
        let Some(held) = self.held_event.filter(|held| held.until > now) else { return false };
        self.hold(held);
        true
    }

    /// Whether nothing is started because of events that failed.
    pub(crate) fn is_paused(&self) -> bool {
        self.held || self.parked.starved() > 0 || self.gates.iter().any(|gate| !gate.is_empty())
    }

    /// Where events leave of this kind.
    pub(crate) fn gate(&mut self, bucket: Bucket) -> &mut Gate {
        &mut self.gates[bucket as usize]
    }

    /// Events are done.
    pub(crate) fn succeeded(&mut self, count: u64) {
        self.gates.iter_mut().for_each(|gate| gate.tokens.succeeded(count));
    }

    /// How an event was tried at earlier owners.
    pub(crate) fn trial(&self, offset: i64) -> Trial {
        self.inherited(offset).map_or_else(Trial::default, Trial::from)
    }

    /// The event of a line that is out has left it, and the next one of it is to be tried now.
    pub(crate) fn advance(&mut self, line: Line, now: Instant) {
        let (parked, inherited) = (&mut self.parked, &self.inherited);
        let known = |offset| {
            let at = inherited.binary_search_by_key(&offset, |note| note.offset);
            at.map_or_else(|_| Trial::default(), |at| Trial::from(&inherited[at]))
        };
        parked.advance(line, known, now);
    }

    /// An event of this batch failed.
    pub(crate) fn failure(&self, place: Place, slot: u32, error: HandlerError) -> Failure {
        let Place { batch, position, offset } = place;
        let (holding, origin) = (Arc::clone(&self.holding), self.origin);
        Failure { holding, origin, slot, batch, position, offset, error }
    }

    /// An event that failed is not run here any more.
    pub(crate) fn give_up(&mut self, offset: i64, trial: Trial) {
        self.given_up += 1;
        self.remember(trial.note(offset));
    }

    /// The next owner goes on counting.
    fn remember(&mut self, note: Note) {
        match self.inherited.binary_search_by_key(&note.offset, |note| note.offset) {
            Ok(at) => self.inherited[at] = note,
            Err(at) => self.inherited.insert(at, note),
        }
    }

    /// Whether what is fetched is of use.
    pub(crate) fn takes_data(&self) -> bool {
        self.state == State::Active && self.stopped.is_none()
    }

    /// Drops what was fetched and reads from the next offset on.
    pub(crate) fn read_anew(&mut self) -> ControlInput {
        self.source.clear();
        self.cursor = None;
        self.unread = None;
        self.fetch_paused = false;
        self.fetch_token += 1;
        ControlInput::Fetch(self.holding.partition.clone(), self.fetch_token, self.ledger.taken())
    }

    /// Whether it keeps more alive than its share, also when small slices are copied out.
    pub(crate) fn holds_more_than(&mut self, share: usize) -> bool {
        if self.source.held() > share {
            self.source.copy_out_small();
        }
        self.source.held() > share
    }

    /// Stops asking for more, or goes on.
    pub(crate) fn pause(&mut self, paused: bool) -> ControlInput {
        self.fetch_paused = paused;
        ControlInput::Pause(self.holding.partition.clone(), self.holding.token, paused)
    }

    /// Begins again at `offset`, since the log has changed: what was started or proposed before has
    /// no meaning any more.
    #[must_use = "the control driver has to drop earlier proposals"]
    pub(crate) fn restart(&mut self, offset: i64) -> ControlInput {
        self.holding.withdraw();
        let assignment = Assignment { start: offset, ..self.holding.assignment.clone() };
        let Holding { token, is_retry_topic, .. } = *self.holding;
        self.holding = Arc::new(Holding::new(assignment, token).in_retry_topic(is_retry_topic));
        self.origin.token += 1;
        self.ledger =
            Ledger::resume(self.origin.token, offset, &CompletedSet::empty(), METADATA_LIMIT);
        self.commit.restart();
        self.ages.clear();
        self.forget_unstarted();
        self.inherited.clear();
        self.held_event = None;
        self.slots.reset();
        self.by_hand.clear();
        self.held = false;
        self.given_up = 0;
        ControlInput::Restarted(self.holding.partition.clone(), self.ledger.token())
    }

    /// Drops what was fetched and not started.
    pub(crate) fn forget_unstarted(&mut self) {
        self.source.clear();
        self.cursor = None;
        let parked = self.parked.trials().into_iter();
        let parked: Vec<_> = parked.map(|(offset, trial)| trial.note(offset)).collect();
        parked.into_iter().for_each(|note| self.remember(note));
        self.given_up += self.slots.clear() + self.parked.clear();
        let waiting: Vec<_> = self.gates.iter_mut().flat_map(Gate::clear).collect();
        for departure in waiting {
            match departure.leaving {
                Leaving::Event(failed) => self.give_up(failed.place.offset, failed.trial),
                // A predecessor may have finished some of it.
                Leaving::Batch(unread) => {
                    let mut offsets = unread.run.first..=unread.run.last;
                    let open = offsets.by_ref().filter(|at| !self.ledger.has_outcome(*at));
                    self.given_up += open.count() as u64;
                }
            }
        }
        self.unread = None;
    }

    /// Drops an event that waits here, since it was dead-lettered by hand; whether it did.
    pub(crate) fn drop_waiting(&mut self, offset: i64) -> bool {
        self.parked.remove(offset)
            || self.slots.remove(offset)
            || self.gates.iter_mut().any(|gate| gate.remove(offset))
    }

    /// Drops what came back unstarted and was dead-lettered by hand meanwhile.
    pub(crate) fn drop_by_hand(&mut self) {
        let slots = &mut self.slots;
        self.by_hand.retain(|offset| !slots.remove(*offset));
    }

    /// How many events of `run` were dead-lettered by hand; that is over with their outcome.
    pub(crate) fn forget_by_hand(&mut self, run: OffsetRun) -> u64 {
        let before = self.by_hand.len();
        if before > 0 {
            self.by_hand.retain(|offset| *offset < run.first || *offset > run.last);
        }
        (before - self.by_hand.len()) as u64
    }

    /// Events that were started here and have no outcome.
    pub(crate) fn running(&self) -> u64 {
        self.ledger.unfinished().saturating_sub(self.given_up)
    }

    /// Events that count in the lane's bound: those that will have an outcome here.
    pub(crate) fn held_in_flight(&self) -> u64 {
        match self.state {
            State::Active | State::Draining(_) if self.stopped.is_none() => {
                self.ledger.unfinished()
            }
            _ => 0,
        }
    }

    /// Characters of metadata that admission counts on.
    pub(crate) fn admission_limit(&self) -> usize {
        match self.commit.limit() {
            // This broker takes no set, so its size does not bound anything.
            limit if limit < METADATA_FLOOR => METADATA_LIMIT,
            limit => limit,
        }
    }

    /// What earlier owners knew of an event: how often it was tried before it came here, and since
    /// when.
    pub(crate) fn inherited(&self, offset: i64) -> Option<&Note> {
        let at = self.inherited.binary_search_by_key(&offset, |note| note.offset).ok()?;
        self.inherited.get(at)
    }

    /// What the next owner, and who looks from outside, should know of events that are open: those
    /// that are being retried, and the first one if it is open for long. Lowest offset first.
    pub(crate) fn notes(&mut self, now: Instant) -> Vec<Note> {
        let ledger = &self.ledger;
        self.inherited.retain(|note| !ledger.has_outcome(note.offset));
        let noted = self.inherited.iter().map(|note| (note.offset, note.clone()));
        let mut notes: BTreeMap<_, _> = noted.collect();
        let parked = self.parked.trials().into_iter().take(NOTES_MAX);
        notes.extend(parked.map(|(offset, trial)| (offset, trial.note(offset))));
        let leaving = self.gates.iter().flat_map(Gate::trials);
        notes.extend(leaving.map(|(offset, trial)| (offset, trial.note(offset))));
        let base = self.ledger.base();
        if let Some(since) = self.ages.since(base)
            && now.duration_since(since.at) >= STUCK_AFTER
        {
            let unknown =
                || Note { offset: base, since_millis: since.wall_millis, ..Note::default() };
            notes.entry(base).or_insert_with(unknown);
        }
        notes.into_values().collect()
    }

    /// What is to be committed now.
    pub(crate) fn propose(&mut self, sabotage: Sabotage, now: Instant) -> Option<Proposal> {
        if matches!(self.stopped, Some(StopReason::Ledger(_))) {
            return None;
        }
        let notes = self.notes(now);
        self.commit.note(notes);
        let version = self.ledger.version();
        let (offset, metadata) = match sabotage {
            Sabotage::CommitEarly => (self.ledger.taken(), String::new()),
            _ if self.commit.is_clean(version) => return None,
            _ => {
                let snapshot = self.ledger.snapshot();
                (snapshot.offset, self.commit.propose(&snapshot)?)
            }
        };
        let version = self.commit.version(version);
        let (partition, token) = (self.holding.partition.clone(), self.ledger.token());
        Some(Proposal { partition, token, offset, metadata, version })
    }

    /// Notes when events were taken.
    #[inline]
    pub(crate) fn mark(&mut self, now: Instant, clock: &Clock) {
        let (base, taken) = (self.ledger.base(), self.ledger.taken());
        self.ages.mark(base, taken, now, || clock.wall_millis());
    }

    /// Shows what is not shown every turn. Called once per commit interval.
    pub(crate) fn show_detail(&mut self, proposal: Option<&Proposal>, now: Instant) {
        if let Some(proposal) = proposal {
            self.observer.proposed(proposal.metadata.len(), self.commit.limit());
        }
        let detail = self.observer.look(self.slots.longest(), now);
        *self.cells.detail.lock().unwrap_or_else(PoisonError::into_inner) = detail;
    }

    /// Shows how it stands.
    pub(crate) fn show(&self) {
        let cells = &self.cells;
        let in_flight = self.ledger.unfinished();
        let oldest = self.ages.since(self.ledger.base());
        cells.oldest_since.store(oldest.map_or(-1, |since| since.wall_millis), Ordering::Relaxed);
        cells.first_open.store(self.ledger.base(), Ordering::Relaxed);
        cells.position.store(self.ledger.taken(), Ordering::Relaxed);
        cells.in_flight.store(in_flight, Ordering::Relaxed);
        cells.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
        cells.busy_slots.store(self.slots.busy(), Ordering::Relaxed);
        cells.queued_bytes.store(self.source.bytes() as u64, Ordering::Relaxed);
        cells.stopped.store(u64::from(self.stopped.is_some()), Ordering::Relaxed);
        cells.paused.store(u64::from(self.is_paused()), Ordering::Relaxed);
        cells.parked_keys.store(self.parked.lines(), Ordering::Relaxed);
        cells.parked_bytes.store(self.parked.bytes() as u64, Ordering::Relaxed);
    }
}
