//! The mail of a lane: what arrives, and what it changes at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use onrush_kafka::TopicPartition;
use onrush_runtime::{Fault, Instant};

use super::failing::refuse;
use super::{Lane, LaneConfig, Runner, stop};
use crate::assignment::{Holding, Origin};
use crate::commit::{Proposal, Verdict};
use crate::config::Sabotage;
use crate::departure::Bucket;
use crate::emit::Settled;
use crate::error::StopReason;
use crate::ledger::Finished;
use crate::message::{Assign, ControlInput, LaneInput, Report, WorkerInput};
use crate::metrics::Outcome;
use crate::partition::{Partition, State};
use crate::slot::{Retried, Run};
use crate::source::Slice;
use crate::worker::hook;

impl Lane {
    pub(super) fn receive(&mut self, input: LaneInput, now: Instant) {
        match input {
            LaneInput::Assign(assign) => self.assign(*assign),
            LaneInput::Fetched { partition, token, slice } => {
                self.fetched(&partition, token, slice)
            }
            LaneInput::OutOfRange { partition, token, log_start, end } => {
                self.out_of_range(&partition, token, log_start, end);
            }
            LaneInput::FetchFailed { partition, token, error } => {
                if let Some(partition) = self.reading(&partition, token) {
                    let control = Arc::clone(&self.control);
                    let partition = self.partitions[partition].as_mut();
                    partition.into_iter().for_each(|partition| {
                        stop(partition, StopReason::Fetch(error.clone()), &control)
                    });
                }
            }
            LaneInput::Report(report) => self.report(report, now),
            LaneInput::Settled(settled) => {
                settled.into_iter().for_each(|settled| self.settle(settled))
            }
            LaneInput::Undelivered { origins, reason } => self.undelivered(&origins, &reason),
            LaneInput::Delivered(delivery) => {
                let mut settled = std::mem::take(&mut self.settled);
                let result = self.emitter.delivered(delivery, &mut settled);
                settled.drain(..).for_each(|settled| self.settle(settled));
                self.settled = settled;
                if let Err(undelivered) = result {
                    self.undelivered(&undelivered.origins, &undelivered.reason);
                }
            }
            LaneInput::Commit => {
                let kind = self.saboteur.kind;
                let proposals = self
                    .partitions
                    .iter_mut()
                    .flatten()
                    .filter(|partition| partition.state != State::Leaving);
                let proposals = proposals.filter_map(|partition| {
                    let proposal = partition.propose(kind, now);
                    partition.show_detail(proposal.as_ref(), now);
                    proposal
                });
                let proposals = proposals.collect();
                self.control.push(ControlInput::Proposals(self.config.number, proposals));
            }
            LaneInput::Answered(proposal, verdict) => self.answered(&proposal, verdict),
            LaneInput::Revoke(partition, deadline) => self.revoke(&partition, deadline, now),
            LaneInput::Release(partition) => self.leave(&partition),
            LaneInput::Lost(partition) => self.lose(&partition, now),
            LaneInput::HookDone(origin) => self.hook_done(origin),
            LaneInput::Share(share) => self.share = share,
            LaneInput::Topic(topic, result) => self.topic(&topic, result),
            LaneInput::Resume => {
                for partition in self.partitions.iter_mut().flatten() {
                    partition.parked.resume(now);
                    partition.held = false;
                }
            }
            LaneInput::Settle { partition, offset, answer } => {
                answer.push(self.settle_by_hand(&partition, offset, now));
            }
            LaneInput::Close => self.closing = true,
        }
    }

