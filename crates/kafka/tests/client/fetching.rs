//! Credit, assignments, pauses, and offsets that are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use onrush_kafka::{
    At, ClientConfig, ErrorCode, FetchConfig, FetchEvent, Fetcher, ProducerConfig, TopicPartition,
};
use onrush_wire::ApiKey;
use onrush_wire::message::{decode_response, encode_response, list_offsets};
use tokio::time::timeout;

use crate::meddling::Meddler;
use crate::target::{PATIENCE, Target, copied, deliveries, number, produce};

#[tokio::test]
async fn the_credit_is_never_exceeded() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "credit", 3).await;
    let batches = ProducerConfig { batch_bytes: 16 * 1024, ..ProducerConfig::default() };
    produce(&client, &topic, batches, 60_000, |number| Some(number.to_be_bytes().to_vec())).await;
    let config = FetchConfig {
        budget: 160 * 1024,
        max_batch_bytes: 20 * 1024,
        max_partition_bytes: 32 * 1024,
        loaded_bytes: 32 * 1024,
        ..FetchConfig::default()
    };
    let fetcher = Fetcher::start(&client, config.clone());
    let (sink, mut events) = deliveries();
    for partition in 0..3 {
        fetcher.assign(TopicPartition::new(Arc::clone(&topic), partition), 1, 0, Arc::clone(&sink));
    }
    let (mut held, mut total, mut most) = (Vec::new(), 0, 0);
    while total < 60_000 {
        // Slices are kept until nothing more comes: then the fetcher waits for credit, and one is
        // let go.
        match timeout(Duration::from_millis(50), events.recv()).await {
            Ok(Some(FetchEvent::Records(fetched))) => {
                total += copied(&fetched).len();
                held.push(fetched);
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                assert!(!held.is_empty(), "nothing comes, although nothing is held");
                held.clear();
            }
        }
        most = most.max(fetcher.bytes_held());
        assert!(fetcher.bytes_held() <= config.budget, "{} bytes are held", fetcher.bytes_held());
    }
    assert!(most > config.budget / 2, "the budget was used: {most}");
    drop(held);
    fetcher.close().await;
}

#[tokio::test]
async fn an_offset_that_is_not_there_ends_the_fetching_with_the_ends_of_the_log() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "range", 1).await;
    produce(&client, &topic, ProducerConfig::default(), 10, |_| None).await;
    let partition = TopicPartition::new(topic, 0);
    let ends =
        client.list_offsets(std::slice::from_ref(&partition), At::Latest).await.expect("listed");
    assert_eq!(ends[&partition].offset, 10);
    let fetcher = Fetcher::start(&client, FetchConfig::default());
    let (sink, mut events) = deliveries();
    fetcher.assign(partition.clone(), 9, 11, Arc::clone(&sink));
    let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
    assert!(
        matches!(event, FetchEvent::OutOfRange { token: 9, log_start: 0, end: 10, .. }),
        "{event:?}"
    );
    fetcher.assign(partition, 10, 7, sink);
    let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
    let FetchEvent::Records(fetched) = event else { panic!("{event:?}") };
    assert_eq!((fetched.token, fetched.fetch_offset, fetched.high_watermark), (10, 7, 10));
    assert_eq!(copied(&fetched).iter().map(number).collect::<Vec<_>>(), [7, 8, 9]);
    fetcher.close().await;
}

#[tokio::test]
async fn ends_that_cannot_be_looked_up_for_long_do_not_end_the_fetching() {
    let target = Target::start().await;
    let direct = target.client().await;
    let topic = target.topic(&direct, "no-ends", 1).await;
    // More than there is time for before a call gives up.
    let refusals = AtomicU32::new(40);
    let meddler = Meddler::start(&target.brokers[0], move |api, version, frame| {
        let less = |left: u32| left.checked_sub(1);
        let meant = api == ApiKey::LIST_OFFSETS
            && refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        meant.then(|| not_the_leader(frame, version))
    })
    .await;
    let config = ClientConfig {
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(10),
        call_timeout: Duration::from_millis(60),
        ..ClientConfig::default()
    };
    let client = target.client_configured(&meddler.address, config).await;
    client.refresh(std::slice::from_ref(&topic)).await.expect("known");
    let fetcher = Fetcher::start(&client, FetchConfig::default());
    let (sink, mut events) = deliveries();
    fetcher.assign(TopicPartition::new(topic, 0), 1, 7, sink);
    let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
    assert!(matches!(event, FetchEvent::OutOfRange { log_start: 0, end: 0, .. }), "{event:?}");
    fetcher.close().await;
}

/// A retriable code in place of the offsets.
fn not_the_leader(frame: Bytes, version: i16) -> Bytes {
    let (correlation, mut response) =
        decode_response::<list_offsets::Response>(version, frame).expect("a response");
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER.0;
    }
    encode_response(correlation, version, &response).expect("encodes")
}

#[tokio::test]
async fn a_paused_partition_is_not_asked_for_until_it_goes_on() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "pause", 1).await;
    let partition = TopicPartition::new(Arc::clone(&topic), 0);
    let fetcher = Fetcher::start(&client, FetchConfig::default());
    let (sink, mut events) = deliveries();
    fetcher.assign(partition.clone(), 1, 0, sink);
    fetcher.pause(&partition);
    produce(&client, &topic, ProducerConfig::default(), 10, |_| None).await;
    // What was asked for before the pause may still come.
    let mut read = 0;
    while let Ok(Some(FetchEvent::Records(fetched))) =
        timeout(FetchConfig::default().max_wait * 2, events.recv()).await
    {
        read += copied(&fetched).len();
    }
    produce(&client, &topic, ProducerConfig::default(), 10, |_| None).await;
    assert!(timeout(FetchConfig::default().max_wait * 2, events.recv()).await.is_err(), "paused");
    fetcher.resume(&partition);
    while read < 20 {
        let event = timeout(PATIENCE, events.recv()).await.expect("in time").expect("open");
        let FetchEvent::Records(fetched) = event else { panic!("{event:?}") };
        read += copied(&fetched).len();
    }
    assert_eq!(read, 20);
    fetcher.close().await;
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named() {
    let target = Target::start().await;
    let client = onrush_kafka::Client::connect(
        onrush_kafka::ClientConfig {
            call_timeout: Duration::from_millis(300),
            ..onrush_kafka::ClientConfig::new(target.brokers.clone())
        },
        &target.runtime,
        onrush_runtime::Executor::current(),
    )
    .await
    .expect("a broker");
    let error = client.metadata(&["nowhere-to-be-found"]).await.expect_err("unknown");
    assert!(error.to_string().contains("topic nowhere-to-be-found does not exist"), "{error}");
}

#[tokio::test]
async fn nobody_listens() {
    let target = Target::start().await;
    let config = onrush_kafka::ClientConfig::new(["127.0.0.1:1"]);
    let error =
        onrush_kafka::Client::connect(config, &target.runtime, onrush_runtime::Executor::current())
            .await
            .expect_err("refused");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
