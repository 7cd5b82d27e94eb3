//! `onrush dlq`, on dead letters that a consumer's failing handler made.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use onrush::{Consumer, HandlerError};
use onrush_runtime::Clock;
use serde_json::{Value, json};

use crate::target::{Target, on_every_cluster};

/// Events of the origin, the failing ones among them: every third.
const EVENTS: usize = 9;

/// Fills the target's topic and lets a handler fail for every third event; returns the dead-letter topic.
fn dead_letters(target: &Target, events: usize) -> String {
    target.create(2);
    let mut producer = onrush::Producer::connect(&target.brokers).expect("the broker answers");
    for number in 0..events {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        producer
            .send(&target.name, Some(key.as_bytes()), Some(value.as_bytes()))
            .expect("the topic is there");
    }
    producer.flush().expect("acknowledged");
    let topic = format!("{}.dead-letter", target.name);
    let group = format!("{}-failing", target.name);
    let running = Consumer::new(&target.brokers)
        .group(&group)
        .topic(&target.name)
        .each(|event, _| {
            let value = String::from_utf8_lossy(event.value.unwrap_or_default()).into_owned();
            let number: usize = value.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            match number % 3 {
                0 if number.is_multiple_of(2) => {
                    Err(HandlerError::dead_letter(format!("no {value}")))
                }
                0 => Err(HandlerError::dead_letter("odd")),
                _ => Ok(()),
            }
        })
        .start()
        .expect("it starts");
    let lettered = || running.handle().snapshot().total.dead_lettered as usize;
    let deadline = Clock::System.now() + Duration::from_secs(60);
    while lettered() < events.div_ceil(3) {
        assert!(Clock::System.now() < deadline, "{} dead letters", lettered());
        std::thread::yield_now();
    }
    running.stop().expect("it ends well");
    topic
}

fn values(target: &Target, topic: &str) -> Vec<Value> {
    target.run(&["consume", topic, "--json", "--offset", ":end"]).ok().objects()
}

fn header<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    let headers = record["headers"].as_array().expect("an array");
    headers.iter().find(|header| header["key"] == name)?["value"].as_str()
}

#[test]
fn letters_are_listed_counted_and_shown() {
    on_every_cluster(|target| {
        let topic = dead_letters(target, EVENTS);
        let topics = target.run(&["dlq", "list", "--json"]).ok().objects();
        let found = topics.iter().find(|found| found["topic"] == topic.as_str()).expect("listed");
        assert_eq!(found["letters"], 3);

        let letters = target.run(&["dlq", "list", &topic, "--json"]).ok().objects();
        assert_eq!(letters.len(), 3);
        assert!(letters.iter().all(|letter| letter["origin_topic"] == target.name.as_str()));
        let errors: BTreeSet<_> =
            letters.iter().map(|l| l["error"].as_str().expect("text")).collect();
        assert_eq!(errors, BTreeSet::from(["no value-0", "no value-6", "odd"]));

        let filtered = |filter: &[&str]| {
            let all = [&["dlq", "list", &topic, "--json"], filter].concat();
            target.run(&all).ok().objects().len()
        };
        assert_eq!(filtered(&["--error", "odd"]), 1);
        assert_eq!(filtered(&["--error", "~^no value"]), 2);
        assert_eq!(filtered(&["--key", "key-6"]), 1);
        assert_eq!(filtered(&["--origin", "elsewhere"]), 0);
        assert_eq!(filtered(&["--origin", &target.name, "--offset", "-2:end"]), 2);

        let counted =
            target.run(&["dlq", "list", &topic, "--by", "origin", "--json"]).ok().objects();
        let sum: u64 =
            counted.iter().map(|count| count["letters"].as_u64().expect("a number")).sum();
        assert_eq!(sum, 3);

        let place = format!("{}:{}", letters[0]["partition"], letters[0]["offset"]);
        let shown = target.run(&["dlq", "show", &topic, &place]).ok().stdout;
        let error = letters[0]["error"].as_str().expect("text");
        assert!(shown.contains(error) && shown.contains(&target.name), "{shown}");
        let said = target.run(&["dlq", "show", &topic, "0:999"]).failed(2);
        assert!(said.contains("0:999") && said.contains("dlq list"), "{said}");
    });
}

