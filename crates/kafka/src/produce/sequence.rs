//! Which batch is sent when, under which sequence, and what an answer means: the idempotent
//! producer without I/O.
//!
//! Per partition there is a *track*: batches that wait (in order) and batches in flight (in order,
//! oldest first). A batch gets the partition's next sequence when it is first sent, and keeps it
//! however often it is repeated, so that the broker can drop what it has already. The rules:
//!
//! 1. Up to five batches of a partition are in flight, all with one broker. A request carries at
//!    most one of each partition. The broker knows the last five again, so no batch is sent while
//!    one five before it has no good answer: a refusal of one that was in the log already would
//!    otherwise let those behind it push it out of the broker's memory. The first batch of an epoch
//!    is in flight alone: a broker that has never heard of a producer takes whatever sequence comes
//!    first, so a second batch could be written in the place of a first one that failed.
//! 2. When one fails in a way that a repetition cures, it goes back to its place, and the track is
//!    *held*: nothing is sent until everything in flight has its answer. Those behind it fail too
//!    (their sequence has a gap before it) and go back to their places. Then all are sent again in
//!    order, with the same sequences.
//! 3. When one fails for good, its sequence is missing at the broker and nothing behind it could be
//!    written. The track is held, its epoch is raised (the state of a producer is per partition at
//!    the broker, so others need not know), and what waits is numbered anew from 0. But a batch
//!    whose fate is not known cannot be numbered anew: under another epoch the broker would not see
//!    that it has it. It is reported as *may have been written*.
//! 4. A gap or an unknown producer reported for the oldest batch means that the broker lost what we
//!    know it had. If no attempt of the batch was left without an answer, it is not in the log, and
//!    rule 3 sends it again.
//! 5. A batch that waits longer than the delivery time-out is given up, in flight never.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::{Instant, Random};
use onrush_wire::{ErrorCode, Uuid};

use super::batch::Batch;
use super::{MAX_REQUEST_BYTES, ProduceError, ProducerConfig};
use crate::backoff::Backoff;
use crate::cluster::Leader;
use crate::error::{ClientError, Remedy, remedy_of};
use crate::partition::TopicPartition;

#[derive(Debug)]
pub(super) struct Sequencer {
    producer_id: i64,
    max_in_flight: usize,
    delivery_timeout: Duration,
    backoff: Backoff,
    random: Random,
    tracks: BTreeMap<TopicPartition, Track>,
    /// At least the partitions where something waits: most of a large topic's are idle most of the
    /// time.
    active: BTreeSet<TopicPartition>,
    requests: BTreeMap<u64, InFlight>,
    busy: BTreeMap<i32, usize>,
    next_request: u64,
    turn: usize,
    refresh: bool,
}

#[derive(Debug)]
struct InFlight {
    node: i32,
    partitions: Vec<TopicPartition>,
}

/// The batches of one partition.
#[derive(Debug)]
struct Track {
    epoch: i16,
    /// A batch of this epoch has been acknowledged: from now on the broker sees gaps.
    established: bool,
    next_sequence: i32,
    next_order: u64,
    waiting: VecDeque<Entry>,
    flying: VecDeque<Flying>,
    /// Rules 2 and 3: nothing is sent until nothing is in flight.
    held: bool,
    /// Rule 3: when nothing is in flight any more, the epoch is raised.
    renumber: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
    last_error: Option<String>,
}

#[derive(Debug)]
struct Flying {
    request: u64,
    node: i32,
    entry: Entry,
}

#[derive(Debug)]
struct Entry {
    batch: Batch,
    /// The place in the partition's order.
    order: u64,
    /// Whether it has a sequence under the track's epoch.
    numbered: bool,
    /// An attempt was left without an answer: it may be in the log.
    unknown: bool,
}

/// A Produce request to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: u64,
    pub(super) node: i32,
    pub(super) batches: Vec<(TopicPartition, Uuid, Bytes)>,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.batches.iter().map(|(.., bytes)| bytes.len()).sum()
    }
}

/// What a broker said of one partition of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: ErrorCode,
    pub(super) base_offset: i64,
    pub(super) message: Option<String>,
}

/// A batch that is done.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) batch: Batch,
    pub(super) outcome: Result<i64, ProduceError>,
}

impl Sequencer {
    pub(super) fn new(
        producer_id: i64,
        config: &ProducerConfig,
        backoff: Backoff,
        random: Random,
    ) -> Self {
        Self {
            producer_id,
            max_in_flight: config.max_in_flight,
            delivery_timeout: config.delivery_timeout,
            backoff,
            random,
            tracks: BTreeMap::new(),
            active: BTreeSet::new(),
            requests: BTreeMap::new(),
            busy: BTreeMap::new(),
            next_request: 0,
            turn: 0,
            refresh: false,
        }
    }

