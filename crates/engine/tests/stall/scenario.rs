//! Broker and topic, a member that is told to stop and to go on, and what must hold meanwhile.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use onrush_broker::{Broker, BrokerConfig};
use onrush_kafka::{Client, ClientConfig, Compression, GroupDescription};
use onrush_runtime::{Disk, Executor, Runtime};

use crate::bulk::Bulk;
use crate::member::Standing;

const BUDGET: u64 = 64 << 20;
/// What a process with that budget may be resident with.
const ALLOWED: u64 = BUDGET + BUDGET / 4;
const PARTITIONS: i32 = 6;
/// Values of all events together are so many times the budget.
const TIMES: u64 = 3;
/// A member that does not report for so long is out.
const SESSION: Duration = Duration::from_secs(3);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it, and says what was seen.
pub(crate) fn run(compression: Compression, stall: Duration) -> String {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    threads.block_on(scenario(compression, stall))
}

async fn scenario(compression: Compression, stall: Duration) -> String {
    let runtime = Runtime::production(Disk::memory());
    let config = BrokerConfig {
        heartbeat_interval: Duration::from_millis(500),
        session_timeout: SESSION,
        group_consumer_min_session_timeout: SESSION,
        ..BrokerConfig::default()
    };
    let executor = runtime.spawn.executor("broker", 2).unwrap();
    let broker = Broker::open(config, &runtime, executor.clone()).await.unwrap();
    let brokers = [broker.address().to_owned()];
    let client =
        Client::connect(ClientConfig::new(&brokers), &runtime, Executor::current()).await.unwrap();
    let topic = "stalled";
    client.create_topic(topic, PARTITIONS, 1).await.unwrap();
    let events = TIMES * BUDGET / (4 << 10);
    let bulk = Bulk { partitions: PARTITIONS, events, compression };
    bulk.write(&client, topic).await;
    let bytes = bulk.bytes(&client, topic).await;

    let mut member = Process::start(&brokers[0], topic);
    member.until("the first events are done", |now| now.done > events / 50);
    member.tell("stop");
    let group = format!("{topic}-group");
    member.still();
    let before = client.describe_group(&group).await.unwrap();
    let stalled = member.stands_still(stall);
    assert_same(&before, &client.describe_group(&group).await.unwrap());
    assert_eq!(stalled.fetched, member.last.fetched, "nothing is fetched that cannot be kept");
    assert!(bytes > stalled.fetched, "there was more to fetch: {bytes} bytes");

    member.tell("go");
    let done = member.until("all events are done", |now| now.done >= events);
    assert_eq!((done.assigned, done.revoked), (PARTITIONS as u64, 0), "it kept its partitions");
    let end = member.end();
    assert_eq!((end.done, end.fetched), (events, bytes), "done once, fetched once");
    format!(
        "{} MiB resident of {} allowed, {} MiB fetched while it stood still for {} s, {} in all",
        member.most >> 20,
        ALLOWED >> 20,
        stalled.fetched >> 20,
        stall.as_secs(),
        end.fetched >> 20
    )
}

/// The group has not changed.
fn assert_same(before: &GroupDescription, after: &GroupDescription) {
    let members = |group: &GroupDescription| {
        let ids = group.members.iter().map(|member| (member.id.clone(), member.epoch));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(members(before).len(), 1, "the member is in the group");
    assert_eq!((before.epoch, members(before)), (after.epoch, members(after)), "it was thrown out");
}

/// The member's process.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    last: Standing,
    /// Most resident bytes.
    most: u64,
}

impl Process {
    fn start(brokers: &str, topic: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["member", brokers, topic, &BUDGET.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let lines = BufReader::new(output).lines();
        Self { child, input, lines, last: Standing::default(), most: 0 }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// How it stands now; what it is resident with must be allowed.
    fn next(&mut self) -> Option<Standing> {
        let now: Standing = self.lines.next()?.unwrap().parse().unwrap();
        self.most = self.most.max(now.resident);
        assert!(now.resident <= ALLOWED, "{} MiB of {}", now.resident >> 20, ALLOWED >> 20);
        self.last = now;
        Some(now)
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Standing) -> bool) -> Standing {
        let start = Instant::now();
        loop {
            let now = self.next().expect("it runs");
            if holds(&now) {
                return now;
            }
            assert!(start.elapsed() < PATIENCE, "not so far that {what}: {now:?}");
        }
    }

    /// Waits until nothing more is fetched or done.
    fn still(&mut self) {
        let (start, mut since, mut before) = (Instant::now(), Instant::now(), self.last);
        while since.elapsed() < Duration::from_secs(1) {
            let now = self.next().expect("it runs");
            if (now.fetched, now.done) != (before.fetched, before.done) {
                (since, before) = (Instant::now(), now);
            }
            assert!(start.elapsed() < PATIENCE, "it does not come to rest: {now:?}");
        }
    }

    /// Looks on for a while; how it stood at the beginning.
    fn stands_still(&mut self, stall: Duration) -> Standing {
        let (start, before) = (Instant::now(), self.last);
        while start.elapsed() < stall {
            let now = self.next().expect("it runs");
            assert_eq!((now.done, now.revoked), (before.done, 0), "it stands still, in its group");
        }
        before
    }

    fn end(&mut self) -> Standing {
        self.input = None;
        while self.next().is_some() {}
        assert!(self.child.wait().unwrap().success());
        self.last
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
