//! One run: builds the hosts, plays the plan's faults, waits until everything has finished, and judges.
//!
//! A crash takes the host off the network (and, for the broker, fails its disk) *before* its tasks are dropped, so that
//! no destructor says goodbye.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onrush_broker::{Broker, BrokerConfig};
use onrush_kafka::{
    At, Client, ClientConfig, FetchConfig, FetchEvent, FetchSink, Fetched, Fetcher, TopicPartition,
};
use onrush_record::{Decompressor, Record, batches, records};
use onrush_runtime::disk::MemoryDisk;
use onrush_runtime::net::Faults as NetFaults;
use onrush_runtime::simulation::{Hosts, Simulation};
use onrush_runtime::spawn::Process;
use onrush_runtime::{Disk, Instant, Trace};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, sleep_until, timeout};

use crate::Sabotage;
use crate::history::{History, Logged, Payload, Sample, Violation};
use crate::member::Member;
use crate::plan::{Fault, Host, MEMBERS, Plan};
use crate::producer;

pub(crate) const TOPIC: &str = "events";
pub(crate) const GROUP: &str = "group";
const BROKER: &str = "broker:9092";
const SAMPLE_INTERVAL: Duration = Duration::from_millis(400);
/// After the last fault, everything must be committed within this time.
const SETTLING: Duration = Duration::from_secs(900);
const DEAD_LETTERS: &str = "events.dead-letter";
const SESSION: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What went wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) member_crashes: u64,
    pub(crate) member_restarts: u64,
    pub(crate) broker_restarts: u64,
    pub(crate) lossy_restarts: u64,
    pub(crate) full_disks: u64,
    pub(crate) failed_syncs: u64,
    pub(crate) cuts: u64,
    pub(crate) hand_overs: u64,
    pub(crate) dead_letters: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, other: &Self) {
        self.member_crashes += other.member_crashes;
        self.member_restarts += other.member_restarts;
        self.broker_restarts += other.broker_restarts;
        self.lossy_restarts += other.lossy_restarts;
        self.full_disks += other.full_disks;
        self.failed_syncs += other.failed_syncs;
        self.cuts += other.cuts;
        self.hand_overs += other.hand_overs;
        self.dead_letters += other.dead_letters;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} member crashes, {} member restarts, {} hand-overs, {} broker restarts ({} lost bytes), {} full disks, {} failed syncs, {} cuts, {} dead letters",
            self.member_crashes,
            self.member_restarts,
            self.hand_overs,
            self.broker_restarts,
            self.lossy_restarts,
            self.full_disks,
            self.failed_syncs,
            self.cuts,
            self.dead_letters
        )
    }
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) faults: Faults,
    pub(crate) violations: Vec<Violation>,
    pub(crate) hash: u64,
    pub(crate) trace: Vec<String>,
}

/// Runs a plan in a thread of its own time.
pub(crate) fn run(plan: &Plan, keep_lines: bool) -> Outcome {
    Simulation::new().run(async {
        let trace = Trace::on(keep_lines);
        let mut world = World::new(plan.clone(), trace.clone());
        let violations = world.play().await;
        trace.line(|| format!("end {violations:?}"));
        Outcome { faults: world.faults, violations, hash: trace.summary().1, trace: trace.lines() }
    })
}

struct World {
    plan: Plan,
    hosts: Hosts,
    trace: Trace,
    history: History,
    faults: Faults,
    disk: MemoryDisk,
    broker: Option<Process>,
    members: Vec<Option<Member>>,
    lives: u32,
    /// Members that did not end well.
    violations: Vec<Violation>,
}

impl World {
    fn new(plan: Plan, trace: Trace) -> Self {
        let faults = NetFaults { max_delay_millis: plan.max_delay_millis, split_reads: true };
        Self {
            hosts: Hosts::new(plan.random.clone(), faults, trace.clone()),
            history: History::traced(trace.clone()),
            faults: Faults::default(),
            disk: MemoryDisk::traced(trace.clone()),
            broker: None,
            members: (0..MEMBERS).map(|_| None).collect(),
            lives: 0,
            violations: Vec::new(),
            trace,
            plan,
        }
    }

