//! A broker that goes away and comes back: the embedded one, since only that can be stopped from
//! here.

use std::sync::Arc;
use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig};
use onrush_kafka::{
    AckSink, Acked, AppendError, Client, ClientConfig, Commit, ErrorCode, FetchConfig, FetchEvent,
    FetchSink, Fetcher, GroupConfig, GroupEvent, Member, Producer, ProducerConfig, TopicPartition,
};
use onrush_record::{batches, records};
use onrush_runtime::{Disk, Executor, Instant, Runtime, Wake};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

struct Channel<T>(mpsc::UnboundedSender<T>);

impl AckSink for Channel<Acked> {
    fn acked(&self, result: Acked) {
        let _ = self.0.send(result);
    }
}

impl FetchSink for Channel<FetchEvent> {
    fn deliver(&self, event: FetchEvent) {
        let _ = self.0.send(event);
    }
}

async fn open(runtime: &Runtime, listen: &str) -> Broker {
    let config = BrokerConfig {
        listen: listen.to_owned(),
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(100),
        ..BrokerConfig::default()
    };
    Broker::open(config, runtime, Executor::current()).await.expect("the broker opens")
}

#[tokio::test]
async fn a_producer_and_a_fetcher_go_on_after_a_restart() {
    let runtime = Runtime::production(Disk::memory());
    let mut broker = open(&runtime, "127.0.0.1:0").await;
    let address = broker.address().to_owned();
    let client =
        Client::connect(ClientConfig::new([address.clone()]), &runtime, Executor::current())
            .await
            .expect("connected");
    client.create_topic("t", 1, 1).await.expect("created");
    let partition = TopicPartition::new("t", 0);

    let (fetched, mut events) = mpsc::unbounded_channel();
    let fetcher = Fetcher::start(&client, FetchConfig::default());
    fetcher.assign(partition, 1, 0, Arc::new(Channel(fetched)));

    let (acked, mut acks) = mpsc::unbounded_channel();
    let config = ProducerConfig { batch_bytes: 1_024, ..ProducerConfig::default() };
    let producer = Producer::start(&client, config).await.expect("a producer id");
    let mut appender = producer.appender(Arc::new(Channel(acked)));
    let room = Wake::new();
    appender.wake_on_room(room.clone());
    let topic = appender.topic("t").expect("known");
    for number in 0..9_000_u64 {
        if number % 3_000 == 1_500 {
            appender.flush(Instant::now());
            broker.close().await.expect("closed");
            broker = open(&runtime, &address).await;
        }
        let value = number.to_be_bytes();
        while let Err(error) =
            appender.append(topic, None, 0, None, Some(&value), &[], Instant::now())
        {
            assert_eq!(error, AppendError::Full);
            timeout(PATIENCE, room.notified()).await.expect("room");
        }
    }
    drop(appender);
    timeout(PATIENCE, producer.close()).await.expect("everything is delivered");
    let mut acknowledged = 0;
    while let Ok(result) = acks.try_recv() {
        result.outcome.expect("written");
        acknowledged += result.count;
    }
    assert_eq!(acknowledged, 9_000);

    let mut numbers = Vec::new();
    while numbers.len() < 9_000 {
        let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
        let FetchEvent::Records(fetched) = event else { panic!("{event:?}") };
        for batch in batches(&fetched.records) {
            let batch = batch.expect("a batch");
            for record in records(batch.body(), &batch.header) {
                let value = record.expect("a record").value.expect("a value");
                numbers.push(u64::from_be_bytes(value.try_into().expect("8 bytes")));
            }
        }
    }
    let wrong = numbers.iter().zip(0..).find(|(number, index)| **number != *index);
    assert_eq!(wrong, None, "each once, in order");
    fetcher.close().await;
    broker.close().await.expect("closed");
}

#[tokio::test]
async fn a_member_that_is_not_known_any_more_loses_everything_and_joins_again() {
    let runtime = Runtime::production(Disk::memory());
    let broker = open(&runtime, "127.0.0.1:0").await;
    let address = broker.address().to_owned();
    let client =
        Client::connect(ClientConfig::new([address.clone()]), &runtime, Executor::current())
            .await
            .expect("connected");
    client.create_topic("t", 2, 1).await.expect("created");
    let config = GroupConfig::new("g", ["t"]);
    let (member, mut events) =
        Member::join(&client, Executor::current(), config).await.expect("joined");
    let both = vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    let mut next = async || timeout(PATIENCE, events.recv()).await.expect("an event in time");
    let first = next().await;
    let Some(GroupEvent::Assigned(held, before)) = first else { panic!("{first:?}") };
    assert_eq!(held, both);
    // A broker with an empty disk knows neither the member nor the topic's id.
    broker.close().await.expect("closed");
    let empty = Runtime::production(Disk::memory());
    let broker = open(&empty, &address).await;
    assert_eq!(next().await, Some(GroupEvent::Lost(both.clone())));
    client.create_topic("t", 2, 1).await.expect("created");
    let late =
        Commit { partition: both[0].clone(), offset: 0, leader_epoch: -1, metadata: String::new() };
    let again = next().await;
    assert!(
        matches!(again, Some(GroupEvent::Assigned(held, after)) if held == both && after > before)
    );
    // What was processed before the fence is not committed under the new assignment.
    let codes = member.commit(vec![(before, late)]).await.expect("answered");
    assert_eq!(codes, [(both[0].clone(), ErrorCode::FENCED_MEMBER_EPOCH)]);
    member.leave().await;
    assert_eq!(next().await, None);
    broker.close().await.expect("closed");
}
