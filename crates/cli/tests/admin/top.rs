//! `onrush top`.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::by_hand::{Stuck, fill, free_address, until};
use crate::target::{Ran, on_every_cluster};
use crate::terminal::on_terminal;

fn top(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
    let output = command.arg("top").args(arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn members_are_shown_with_what_is_stuck_in_them() {
    on_every_cluster(|target| {
        fill(target, 50);
        let stuck = Stuck::start(target, &format!("{}-group", target.name));
        until("all but one are done", || stuck.snapshot().total.done == 49);
        let nobody = free_address();
        let look = || top(&[&stuck.address, &nobody, "--every", "100ms", "--json"]).ok().object();
        let found = |board: &Value| board["findings"].as_array().expect("an array").len() == 1;
        let mut board = look();
        // Ten seconds after it was taken.
        until("it is found", || {
            board = look();
            found(&board)
        });
        assert_eq!((&board["members"], &board["lag"]), (&json!(1), &json!(1)));
        assert_eq!(board["silent"][0]["member"], nobody.as_str());
        assert!(board["retried_per_second"].is_number(), "{board}");
        let partition = &board["partitions"][0];
        assert_eq!(
            (&partition["oldest_offset"], &partition["parked_keys"]),
            (&json!(7), &json!(1))
        );
        let open_for = partition["open_for_millis"].as_u64().expect("a number");
        assert!(open_for >= Duration::from_secs(10).as_millis() as u64, "{open_for}");
        let finding = &board["findings"][0];
        assert_eq!(finding["finding"], "StuckOffset");
        let remedy = format!("onrush dlq send {} 0:7 --member {}", target.name, stuck.address);
        assert_eq!(finding["remedy"], remedy.as_str());
        let text = top(&[&stuck.address, "--once", "--every", "100ms"]).ok().stdout;
        assert!(text.contains("49 done") && text.contains(&remedy), "{text}");
        stuck.stop();
    });
}

#[test]
fn a_member_that_does_not_show_itself_is_named() {
    let nobody = free_address();
    let said = top(&[&nobody]).failed(3);
    assert!(said.contains(&nobody) && said.contains("no member shows itself"), "{said}");
    let said = top(&["nowhere"]).failed(2);
    assert!(said.contains("HOST:PORT"), "{said}");
}

#[test]
fn a_terminal_is_drawn_on_again_and_again_and_restored_by_an_interruption() {
    on_every_cluster(|target| {
        fill(target, 50);
        let stuck = Stuck::start(target, &format!("{}-group", target.name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
        command.args(["top", &stuck.address, "--every", "50ms"]);
        let mut is_interrupted = false;
        let (code, shown) = on_terminal(command, |shown, _, child| {
            if !is_interrupted && shown.matches("1 member: ").count() >= 3 {
                let pid = Pid::from_child(child);
                kill_process(pid, Signal::INT).expect("it runs");
                is_interrupted = true;
            }
        });
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.starts_with("\x1b[?1049h"), "{shown:?}");
        assert!(shown.ends_with("\x1b[?1049l"), "{shown:?}");
        stuck.stop();
    });
}
