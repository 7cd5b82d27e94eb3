//! The load: numbered events, sent until each one is acknowledged.
//!
//! A producer that failed is replaced by a new one, which sends what was not acknowledged again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_kafka::{AckSink, Acked, Appender, Client, ClientConfig, Producer, ProducerConfig};
use onrush_runtime::{Executor, Instant, Random, Runtime, Spawn};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::history::{History, Payload};
use crate::plan::Plan;
use crate::world::TOPIC;

/// Virtual time over which the events are spread.
const SPREAD: Duration = Duration::from_secs(20);
/// An attempt to have everything acknowledged; then the producer is replaced.
const ATTEMPT: Duration = Duration::from_secs(60);

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    random: Random,
    events: Vec<Payload>,
    pause: Duration,
}

impl Load {
    pub(crate) fn of(plan: &Plan) -> Self {
        let random = plan.random.fork();
        let payload = |id| {
            let key = (!random.chance(plan.keyless, 16)).then(|| random.below(plan.keys));
            Payload { id, key }
        };
        let events: Vec<Payload> = (0..plan.events).map(payload).collect();
        Self { pause: SPREAD / plan.events as u32, events, random }
    }
}

/// Sends the load; returns when all of it is acknowledged.
pub(crate) async fn run(runtime: Runtime, load: Load, history: History) {
    let Spawn::Process(process) = &runtime.spawn else { return };
    let io = Executor::Process(process.clone());
    let mut open: BTreeMap<u64, Payload> =
        load.events.iter().map(|event| (event.id, *event)).collect();
    while !open.is_empty() {
        let acks = Arc::new(Acks::default());
        let attempt = attempt(&runtime, io.clone(), &load, &open, &acks, &history);
        // A failure shows in what is still open.
        let _ = timeout(ATTEMPT, attempt).await;
        for (id, at) in acks.acknowledged() {
            open.remove(&id);
            history.acknowledged(id, at);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn attempt(
    runtime: &Runtime,
    io: Executor,
    load: &Load,
    open: &BTreeMap<u64, Payload>,
    acks: &Arc<Acks>,
    history: &History,
) -> Option<()> {
    let client = Client::connect(ClientConfig::new(["broker:9092"]), runtime, io).await.ok()?;
    client.metadata(&[TOPIC]).await.ok()?;
    let producer = Producer::start(&client, ProducerConfig::default()).await.ok()?;
    let mut appender = producer.appender(acks.clone());
    for event in open.values() {
        history.sent(event.id, Instant::now());
        append(&mut appender, *event, acks)?;
        let pause = load.pause * load.random.below(3) as u32;
        let next = Instant::now() + pause;
        while let Some(due) = appender.poll(Instant::now()).filter(|due| *due < next) {
            tokio::time::sleep_until(due).await;
        }
        tokio::time::sleep_until(next).await;
    }
    appender.flush(Instant::now());
    acks.wait_for(open.len()).await?;
    producer.close().await;
    Some(())
}

fn append(appender: &mut Appender, event: Payload, acks: &Acks) -> Option<()> {
    let topic = appender.topic(TOPIC).ok()?;
    let key = event.key.map(u64::to_be_bytes);
    let key = key.as_ref().map(<[u8; 8]>::as_slice);
    let value = event.to_bytes();
    let batch = appender.append(topic, None, 0, key, Some(&value), &[], Instant::now()).ok()?;
    acks.sent(batch, event.id);
    Some(())
}

/// Which events are in which batch, and which of them are acknowledged.
#[derive(Debug, Default)]
struct Acks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    batches: BTreeMap<u64, Vec<u64>>,
    acknowledged: Vec<(u64, Instant)>,
    failed: bool,
}

impl Acks {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, batch: u64, id: u64) {
        self.state().batches.entry(batch).or_default().push(id);
    }

    fn acknowledged(&self) -> Vec<(u64, Instant)> {
        std::mem::take(&mut self.state().acknowledged)
    }

    /// Waits for `count` acknowledgements; none when a batch failed.
    async fn wait_for(&self, count: usize) -> Option<()> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state();
                if state.failed {
                    return None;
                }
                if state.acknowledged.len() >= count {
                    return Some(());
                }
            }
            changed.await;
        }
    }
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let mut state = self.state();
        let ids = state.batches.remove(&result.batch).unwrap_or_default();
        match result.outcome {
            Ok(_) => state.acknowledged.extend(ids.into_iter().map(|id| (id, Instant::now()))),
            Err(_) => state.failed = true,
        }
        drop(state);
        self.changed.notify_one();
    }
}
