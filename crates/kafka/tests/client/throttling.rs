//! A broker that throttles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use onrush_kafka::{FetchConfig, ProducerConfig};
use onrush_wire::ApiKey;
use onrush_wire::produce::ProduceResponse;

use crate::meddling::Meddler;
use crate::target::{Target, produce, read_all};

#[tokio::test]
async fn a_throttled_producer_is_slow_and_loses_no_answer() {
    let target = Target::start().await;
    let direct = target.client().await;
    let topic = target.topic(&direct, "throttled", 6).await;
    let throttled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&throttled);
    let meddler = Meddler::start(&target.brokers[0], move |api, version, frame| {
        if api != ApiKey::PRODUCE {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let (correlation, response) = ProduceResponse::decode(version, frame).expect("a response");
        let response = ProduceResponse { throttle_ms: 5, ..response };
        Some(response.encode(correlation, version).expect("encodes"))
    })
    .await;
    let client = target.client_through(&meddler.address).await;
    client.metadata(&[&topic]).await.expect("known");
    // Several requests are in flight at once.
    let config = ProducerConfig { batch_bytes: 512, ..ProducerConfig::default() };
    produce(&client, &topic, config, 3_000, |number| Some(number.to_be_bytes().to_vec())).await;
    assert!(throttled.load(Ordering::Relaxed) > 10, "{throttled:?}");
    let read = read_all(&direct, &topic, FetchConfig::default(), 3_000).await;
    assert_eq!(read.values().map(Vec::len).sum::<usize>(), 3_000);
}
