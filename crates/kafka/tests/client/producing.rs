//! What is produced comes out as it went in.

use std::collections::BTreeSet;
use std::sync::Arc;

use onrush_kafka::{AppendError, Compression, FetchConfig, Producer, ProducerConfig};
use onrush_record::partition_for_key;
use onrush_runtime::Instant;

use crate::target::{Feeder, Target, acks, number, produce, read_all};

async fn round_trip(compression: Compression, count: u64) {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "round-trip", 6).await;
    let key = |number: u64| Some(format!("key-{}", number % 997).into_bytes());
    let config = ProducerConfig { compression, ..ProducerConfig::default() };
    produce(&client, &topic, config, count, key).await;
    let read = read_all(&client, &topic, FetchConfig::default(), count).await;
    let mut numbers = BTreeSet::new();
    for (partition, records) in &read {
        for pair in records.windows(2) {
            assert!(number(&pair[0]) < number(&pair[1]), "order within a partition");
        }
        for record in records {
            assert_eq!(record.key, key(number(record)));
            assert_eq!(partition_for_key(record.key.as_deref().expect("a key"), 6), *partition);
            numbers.insert(number(record));
        }
    }
    assert_eq!(numbers.len() as u64, count);
}

#[tokio::test]
async fn a_hundred_thousand_records_come_back_equal() {
    round_trip(Compression::None, 100_000).await;
}

#[tokio::test]
async fn lz4_comes_back_equal() {
    round_trip(Compression::Lz4, 20_000).await;
}

#[tokio::test]
async fn zstd_comes_back_equal() {
    round_trip(Compression::Zstd { level: 1 }, 20_000).await;
}

#[tokio::test]
async fn gzip_comes_back_equal() {
    round_trip(Compression::Gzip { level: 6 }, 20_000).await;
}

#[tokio::test]
async fn snappy_comes_back_equal() {
    round_trip(Compression::Snappy, 20_000).await;
}

#[tokio::test]
async fn records_without_a_key_spread_over_the_partitions() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "keyless", 4).await;
    let config = ProducerConfig { batch_bytes: 1024, ..ProducerConfig::default() };
    produce(&client, &topic, config, 5_000, |_| None).await;
    let read = read_all(&client, &topic, FetchConfig::default(), 5_000).await;
    assert_eq!(read.len(), 4, "every partition has some");
    assert!(read.values().flatten().all(|record| record.key.is_none()));
}

#[tokio::test]
async fn appenders_share_a_producer_and_keep_their_own_order() {
    const EACH: u64 = 5_000;
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "appenders", 3).await;
    let config = ProducerConfig { batch_bytes: 2_048, ..ProducerConfig::default() };
    let producer = Producer::start(&client, config).await.expect("a producer id");
    let (sink, mut results) = acks();
    let append = async |appender: u64| {
        let mut feeder = Feeder::new(&producer, Arc::clone(&sink));
        for number in 0..EACH {
            let value = appender << 32 | number;
            feeder
                .append(&topic, None, Some(&(number % 10).to_be_bytes()), &value.to_be_bytes())
                .await;
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // What is open is handed over with the drop.
    };
    tokio::join!(append(0), append(1));
    producer.close().await;
    let mut acknowledged = 0;
    while let Ok(result) = results.try_recv() {
        result.outcome.expect("written");
        acknowledged += u64::from(result.count);
    }
    assert_eq!(acknowledged, 2 * EACH);
    let read = read_all(&client, &topic, FetchConfig::default(), 2 * EACH).await;
    for (records, appender) in read.values().flat_map(|records| [(records, 0), (records, 1)]) {
        let own: Vec<_> = records.iter().map(number).filter(|n| n >> 32 == appender).collect();
        assert!(own.is_sorted_by(|one, next| one < next), "each once, in order");
    }
}

#[tokio::test]
async fn memory_is_bounded_and_lingering_batches_leave_by_themselves() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "bounded", 3).await;
    let config =
        ProducerConfig { batch_bytes: 4096, buffer_bytes: 16 * 1024, ..ProducerConfig::default() };
    let producer = Producer::start(&client, config.clone()).await.expect("a producer id");
    let (sink, mut results) = acks();
    let mut appender = producer.appender(sink);
    let handle = appender.topic(&topic).expect("known");
    let now = Instant::now();
    let mut appended = 0;
    let full = loop {
        match appender.append(handle, None, 0, Some(b"k"), Some(&[7; 100]), &[], now) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(producer.bytes_held() <= config.buffer_bytes);
    };
    assert_eq!(full, AppendError::Full);
    producer.flush().await;
    assert_eq!(producer.bytes_held(), 0);
    appender.append(handle, None, 0, Some(b"k"), Some(b"late"), &[], now).expect("room again");
    appended += 1;
    let due = appender.poll(now).expect("one is open");
    assert_eq!(due, now + config.linger);
    assert_eq!(appender.poll(due), None);
    producer.flush().await;
    let mut acknowledged = 0;
    while let Ok(result) = results.try_recv() {
        result.outcome.expect("written");
        acknowledged += result.count;
    }
    assert_eq!(acknowledged, appended);
}

#[tokio::test]
async fn records_that_cannot_be_appended_say_why() {
    let target = Target::start().await;
    let client = target.client().await;
    let topic = target.topic(&client, "refusals", 2).await;
    let producer =
        Producer::start(&client, ProducerConfig::default()).await.expect("a producer id");
    let mut appender = producer.appender(acks().0);
    let missing = appender.topic("no-such-topic").expect_err("unknown");
    assert!(missing.to_string().contains("no-such-topic"));
    let handle = appender.topic(&topic).expect("known");
    let now = Instant::now();
    let huge = vec![0; 2_000_000];
    let error =
        appender.append(handle, None, 0, None, Some(&huge), &[], now).expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }));
    let error = appender
        .append(handle, Some(2), 0, None, Some(b""), &[], now)
        .expect_err("no such partition");
    assert!(error.to_string().contains("has 2 partitions, there is no partition 2"), "{error}");
}
