//! The sessions of `docs/tour.md`, `docs/on-call.md` and `README.md`, executed line by line in one shell each.
//!
//! What stands after `$ ` in a block marked `console` is given to the shell, what follows is what it must print; `[..]` stands
//! for any text within a line, a line `...` for any lines. Every command must succeed.
#![expect(clippy::disallowed_types, reason = "a test looks for a free port")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The member of `docs/on-call.md`.
#[path = "../../../examples/on-call.rs"]
#[expect(dead_code, reason = "its main is for people")]
mod on_call;

/// What the documents say, and nobody else's broker may have in a test.
const ADDRESS: &str = "127.0.0.1:9092";
/// Where the documents' member shows itself.
const HTTP: &str = "127.0.0.1:9100";

/// Ends the output of a command.
const MARK: &str = "--- the command ended with";

/// A command with what it must print.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    command: String,
    expected: Vec<String>,
}

/// The commands in the `console` blocks of a page.
fn session(page: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut inside = false;
    for (number, text) in (1..).zip(page.lines()) {
        if text.starts_with("```") {
            inside = text == "```console";
        } else if let Some(command) = text.strip_prefix("$ ").filter(|_| inside) {
            lines.push(Line { number, command: command.to_owned(), expected: Vec::new() });
        } else if let Some(line) = lines.last_mut().filter(|_| inside) {
            line.expected.push(text.to_owned());
        }
    }
    lines
}

/// A shell with the binary in its path, in a folder of its own.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Shell {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let binary = Path::new(env!("CARGO_BIN_EXE_onrush")).parent().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(binary.to_owned()).chain(std::env::split_paths(&path)),
        );
        let mut command = Command::new("sh");
        for name in ["ONRUSH_CONFIG", "ONRUSH_CLUSTER", "XDG_CONFIG_HOME", "RUST_LOG"] {
            command.env_remove(name);
        }
        let command = command
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("PATH", path.expect("folders"))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is a shell");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut shell = Self { child, stdin, stdout, _folder: folder };
        shell.run("exec 2>&1");
        shell
    }

    /// Runs a command in the shell itself: its output and whether it succeeded.
    fn run(&mut self, command: &str) -> (Vec<String>, bool) {
        writeln!(self.stdin, "{command}\nprintf '\\n%s %s\\n' '{MARK}' $?").expect("it reads");
        let mut output = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.stdout.read_line(&mut line).expect("text");
            assert!(count > 0, "the shell ended in: {command}\n{}", output.join("\n"));
            if let Some(status) = line.strip_prefix(MARK) {
                // The line end that was put before the mark, if the output had one of its own.
                if output.last().is_some_and(String::is_empty) {
                    output.pop();
                }
                return (output, status.trim() == "0");
            }
            output.push(line.trim_end_matches('\n').to_owned());
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What it started in the background is of its process group.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// Whether `line` is as the page says, `[..]` being any text.
fn fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut ends = rest.is_empty();
    for part in parts {
        match (part, rest.find(part)) {
            ("", _) => (rest, ends) = ("", true),
            (_, Some(at)) => {
                rest = &rest[at + part.len()..];
                ends = rest.is_empty();
            }
            (_, None) => return false,
        }
    }
    ends
}

/// Whether the output is as the page says, a line `...` being any lines.
fn agree(expected: &[String], output: &[String]) -> bool {
    match (expected, output) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "..." => {
            (0..=output.len()).any(|skipped| agree(rest, &output[skipped..]))
        }
        ([line, rest @ ..], [found, others @ ..]) => fits(line, found) && agree(rest, others),
        _ => false,
    }
}

fn page(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let text = std::fs::read_to_string(&path).expect("the page is there");
    (path, text)
}

/// An address that nobody has, as long as the one of the documents, so that tables look the same.
fn free_address() -> String {
    // Another process starts elsewhere, another test of this one goes on behind.
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let first = 2_000 + std::process::id() % 6_000;
    let addresses = std::iter::repeat_with(|| first + TRIED.fetch_add(1, Ordering::Relaxed));
    let mut addresses = addresses.take(1_000).map(|port| format!("127.0.0.1:{port}"));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// Executes a page after some commands that it does not show.
fn executed(name: &str, before: &[&str], at_least: usize) {
    executed_beside(name, before, at_least, |_, _| ());
}

/// Executes a page while something runs that the page talks about; it is given the broker's address and one to show itself on.
fn executed_beside<T>(
    name: &str,
    before: &[&str],
    at_least: usize,
    start: impl FnOnce(&str, &str) -> T,
) {
    let (address, http) = (free_address(), free_address());
    let (path, text) = page(name);
    let lines = session(&text.replace(ADDRESS, &address).replace(HTTP, &http));
    assert!(lines.len() >= at_least, "{} has {} commands", path.display(), lines.len());
    let mut shell = Shell::start();
    for command in before {
        let (output, well) = shell.run(&command.replace(ADDRESS, &address));
        assert!(well, "{command}: {}", output.join("\n"));
    }
    let _running = start(&address, &http);
    for Line { number, command, expected } in lines {
        let (output, well) = shell.run(&command);
        assert!(
            well && agree(&expected, &output),
            "{}:{number}: $ {command}\nprinted:\n{}\nand not:\n{}",
            path.display(),
            output.join("\n"),
            expected.join("\n"),
        );
    }
}

#[test]
fn the_tour_is_as_written() {
    executed("docs/tour.md", &[], 20);
}

/// Begins a page that has a broker already.
fn a_broker() -> [String; 2] {
    let wait = "while ! grep -s listening broker.txt && kill -0 $broker; do sleep 0.1; done";
    [format!("onrush broker --listen {ADDRESS} > broker.txt & broker=$!"), wait.to_owned()]
}

#[test]
fn the_readme_is_as_written() {
    let [broker, wait] = a_broker();
    executed("README.md", &[&broker, &wait], 5);
}

#[test]
fn the_night_on_call_is_as_written() {
    let [broker, wait] = a_broker();
    let topic = format!("onrush topic create payments --partitions 1 --brokers {ADDRESS}");
    executed_beside("docs/on-call.md", &[&broker, &wait, &topic], 10, |brokers, http| {
        on_call::member(brokers, http).start().expect("it joins")
    });
}

#[test]
fn only_console_blocks_are_executed() {
    let text = "$ no\n```sh\n$ no\n```\n```console\n$ yes | head -2\ny\ny\n$ true\n```\n";
    let line = |number, command: &str, expected: &[&str]| Line {
        number,
        command: command.to_owned(),
        expected: expected.iter().map(|line| line.to_string()).collect(),
    };
    assert_eq!(session(text), [line(6, "yes | head -2", &["y", "y"]), line(9, "true", &[])]);
}

#[test]
fn what_is_not_as_written_is_found() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, output, well) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("a [..] c", "a b c", true),
        ("a [..] c", "a b c d", false),
        ("a [..]", "a b c", true),
        ("[..] c", "a b c", true),
        ("a\n...\nd", "a\nb\nc\nd", true),
        ("a\n...", "a", true),
        ("a\n...\nd", "a\nb", false),
    ] {
        assert_eq!(agree(&lines(expected), &lines(output)), well, "{expected:?} for {output:?}");
    }
    let mut shell = Shell::start();
    assert_eq!(shell.run("printf x; printf y >&2"), (lines("xy"), true));
    assert_eq!(shell.run("x=1; false"), (lines(""), false));
    assert_eq!(shell.run("echo $x"), (lines("1"), true));
}
