//! The client's calls about topics, settings, logs and groups: the same scenarios against the embedded broker and against
//! Apache Kafka.
//!
//! `ONRUSH_TEST_BROKERS=HOST:PORT` names a cluster to run against; without it each scenario starts a broker of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use onrush_broker::{Broker, BrokerConfig};
use onrush_kafka::{
    AckSink, Acked, At, Client, ClientConfig, ClientError, Commit, ConfigChange, ConfigOperation,
    ConfigResource, ConfigSource, Effect, ErrorCode, GroupConfig, GroupEvent, GroupKind, Member,
    NewTopic, Producer, ProducerConfig, TopicPartition,
};
use onrush_runtime::{Disk, Executor, Instant, Runtime};
use onrush_wire::message::{Request, decode_response, encode_request, join_group, sync_group};
use onrush_wire::{KafkaString, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster, and a name for a scenario's topic and group that nobody else uses.
struct Target {
    client: Client,
    address: String,
    name: String,
    _broker: Option<Broker>,
}

impl Target {
    async fn new(scenario: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("admin-{scenario}-{}-{number}", std::process::id());
        let runtime = Runtime::production(Disk::memory());
        let (address, broker) = match std::env::var("ONRUSH_TEST_BROKERS") {
            Ok(address) => (address, None),
            Err(_) => {
                let config =
                    BrokerConfig { listen: "127.0.0.1:0".to_owned(), ..BrokerConfig::default() };
                let broker = Broker::open(config, &runtime, Executor::current()).await;
                let broker = broker.expect("the broker opens");
                (broker.address().to_owned(), Some(broker))
            }
        };
        let config = ClientConfig::new([address.clone()]);
        let client = Client::connect(config, &runtime, Executor::current()).await;
        Self { client: client.expect("connected"), address, name, _broker: broker }
    }

    fn topic(&self, partitions: i32) -> NewTopic {
        NewTopic {
            name: self.name.clone(),
            partitions: Some(partitions),
            replication: Some(1),
            configs: Vec::new(),
        }
    }

    async fn create(&self, partitions: i32) {
        self.client.create_topic(&self.name, partitions, 1).await.expect("created");
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.name.as_str(), partition)
    }

    fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Commit {
        let partition = self.partition(partition);
        Commit { partition, offset, leader_epoch: -1, metadata: metadata.to_owned() }
    }

    /// Sends records to a partition, the first with timestamp 1,000 and each later by another 1,000.
    async fn send(&self, partition: i32, count: i64) {
        let (acked, mut acks) = mpsc::unbounded_channel();
        let producer = Producer::start(&self.client, ProducerConfig::default()).await;
        let producer = producer.expect("a producer id");
        let mut appender = producer.appender(Arc::new(Acks(acked)));
        let topic = appender.topic(&self.name).expect("known");
        for number in 1..=count {
            let value = number.to_be_bytes();
            let value = Some(&value[..]);
            let appended = appender.append(
                topic,
                Some(partition),
                number * 1_000,
                None,
                value,
                &[],
                Instant::now(),
            );
            appended.expect("room");
        }
        appender.flush(Instant::now());
        let mut sent = 0;
        while sent < count {
            let acked = timeout(PATIENCE, acks.recv()).await.expect("in time").expect("open");
            acked.outcome.expect("written");
            sent += i64::from(acked.count);
        }
        drop(appender);
        producer.close().await;
    }
}

struct Acks(mpsc::UnboundedSender<Acked>);

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let _ = self.0.send(result);
    }
}

fn code<T: std::fmt::Debug>(outcome: &Result<T, ClientError>) -> Option<ErrorCode> {
    outcome.as_ref().err().and_then(ClientError::code)
}

#[tokio::test]
async fn topics_come_grow_and_go() {
    let target = Target::new("topics").await;
    let (client, name) = (&target.client, target.name.as_str());
    target.create(2).await;
    let other = format!("{name}-other");
    let new = NewTopic { name: other.clone(), ..target.topic(1) };
    let outcomes = client.create_topics(&[target.topic(2), new], Effect::Apply).await;
    assert_eq!(code(&outcomes[name]), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
    assert_eq!(outcomes[&other], Ok(()), "one that is there does not hinder the other");
    assert!(client.topic_settled(&other, |topic| topic.is_some()).await);

    let listed = client.list_topics().await.expect("listed");
    let listed: Vec<_> = listed.iter().filter(|topic| topic.name.starts_with(name)).collect();
    let seen: Vec<_> = listed.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect();
    assert_eq!(seen, [(name, 2), (other.as_str(), 1)]);
    assert!(listed.iter().all(|topic| !topic.internal && topic.replication() == 1));

    let grown = client.create_partitions(&[(name, 5), (&other, 1)], Effect::Apply).await;
    assert_eq!(grown[name], Ok(()));
    assert_eq!(code(&grown[&other]), Some(ErrorCode::INVALID_PARTITIONS), "it has that many");
    assert!(client.topic_settled(name, |t| t.is_some_and(|t| t.partitions.len() == 5)).await);

    let gone = client.delete_topics(&[name, &other, "admin-never-there"]).await;
    assert_eq!((&gone[name], &gone[&other]), (&Ok(()), &Ok(())));
    let unknown = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(&gone["admin-never-there"]), unknown);
    assert!(client.topic_settled(name, |topic| topic.is_none()).await);
    assert_eq!(code(&client.describe_topics(&[name]).await[name]), unknown);
}

