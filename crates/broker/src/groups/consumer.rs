//! Consumer groups of the KIP-848 protocol: the broker decides who owns what, members report by
//! heartbeat.
//!
//! A *group epoch* counts what members and topics changed; for each the *target assignment* is
//! computed. Every member is then reconciled towards its target on its own:
//!
//! ```text
//!   Stable ──▶ Revoking   its target lacks some of what it owns: it is told to release that
//!   Revoking ──▶ Waiting  its report shows the release, but part of its target is not free yet
//!   Revoking ──▶ Stable   its report shows the release, and all of its target is free
//!   Waiting ──▶ Stable    with each report it takes what became free, until it has its target
//!   any ──▶ Revoking      the target changed again
//! ```
//!
//! A partition is free when no member has it assigned or is still releasing it; only then it goes
//! to its new owner. The member epoch moves to the group epoch when a member has nothing to release
//! any more, and commits carry it, so what comes from an epoch before is refused. A member is out
//! when it leaves, when it was silent for the session time-out, or when it did not release within
//! its own rebalance time-out.
//!
//! Time-outs are looked at whenever the group is asked anything: nobody can see their effect
//! earlier. The group is kept in memory and written by its keeper ([`members`](crate::members), and
//! the group epoch in [`offsets`](crate::offsets), so that epochs never repeat); a group that is
//! read back gives every member a whole session to report in.

mod assignor;
mod member;
pub(crate) mod patterns;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::Instant;
use onrush_wire::{ErrorCode, Uuid};

pub(crate) use self::assignor::Assignor;
use self::member::Member;
use self::patterns::{MAX_PATTERNS, Patterns};
use super::Client;
use crate::MAX_GROUP_SIZE;
use crate::members::Stored;

/// A partition by topic id.
pub(crate) type Partition = (Uuid, i32);
/// A set of partitions.
pub(crate) type Partitions = BTreeSet<Partition>;

/// Epochs with a meaning of their own in a heartbeat.
pub(crate) const JOIN: i32 = 0;
/// The member leaves for good.
pub(crate) const LEAVE: i32 = -1;
/// The member leaves and its instance will be back within the session time-out.
pub(crate) const LEAVE_FOR_NOW: i32 = -2;

/// What a name takes in a set besides its bytes.
pub(crate) const NAME_WEIGHT: usize = 48;

/// What a member reports. `None` means: as before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    pub(crate) instance: Option<String>,
    pub(crate) client: Client,
    pub(crate) rebalance_timeout: Option<Duration>,
    pub(crate) topics: Option<BTreeSet<String>>,
    /// A pattern of topics; empty: none.
    pub(crate) pattern: Option<String>,
    pub(crate) assignor: Option<Assignor>,
    pub(crate) owned: Option<Partitions>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    /// `None`: as before.
    pub(crate) assignment: Option<Partitions>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    /// Members or topics changed since the target assignment was computed.
    Assigning,
    /// Some member is on its way to its target.
    Reconciling,
    Stable,
}

impl State {
    /// Kafka's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// A member as admins see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described<'a> {
    pub(crate) id: &'a str,
    pub(crate) instance: Option<&'a str>,
    pub(crate) client: &'a Client,
    pub(crate) epoch: i32,
    pub(crate) topics: &'a BTreeSet<String>,
    pub(crate) pattern: Option<&'a str>,
    pub(crate) assigned: &'a Partitions,
    pub(crate) target: &'a Partitions,
}

/// A refusal: the error code and a sentence for the client's log.
pub(crate) type Refusal = (ErrorCode, String);

/// What a group must know of the topics that its members want.
pub(crate) trait Subscribed {
    /// The id and number of partitions of a topic, if there is one.
    fn topic(&self, name: &str) -> Option<(Uuid, i32)>;

    /// The names of all topics.
    fn names(&self) -> impl Iterator<Item = &Arc<str>>;

    /// How often topics came or went, or got more partitions.
    fn changes(&self) -> u64;
}

/// A consumer group.
#[derive(Debug, Default)]
pub(crate) struct ConsumerGroup {
    epoch: i32,
    /// The group epoch that the target assignment is of.
    target_epoch: i32,
    target: BTreeMap<String, Partitions>,
    members: BTreeMap<String, Member>,
    /// The topics that the target assignment is of.
    topics: BTreeMap<String, (Uuid, i32)>,
    /// Up to which change of topics these are right.
    seen: Option<u64>,
    patterns: Patterns,
}

