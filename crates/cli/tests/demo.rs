//! `onrush demo --kill` as a process: its proof, and that nothing outlives it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    command.arg("demo").args(arguments);
    command
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

/// The results of a run, and its exit code.
fn results(output: &Output) -> (Value, Option<i32>) {
    let said = String::from_utf8_lossy(&output.stderr);
    let results = serde_json::from_slice(&output.stdout);
    (results.unwrap_or_else(|_| panic!("no results: {said}")), output.status.code())
}

#[test]
fn a_killed_member_loses_nothing_and_excuses_what_is_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("run");
    let arguments = ["--kill", "--events", "150000", "--json", "--keep", path(&keep)];
    let (results, code) = results(&demo(&arguments).output().expect("the binary runs"));
    assert_eq!(code, Some(0), "{results}");
    for counter in ["lost", "unexplained", "reordered", "overlaps", "corrupt"] {
        assert_eq!(results[counter], 0, "{counter}");
    }
    assert_eq!(results["matches_direct"], true);
    let count = |name: &str| results[name].as_u64().expect("a number");
    assert!(count("kills") >= 1);
    assert!(count("repeated") <= count("repeat_bound"));
    // What is known of the victims was known before they died, and is on disk.
    let notes = std::fs::read_to_string(keep.join("kills.jsonl")).expect("notes");
    let deaths: Vec<Value> =
        notes.lines().map(|line| serde_json::from_str(line).expect("a death")).collect();
    assert_eq!(deaths.len() as u64, count("kills"));
    let left = deaths.iter().flat_map(|death| death["left"].as_array().expect("partitions"));
    let uncommitted: u64 = left.map(|left| left["uncommitted"].as_u64().expect("a number")).sum();
    assert!(uncommitted >= deaths.len() as u64, "every victim had something to lose");
    assert_eq!(uncommitted, count("repeat_bound"));
}

#[test]
fn members_that_forget_what_is_committed_exceed_the_bound() {
    let arguments = ["--kill", "--events", "300000", "--json", "--sabotage", "forget"];
    let (results, code) = results(&demo(&arguments).output().expect("the binary runs"));
    assert_eq!(code, Some(1), "{results}");
    assert!(results["unexplained"].as_u64().is_some_and(|count| count > 0), "{results}");
    assert_eq!(results["lost"], 0);
}

#[test]
fn arguments_that_leave_no_time_for_a_kill_are_refused() {
    for arguments in [&["--kill", "--events", "149999"][..], &["--kill", "--http", "127.0.0.1:0"]] {
        let Output { status, stdout, .. } = demo(arguments).output().expect("the binary runs");
        assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_outlives_a_demo_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("run");
    let mut command = demo(&["--kill", "--events", "100000000", "--keep", path(&keep)]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = Running(command.spawn().expect("the binary runs"));
    let children = await_some(|| {
        let children = children_of(demo.0.id());
        // The broker and four members.
        (children.len() == 5).then_some(children)
    });
    // One that stands still, as victims do before they die, reads no end of a pipe.
    let stopped = await_some(|| owner_of_a_journal(&keep.join("journal"))).to_string();
    assert!(Command::new("kill").args(["-STOP", &stopped]).status().expect("kill").success());
    demo.0.kill().expect("SIGKILL");
    demo.0.wait().expect("it ended");
    await_some(|| children.iter().all(|child| !is_alive(*child)).then_some(()));
}

/// The process that is named by the header of some journal.
#[cfg(target_os = "linux")]
fn owner_of_a_journal(folder: &Path) -> Option<u32> {
    let mut journals =
        std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|file| file.path());
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|end| end == "journal");
    let journal = journals.find(is_journal)?;
    let mut header = [0; 56];
    let file = std::fs::File::options().read(true).open(journal).ok()?;
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut header, 0).ok()?;
    header.last_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Asks again until there is an answer.
fn await_some<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(answer) = ask() {
            return answer;
        }
        pause();
    }
    panic!("it did not happen within half a minute");
}

#[expect(
    clippy::disallowed_methods,
    reason = "processes of strangers tell nothing: they are looked at"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// By `/proc`: processes whose parent this is.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    let id = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.parse::<u32>().ok()
    };
    processes
        .filter_map(id)
        .filter(|id| state_and_parent(*id).is_some_and(|p| p.1 == parent))
        .collect()
}

/// Whether a process is there and is more than a corpse.
fn is_alive(process: u32) -> bool {
    state_and_parent(process).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn state_and_parent(process: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field, the name, may have spaces; it ends with the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
