//! One member and its way to its target.

use std::collections::BTreeSet;
use std::time::Duration;

use onrush_runtime::Instant;
use onrush_wire::ErrorCode;

use super::{Assignor, Client, JOIN, NAME_WEIGHT, Partitions, Refusal, Report};
use crate::groups::MEMBER_WEIGHT;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It owns what it was to own at its epoch.
    Stable,
    /// It must release `revoking` before its epoch moves.
    Revoking,
    /// It is at the target's epoch and waits for partitions that others release.
    Waiting,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client: Client,
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    pub(super) state: State,
    pub(super) rebalance_timeout: Duration,
    pub(super) topics: BTreeSet<String>,
    /// A pattern of further topics.
    pub(super) pattern: Option<String>,
    /// What it wants partitions to be assigned by.
    pub(super) assignor: Option<Assignor>,
    pub(super) assigned: Partitions,
    /// What it was told to release and has not released yet.
    pub(super) revoking: Partitions,
    pub(super) session_deadline: Instant,
    pub(super) release_deadline: Option<Instant>,
}

impl Member {
    pub(super) fn new(now: Instant, report: &Report) -> Self {
        Self {
            instance: report.instance.clone(),
            client: report.client.clone(),
            epoch: JOIN,
            previous_epoch: JOIN,
            state: State::Stable,
            rebalance_timeout: Duration::ZERO,
            topics: BTreeSet::new(),
            pattern: None,
            assignor: None,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            session_deadline: now,
            release_deadline: None,
        }
    }

    /// Forgets what it owned.
    pub(super) fn rejoin(&mut self) {
        self.epoch = JOIN;
        self.previous_epoch = JOIN;
        self.state = State::Stable;
        self.assigned.clear();
        self.revoking.clear();
        self.release_deadline = None;
    }

    /// Takes what the report says; true if it wants something else than before.
    pub(super) fn update(&mut self, report: &Report) -> bool {
        self.client.clone_from(&report.client);
        if let Some(timeout) = report.rebalance_timeout {
            self.rebalance_timeout = timeout;
        }
        let mut changed = false;
        if let Some(topics) = report.topics.as_ref().filter(|topics| **topics != self.topics) {
            self.topics.clone_from(topics);
            changed = true;
        }
        if let Some(pattern) = &report.pattern {
            let pattern = Some(pattern).filter(|pattern| !pattern.is_empty());
            changed |= pattern != self.pattern.as_ref();
            self.pattern = pattern.cloned();
        }
        if report.assignor.is_some() && report.assignor != self.assignor {
            self.assignor = report.assignor;
            changed = true;
        }
        changed
    }

    /// Whether the report says nothing that is not known of a member that is where it is to be.
    pub(super) fn goes_on(&self, target_epoch: i32, report: &Report) -> bool {
        let says_nothing = report.rebalance_timeout.is_none()
            && report.topics.is_none()
            && report.pattern.is_none()
            && report.assignor.is_none()
            && report.instance.as_ref().is_none_or(|id| self.instance.as_ref() == Some(id));
        says_nothing
            && report.epoch == self.epoch
            && self.epoch == target_epoch
            && self.state == State::Stable
            && report.client == self.client
    }

    /// Bytes that the group keeps for it, but for its partitions.
    pub(super) fn weight(&self) -> usize {
        let names = self.topics.iter().chain(&self.pattern).chain(&self.instance);
        let names = names.map(|name| name.len() + NAME_WEIGHT).sum::<usize>();
        MEMBER_WEIGHT + self.client.weight() + names
    }

    /// Whether a report of this epoch can be believed. That of the epoch before can, if it owns no
    /// more than it was given since: the answer that told it the new epoch may have been lost.
    pub(super) fn check_epoch(
        &self,
        epoch: i32,
        owned: Option<&Partitions>,
    ) -> Result<(), Refusal> {
        let answer_was_lost = epoch == self.previous_epoch
            && owned.is_some_and(|owned| owned.is_subset(&self.assigned));
        if epoch == self.epoch || (epoch < self.epoch && answer_was_lost) {
            return Ok(());
        }
        let reason = format!(
            "the member is at epoch {}, not {epoch}: it must give up its partitions and join again",
            self.epoch
        );
        Err((ErrorCode::FENCED_MEMBER_EPOCH, reason))
    }

    /// One step towards `target`, given what others hold and what the member says that it owns.
    pub(super) fn reconcile(
        &mut self,
        now: Instant,
        target_epoch: i32,
        target: &Partitions,
        held: &Partitions,
        owned: Option<&Partitions>,
    ) {
        match self.state {
            State::Stable if self.epoch == target_epoch => {}
            State::Revoking if still_owns(owned, &self.revoking) => {}
            _ => self.advance(now, target_epoch, target, held, owned),
        }
    }

    fn advance(
        &mut self,
        now: Instant,
        target_epoch: i32,
        target: &Partitions,
        held: &Partitions,
        owned: Option<&Partitions>,
    ) {
        let kept: Partitions = self.assigned.intersection(target).copied().collect();
        let surplus: Partitions = self.assigned.difference(&kept).copied().collect();
        if !surplus.is_empty() && still_owns(owned, &surplus) {
            self.state = State::Revoking;
            self.assigned = kept;
            self.revoking = surplus;
            self.release_deadline = Some(now + self.rebalance_timeout);
            return;
        }
        let (blocked, free): (Partitions, Partitions) =
            target.difference(&kept).partition(|partition| held.contains(partition));
        self.assigned = &kept | &free;
        self.revoking.clear();
        self.release_deadline = None;
        self.state = if blocked.is_empty() { State::Stable } else { State::Waiting };
        if self.epoch != target_epoch {
            self.previous_epoch = std::mem::replace(&mut self.epoch, target_epoch);
        }
    }
}

/// Whether a member has (or does not say that it has not) any of these partitions.
fn still_owns(owned: Option<&Partitions>, partitions: &Partitions) -> bool {
    owned.is_none_or(|owned| !owned.is_disjoint(partitions))
}
