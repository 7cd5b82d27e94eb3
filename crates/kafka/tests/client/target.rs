//! The broker under test, and what every scenario needs: topics, records in, records out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig};
use onrush_kafka::{
    AckSink, Acked, AppendError, Appender, Client, ClientConfig, FetchConfig, FetchEvent,
    FetchSink, Fetched, Fetcher, Producer, ProducerConfig, TopicPartition,
};
use onrush_record::{Decompressor, batches, records};
use onrush_runtime::{Disk, Executor, Instant, Runtime, Wake};
use tokio::sync::mpsc;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Target {
    pub(crate) brokers: Vec<String>,
    pub(crate) runtime: Runtime,
    /// The embedded broker, which ends with the target.
    _embedded: Option<(Broker, Executor)>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let runtime = Runtime::production(Disk::memory());
        if let Ok(brokers) = std::env::var("ONRUSH_TEST_BROKERS") {
            let brokers = brokers.split(',').map(str::to_owned).collect();
            return Self { brokers, runtime, _embedded: None };
        }
        let executor = runtime.spawn.executor("broker", 1).expect("an executor");
        let config = BrokerConfig {
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_millis(200),
            ..BrokerConfig::default()
        };
        let broker = Broker::open(config, &runtime, executor.clone()).await.expect("a broker");
        Self {
            brokers: vec![broker.address().to_owned()],
            runtime,
            _embedded: Some((broker, executor)),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_of(self.brokers.clone()).await
    }

    pub(crate) async fn client_of(&self, brokers: Vec<String>) -> Client {
        Client::connect(ClientConfig::new(brokers), &self.runtime, Executor::current())
            .await
            .expect("a broker")
    }

    /// A client that reaches the first broker by another address.
    pub(crate) async fn client_through(&self, address: &str) -> Client {
        self.client_configured(address, ClientConfig::default()).await
    }

    pub(crate) async fn client_configured(&self, address: &str, config: ClientConfig) -> Client {
        let config = ClientConfig {
            bootstrap: vec![self.brokers[0].clone()],
            reroute: BTreeMap::from([(self.brokers[0].clone(), address.to_owned())]),
            ..config
        };
        Client::connect(config, &self.runtime, Executor::current()).await.expect("a broker")
    }

    /// A name that no other test and no earlier run has.
    pub(crate) fn unique(&self, stem: &str) -> String {
        format!("{stem}-{:016x}", self.runtime.random.next_u64())
    }

    pub(crate) async fn topic(&self, client: &Client, stem: &str, partitions: i32) -> Arc<str> {
        let name = self.unique(stem);
        client.create_topic(&name, partitions, 1).await.expect("created");
        Arc::from(name)
    }
}

/// Acknowledgements as they come.
pub(crate) struct Acks(mpsc::UnboundedSender<Acked>);

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let _ = self.0.send(result);
    }
}

pub(crate) fn acks() -> (Arc<dyn AckSink>, mpsc::UnboundedReceiver<Acked>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(Acks(sender)), receiver)
}

/// What was fetched, as it comes.
pub(crate) struct Deliveries(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Deliveries {
    fn deliver(&self, event: FetchEvent) {
        let _ = self.0.send(event);
    }
}

pub(crate) fn deliveries() -> (Arc<dyn FetchSink>, mpsc::UnboundedReceiver<FetchEvent>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arc::new(Deliveries(sender)), receiver)
}

