//! Answers that leave out what was asked about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use onrush_kafka::{At, ClientConfig, TopicPartition};
use onrush_wire::ApiKey;
use onrush_wire::message::{decode_response, encode_response, list_offsets, offset_fetch};
use tokio::time::timeout;

use crate::meddling::Meddler;
use crate::target::{PATIENCE, Target};

/// An answer without the last partition of its topic.
fn shortened(api: ApiKey, version: i16, frame: Bytes) -> Option<Bytes> {
    match api {
        ApiKey::LIST_OFFSETS => {
            let (correlation, mut response) =
                decode_response::<list_offsets::Response>(version, frame).expect("a response");
            response.topics[0].partitions.pop();
            Some(encode_response(correlation, version, &response).expect("encodes"))
        }
        ApiKey::OFFSET_FETCH => {
            let (correlation, mut response) =
                decode_response::<offset_fetch::Response>(version, frame).expect("a response");
            response.groups[0].topics[0].partitions.pop();
            Some(encode_response(correlation, version, &response).expect("encodes"))
        }
        _ => None,
    }
}

async fn partitions(target: &Target) -> Vec<TopicPartition> {
    let client = target.client().await;
    let topic = target.topic(&client, "omitted", 2).await;
    (0..2).map(|partition| TopicPartition::new(Arc::clone(&topic), partition)).collect()
}

#[tokio::test]
async fn a_partition_that_is_left_out_once_is_asked_for_again() {
    let target = Target::start().await;
    let partitions = partitions(&target).await;
    let short = AtomicU32::new(0);
    let meddler = Meddler::start(&target.brokers[0], move |api, version, frame| {
        let first = api == ApiKey::OFFSET_FETCH && short.fetch_add(1, Ordering::Relaxed) == 0;
        first.then(|| shortened(api, version, frame)).flatten()
    })
    .await;
    let client = target.client_through(&meddler.address).await;
    let committed = client.fetch_offsets("nobody", &partitions).await.expect("answered");
    assert_eq!(committed.len(), 2);
}

#[tokio::test]
async fn a_partition_that_is_always_left_out_is_named_and_not_asked_for_in_a_tight_loop() {
    let target = Target::start().await;
    let partitions = partitions(&target).await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let meddler = Meddler::start(&target.brokers[0], move |api, version, frame| {
        let short = shortened(api, version, frame);
        count.fetch_add(u32::from(short.is_some()), Ordering::Relaxed);
        short
    })
    .await;
    let config =
        ClientConfig { call_timeout: Duration::from_millis(300), ..ClientConfig::default() };
    let client = target.client_configured(&meddler.address, config).await;
    client.metadata(&[&partitions[0].topic]).await.expect("known");
    let last = std::slice::from_ref(&partitions[1]);
    let listed = timeout(PATIENCE, client.list_offsets(last, At::Earliest)).await;
    let error = listed.expect("in time").expect_err("left out");
    assert!(error.to_string().contains(&partitions[1].to_string()), "{error}");
    let error = client.fetch_offsets("nobody", &partitions).await.expect_err("left out");
    assert!(error.to_string().contains(&partitions[1].to_string()), "{error}");
    assert!(asked.load(Ordering::Relaxed) < 200, "asked {asked:?} times");
}