#[tokio::test]
async fn a_validated_change_is_not_made() {
    let target = Target::new("validate").await;
    let (client, name) = (&target.client, target.name.as_str());
    let outcomes = client.create_topics(&[target.topic(2)], Effect::Validate).await;
    assert_eq!(outcomes[name], Ok(()));
    let unknown = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(code(&client.describe_topics(&[name]).await[name]), unknown);
    let bad = NewTopic { partitions: Some(0), ..target.topic(0) };
    let outcomes = client.create_topics(&[bad], Effect::Validate).await;
    assert_eq!(code(&outcomes[name]), Some(ErrorCode::INVALID_PARTITIONS));

    target.create(2).await;
    assert_eq!(client.create_partitions(&[(name, 3)], Effect::Validate).await[name], Ok(()));
    let topic = ConfigResource::Topic(name.to_owned());
    let change = set("retention.ms", "1000");
    client.alter_configs(&topic, &[change], Effect::Validate).await.expect("it would");
    let described = client.describe_topics(&[name]).await.remove(name).expect("asked");
    assert_eq!(described.expect("there").partitions.len(), 2);
    assert_ne!(value(client, &topic, "retention.ms").await.0.as_deref(), Some("1000"));
}

fn set(name: &str, value: &str) -> ConfigChange {
    ConfigChange { name: name.to_owned(), operation: ConfigOperation::Set(value.to_owned()) }
}

/// A setting's value, source, and what it would be otherwise.
async fn value(
    client: &Client,
    resource: &ConfigResource,
    name: &str,
) -> (Option<String>, ConfigSource, Option<String>) {
    let mut outcomes = client.describe_configs(std::slice::from_ref(resource)).await;
    let entries = outcomes.remove(resource).expect("asked").expect("described");
    let entry = entries.into_iter().find(|entry| entry.name == name).expect(name);
    (entry.value, entry.source, entry.inherited)
}

/// Waits until a broker shows a setting: it hears of changes a moment after the controller answered.
async fn becomes(client: &Client, resource: &ConfigResource, name: &str, expected: &str) {
    let shows = async {
        while value(client, resource, name).await.0.as_deref() != Some(expected) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, shows).await.expect("shown");
}

#[tokio::test]
async fn settings_are_set_and_unset() {
    let target = Target::new("settings").await;
    let client = &target.client;
    let configs = vec![("max.message.bytes".to_owned(), "2000000".to_owned())];
    let outcomes =
        client.create_topics(&[NewTopic { configs, ..target.topic(1) }], Effect::Apply).await;
    assert_eq!(outcomes[&target.name], Ok(()));
    client.metadata(&[&target.name]).await.expect("led");
    let topic = ConfigResource::Topic(target.name.clone());
    becomes(client, &topic, "max.message.bytes", "2000000").await;
    let (_, source, inherited) = value(client, &topic, "max.message.bytes").await;
    assert_eq!(source, ConfigSource::Topic);
    let inherited = inherited.expect("told");

    let unset =
        ConfigChange { name: "max.message.bytes".to_owned(), operation: ConfigOperation::Unset };
    let changes = [unset, set("retention.ms", "60001")];
    client.alter_configs(&topic, &changes, Effect::Apply).await.expect("changed");
    becomes(client, &topic, "retention.ms", "60001").await;
    let (now, source, _) = value(client, &topic, "max.message.bytes").await;
    assert_eq!(now, Some(inherited));
    assert_ne!(source, ConfigSource::Topic);

    let outcome = client.alter_configs(&topic, &[set("no.such.setting", "1")], Effect::Apply).await;
    assert_eq!(code(&outcome), Some(ErrorCode::INVALID_CONFIG));
    let outcome = client.alter_configs(&topic, &[set("retention.ms", "soon")], Effect::Apply).await;
    assert_eq!(code(&outcome), Some(ErrorCode::INVALID_CONFIG));
}

