//! Members that are slow to let go, and members that are dropped.

use std::time::{Duration, Instant};

use crate::crew::{Crew, LIMIT};

/// A drain that takes longer than the session: the member heartbeats all the while, so that what it finishes counts.
#[test]
fn trap_08_a_member_that_drains_longer_than_its_session_stays_a_member() {
    let crew = Crew::new("draining", 8);
    crew.fill(4_000);
    let slowest = Duration::from_secs(8);
    let start = |number| {
        let takes = move |event: u64| match event {
            50..58 => slowest,
            _ => Duration::from_millis(2),
        };
        let (consumer, factory) = crew.member(number, 16, takes);
        let consumer = consumer.drain_deadline(2 * slowest);
        consumer.handlers(factory).start().expect("it joins")
    };
    let first = start(0);
    let slow: Vec<u64> = (50..58).collect();
    crew.until("they run", || crew.started(&slow) == slow.len());
    let second = start(1);
    crew.until_committed();
    for member in [first, second] {
        member.stop().expect("it drains and leaves");
    }
    assert_eq!(crew.times().len(), 4_000);
    assert!(crew.started_twice().is_empty(), "{:?}", crew.started_twice());
}

/// Whoever has it drops it in the middle of its work: neither that nor the group hangs.
#[test]
fn trap_37_a_member_that_is_dropped_neither_hangs_nor_keeps_its_partitions() {
    let crew = Crew::new("dropped", 4);
    crew.fill(4_000);
    let start = |number| {
        let (consumer, factory) = crew.member(number, 4, |_| Duration::from_millis(1));
        consumer.handlers(factory).start().expect("it joins")
    };
    let first = start(0);
    crew.until("it works", || crew.done() > 200);
    let dropped = Instant::now();
    drop(first);
    let took = dropped.elapsed();
    let second = start(1);
    crew.until_committed();
    println!("dropping took {took:?}, the other one had all done {:?} later", dropped.elapsed());
    second.stop().expect("it drains and leaves");
    assert_eq!(crew.times().len(), 4_000);
    assert!(took < Duration::from_secs(5) && dropped.elapsed() < LIMIT, "{took:?}");
}
