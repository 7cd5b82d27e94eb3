//! The broker under test, topics with numbered events, and a record of what handlers saw.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig};
use onrush_engine::{
    Engine, EngineConfig, EngineError, Handle, HandlerFactory, Handlers, Mode, Summary, Tasks,
};
use onrush_kafka::{
    AckSink, Acked, Client, ClientConfig, Producer, ProducerConfig, TopicPartition,
};
use onrush_runtime::{Clock, Disk, Executor, Runtime, Wake};
use tokio::sync::mpsc;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Target {
    pub(crate) brokers: Vec<String>,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    _embedded: Option<(Broker, Executor)>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let runtime = Runtime::production(Disk::memory());
        let (brokers, embedded) = match std::env::var("ONRUSH_TEST_BROKERS") {
            Ok(brokers) => (brokers.split(',').map(str::to_owned).collect(), None),
            Err(_) => {
                let executor = runtime.spawn.executor("broker", 1).unwrap();
                let config = BrokerConfig {
                    heartbeat_interval: Duration::from_millis(200),
                    ..BrokerConfig::default()
                };
                let broker = Broker::open(config, &runtime, executor.clone()).await.unwrap();
                (vec![broker.address().to_owned()], Some((broker, executor)))
            }
        };
        let client = Client::connect(ClientConfig::new(&brokers), &runtime, Executor::current())
            .await
            .unwrap();
        Self { brokers, runtime, client, _embedded: embedded }
    }

    /// A topic that no other test and no earlier run has.
    pub(crate) async fn topic(&self, stem: &str, partitions: i32) -> String {
        let name = format!("{stem}-{:016x}", self.runtime.random.next_u64());
        self.client.create_topic(&name, partitions, 1).await.unwrap();
        name
    }

    /// Writes `events` numbered events of `keys` keys; the value is the number within the key.
    pub(crate) async fn fill(&self, topic: &str, keys: u64, events: u64) {
        let producer = Producer::start(&self.client, ProducerConfig::default()).await.unwrap();
        let (sender, mut acks) = mpsc::unbounded_channel();
        let mut appender = producer.appender(Arc::new(Acks(sender)));
        let room = Wake::new();
        appender.wake_on_room(room.clone());
        let handle = appender.topic(topic).unwrap();
        let clock = Clock::System;
        for number in 0..events {
            let (key, value) = ((number % keys).to_string(), (number / keys).to_string());
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            while appender
                .append(handle, None, clock.wall_millis(), key, value, &[], clock.now())
                .is_err()
            {
                room.notified().await;
            }
        }
        appender.flush(clock.now());
        producer.close().await;
        while let Ok(acked) = acks.try_recv() {
            acked.outcome.unwrap();
        }
    }

    pub(crate) fn config(&self, topic: &str, mode: Mode) -> EngineConfig {
        EngineConfig {
            mode,
            lanes: NonZeroUsize::new(2).unwrap(),
            commit_interval: Duration::from_millis(100),
            ..EngineConfig::new(format!("{topic}-group"), [topic])
        }
    }

    pub(crate) async fn engine(
        &self,
        config: EngineConfig,
        factory: impl HandlerFactory,
    ) -> Member {
        let client = ClientConfig::new(&self.brokers);
        let (engine, handle) = Engine::start(config, &self.runtime, client, factory).await.unwrap();
        Member { engine, handle }
    }

    pub(crate) async fn tasks(
        &self,
        config: EngineConfig,
        tasks: Tasks,
        executor: Executor,
    ) -> Member {
        let (client, handlers) = (ClientConfig::new(&self.brokers), Handlers::Awaited(tasks));
        let started = Engine::start_with(config, &self.runtime, client, handlers, executor).await;
        let (engine, handle) = started.unwrap();
        Member { engine, handle }
    }

    /// What the group has committed, by partition.
    pub(crate) async fn committed(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let names: Vec<_> =
            (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let committed = self.client.fetch_offsets(&format!("{topic}-group"), &names).await.unwrap();
        committed.into_iter().map(|committed| committed.offset).collect()
    }

    /// Where the partitions end.
    pub(crate) async fn ends(&self, topic: &str, partitions: i32) -> Vec<i64> {
        let names: Vec<_> =
            (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let ends = self.client.list_offsets(&names, onrush_kafka::At::Latest).await.unwrap();
        ends.into_values().map(|listed| listed.offset).collect()
    }
}

pub(crate) struct Member {
    engine: Engine,
    pub(crate) handle: Handle,
}

impl Member {
    pub(crate) async fn stop(self) -> Result<Summary, EngineError> {
        self.handle.shutdown();
        tokio::time::timeout(PATIENCE, self.engine.run()).await.expect("the engine ends")
    }
}

struct Acks(mpsc::UnboundedSender<Acked>);

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let _ = self.0.send(result);
    }
}

/// What handlers saw: by (partition, offset) how often, and by key the values in their order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Calls>>);

#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) offsets: BTreeMap<(i32, i64), u32>,
    pub(crate) keys: BTreeMap<Vec<u8>, Vec<u64>>,
}

impl Seen {
    pub(crate) fn note(&self, event: &onrush_engine::Event<'_>) {
        let mut calls = self.0.lock().unwrap();
        *calls.offsets.entry((event.partition, event.offset)).or_default() += 1;
        let number = std::str::from_utf8(event.value.unwrap()).unwrap().parse().unwrap();
        calls.keys.entry(event.key.unwrap().to_vec()).or_default().push(number);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().offsets.len()
    }

    /// Waits until so many different events were seen.
    pub(crate) async fn reaches(&self, events: usize) {
        let all = async {
            while self.count() < events {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .unwrap_or_else(|_| panic!("saw {} of {events}", self.count()));
    }

    /// Every event once, every key in order.
    pub(crate) fn assert_exact(&self, events: usize) {
        let calls = self.0.lock().unwrap();
        assert_eq!(calls.offsets.len(), events, "lost");
        let repeated: Vec<_> =
            calls.offsets.iter().filter(|(_, count)| **count > 1).take(5).collect();
        assert!(repeated.is_empty(), "repeated: {repeated:?}");
        for (key, values) in &calls.keys {
            let in_order = values.iter().copied().eq(0..values.len() as u64);
            assert!(in_order, "key {} out of order", String::from_utf8_lossy(key));
        }
    }
}
