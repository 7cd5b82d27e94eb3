//! The command as a person uses it: exit codes, what errors say, HTTP, Ctrl-C.
#![expect(clippy::disallowed_types, reason = "a test speaks HTTP by hand")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn onrush(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must fail with this code, and returns what it said.
fn fails(arguments: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = onrush(arguments).output().expect("the binary runs");
    assert_eq!(status.code(), Some(code), "{arguments:?} said: {}", text(&stderr));
    assert!(stdout.is_empty(), "an error is no data: {}", text(&stdout));
    text(&stderr)
}

/// A broker that ends with the test.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        let mut command = onrush(&["broker", "--listen", "127.0.0.1:0"]);
        let piped = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Self { child, address }
    }

    fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().expect("piped"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

#[test]
fn a_port_in_use_is_named() {
    let broker = Broker::start(&[]);
    let said = fails(&["broker", "--listen", &broker.address], 3);
    assert!(said.contains(&broker.address) && said.contains("another port"), "{said}");
}

#[test]
fn a_data_directory_that_is_none_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    std::fs::write(&file, "no folder").expect("written");
    let said = fails(&["broker", "--listen", "127.0.0.1:0", "--data", path(&file)], 3);
    assert!(said.contains(path(&file)) && said.contains("--data"), "{said}");
}

#[test]
fn a_data_directory_has_one_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let _broker = Broker::start(&["--data", path(folder.path())]);
    let said = fails(&["broker", "--listen", "127.0.0.1:0", "--data", path(folder.path())], 3);
    assert!(said.contains("in use by another broker"), "{said}");
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    fails(&["demo", "--events", "0"], 2);
    fails(&["demo", "--members", "0"], 2);
    fails(&["broker", "--config", "group.consumer.heartbeat.interval.ms=60000"], 2);
    let folder = tempfile::tempdir().expect("a folder");
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    std::fs::write(folder.path().join("mine"), "precious").expect("written");
    let said = fails(&["demo", "--keep", path(folder.path())], 2);
    assert!(said.contains("not empty"), "{said}");
}

#[test]
fn all_settings_of_a_broker_that_cannot_be_are_told_with_what_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.properties");
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    std::fs::write(&file, "# ours\nnum.partitions=0\nzookeeper.connect=a\n").expect("written");
    let arguments = ["--config", "log.retention.m=1", "--config-file", path(&file)];
    let said = fails(&[&["broker"], &arguments[..]].concat(), 2);
    for expected in [
        "server.properties line 2: invalid value 0 for num.partitions: must be at least 1",
        "server.properties line 3: zookeeper.connect is not a setting",
        "--config: log.retention.m is not a setting of this broker; closest are log.retention.ms",
        "known are: advertised.listeners, auto.create.topics.enable",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_broker_has_the_settings_of_its_file_and_arguments() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.properties");
    let lines = "num.partitions = 3\nlog.retention.hours: 2\nlog.segment.bytes=9999\n";
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    std::fs::write(&file, lines).expect("written");
    let arguments = ["--config-file", path(&file), "--config", "log.segment.bytes=65536"];
    let broker = Broker::start(&arguments);
    let told = |arguments: &[&str]| {
        let output = onrush(arguments).output().expect("the binary runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    told(&["topic", "create", "t", "--brokers", &broker.address]);
    let described = told(&["topic", "describe", "t", "--json", "--brokers", &broker.address]);
    let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(3), "{described}");
    let configs = described["configs"].as_array().expect("a list");
    let value = |name: &str| {
        let found = configs.iter().find(|config| config["name"] == name);
        found.and_then(|config| config["value"].as_str())
    };
    assert_eq!(value("retention.ms"), Some("7200000"));
    assert_eq!(value("segment.bytes"), Some("65536"));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    // Port 1 of the loopback interface: nobody listens there.
    let said = fails(&["demo", "--brokers", "127.0.0.1:1"], 3);
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[test]
fn help_teaches_by_example_and_tells_the_exit_codes() {
    for command in ["demo", "broker", "bench"] {
        let help = text(&onrush(&[command, "--help"]).output().expect("the binary runs").stdout);
        assert!(
            help.contains("Examples:") && help.contains(&format!("onrush {command}")),
            "{help}"
        );
    }
    let help = text(&onrush(&["--help"]).output().expect("the binary runs").stdout);
    assert!(help.contains("Exit codes:"), "{help}");
}

fn http(address: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn http_tells_health_and_metrics() {
    let mut broker = Broker::start(&["--http", "127.0.0.1:0"]);
    let mut line = String::new();
    broker.stderr().read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("http on ").expect(&line);
    assert!(http(address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(http(address, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(http(address, "/metrics").contains("onrush_broker_up 1"));
    assert!(http(address, "/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn sigterm_stops_a_broker_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Broker::start(&["--data", path(folder.path())]);
    signal(&broker.child, "-TERM");
    assert!(broker.child.wait().expect("it ends").success());
}

#[test]
fn ctrl_c_drains_the_demo() {
    let mut demo = onrush(&["demo", "--events", "100000000", "--http", "127.0.0.1:0"]);
    let demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = demo.spawn().expect("the binary runs");
    let mut stderr = BufReader::new(demo.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("text");
    assert!(line.starts_with("http on "), "{line}");
    signal(&demo, "-INT");
    let status = demo.wait().expect("it ends");
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("draining"), "{said}");
}

#[test]
fn a_second_ctrl_c_ends_what_hangs() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let mut demo = onrush(&["demo", "--brokers", &address]);
    let mut demo =
        demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut stderr = BufReader::new(demo.stderr.take().expect("piped"));
    let _connection = silent.accept().expect("the demo connects");
    signal(&demo, "-INT");
    let mut line = String::new();
    stderr.read_line(&mut line).expect("text");
    assert!(line.contains("once more ends at once"), "{line}");
    signal(&demo, "-INT");
    assert_eq!(demo.wait().expect("it ends").code(), Some(130));
}
