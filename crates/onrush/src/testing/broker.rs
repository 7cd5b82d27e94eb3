//! A Kafka-protocol broker for tests that need a port: in memory, on a free one, ended when it is dropped.

use onrush_broker::{Broker, BrokerConfig, BrokerError};
use onrush_kafka::{At, Client, ClientConfig, TopicPartition};
use onrush_runtime::{Disk, Executor, Runtime};

use crate::Error;

/// A broker on threads of its own.
///
/// ```
/// let broker = onrush::testing::TestBroker::start()?;
/// broker.create_topic("payments", 6)?;
/// let mut producer = onrush::Producer::connect(broker.address())?;
/// producer.send("payments", Some(b"key"), Some(b"value"))?;
/// producer.flush()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct TestBroker {
    broker: Broker,
    _executor: Executor,
}

impl TestBroker {
    /// Starts a broker with the defaults.
    ///
    /// # Errors
    /// There is no free port, or no thread.
    pub fn start() -> Result<Self, BrokerError> {
        Self::with(BrokerConfig::default())
    }

    /// Starts a broker with these settings.
    ///
    /// # Errors
    /// The settings cannot be, or there is no port or thread.
    pub fn with(config: BrokerConfig) -> Result<Self, BrokerError> {
        let runtime = Runtime::production(Disk::memory());
        let executor = runtime
            .spawn
            .executor("onrush-broker", 1)
            .map_err(|source| BrokerError::Listen { address: config.listen.clone(), source })?;
        let broker = executor.block_on(Broker::open(config, &runtime, executor.clone()))?;
        Ok(Self { broker, _executor: executor })
    }

    /// Where it listens: what to give a [`Consumer`](crate::Consumer) or [`Producer`](crate::Producer).
    pub fn address(&self) -> &str {
        self.broker.address()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The broker refused.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        create_topic(self.address(), name, partitions)
    }
}

/// Creates a topic on any cluster.
///
/// # Errors
/// The cluster cannot be reached, or refused.
pub fn create_topic(brokers: &str, name: &str, partitions: i32) -> Result<(), Error> {
    with_client(brokers, async |client| {
        client.create_topic(name, partitions, 1).await?;
        Ok(())
    })
}

/// How many events of a topic a group has not committed yet.
///
/// # Errors
/// The cluster cannot be reached, or refused.
pub fn lag(brokers: &str, group: &str, topic: &str) -> Result<u64, Error> {
    with_client(brokers, async |client| {
        let metadata = client.metadata(&[topic]).await?;
        let count = metadata.first().map_or(0, |topic| topic.partitions.len());
        let partitions: Vec<_> =
            (0..).take(count).map(|partition| TopicPartition::new(topic, partition)).collect();
        // Commits first: the other way round, a commit in between could be above the end that was read.
        let committed = client.fetch_offsets(group, &partitions).await?;
        let ends = client.list_offsets(&partitions, At::Latest).await?;
        let behind = committed.iter().map(|committed| {
            let end = ends.get(&committed.partition).map_or(0, |end| end.offset);
            end.saturating_sub(committed.offset.max(0)).unsigned_abs()
        });
        Ok(behind.sum())
    })
}

fn with_client<T>(
    brokers: &str,
    act: impl AsyncFnOnce(Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("onrush-testing", 1).map_err(Error::Threads)?;
    let brokers = brokers.split(',').map(|broker| broker.trim().to_owned());
    executor.block_on(async {
        let client =
            Client::connect(ClientConfig::new(brokers), &runtime, executor.clone()).await?;
        act(client).await
    })
}
