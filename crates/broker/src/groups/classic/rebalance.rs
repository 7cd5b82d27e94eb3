//! From one generation to the next, and the time-outs on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use onrush_runtime::Instant;
use onrush_wire::ErrorCode;

use super::{Answer, ClassicGroup, Limits, Member, State, refused};
use crate::parked::ConnectionId;

/// How long a group waits at least when nobody joined: members may give a rebalance time-out of zero.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// When the members that joined go on without the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum JoinTimer {
    /// The group was empty: more members may be about to start.
    Initial {
        deadline: Instant,
        /// How long each wait is.
        delay: Duration,
        /// What is left of the rebalance time-out after this wait.
        remaining: Duration,
        /// Whether somebody joined during this wait, so that there will be another one.
        extend: bool,
    },
    /// The others have so long to join again.
    Rebalance { deadline: Instant },
}

impl JoinTimer {
    fn deadline(&self) -> Instant {
        match self {
            Self::Initial { deadline, .. } | Self::Rebalance { deadline } => *deadline,
        }
    }
}

impl ClassicGroup {
    /// Does what time-outs demand that are over.
    pub(crate) fn advance(&mut self, now: Instant, limits: Limits) {
        // A step can begin the next wait, which may be of no length.
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.expire_sessions(now, limits);
            self.expire_pending(now);
            self.expire_join(now);
            self.expire_sync(now, limits);
        }
    }

    /// The next time-out.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.members.values().filter_map(Member::session_end);
        let pending = self.pending.values().copied();
        let join = self.join_timer.as_ref().map(JoinTimer::deadline);
        sessions.chain(pending).chain(join).chain(self.sync_deadline).min()
    }

    /// Notes that the request which waits on `connection` carries the next time-out, and returns
    /// it.
    pub(crate) fn arm(&mut self, connection: ConnectionId) -> Option<Instant> {
        let next = self.next_deadline()?;
        self.armed = Some((next, connection));
        Some(next)
    }

    /// A connection that must be resumed because no request that waits carries the next time-out.
    pub(crate) fn unarmed(&self) -> Option<ConnectionId> {
        let next = self.next_deadline()?;
        let waits = |member: &Member| member.awaiting_join.or(member.awaiting_sync);
        let mut waiting = self.members.values().filter_map(waits);
        match self.armed {
            Some((at, by)) if at <= next && waiting.any(|connection| connection == by) => None,
            _ => self.members.values().find_map(waits),
        }
    }

    /// Takes note that the connection is gone on which a request waited. Its member has a session's
    /// time to come back, unless it cannot know who it is.
    pub(crate) fn abandon(&mut self, now: Instant, limits: Limits, connection: ConnectionId) {
        let is_of = |member: &Member| {
            member.awaiting_join == Some(connection) || member.awaiting_sync == Some(connection)
        };
        let Some((id, member)) = self.members.iter_mut().find(|(_, member)| is_of(member)) else {
            return;
        };
        member.awaiting_join = member.awaiting_join.filter(|waiting| *waiting != connection);
        member.awaiting_sync = member.awaiting_sync.filter(|waiting| *waiting != connection);
        member.touch(now);
        if !member.knows_its_id && member.instance.is_none() {
            let id = id.clone();
            self.remove_and_rebalance(now, limits, &id);
        }
    }

    fn expire_sessions(&mut self, now: Instant, limits: Limits) {
        let is_over = |member: &Member| member.session_end().is_some_and(|end| end <= now);
        let over = self.members.iter().filter(|(_, member)| is_over(member));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            // The step before may have begun its session anew.
            if self.members.get(&id).is_some_and(is_over) {
                tracing::info!(member = id, "a member was silent for the session time-out");
                self.remove_and_rebalance(now, limits, &id);
            }
        }
    }

    fn expire_pending(&mut self, now: Instant) {
        let before = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        if self.pending.len() < before {
            self.complete_join_if_all_joined(now);
        }
    }

    fn expire_join(&mut self, now: Instant) {
        match self.join_timer {
            Some(JoinTimer::Initial { deadline, delay, remaining, extend: true })
                if deadline <= now && !remaining.is_zero() =>
            {
                self.join_timer = Some(JoinTimer::Initial {
                    deadline: now + delay.min(remaining),
                    delay,
                    remaining: remaining.saturating_sub(delay),
                    extend: false,
                });
            }
            Some(timer) if timer.deadline() <= now => self.complete_join(now),
            _ => {}
        }
    }

    fn expire_sync(&mut self, now: Instant, limits: Limits) {
        if self.sync_deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.sync_deadline = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() {
            return;
        }
        tracing::info!(members = ?late, "members did not synchronise within the rebalance time-out");
        late.iter().for_each(|id| self.remove(id));
        self.prepare_rebalance(now, limits);
    }

    fn remove_and_rebalance(&mut self, now: Instant, limits: Limits, member_id: &str) {
        self.remove(member_id);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(now, limits),
            State::PreparingRebalance => self.complete_join_if_all_joined(now),
            State::Empty => {}
        }
    }

    pub(super) fn rebalance_or_complete_join(&mut self, now: Instant, limits: Limits) {
        match self.state {
            State::PreparingRebalance => self.complete_join_if_all_joined(now),
            State::Empty | State::CompletingRebalance | State::Stable => {
                self.prepare_rebalance(now, limits);
            }
        }
    }

    /// Has all members join again.
    pub(super) fn prepare_rebalance(&mut self, now: Instant, limits: Limits) {
        if self.state == State::CompletingRebalance {
            self.propagate(now, Err(ErrorCode::REBALANCE_IN_PROGRESS));
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        let was_empty = self.state == State::Empty;
        self.state = State::PreparingRebalance;
        let timeout = self.rebalance_timeout();
        if was_empty {
            self.join_timer = Some(JoinTimer::Initial {
                deadline: now + limits.initial_delay,
                delay: limits.initial_delay,
                remaining: timeout.saturating_sub(limits.initial_delay),
                extend: false,
            });
        } else {
            self.join_timer = Some(JoinTimer::Rebalance { deadline: now + timeout });
            self.complete_join_if_nobody_is_missing(now);
        }
    }

    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or(Duration::ZERO)
    }

    /// As [`complete_join_if_nobody_is_missing`](Self::complete_join_if_nobody_is_missing), but a
    /// group that was empty waits for its time.
    pub(super) fn complete_join_if_all_joined(&mut self, now: Instant) {
        let is_initial = matches!(self.join_timer, Some(JoinTimer::Initial { .. }));
        if self.state == State::PreparingRebalance && !is_initial {
            self.complete_join_if_nobody_is_missing(now);
        }
    }

    fn complete_join_if_nobody_is_missing(&mut self, now: Instant) {
        let mut members = self.members.values();
        if self.pending.is_empty() && members.all(|member| member.awaiting_join.is_some()) {
            self.complete_join(now);
        }
    }

    /// Begins the next generation with those who joined.
    fn complete_join(&mut self, now: Instant) {
        self.join_timer = None;
        let late = self.members.iter().filter(|(_, member)| {
            // A static member may be back within its session.
            member.awaiting_join.is_none() && member.instance.is_none()
        });
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.remove(id));
        if self.members.is_empty() {
            self.generation += 1;
            self.protocol = None;
            self.state = State::Empty;
            self.unstored = true;
            return;
        }
        let Some(leader) = self.joined_leader() else {
            let deadline = now + self.rebalance_timeout().max(SHORTEST_WAIT);
            self.join_timer = Some(JoinTimer::Rebalance { deadline });
            return;
        };
        self.leader = Some(leader);
        self.generation += 1;
        self.protocol = self.selected_protocol();
        self.state = State::CompletingRebalance;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = Some(now + self.rebalance_timeout());
        for id in self.unsynced.clone() {
            let joined = self.generation_for(&id);
            self.answer_join(now, &id, Ok(joined));
        }
    }

    /// The leader, if it joined, or else somebody who did.
    fn joined_leader(&self) -> Option<String> {
        let mut joined = self.members.iter().filter(|(_, member)| member.awaiting_join.is_some());
        let leader = joined.clone().find(|(id, _)| self.is_leader(id));
        leader.or_else(|| joined.next()).map(|(id, _)| id.clone())
    }

    /// What most members like best of what all support; of equals, what the leader likes best.
    pub(super) fn selected_protocol(&self) -> Option<String> {
        fn names(member: &Member) -> impl DoubleEndedIterator<Item = &str> {
            member.protocols.iter().map(|protocol| protocol.name.as_str())
        }
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let by_all = |name: &&str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&str, usize> =
            names(leader).filter(by_all).map(|name| (name, 0)).collect();
        for member in self.members.values() {
            let liked = names(member).find(|name| votes.contains_key(name));
            if let Some(count) = liked.and_then(|name| votes.get_mut(name)) {
                *count += 1;
            }
        }
        // Of equals the last is taken.
        let most = names(leader).rev().max_by_key(|name| votes.get(name))?;
        votes.contains_key(most).then(|| most.to_owned())
    }

    /// What was to be stored could not be: nobody may rely on it.
    pub(crate) fn not_stored(&mut self, now: Instant, limits: Limits) {
        let error = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        for (_, answer) in &mut self.answers {
            match answer {
                Answer::Join(Ok(joined)) => *answer = refused(&joined.member_id.clone(), error),
                Answer::Sync(Ok(_)) => *answer = Answer::Sync(Err(error)),
                Answer::Join(Err(_)) | Answer::Sync(Err(_)) => {}
            }
        }
        if self.state == State::Stable {
            self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
            self.prepare_rebalance(now, limits);
        }
        self.unstored = false;
    }
}
