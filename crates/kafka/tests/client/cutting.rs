//! Connections that are cut in the middle: a proxy between client and broker hangs up after some
//! bytes, both ways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onrush_kafka::{Client, ClientConfig, FetchConfig, ProducerConfig};
use onrush_runtime::{Executor, Listener, Net, Random, Stream, Task};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::target::{Target, number, produce, read_all};

/// A proxy to one broker that cuts its first `cuts` connections after a random number of bytes.
struct Proxy {
    address: String,
    cut: Arc<AtomicU64>,
    task: Task,
}

impl Proxy {
    async fn start(upstream: &str, cuts: u64, most_bytes: u64) -> Self {
        let listener = Net::Tcp.listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_address();
        let cut = Arc::new(AtomicU64::new(0));
        let task = Executor::current().spawn(accept(
            listener,
            upstream.to_owned(),
            cuts,
            most_bytes,
            Arc::clone(&cut),
        ));
        Self { address, cut, task }
    }

    fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: Listener,
    upstream: String,
    cuts: u64,
    most_bytes: u64,
    cut: Arc<AtomicU64>,
) {
    let random = Random::seeded(42);
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let Ok(broker) = Net::Tcp.connect(&upstream).await else { continue };
        let budget =
            if cut.load(Ordering::Relaxed) < cuts { random.below(most_bytes) } else { u64::MAX };
        let cut = Arc::clone(&cut);
        drop(Executor::current().spawn(async move {
            if forward(client, broker, budget).await {
                cut.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
}

/// Returns whether the budget ran out, and not one of the sides ended it.
async fn forward(client: Stream, broker: Stream, budget: u64) -> bool {
    let left = AtomicU64::new(budget);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        biased;
        cut = copy(&mut from_broker, &mut to_client, &left) => cut,
        cut = copy(&mut from_client, &mut to_broker, &left) => cut,
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    left: &AtomicU64,
) -> bool {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return false };
        let budget = left.load(Ordering::Relaxed);
        let passed = read.min(usize::try_from(budget).unwrap_or(usize::MAX));
        left.store(budget - passed as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..passed]).await.is_err() {
            return false;
        }
        if passed < read {
            let _ = to.flush().await;
            return true;
        }
    }
}

async fn through(proxy: &Proxy, target: &Target, upstream: &str) -> Client {
    let mut config = ClientConfig::new([upstream]);
    config.reroute = BTreeMap::from([(upstream.to_owned(), proxy.address.clone())]);
    loop {
        // The first connection may be cut too.
        if let Ok(client) =
            Client::connect(config.clone(), &target.runtime, Executor::current()).await
        {
            return client;
        }
    }
}

#[tokio::test]
async fn a_producer_whose_connections_are_cut_loses_nothing_and_doubles_nothing() {
    let target = Target::start().await;
    let upstream = target.brokers[0].clone();
    let direct = target.client().await;
    let topic = target.topic(&direct, "cut-produce", 3).await;
    let proxy = Proxy::start(&upstream, 30, 120_000).await;
    let client = through(&proxy, &target, &upstream).await;
    while client.refresh(std::slice::from_ref(&topic)).await.is_err() {}
    let config =
        ProducerConfig { batch_bytes: 2_048, buffer_bytes: 64 * 1024, ..ProducerConfig::default() };
    produce(&client, &topic, config, 60_000, |number| Some((number % 50).to_be_bytes().to_vec()))
        .await;
    assert!(proxy.cut() >= 20, "only {} connections were cut", proxy.cut());
    let read = read_all(&direct, &topic, FetchConfig::default(), 60_000).await;
    let mut total = 0;
    for records in read.values() {
        assert!(
            records.windows(2).all(|pair| number(&pair[0]) < number(&pair[1])),
            "order and no doubles"
        );
        total += records.len();
    }
    assert_eq!(total, 60_000);
}

#[tokio::test]
async fn a_fetcher_whose_connections_are_cut_goes_on_where_it_was() {
    let target = Target::start().await;
    let upstream = target.brokers[0].clone();
    let direct = target.client().await;
    let topic = target.topic(&direct, "cut-fetch", 3).await;
    let config = ProducerConfig { batch_bytes: 8 * 1024, ..ProducerConfig::default() };
    produce(&direct, &topic, config, 60_000, |number| Some(number.to_be_bytes().to_vec())).await;
    let proxy = Proxy::start(&upstream, 20, 200_000).await;
    let client = through(&proxy, &target, &upstream).await;
    while client.refresh(std::slice::from_ref(&topic)).await.is_err() {}
    let config = FetchConfig {
        max_partition_bytes: 32 * 1024,
        max_fetch_bytes: 64 * 1024,
        loaded_bytes: 1_024,
        ..FetchConfig::default()
    };
    // Dense offsets from 0 on are what it asserts.
    read_all(&client, &topic, config, 60_000).await;
    assert!(proxy.cut() >= 10, "only {} connections were cut", proxy.cut());
}