    /// Takes a batch behind all others of its partition.
    pub(super) fn push(&mut self, batch: Batch) {
        let backoff = &self.backoff;
        if !self.active.contains(&batch.partition) {
            self.active.insert(batch.partition.clone());
        }
        let track = self
            .tracks
            .entry(batch.partition.clone())
            .or_insert_with(|| Track::new(backoff.clone()));
        track.waiting.push_back(Entry {
            batch,
            order: track.next_order,
            numbered: false,
            unknown: false,
        });
        track.next_order += 1;
    }

    /// The requests that may be sent now.
    pub(super) fn requests(
        &mut self,
        now: Instant,
        leader: impl Fn(&TopicPartition) -> Option<Leader>,
    ) -> Vec<Outgoing> {
        let mut requests = Vec::new();
        loop {
            let round = self.round(now, &leader);
            if round.is_empty() {
                return requests;
            }
            requests.extend(round);
        }
    }

    /// At most one request per broker, with at most one batch per partition.
    fn round(
        &mut self,
        now: Instant,
        leader: impl Fn(&TopicPartition) -> Option<Leader>,
    ) -> Vec<Outgoing> {
        let mut open: BTreeMap<i32, Outgoing> = BTreeMap::new();
        for partition in self.in_turn() {
            let Some(track) = self.tracks.get_mut(&partition) else { continue };
            let Some(length) = track.sendable(now, self.max_in_flight) else { continue };
            let Some(Leader { node, topic_id, .. }) = leader(&partition) else {
                self.refresh = true;
                continue;
            };
            let busy = self.busy.get(&node).is_some_and(|count| *count >= self.max_in_flight);
            let full =
                open.get(&node).is_some_and(|request| request.len() + length > MAX_REQUEST_BYTES);
            if busy || full || track.flies_elsewhere(node) {
                continue;
            }
            let request = open.entry(node).or_insert_with(|| {
                self.next_request += 1;
                Outgoing { id: self.next_request, node, batches: Vec::new() }
            });
            if let Some(bytes) = track.fly(self.producer_id, request.id, node) {
                request.batches.push((partition, topic_id, bytes));
            }
        }
        for Outgoing { id, node, batches } in open.values() {
            *self.busy.entry(*node).or_default() += 1;
            let partitions = batches.iter().map(|(partition, ..)| partition.clone()).collect();
            self.requests.insert(*id, InFlight { node: *node, partitions });
        }
        open.into_values().collect()
    }

    /// The partitions where something waits, from another one on each time, so that a full request
    /// does not always leave out the same ones.
    fn in_turn(&mut self) -> Vec<TopicPartition> {
        let waits = |partition: &TopicPartition| {
            self.tracks.get(partition).is_some_and(|track| !track.waiting.is_empty())
        };
        self.active.retain(waits);
        let mut partitions: Vec<_> = self.active.iter().cloned().collect();
        self.turn = self.turn.wrapping_add(1);
        if !partitions.is_empty() {
            let start = self.turn % partitions.len();
            partitions.rotate_left(start);
        }
        partitions
    }