    async fn play(&mut self) -> Vec<Violation> {
        let start = Instant::now();
        self.start_broker().await;
        let client = self.observer().await;
        if let Err(error) = client.create_topic(TOPIC, self.plan.partitions, 1).await {
            return vec![Violation::Stuck { what: format!("the topic was not created: {error}") }];
        }
        let producer = self.hosts.process(&Host::Producer.name(), Disk::memory());
        let load = producer::Load::of(&self.plan);
        let producing = producer.executor().spawn(producer::run(
            producer.runtime.clone(),
            load,
            self.history.clone(),
        ));
        let observer = self.hosts.process("observer", Disk::memory());
        let sampling = observer.executor().spawn(sample(
            client.clone(),
            self.plan.partitions,
            self.history.clone(),
        ));
        for member in 0..MEMBERS {
            self.start_member(member);
        }
        for (at, fault) in self.plan.faults.clone() {
            sleep_until(start + at).await;
            self.inject(fault).await;
        }
        let mut violations = std::mem::take(&mut self.violations);
        if timeout(SETTLING, producing.join()).await.is_err() {
            violations.push(Violation::Stuck { what: "the producer has not finished".to_owned() });
        } else if timeout(SETTLING, self.settled(&client)).await.is_err() {
            violations.push(Violation::Stuck { what: self.where_stuck(&client).await });
        }
        sampling.abort();
        self.stop_members().await;
        violations.append(&mut self.violations);
        self.faults.hand_overs = self.history.hand_overs(self.plan.partitions);
        let logs = async {
            let log = read_log(&client, &partitions(TOPIC, self.plan.partitions), logged).await?;
            let client = &client;
            let _ = client.refresh(&[DEAD_LETTERS.into()]).await;
            let letters = client.topic(DEAD_LETTERS).map_or(0, |_| 1);
            let letters = read_log(client, &partitions(DEAD_LETTERS, letters), dead_letter).await?;
            Some((log, letters))
        };
        match timeout(SETTLING, logs).await {
            Ok(Some((log, letters))) => {
                self.faults.dead_letters = letters.len() as u64;
                violations.extend(self.history.check(&log, &letters, self.plan.promise()));
            }
            Ok(None) | Err(_) => {
                violations.push(Violation::Stuck { what: "the log cannot be read".to_owned() })
            }
        }
        violations
    }

    async fn start_broker(&mut self) {
        let host = self.hosts.process("broker", Disk::Memory(self.disk.clone()));
        let config = BrokerConfig {
            listen: BROKER.to_owned(),
            fsync: self.plan.fsync,
            sabotage: (self.plan.sabotage == Some(Sabotage::AckBeforeSync))
                .then_some(onrush_broker::Sabotage::AckBeforeSync),
            segment_bytes: 16 * 1024,
            session_timeout: SESSION,
            heartbeat_interval: HEARTBEAT,
            ..BrokerConfig::default()
        };
        let (opened, open) = tokio::sync::oneshot::channel();
        self.broker = Some(host.process.clone());
        host.executor().spawn(async move {
            let broker = Broker::open(config, &host.runtime, host.executor()).await;
            let _ = opened.send(broker.as_ref().map(drop).map_err(ToString::to_string));
            // Holds the broker until the process crashes.
            std::future::pending::<()>().await;
            drop(broker);
        });
        match open.await {
            Ok(Ok(())) => {}
            other => panic!("seed {}: the broker did not open: {other:?}", self.plan.seed),
        }
    }

    /// A client on a host of its own, which nothing happens to.
    async fn observer(&self) -> Client {
        let host = self.hosts.process("observer", Disk::memory());
        let client =
            Client::connect(ClientConfig::new([BROKER]), &host.runtime, host.executor()).await;
        client.unwrap_or_else(|error| {
            panic!("seed {}: the observer cannot connect: {error}", self.plan.seed)
        })
    }

    fn start_member(&mut self, member: usize) {
        let host = self.hosts.process(&Host::Member(member).name(), Disk::memory());
        self.lives += 1;
        let client = ClientConfig::new([BROKER]);
        let life = self.lives;
        self.members[member] = Some(Member::start(
            host.runtime,
            host.process,
            client,
            life,
            &self.plan,
            &self.history,
        ));
    }

