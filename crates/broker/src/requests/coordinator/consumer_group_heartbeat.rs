//! ConsumerGroupHeartbeat.

use std::sync::Arc;
use std::time::Duration;

use onrush_runtime::Instant;
use onrush_wire::message::consumer_group_heartbeat::response::{Assignment, TopicPartitions};
use onrush_wire::message::consumer_group_heartbeat::{Request, Response, request};
use onrush_wire::{ErrorCode, KafkaString, Uuid, uuid};

use super::by_topic;
use crate::core::{Core, string};
use crate::groups::consumer::{
    Assignor, ConsumerGroup, JOIN, LEAVE, LEAVE_FOR_NOW, NAME_WEIGHT, Partition, Partitions,
    Refusal, Report, Subscribed, Told, patterns, unknown_member,
};
use crate::groups::{Client, Group};
use crate::topics::{TopicRef, Topics};

/// Most bytes of the topic names of one member, which the group keeps and writes.
const MAX_TOPIC_NAMES: usize = 128 * 1024;

/// Longest id of a member or an instance: what the older encoding of strings can carry.
pub(super) const MAX_MEMBER_ID: usize = i16::MAX as usize;

impl Subscribed for Topics {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        let topic = self.find(TopicRef::Name(name)).ok()?;
        Some((topic.id, i32::try_from(topic.logs.len()).unwrap_or(i32::MAX)))
    }

    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|topic| &topic.name)
    }

    fn changes(&self) -> u64 {
        Self::changes(self)
    }
}

impl Core {
    pub(crate) fn consumer_group_heartbeat(
        &mut self,
        now: Instant,
        client: Client,
        request: Request,
    ) -> Response {
        let group = request.group_id.clone();
        let told = valid(&request)
            .and_then(|()| {
                self.check_group(now, group.as_str()).map_err(|error| (error, error.to_string()))
            })
            .and_then(|()| self.report(now, client, group.as_str(), request));
        match told {
            Ok(told) => self.told(group.as_str(), told),
            Err((error, reason)) => {
                tracing::info!(group = group.as_str(), %error, reason, "refused a heartbeat");
                Response {
                    error_code: error.0,
                    error_message: Some(string(&reason)),
                    ..Response::default()
                }
            }
        }
    }

    /// Only a member that is let in makes a group: else requests that are refused would fill the
    /// memory.
    fn report(
        &mut self,
        now: Instant,
        client: Client,
        group_id: &str,
        request: Request,
    ) -> Result<Told, Refusal> {
        self.expire_members(now, group_id);
        let mut report = report_of(client, request);
        if report.member_id.is_empty() {
            // Version 0 leaves the choice to the broker.
            report.member_id = uuid::from_random(self.random.uuid()).to_string();
        }
        let group_id: Arc<str> = group_id.into();
        let timeout = self.group_settings(&group_id).session_timeout;
        if let Some(Group::Consumer(group)) = self.groups.get_mut(&group_id)
            && let Some(told) = group.goes_on(now, timeout, &report, &self.topics)
        {
            return Ok(told);
        }
        if let Some(topics) = &report.topics {
            let names = topics.iter().map(|name| name.len() + NAME_WEIGHT).sum::<usize>();
            // It may be given any of them.
            let partitions = self.topics.iter().map(|topic| topic.logs.len()).sum::<usize>();
            let more = names + partitions * 2 * size_of::<Partition>();
            self.check_members(more).map_err(|error| (error, error.to_string()))?;
        }
        self.make_consumer_group(&group_id, &report)?;
        let Some(Group::Consumer(group)) = self.groups.get_mut(&group_id) else {
            return Err(unknown_member(&report.member_id));
        };
        let told = group.heartbeat(now, timeout, report, &self.topics);
        let stored = self.store(&group_id).map_err(|error| {
            let reason = format!("the broker cannot store the group: {error}");
            (ErrorCode::COORDINATOR_NOT_AVAILABLE, reason)
        });
        if !self.offsets.knows(&group_id) {
            // Nobody was let in, or the epoch could not be stored.
            self.groups.remove(&group_id);
        }
        stored.and(told)
    }

    /// Sees to it that the group is there which a report is for: who joins makes it, or takes over an
    /// empty classic one.
    fn make_consumer_group(&mut self, id: &Arc<str>, report: &Report) -> Result<(), Refusal> {
        match self.groups.get(id) {
            Some(Group::Consumer(_)) => {}
            Some(Group::Classic(group)) if !group.is_empty() => {
                let reason = format!("{id} is a classic group with members, not a consumer group");
                return Err((ErrorCode::GROUP_ID_NOT_FOUND, reason));
            }
            None | Some(Group::Classic(_)) if report.epoch != JOIN => {
                return Err(unknown_member(&report.member_id));
            }
            None | Some(Group::Classic(_)) => {
                let group = ConsumerGroup::new(self.offsets.epoch(id));
                self.groups.insert(id.clone(), Group::Consumer(group));
            }
        }
        Ok(())
    }

