//! Clusters to talk to, and the command that talks to them.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use onrush::testing::{TestBroker, create_topic};
use onrush_runtime::Random;

/// A cluster, and a new topic on it.
pub(crate) struct Target {
    pub(crate) brokers: String,
    pub(crate) topic: String,
}

/// Runs `test` on every cluster, with a new topic of so many partitions.
pub(crate) fn on_every_cluster(partitions: i32, test: impl Fn(&Target)) {
    for brokers in clusters() {
        let target = Target { brokers, topic: String::new() };
        test(&Target { topic: target.create(partitions), ..target });
    }
}

fn clusters() -> Vec<String> {
    static EMBEDDED: OnceLock<TestBroker> = OnceLock::new();
    let embedded = EMBEDDED.get_or_init(|| TestBroker::start().expect("a free port"));
    let mut clusters = vec![embedded.address().to_owned()];
    clusters.extend(std::env::var("ONRUSH_TEST_BROKERS").ok());
    clusters
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("text")
    }

    /// The lines of stdout, sorted: what several partitions give has no order.
    pub(crate) fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.text().lines().collect();
        lines.sort_unstable();
        lines
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// It failed with this code; what it said.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self.stderr
    }
}

impl Target {
    /// Another topic.
    pub(crate) fn create(&self, partitions: i32) -> String {
        let topic = name("records");
        create_topic(&self.brokers, &topic, partitions).expect("created");
        topic
    }

    pub(crate) fn command(&self, command: &str, topic: &str, arguments: &[&str]) -> Command {
        let mut onrush = Command::new(env!("CARGO_BIN_EXE_onrush"));
        onrush.args([command, topic, "--brokers", &self.brokers]).args(arguments);
        onrush.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        onrush
    }

    /// Sends `input` to the target's topic.
    pub(crate) fn produce(&self, arguments: &[&str], input: &[u8]) -> Ran {
        self.produce_to(&self.topic, arguments, input)
    }

    pub(crate) fn produce_to(&self, topic: &str, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command("produce", topic, arguments).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        // One that refuses its arguments does not read.
        let _ = stdin.write_all(input);
        drop(stdin);
        ended(child)
    }

    /// Prints the target's topic.
    pub(crate) fn consume(&self, arguments: &[&str]) -> Ran {
        self.consume_from(&self.topic, arguments)
    }

    pub(crate) fn consume_from(&self, topic: &str, arguments: &[&str]) -> Ran {
        ended(self.command("consume", topic, arguments).spawn().expect("it runs"))
    }
}

/// Waits for the end of a command.
pub(crate) fn ended(child: Child) -> Ran {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    Ran { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// A name that no other test has.
pub(crate) fn name(what: &str) -> String {
    format!("{what}-{:016x}", Random::from_entropy().next_u64())
}

/// Sends a signal to a command.
pub(crate) fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}
