//! What is asked on a terminal: the command gets a pseudo-terminal, and a yes or a no is typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::target::{Target, on_every_cluster};

/// Runs a command on a terminal; `react` sees what was shown so far, and may type or send signals. Its exit code, and what
/// the terminal showed.
pub(crate) fn on_terminal(
    mut command: Command,
    mut react: impl FnMut(&str, &mut File, &Child),
) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("named");
    #[expect(clippy::disallowed_types, reason = "a terminal is opened to read and write")]
    let inner = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().expect("UTF-8"))
        .expect("opened");
    let end = |file: &File| Stdio::from(OwnedFd::from(file.try_clone().expect("cloned")));
    let mut child = command
        .stdin(end(&inner))
        .stdout(end(&inner))
        .stderr(end(&inner))
        .spawn()
        .expect("it runs");
    drop((command, inner));
    let mut terminal = File::from(terminal);
    let mut shown = Vec::new();
    let mut buffer = [0; 1_024];
    // Reading fails when nobody has the other end any more.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
        react(&String::from_utf8_lossy(&shown), &mut terminal, &child);
    }
    let code = child.wait().expect("it ends").code();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

/// Runs a command that asks for a yes on a terminal, and types `answer`.
fn answered(target: &Target, arguments: &[&str], answer: &str) -> (Option<i32>, String) {
    let mut typed = false;
    on_terminal(target.command(arguments), |shown, terminal, _| {
        if !typed && shown.contains("[y/N]") {
            terminal.write_all(answer.as_bytes()).expect("typed");
            typed = true;
        }
    })
}

#[test]
fn a_person_is_asked_and_a_no_changes_nothing() {
    on_every_cluster(|target| {
        target.create(2);
        let name = target.name.as_str();
        for no in ["n\n", "\n", "yesterday\n"] {
            let (code, shown) = answered(target, &["topic", "delete", name], no);
            assert_eq!(code, Some(130), "{shown}");
            assert!(
                shown.contains("PARTITIONS") && shown.contains("nothing was changed"),
                "{shown}"
            );
        }
        let (code, shown) = answered(target, &["topic", "delete", name, "--json"], "y\n");
        assert_eq!(code, Some(0), "{shown}");
        let question = shown.find("[y/N]").expect("asked");
        assert!(shown[..question].contains("PARTITIONS"), "what goes is shown before: {shown}");
        assert!(shown[question..].contains("\"deleted\":true"), "{shown}");
        target.run(&["topic", "describe", name]).failed(3);
    });
}
