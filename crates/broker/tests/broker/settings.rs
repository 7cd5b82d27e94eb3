//! Settings of topics, brokers and groups, as admin clients read and alter them.

use std::time::Duration;

use onrush_broker::BrokerConfig;
use onrush_record::{BatchHeader, Compression};
use onrush_runtime::{Clock, Disk};
use onrush_wire::ErrorCode;
use onrush_wire::message::{
    alter_configs, consumer_group_heartbeat, create_topics, describe_configs,
    incremental_alter_configs, list_config_resources,
};

use crate::support::*;

const TOPIC_KIND: i8 = 2;
const BROKER_KIND: i8 = 4;
const GROUP_KIND: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Where Kafka says that values come from.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 2;
const OF_CLUSTER: i8 = 3;
const STARTED_WITH: i8 = 4;
const DEFAULT: i8 = 5;
const OF_GROUP: i8 = 8;

type Described = describe_configs::response::DescribeConfigsResult;

impl Client {
    async fn describe(&mut self, kind: i8, name: &str, keys: &[&str]) -> Described {
        let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
        let resource = describe_configs::request::DescribeConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configuration_keys: (!keys.is_empty()).then_some(keys),
            ..Default::default()
        };
        let request = describe_configs::Request {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
            ..Default::default()
        };
        self.ask(4, &request).await.results.remove(0)
    }

    /// The value of one setting and where it comes from.
    async fn setting(&mut self, kind: i8, name: &str, key: &str) -> (String, i8) {
        let mut described = self.describe(kind, name, &[key]).await;
        assert_eq!(described.error_code, 0, "{described:?}");
        let config = described.configs.remove(0);
        (config.value.map_or_else(String::new, |value| value.to_string()), config.config_source)
    }

    /// Alters one setting and returns the error code and message.
    async fn alter(
        &mut self,
        kind: i8,
        name: &str,
        changes: &[(&str, i8, Option<&str>)],
    ) -> (ErrorCode, String) {
        let request = incremental_request(kind, name, changes);
        outcome(self.ask(1, &request).await)
    }
}

