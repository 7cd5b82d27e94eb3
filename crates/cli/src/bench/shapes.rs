//! What each way to call a handler costs beside the others: handlers that only count.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onrush_engine::{
    AsyncContext, BatchContext, BatchError, Context, Engine, EngineConfig, Event, HandlerError,
    Handlers, Mode, OwnedEvent, Place, Tasks,
};
use onrush_kafka::ClientConfig;

use super::stages::{Bench, LIMIT};
use crate::failure::{Exit, Failure};

/// Threads or tasks.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// Events of a batch.
const BATCH: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// A way to call a handler.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Blocking,
    Async,
    Batch,
}

impl Shape {
    fn mode(self) -> Mode {
        let concurrency = CONCURRENCY;
        match self {
            Self::Blocking => Mode::EachBlocking { concurrency },
            Self::Async => Mode::EachAsync { concurrency },
            Self::Batch => Mode::EachBatch { concurrency },
        }
    }

    fn handlers(self, counted: &Arc<AtomicU64>) -> Handlers {
        let counted = Arc::clone(counted);
        match self {
            Self::Blocking => Handlers::Called(Box::new(move |_: Place| {
                let counted = Arc::clone(&counted);
                move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
                    counted.fetch_add(u64::from(event.value.is_some()), Ordering::Relaxed);
                    Ok(())
                }
            })),
            Self::Async => Handlers::Awaited(Tasks::each(move |_: Place| {
                let counted = Arc::clone(&counted);
                move |event: OwnedEvent, _: AsyncContext| {
                    counted.fetch_add(u64::from(event.value().is_some()), Ordering::Relaxed);
                    std::future::ready(Ok::<_, HandlerError>(()))
                }
            })),
            Self::Batch => Handlers::Awaited(Tasks::batch(BATCH, move |_: Place| {
                let counted = Arc::clone(&counted);
                move |events: Vec<OwnedEvent>, _: BatchContext| {
                    let values = events.iter().filter(|event| event.value().is_some()).count();
                    counted.fetch_add(values as u64, Ordering::Relaxed);
                    std::future::ready(Ok::<_, BatchError>(()))
                }
            })),
        }
    }
}

/// Processes all events of the topic in this way.
pub(super) async fn run(bench: &Bench<'_>, topic: &str, shape: Shape) -> Result<(), Failure> {
    let counted = Arc::new(AtomicU64::new(0));
    let config = EngineConfig {
        lanes: NonZeroUsize::MIN,
        mode: shape.mode(),
        ..EngineConfig::new(format!("{topic}-{shape:?}"), [topic])
    };
    let client = ClientConfig::new(&bench.brokers);
    let executor = bench.runtime.spawn.executor("bench-task", 2).map_err(Failure::threads)?;
    let handlers = shape.handlers(&counted);
    let (engine, handle) =
        Engine::start_with(config, bench.runtime, client, handlers, executor).await?;
    let all_done = async {
        while handle.snapshot().total.done < bench.events {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(LIMIT, all_done).await.is_ok();
    handle.shutdown();
    engine.run().await?;
    let counted = counted.load(Ordering::Relaxed);
    if !in_time || counted != bench.events {
        let message = format!("{shape:?}: handlers saw {counted} of {} events", bench.events);
        return Err(Failure::new(Exit::Wrong, message));
    }
    Ok(())
}
