//! The syncer by itself: a simulated broker on virtual time, and crashes that take what was not synced.

use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig, Fsync};
use onrush_runtime::disk::MemoryDisk;
use onrush_runtime::net::{Faults, MemoryNet};
use onrush_runtime::spawn::Process;
use onrush_runtime::{Clock, Disk, Executor, Net, Random, Runtime, Spawn, Trace};
use onrush_wire::ErrorCode;
use tokio::time::sleep;

use crate::support::*;

const BROKER: &str = "broker:9092";
const INTERVAL: Duration = Duration::from_millis(200);
/// Steps of a simulated process come so late at most, one after the other.
const MARGIN: Duration = Duration::from_millis(50);

pub(crate) struct World {
    random: Random,
    net: MemoryNet,
    disk: MemoryDisk,
    clock: Clock,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let faults = Faults { max_delay_millis: 0, split_reads: false };
        let net = MemoryNet::new(random.fork(), faults, Trace::off());
        Self { random, net, disk: MemoryDisk::default(), clock: Clock::simulated() }
    }

    pub(crate) async fn start(&self, config: BrokerConfig) -> (Broker, Process, Client) {
        let process = Process::new(self.random.fork());
        let runtime = Runtime {
            net: Net::Memory(self.net.host("broker")),
            disk: Disk::Memory(self.disk.clone()),
            clock: self.clock,
            random: self.random.fork(),
            spawn: Spawn::Process(process.clone()),
        };
        let config = BrokerConfig { listen: BROKER.to_owned(), ..config };
        let executor = Executor::Process(process.clone());
        let broker = Broker::open(config, &runtime, executor).await.expect("opens");
        let client = self.client().await;
        (broker, process, client)
    }

    /// Another client of the broker.
    pub(crate) async fn client(&self) -> Client {
        let stream = Net::Memory(self.net.host("client")).connect(BROKER).await.expect("connects");
        Client::over(stream)
    }

    /// Ends the broker like a power cut.
    fn crash(&self, broker: Broker, process: &Process) {
        self.net.take_down("broker");
        self.disk.crash(&self.random);
        process.crash();
        drop(broker);
        self.net.bring_up("broker");
    }
}

fn every(interval: Duration) -> BrokerConfig {
    BrokerConfig { fsync: Fsync::Interval(interval), ..BrokerConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_interval_survives() {
    let mut lost = 0;
    for seed in 0..40 {
        let world = World::new(seed);
        let (broker, process, mut client) = world.start(every(INTERVAL)).await;
        client.create_topic(TOPIC, 1).await;
        sleep(Duration::from_millis(world.random.below(300))).await;
        assert_eq!(client.produce(batch(&["a", "b"])).await.base_offset, 0);
        sleep(INTERVAL + MARGIN).await;
        assert_eq!(client.produce(batch(&["c"])).await.base_offset, 2);
        world.crash(broker, &process);
        let (_broker, _process, mut client) = world.start(every(INTERVAL)).await;
        let end = client.fetch(0).await.high_watermark;
        assert!(end >= 2, "seed {seed}: {end}");
        lost += u32::from(end == 2);
    }
    assert!(lost > 5, "only {lost} crashes took anything: the records were synced at once");
}

#[tokio::test(start_paused = true)]
async fn commits_are_synced_with_the_interval_too() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (broker, process, mut client) = world.start(every(INTERVAL)).await;
        client.create_topic(TOPIC, 1).await;
        client.produce(batch(&["a", "b"])).await;
        crate::recovery::commit(&mut client, 2, "").await;
        sleep(INTERVAL + MARGIN).await;
        world.crash(broker, &process);
        let (_broker, _process, mut client) = world.start(every(INTERVAL)).await;
        assert_eq!(crate::recovery::committed(&mut client).await.0, 2, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_sync_failed_is_written_anew() {
    for seed in 0..10 {
        let world = World::new(seed);
        let (broker, process, mut client) = world.start(every(INTERVAL)).await;
        client.create_topic(TOPIC, 1).await;
        client.produce(batch(&["a", "b"])).await;
        sleep(INTERVAL + MARGIN).await;
        crate::recovery::commit(&mut client, 2, "").await;
        world.disk.fail_syncs(1);
        sleep(Duration::from_secs(3)).await;
        world.crash(broker, &process);
        let (_broker, _process, mut client) = world.start(every(INTERVAL)).await;
        assert_eq!(crate::recovery::committed(&mut client).await.0, 2, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_go_when_they_are_too_old() {
    for fsync in [Fsync::Always, Fsync::default(), Fsync::Never] {
        let world = World::new(7);
        let config = BrokerConfig {
            fsync,
            log_retention: Some(Duration::from_secs(60)),
            log_retention_check_interval: Duration::from_secs(10),
            ..BrokerConfig::default()
        };
        let (_broker, _process, mut client) = world.start(config).await;
        client.create_topic(TOPIC, 1).await;
        let now = world.clock.wall_millis();
        let young = batch_at(now, -1, -1, -1, onrush_record::Compression::None, &["a", "b"]);
        client.produce(young).await;
        sleep(Duration::from_secs(55)).await;
        assert_eq!(values(&client.fetch(0).await).len(), 2, "{fsync:?}");
        sleep(Duration::from_secs(20)).await;
        let gone = client.fetch(0).await;
        assert_eq!((gone.error_code, gone.log_start_offset), (ErrorCode::OFFSET_OUT_OF_RANGE, 2));
        assert_eq!(client.produce(batch(&["c"])).await.base_offset, 2, "{fsync:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_now_and_then() {
    let world = World::new(7);
    let (_broker, _process, mut client) = world.start(every(INTERVAL)).await;
    client.create_topic(TOPIC, 1).await;
    client.produce(batch(&["a"])).await;
    let disk = Disk::Memory(world.disk.clone());
    sleep(Duration::from_secs(30)).await;
    assert!(!disk.exists("flights-0/checkpoint"));
    sleep(Duration::from_secs(31)).await;
    let length = disk.open("flights-0/checkpoint").expect("written").len();
    // One with an idempotent producer is longer.
    let id = client.producer_id().await;
    client.produce(batch_of(id, 0, 0, &["b"])).await;
    sleep(Duration::from_secs(61)).await;
    assert!(disk.open("flights-0/checkpoint").expect("written").len() > length);
}

#[tokio::test(start_paused = true)]
async fn a_produce_does_not_wait_for_the_checkpoints_of_all_logs() {
    const PARTITIONS: i32 = 400;
    let world = World::new(7);
    let started = tokio::time::Instant::now();
    let config = BrokerConfig { fsync: Fsync::Always, ..BrokerConfig::default() };
    let (_broker, _process, mut client) = world.start(config).await;
    client.create_topic(TOPIC, PARTITIONS).await;
    for partition in 0..PARTITIONS {
        client.produce_to(12, TOPIC, onrush_wire::Uuid::ZERO, partition, batch(&["a"])).await;
    }
    tokio::time::sleep_until(started + Duration::from_millis(59_950)).await;
    let mut longest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(62) {
        let asked = tokio::time::Instant::now();
        client.produce(batch(&["b"])).await;
        longest = longest.max(asked.elapsed());
    }
    let disk = Disk::Memory(world.disk.clone());
    let written = |partition: &i32| disk.exists(&format!("{TOPIC}-{partition}/checkpoint"));
    assert_eq!((0..PARTITIONS).filter(written).count(), 400, "the checkpoints are written, too");
    assert!(longest < MARGIN, "{longest:?}");
}
