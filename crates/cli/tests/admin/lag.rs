//! `onrush lag`.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onrush::{Consumer, HandlerError};
use onrush_runtime::Clock;
use serde_json::{Value, json};

use crate::target::{Target, on_every_cluster};

fn findings(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("an array");
    findings.iter().map(|finding| finding["finding"].as_str().expect("a name")).collect()
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("an array");
    findings.iter().find(|finding| finding["finding"] == name).unwrap_or_else(|| panic!("{report}"))
}

fn lag(target: &Target, arguments: &[&str]) -> Value {
    target.run(&[&["lag", "--json", "--over", "200ms"], arguments].concat()).ok().object()
}

#[test]
fn trap_49_a_group_without_members_is_behind_by_what_it_has_not_committed() {
    on_every_cluster(|target| {
        target.create(3);
        target.send(2, 40);
        let group = format!("{}-group", target.name);
        target.commit(&group, &[(0, 10, ""), (1, 40, "somebody else's")]);
        let report = lag(target, &[&group]);
        assert_eq!((&report["lag"], &report["level"]), (&json!(30), &json!("normal")));
        assert_eq!(report["members"], 0);
        let partitions = report["partitions"].as_array().expect("an array");
        let rows: Vec<_> = partitions.iter().map(|p| (&p["lag"], &p["done_above"])).collect();
        assert_eq!(rows, [(&json!(30), &json!(0)), (&json!(0), &json!(0))]);
        assert_eq!(partitions[1]["behind_ms"], 0);
        // The first unfinished record has the timestamp 11,000.
        let now = Clock::System.wall_millis().unsigned_abs();
        let behind = partitions[0]["behind_ms"].as_u64().expect("a number");
        assert!(now - 60_000 < behind && behind < now, "{behind}");
        assert!(findings(&report).contains(&"NoMembers"), "{report}");
        assert_eq!(lag(target, &[&group, "--levels", "5,10,20"])["level"], "emergency");

        let text = target.run(&["lag", &group, "--over", "200ms"]).ok().stdout;
        assert!(text.contains("30 events behind") && text.contains("NoMembers"), "{text}");
        let all = ["lag", &group, "--over", "200ms", "--levels", "5,10,20", "--fail-at"];
        let said = target.run(&[&all[..], &["critical"]].concat()).failed(1);
        assert!(said.contains("is at emergency"), "{said}");
        let fine = ["lag", &group, "--over", "200ms", "--fail-at", "warning"];
        target.run(&fine).ok();
        target.run(&["lag", &format!("{group}-unknown"), "--over", "10ms"]).failed(3);
    });
}

#[test]
fn trap_49_a_log_that_was_trimmed_or_is_shorter_than_the_commit_is_told() {
    on_every_cluster(|target| {
        target.create(2);
        target.send(2, 20);
        let group = format!("{}-group", target.name);
        target.commit(&group, &[(0, 3, ""), (1, 10, "")]);
        target
            .run(&["topic", "trim", &target.name, "--before", "12", "--partition", "0", "--yes"])
            .ok();
        let report = lag(target, &[&group]);
        assert_eq!(report["lag"], 8 + 10);
        let expired = finding(&report, "Expired");
        assert!(expired["says"].as_str().expect("text").contains("9 events expired"), "{expired}");
    });
}

#[test]
fn retention_that_will_take_what_is_not_finished_is_told() {
    on_every_cluster(|target| {
        let half_an_hour = "retention.ms=1800000";
        target.run(&["topic", "create", &target.name, "-p", "1", "--config", half_an_hour]).ok();
        let mut producer = onrush::Producer::connect(&target.brokers).expect("the broker answers");
        producer.send(&target.name, None, Some(b"x")).expect("sent");
        producer.flush().expect("acknowledged");
        let group = format!("{}-group", target.name);
        target.commit(&group, &[(0, 0, "")]);
        let report = lag(target, &[&group]);
        let expiring = finding(&report, "Expiring");
        assert!(expiring["says"].as_str().expect("text").contains("in 29m"), "{expiring}");
        let left = report["partitions"][0]["expires_in_ms"].as_u64().expect("a number");
        assert!((1_700_000..=1_800_000).contains(&left), "{left}");
    });
}

/// One event that does not end, thousands done above it: that is not thousands behind.
#[test]
fn one_stuck_event_is_told_apart_from_being_behind() {
    on_every_cluster(|target| {
        target.create(1);
        let mut producer = onrush::Producer::connect(&target.brokers).expect("the broker answers");
        let events = 3_000_u64;
        for number in 0..events {
            let key = format!("key-{number}");
            producer.send(&target.name, Some(key.as_bytes()), Some(b"x")).expect("sent");
        }
        producer.flush().expect("acknowledged");
        let group = format!("{}-group", target.name);
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let held = Arc::clone(&gate);
        let running = Consumer::new(&target.brokers)
            .group(&group)
            .topic(&target.name)
            .commit_interval(Duration::from_millis(50))
            .each_blocking(NonZeroUsize::new(4).expect("four"), move |event, _| {
                if event.offset == 7 {
                    let (open, opened) = &*held;
                    let open = open.lock().map_err(|_| HandlerError::msg("poisoned"))?;
                    let _open = opened.wait_while(open, |open| !*open);
                }
                Ok(())
            })
            .start()
            .expect("it starts");
        let mut report = Value::Null;
        let found = AtomicBool::new(false);
        for _ in 0..100 {
            report = lag(target, &[&group]);
            if report["lag"].as_u64().is_some_and(|lag| lag < 100)
                && findings(&report).contains(&"StuckOffset")
            {
                found.store(true, Ordering::Relaxed);
                break;
            }
        }
        assert!(found.load(Ordering::Relaxed), "{report}");
        let stuck = finding(&report, "StuckOffset");
        assert_eq!((&stuck["offset"], &stuck["topic"]), (&json!(7), &json!(target.name)));
        let says = stuck["says"].as_str().expect("text");
        assert!(says.contains("key \"key-7\"") && says.contains("above it are done"), "{says}");
        assert!(stuck["command"].as_str().expect("text").contains("-o 7:8"), "{stuck}");
        let remedy =
            format!("onrush dlq send {} 0:7 --group {group} --member HOST:PORT", target.name);
        assert_eq!(stuck["remedy"], remedy);
        assert_eq!(report["partitions"][0]["committed"], 7);
        *gate.0.lock().expect("sound") = true;
        gate.1.notify_all();
        // What has not been started when it stops is left to others.
        while running.handle().snapshot().total.done < events {
            std::thread::yield_now();
        }
        running.stop().expect("it ends well");
        assert_eq!(lag(target, &[&group])["lag"], 0);
    });
}