    fn assign(&mut self, assign: Assign) {
        let name = assign.holding.partition.clone();
        if self.indexes.contains_key(&name) {
            self.leave(&name);
        }
        let index = self.partitions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.partitions.push(None);
            self.partitions.len() - 1
        });
        let (lane, token) = (self.config.number as u32, assign.holding.token);
        let origin = Origin { lane, index: index as u32, token };
        let rung = self.config.ladder.rung(&assign.holding.assignment.topic);
        let LaneConfig { order, slots, .. } = self.config;
        let partition = Partition::new(assign, origin, order, slots, rung);
        announce(&mut self.runner, &partition.holding);
        self.control.push(ControlInput::Fetch(
            name.clone(),
            partition.fetch_token,
            partition.ledger.taken(),
        ));
        self.indexes.insert(name, index as u32);
        self.partitions[index] = Some(Box::new(partition));
    }

    /// The partition that is read under `token`.
    fn reading(&self, partition: &TopicPartition, token: u64) -> Option<usize> {
        let index = *self.indexes.get(partition)? as usize;
        let current = self.partitions[index]
            .as_ref()
            .is_some_and(|held| held.fetch_token == token && held.takes_data());
        if !current {
            self.cells.stale.add(1);
        }
        current.then_some(index)
    }

    fn current(&mut self, origin: Origin) -> Option<&mut Partition> {
        let held = self.partitions.get_mut(origin.index as usize)?.as_deref_mut();
        held.filter(|partition| partition.origin == origin)
    }

    fn fetched(&mut self, partition: &TopicPartition, token: u64, slice: Slice) {
        self.cells.fetched.add(slice.records.len() as u64);
        if let Some(index) = self.reading(partition, token)
            && let Some(partition) = &mut self.partitions[index]
        {
            partition.cells.end.store(slice.high_watermark, Ordering::Relaxed);
            partition.source.push(slice);
            if !partition.fetch_paused
                && self.opener.is_short()
                && partition.holds_more_than(self.share)
            {
                self.control.push(partition.pause(true));
            }
        }
    }

    /// What is next has expired, or the cluster has lost the end of the log.
    fn out_of_range(&mut self, name: &TopicPartition, token: u64, log_start: i64, end: i64) {
        let Some(index) = self.reading(name, token) else { return };
        let Some(partition) = &mut self.partitions[index] else { return };
        let next = partition.ledger.taken();
        partition.cells.end.store(end, Ordering::Relaxed);
        if next < log_start {
            tracing::error!(partition = %name, from = next, to = log_start, code = %Fault::Expired, "events expired before they were read");
            self.cells.gaps.add((log_start - next) as u64);
            if !partition.ledger.has_room(log_start - 1) {
                // What is open below is lost to nobody: it runs, and its outcome has no meaning to
                // a log that begins later.
                self.control.push(partition.restart(log_start));
                announce(&mut self.runner, &partition.holding);
            } else if let Err(error) = partition.ledger.pass(next, log_start - 1) {
                stop(partition, StopReason::Ledger(error), &self.control);
                return;
            }
        } else if next > end {
            tracing::error!(partition = %name, next, end, code = %Fault::LogCut, "the log ends below what was read from it: it was cut");
            self.control.push(partition.restart(end));
            announce(&mut self.runner, &partition.holding);
        }
        self.control.push(partition.read_anew());
    }

    fn report(&mut self, report: Report, now: Instant) {
        let Report { origin, slot, emitter, done, overdue, slowest, failed, rest, retried } =
            report;
        self.cells.overdue.add(overdue);
        for run in done {
            self.settle(Settled { origin, slot, run, outcome: Outcome::Done });
        }
        let Some(partition) = self.current(origin) else { return };
        partition.observer.finished(slowest);
        // Taken out, so that the partition and the lane can be borrowed apart.
        let index = origin.index as usize;
        let Some(mut partition) = self.partitions[index].take() else { return };
        let mut line = None;
        if let Some(failure) = failed {
            partition.slots.finished(slot, 1);
            line = self.failed(&mut partition, failure, now);
        } else if let (Some(Retried { offset, .. }), Some(rest)) = (retried, &rest) {
            self.retry_returned(&mut partition, slot, offset, rest.is_empty(), now);
        }
        if let Some(rest) = rest {
            // What is tried again goes back to its line.
            let rest = if retried.is_none() { rest } else { VecDeque::new() };
            partition.slots.returned(slot, rest, emitter);
            partition.drop_by_hand();
            if let Some(line) = line {
                self.divert(&mut partition, slot, line);
            }
            // Without this a stopped partition would keep what came back, and the leases with it.
            if !partition.takes_data() {
                partition.forget_unstarted();
            }
        }
        self.partitions[index] = Some(partition);
    }

    /// What no worker has taken yet comes back.
    fn recall(&mut self, index: usize, now: Instant) {
        let Some(origin) = self.partitions[index].as_ref().map(|held| held.origin) else { return };
        let Runner::Workers { pool, .. } = &self.runner else { return };
        for Run { slot, pieces, retried, .. } in pool.recall(origin) {
            let (done, rest) = (Vec::new(), Some(pieces));
            let (emitter, overdue, slowest, failed) = (0, 0, None, None);
            self.report(
                Report { origin, slot, emitter, done, overdue, slowest, failed, rest, retried },
                now,
            );
        }
    }

    fn settle(&mut self, settled: Settled) {
        let Settled { origin, slot, run, outcome } = settled;
        let strict = self.saboteur.kind == Sabotage::None;
        let (cells, control) = (Arc::clone(&self.cells), Arc::clone(&self.control));
        let Some(partition) = self.current(origin) else {
            cells.stale.add(1);
            return;
        };
        // Of what is skipped a predecessor may have finished some, or somebody by hand.
        let by_hand = partition.forget_by_hand(run);
        let strict = strict && outcome != Outcome::Skipped && by_hand == 0;
        let result = match strict {
            true => partition.ledger.finish(origin.token, run),
            false => partition.ledger.settle(run).map(|()| Finished::Counted),
        };
        match result {
            Ok(Finished::Counted) => {}
            Ok(Finished::Stale) => return,
            Err(error) => return stop(partition, StopReason::Ledger(error), &control),
        }
        match outcome {
            Outcome::Done => {
                cells.done.add(run.count() - by_hand);
                partition.slots.finished(slot, run.count());
                partition.succeeded(run.count());
            }
            Outcome::DeadLettered => cells.dead_lettered.add(run.count() - by_hand),
            Outcome::Moved => cells.moved.add(run.count() - by_hand),
            Outcome::Skipped => cells.skipped.add(run.count()),
        }
    }

    pub(super) fn undelivered(&mut self, origins: &[Origin], reason: &str) {
        let control = Arc::clone(&self.control);
        for origin in origins {
            if let Some(partition) = self.current(*origin) {
                stop(partition, StopReason::Emit(reason.to_owned()), &control);
            }
        }
    }

    fn answered(&mut self, proposal: &Proposal, verdict: Verdict) {
        let Some(index) = self.indexes.get(&proposal.partition) else { return };
        let Some(partition) = &mut self.partitions[*index as usize] else { return };
        if partition.ledger.token() == proposal.token {
            partition.commit.answered(proposal.offset, proposal.version, verdict);
            partition
                .cells
                .committed
                .store(partition.commit.committed().unwrap_or(-1), Ordering::Relaxed);
        }
    }

    fn revoke(&mut self, name: &TopicPartition, deadline: Instant, now: Instant) {
        let Some(index) = self.indexes.get(name).map(|index| *index as usize) else { return };
        self.recall(index, now);
        let Some(partition) = &mut self.partitions[index] else { return };
        partition.state = State::Draining(deadline);
        // What is not started goes back: its next owner runs it, and the completed-set tells which
        // it is.
        partition.holding.withdraw();
        partition.forget_unstarted();
        self.emitter.flush(now);
        if let Runner::Workers { inboxes, .. } = &self.runner {
            inboxes.iter().for_each(|inbox| inbox.push(WorkerInput::Flush));
        }
    }

    /// The partition has gone, without a drain: what runs here may run elsewhere already.
    fn lose(&mut self, name: &TopicPartition, now: Instant) {
        if let Some(index) = self.indexes.get(name).map(|index| *index as usize) {
            self.recall(index, now);
            if let Some(partition) = &mut self.partitions[index]
                && partition.state != State::Leaving
            {
                partition.forget_unstarted();
                self.cells.left_running.add(partition.running());
            }
        }
        self.leave(name);
    }

    /// The partition goes: no outcome of it counts any more.
    fn leave(&mut self, name: &TopicPartition) {
        let Some(index) = self.indexes.get(name).map(|index| *index as usize) else { return };
        let Some(partition) = &mut self.partitions[index] else { return };
        if partition.hooks > 0 {
            return;
        }
        partition.state = State::Leaving;
        partition.holding.withdraw();
        partition.forget_unstarted();
        let (holding, origin) = (Arc::clone(&partition.holding), partition.origin);
        match &mut self.runner {
            Runner::Inline(handler) => {
                hook(&holding.assignment, || handler.revoked(&holding.assignment));
                self.remove(index);
            }
            Runner::Workers { inboxes, .. } => {
                partition.hooks = inboxes.len();
                inboxes.iter().for_each(|inbox| {
                    inbox.push(WorkerInput::Revoked(Arc::clone(&holding), origin))
                });
            }
        }
    }

    fn hook_done(&mut self, origin: Origin) {
        if let Some(partition) = self.current(origin) {
            partition.hooks = partition.hooks.saturating_sub(1);
            if partition.hooks == 0 {
                self.remove(origin.index as usize);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(partition) = self.partitions[index].take() {
            let Partition { holding, .. } = *partition;
            // A later assignment of the same partition may have come while hooks of this one ran.
            if self.indexes.get(&holding.partition) == Some(&(index as u32)) {
                self.indexes.remove(&holding.partition);
            }
            self.control.push(ControlInput::Released(holding.partition.clone(), holding.token));
        }
    }

    fn topic(&mut self, topic: &str, result: Result<(), String>) {
        let Err(reason) = result else { return };
        let origins = self.emitter.refuse(topic).unwrap_or_default();
        self.undelivered(&origins, &reason);
        for partition in self.partitions.iter_mut().flatten() {
            for bucket in [Bucket::Failed, Bucket::Undecodable] {
                let next = partition.gate(bucket).first();
                if next.is_some_and(|departure| *departure.topic == *topic) {
                    refuse(partition, bucket, reason.clone(), &self.control);
                }
            }
        }
    }
}

/// Tells the handlers that events of a partition come, from its start on. A log that was cut begins
/// again under the same epoch.
fn announce(runner: &mut Runner, holding: &Arc<Holding>) {
    match runner {
        Runner::Inline(handler) => {
            hook(&holding.assignment, || handler.assigned(&holding.assignment));
        }
        Runner::Workers { inboxes, .. } => {
            let assigned = || WorkerInput::Assigned(Arc::clone(holding));
            inboxes.iter().for_each(|inbox| inbox.push(assigned()));
        }
    }
}
