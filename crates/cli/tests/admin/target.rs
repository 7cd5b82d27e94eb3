//! Clusters to talk to, and the command that talks to them.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use onrush::testing::{TestBroker, create_topic};
use onrush_kafka::{At, Client, ClientConfig, Commit, TopicPartition};
use onrush_runtime::{Disk, Executor, Random, Runtime};
use serde_json::{Value, json};

/// A cluster, and a name on it that no other test has.
pub(crate) struct Target {
    pub(crate) brokers: String,
    pub(crate) name: String,
}

/// Runs `test` on every cluster.
pub(crate) fn on_every_cluster(test: impl Fn(&Target)) {
    static EMBEDDED: OnceLock<TestBroker> = OnceLock::new();
    let embedded = EMBEDDED.get_or_init(|| TestBroker::start().expect("a free port"));
    let mut clusters = vec![embedded.address().to_owned()];
    clusters.extend(std::env::var("ONRUSH_TEST_BROKERS").ok());
    for brokers in clusters {
        test(&Target {
            brokers,
            name: format!("admin-{:016x}", Random::from_entropy().next_u64()),
        });
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// It failed with this code; what it said.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self.stderr
    }

    /// The lines of its table, in words.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        self.stdout.lines().map(|line| line.split_whitespace().collect()).collect()
    }

    /// The objects that it wrote.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one object that it wrote.
    pub(crate) fn object(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "{}", self.stdout);
        objects.remove(0)
    }
}

impl Target {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut onrush = Command::new(env!("CARGO_BIN_EXE_onrush"));
        onrush.args(arguments).args(["--brokers", &self.brokers]).stdin(Stdio::null());
        onrush
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
    }

    /// Creates the topic of the target's name.
    pub(crate) fn create(&self, partitions: i32) {
        create_topic(&self.brokers, &self.name, partitions).expect("created");
    }

    /// Sends `each` records to each of so many partitions; the first of a partition has the timestamp 1,000, and each later
    /// one another 1,000.
    pub(crate) fn send(&self, partitions: i32, each: i64) {
        let mut envelopes = String::new();
        for partition in 0..partitions {
            for number in 1..=each {
                let timestamp = number * 1_000;
                let envelope =
                    json!({ "value": "x", "partition": partition, "timestamp": timestamp });
                envelopes.push_str(&format!("{envelope}\n"));
            }
        }
        let mut command = self.command(&["produce", &self.name, "--json"]);
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(envelopes.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(child.wait().expect("it ends").success());
    }

    /// Commits for a group without members.
    pub(crate) fn commit(&self, group: &str, offsets: &[(i32, i64, &str)]) {
        let commit = |(partition, offset, metadata): &(i32, i64, &str)| Commit {
            partition: TopicPartition::new(self.name.as_str(), *partition),
            offset: *offset,
            leader_epoch: -1,
            metadata: (*metadata).to_owned(),
        };
        let commits: Vec<_> = offsets.iter().map(commit).collect();
        self.ask(async |client| client.commit_offsets(group, &commits).await.expect("committed"));
    }

    /// Sends record after record to the target's topic, which has one partition, and commits each, until `enough`.
    pub(crate) fn send_and_commit(&self, group: &str, enough: &AtomicBool) {
        let mut producer = onrush::Producer::connect(&self.brokers).expect("the broker answers");
        let (executor, client) = self.client();
        for offset in 1.. {
            producer.send(&self.name, None, Some(b"x")).expect("sent");
            producer.flush().expect("acknowledged");
            let partition = TopicPartition::new(self.name.as_str(), 0);
            let commit = Commit { partition, offset, leader_epoch: -1, metadata: String::new() };
            executor.block_on(client.commit_offsets(group, &[commit])).expect("committed");
            if enough.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// What a group has committed: partition and offset.
    pub(crate) fn committed(&self, group: &str) -> Vec<(i32, i64)> {
        let offsets = self.ask(async |client| client.fetch_all_offsets(group).await.expect("told"));
        offsets.iter().map(|offset| (offset.partition.partition, offset.offset)).collect()
    }

    /// Where the log of a partition of the target's topic begins.
    pub(crate) fn start(&self, partition: i32) -> i64 {
        let partition = TopicPartition::new(self.name.as_str(), partition);
        self.ask(async |client| {
            let found = client.list_offsets(std::slice::from_ref(&partition), At::Earliest).await;
            found.expect("told")[&partition].offset
        })
    }

    fn ask<T>(&self, ask: impl AsyncFnOnce(Client) -> T) -> T {
        let (executor, client) = self.client();
        executor.block_on(ask(client))
    }

    fn client(&self) -> (Executor, Client) {
        let runtime = Runtime::production(Disk::memory());
        let executor = runtime.spawn.executor("test", 1).expect("a thread");
        let config = ClientConfig::new([self.brokers.clone()]);
        let client = executor.block_on(Client::connect(config, &runtime, executor.clone()));
        (executor, client.expect("connected"))
    }
}
