//! What admin clients do to topics and their records, in every version.

use onrush_broker::BrokerConfig;
use onrush_runtime::Disk;
use onrush_wire::message::{
    create_partitions, create_topics, delete_records, delete_topics, describe_log_dirs,
    describe_topic_partitions, list_offsets, offset_for_leader_epoch,
};
use onrush_wire::{ErrorCode, Uuid, uuid};

use crate::support::*;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Client {
    async fn list_offset(&mut self, version: i16, timestamp: i64) -> (i16, i64) {
        let partition = list_offsets::request::ListOffsetsPartition {
            partition_index: 0,
            timestamp,
            ..Default::default()
        };
        let topic = list_offsets::request::ListOffsetsTopic {
            name: text(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = list_offsets::Request { topics: vec![topic], ..Default::default() };
        let found = self.ask(version, &request).await.topics.remove(0).partitions.remove(0);
        (found.error_code, found.offset)
    }

    /// Error and low watermark.
    async fn delete_records(&mut self, version: i16, partition: i32, offset: i64) -> (i16, i64) {
        let partition = delete_records::request::DeleteRecordsPartition {
            partition_index: partition,
            offset,
            ..Default::default()
        };
        let topic = delete_records::request::DeleteRecordsTopic {
            name: text(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = delete_records::Request {
            topics: vec![topic],
            timeout_ms: 1_000,
            ..Default::default()
        };
        let deleted = self.ask(version, &request).await.topics.remove(0).partitions.remove(0);
        (deleted.error_code, deleted.low_watermark)
    }

    /// Error, epoch and end.
    async fn end_of_epoch(&mut self, version: i16, epoch: i32) -> (i16, i32, i64) {
        let partition = offset_for_leader_epoch::request::OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch: -1,
            leader_epoch: epoch,
            ..Default::default()
        };
        let topic = offset_for_leader_epoch::request::OffsetForLeaderTopic {
            topic: text(TOPIC),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            offset_for_leader_epoch::Request { topics: vec![topic], ..Default::default() };
        let found = self.ask(version, &request).await.topics.remove(0).partitions.remove(0);
        (found.error_code, found.leader_epoch, found.end_offset)
    }
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset_within_a_batch() {
    let disk = Disk::memory();
    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    // At the times 1000 to 1004.
    client.produce(batch(&["a", "b", "c", "d", "e"])).await;
    let out_of_range = ErrorCode::OFFSET_OUT_OF_RANGE.0;
    for (version, offset) in (0..=2).zip([1, 2, 3]) {
        assert_eq!(client.delete_records(version, 0, offset).await, (0, offset));
        assert_eq!(client.list_offset(11, EARLIEST).await, (0, offset));
        assert_eq!(client.delete_records(version, 0, 6).await, (out_of_range, -1));
        assert_eq!(client.delete_records(version, 0, -2).await, (out_of_range, -1));
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        assert_eq!(client.delete_records(version, 1, 0).await, (unknown, -1));
    }
    // What is gone stays gone.
    assert_eq!(client.delete_records(2, 0, 1).await, (0, 3));
    assert_eq!(client.fetch(2).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch(3).await.log_start_offset, 3);
    assert_eq!(client.list_offset(11, -3).await, (0, 4));
    // A time of a deleted record finds the first that is left.
    assert_eq!(client.list_offset(11, 1_001).await, (0, 3));
    client.produce(batch(&["f"])).await;
    drop(client);
    broker.close().await.expect("closes");

    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    assert_eq!(client.list_offset(11, EARLIEST).await, (0, 3));
    assert_eq!(client.delete_records(2, 0, -1).await, (0, 6));
    assert_eq!(client.list_offset(11, EARLIEST).await, (0, 6));
    assert_eq!(client.list_offset(11, 1_000).await, (0, -1));
    assert_eq!(client.list_offset(11, LATEST).await, (0, 6));
}

#[tokio::test]
async fn the_ends_of_epochs_are_told_across_restarts() {
    let disk = Disk::memory();
    for (epoch, values) in [(1, &["a", "b"][..]), (2, &[]), (3, &["c"])] {
        let broker = broker_on(&disk, BrokerConfig::default()).await;
        let mut client = Client::connect(broker.address()).await;
        if epoch == 1 {
            client.create_topic(TOPIC, 1).await;
        }
        for value in values {
            client.produce(batch(&[value])).await;
        }
        drop(client);
        broker.close().await.expect("closes");
    }
    let broker = broker_on(&disk, BrokerConfig::default()).await;
    let mut client = Client::connect(broker.address()).await;
    for version in 2..=4 {
        let mut found = Vec::new();
        for epoch in -1..=5 {
            found.push(client.end_of_epoch(version, epoch).await);
        }
        let expected = [
            (0, -1, -1),
            // Before all that there is.
            (0, 0, 0),
            (0, 1, 2),
            // Nothing was written in the second epoch.
            (0, 1, 2),
            (0, 3, 3),
            // The epoch that goes on, and one that is not yet.
            (0, 4, 3),
            (0, -1, -1),
        ];
        assert_eq!(found, expected, "version {version}");
    }
}

#[tokio::test]
async fn special_times_are_served_in_the_versions_that_have_them() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    client
        .produce(batch_at(5_000, -1, -1, -1, onrush_record::Compression::None, &["a", "b"]))
        .await;
    client.produce(batch(&["c"])).await;
    let unsupported = (ErrorCode::UNSUPPORTED_VERSION.0, -1);
    for version in 1..=11 {
        for (timestamp, since, found) in
            [(-1, 1, 3), (-2, 1, 0), (-3, 7, 1), (-4, 8, 0), (-5, 9, -1), (-6, 11, -1)]
        {
            let expected = if version >= since { (0, found) } else { unsupported };
            let answered = client.list_offset(version, timestamp).await;
            assert_eq!(answered, expected, "version {version}, time {timestamp}");
        }
    }
    assert_eq!(client.list_offset(11, -7).await, unsupported);
}

#[tokio::test]
async fn partitions_are_added_in_every_version() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let topic = |name: &str, count, brokers: Option<&[i32]>| {
        let assignment = |broker: &i32| create_partitions::request::CreatePartitionsAssignment {
            broker_ids: vec![*broker],
            ..Default::default()
        };
        create_partitions::request::CreatePartitionsTopic {
            name: text(name),
            count,
            assignments: brokers.map(|brokers| brokers.iter().map(assignment).collect()),
            ..Default::default()
        }
    };
    for (version, count) in (0..=3).zip(2..) {
        let mut request = create_partitions::Request {
            topics: vec![topic(TOPIC, count, None)],
            validate_only: true,
            ..Default::default()
        };
        assert_eq!(client.ask(version, &request).await.results[0].error_code, 0);
        request.validate_only = false;
        assert_eq!(client.ask(version, &request).await.results[0].error_code, 0);
        // Only now it has as many.
        let again = client.ask(version, &request).await.results.remove(0);
        assert_eq!(again.error_code, ErrorCode::INVALID_PARTITIONS.0, "version {version}");
        assert!(again.error_message.is_some());
    }
    for (asked, error) in [
        (topic("nothing", 9, None), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (topic(TOPIC, 2, None), ErrorCode::INVALID_PARTITIONS),
        (topic(TOPIC, 100_000, None), ErrorCode::INVALID_PARTITIONS),
        (topic(TOPIC, 7, Some(&[1])), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (topic(TOPIC, 6, Some(&[2])), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (topic(TOPIC, 6, Some(&[1])), ErrorCode::NONE),
    ] {
        let request =
            create_partitions::Request { topics: vec![asked.clone()], ..Default::default() };
        let result = client.ask(3, &request).await.results.remove(0);
        assert_eq!(ErrorCode(result.error_code), error, "{asked:?}");
    }
    let written = client.produce_to(12, TOPIC, Uuid::ZERO, 5, batch(&["a"])).await;
    assert_eq!(written.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn topics_are_described_in_pages() {
    let (_broker, mut client, _) = broker_with_topic(3).await;
    client.create_topic("airports", 2).await;
    let mut request =
        describe_topic_partitions::Request { response_partition_limit: 2, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = client.ask(0, &request).await;
        for topic in &page.topics {
            let name = topic.name.as_ref().expect("named").to_string();
            let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
            found.extend(indexes.map(|index| (name.clone(), index)));
        }
        assert!(page.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() <= 2);
        let Some(next) = page.next_cursor else { break };
        request.cursor = Some(Box::new(describe_topic_partitions::request::Cursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
            ..Default::default()
        }));
    }
    let expected = [("airports", 0), ("airports", 1), (TOPIC, 0), (TOPIC, 1), (TOPIC, 2)];
    assert_eq!(found, expected.map(|(name, index)| (name.to_owned(), index)));

    let asked = |name: &str| describe_topic_partitions::request::TopicRequest {
        name: text(name),
        ..Default::default()
    };
    let request = describe_topic_partitions::Request {
        topics: vec![asked("nothing"), asked(TOPIC)],
        response_partition_limit: 2_000,
        ..Default::default()
    };
    let page = client.ask(0, &request).await;
    let errors: Vec<i16> = page.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(errors, [0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0]);
    assert!(page.next_cursor.is_none());
}

#[tokio::test]
async fn the_log_directory_is_described_with_the_sizes_of_partitions() {
    let (_broker, mut client, _) = broker_with_topic(2).await;
    let written = batch(&["a"]);
    client.produce(written.clone()).await;
    for version in 1..=5 {
        let all = describe_log_dirs::Request::default();
        let all = describe_log_dirs::Request { topics: None, ..all };
        let directory = client.ask(version, &all).await.results.remove(0);
        let sizes: Vec<i64> = directory.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.partition_size)
            .collect();
        assert_eq!(sizes, [written.len() as i64, 0], "version {version}");
        let one = describe_log_dirs::request::DescribableLogDirTopic {
            topic: text(TOPIC),
            partitions: vec![1],
            ..Default::default()
        };
        let one = describe_log_dirs::Request { topics: Some(vec![one]), ..Default::default() };
        let partitions = &client.ask(version, &one).await.results[0].topics[0].partitions;
        assert_eq!((partitions.len(), partitions[0].partition_index), (1, 1));
    }
}

#[tokio::test]
async fn creations_that_cannot_be_say_why() {
    let (_broker, mut client, _) = broker_with_topic(1).await;
    let topic = |name: &str, partitions, replicas| create_topics::request::CreatableTopic {
        name: text(name),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    };
    let assigned = |partitions: &[(i32, i32)], count| {
        let assignment =
            |(partition, broker): &(i32, i32)| create_topics::request::CreatableReplicaAssignment {
                partition_index: *partition,
                broker_ids: vec![*broker],
                ..Default::default()
            };
        let assignments = partitions.iter().map(assignment).collect();
        create_topics::request::CreatableTopic { assignments, ..topic("assigned", count, -1) }
    };
    let request = |topics: Vec<_>| create_topics::Request { topics, ..Default::default() };
    for (asked, error) in [
        (topic(TOPIC, 1, 3), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("a", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("a", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("a", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (assigned(&[(0, 1)], 1), ErrorCode::INVALID_REQUEST),
        (assigned(&[(1, 1)], -1), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, 1), (0, 1)], -1), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, 2)], -1), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
    ] {
        let refused = client.ask(7, &request(vec![asked.clone()])).await.topics.remove(0);
        assert_eq!(ErrorCode(refused.error_code), error, "{asked:?}");
        assert!(refused.error_message.is_some_and(|reason| !reason.is_empty()));
    }
    let both = client.ask(7, &request(vec![topic("b", 1, 1), topic("b", 1, 1)])).await.topics;
    assert!(both.iter().all(|topic| topic.error_code == ErrorCode::INVALID_REQUEST.0));
    let mut tried = request(vec![assigned(&[(1, 1), (0, 1)], -1)]);
    tried.validate_only = true;
    for validate_only in [true, false] {
        tried.validate_only = validate_only;
        let created = client.ask(7, &tried).await.topics.remove(0);
        assert_eq!((created.error_code, created.num_partitions), (0, 2));
        assert_eq!(created.topic_id == Uuid::ZERO, validate_only);
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_or_id_and_not_by_both() {
    let (_broker, mut client, id) = broker_with_topic(1).await;
    let state = |name: Option<&str>, topic_id| delete_topics::request::DeleteTopicState {
        name: name.map(text),
        topic_id,
        ..Default::default()
    };
    let topics = vec![
        state(Some(TOPIC), id),
        state(None, Uuid::ZERO),
        state(None, uuid::from_bytes([7; 16])),
        state(None, id),
        state(None, id),
    ];
    let request = delete_topics::Request { topics, ..Default::default() };
    let responses = client.ask(6, &request).await.responses;
    let codes: Vec<i16> = responses.iter().map(|response| response.error_code).collect();
    let (invalid, unknown) = (ErrorCode::INVALID_REQUEST.0, ErrorCode::UNKNOWN_TOPIC_ID.0);
    assert_eq!(codes, [invalid, invalid, unknown, 0, invalid]);
    assert_eq!(responses[3].name, Some(text(TOPIC)));
}

#[tokio::test]
async fn a_broker_can_keep_its_topics() {
    let config = BrokerConfig { delete_topics: false, ..BrokerConfig::default() };
    let broker = broker_on(&Disk::memory(), config).await;
    let mut client = Client::connect(broker.address()).await;
    client.create_topic(TOPIC, 1).await;
    for version in 1..=5 {
        let request =
            delete_topics::Request { topic_names: vec![text(TOPIC)], ..Default::default() };
        let code = client.ask(version, &request).await.responses[0].error_code;
        let expected = if version >= 3 {
            ErrorCode::TOPIC_DELETION_DISABLED
        } else {
            ErrorCode::INVALID_REQUEST
        };
        assert_eq!(ErrorCode(code), expected, "version {version}");
    }
}
