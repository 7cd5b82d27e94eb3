//! One real Apache Kafka on loopback: a single KRaft node, started from the jars that `xtask/kafka/pom.xml` names.
//!
//! Jars are fetched once (`jars`), the storage is formatted once per data folder, then the JVM runs until the value is
//! dropped. It ends with us however we end:
//! 1. dropped: the JVM gets SIGTERM, writes out what it holds, and is waited for;
//! 2. Ctrl-C: the terminal tells the JVM too;
//! 3. killed: the watcher, a shell that reads a pipe whose other end only we hold, sees the end of the pipe, ends the
//!    JVM and removes the data folder if it was a temporary one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Context, Failure};
use crate::workspace::Workspace;
use crate::{host, process};

mod jars;
mod properties;

pub(crate) use jars::VERSION;
use properties::Node;

/// Tells tests which cluster to use instead of the embedded broker.
pub(crate) const BROKERS_VARIABLE: &str = "ONRUSH_TEST_BROKERS";

/// Any 16 bytes in URL-safe base64: one-node clusters never meet each other.
const CLUSTER_ID: &str = "b25ydXNoLXRlc3QtMDAwMQ";

/// From the start of the JVM to the first answer; 3-5 s on two idle cores.
const START_LIMIT: Duration = Duration::from_secs(90);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// From SIGTERM to SIGKILL.
const STOP_SECONDS: &str = "20";

/// Lines of the log that are shown when the JVM does not come up.
const LOG_TAIL: usize = 25;

/// Warnings to stderr, with the time.
const LOGGING: [&str; 3] = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
];

/// How far the JVM compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Jit {
    /// All tiers, as in production.
    Full,
    /// The first tier only: quick to start, slow to serve.
    Quick,
}

pub(crate) struct Options {
    pub(crate) port: Option<u16>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) jit: Jit,
}

/// A running node. Stops when dropped.
pub(crate) struct Kafka {
    jvm: Child,
    watcher: Child,
    node: Node,
}

impl Kafka {
    pub(crate) fn start(workspace: &Workspace, options: &Options) -> Result<Self, Failure> {
        host::java()?;
        let jars = jars::folder(workspace)?;
        let node = Node::prepare(workspace, options)?;
        node.write()?;
        format_storage(&jars, &node)?;
        let jvm = java(&jars, &node, options.jit)?.spawn().context(|| "start java".into())?;
        let watcher = watch(&jvm, &node);
        let mut kafka = match watcher {
            Ok(watcher) => Self { jvm, watcher, node },
            Err(failure) => {
                let mut jvm = jvm;
                let _ = jvm.kill();
                let _ = jvm.wait();
                return Err(failure);
            }
        };
        kafka.await_ready()?;
        Ok(kafka)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.node.port)
    }

    /// Waits for the JVM to end by itself, which a server should not.
    pub(crate) fn wait(&mut self) -> Failure {
        match self.jvm.wait() {
            Ok(status) => self.ended(&status.to_string()),
            Err(error) => self.ended(&error.to_string()),
        }
    }

    fn await_ready(&mut self) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.node.port));
        let limit = Instant::now() + START_LIMIT;
        while !answers(address) {
            if let Some(status) = self.jvm.try_wait().context(|| "wait for java".into())? {
                return Err(self.ended(&status.to_string()));
            }
            if Instant::now() > limit {
                return Err(self.ended(&format!("no answer on {address} in {START_LIMIT:?}")));
            }
            std::thread::sleep(PROBE_INTERVAL);
        }
        Ok(())
    }

    fn ended(&self, how: &str) -> Failure {
        let log = self.node.log();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
        Failure::new(format!("kafka on port {}: {how}\n{tail}", self.node.port))
    }
}

impl Drop for Kafka {
    /// The end of its pipe makes the watcher do the work; it ends when the JVM has.
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.jvm.wait();
        let _ = self.watcher.wait();
    }
}

/// Ends the JVM when our end of the pipe closes, whatever closed it.
fn watch(jvm: &Child, node: &Node) -> Result<Child, Failure> {
    const SCRIPT: &str = "trap '' INT TERM HUP
read -r _
kill -TERM $1 2>/dev/null
left=$2
while [ $left -gt 0 ] && kill -0 $1 2>/dev/null && ! grep -q '^State:.Z' /proc/$1/status 2>/dev/null; do
    sleep 0.1
    ticks=$((${ticks:-0} + 1))
    [ $((ticks % 10)) -eq 0 ] && left=$((left - 1))
done
kill -KILL $1 2>/dev/null
[ -n \"$3\" ] && rm -rf \"$3\"
exit 0";
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "watcher"]).arg(jvm.id().to_string()).arg(STOP_SECONDS);
    match node.scratch() {
        Some(folder) => shell.arg(folder),
        None => shell.arg(""),
    };
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "start the watcher of the JVM (sh)".into())
}

fn java(jars: &Path, node: &Node, jit: Jit) -> Result<Command, Failure> {
    let log = node.log();
    let log = fs::File::create(&log).context(|| format!("make {}", log.display()))?;
    let mut java = Command::new("java");
    java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true"]);
    if jit == Jit::Quick {
        java.arg("-XX:TieredStopAtLevel=1");
    }
    java.args(LOGGING)
        .arg("-cp")
        .arg(jars.join("*"))
        .arg("kafka.Kafka")
        .arg(node.properties())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Ok(java)
}

/// Writes the cluster's identity into an empty data folder; one that has it is left alone.
fn format_storage(jars: &Path, node: &Node) -> Result<(), Failure> {
    if node.is_formatted() {
        return Ok(());
    }
    let mut format = Command::new("java");
    format
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(LOGGING)
        .arg("-cp")
        .arg(jars.join("*"))
        .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"])
        .arg(node.properties());
    process::capture(&mut format).map(drop)
}

/// Whether a broker answers ApiVersions there. It listens before it serves, so a connection alone says nothing.
fn answers(address: SocketAddr) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    // Size 10, api_key 18 (ApiVersions), version 0, correlation id 1, no client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let ask = || -> std::io::Result<[u8; 10]> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&REQUEST)?;
        let mut start = [0; 10];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    // Our correlation id and no error.
    ask().is_ok_and(|start| start[4..] == [0, 0, 0, 1, 0, 0])
}

/// The port, unless something has it: what has it might answer in our node's stead.
fn unused(port: u16) -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .context(|| format!("port {port} (give another with --port)"))
        .map(|_| port)
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Failure> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "find a free port".into())?;
    listener.local_addr().map(|address| address.port()).context(|| "find a free port".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_only_listens_does_not_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(!answers(address));
    }

    #[test]
    fn an_answer_must_carry_the_correlation_id_and_no_error() {
        for (reply, good) in [
            ([0, 0, 0, 6, 0, 0, 0, 1, 0, 0], true),
            ([0, 0, 0, 6, 0, 0, 0, 2, 0, 0], false),
            ([0, 0, 0, 6, 0, 0, 0, 1, 0, 35], false),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 14];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(&reply).unwrap();
            });
            assert_eq!(answers(address), good);
            server.join().unwrap();
        }
    }
}