fn incremental_request(
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> incremental_alter_configs::Request {
    let change = |(name, operation, value): &(&str, i8, Option<&str>)| {
        incremental_alter_configs::request::AlterableConfig {
            name: text(name),
            config_operation: *operation,
            value: value.map(text),
            ..Default::default()
        }
    };
    let resource = incremental_alter_configs::request::AlterConfigsResource {
        resource_type: kind,
        resource_name: text(name),
        configs: changes.iter().map(change).collect(),
        ..Default::default()
    };
    incremental_alter_configs::Request { resources: vec![resource], ..Default::default() }
}

fn outcome(mut response: incremental_alter_configs::Response) -> (ErrorCode, String) {
    let response = response.responses.remove(0);
    let message = response.error_message.map_or_else(String::new, |text| text.to_string());
    (ErrorCode(response.error_code), message)
}

#[tokio::test]
async fn a_topics_settings_are_its_own_or_the_brokers() {
    let disk = Disk::memory();
    let config =
        BrokerConfig { log_retention: Some(Duration::from_secs(3_600)), ..BrokerConfig::default() };
    let broker = broker_on(&disk, config.clone()).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    let retention = ("retention.ms", "3600000".to_owned(), STARTED_WITH);
    assert_eq!(client.setting(TOPIC_KIND, TOPIC, retention.0).await, (retention.1, retention.2));
    let segment = client.setting(TOPIC_KIND, TOPIC, "segment.bytes").await;
    assert_eq!(segment, ("1073741824".to_owned(), DEFAULT));

    let set = [("retention.ms", SET, Some("5000")), ("segment.bytes", SET, Some(" 65536 "))];
    assert_eq!(client.alter(TOPIC_KIND, TOPIC, &set).await.0, ErrorCode::NONE);
    let described = client.describe(TOPIC_KIND, TOPIC, &["retention.ms"]).await.configs.remove(0);
    assert_eq!((described.value, described.config_source), (Some(text("5000")), OF_TOPIC));
    let places: Vec<_> = described
        .synonyms
        .iter()
        .map(|place| {
            (place.name.as_str(), place.value.as_ref().map(|value| value.as_str()), place.source)
        })
        .collect();
    let expected = [
        ("retention.ms", Some("5000"), OF_TOPIC),
        ("log.retention.ms", Some("3600000"), STARTED_WITH),
        ("log.retention.ms", Some("604800000"), DEFAULT),
    ];
    assert_eq!(places, expected);
    drop(client);
    broker.close().await.expect("closes");

    let broker = broker_on(&disk, config).await;
    let mut client = Client::connect(broker.address()).await;
    let segment = client.setting(TOPIC_KIND, TOPIC, "segment.bytes").await;
    assert_eq!(segment, ("65536".to_owned(), OF_TOPIC));
    client.alter(TOPIC_KIND, TOPIC, &[("retention.ms", DELETE, None)]).await;
    let retention = client.setting(TOPIC_KIND, TOPIC, "retention.ms").await;
    assert_eq!(retention, ("3600000".to_owned(), STARTED_WITH));
}

#[tokio::test]
async fn what_cannot_be_set_on_a_topic_says_why_and_sets_nothing() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    for (change, error, reason) in [
        (("retention.ms", SET, Some("soon")), ErrorCode::INVALID_CONFIG, "whole number"),
        (("retention.ms", SET, Some("-2")), ErrorCode::INVALID_CONFIG, "at least 0"),
        (("retention.m", SET, Some("1")), ErrorCode::INVALID_CONFIG, "retention.ms"),
        (("cleanup.policy", SET, Some("compact")), ErrorCode::INVALID_CONFIG, "not served"),
        (("cleanup.policy", APPEND, Some("compact")), ErrorCode::INVALID_CONFIG, "delete,compact"),
        (("cleanup.policy", SUBTRACT, Some("delete")), ErrorCode::INVALID_CONFIG, "must be delete"),
        (("retention.ms", APPEND, Some("1")), ErrorCode::INVALID_CONFIG, "not a list"),
        (("min.insync.replicas", SET, Some("2")), ErrorCode::INVALID_CONFIG, "one replica"),
        (("retention.ms", SET, None), ErrorCode::INVALID_REQUEST, "no value"),
        (("retention.ms", 9, Some("1")), ErrorCode::INVALID_REQUEST, "operation 9"),
    ] {
        let changes = [("segment.ms", SET, Some("7")), change];
        let (found, message) = client.alter(TOPIC_KIND, TOPIC, &changes).await;
        assert_eq!(found, error, "{change:?} {message}");
        assert!(message.contains(reason), "{change:?} {message}");
    }
    let segment = client.setting(TOPIC_KIND, TOPIC, "segment.ms").await;
    assert_eq!(segment, ("604800000".to_owned(), DEFAULT));
    assert_eq!(
        client.alter(TOPIC_KIND, TOPIC, &[("cleanup.policy", APPEND, Some("delete"))]).await.0,
        ErrorCode::NONE
    );
    let unknown = client.alter(TOPIC_KIND, "nothing", &[]).await.0;
    assert_eq!(unknown, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let mut twice = incremental_request(TOPIC_KIND, TOPIC, &[("segment.ms", SET, Some("7"))]);
    twice.resources.push(twice.resources[0].clone());
    let refused = client.ask(1, &twice).await;
    let codes: Vec<i16> = refused.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST.0; 2]);
}

#[tokio::test]
async fn every_version_of_what_alters_and_describes() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    for version in 0..=1 {
        let mut request =
            incremental_request(TOPIC_KIND, TOPIC, &[("segment.ms", SET, Some("1000"))]);
        request.validate_only = true;
        assert_eq!(outcome(client.ask(version, &request).await).0, ErrorCode::NONE);
        assert_eq!(client.setting(TOPIC_KIND, TOPIC, "segment.ms").await.1, DEFAULT);
        request.validate_only = false;
        assert_eq!(outcome(client.ask(version, &request).await).0, ErrorCode::NONE);
        assert_eq!(client.setting(TOPIC_KIND, TOPIC, "segment.ms").await.0, "1000");
        client.alter(TOPIC_KIND, TOPIC, &[("segment.ms", DELETE, None)]).await;
    }
    for version in 0..=2 {
        client.alter(TOPIC_KIND, TOPIC, &[("segment.ms", SET, Some("1000"))]).await;
        let config = alter_configs::request::AlterableConfig {
            name: text("retention.ms"),
            value: Some(text("5")),
            ..Default::default()
        };
        let resource = alter_configs::request::AlterConfigsResource {
            resource_type: TOPIC_KIND,
            resource_name: text(TOPIC),
            configs: vec![config],
            ..Default::default()
        };
        let request = alter_configs::Request { resources: vec![resource], ..Default::default() };
        let altered = client.ask(version, &request).await;
        assert_eq!(altered.responses[0].error_code, 0, "version {version}");
        // All that was set before is replaced.
        assert_eq!(client.setting(TOPIC_KIND, TOPIC, "segment.ms").await.1, DEFAULT);
        assert_eq!(client.setting(TOPIC_KIND, TOPIC, "retention.ms").await.0, "5");
    }
    for version in 1..=4 {
        let resource = |kind, name| describe_configs::request::DescribeConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configuration_keys: None,
            ..Default::default()
        };
        let request = describe_configs::Request {
            resources: vec![
                resource(TOPIC_KIND, TOPIC),
                resource(BROKER_KIND, "1"),
                resource(GROUP_KIND, "g"),
                resource(BROKER_KIND, "2"),
                resource(TOPIC_KIND, "nothing"),
            ],
            include_synonyms: true,
            include_documentation: version >= 3,
            ..Default::default()
        };
        let results = client.ask(version, &request).await.results;
        let codes: Vec<i16> = results.iter().map(|result| result.error_code).collect();
        let (wrong, unknown) =
            (ErrorCode::INVALID_REQUEST.0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
        assert_eq!(codes, [0, 0, 0, wrong, unknown], "version {version}");
        for config in results.iter().flat_map(|result| &result.configs) {
            assert_eq!(config.documentation.is_some(), version >= 3);
            assert_eq!(config.config_type != 0, version >= 3, "{config:?}");
        }
    }
}

