//! Sends events at a rate, until its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use onrush::Producer;
use onrush_runtime::Random;

use crate::Failure;
use crate::fate::{Event, KEYS};
use crate::zipf::Zipf;

/// How often events are sent; those of the time since are sent together.
const TICK: Duration = Duration::from_millis(10);

/// A generator that runs.
pub(crate) struct Generator {
    thread: JoinHandle<Result<u64, Failure>>,
    stop: Arc<AtomicBool>,
}

impl Generator {
    pub(crate) fn start(brokers: &str, topic: &str, seed: u64, rate: u64) -> Result<Self, Failure> {
        let producer = Producer::connect(brokers)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (topic, told) = (topic.to_owned(), Arc::clone(&stop));
        let thread = spawn(move || send(producer, &topic, seed, rate, &told));
        Ok(Self { thread, stop })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops sending; how many events are acknowledged, numbered from 0.
    pub(crate) fn end(self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the generator panicked")?
    }
}

fn send(
    mut producer: Producer,
    topic: &str,
    seed: u64,
    rate: u64,
    stop: &AtomicBool,
) -> Result<u64, Failure> {
    let (random, zipf, start) = (Random::seeded(seed), Zipf::new(KEYS), Instant::now());
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_millis() as u64 * rate / 1_000;
        while number < due {
            let event = Event { number, key: zipf.draw(&random) };
            producer.send(topic, Some(&event.key.to_le_bytes()), Some(&event.bytes()))?;
            number += 1;
        }
        sleep(TICK);
    }
    producer.flush()?;
    Ok(number)
}
