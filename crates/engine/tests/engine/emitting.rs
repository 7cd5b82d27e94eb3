//! What handlers emit is acknowledged before their events count as done.

use std::num::NonZeroUsize;

use onrush_engine::{Context, Event, HandlerError, Mode, Place};

use crate::target::{Seen, Target};

async fn copies(mode: Mode) {
    let target = Target::start().await;
    let (source, copy) = (target.topic("source", 3).await, target.topic("copy", 3).await);
    target.fill(&source, 100, 10_000).await;
    let to = copy.clone();
    let factory = move |_: Place| {
        let to = to.clone();
        move |event: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
            Ok(cx.emit(&to, event.key, event.value, &[])?)
        }
    };
    let copier = target.engine(target.config(&source, mode), factory).await;
    let seen = Seen::default();
    let record = seen.clone();
    let reader = move |_: Place| {
        let record = record.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            record.note(event);
            Ok(())
        }
    };
    let reader = target.engine(target.config(&copy, Mode::Each), reader).await;
    seen.reaches(10_000).await;
    assert_eq!(copier.stop().await.unwrap().total.done, 10_000);
    reader.stop().await.unwrap();
    seen.assert_exact(10_000);
    assert_eq!(target.committed(&source, 3).await, target.ends(&source, 3).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_copies_arrive_once_and_in_order() {
    copies(Mode::Each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_workers_arrive_once_and_in_order() {
    copies(Mode::EachBlocking { concurrency: NonZeroUsize::new(8).unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emitting_to_a_topic_that_does_not_exist_stops_the_partition_only() {
    let target = Target::start().await;
    let topic = target.topic("source", 1).await;
    target.fill(&topic, 1, 10).await;
    let client = onrush_kafka::ClientConfig {
        call_timeout: std::time::Duration::from_millis(300),
        ..onrush_kafka::ClientConfig::new(&target.brokers)
    };
    let factory = |_: Place| {
        |_: &Event<'_>, cx: &mut Context<'_>| -> Result<(), HandlerError> {
            Ok(cx.emit("nowhere", None, None, &[])?)
        }
    };
    let config = target.config(&topic, Mode::Each);
    let (engine, handle) =
        onrush_engine::Engine::start(config, &target.runtime, client, factory).await.unwrap();
    let stopped = async {
        while !handle.snapshot().partitions.iter().any(|partition| partition.stopped) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::target::PATIENCE, stopped).await.unwrap();
    handle.shutdown();
    let summary = engine.run().await.unwrap();
    assert_eq!(summary.total.done, 0);
    let text = summary.stopped[0].to_string();
    assert!(
        text.contains(&topic) && text.contains("offset 0") && text.contains("nowhere"),
        "{text}"
    );
}