    async fn inject(&mut self, fault: Fault) {
        self.trace.line(|| format!("fault {fault:?}"));
        match fault {
            Fault::CrashMember(member, pause) => {
                self.faults.member_crashes += 1;
                self.hosts.net().take_down(&Host::Member(member).name());
                if let Some(member) = self.members[member].take() {
                    member.crash(&self.history);
                }
                sleep(pause).await;
                self.hosts.net().bring_up(&Host::Member(member).name());
                self.start_member(member);
            }
            Fault::RestartMember(member) => {
                self.faults.member_restarts += 1;
                if let Some(running) = self.members[member].take() {
                    self.stopped(member, timeout(SETTLING, running.stop()).await);
                }
                self.start_member(member);
            }
            Fault::CrashBroker(pause) => {
                self.faults.broker_restarts += 1;
                self.hosts.net().take_down("broker");
                let lost = self.disk.crash(&self.plan.random);
                self.faults.lossy_restarts += u64::from(lost > 0);
                if let Some(process) = self.broker.take() {
                    process.crash();
                }
                if lost > 0 {
                    self.history.log_was_cut(Instant::now());
                }
                sleep(pause).await;
                self.hosts.net().bring_up("broker");
                self.start_broker().await;
                if lost > 0 {
                    self.history.cut_log_is_back(Instant::now());
                }
            }
            Fault::FillDisk(pause) => {
                self.faults.full_disks += 1;
                self.disk.limit(Some(self.disk.used()));
                sleep(pause).await;
                self.disk.limit(None);
            }
            Fault::FailSyncs(count, pause) => {
                self.faults.failed_syncs += u64::from(count);
                self.disk.fail_syncs(count);
                sleep(pause).await;
                self.disk.fail_syncs(0);
            }
            Fault::Cut(host) => {
                self.faults.cuts += 1;
                self.hosts.net().cut(&host.name());
            }
        }
    }