#[tokio::test]
async fn a_log_is_looked_up_by_time_and_loses_its_start() {
    let target = Target::new("logs").await;
    let client = &target.client;
    target.create(1).await;
    target.send(0, 10).await;
    let partition = target.partition(0);
    let at = async |at| {
        client.list_offsets(std::slice::from_ref(&partition), at).await.expect("found")[&partition]
    };
    assert_eq!(at(At::Timestamp(4_500)).await.offset, 4, "the first record that is not older");
    assert_eq!(at(At::Timestamp(4_500)).await.timestamp, 5_000);
    assert_eq!(at(At::Timestamp(99_000)).await.offset, -1);
    assert_eq!((at(At::Earliest).await.offset, at(At::Latest).await.offset), (0, 10));

    let below = |offset| BTreeMap::from([(partition.clone(), offset)]);
    assert_eq!(client.delete_records(&below(4)).await[&partition], Ok(4));
    assert_eq!(at(At::Earliest).await.offset, 4);
    assert_eq!(client.delete_records(&below(2)).await[&partition], Ok(4), "it never goes back");
    let beyond = client.delete_records(&below(11)).await;
    assert_eq!(code(&beyond[&partition]), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert_eq!(client.delete_records(&below(-1)).await[&partition], Ok(10), "all of it");
    assert_eq!((at(At::Earliest).await.offset, at(At::Latest).await.offset), (10, 10));
}

#[tokio::test]
async fn a_consumer_group_is_described_and_deleted() {
    let target = Target::new("consumer").await;
    let (client, group) = (&target.client, target.name.as_str());
    target.create(2).await;
    target.send(1, 7).await;
    let config = GroupConfig::new(group, [group]);
    let (member, mut events) =
        Member::join(client, Executor::current(), config).await.expect("joined");
    let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
    let GroupEvent::Assigned(held, tenure) = event else { panic!("{event:?}") };
    assert_eq!(held, [target.partition(0), target.partition(1)]);
    let commits = vec![(tenure, target.commit(1, 7, "note"))];
    let codes = member.commit(commits).await.expect("answered");
    assert_eq!(codes, [(target.partition(1), ErrorCode::NONE)]);

    let listed = client.list_groups().await.expect("listed");
    let listed = listed.iter().find(|listed| listed.group == group).expect("listed");
    assert_eq!((listed.kind, listed.protocol_type.as_str()), (GroupKind::Consumer, "consumer"));
    let described = client.describe_group(group).await.expect("described");
    assert_eq!((described.kind, described.members.len()), (GroupKind::Consumer, 1));
    assert_eq!(described.members[0].client_id, "onrush");
    assert_eq!(described.members[0].target.as_ref(), Some(&held));
    assert_eq!(described.members[0].topics, [group]);

    let offsets = client.fetch_all_offsets(group).await.expect("fetched");
    let seen: Vec<_> = offsets.iter().map(|o| (&o.partition, o.offset, &*o.metadata)).collect();
    assert_eq!(seen, [(&target.partition(1), 7, "note")]);
    let deleted = client.delete_offsets(group, &[target.partition(1)]).await.expect("answered");
    let used = Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    assert_eq!(code(&deleted[&target.partition(1)]), used);
    assert_eq!(code(&client.delete_group(group).await), Some(ErrorCode::NON_EMPTY_GROUP));

    member.leave().await;
    let deleted = client.delete_offsets(group, &[target.partition(1)]).await.expect("answered");
    assert_eq!(deleted[&target.partition(1)], Ok(()));
    assert_eq!(client.fetch_all_offsets(group).await, Ok(Vec::new()));
    let empty = client.describe_group(group).await.expect("described");
    assert_eq!((empty.state.as_str(), empty.members.len()), ("Empty", 0));
    client.delete_group(group).await.expect("deleted");
    let gone = Some(ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(code(&client.describe_group(group).await), gone);
    assert_eq!(code(&client.delete_group(group).await), gone);
    assert!(client.list_groups().await.expect("listed").iter().all(|g| g.group != group));
}

#[tokio::test]
async fn offsets_without_members_make_a_group() {
    let target = Target::new("simple").await;
    let (client, group) = (&target.client, target.name.as_str());
    target.create(3).await;
    target.send(2, 5).await;
    assert_eq!(
        code(&client.describe_group(group).await),
        Some(ErrorCode::GROUP_ID_NOT_FOUND),
        "nobody committed"
    );
    let commits = [target.commit(2, 5, ""), target.commit(0, 0, "x")];
    client.commit_offsets(group, &commits).await.expect("committed");
    let offsets = client.fetch_all_offsets(group).await.expect("fetched");
    let seen: Vec<_> = offsets.iter().map(|o| (o.partition.partition, o.offset)).collect();
    assert_eq!(seen, [(0, 0), (2, 5)], "by partition");
    let described = client.describe_group(group).await.expect("described");
    assert_eq!((described.kind, described.state.as_str()), (GroupKind::Classic, "Empty"));
    client.delete_group(group).await.expect("deleted");
    assert_eq!(client.fetch_all_offsets(group).await, Ok(Vec::new()));
}

/// A connection that speaks as a classic member.
struct Classic(TcpStream);

impl Classic {
    const JOIN: i16 = 5;
    const SYNC: i16 = 3;

    async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        let header = RequestHeader {
            api_key: R::API,
            api_version: version,
            correlation_id: 1,
            client_id: Some(KafkaString::from("by-hand".to_owned())),
        };
        let frame = encode_request(&header, &request).expect("valid");
        self.0.write_all(&frame).await.expect("written");
        let length = usize::try_from(self.0.read_i32().await.expect("answered")).expect("a length");
        let mut frame = vec![0; length];
        self.0.read_exact(&mut frame).await.expect("whole");
        decode_response::<R::Response>(version, Bytes::from(frame)).expect("valid").1
    }

    async fn join(&mut self, group: &str, topic: &str) -> join_group::Response {
        let protocol = join_group::request::JoinGroupRequestProtocol {
            name: text("range"),
            metadata: Bytes::from(subscription(topic)),
            ..join_group::request::JoinGroupRequestProtocol::default()
        };
        let mut request = join_group::Request {
            group_id: text(group),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: text("consumer"),
            protocols: vec![protocol],
            ..join_group::Request::default()
        };
        let answer = self.call(Self::JOIN, request.clone()).await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::MEMBER_ID_REQUIRED);
        request.member_id = answer.member_id;
        let joined = self.call(Self::JOIN, request).await;
        assert_eq!(ErrorCode(joined.error_code), ErrorCode::NONE);
        joined
    }
}

fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

fn counted(topic: &str) -> Vec<u8> {
    let length = u16::try_from(topic.len()).expect("short").to_be_bytes();
    [&[0, 0, 0, 0, 0, 1], &length[..], topic.as_bytes()].concat()
}

fn subscription(topic: &str) -> Vec<u8> {
    [&counted(topic)[..], &[0xff; 4]].concat()
}

fn assignment(topic: &str) -> Vec<u8> {
    [&counted(topic)[..], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1], &[0xff; 4]].concat()
}

#[tokio::test]
async fn a_classic_group_tells_its_members_partitions() {
    let target = Target::new("classic").await;
    let (client, group) = (&target.client, target.name.as_str());
    target.create(2).await;
    // Makes the broker find a place for the group, and so for the connection by hand.
    client.commit_offsets(group, &[target.commit(0, 0, "")]).await.expect("committed");
    let mut classic = Classic(TcpStream::connect(&target.address).await.expect("it listens"));
    let joined = classic.join(group, group).await;
    let assigned = sync_group::request::SyncGroupRequestAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from(assignment(group)),
        ..sync_group::request::SyncGroupRequestAssignment::default()
    };
    let synced = classic
        .call(
            Classic::SYNC,
            sync_group::Request {
                group_id: text(group),
                generation_id: joined.generation_id,
                member_id: joined.member_id.clone(),
                assignments: vec![assigned],
                ..sync_group::Request::default()
            },
        )
        .await;
    assert_eq!(ErrorCode(synced.error_code), ErrorCode::NONE);

    let described = client.describe_group(group).await.expect("described");
    assert_eq!((described.kind, described.state.as_str()), (GroupKind::Classic, "Stable"));
    assert_eq!(described.assignor, "range");
    let member = &described.members[0];
    assert_eq!(member.id, joined.member_id.as_str());
    assert_eq!((member.client_id.as_str(), &*member.topics), ("by-hand", &[group.to_owned()][..]));
    assert_eq!(member.assigned, [target.partition(0), target.partition(1)]);
    assert_eq!(code(&client.delete_group(group).await), Some(ErrorCode::NON_EMPTY_GROUP));
    let outcome = client.commit_offsets(group, &[target.commit(0, 0, "")]).await;
    assert_eq!(code(&outcome), Some(ErrorCode::UNKNOWN_MEMBER_ID), "offsets are its members'");
}
