//! Three hundred connections that mean no good, while one client works: garbage, half frames, absurd lengths, senders of a
//! byte at a time, and receivers that ask for everything and never read.
//!
//! The client loses nothing, its events cost the broker at most [`MAX_COST`] times what they cost alone, and the broker's
//! resident memory stays below [`MAX_RESIDENT`]. What the hostile do is limited in rate, by [`PAUSE`]: it is their number and
//! their ways that are tested, not how many packets a second two cores can take.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use onrush_kafka::{Client, ClientConfig};
use onrush_runtime::{Disk, Executor, Net, Random, Runtime, Stream, Task};
use onrush_wire::fetch::{FetchPartition, FetchRequest, FetchTopic};
use onrush_wire::{ApiKey, RequestHeader, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::daemon::Daemon;
use crate::{MACHINE, PARTITIONS, TOPIC, log};

/// Connections of each kind.
const OF_A_KIND: usize = 60;
/// Between two acts of one hostile connection.
const PAUSE: Duration = Duration::from_secs(4);
/// Events of a phase.
const EVENTS: u64 = 500_000;
/// Phases alone and among the hostile, in turn; the cheapest of each counts, since others use the machine, too.
const ROUNDS: u64 = 4;
/// CPU of the broker per event among the hostile, against alone.
const MAX_COST: f64 = 1.25;
/// Resident memory of the broker: 128 MiB each of requests and answers at work (its caps), and what it needs besides. Without
/// the caps it was 1.2 GiB.
const MAX_RESIDENT: u64 = (2 * 128 + 128) << 20;
/// A fetch of those that never read asks for this much, which is what a broker gives at most.
const GREED: i32 = 64 << 20;

/// What a hostile connection does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Bytes that are no request, again and again.
    Garbage,
    /// The beginning of a long frame, and then nothing.
    HalfFrame,
    /// Lengths that nobody sends.
    AbsurdLength,
    /// A byte at a time.
    SlowSender,
    /// Many fetches of everything, and no read.
    NeverReads,
}

const KINDS: [Kind; 5] =
    [Kind::Garbage, Kind::HalfFrame, Kind::AbsurdLength, Kind::SlowSender, Kind::NeverReads];

#[test]
fn hostile_connections_cost_the_others_next_to_nothing() {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("hostile", 1).expect("a thread");
    executor.block_on(play(&runtime, executor.clone()));
}

async fn play(runtime: &Runtime, executor: Executor) {
    let folder = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::new(folder.path(), &["--fsync", "never"]);
    daemon.start();
    let brokers = [daemon.address().to_owned()];
    let client = Client::connect(ClientConfig::new(&brokers), runtime, executor.clone());
    let client = client.await.expect("connected");
    client.create_topic(TOPIC, PARTITIONS, 1).await.expect("created");

    let warm_up = work(&client, &daemon, 0).await;
    let acts = Arc::new(AtomicU64::new(0));
    let (mut alone, mut among) = (f64::INFINITY, f64::INFINITY);
    for round in 0..ROUNDS {
        alone = alone.min(work(&client, &daemon, 2 * round + 1).await);
        let hostile = begin(daemon.address(), &executor, &acts);
        let begun = acts.load(Ordering::Relaxed) + hostile.len() as u64;
        // What all of them want at once costs something once; it is measured what they cost from then on.
        while acts.load(Ordering::Relaxed) < begun || is_busy(&daemon).await {}
        among = among.min(work(&client, &daemon, 2 * round + 2).await);
        hostile.iter().for_each(Task::abort);
        while is_busy(&daemon).await {}
    }
    let (acts, resident) = (acts.load(Ordering::Relaxed), peak_resident(daemon.process()));
    let ratio = among / alone;
    println!(
        "{} hostile connections, {acts} acts: CPU per event {ratio:.2} times (alone {:.0} ns, warming up {:.0} ns), peak resident {} MiB",
        KINDS.len() * OF_A_KIND,
        alone * 1e9,
        warm_up * 1e9,
        resident >> 20
    );
    assert!(ratio <= MAX_COST, "an event costs {ratio:.2} times what it does alone");
    assert!(resident <= MAX_RESIDENT, "{} MiB resident", resident >> 20);
}

/// Whether the broker uses more than a twentieth of a core.
async fn is_busy(daemon: &Daemon) -> bool {
    const SAMPLE: Duration = Duration::from_millis(500);
    let before = cpu_seconds(daemon.process());
    tokio::time::sleep(SAMPLE).await;
    cpu_seconds(daemon.process()) - before > SAMPLE.as_secs_f64() / 20.0
}

