//! The member: it does as it is told by lines (`go`, `stop`, `end`), and says by lines how it stands.

use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onrush_engine::{
    Assignment, Context, Engine, EngineConfig, Event, Handler, HandlerError, Mode, Place,
};
use onrush_kafka::ClientConfig;
use onrush_runtime::{Disk, Runtime};

/// Time between lines.
const TICK: Duration = Duration::from_millis(50);
const CONCURRENCY: usize = 4;
const PAGE: u64 = 4_096;

/// How a member stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Resident bytes of its process.
    pub(crate) resident: u64,
    /// Calls of handlers that have returned.
    pub(crate) done: u64,
    /// Bytes of batches fetched.
    pub(crate) fetched: u64,
    /// How often partitions were assigned to it, and taken away.
    pub(crate) assigned: u64,
    pub(crate) revoked: u64,
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[resident, done, fetched, assigned, revoked]) => {
                Ok(Self { resident, done, fetched, assigned, revoked })
            }
            _ => Err(line.to_owned()),
        }
    }
}

/// What all handlers share.
#[derive(Default)]
struct Downstream {
    stands_still: Mutex<bool>,
    goes_on: Condvar,
    done: AtomicU64,
    assigned: AtomicU64,
    revoked: AtomicU64,
}

impl Downstream {
    fn set_still(&self, still: bool) {
        *self.stands_still.lock().unwrap() = still;
        self.goes_on.notify_all();
    }
}

struct Calling {
    downstream: Arc<Downstream>,
    /// Each worker is told of every partition; one of them counts.
    counts: bool,
}

impl Handler for Calling {
    fn each(&mut self, _: &Event<'_>, _: &mut Context<'_>) -> Result<(), HandlerError> {
        let still = self.downstream.stands_still.lock().unwrap();
        drop(self.downstream.goes_on.wait_while(still, |still| *still).unwrap());
        self.downstream.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn assigned(&mut self, _: &Assignment) {
        self.downstream.assigned.fetch_add(u64::from(self.counts), Ordering::Relaxed);
    }

    fn revoked(&mut self, _: &Assignment) {
        self.downstream.revoked.fetch_add(u64::from(self.counts), Ordering::Relaxed);
    }
}

/// Runs until it is told to end, or nobody is there to tell it.
pub(crate) fn run(brokers: &str, topic: &str, budget: usize) {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    threads.block_on(member(brokers, topic, budget));
}

async fn member(brokers: &str, topic: &str, budget: usize) {
    let downstream = Arc::new(Downstream::default());
    let calling = Arc::clone(&downstream);
    let factory = move |place: Place| {
        let counts = matches!(place, Place::Worker(0));
        Calling { downstream: Arc::clone(&calling), counts }
    };
    let config = EngineConfig {
        byte_budget: budget,
        lanes: NonZeroUsize::new(2).unwrap(),
        mode: Mode::EachBlocking { concurrency: NonZeroUsize::new(CONCURRENCY).unwrap() },
        commit_interval: Duration::from_millis(200),
        ..EngineConfig::new(format!("{topic}-group"), [topic])
    };
    let runtime = Runtime::production(Disk::memory());
    let client = ClientConfig::new(&[brokers.to_owned()]);
    let (engine, handle) = Engine::start(config, &runtime, client, factory).await.unwrap();
    let (told, ends) = (Arc::clone(&downstream), Arc::new(AtomicBool::new(false)));
    let end = Arc::clone(&ends);
    std::thread::spawn(move || obey(&told, &end));
    while !ends.load(Ordering::Relaxed) {
        say(&downstream, handle.snapshot().total.fetched);
        tokio::time::sleep(TICK).await;
    }
    downstream.set_still(false);
    handle.shutdown();
    engine.run().await.unwrap();
    say(&downstream, handle.snapshot().total.fetched);
}

fn obey(downstream: &Downstream, ends: &AtomicBool) {
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("go") => downstream.set_still(false),
            Ok("stop") => downstream.set_still(true),
            _ => break,
        }
    }
    ends.store(true, Ordering::Relaxed);
}

fn say(downstream: &Downstream, fetched: u64) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let Downstream { done, assigned, revoked, .. } = downstream;
    let (done, assigned, revoked) = (count(done), count(assigned), count(revoked));
    let mut out = std::io::stdout().lock();
    // Whoever listened may have gone, and then the input ends as well.
    let _ = writeln!(out, "{} {done} {fetched} {assigned} {revoked}", resident());
    let _ = out.flush();
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}
