//! Members of one group: everything once, in key order, through hand-overs.

use std::num::NonZeroUsize;
use std::time::Duration;

use onrush_engine::{Context, Event, HandlerError, HandlerFactory, Mode, Order, Place};

use crate::target::{Seen, Target};

const PARTITIONS: i32 = 6;
const EVENTS: u64 = 100_000;

fn recording(seen: &Seen, nap: Option<Duration>) -> impl HandlerFactory + use<> {
    let seen = seen.clone();
    move |_: Place| {
        let seen = seen.clone();
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            seen.note(event);
            if let Some(nap) = nap {
                blocked(nap);
            }
            Ok(())
        }
    }
}

/// A handler that blocks, as `each_blocking` is for.
#[expect(clippy::disallowed_methods, reason = "the handler under test blocks its thread")]
fn blocked(nap: Duration) {
    std::thread::sleep(nap);
}

fn blocking(concurrency: usize) -> Mode {
    Mode::EachBlocking { concurrency: NonZeroUsize::new(concurrency).unwrap() }
}

/// Two members; in the middle a third joins and the first one leaves.
async fn hand_over(mode: Mode, events: u64, nap: Option<Duration>) {
    let target = Target::start().await;
    let topic = target.topic("hand-over", PARTITIONS).await;
    let seen = Seen::default();
    let first = target.engine(target.config(&topic, mode), recording(&seen, nap)).await;
    let second = target.engine(target.config(&topic, mode), recording(&seen, nap)).await;
    target.fill(&topic, 500, events / 2).await;
    seen.reaches(events as usize / 4).await;
    let third = target.engine(target.config(&topic, mode), recording(&seen, nap)).await;
    first.stop().await.unwrap();
    seen.reaches(events as usize / 2).await;
    seen.assert_exact(events as usize / 2);
    let counts = [second.stop().await.unwrap(), third.stop().await.unwrap()];
    assert!(counts.iter().all(|summary| summary.stopped.is_empty()));
    assert_eq!(target.committed(&topic, PARTITIONS).await, target.ends(&topic, PARTITIONS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn inline_members_hand_over_without_loss_or_repeats() {
    hand_over(Mode::Each, 2 * EVENTS, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_hand_over_without_loss_or_repeats() {
    hand_over(blocking(8), 40_000, Some(Duration::from_micros(200))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_member_repeats_nothing() {
    let target = Target::start().await;
    let topic = target.topic("restart", PARTITIONS).await;
    let seen = Seen::default();
    target.fill(&topic, 500, 20_000).await;
    for _ in 0..3 {
        let before = seen.count();
        let config = target.config(&topic, blocking(16));
        let member =
            target.engine(config, recording(&seen, Some(Duration::from_micros(100)))).await;
        seen.reaches((before + 2_000).min(20_000)).await;
        member.stop().await.unwrap();
    }
    let member = target.engine(target.config(&topic, Mode::Each), recording(&seen, None)).await;
    seen.reaches(20_000).await;
    member.stop().await.unwrap();
    seen.assert_exact(20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_by_partition_is_the_order_of_offsets() {
    let target = Target::start().await;
    let topic = target.topic("order", 1).await;
    let seen = Seen::default();
    target.fill(&topic, 7, 2_000).await;
    let mut config = target.config(&topic, blocking(4));
    config.order = Order::Partition;
    let member = target.engine(config, recording(&seen, None)).await;
    seen.reaches(2_000).await;
    assert_eq!(member.stop().await.unwrap().total.done, 2_000);
    seen.assert_exact(2_000);
}