#[tokio::test]
async fn a_brokers_settings_are_altered_where_they_can_be() {
    let disk = Disk::memory();
    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    let set = |value: &'static str| [("message.max.bytes", SET, Some(value))];
    assert_eq!(client.alter(BROKER_KIND, "", &set("100")).await.0, ErrorCode::NONE);
    let topics = client.setting(TOPIC_KIND, TOPIC, "max.message.bytes").await;
    assert_eq!(topics, ("100".to_owned(), OF_CLUSTER));
    let refused = client.produce(batch(&["x".repeat(100).as_str()])).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.alter(BROKER_KIND, "1", &set("1000")).await.0, ErrorCode::NONE);
    let brokers = client.setting(BROKER_KIND, "1", "message.max.bytes").await;
    assert_eq!(brokers, ("1000".to_owned(), OF_BROKER));
    let written = client.produce(batch(&["x".repeat(100).as_str()])).await;
    assert_eq!(written.error_code, ErrorCode::NONE);
    let cluster = client.describe(BROKER_KIND, "", &[]).await.configs;
    let names: Vec<&str> = cluster.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["message.max.bytes"]);

    let (error, message) = client.alter(BROKER_KIND, "", &[("node.id", SET, Some("2"))]).await;
    assert_eq!(error, ErrorCode::INVALID_REQUEST);
    assert!(message.contains("node.id cannot be altered"), "{message}");
    drop(client);
    broker.close().await.expect("closes");

    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    let topics = client.setting(TOPIC_KIND, TOPIC, "max.message.bytes").await;
    assert_eq!(topics, ("1000".to_owned(), OF_BROKER));
    for fixed in client.describe(BROKER_KIND, "1", &["node.id", "num.partitions"]).await.configs {
        assert!(fixed.read_only, "{fixed:?}");
    }
}

#[tokio::test]
async fn a_groups_settings_stay_within_what_the_broker_allows() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let session = "consumer.session.timeout.ms";
    assert_eq!(client.setting(GROUP_KIND, "g", session).await, ("45000".to_owned(), DEFAULT));
    let (error, message) = client.alter(GROUP_KIND, "g", &[(session, SET, Some("1000"))]).await;
    assert_eq!(error, ErrorCode::INVALID_CONFIG);
    assert!(message.contains("45000 to 60000"), "{message}");
    let set = client.alter(GROUP_KIND, "g", &[(session, SET, Some("50000"))]).await;
    assert_eq!(set.0, ErrorCode::NONE, "{}", set.1);
    assert_eq!(client.setting(GROUP_KIND, "g", session).await, ("50000".to_owned(), OF_GROUP));
    assert_eq!(client.setting(GROUP_KIND, "h", session).await.1, DEFAULT);
    let heartbeat = "consumer.heartbeat.interval.ms";
    client.alter(GROUP_KIND, "g", &[(heartbeat, SET, Some("6000"))]).await;
    for (group, expected) in [("g", 6_000), ("h", 5_000)] {
        let join = consumer_group_heartbeat::Request {
            group_id: text(group),
            member_id: text("member"),
            rebalance_timeout_ms: 1_000,
            subscribed_topic_names: Some(vec![text(TOPIC)]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let told = client.ask(1, &join).await;
        assert_eq!((told.error_code, told.heartbeat_interval_ms), (0, expected), "{told:?}");
    }
    let listed = |kinds: &[i8]| list_config_resources::Request {
        resource_types: kinds.to_vec(),
        ..Default::default()
    };
    let groups = client.ask(1, &listed(&[GROUP_KIND])).await.config_resources;
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].resource_name, text("g"));
    let all = client.ask(1, &listed(&[])).await.config_resources;
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(client.ask(0, &listed(&[])).await.config_resources.is_empty());
    let unknown = client.ask(1, &listed(&[3])).await;
    assert_eq!(unknown.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
}