    /// Returns when every partition's committed offset is the end of its log.
    async fn settled(&self, client: &Client) {
        loop {
            if let Some(samples) = read_sample(client, &self.all_partitions()).await
                && samples.iter().all(|sample| sample.committed == sample.log_end)
            {
                return;
            }
            sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// Those of the topic, and of its retry topics.
    fn all_partitions(&self) -> Vec<TopicPartition> {
        let rungs = self.plan.rungs.iter().map(|rung| format!("{TOPIC}.retry.{}", delay(*rung)));
        let topics = std::iter::once(TOPIC.to_owned()).chain(rungs);
        topics.flat_map(|topic| partitions(&topic, self.plan.partitions)).collect()
    }

    async fn where_stuck(&self, client: &Client) -> String {
        let samples = read_sample(client, &self.all_partitions()).await.unwrap_or_default();
        let behind = samples.iter().filter(|sample| sample.committed != sample.log_end);
        let behind: Vec<String> = behind
            .map(|s| format!("partition {} at {} of {}", s.partition, s.committed, s.log_end))
            .collect();
        let acknowledged = self.history.acknowledged_count();
        format!(
            "{acknowledged} acknowledged, {}",
            if behind.is_empty() { "nothing to be seen".into() } else { behind.join(", ") }
        )
    }

    async fn stop_members(&mut self) {
        for member in 0..MEMBERS {
            if let Some(running) = self.members[member].take() {
                self.stopped(member, timeout(SETTLING, running.stop()).await);
            }
        }
    }

    /// Notes how a member ended that was asked to stop.
    fn stopped(&mut self, member: usize, ended: Result<Result<(), String>, Elapsed>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.violations.push(Violation::MemberFailed { member, error }),
            Err(_) => self
                .violations
                .push(Violation::Stuck { what: format!("member {member} does not stop") }),
        }
    }
}

fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
    (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
}

/// As it stands in the name of a retry topic.
fn delay(delay: Duration) -> String {
    match delay.as_millis() {
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

async fn sample(client: Client, count: i32, history: History) {
    let partitions = partitions(TOPIC, count);
    loop {
        let before = history.last_cut();
        if let Some(samples) = read_sample(&client, &partitions).await
            // Commits of before and log ends of after a cut do not belong together.
            && before == history.last_cut()
        {
            samples.into_iter().for_each(|sample| history.sampled(sample));
        }
        sleep(SAMPLE_INTERVAL).await;
    }
}

/// Committed offsets, then log ends; none when the broker could not be asked. The commits are taken at the time before
/// they were asked for.
async fn read_sample(client: &Client, partitions: &[TopicPartition]) -> Option<Vec<Sample>> {
    let committed = client.fetch_offsets(GROUP, partitions).await.ok()?;
    let at = Instant::now();
    let ends = client.list_offsets(partitions, At::Latest).await.ok()?;
    let sample = |committed: onrush_kafka::Committed| {
        let log_end = ends.get(&committed.partition)?.offset;
        let partition = committed.partition.partition;
        Some(Sample { at, partition, committed: committed.offset.max(0), log_end })
    };
    committed.into_iter().map(sample).collect()
}

struct Channel(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Channel {
    fn deliver(&self, event: FetchEvent) {
        // A reader that is gone has read enough.
        let _ = self.0.send(event);
    }
}

/// An event at its place.
fn logged(partition: i32, record: &Record<'_>) -> Option<Logged> {
    let payload = Payload::from_bytes(record.value?)?;
    Some(Logged { partition, offset: record.offset, payload })
}

/// A dead letter, at the place where it came from.
fn dead_letter(_: i32, record: &Record<'_>) -> Option<Logged> {
    let header = |name: &str| {
        let mut headers = record.headers.filter_map(Result::ok);
        let value = headers.find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()?.parse::<i64>().ok()
    };
    let partition = i32::try_from(header("onrush.origin.partition")?).ok()?;
    let payload = Payload::from_bytes(record.value?)?;
    Some(Logged { partition, offset: header("onrush.origin.offset")?, payload })
}

type Read = fn(i32, &Record<'_>) -> Option<Logged>;

/// Reads every record that is in the log now; none if it cannot be read to its end.
async fn read_log(
    client: &Client,
    partitions: &[TopicPartition],
    read: Read,
) -> Option<Vec<Logged>> {
    if partitions.is_empty() {
        return Some(Vec::new());
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    let sink = Arc::new(Channel(sender));
    let ends = client.list_offsets(partitions, At::Latest).await.ok()?;
    let fetcher = Fetcher::start(client, FetchConfig::default());
    let mut open: Vec<&TopicPartition> =
        partitions.iter().filter(|p| ends.get(p).is_some_and(|e| e.offset > 0)).collect();
    for partition in &open {
        fetcher.assign((*partition).clone(), 0, 0, sink.clone());
    }
    let (mut log, mut decompressor) = (Vec::new(), Decompressor::new(1 << 20));
    while !open.is_empty() {
        let FetchEvent::Records(fetched) = events.recv().await? else { return None };
        let next = read_slice(&fetched, &mut decompressor, read, &mut log)?;
        if ends.get(&fetched.partition).is_none_or(|end| next >= end.offset) {
            open.retain(|partition| **partition != fetched.partition);
        }
    }
    fetcher.close().await;
    Some(log)
}

/// Appends the records of a slice to `log`; the offset after the last one, none if a byte of it is wrong.
fn read_slice(
    fetched: &Fetched,
    decompressor: &mut Decompressor,
    read: Read,
    log: &mut Vec<Logged>,
) -> Option<i64> {
    let (mut decompressed, mut next) = (Vec::new(), fetched.fetch_offset);
    for raw in batches(&fetched.records) {
        let raw = raw.ok()?;
        raw.verify_crc().ok()?;
        let decoded = decompressor.payload(&raw, &mut decompressed).ok()?;
        for record in records(decoded.bytes(&raw, &decompressed), &raw.header) {
            log.push(read(fetched.partition.partition, &record.ok()?)?);
        }
        next = raw.header.last_offset() + 1;
    }
    Some(next)
}
