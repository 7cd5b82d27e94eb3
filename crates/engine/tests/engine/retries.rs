//! Events that are tried again: by the next owner, and in retry topics.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_engine::{
    Answer, Context, EngineConfig, ErrorClass, Event, FailurePolicy, HandlerError, Mode, Place,
    RetryPolicy,
};

use onrush_kafka::Effect;

use crate::target::{PATIENCE, Target};

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn blocking() -> Mode {
    Mode::EachBlocking { concurrency: NonZeroUsize::new(3).unwrap() }
}

/// (member, try) of every call with the event that fails.
type Tries = Arc<Mutex<Vec<(u32, u32)>>>;

async fn travelling(mode: Mode) {
    let target = Target::start().await;
    let topic = target.topic("travelling", 1).await;
    target.fill(&topic, 10, 100).await;
    let tries = Tries::default();
    let member = async |number: u32| {
        let tries = tries.clone();
        let factory = move |_: Place| {
            let tries = tries.clone();
            move |event: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
                if event.offset != 17 {
                    return Ok(());
                }
                tries.lock().unwrap().push((number, cx.attempt()));
                let pause = Duration::from_millis(20);
                Err(HandlerError::new(ErrorClass::Retry { after: Some(pause) }, "not yet"))
            }
        };
        let retry = RetryPolicy::forever();
        let failures = FailurePolicy { retry, ..FailurePolicy::default() };
        let config = EngineConfig { failures, ..target.config(&topic, mode) };
        target.engine(config, factory).await
    };
    let first = member(1).await;
    let second = member(2).await;
    let counted = |wanted: usize| tries.lock().unwrap().len() >= wanted;
    eventually("it is tried five times", || counted(5)).await;
    // Whoever has the partition leaves: by then all else is done.
    let owner = tries.lock().unwrap().last().unwrap().0;
    let (leaving, staying) = if owner == 1 { (first, second) } else { (second, first) };
    leaving.stop().await.unwrap();
    eventually("the other one goes on", || tries.lock().unwrap().last().unwrap().0 != owner).await;
    let tries = tries.lock().unwrap().clone();
    let before = tries.iter().filter(|(member, _)| *member == owner).map(|(_, n)| *n).max();
    let after = tries.iter().find(|(member, _)| *member != owner).map(|(_, n)| *n);
    assert_eq!(after, before.map(|tries| tries + 1), "{tries:?}");
    assert_eq!(target.committed(&topic, 1).await, [17], "what failed is not committed");
    staying.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_travel_to_the_next_owner_of_a_lane() {
    travelling(Mode::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_travel_to_the_next_owner_of_workers() {
    travelling(blocking()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_class_of_their_type_and_what_is_paused_is_resumed() {
    let target = Target::start().await;
    let topic = target.topic("classes", 1).await;
    target.fill(&topic, 10, 100).await;
    let (repaired, calls) = (Arc::new(AtomicBool::new(false)), Tries::default());
    let (is_repaired, noted) = (repaired.clone(), calls.clone());
    let factory = move |_: Place| {
        let (is_repaired, noted) = (is_repaired.clone(), noted.clone());
        move |event: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
            noted.lock().unwrap().push((event.offset as u32, cx.attempt()));
            match event.offset {
                33 => Ok("no number".parse::<u8>().map(drop)?),
                44 if !is_repaired.load(Ordering::Relaxed) => Err(HandlerError::msg("closed")),
                _ => Ok(()),
            }
        }
    };
    let mut failures = FailurePolicy {
        retry: RetryPolicy::ONCE,
        exhausted: Answer::PauseKey,
        ..FailurePolicy::default()
    };
    failures.classes.on(|_: &std::num::ParseIntError| ErrorClass::Undecodable);
    let config = EngineConfig { failures, ..target.config(&topic, Mode::Each) };
    let member = target.engine(config, factory).await;
    let handle = member.handle.clone();
    // Of the key of 44, it and five later ones wait.
    eventually("all others are done", || {
        let total = handle.snapshot().total;
        (total.done, total.dead_lettered) == (93, 1)
    })
    .await;
    assert_eq!(handle.snapshot().partitions[0].parked_keys, 1);
    repaired.store(true, Ordering::Relaxed);
    handle.resume();
    eventually("it goes on", || handle.snapshot().total.done == 99).await;
    member.stop().await.unwrap();
    assert_eq!(target.committed(&topic, 1).await, [100]);
    let calls = calls.lock().unwrap();
    let tries = |offset| calls.iter().filter(move |call| call.0 == offset).map(|call| call.1);
    assert_eq!((tries(33).collect(), tries(44).collect()), (vec![1], vec![1, 2]));
}

/// Calls by (topic without its stem, number of the event).
type Calls = Arc<Mutex<BTreeMap<(String, u64), u32>>>;

async fn climbing(mode: Mode) {
    let target = Target::start().await;
    let topic = target.topic("climbing", 3).await;
    target.fill(&topic, 1_000, 60).await;
    let calls = Calls::default();
    let (noted, stem) = (calls.clone(), topic.clone());
    // One key of ten fails: 7 in its topic, 17 on the first rung too, 27 wherever it is.
    let factory = move |_: Place| {
        let (noted, stem) = (noted.clone(), stem.clone());
        move |event: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
            let key: u64 = std::str::from_utf8(event.key.unwrap())?.parse()?;
            let rung = event.topic.strip_prefix(&*stem).unwrap().to_owned();
            let origin = event.origin();
            assert_eq!(origin.topic, stem, "of {}", event.topic);
            assert_eq!(origin.attempts > 0, event.topic != stem);
            assert_eq!(event.timestamp, origin.timestamp);
            assert!(
                cx.attempt() <= 5 && origin.attempts.is_multiple_of(5),
                "each rung counts anew"
            );
            *noted.lock().unwrap().entry((rung.clone(), key)).or_default() += 1;
            match (key, &*rung) {
                (7, "") | (17, "" | ".retry.200ms") | (27, _) => Err(HandlerError::msg("not yet")),
                _ => Ok(()),
            }
        }
    };
    let failures = FailurePolicy {
        retry: RetryPolicy { first: Duration::from_millis(1), ..RetryPolicy::default() },
        retry_topics: [200, 400].map(Duration::from_millis).to_vec(),
        ..FailurePolicy::default()
    };
    let config = EngineConfig { failures, ..target.config(&topic, mode) };
    let member = target.engine(config, factory).await;
    eventually("all have their outcome", || {
        let total = member.handle.snapshot().total;
        (total.done, total.moved, total.dead_lettered) == (59, 5, 1)
    })
    .await;
    member.stop().await.unwrap();
    let calls = calls.lock().unwrap().clone();
    let of = |rung: &str, key| calls.get(&(rung.to_owned(), key)).copied();
    let rungs = |key| ["", ".retry.200ms", ".retry.400ms"].map(|rung| of(rung, key));
    assert_eq!(rungs(6), [Some(1), None, None]);
    assert_eq!(rungs(7), [Some(5), Some(1), None]);
    assert_eq!(rungs(17), [Some(5), Some(5), Some(1)]);
    assert_eq!(rungs(27), [Some(5), Some(5), Some(5)]);
    for rung in ["", ".retry.200ms", ".retry.400ms"] {
        let topic = format!("{topic}{rung}");
        assert_eq!(target.ends(&topic, 3).await.len(), 3, "as many partitions as its origin");
    }
    let letters = format!("{topic}.dead-letter");
    assert_eq!(target.ends(&letters, 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_27_an_event_climbs_the_retry_topics_of_a_lane_and_ends_in_the_dead_letters() {
    climbing(Mode::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_27_an_event_climbs_the_retry_topics_of_workers_and_ends_in_the_dead_letters() {
    climbing(blocking()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_topics_grow_with_their_topic_and_take_events_of_every_partition() {
    let target = Target::start().await;
    let topic = target.topic("growing", 1).await;
    let failures = FailurePolicy {
        retry: RetryPolicy::ONCE,
        retry_topics: vec![Duration::from_millis(200)],
        ..FailurePolicy::default()
    };
    let config = || {
        let failures = failures.clone();
        EngineConfig { failures, ..target.config(&topic, Mode::Each) }
    };
    let stem = topic.clone();
    let factory = move |_: Place| {
        let stem = stem.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            if event.topic == stem { Err(HandlerError::msg("not yet")) } else { Ok(()) }
        }
    };
    let first = target.engine(config(), factory.clone()).await;
    first.stop().await.unwrap();
    let rung = format!("{topic}.retry.200ms");
    assert_eq!(target.ends(&rung, 1).await, [0]);
    target.client.create_partitions(&[(&topic, 3)], Effect::Apply).await;
    let second = target.engine(config(), factory).await;
    assert_eq!(target.ends(&rung, 3).await, [0, 0, 0]);
    target.client.refresh(&[topic.as_str().into()]).await.unwrap();
    target.fill(&topic, 5, 5).await;
    let total = || second.handle.snapshot().total;
    eventually("all moved and done", || (total().moved, total().done) == (5, 5)).await;
    assert_eq!(target.ends(&rung, 3).await, target.ends(&topic, 3).await, "by their keys");
    second.stop().await.unwrap();
}