#[tokio::test]
async fn a_topic_is_created_with_settings() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let config = |name: &str, value: Option<&str>| create_topics::request::CreatableTopicConfig {
        name: text(name),
        value: value.map(text),
        ..Default::default()
    };
    for version in 2..=7 {
        let topic = |name: String, config| create_topics::request::CreatableTopic {
            name: text(&name),
            num_partitions: 1,
            replication_factor: 1,
            configs: vec![config],
            ..Default::default()
        };
        let good = format!("good-{version}");
        let topics = vec![
            topic(good.clone(), config("retention.bytes", Some("1000"))),
            topic("unknown".to_owned(), config("no.such", Some("1"))),
            topic("bad".to_owned(), config("retention.bytes", Some("x"))),
            topic("null".to_owned(), config("retention.bytes", None)),
        ];
        let request = create_topics::Request { topics, ..Default::default() };
        let created = client.ask(version, &request).await.topics;
        let codes: Vec<i16> = created.iter().map(|topic| topic.error_code).collect();
        let refused = ErrorCode::INVALID_CONFIG.0;
        assert_eq!(codes, [0, refused, refused, refused], "version {version}");
        let set = ("1000".to_owned(), OF_TOPIC);
        assert_eq!(client.setting(TOPIC_KIND, &good, "retention.bytes").await, set);
        if version >= 5 {
            let configs = created[0].configs.as_ref().expect("told");
            let told = configs.iter().find(|config| config.name.as_str() == "retention.bytes");
            let told = told.expect("among them");
            assert_eq!((told.value.clone(), told.config_source), (Some(text("1000")), OF_TOPIC));
        }
    }
}

#[tokio::test]
async fn records_carry_the_brokers_time_where_a_topic_says_so() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let timestamps = [("message.timestamp.type", SET, Some("LogAppendTime"))];
    assert_eq!(client.alter(TOPIC_KIND, TOPIC, &timestamps).await.0, ErrorCode::NONE);
    let before = Clock::System.wall_millis();
    let written = client.produce(batch(&["a", "b"])).await;
    let after = Clock::System.wall_millis();
    assert!((before..=after).contains(&written.log_append_time_ms), "{written:?}");
    let fetched = client.fetch(0).await;
    // The checksum is right again.
    assert_eq!(values(&fetched), numbered(0, &["a", "b"]));
    let header = BatchHeader::parse(&fetched.records).expect("a batch");
    assert_eq!(header.max_timestamp, written.log_append_time_ms);
    assert!(header.attributes.timestamp_type_log_append());
}

#[tokio::test]
async fn times_out_of_range_are_refused() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let now = Clock::System.wall_millis();
    let hour = 3_600_000;
    let at = |time, compression| batch_at(time, -1, -1, -1, compression, &["a", "b"]);
    let before = [("message.timestamp.before.max.ms", SET, Some("3600000"))];
    for (time, default, bounded) in [
        (now - 2 * hour, ErrorCode::NONE, ErrorCode::INVALID_TIMESTAMP),
        (now - hour / 2, ErrorCode::NONE, ErrorCode::NONE),
        (now + hour / 2, ErrorCode::NONE, ErrorCode::NONE),
        (now + 2 * hour, ErrorCode::INVALID_TIMESTAMP, ErrorCode::INVALID_TIMESTAMP),
    ] {
        for compression in [Compression::None, Compression::Lz4] {
            client.alter(TOPIC_KIND, TOPIC, &[(before[0].0, DELETE, None)]).await;
            assert_eq!(client.produce(at(time, compression)).await.error_code, default);
            client.alter(TOPIC_KIND, TOPIC, &before).await;
            let refused = client.produce(at(time, compression)).await;
            assert_eq!(refused.error_code, bounded, "{time} {now} {:?}", refused.error_message);
        }
    }
}