impl ConsumerGroup {
    /// A group without members whose epochs go on above `epoch`.
    pub(crate) fn new(epoch: i32) -> Self {
        Self { epoch, target_epoch: epoch, ..Self::default() }
    }

    /// A group as it was stored. Its topics are looked up at the next report, which moves the
    /// epoch.
    pub(crate) fn restored(
        now: Instant,
        session_timeout: Duration,
        epoch: i32,
        members: &Stored,
    ) -> Result<Self, String> {
        let mut group = Self::new(epoch);
        for (id, bytes) in members {
            let (member, target) = stored::decode(now, session_timeout, bytes.clone())?;
            group.members.insert(id.clone(), member);
            group.target.insert(id.clone(), target);
        }
        Ok(group)
    }

    /// The members, to be stored.
    pub(crate) fn stored(&self) -> Stored {
        let none = Partitions::new();
        let encoded = |(id, member): (&String, &Member)| {
            (id.clone(), stored::encode(member, self.target.get(id).unwrap_or(&none)))
        };
        self.members.iter().map(encoded).collect()
    }

    /// The group epoch.
    pub(crate) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Whether nobody is in the group.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes the report of a member that goes on as before, in a group in which nothing has changed: of all reports most
    /// are such. Then nothing else is looked at, and there is nothing to store. `None` for any other report.
    pub(crate) fn goes_on(
        &mut self,
        now: Instant,
        session_timeout: Duration,
        report: &Report,
        topics: &impl Subscribed,
    ) -> Option<Told> {
        let changed = self.epoch != self.target_epoch || self.seen != Some(topics.changes());
        let member = self.members.get_mut(&report.member_id).filter(|_| !changed)?;
        if !member.goes_on(self.target_epoch, report) {
            return None;
        }
        member.session_deadline = now + session_timeout;
        Some(Told { member_id: report.member_id.clone(), epoch: member.epoch, assignment: None })
    }

