//! The broker killed for real: SIGKILL at random under load, again and again, and what its log holds afterwards.
//!
//! With `--disk volatile` what was not synced is in the memory of the process, so a kill loses what a power cut would. A kill
//! counts if a produce was in flight: a batch that was handed over before it and acknowledged by the broker's next life.
//! [`verdict`] judges; what it must catch, it is shown: a broker that acknowledges before it syncs, and one that never syncs.
//!
//! `ONRUSH_TEST_KILLS` is the number of kills that count, 30 by default.

mod load;
mod verdict;

use std::sync::PoisonError;
use std::time::Duration;

use onrush_kafka::{Client, ClientConfig};
use onrush_runtime::{Disk, Executor, Instant, Random, Runtime};

use load::Load;
use verdict::{History, Life, Promise, Verdict};

use crate::daemon::Daemon;
use crate::{MACHINE, PARTITIONS, TOPIC, log};

/// More tries than this for the kills that count mean that the load is not what it should be.
const MAX_TRIES: usize = 4;
/// Between two syncs, when the broker syncs by interval.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// A sync of two slow cores and their disk may take so long on top.
const MARGIN: Duration = Duration::from_millis(400);

/// How a run goes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Arguments of the broker besides its address and directory.
    broker: &'static [&'static str],
    promise: Promise,
    kills: usize,
    /// A life of the broker under load is at least so long, and at most twice that.
    life: Duration,
}

/// The two policies that promise something, and the kills that are asked for.
fn always() -> Plan {
    Plan {
        broker: &["--disk", "volatile", "--fsync", "always"],
        promise: Promise::Everything,
        kills: kills(),
        life: Duration::from_millis(150),
    }
}

fn interval() -> Plan {
    Plan {
        broker: &["--disk", "volatile", "--fsync", "interval", "--fsync-interval-ms", "100"],
        promise: Promise::OlderThan(SYNC_INTERVAL + MARGIN),
        kills: kills(),
        // Long enough for some acknowledgements to be too old to be lost.
        life: SYNC_INTERVAL + MARGIN,
    }
}

fn kills() -> usize {
    let asked = std::env::var("ONRUSH_TEST_KILLS").ok();
    asked.map_or(30, |kills| kills.parse().expect("ONRUSH_TEST_KILLS is a number"))
}

#[test]
fn what_always_acknowledged_is_there_after_every_kill() {
    let verdict = run(always());
    println!("fsync always: {verdict}");
    assert!(verdict.holds(), "{verdict}");
}

#[test]
fn what_interval_acknowledged_before_its_last_interval_is_there_after_every_kill() {
    let verdict = run(interval());
    println!("fsync interval: {verdict}");
    assert!(verdict.holds(), "{verdict}");
    assert!(verdict.gone > 0, "the kills took nothing: this disk is not volatile; {verdict}");
}

#[test]
fn a_kill_without_a_power_cut_loses_nothing_under_any_policy() {
    let broker = &["--fsync", "never"];
    let verdict = run(Plan { broker, kills: kills().div_ceil(3), ..always() });
    println!("fsync never, page cache kept: {verdict}");
    assert!(verdict.holds(), "{verdict}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    let broker = &["--disk", "volatile", "--fsync", "always", "--sabotage", "ack-before-sync"];
    let verdict = run(Plan { broker, kills: 10, ..always() });
    println!("sabotage ack-before-sync: {verdict}");
    assert!(!verdict.lost.is_empty(), "not caught: {verdict}");
}

#[test]
fn a_log_that_is_never_synced_is_caught() {
    let broker = &["--disk", "volatile", "--fsync", "never"];
    let verdict = run(Plan { broker, kills: 5, ..interval() });
    println!("never synced: {verdict}");
    assert!(!verdict.lost.is_empty(), "not caught: {verdict}");
}

/// Plays a plan to its end.
fn run(plan: Plan) -> Verdict {
    let _others = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("crash", 1).expect("a thread");
    executor.block_on(play(plan, &runtime, executor.clone()))
}

async fn play(plan: Plan, runtime: &Runtime, executor: Executor) -> Verdict {
    let folder = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::new(folder.path(), plan.broker);
    daemon.start();
    let brokers = [daemon.address().to_owned()];
    let client = Client::connect(ClientConfig::new(&brokers), runtime, executor.clone());
    let client = client.await.expect("connected");
    client.create_topic(TOPIC, PARTITIONS, 1).await.expect("created");
    let load = Load::start(&client, &executor);
    let tail = log::Tail::start(&client);
    let random = Random::from_entropy();

    let mut lives = vec![];
    while counted(&lives, &load.history()) < plan.kills {
        assert!(lives.len() < plan.kills * MAX_TRIES, "too few kills with produces in flight");
        let extra = random.below(plan.life.as_millis() as u64);
        load.lasts(plan.life + Duration::from_millis(extra)).await;
        let killed = Instant::now();
        daemon.kill();
        daemon.start();
        lives.push(Life { killed, listening: Instant::now() });
    }
    load.lasts(plan.life).await;
    let history = load.stop().await;
    let read = tail.stop();
    let logged = log::read_all(&client).await;
    let kills = counted(&lives, &history);
    verdict::judge(&history, &lives, kills, &read, &logged, plan.promise)
}

/// The kills that took a produce in flight.
fn counted(lives: &[Life], history: &History) -> usize {
    lives.iter().filter(|life| history.was_in_flight(life)).count()
}