    /// The broker answered a request; a partition that the answer leaves out counts as not
    /// answered.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        request: u64,
        verdict: impl Fn(&TopicPartition) -> Option<Verdict>,
    ) -> Vec<Settled> {
        let mut settled = Vec::new();
        for partition in self.landed(request) {
            let verdict = verdict(&partition);
            let Some(track) = self.tracks.get_mut(&partition) else { continue };
            let Some(entry) = track.land(request) else { continue };
            match verdict {
                Some(verdict) => {
                    track.judge(now, entry, verdict, &self.random, &mut self.refresh, &mut settled)
                }
                None => {
                    track.repeat(now, entry, "the broker's answer left it out", true, &self.random)
                }
            }
            track.release(&mut settled);
            self.active.insert(partition);
        }
        settled
    }

    /// A request got no answer, or never left.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        request: u64,
        error: &ClientError,
    ) -> Vec<Settled> {
        let mut settled = Vec::new();
        let reason = error.to_string();
        self.refresh |= error.remedy() == Remedy::Refresh;
        for partition in self.landed(request) {
            let Some(track) = self.tracks.get_mut(&partition) else { continue };
            let Some(entry) = track.land(request) else { continue };
            track.repeat(now, entry, &reason, error.may_have_happened(), &self.random);
            track.release(&mut settled);
            self.active.insert(partition);
        }
        settled
    }

    fn landed(&mut self, request: u64) -> Vec<TopicPartition> {
        let Some(InFlight { node, partitions }) = self.requests.remove(&request) else {
            return Vec::new();
        };
        if let Some(busy) = self.busy.get_mut(&node) {
            *busy = busy.saturating_sub(1);
        }
        partitions
    }

    /// Rule 5.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Settled> {
        let mut settled = Vec::new();
        for partition in &self.active {
            let Some(track) = self.tracks.get_mut(partition) else { continue };
            while track
                .waiting
                .front()
                .is_some_and(|entry| entry.batch.since + self.delivery_timeout <= now)
            {
                let Some(entry) = track.waiting.pop_front() else { break };
                if entry.numbered {
                    track.held = true;
                    track.renumber = true;
                }
                let reason = track
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "it waited behind others".to_owned());
                let partition = entry.batch.partition.clone();
                let error = if entry.unknown {
                    ProduceError::MayHaveBeenWritten { partition, reason }
                } else {
                    ProduceError::Expired { partition, after: self.delivery_timeout, reason }
                };
                settled.push(Settled { batch: entry.batch, outcome: Err(error) });
            }
            track.release(&mut settled);
        }
        settled
    }

    /// When to look again without an input.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = |track: &Track| {
            let oldest = track.waiting.front()?.batch.since + self.delivery_timeout;
            let pause = track.not_before.filter(|at| *at > now && !track.held);
            Some(pause.map_or(oldest, |at| at.min(oldest)))
        };
        self.active.iter().filter_map(|partition| self.tracks.get(partition)).filter_map(due).min()
    }

    /// The topics of what waits, if the metadata should be fetched anew; asking resets it.
    pub(super) fn take_refresh(&mut self) -> Option<Vec<Arc<str>>> {
        if !std::mem::take(&mut self.refresh) {
            return None;
        }
        let mut topics: Vec<_> =
            self.active.iter().map(|partition| Arc::clone(&partition.topic)).collect();
        topics.dedup();
        Some(topics)
    }

    /// Everything that is not done, when the producer ends.
    pub(super) fn abandon(&mut self) -> Vec<Settled> {
        let mut settled = Vec::new();
        for (_, track) in std::mem::take(&mut self.tracks) {
            let flying =
                track.flying.into_iter().map(|flying| Entry { unknown: true, ..flying.entry });
            for entry in flying.chain(track.waiting) {
                let partition = entry.batch.partition.clone();
                let error = if entry.unknown {
                    ProduceError::MayHaveBeenWritten {
                        partition,
                        reason: "the producer was closed".to_owned(),
                    }
                } else {
                    ProduceError::Closed { partition }
                };
                settled.push(Settled { batch: entry.batch, outcome: Err(error) });
            }
        }
        settled
    }
}

impl Track {
    fn new(backoff: Backoff) -> Self {
        Self {
            epoch: 0,
            established: false,
            next_sequence: 0,
            next_order: 0,
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
            held: false,
            renumber: false,
            backoff,
            not_before: None,
            last_error: None,
        }
    }

    /// The length of the batch that may be sent now.
    fn sendable(&self, now: Instant, max_in_flight: usize) -> Option<usize> {
        let paused = self.not_before.is_some_and(|at| at > now);
        let next = self.waiting.front()?;
        // Counted from the oldest one without a good answer, not by what is in flight: see rule 1.
        let window = u64::try_from(max_in_flight).unwrap_or(u64::MAX);
        let oldest =
            self.flying.iter().map(|flying| flying.entry.order).min().unwrap_or(next.order);
        let alone = !self.established && !self.flying.is_empty();
        if self.held || paused || alone || next.order >= oldest.saturating_add(window) {
            return None;
        }
        Some(next.batch.bytes.len())
    }

    /// Order over two brokers cannot be had.
    fn flies_elsewhere(&self, node: i32) -> bool {
        self.flying.front().is_some_and(|flying| flying.node != node)
    }

    /// Puts the first waiting batch into `request`.
    fn fly(&mut self, producer_id: i64, request: u64, node: i32) -> Option<Bytes> {
        let mut entry = self.waiting.pop_front()?;
        if !entry.numbered {
            entry.batch.number(producer_id, self.epoch, self.next_sequence);
            self.next_sequence = sequence_after(self.next_sequence, entry.batch.count);
            entry.numbered = true;
        }
        let bytes = entry.batch.bytes.clone();
        self.flying.push_back(Flying { request, node, entry });
        Some(bytes)
    }

