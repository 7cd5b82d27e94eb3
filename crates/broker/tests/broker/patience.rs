//! Peers that take their time, on virtual time: how long a connection is kept, and that the memory
//! which slow ones hold comes back to the others.

use std::time::Duration;

use bytes::Bytes;
use onrush_broker::BrokerConfig;
use onrush_wire::{ErrorCode, Uuid};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::support::*;
use crate::syncing::World;

/// How long a peer may make no progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may say nothing between two requests.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// By when who holds others up is out.
const SOON: Duration = Duration::from_secs(5);

/// Steps of a simulated process come so late at most.
const MARGIN: Duration = Duration::from_millis(50);

/// The beginning of a frame of 2 MiB, longer than what is reserved before it came.
fn half_a_frame() -> Bytes {
    let mut bytes = vec![0; 20 * 1024];
    bytes[..4].copy_from_slice(&(2_u32 << 20).to_be_bytes());
    bytes.into()
}

fn is_about(took: Duration, expected: Duration) -> bool {
    (expected..expected + MARGIN).contains(&took)
}

#[tokio::test(start_paused = true)]
async fn who_stops_in_the_middle_of_a_request_is_thrown_out() {
    let world = World::new(1);
    let (_broker, _, _) = world.start(BrokerConfig::default()).await;
    for cut in [2, 4, 20_000] {
        let mut client = world.client().await;
        let began = Instant::now();
        client.send(&[half_a_frame().slice(..cut)]).await;
        sleep(PATIENCE / 2).await;
        // Whoever goes on may take as long again.
        client.send(&[half_a_frame().slice(cut..cut + 1)]).await;
        assert_eq!(client.receive().await, None);
        let took = began.elapsed();
        assert!(is_about(took, PATIENCE / 2 + PATIENCE), "{took:?} after {cut} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_idle_for_long_is_disconnected() {
    let world = World::new(1);
    let (_broker, _, mut client) = world.start(BrokerConfig::default()).await;
    for _ in 0..2 {
        sleep(MAX_IDLE - MARGIN).await;
        client.producer_id().await;
    }
    let began = Instant::now();
    assert_eq!(client.receive().await, None);
    assert!(is_about(began.elapsed(), MAX_IDLE), "{:?}", began.elapsed());
}

/// A broker with 3 MiB of records.
async fn with_much(world: &World) -> (onrush_broker::Broker, Client) {
    let (broker, _, mut client) = world.start(BrokerConfig::default()).await;
    client.create_topic(TOPIC, 1).await;
    let value = "x".repeat(512 * 1024);
    for _ in 0..6 {
        assert_eq!(client.produce(batch(&[&value])).await.error_code, ErrorCode::NONE);
    }
    (broker, client)
}

/// A client that asked for more than fits between it and the broker, in two requests.
async fn greedy(world: &World) -> Client {
    let mut client = world.client().await;
    for max_bytes in [1, 64 << 20] {
        let mut request = fetch_request(Uuid::ZERO, 0);
        request.max_bytes = max_bytes;
        request.topics[0].partitions[0].max_bytes = max_bytes;
        client.send_fetch(12, &request).await;
    }
    client
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_its_answer_is_thrown_out() {
    let world = World::new(1);
    let (_broker, _) = with_much(&world).await;
    let (mut patient, mut late) = (greedy(&world).await, greedy(&world).await);
    sleep(PATIENCE - MARGIN).await;
    for _ in 0..2 {
        assert!(patient.receive().await.is_some());
    }
    sleep(2 * MARGIN).await;
    assert!(late.receive().await.is_some());
    assert_eq!(late.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_its_answer_while_memory_is_short_is_thrown_out_soon() {
    let world = World::new(1);
    let (_broker, mut healthy) = with_much(&world).await;
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(greedy(&world).await);
    }
    sleep(SOON).await;
    let mut thrown_out = 0;
    for client in &mut crowd {
        assert!(client.receive().await.is_some());
        thrown_out += usize::from(client.receive().await.is_none());
    }
    // As many as it takes.
    assert!((1..crowd.len() / 2).contains(&thrown_out), "{thrown_out}");
    assert!(healthy.fetch(0).await.records.len() >= 512 * 1024);
}

/// What a producer of a batch that needs room has to wait.
async fn room_comes_back(healthy: &mut Client) -> Duration {
    let began = Instant::now();
    let produced = healthy.produce(batch(&[&"x".repeat(100 * 1024)])).await;
    assert_eq!(produced.error_code, ErrorCode::NONE);
    // The connection is a good one still.
    healthy.producer_id().await;
    began.elapsed()
}

/// Clients whose half requests hold all the room that there is.
async fn half_requests(world: &World) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..130 {
        let mut client = world.client().await;
        client.send(&[half_a_frame()]).await;
        crowd.push(client);
    }
    sleep(10 * MARGIN).await;
    crowd
}

#[tokio::test(start_paused = true)]
async fn half_requests_give_their_room_back_soon() {
    let world = World::new(1);
    let (_broker, _, mut healthy) = world.start(BrokerConfig::default()).await;
    healthy.create_topic(TOPIC, 1).await;
    let _crowd = half_requests(&world).await;
    let took = room_comes_back(&mut healthy).await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_trickle_give_their_room_back_soon() {
    let world = World::new(1);
    let (_broker, _, mut healthy) = world.start(BrokerConfig::default()).await;
    healthy.create_topic(TOPIC, 1).await;
    let mut crowd = half_requests(&world).await;
    let trickle = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            for client in &mut crowd {
                // It fails once the client is thrown out, which is what is waited for.
                let _ = client.stream.write_all(&[0]).await;
            }
        }
    };
    let took = tokio::select! {
        biased;
        took = room_comes_back(&mut healthy) => took,
        () = trickle => unreachable!("it does not end"),
    };
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_until_there_is_room_for_its_answer() {
    let world = World::new(1);
    let (_broker, _, mut healthy) = world.start(BrokerConfig::default()).await;
    healthy.create_topic(TOPIC, 1).await;
    // A first batch is told whatever its length.
    let value = "x".repeat(1_000_000);
    assert_eq!(healthy.produce(batch(&[&value])).await.error_code, ErrorCode::NONE);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(greedy(&world).await);
        // The broker accepts in between.
        sleep(Duration::from_millis(1)).await;
    }
    sleep(2 * MARGIN).await;
    let began = Instant::now();
    assert!(healthy.fetch(0).await.records.len() > value.len());
    let took = began.elapsed();
    assert!((MARGIN..SOON).contains(&took), "{took:?}");
}
