//! The manners of the command line: what help says, exit codes, colours, closed pipes, profiles, completion, manual pages.
//!
//! `tests/manners/*.trycmd` are sessions: help texts, JSON and exit codes are an interface, and a change of them is a change
//! of these files (`TRYCMD=overwrite cargo test -p onrush-cli --test manners` writes them anew, to be read in the diff).

#![expect(clippy::disallowed_methods, reason = "a test reads and writes files")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the binary with no configuration but what the test gives.
fn onrush(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    for name in ["ONRUSH_BROKERS", "ONRUSH_CLUSTER", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("ONRUSH_CONFIG", "/dev/null").args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it to its end; what it wrote to stdout, or its error with the exit code.
fn ran(command: &mut Command) -> Result<String, (Option<i32>, String)> {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    match status.success() {
        true => Ok(text(&stdout)),
        false => Err((status.code(), text(&stderr))),
    }
}

#[test]
fn sessions_are_as_written() {
    let cases = trycmd::TestCases::new();
    cases
        .env("ONRUSH_CONFIG", "/dev/null")
        .env("HOME", "/nobody")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .case("tests/manners/*.trycmd");
    cases.run();
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    // More than a pipe holds, so that the writer meets the closed end.
    for arguments in
        [&["demo", "--csv"][..], &["completion", "bash"], &["explain"], &["man"], &["--help"]]
    {
        let mut child = onrush(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
        assert!(status.success(), "{arguments:?}: {status}");
        assert_eq!(text(&stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_watcher_that_has_gone_stops_nothing() {
    let mut broker = onrush(&["broker", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut child = broker
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stderr.take());
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(line.starts_with("listening on "), "{line}");
}

#[test]
fn pipes_and_no_color_have_no_colours() {
    for arguments in [&["broker", "--nothing"][..], &["explain", "ONR9999"], &["--help"]] {
        let output = onrush(arguments).output().expect("the binary runs");
        for stream in [output.stdout, output.stderr] {
            assert!(!stream.contains(&0x1b), "{arguments:?}: {}", text(&stream));
        }
    }
}

#[test]
fn every_code_can_be_explained() {
    let all = ran(&mut onrush(&["explain"])).expect("it lists");
    assert!(all.lines().count() > 30, "{all}");
    for line in all.lines() {
        let (code, title) = line.split_once(": ").expect("CODE: title");
        let page = ran(&mut onrush(&["explain", code])).expect("each has a page");
        assert!(page.starts_with(&format!("# {code}: {title}\n")), "{page}");
    }
}

#[test]
fn an_error_has_the_code_of_its_page() {
    let (code, said) = ran(&mut onrush(&["topic", "list", "--brokers", "127.0.0.1:1"]))
        .expect_err("nobody is there");
    assert_eq!(code, Some(3));
    assert!(said.starts_with("error[ONR0012]: ") && said.contains("127.0.0.1:1"), "{said}");
    let (code, said) = ran(&mut onrush(&["topic", "--nothing"])).expect_err("no such option");
    assert_eq!(code, Some(2));
    assert!(said.starts_with("error[ONR0001]: "), "{said}");
}

/// A configuration of its own.
struct Config(tempfile::TempDir);

impl Config {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn onrush(&self, arguments: &[&str]) -> Command {
        let mut command = onrush(arguments);
        command.env_remove("ONRUSH_CONFIG").env("XDG_CONFIG_HOME", self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        ran(&mut self.onrush(arguments)).expect("it works")
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("onrush/config.toml")
    }
}

#[test]
fn clusters_are_added_used_and_shown_with_their_origin() {
    let config = Config::new();
    assert_eq!(config.run(&["config", "path"]).trim_end(), config.file().to_str().expect("UTF-8"));
    config.run(&["config", "add", "local", "--brokers", "127.0.0.1:1"]);
    config.run(&["config", "add", "far", "-b", "b1:9092,b2:9092", "--request-timeout", "10s"]);
    assert_eq!(config.run(&["config", "list"]), "  far    b1:9092,b2:9092\n* local  127.0.0.1:1\n");
    config.run(&["config", "use", "far"]);
    let shown = config.run(&["config", "show", "--origin"]);
    let origin = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let file = config.file().display().to_string();
    assert_eq!(origin("cluster"), ["cluster", "far", &format!("{file}:1")]);
    assert_eq!(origin("brokers"), ["brokers", "b1:9092,b2:9092", &format!("{file}:7")]);
    assert_eq!(origin("request-timeout"), ["request-timeout", "10s", &format!("{file}:8")]);
    assert_eq!(origin("client-id"), ["client-id", "onrush", "default"]);
}

#[test]
fn a_cluster_of_the_file_is_the_one_that_is_asked() {
    let config = Config::new();
    config.run(&["config", "add", "nobody", "--brokers", "127.0.0.1:1"]);
    let (_, said) = ran(&mut config.onrush(&["topic", "list"])).expect_err("nobody is there");
    let origin = format!("{}:4", config.file().display());
    assert!(said.contains("127.0.0.1:1") && said.contains(&origin), "{said}");
    let mut other = config.onrush(&["topic", "list"]);
    let (_, said) = ran(other.env("ONRUSH_BROKERS", "127.0.0.1:2")).expect_err("nobody is there");
    assert!(said.contains("127.0.0.1:2") && said.contains("ONRUSH_BROKERS"), "{said}");
}

#[test]
fn all_faults_of_a_configuration_are_named_at_once() {
    let config = Config::new();
    config.run(&["config", "add", "a", "--brokers", "a:1"]);
    let mut file = text(&std::fs::read(config.file()).expect("written"));
    file.push_str("broker = \"b:1\"\n[clusters.b]\nbrokers = \"b\"\n");
    std::fs::write(config.file(), file).expect("written");
    let mut list = config.onrush(&["topic", "list"]);
    let (code, said) = ran(list.env("ONRUSH_CALL_TIMEOUT", "1")).expect_err("three faults");
    assert_eq!(code, Some(2));
    let expected =
        ["error[ONR0002]: ", "config.toml:5: ", "config.toml:7: ", "ONRUSH_CALL_TIMEOUT: "];
    for (line, part) in said.lines().zip(expected) {
        assert!(line.contains(part), "{line} lacks {part}");
    }
    assert_eq!(said.lines().count(), expected.len(), "{said}");
}

/// What a shell would offer for a line; the last word is the one being typed.
fn completed(command: &mut Command, words: &[&str]) -> Vec<String> {
    let index = (words.len() - 1).to_string();
    command.arg("--").args(words).env("ONRUSH_COMPLETE", "bash");
    command.envs([("_CLAP_IFS", "\n"), ("_CLAP_COMPLETE_INDEX", &*index)]);
    ran(command).expect("it answers").lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_commands_options_and_clusters() {
    let config = Config::new();
    config.run(&["config", "add", "staging", "--brokers", "127.0.0.1:1"]);
    let complete = |words: &[&str]| completed(&mut config.onrush(&[]), words);
    assert_eq!(complete(&["onrush", "expl"]), ["explain"]);
    assert!(complete(&["onrush", "broker", "--adv"]).contains(&"--advertise".to_owned()));
    assert_eq!(complete(&["onrush", "topic", "list", "--cluster", "st"]), ["staging"]);
}

#[test]
fn a_shell_completes_names_of_topics_and_waits_for_nobody() {
    let mut broker = onrush(&["broker", "--listen", "127.0.0.1:0", "--until-stdin-closes"]);
    let mut broker =
        broker.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut line = String::new();
    BufReader::new(broker.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    for topic in ["flights", "flight-plans", "fuel"] {
        ran(&mut onrush(&["topic", "create", topic, "--brokers", &address])).expect("created");
    }
    let here = ["onrush", "topic", "describe", "--brokers", &address, "fli"];
    let mut names = completed(&mut onrush(&[]), &here);
    names.sort();
    assert_eq!(names, ["flight-plans", "flights"]);
    drop(broker.stdin.take());
    broker.wait().expect("it ends");
    let gone = completed(&mut onrush(&[]), &here);
    assert_eq!(gone, [""; 0]);
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    ran(&mut onrush(&["man", path])).expect("written");
    let page = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(Path::new(path).join(name));
        file.expect(name).read_to_string(&mut text).expect("text");
        text
    };
    for name in ["onrush.1", "onrush-broker.1", "onrush-topic-create.1", "onrush-config-show.1"] {
        assert!(page(name).contains(".TH "), "{name}");
    }
    assert!(page("onrush.1").contains("Exit codes"), "the codes are in the page");
}
