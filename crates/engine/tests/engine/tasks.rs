//! Handlers that await: order, dead letters, time limits and hand-over on the caller's runtime.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_engine::{
    Assignment, AsyncContext, AsyncHandler, BatchContext, BatchError, EngineConfig, HandlerError,
    Mode, OwnedEvent, Place, Tasks,
};
use onrush_runtime::Executor;

use crate::target::{Member, Seen, Target};

const EVENTS: u64 = 2_000;
const KEYS: u64 = 50;

fn many() -> NonZeroUsize {
    NonZeroUsize::new(64).unwrap()
}

fn config(target: &Target, topic: &str) -> EngineConfig {
    target.config(topic, Mode::EachAsync { concurrency: many() })
}

async fn start(target: &Target, config: EngineConfig, tasks: Tasks) -> Member {
    target.tasks(config, tasks, Executor::current()).await
}

fn recording(seen: &Seen) -> Tasks {
    let seen = seen.clone();
    Tasks::each(move |_: Place| {
        let seen = seen.clone();
        move |event: OwnedEvent, _: AsyncContext| {
            let seen = seen.clone();
            async move {
                seen.note(&event.borrowed());
                if event.offset() % 3 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, HandlerError>(())
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_awaited_in_the_order_of_their_key_and_committed() {
    let target = Target::start().await;
    let topic = target.topic("tasks", 3).await;
    target.fill(&topic, KEYS, EVENTS).await;
    let seen = Seen::default();
    let member = start(&target, config(&target, &topic), recording(&seen)).await;
    seen.reaches(EVENTS as usize).await;
    let summary = member.stop().await.unwrap();
    seen.assert_exact(EVENTS as usize);
    assert_eq!(summary.total.done, EVENTS);
    assert_eq!(target.committed(&topic, 3).await, target.ends(&topic, 3).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tasks_emit_is_in_order_and_committed_when_acknowledged() {
    let target = Target::start().await;
    let (topic, copy) = (target.topic("emit-from", 3).await, target.topic("emit-to", 3).await);
    target.fill(&topic, KEYS, EVENTS).await;
    let to = copy.clone();
    let tasks = Tasks::each(move |_: Place| {
        let to = to.clone();
        move |event: OwnedEvent, cx: AsyncContext| {
            let to = to.clone();
            async move {
                tokio::task::yield_now().await;
                cx.emit(&to, event.key(), event.value(), &[])?;
                Ok::<_, HandlerError>(())
            }
        }
    });
    let member = start(&target, config(&target, &topic), tasks).await;
    let seen = Seen::default();
    let reader = start(&target, config(&target, &copy), recording(&seen)).await;
    seen.reaches(EVENTS as usize).await;
    member.stop().await.unwrap();
    reader.stop().await.unwrap();
    seen.assert_exact(EVENTS as usize);
    assert_eq!(target.committed(&topic, 3).await, target.ends(&topic, 3).await);
}

/// Never returns for the event with this key while `stuck`, and tells what it was told.
struct Sticky {
    seen: Seen,
    stuck: Arc<AtomicBool>,
    told: Arc<Mutex<BTreeMap<i32, i64>>>,
}

impl AsyncHandler for Sticky {
    async fn each(&mut self, event: OwnedEvent, _: AsyncContext) -> Result<(), HandlerError> {
        if event.key() == Some(b"7") && self.stuck.swap(false, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.seen.note(&event.borrowed());
        Ok(())
    }

    fn assigned(&mut self, assignment: &Assignment) {
        *self.told.lock().unwrap().entry(assignment.partition).or_default() += 1;
    }

    fn revoked(&mut self, assignment: &Assignment) {
        *self.told.lock().unwrap().entry(assignment.partition).or_default() -= 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_31_an_event_that_never_completes_holds_nothing_but_its_slot_and_is_cancelled() {
    let target = Target::start().await;
    let topic = target.topic("stuck", 1).await;
    target.fill(&topic, KEYS, EVENTS).await;
    let (seen, told) = (Seen::default(), Arc::new(Mutex::new(BTreeMap::new())));
    let (handler_seen, stuck, hooks) =
        (seen.clone(), Arc::new(AtomicBool::new(true)), Arc::clone(&told));
    let tasks = Tasks::each(move |_: Place| Sticky {
        seen: handler_seen.clone(),
        stuck: Arc::clone(&stuck),
        told: Arc::clone(&hooks),
    });
    let config = EngineConfig {
        slots: NonZeroUsize::new(1_024).unwrap(),
        drain_deadline: Duration::from_millis(300),
        ..config(&target, &topic)
    };
    let member = start(&target, config, tasks).await;
    // All but the key that is stuck at its first event.
    seen.reaches((EVENTS - EVENTS / KEYS) as usize).await;
    assert_eq!(told.lock().unwrap()[&0], 64);
    member.stop().await.unwrap();
    assert_eq!(told.lock().unwrap()[&0], 0, "every task was told before the member left");
    let again = Seen::default();
    let member = start(&target, self::config(&target, &topic), recording(&again)).await;
    again.reaches((EVENTS / KEYS) as usize).await;
    member.stop().await.unwrap();
    assert_eq!(again.count() as u64, EVENTS / KEYS, "only what was unfinished is repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_takes_too_long_is_cancelled_and_tried_again() {
    let target = Target::start().await;
    let topic = target.topic("late", 1).await;
    target.fill(&topic, 10, 100).await;
    let (seen, attempts) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let (noted, tried) = (seen.clone(), Arc::clone(&attempts));
    let tasks = Tasks::each(move |_: Place| {
        let (noted, tried) = (noted.clone(), Arc::clone(&tried));
        move |event: OwnedEvent, cx: AsyncContext| {
            let (noted, tried) = (noted.clone(), Arc::clone(&tried));
            async move {
                if event.offset() == 42 {
                    tried.lock().unwrap().push(cx.attempt());
                    if cx.attempt() == 1 {
                        std::future::pending::<()>().await;
                    }
                }
                noted.note(&event.borrowed());
                Ok::<_, HandlerError>(())
            }
        }
    });
    let limit = Some(Duration::from_millis(50));
    let config = EngineConfig { time_limit: limit, ..config(&target, &topic) };
    let member = start(&target, config, tasks).await;
    seen.reaches(100).await;
    member.stop().await.unwrap();
    seen.assert_exact(100);
    assert_eq!(*attempts.lock().unwrap(), [1, 2]);
}

fn batches(
    handler: impl Fn(&[OwnedEvent], &BatchContext) -> Result<(), BatchError>
    + Clone
    + Send
    + Sync
    + 'static,
) -> Tasks {
    Tasks::batch(NonZeroUsize::new(100).unwrap(), move |_: Place| {
        let handler = handler.clone();
        move |events: Vec<OwnedEvent>, cx: BatchContext| {
            let handler = handler.clone();
            async move {
                tokio::task::yield_now().await;
                handler(&events, &cx)
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_have_events_of_many_keys_in_the_order_of_each() {
    let target = Target::start().await;
    let topic = target.topic("batches", 3).await;
    target.fill(&topic, KEYS, EVENTS).await;
    let (seen, most) = (Seen::default(), Arc::new(AtomicU64::new(0)));
    let (noted, largest) = (seen.clone(), Arc::clone(&most));
    let tasks = batches(move |events, _| {
        largest.fetch_max(events.len() as u64, Ordering::Relaxed);
        events.iter().for_each(|event| noted.note(&event.borrowed()));
        Ok(())
    });
    let concurrency = NonZeroUsize::new(2).unwrap();
    let config = target.config(&topic, Mode::EachBatch { concurrency });
    let member = start(&target, config, tasks).await;
    seen.reaches(EVENTS as usize).await;
    member.stop().await.unwrap();
    seen.assert_exact(EVENTS as usize);
    let most = most.load(Ordering::Relaxed);
    assert!((50..=100).contains(&most), "{most} events in the largest batch");
    assert_eq!(target.committed(&topic, 3).await, target.ends(&topic, 3).await);
}

/// Fails at event 42 the first time: by name or not.
async fn a_batch_fails(named: bool) {
    let target = Target::start().await;
    let (topic, copy) = (target.topic("failing", 1).await, target.topic("failing-to", 1).await);
    target.fill(&topic, 10, 200).await;
    let to = copy.clone();
    let tasks = batches(move |events, cx| {
        for (index, event) in events.iter().enumerate() {
            let fails = event.offset() == 42 && event.attempt() == 1;
            match (fails, named) {
                (true, true) => return Err(BatchError::at(index, HandlerError::msg("no"))),
                (true, false) => return Err(HandlerError::msg("no").into()),
                (false, _) => cx.emit(event, &to, event.key(), event.value(), &[])?,
            }
        }
        Ok(())
    });
    let concurrency = NonZeroUsize::new(4).unwrap();
    let member =
        start(&target, target.config(&topic, Mode::EachBatch { concurrency }), tasks).await;
    let seen = Seen::default();
    let reader = start(&target, config(&target, &copy), recording(&seen)).await;
    seen.reaches(200).await;
    let summary = member.stop().await.unwrap();
    reader.stop().await.unwrap();
    seen.assert_exact(200);
    assert_eq!((summary.total.failed, summary.total.done), (1, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_names_the_event_at_fault_finishes_those_before() {
    a_batch_fails(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_know_is_tried_event_by_event() {
    a_batch_fails(false).await;
}