/// Sends and reads back the events of a phase; seconds of the broker's CPU per event.
#[expect(
    clippy::disallowed_methods,
    reason = "the client works in a thread of its own, as a program would"
)]
async fn work(client: &Client, daemon: &Daemon, phase: u64) -> f64 {
    let brokers = daemon.address().to_owned();
    let ends = log::ends(client).await;
    let before = cpu_seconds(daemon.process());
    let sending = std::thread::spawn(move || {
        let mut value = [0; 100];
        let mut producer = onrush::Producer::connect(&brokers).expect("connected");
        for number in phase * EVENTS..(phase + 1) * EVENTS {
            value[..8].copy_from_slice(&number.to_be_bytes());
            producer.send(TOPIC, Some(&number.to_be_bytes()), Some(&value)).expect("sent");
        }
        producer.flush().expect("acknowledged");
    });
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sending.join().expect("sent");
    let logged = log::read_since(client, &ends).await;
    let cost = (cpu_seconds(daemon.process()) - before) / EVENTS as f64;
    let mut numbers: Vec<u64> = logged.into_values().collect();
    numbers.sort_unstable();
    let complete = numbers.iter().copied().eq(phase * EVENTS..(phase + 1) * EVENTS);
    assert!(complete, "phase {phase}: {} events are in the log", numbers.len());
    cost
}

fn begin(address: &str, executor: &Executor, acts: &Arc<AtomicU64>) -> Vec<Task> {
    let random = Random::seeded(300);
    let kinds = KINDS.iter().flat_map(|kind| std::iter::repeat_n(*kind, OF_A_KIND));
    let begin = |kind: Kind| {
        let (address, acts, random) = (address.to_owned(), acts.clone(), random.fork());
        executor.spawn(async move {
            loop {
                // Being thrown out is what a hostile connection expects.
                let _ = act(kind, &address, &acts, &random).await;
                tokio::time::sleep(PAUSE).await;
            }
        })
    };
    kinds.map(begin).collect()
}

/// One connection's life.
async fn act(kind: Kind, address: &str, acts: &AtomicU64, random: &Random) -> std::io::Result<()> {
    let mut stream = Net::Tcp.connect(address).await?;
    let acted = || acts.fetch_add(1, Ordering::Relaxed);
    match kind {
        Kind::Garbage => {
            let bytes: Vec<u8> = (0..128).flat_map(|_| random.next_u64().to_be_bytes()).collect();
            stream.write_all(&bytes).await?;
            acted();
            thrown_out(&mut stream).await
        }
        Kind::HalfFrame => {
            stream.write_all(&(8_i32 << 20).to_be_bytes()).await?;
            stream.write_all(&vec![0; 256 << 10]).await?;
            acted();
            thrown_out(&mut stream).await
        }
        Kind::AbsurdLength => {
            let length = if random.chance(1, 2) { i32::MAX } else { -1 };
            stream.write_all(&length.to_be_bytes()).await?;
            acted();
            thrown_out(&mut stream).await
        }
        Kind::SlowSender => {
            stream.write_all(&1_000_000_i32.to_be_bytes()).await?;
            loop {
                stream.write_all(&[0]).await?;
                acted();
                tokio::time::sleep(PAUSE).await;
            }
        }
        Kind::NeverReads => {
            let request = fetch_of_everything();
            acted();
            loop {
                stream.write_all(&request).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits until the broker closes the connection.
async fn thrown_out(stream: &mut Stream) -> std::io::Result<()> {
    let mut answer = [0; 1024];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

fn fetch_of_everything() -> Vec<u8> {
    let request = FetchRequest {
        max_bytes: GREED,
        topics: vec![FetchTopic {
            name: TOPIC.to_owned().into(),
            topic_id: Uuid::ZERO,
            partitions: (0..PARTITIONS).map(|p| FetchPartition::consumer(p, 0, GREED)).collect(),
        }],
        ..FetchRequest::default()
    };
    let header = RequestHeader::new(ApiKey::FETCH, 12, 1);
    request.encode(&header).expect("encodes").to_vec()
}

/// CPU that a process has used: the scheduler's account in nanoseconds, since ticks of 10 ms are too coarse here.
fn cpu_seconds(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let used = |thread: fs::DirEntry| {
        let account = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        account.split_whitespace().next()?.parse::<f64>().ok()
    };
    threads.flatten().filter_map(used).sum::<f64>() / 1e9
}

/// The most memory that a process had resident, in bytes.
fn peak_resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
    peak.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
}