#[test]
fn letters_go_back_to_their_partition_without_what_was_added() {
    on_every_cluster(|target| {
        let topic = dead_letters(target, EVENTS);
        let dry = target.run(&["dlq", "redrive", &topic, "--dry-run", "--json"]).ok().object();
        assert_eq!((&dry["to"], &dry["letters"]), (&json!(target.name), &json!(3)));
        assert_eq!(dry["applied"], false);
        assert_eq!(values(target, &target.name).len(), EVENTS);
        let said = target.run(&["dlq", "redrive", &topic]).failed(2);
        assert!(said.contains("--yes"), "{said}");

        target.run(&["dlq", "redrive", &topic, "--yes"]).ok();
        let all = values(target, &target.name);
        assert_eq!(all.len(), EVENTS + 3);
        let redriven: Vec<_> =
            all.iter().filter(|event| header(event, "onrush.redrive.id").is_some()).collect();
        assert_eq!(redriven.len(), 3);
        for event in redriven {
            let same = |other: &&Value| other["value"] == event["value"] && *other != event;
            let original = all.iter().find(same).expect("it came from there");
            for field in ["partition", "key", "timestamp"] {
                assert_eq!(original[field], event[field], "{field}");
            }
            assert_eq!(header(event, "onrush.redrives"), Some("1"));
            assert_eq!(header(event, "onrush.error"), None);
        }
        let again = target.run(&["dlq", "redrive", &topic, "--yes"]).ok();
        assert!(again.stderr.contains("nothing to send back"), "{}", again.stderr);
        assert_eq!(values(target, &target.name).len(), EVENTS + 3);
        target.run(&["dlq", "redrive", &topic, "--yes", "--again"]).ok();
        assert_eq!(values(target, &target.name).len(), EVENTS + 6);
    });
}

#[test]
fn some_letters_go_elsewhere_and_what_cannot_be_is_refused() {
    on_every_cluster(|target| {
        let topic = dead_letters(target, EVENTS);
        let missing = format!("{}-missing", target.name);
        let said = target.run(&["dlq", "redrive", &topic, "--to", &missing, "--dry-run"]).failed(3);
        assert!(said.contains(&missing), "{said}");
        let repair = format!("{}-repair", target.name);
        target.run(&["topic", "create", &repair, "-p", "1"]).ok();
        let some = ["dlq", "redrive", &topic, "--to", &repair, "--error", "odd", "--yes"];
        target.run(&some).ok();
        let repaired = values(target, &repair);
        assert_eq!(repaired.len(), 1);
        assert_eq!(repaired[0]["value"], "value-3");
        // Another selection is another redrive.
        let rest = ["dlq", "redrive", &topic, "--to", &repair, "--error", "~^no", "--yes"];
        target.run(&rest).ok();
        assert_eq!(values(target, &repair).len(), 3);
        let letter = target.run(&["dlq", "list", &topic, "--error", "odd", "--json"]).ok().object();
        let place = format!("{}:{}", letter["partition"], letter["offset"]);
        for _ in 0..2 {
            // Named one by one, they go each time.
            target.run(&["dlq", "redrive", &topic, "--to", &repair, "--at", &place, "--yes"]).ok();
        }
        assert_eq!(values(target, &repair).len(), 5);
    });
}

/// Killed in the middle, a redrive goes on where it was; what comes twice has the same id twice.
#[test]
fn a_killed_redrive_goes_on_and_says_what_came_twice() {
    on_every_cluster(|target| {
        let events = 30;
        let topic = dead_letters(target, events);
        let repair = format!("{}-repair", target.name);
        target.run(&["topic", "create", &repair, "-p", "1"]).ok();
        let arguments = ["dlq", "redrive", &topic, "--to", &repair, "--yes"];
        let mut slow = target
            .command(&[&arguments[..], &["--rate", "20"]].concat())
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut watch = target
            .command(&["consume", &repair, "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
        lines.next().expect("a first letter").expect("a line");
        slow.kill().expect("it is killed");
        slow.wait().expect("it ends");
        watch.kill().expect("it is killed");
        watch.wait().expect("it ends");

        target.run(&arguments).ok();
        let records = values(target, &repair);
        let ids: BTreeSet<_> =
            records.iter().filter_map(|record| header(record, "onrush.redrive.id")).collect();
        assert_eq!(ids.len(), events / 3, "every letter went");
        let said = target.run(&arguments).ok().stderr;
        assert!(said.contains("nothing to send back"), "{said}");
    });
}
