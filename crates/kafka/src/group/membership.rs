//! The member's side of KIP-848, without I/O: `step(now, input)` returns actions.
//!
//! Phases: *joining* (epoch 0) -> *member* -> *leaving* -> *ended*. From *member* a fence (our
//! epoch or id is not known any more) leads back to *joining*, with everything lost; a fatal error
//! leads to *ended*.
//!
//! Three sets of partitions: `target` is what the coordinator last assigned, `owned` is what we
//! report and nobody else can have, `releasing` is the part of `owned` that was revoked and is
//! being drained. The coordinator only assigns what its last owner has given up, so new partitions
//! are ours at once; revoked ones stay in `owned`, and thus in the report, until they are released.
//!
//! One heartbeat is in flight at a time. It carries everything when joining and after any failure,
//! since we cannot know what the coordinator still has of us; otherwise only the owned partitions,
//! when they changed. A change is reported at once instead of at the next interval.
//!
//! The coordinator cannot call: what another member gave up is learnt with the next heartbeat. So
//! while the group changes, heartbeats come sooner than the coordinator's interval, and ever later
//! the longer nothing changed: a partition that moves rests for a fraction of the time that the
//! change took, and a change costs the coordinator some tens of heartbeats of each member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::{Instant, Random};
use onrush_wire::message::consumer_group_heartbeat::request::TopicPartitions;
use onrush_wire::message::consumer_group_heartbeat::response::Assignment;
use onrush_wire::message::consumer_group_heartbeat::{Request, Response};
use onrush_wire::{ApiKey, ErrorCode, Uuid, uuid};

use super::{GroupConfig, GroupEvent, Tenure};
use crate::backoff::Backoff;
use crate::error::{ClientError, Remedy};
use crate::partition::TopicPartition;
use crate::string::kafka_string;

/// The epoch that says goodbye, and the one of a static member, which may come back.
const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;
/// Before the coordinator has said one.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// The first heartbeats after a change of the group are this far apart, later ones a part of the time
/// since.
const SETTLING_INTERVAL: Duration = Duration::from_millis(250);
const SETTLING_PART: u32 = 16;
/// Heartbeats of a coordinator that asks for a storm are this far apart.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// A partition as the coordinator names it.
type Key = ([u8; 16], i32);

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// The answer to the heartbeat in flight, or why there is none.
    Answer(Result<Response, ClientError>),
    /// The subscribed topics and their ids, as the metadata has them now.
    Topics(Vec<(Uuid, Arc<str>)>),
    /// Revoked partitions were given up.
    Released(BTreeSet<TopicPartition>),
    /// Heartbeat now, to learn a new epoch.
    Hurry,
    /// Say goodbye.
    Leave,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Send this to the coordinator and bring the answer.
    Heartbeat(Box<Request>),
    /// Ask for the coordinator anew before the next heartbeat.
    FindCoordinator,
    /// Refresh the metadata and bring the subscribed topics.
    Resolve,
    /// Tell the owner.
    Tell(GroupEvent),
    /// It is over.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Joining,
    Member,
    Leaving,
    Ended,
}

#[derive(Debug)]
pub(super) struct Membership {
    config: GroupConfig,
    member_id: String,
    phase: Phase,
    epoch: i32,
    /// How many assignments there were.
    tenures: u64,
    owned: BTreeMap<Key, Tenure>,
    releasing: BTreeSet<Key>,
    target: BTreeSet<Key>,
    names: BTreeMap<[u8; 16], Arc<str>>,
    /// What the coordinator was last told, if it is known to have it.
    reported: Option<BTreeSet<Key>>,
    interval: Duration,
    /// When the group was last seen to change.
    changed: Option<Instant>,
    next_heartbeat: Option<Instant>,
    in_flight: bool,
    /// The goodbye was sent; there is no second one.
    goodbye: bool,
    backoff: Backoff,
    random: Random,
}

impl Membership {
    pub(super) fn new(
        config: GroupConfig,
        member_id: String,
        backoff: Backoff,
        random: Random,
    ) -> Self {
        Self {
            config,
            member_id,
            phase: Phase::Joining,
            epoch: 0,
            tenures: 0,
            owned: BTreeMap::new(),
            releasing: BTreeSet::new(),
            target: BTreeSet::new(),
            names: BTreeMap::new(),
            reported: None,
            interval: FIRST_INTERVAL,
            changed: None,
            next_heartbeat: None,
            in_flight: false,
            goodbye: false,
            backoff,
            random,
        }
    }

    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// What is ours, being released or not, and under which assignment.
    pub(super) fn owned(&self) -> BTreeMap<TopicPartition, Tenure> {
        let named = |(key, tenure): (&Key, &Tenure)| Some((self.named(key)?, *tenure));
        self.owned.iter().filter_map(named).collect()
    }