    /// Takes a member's report and tells it what it owns.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        session_timeout: Duration,
        report: Report,
        topics: &impl Subscribed,
    ) -> Result<Told, Refusal> {
        if matches!(report.epoch, LEAVE | LEAVE_FOR_NOW) {
            return self.leave(now, session_timeout, report);
        }
        self.check_pattern(&report)?;
        self.admit(now, &report)?;
        let full = report.epoch == JOIN
            || (report.rebalance_timeout.is_some()
                && (report.topics.is_some() || report.pattern.is_some())
                && report.owned.is_some());
        let Some(member) = self.members.get_mut(&report.member_id) else {
            return Err(unknown_member(&report.member_id));
        };
        let before = member.assigned.clone();
        member.session_deadline = now + session_timeout;
        // The first member begins the first epoch, whatever it wants.
        let changed = member.update(&report) || self.epoch == 0;
        self.refresh(changed, topics);
        let Some(member) = self.reconcile(now, &report) else {
            return Err(unknown_member(&report.member_id));
        };
        Ok(Told {
            assignment: (full || member.assigned != before).then(|| member.assigned.clone()),
            member_id: report.member_id,
            epoch: member.epoch,
        })
    }

    /// Whether a commit (or a fetch of offsets) may come from this member.
    pub(crate) fn validate(&self, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        match self.members.get(member_id) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(member) if member.epoch == epoch => Ok(()),
            Some(_) => Err(ErrorCode::STALE_MEMBER_EPOCH),
        }
    }

    /// Removes the members whose time is over, and returns why.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<(String, &'static str)> {
        let overdue = |member: &Member| {
            if member.session_deadline <= now {
                return Some("it was silent for the session time-out");
            }
            let late = member.release_deadline.is_some_and(|deadline| deadline <= now);
            late.then_some("it did not release its partitions within its rebalance time-out")
        };
        let gone: Vec<_> = self
            .members
            .iter()
            .filter_map(|(id, member)| overdue(member).map(|reason| (id.clone(), reason)))
            .collect();
        gone.iter().for_each(|(id, _)| self.remove(id));
        gone
    }

    fn check_pattern(&self, report: &Report) -> Result<(), Refusal> {
        let Some(pattern) = report.pattern.as_deref().filter(|pattern| !pattern.is_empty()) else {
            return Ok(());
        };
        let of_others = self.members.iter().filter(|(id, _)| **id != report.member_id);
        let mut patterns: BTreeSet<&str> =
            of_others.filter_map(|(_, member)| member.pattern.as_deref()).collect();
        patterns.insert(pattern);
        if patterns.len() > MAX_PATTERNS {
            let reason =
                format!("members have {MAX_PATTERNS} different patterns, which is the limit");
            return Err((ErrorCode::INVALID_REQUEST, reason));
        }
        Ok(())
    }

    fn remove(&mut self, member_id: &str) {
        if self.members.remove(member_id).is_some() {
            self.target.remove(member_id);
            self.epoch += 1;
        }
    }

    fn leave(
        &mut self,
        now: Instant,
        session_timeout: Duration,
        report: Report,
    ) -> Result<Told, Refusal> {
        if let Some(instance) = &report.instance {
            self.check_instance(instance, &report.member_id)?;
        }
        let Some(member) = self.members.get_mut(&report.member_id) else {
            return Err(unknown_member(&report.member_id));
        };
        if report.epoch == LEAVE_FOR_NOW && member.instance.is_some() {
            // Its partitions wait for the instance, and for nobody else, until the session ends.
            member.epoch = LEAVE_FOR_NOW;
            member.revoking.clear();
            member.release_deadline = None;
            member.session_deadline = now + session_timeout;
        } else {
            self.remove(&report.member_id);
        }
        Ok(Told { member_id: report.member_id, epoch: report.epoch, assignment: None })
    }

    /// Finds the reporting member, or makes one that joins.
    fn admit(&mut self, now: Instant, report: &Report) -> Result<(), Refusal> {
        if report.epoch == JOIN {
            return self.join(now, report);
        }
        if let Some(instance) = &report.instance {
            self.check_instance(instance, &report.member_id)?;
        }
        match self.members.get(&report.member_id) {
            None => Err(unknown_member(&report.member_id)),
            Some(member) => member.check_epoch(report.epoch, report.owned.as_ref()),
        }
    }

    fn join(&mut self, now: Instant, report: &Report) -> Result<(), Refusal> {
        let previous = report.instance.as_deref().and_then(|instance| self.holder(instance));
        if let Some(previous) = previous.filter(|previous| *previous != report.member_id) {
            return self.take_over(&previous, report);
        }
        if let Some(member) = self.members.get_mut(&report.member_id) {
            // It owns nothing (its report says so), whatever it had before.
            member.rejoin();
            return Ok(());
        }
        if self.members.len() >= MAX_GROUP_SIZE {
            let reason = format!("the group has {MAX_GROUP_SIZE} members, which is the limit");
            return Err((ErrorCode::GROUP_MAX_SIZE_REACHED, reason));
        }
        self.members.insert(report.member_id.clone(), Member::new(now, report));
        Ok(())
    }

    /// A new process of a static member takes the place of the one before.
    fn take_over(&mut self, previous: &str, report: &Report) -> Result<(), Refusal> {
        if self.members.get(previous).is_some_and(|member| member.epoch != LEAVE_FOR_NOW) {
            let reason = format!("the instance is held by member {previous}, which has not left");
            return Err((ErrorCode::UNRELEASED_INSTANCE_ID, reason));
        }
        if let Some(mut member) = self.members.remove(previous) {
            member.rejoin();
            self.members.insert(report.member_id.clone(), member);
        }
        if let Some(target) = self.target.remove(previous) {
            self.target.insert(report.member_id.clone(), target);
        }
        Ok(())
    }

    fn holder(&self, instance: &str) -> Option<String> {
        let holds = |member: &Member| member.instance.as_deref() == Some(instance);
        self.members.iter().find(|(_, member)| holds(member)).map(|(id, _)| id.clone())
    }

    fn check_instance(&self, instance: &str, member_id: &str) -> Result<(), Refusal> {
        match self.holder(instance) {
            None => Err(unknown_member(member_id)),
            Some(holder) if holder == member_id => Ok(()),
            Some(holder) => Err((
                ErrorCode::FENCED_INSTANCE_ID,
                format!("the instance belongs to member {holder} now"),
            )),
        }
    }

    /// Moves the group epoch if members or topics changed, and computes the target of the epoch.
    fn refresh(&mut self, subscription_changed: bool, topics: &impl Subscribed) {
        self.seen = Some(topics.changes());
        let patterns = self.members.values().filter_map(|member| member.pattern.as_deref());
        let matches_changed = self.patterns.refresh(patterns, topics);
        let named = self.members.values().flat_map(|member| &member.topics).map(String::as_str);
        let known: BTreeMap<String, (Uuid, i32)> = named
            .chain(self.patterns.all_topics())
            .filter_map(|name| topics.topic(name).map(|topic| (name.to_owned(), topic)))
            .collect();
        if subscription_changed || matches_changed || known != self.topics {
            self.topics = known;
            self.epoch += 1;
        }
        if self.epoch > self.target_epoch {
            let members = self.members.iter().map(|(id, member)| {
                let named = member.topics.iter().map(String::as_str);
                let matched = self.patterns.topics(member.pattern.as_deref());
                (id.as_str(), named.chain(matched))
            });
            self.target = self.assignor().assign(members, &self.topics, &self.target);
            self.target_epoch = self.epoch;
        }
    }

    /// Brings the member nearer to its target.
    fn reconcile(&mut self, now: Instant, report: &Report) -> Option<&Member> {
        let id = report.member_id.as_str();
        let target = self.target.get(id).cloned().unwrap_or_default();
        let others = self.members.iter().filter(|(other, _)| *other != id);
        let held: Partitions = others
            .flat_map(|(_, member)| member.assigned.union(&member.revoking))
            .copied()
            .collect();
        let target_epoch = self.target_epoch;
        let member = self.members.get_mut(id)?;
        member.reconcile(now, target_epoch, &target, &held, report.owned.as_ref());
        Some(member)
    }

    /// Bytes that the group keeps for its members.
    pub(crate) fn weight(&self) -> usize {
        let owned = |member: &Member| member.assigned.len() + member.revoking.len();
        let partitions: usize = self.members.values().map(owned).sum::<usize>()
            + self.target.values().map(Partitions::len).sum::<usize>();
        self.members.values().map(Member::weight).sum::<usize>()
            + partitions * size_of::<Partition>()
    }

    /// Where the group stands.
    pub(crate) fn state(&self) -> State {
        let is_done = |member: &Member| {
            member.state == member::State::Stable && member.epoch == self.target_epoch
        };
        match () {
            () if self.members.is_empty() => State::Empty,
            () if self.epoch > self.target_epoch => State::Assigning,
            () if self.members.values().all(is_done) => State::Stable,
            () => State::Reconciling,
        }
    }

    /// What most of the members want that want something.
    pub(crate) fn assignor(&self) -> Assignor {
        let mut votes = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.assignor) {
            *votes.entry(assignor).or_insert(0) += 1;
        }
        // Of equals, the last is taken.
        let most = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
        most.map(|(assignor, _)| assignor).unwrap_or_default()
    }

    /// The group epoch that the target assignment is of.
    pub(crate) fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    /// All members.
    pub(crate) fn described(&self) -> impl Iterator<Item = Described<'_>> {
        const NOTHING: &Partitions = &Partitions::new();
        self.members.iter().map(|(id, member)| Described {
            id,
            instance: member.instance.as_deref(),
            client: &member.client,
            epoch: member.epoch,
            topics: &member.topics,
            pattern: member.pattern.as_deref(),
            assigned: &member.assigned,
            target: self.target.get(id).unwrap_or(NOTHING),
        })
    }

    /// The topics that members want.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<String> {
        let named = self.members.values().flat_map(|member| member.topics.iter().cloned());
        named.chain(self.patterns.all_topics().map(str::to_owned)).collect()
    }
}

pub(crate) fn unknown_member(member_id: &str) -> Refusal {
    (ErrorCode::UNKNOWN_MEMBER_ID, format!("member {member_id} is not in the group"))
}

#[cfg(test)]
mod tests;