    fn told(&self, group: &str, told: Told) -> Response {
        let assignment = told.assignment.map(|partitions| {
            let topics = by_topic(&partitions).map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions,
                ..TopicPartitions::default()
            });
            Box::new(Assignment { topic_partitions: topics.collect(), ..Assignment::default() })
        });
        Response {
            member_id: Some(told.member_id.into()),
            member_epoch: told.epoch,
            heartbeat_interval_ms: millis(self.group_settings(group).heartbeat_interval),
            assignment,
            ..Response::default()
        }
    }
}

fn valid(request: &Request) -> Result<(), Refusal> {
    let invalid = |reason: &str| Err((ErrorCode::INVALID_REQUEST, reason.to_owned()));
    let is_empty = |field: &Option<KafkaString>| field.as_ref().is_some_and(KafkaString::is_empty);
    if is_empty(&request.instance_id) || is_empty(&request.rack_id) {
        return invalid("an instance id or rack id that is given is not empty");
    }
    let instance = request.instance_id.as_ref().map_or("", KafkaString::as_str);
    if request.member_id.as_str().len().max(instance.len()) > MAX_MEMBER_ID {
        return invalid("a member id or instance id is above 32767 bytes");
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.map(|name| name.as_str().len()).sum::<usize>() > MAX_TOPIC_NAMES {
        return invalid("the names of the topics take more than 128 KiB");
    }
    if let Some(pattern) = request.subscribed_topic_regex.as_ref().filter(|text| !text.is_empty()) {
        patterns::check(pattern.as_str())?;
    }
    let subscribes =
        request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
    if let Some(name) = &request.server_assignor
        && Assignor::named(name.as_str()).is_none()
    {
        let reason = format!("the assignor {name} is not known, but uniform and range are");
        return Err((ErrorCode::UNSUPPORTED_ASSIGNOR, reason));
    }
    let owns = request.topic_partitions.as_ref().is_none_or(|partitions| !partitions.is_empty());
    match request.member_epoch {
        JOIN if request.rebalance_timeout_ms <= 0 => {
            invalid("who joins gives a rebalance time-out")
        }
        JOIN if owns => invalid("who joins owns nothing, and says so"),
        JOIN if !subscribes => invalid("who joins names its topics, or gives a pattern of them"),
        JOIN => Ok(()),
        ..LEAVE_FOR_NOW => invalid("the member epoch is below -2"),
        _ if request.member_id.is_empty() => invalid("only who joins may have no member id"),
        LEAVE_FOR_NOW if request.instance_id.is_none() => {
            invalid("only an instance leaves for a while")
        }
        LEAVE | LEAVE_FOR_NOW | 1.. => Ok(()),
    }
}

fn report_of(client: Client, request: Request) -> Report {
    let text = |text: KafkaString| text.as_str().to_owned();
    Report {
        member_id: text(request.member_id),
        epoch: request.member_epoch,
        client,
        instance: request.instance_id.map(text),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms)
            .ok()
            .map(Duration::from_millis),
        topics: request.subscribed_topic_names.map(|names| names.into_iter().map(text).collect()),
        assignor: request.server_assignor.and_then(|name| Assignor::named(name.as_str())),
        pattern: request.subscribed_topic_regex.map(text),
        owned: request.topic_partitions.map(|topics| partitions_of(&topics)),
    }
}