    fn land(&mut self, request: u64) -> Option<Entry> {
        let index = self.flying.iter().position(|flying| flying.request == request)?;
        self.flying.remove(index).map(|flying| flying.entry)
    }

    /// What an answer means for the batch that it is about, which has just landed.
    fn judge(
        &mut self,
        now: Instant,
        entry: Entry,
        verdict: Verdict,
        random: &Random,
        refresh: &mut bool,
        settled: &mut Vec<Settled>,
    ) {
        let Verdict { code, base_offset, message } = verdict;
        match code {
            ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                self.established = true;
                self.backoff.succeeded();
                self.not_before = None;
                settled.push(Settled { batch: entry.batch, outcome: Ok(base_offset) });
            }
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => {
                let follows = self.has_older(&entry);
                if !follows && !self.renumber && entry.unknown {
                    self.give_up(entry, code, message, settled);
                } else {
                    self.renumber |= !follows;
                    self.repeat(now, entry, &code.to_string(), false, random);
                }
            }
            code if remedy_of(code) != Remedy::Fatal => {
                *refresh |= remedy_of(code) == Remedy::Refresh;
                let unknown = matches!(
                    code,
                    ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                );
                self.repeat(now, entry, &code.to_string(), unknown, random);
            }
            code => self.give_up(entry, code, message, settled),
        }
    }

    /// Rule 3: the batch is done, its sequence will be missing.
    fn give_up(
        &mut self,
        entry: Entry,
        code: ErrorCode,
        message: Option<String>,
        settled: &mut Vec<Settled>,
    ) {
        self.held = true;
        self.renumber = true;
        let partition = entry.batch.partition.clone();
        // A broker that does not know itself what went wrong, or that knows more errors than we do.
        let vague = code == ErrorCode::UNKNOWN_SERVER_ERROR || code.name().is_none();
        let error = if entry.unknown || vague {
            ProduceError::MayHaveBeenWritten { partition, reason: code.to_string() }
        } else {
            ProduceError::Refused { partition, code, message }
        };
        settled.push(Settled { batch: entry.batch, outcome: Err(error) });
    }

    /// Rule 2: back to its place.
    fn repeat(&mut self, now: Instant, entry: Entry, reason: &str, unknown: bool, random: &Random) {
        // Those behind the first that failed fail with it; one pause is for all of them.
        if !self.held {
            self.not_before = Some(now + self.backoff.failed(random));
        }
        self.held = true;
        self.last_error = Some(reason.to_owned());
        let entry = Entry { unknown: entry.unknown || unknown, ..entry };
        let place = self
            .waiting
            .iter()
            .position(|waiting| waiting.order > entry.order)
            .unwrap_or(self.waiting.len());
        self.waiting.insert(place, entry);
    }

    /// Whether a numbered batch before this one has no good answer yet.
    fn has_older(&self, entry: &Entry) -> bool {
        let older = |other: &Entry| other.numbered && other.order < entry.order;
        self.flying.iter().any(|flying| older(&flying.entry)) || self.waiting.iter().any(older)
    }

    /// When nothing is in flight any more, what was held may go on.
    fn release(&mut self, settled: &mut Vec<Settled>) {
        if !self.held || !self.flying.is_empty() {
            return;
        }
        self.held = false;
        if std::mem::take(&mut self.renumber) {
            self.raise_epoch(settled);
        }
    }

    fn raise_epoch(&mut self, settled: &mut Vec<Settled>) {
        self.next_sequence = 0;
        self.established = false;
        // The end of the epochs is 32,767 failures away; the batches that then start over are
        // refused loudly.
        self.epoch = self.epoch.checked_add(1).unwrap_or(0);
        for mut entry in std::mem::take(&mut self.waiting) {
            if entry.unknown {
                let partition = entry.batch.partition.clone();
                let reason = self
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "a batch before it failed".to_owned());
                settled.push(Settled {
                    batch: entry.batch,
                    outcome: Err(ProduceError::MayHaveBeenWritten { partition, reason }),
                });
            } else {
                entry.numbered = false;
                self.waiting.push_back(entry);
            }
        }
    }
}

/// The sequence after `count` records from `sequence` on: after the highest one comes 0.
fn sequence_after(sequence: i32, count: u32) -> i32 {
    const SEQUENCES: i64 = i32::MAX as i64 + 1;
    i32::try_from((i64::from(sequence) + i64::from(count)) % SEQUENCES).unwrap_or(0)
}

#[cfg(test)]
mod tests;