    /// When to tick, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_heartbeat.filter(|_| !self.in_flight && self.phase != Phase::Ended)
    }

    pub(super) fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Ended {
            return actions;
        }
        match input {
            Input::Answer(answer) => {
                self.in_flight = false;
                match answer {
                    Ok(response) => self.answered(now, response, &mut actions),
                    Err(error) => self.unanswered(now, error, &mut actions),
                }
            }
            Input::Topics(topics) => {
                self.names.extend(topics.into_iter().map(|(id, name)| (id.to_bytes(), name)));
                self.reconcile(now, &mut actions);
            }
            Input::Released(partitions) => self.released(now, &partitions, &mut actions),
            Input::Hurry => self.next_heartbeat = Some(now),
            Input::Leave => {
                self.phase = Phase::Leaving;
                self.next_heartbeat = Some(now);
            }
            Input::Tick => {}
        }
        self.heartbeat_if_due(now, &mut actions);
        actions
    }

    fn heartbeat_if_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due = self.next_heartbeat.is_none_or(|at| at <= now);
        if due && !self.in_flight && self.phase != Phase::Ended {
            self.in_flight = true;
            self.next_heartbeat = Some(now + self.interval);
            actions.push(Action::Heartbeat(Box::new(self.request())));
        }
    }

    fn request(&mut self) -> Request {
        let text = |text: &String| kafka_string(text);
        let mut request = Request {
            group_id: text(&self.config.group),
            member_id: text(&self.member_id),
            member_epoch: self.epoch,
            instance_id: self.config.instance_id.as_ref().map(text),
            rebalance_timeout_ms: -1,
            ..Request::default()
        };
        if self.phase == Phase::Leaving {
            self.goodbye = true;
            request.member_epoch =
                if self.config.instance_id.is_some() { LEAVE_STATIC } else { LEAVE };
            return request;
        }
        let everything = self.reported.is_none();
        if everything {
            request.rack_id = self.config.rack.as_ref().map(text);
            request.rebalance_timeout_ms =
                i32::try_from(self.config.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
            request.subscribed_topic_names = Some(self.config.topics.iter().map(text).collect());
        }
        let owned = self.keys_owned();
        if self.reported.as_ref() != Some(&owned) {
            request.topic_partitions = Some(by_topic(&owned));
        }
        self.reported = Some(owned);
        request
    }

    fn answered(&mut self, now: Instant, response: Response, actions: &mut Vec<Action>) {
        let code = ErrorCode(response.error_code);
        if !code.is_ok() {
            return self.refused(now, code, &response, actions);
        }
        if self.phase == Phase::Leaving {
            return self.leave_on(actions);
        }
        self.backoff.succeeded();
        self.phase = Phase::Member;
        let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.interval = Duration::from_millis(interval).max(SHORTEST_INTERVAL);
        let target = response.assignment.as_deref().map(keys);
        if self.epoch != response.member_epoch || target.is_some_and(|target| target != self.target)
        {
            self.changed = Some(now);
        }
        self.epoch = response.member_epoch;
        // A coordinator that asks for silence gets it.
        let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
        self.next_heartbeat = Some(now + self.pace(now).max(Duration::from_millis(throttle)));
        if let Some(assignment) = response.assignment {
            self.target = keys(&assignment);
        }
        self.reconcile(now, actions);
    }

    /// How long to wait for the next heartbeat.
    fn pace(&self, now: Instant) -> Duration {
        let Some(changed) = self.changed else { return self.interval };
        let since = now.saturating_duration_since(changed);
        self.interval.min(SETTLING_INTERVAL.max(since / SETTLING_PART))
    }

    /// The coordinator said no.
    fn refused(
        &mut self,
        now: Instant,
        code: ErrorCode,
        response: &Response,
        actions: &mut Vec<Action>,
    ) {
        self.reported = None;
        match code {
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => {
                if self.phase == Phase::Leaving {
                    return self.leave_on(actions);
                }
                self.lose_everything(actions);
                self.phase = Phase::Joining;
                self.epoch = 0;
                self.next_heartbeat = Some(now);
            }
            code => {
                let error = ClientError::Answered {
                    api: ApiKey::CONSUMER_GROUP_HEARTBEAT,
                    target: format!("group {}", self.config.group),
                    code,
                    message: response
                        .error_message
                        .as_ref()
                        .map(|message| message.as_str().to_owned()),
                };
                self.unanswered(now, error, actions);
            }
        }
    }

    /// No answer, or one that asks for another try, or one that ends it.
    fn unanswered(&mut self, now: Instant, error: ClientError, actions: &mut Vec<Action>) {
        self.reported = None;
        if self.phase == Phase::Leaving {
            return self.leave_on(actions);
        }
        match error.remedy() {
            Remedy::Fatal => {
                self.lose_everything(actions);
                actions.push(Action::Tell(GroupEvent::Fatal(error)));
                self.end(actions);
            }
            remedy => {
                if remedy == Remedy::Refresh {
                    actions.push(Action::FindCoordinator);
                }
                self.next_heartbeat = Some(now + self.backoff.failed(&self.random));
            }
        }
    }

    fn lose_everything(&mut self, actions: &mut Vec<Action>) {
        let lost: Vec<_> = self.owned().into_keys().collect();
        self.owned.clear();
        self.releasing.clear();
        self.target.clear();
        if !lost.is_empty() {
            actions.push(Action::Tell(GroupEvent::Lost(lost)));
        }
    }

    /// An ordinary heartbeat may have been in flight when we were told to leave: its answer is not
    /// the goodbye's, which is sent now. After the goodbye it is over, whatever came of it.
    fn leave_on(&mut self, actions: &mut Vec<Action>) {
        if self.goodbye {
            self.end(actions);
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Ended;
        actions.push(Action::End);
    }

    fn released(
        &mut self,
        now: Instant,
        partitions: &BTreeSet<TopicPartition>,
        actions: &mut Vec<Action>,
    ) {
        let given: BTreeSet<Key> = self
            .releasing
            .iter()
            .filter(|key| self.named(key).is_some_and(|name| partitions.contains(&name)))
            .copied()
            .collect();
        self.owned.retain(|key, _| !given.contains(key));
        self.releasing.retain(|key| !given.contains(key));
        self.changed = Some(now);
        self.reconcile(now, actions);
    }

    /// Moves what is owned towards the target.
    fn reconcile(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.phase != Phase::Member {
            return;
        }
        let revoked: Vec<Key> = self
            .owned
            .keys()
            .filter(|key| !self.target.contains(*key) && !self.releasing.contains(*key))
            .copied()
            .collect();
        if !revoked.is_empty() {
            self.releasing.extend(&revoked);
            actions.push(Action::Tell(GroupEvent::Revoked(self.all_named(&revoked))));
        }
        let (known, unknown): (Vec<Key>, Vec<Key>) = self
            .target
            .iter()
            .filter(|key| !self.owned.contains_key(*key))
            .copied()
            .partition(|(id, _)| self.names.contains_key(id));
        if !known.is_empty() {
            self.tenures += 1;
            let tenure = Tenure(self.tenures);
            self.owned.extend(known.iter().map(|key| (*key, tenure)));
            actions.push(Action::Tell(GroupEvent::Assigned(self.all_named(&known), tenure)));
        }
        if !unknown.is_empty() {
            actions.push(Action::Resolve);
        }
        if self.reported.as_ref().is_some_and(|reported| *reported != self.keys_owned()) {
            self.next_heartbeat = Some(now);
        }
    }

    fn keys_owned(&self) -> BTreeSet<Key> {
        self.owned.keys().copied().collect()
    }

    fn named(&self, (id, partition): &Key) -> Option<TopicPartition> {
        self.names.get(id).map(|name| TopicPartition::new(Arc::clone(name), *partition))
    }

    fn all_named(&self, keys: &[Key]) -> Vec<TopicPartition> {
        keys.iter().filter_map(|key| self.named(key)).collect()
    }
}

fn keys(assignment: &Assignment) -> BTreeSet<Key> {
    let topics = assignment.topic_partitions.iter();
    topics
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic_id.to_bytes(), *partition))
        })
        .collect()
}

fn by_topic(keys: &BTreeSet<Key>) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
    for (id, partition) in keys {
        topics.entry(*id).or_default().push(*partition);
    }
    let topic = |(id, partitions)| TopicPartitions {
        topic_id: uuid::from_bytes(id),
        partitions,
        ..TopicPartitions::default()
    };
    topics.into_iter().map(topic).collect()
}

#[cfg(test)]
mod tests;
