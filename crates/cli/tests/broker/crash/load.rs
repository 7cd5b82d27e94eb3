//! The load: numbered events in many small batches, without a pause, whatever becomes of the broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onrush_kafka::{AckSink, Acked, AppendError, Appender, Client, Producer, ProducerConfig};
use onrush_runtime::{Executor, Instant};
use tokio::sync::{Notify, oneshot};

use super::verdict::{Batch, History};
use crate::{PARTITIONS, TOPIC};

/// Time between two bursts, and events of a burst: 20,000 a second.
const PAUSE: Duration = Duration::from_millis(2);
const BURST: u64 = 40;
/// Every burst makes a batch per partition.
const LINGER: Duration = Duration::from_millis(1);
/// Longer than anything that a broker's restart may cost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running load.
pub(super) struct Load {
    acks: Arc<Acks>,
    stop: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
}

impl Load {
    pub(super) fn start(client: &Client, executor: &Executor) -> Self {
        let (acks, stop) = (Arc::new(Acks::default()), Arc::new(AtomicBool::new(false)));
        let (done, ended) = oneshot::channel();
        let (client, shared, stopped) = (client.clone(), acks.clone(), stop.clone());
        executor.spawn(async move {
            send(&client, &shared, &stopped).await;
            let _ = done.send(());
        });
        Self { acks, stop, ended }
    }

    /// Waits until the broker has acknowledged something, and then for as long again as `time`, until a batch is in flight.
    pub(super) async fn lasts(&self, time: Duration) {
        let working = async {
            self.acks.next_acknowledgement().await;
            let end = Instant::now() + time;
            while Instant::now() < end || !self.acks.state().history.has_open_batches() {
                self.acks.next_acknowledgement().await;
            }
        };
        tokio::time::timeout(PATIENCE, working).await.expect("the broker acknowledges");
    }

    pub(super) fn history(&self) -> History {
        self.acks.state().history.clone()
    }

    /// Sends nothing more, waits until everything is acknowledged, and returns what was.
    pub(super) async fn stop(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.ended)
            .await
            .expect("all is acknowledged in time")
            .expect("the load did not panic");
        self.acks.state().history.clone()
    }
}

/// Sends until it is told to stop; a producer that failed is replaced.
async fn send(client: &Client, acks: &Arc<Acks>, stop: &AtomicBool) {
    let mut next = 0;
    loop {
        let config = ProducerConfig { linger: LINGER, ..ProducerConfig::default() };
        let Ok(producer) = Producer::start(client, config).await else { continue };
        acks.state().begin_producer();
        let mut appender = producer.appender(acks.clone());
        let failed = burst(&mut appender, acks, stop, &mut next).await;
        appender.flush(Instant::now());
        producer.close().await;
        if !failed {
            return;
        }
    }
}

/// True when a batch was given up.
async fn burst(appender: &mut Appender, acks: &Acks, stop: &AtomicBool, next: &mut u64) -> bool {
    let topic = appender.topic(TOPIC).expect("the topic is known");
    while !stop.load(Ordering::Relaxed) {
        for number in *next..*next + BURST {
            let partition = (number % PARTITIONS as u64) as i32;
            let value = number.to_be_bytes();
            let now = Instant::now();
            let appended = appender.append(topic, Some(partition), 0, None, Some(&value), &[], now);
            match appended {
                Ok(batch) => acks.state().sent(batch, number),
                Err(AppendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
            *next = number + 1;
        }
        tokio::time::sleep(PAUSE).await;
        appender.poll(Instant::now());
        if acks.state().failed {
            return true;
        }
    }
    false
}

/// What was sent, and what became of it.
#[derive(Default)]
struct Acks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    history: History,
    /// Batches of the producer at work that are not acknowledged.
    open: BTreeMap<u64, Batch>,
    failed: bool,
}

impl State {
    fn begin_producer(&mut self) {
        self.open.clear();
        self.failed = false;
        self.history.producers += 1;
    }

    fn sent(&mut self, batch: u64, number: u64) {
        let begun = || Batch { sent: Instant::now(), numbers: Vec::new() };
        self.open.entry(batch).or_insert_with(begun).numbers.push(number);
        self.history.open = self.open.len();
    }
}

impl Acks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next_acknowledgement(&self) {
        self.changed.notified().await;
    }
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let mut state = self.state();
        let Some(batch) = state.open.remove(&result.batch) else { return };
        state.history.open = state.open.len();
        match result.outcome {
            Ok(base) => {
                let at = Instant::now();
                state.history.acknowledged(result.partition.partition, base, batch, at);
            }
            Err(_) => state.failed = true,
        }
        drop(state);
        self.changed.notify_one();
    }
}