/// A record, copied out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copied {
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// The records of a slice from the offset asked for on.
pub(crate) fn copied(fetched: &Fetched) -> Vec<Copied> {
    let mut decompressor = Decompressor::new(64 * 1024 * 1024);
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    for batch in batches(&fetched.records) {
        let batch = batch.expect("a batch");
        batch.verify_crc().expect("the CRC");
        let payload = decompressor.payload(&batch, &mut scratch).expect("a payload");
        for record in records(payload.bytes(&batch, &scratch), &batch.header) {
            let record = record.expect("a record");
            if record.offset >= fetched.fetch_offset {
                let (key, value) =
                    (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                out.push(Copied { offset: record.offset, key, value });
            }
        }
    }
    out
}

/// Appends, waiting for memory where there is none.
pub(crate) struct Feeder {
    pub(crate) appender: Appender,
    room: Wake,
}

impl Feeder {
    pub(crate) fn new(producer: &Producer, ack: Arc<dyn AckSink>) -> Self {
        let mut appender = producer.appender(ack);
        let room = Wake::new();
        appender.wake_on_room(room.clone());
        Self { appender, room }
    }

    pub(crate) async fn append(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> u64 {
        let handle = self.appender.topic(topic).expect("the topic is known");
        loop {
            match self.appender.append(
                handle,
                partition,
                1_700_000_000_000,
                key,
                Some(value),
                &[],
                Instant::now(),
            ) {
                Ok(batch) => return batch,
                Err(AppendError::Full) => {
                    tokio::time::timeout(PATIENCE, self.room.notified()).await.expect("room")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Produces values `0..count`, keyed by `key`; all must be acknowledged.
pub(crate) async fn produce(
    client: &Client,
    topic: &str,
    config: ProducerConfig,
    count: u64,
    key: impl Fn(u64) -> Option<Vec<u8>>,
) {
    let producer = Producer::start(client, config).await.expect("a producer id");
    let (sink, mut results) = acks();
    let mut feeder = Feeder::new(&producer, sink);
    for number in 0..count {
        feeder.append(topic, None, key(number).as_deref(), &number.to_be_bytes()).await;
    }
    feeder.appender.flush(Instant::now());
    tokio::time::timeout(PATIENCE, producer.clone().flush()).await.expect("acknowledged");
    drop(feeder);
    producer.close().await;
    let mut acknowledged = 0;
    while let Ok(result) = results.try_recv() {
        result.outcome.expect("written");
        acknowledged += u64::from(result.count);
    }
    assert_eq!(acknowledged, count);
}

/// Produces `each` records into every partition, so that offsets up to there can be committed.
pub(crate) async fn fill(client: &Client, topic: &str, each: u64) {
    let producer = Producer::start(client, ProducerConfig::default()).await.expect("a producer id");
    let mut feeder = Feeder::new(&producer, acks().0);
    for (partition, _) in (0..).zip(&client.topic(topic).expect("known").partitions) {
        for number in 0..each {
            feeder.append(topic, Some(partition), None, &number.to_be_bytes()).await;
        }
    }
    feeder.appender.flush(Instant::now());
    producer.close().await;
}

/// Fetches the whole topic, per partition in order, asserting that offsets are dense.
pub(crate) async fn read_all(
    client: &Client,
    topic: &str,
    config: FetchConfig,
    count: u64,
) -> BTreeMap<i32, Vec<Copied>> {
    let partitions = client.topic(topic).expect("known").partitions.len();
    let fetcher = Fetcher::start(client, config);
    let (sink, mut events) = deliveries();
    for partition in 0..i32::try_from(partitions).expect("few") {
        fetcher.assign(TopicPartition::new(topic, partition), 1, 0, Arc::clone(&sink));
    }
    let mut read: BTreeMap<i32, Vec<Copied>> = BTreeMap::new();
    let mut total = 0;
    while total < count {
        let event =
            tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
        let FetchEvent::Records(fetched) = event else { panic!("{event:?}") };
        let known = read.entry(fetched.partition.partition).or_default();
        for record in copied(&fetched) {
            assert_eq!(
                record.offset,
                i64::try_from(known.len()).expect("fits"),
                "{}",
                fetched.partition
            );
            known.push(record);
            total += 1;
        }
    }
    fetcher.close().await;
    assert_eq!(total, count);
    read
}

/// The number that a record's value is.
pub(crate) fn number(record: &Copied) -> u64 {
    let value = record.value.as_deref().expect("a value");
    u64::from_be_bytes(value[..8].try_into().expect("8 bytes"))
}