fn partitions_of(topics: &[request::TopicPartitions]) -> Partitions {
    let of_topic = |topic: &request::TopicPartitions| {
        let id = topic.topic_id;
        topic.partitions.clone().into_iter().map(move |partition| (id, partition))
    };
    topics.iter().flat_map(of_topic).collect()
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use onrush_runtime::disk::MemoryDisk;
    use onrush_runtime::{Disk, Runtime};

    use super::super::MAX_MEMBERS;
    use super::*;
    use crate::BrokerConfig;

    fn core(disk: &MemoryDisk) -> (Core, Instant) {
        let runtime = Runtime::production(Disk::Memory(disk.clone()));
        let core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        (core, runtime.clock.now())
    }

    fn report(epoch: i32, topics: &[&str]) -> Request {
        Request {
            group_id: string("g"),
            member_id: string("m"),
            member_epoch: epoch,
            rebalance_timeout_ms: 1_000,
            subscribed_topic_names: Some(topics.iter().map(|name| string(name)).collect()),
            topic_partitions: Some(Vec::new()),
            ..Request::default()
        }
    }

    fn holds(core: &Core) -> (usize, usize, usize) {
        (core.groups.len(), core.members.groups().len(), core.offsets.count())
    }

    #[test]
    fn a_refused_heartbeat_leaves_nothing() {
        let (mut core, now) = core(&MemoryDisk::default());
        let long = "t".repeat(MAX_TOPIC_NAMES + 1);
        for (request, error) in [
            (report(5, &["t"]), ErrorCode::UNKNOWN_MEMBER_ID),
            (report(LEAVE, &["t"]), ErrorCode::UNKNOWN_MEMBER_ID),
            (report(JOIN, &[&long]), ErrorCode::INVALID_REQUEST),
            (
                Request { member_id: string(&"m".repeat(40_000)), ..report(JOIN, &["t"]) },
                ErrorCode::INVALID_REQUEST,
            ),
        ] {
            let epoch = request.member_epoch;
            let told = core.consumer_group_heartbeat(now, Client::default(), request);
            assert_eq!(told.error_code, error.0, "epoch {epoch}");
            assert_eq!(holds(&core), (0, 0, 0), "epoch {epoch}");
        }
    }

    #[test]
    fn a_group_that_cannot_be_stored_is_not_there() {
        let disk = MemoryDisk::default();
        let (mut core, now) = core(&disk);
        disk.limit(Some(disk.used()));
        let told = core.consumer_group_heartbeat(now, Client::default(), report(JOIN, &["t"]));
        assert_eq!(told.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
        assert_eq!(holds(&core), (0, 0, 0));
        disk.limit(None);
        let told = core.consumer_group_heartbeat(now, Client::default(), report(JOIN, &["t"]));
        assert_eq!((told.error_code, told.member_epoch), (0, 1));
    }

    #[test]
    fn every_group_with_a_member_is_counted_and_an_empty_one_has_no_members_on_the_disk() {
        let (mut core, now) = core(&MemoryDisk::default());
        let told = core.consumer_group_heartbeat(now, Client::default(), report(JOIN, &[]));
        assert_eq!((told.error_code, told.member_epoch), (0, 1));
        assert_eq!(holds(&core), (1, 1, 1));
        let told = core.consumer_group_heartbeat(now, Client::default(), report(LEAVE, &[]));
        assert_eq!(told.error_code, 0);
        assert_eq!(holds(&core), (1, 0, 1));
    }

    #[test]
    fn groups_that_everybody_left_make_room_for_others() {
        let (mut core, now) = core(&MemoryDisk::default());
        for index in 0..super::super::MAX_GROUPS + 1 {
            let group_id = string(&format!("g{index}"));
            for epoch in [JOIN, LEAVE] {
                let request = Request { group_id: group_id.clone(), ..report(epoch, &[]) };
                let told = core.consumer_group_heartbeat(now, Client::default(), request);
                assert_eq!(told.error_code, 0, "{group_id}");
            }
        }
    }

    fn join(core: &mut Core, now: Instant, group: &str) -> i16 {
        let request = Request { group_id: string(group), ..report(JOIN, &["t"]) };
        core.consumer_group_heartbeat(now, Client::default(), request).error_code
    }

    fn beat(core: &mut Core, now: Instant, epoch: i32) -> Response {
        let request = Request {
            group_id: string("g"),
            member_id: string("m"),
            member_epoch: epoch,
            rebalance_timeout_ms: -1,
            ..Request::default()
        };
        core.consumer_group_heartbeat(now, Client::default(), request)
    }

    #[test]
    fn who_says_nothing_new_is_told_of_partitions_that_were_added() {
        let (mut core, now) = core(&MemoryDisk::default());
        core.topics.create(&core.random, "t", 1).expect("created");
        assert_eq!(join(&mut core, now, "g"), 0);
        assert_eq!(beat(&mut core, now, 1).assignment, None);
        core.topics.add_partitions("t", 3).expect("added");
        let told = beat(&mut core, now, 1);
        let assigned = told.assignment.expect("a new assignment").topic_partitions.remove(0);
        assert_eq!((told.member_epoch, assigned.partitions), (2, vec![0, 1, 2]));
        assert_eq!(beat(&mut core, now, 2).assignment, None);
    }

    #[test]
    fn there_is_a_limit_to_what_all_groups_keep_for_their_members() {
        let (mut core, now) = core(&MemoryDisk::default());
        assert_eq!(join(&mut core, now, "g"), 0);
        // As if it were of many members.
        let mut large = ConsumerGroup::default();
        let report = report_of(Client::default(), report(JOIN, &[&"t".repeat(MAX_MEMBERS)]));
        large.heartbeat(now, Duration::from_secs(1), report, &core.topics).expect("joins");
        core.groups.insert("large".into(), Group::Consumer(large));
        core.members_room = 0;
        assert_eq!(join(&mut core, now, "h"), ErrorCode::GROUP_MAX_SIZE_REACHED.0);
        assert_eq!(beat(&mut core, now, 1).error_code, 0, "who is in goes on");
    }
}
