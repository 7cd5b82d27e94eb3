//! `onrush dlq send`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use onrush::http::{Listener, Watched};
use onrush::{Consumer, Handle, HandlerError, RetryPolicy, Running, Snapshot};
use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};
use onrush_engine::{Metadata, Note};
use onrush_runtime::{Clock, Disk, Executor, Runtime};
use serde_json::{Value, json};

use crate::target::{Target, on_every_cluster};

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Clock::System.now() + LIMIT;
    while !is_so() {
        assert!(Clock::System.now() < limit, "not in {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

/// Fills a topic of one partition; event n has the key `key-n`.
pub(crate) fn fill(target: &Target, events: usize) {
    target.create(1);
    let mut producer = onrush::Producer::connect(&target.brokers).expect("the broker answers");
    for number in 0..events {
        let key = format!("key-{number}");
        producer.send(&target.name, Some(key.as_bytes()), Some(b"x")).expect("sent");
    }
    producer.flush().expect("acknowledged");
}

/// What a member of Onrush commits at `offset`, with these done above it, and with a note on the first.
fn metadata(offset: i64, done: &[(i64, i64)]) -> String {
    let mut completed = CompletedSet::empty();
    done.iter().for_each(|(first, last)| completed.push(OffsetRun::new(*first, *last)));
    let error = "no such card".to_owned();
    let since_millis = 1_790_000_000_000;
    let notes = vec![Note { offset, attempts: 5, since_millis, error }];
    Metadata { completed, notes }.encode(offset, METADATA_LIMIT)
}

fn lag(target: &Target, group: &str) -> Value {
    target.run(&["lag", group, "--json", "--over", "50ms"]).ok().object()
}

#[test]
fn a_group_without_members_passes_the_event_by_a_commit() {
    on_every_cluster(|target| {
        fill(target, 20);
        let (topic, group) = (target.name.as_str(), format!("{}-group", target.name));
        let letters = format!("{topic}.dead-letter");
        target.commit(&group, &[(0, 3, &metadata(3, &[(4, 9)]))]);
        let send = ["dlq", "send", topic, "0:3", "--group", &group, "--json"];
        let with = |more: &[&str]| target.run(&[&send[..], more].concat());

        let dry = with(&["--dry-run"]).ok().object();
        assert_eq!((&dry["applied"], &dry["attempts"]), (&json!(false), &json!(5)));
        assert_eq!((&dry["to"], &dry["key"]), (&json!(letters), &json!("key-3")));
        assert_eq!((&dry["committed"], &dry["letter"]), (&json!(10), &Value::Null));
        assert!(with(&[]).failed(2).contains("--yes"));
        let topics = target.run(&["topic", "list", "--json"]).ok().objects();
        assert!(topics.iter().all(|topic| topic["topic"] != letters.as_str()), "nothing is made");
        assert_eq!(target.committed(&group), [(0, 3)]);

        let sent = with(&["--yes", "--reason", "card 3 is gone"]).ok().object();
        assert_eq!((&sent["applied"], &sent["letter"]), (&json!(true), &json!("0:0")));
        assert_eq!(target.committed(&group), [(0, 10)]);
        let letter = target.run(&["dlq", "show", &letters, "0:0", "--json"]).ok().object();
        assert_eq!(letter["error"], "card 3 is gone; last error: no such card");
        assert_eq!((&letter["attempts"], &letter["key"]), (&json!(5), &json!("key-3")));
        assert_eq!((&letter["origin_topic"], &letter["origin_offset"]), (&json!(topic), &json!(3)));

        let said = with(&["--yes"]).failed(3);
        assert!(said.contains("finished the event already"), "{said}");
        let count = target.run(&["dlq", "list", &letters, "--json"]).ok().objects().len();
        assert_eq!(count, 1, "what is refused is not written");
    });
}

#[test]
fn an_event_above_the_commit_is_added_to_what_is_done() {
    on_every_cluster(|target| {
        fill(target, 20);
        let (topic, group) = (target.name.as_str(), format!("{}-group", target.name));
        target.commit(&group, &[(0, 3, &metadata(3, &[(4, 9)]))]);
        let elsewhere = format!("{topic}-letters");
        let send = |place: &str| {
            let command =
                ["dlq", "send", topic, place, "--group", &group, "--to", &elsewhere, "--yes"];
            target.run(&command)
        };
        send("0:12").ok();
        assert_eq!(target.committed(&group), [(0, 3)]);
        let report = lag(target, &group);
        assert_eq!(
            (&report["lag"], &report["partitions"][0]["done_above"]),
            (&json!(10), &json!(7))
        );
        send("0:3").ok();
        assert_eq!(target.committed(&group), [(0, 10)]);
        assert_eq!(lag(target, &group)["lag"], 9);
        for (place, says) in [("0:20", "no event at 0:20"), ("1:0", "no partition 1")] {
            let said = send(place).failed(2);
            assert!(said.contains(says), "{said}");
        }
    });
}

#[test]
fn commits_of_others_and_groups_without_any_are_refused() {
    on_every_cluster(|target| {
        fill(target, 20);
        let (topic, group) = (target.name.as_str(), format!("{}-group", target.name));
        let send = |arguments: &[&str]| {
            target.run(&[&["dlq", "send", topic, "0:5", "--yes"], arguments].concat())
        };
        let said = send(&["--group", &format!("{group}-unknown")]).failed(3);
        assert!(said.contains("there is no group"), "{said}");
        target.commit(&group, &[(0, 3, "of another program")]);
        let said = send(&["--group", &group]).failed(3);
        assert!(said.contains("not what Onrush commits"), "{said}");
        assert_eq!(target.committed(&group), [(0, 3)]);
        send(&[]).failed(2);
        let said = send(&["--group", &group, "--to", topic]).failed(2);
        assert!(said.contains("--to"), "{said}");
    });
}

/// A member in which one event fails for ever, and where it shows itself.
pub(crate) struct Stuck {
    running: Running,
    pub(crate) address: String,
    _http: Executor,
}

impl Stuck {
    pub(crate) fn start(target: &Target, group: &str) -> Self {
        let running = Consumer::new(&target.brokers)
            .group(group)
            .topic(&target.name)
            .commit_interval(Duration::from_millis(50))
            .retry(RetryPolicy { longest: Duration::from_millis(50), ..RetryPolicy::forever() })
            .each_blocking(NonZeroUsize::new(4).expect("four"), |event, _| match event.key {
                Some(b"key-7") => Err(HandlerError::msg("card 7 does not exist")),
                _ => Ok(()),
            })
            .start()
            .expect("it starts");
        let (address, _http) = shown(running.handle().clone());
        Self { running, address, _http }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.running.handle().snapshot()
    }

    pub(crate) fn stop(self) {
        self.running.stop().expect("it ends well");
    }
}

fn shown(handle: Handle) -> (String, Executor) {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("http", 1).expect("a thread");
    let listener = executor.block_on(Listener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.address();
    listener.serve(&executor, Arc::new(Watched::new(handle)));
    (address, executor)
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> String {
    let runtime = Runtime::production(Disk::memory());
    let executor = runtime.spawn.executor("http", 1).expect("a thread");
    executor.block_on(Listener::bind("127.0.0.1:0")).expect("a free port").address()
}

#[test]
fn a_member_is_told_and_its_group_passes_the_event() {
    on_every_cluster(|target| {
        fill(target, 50);
        let (topic, group) = (target.name.as_str(), format!("{}-group", target.name));
        let stuck = Stuck::start(target, &group);
        let done = || stuck.snapshot().total.done;
        until("all but one are done", || done() == 49);
        let noted = || lag(target, &group)["partitions"][0]["committed"] == 7;
        until("what is done is committed", noted);

        let send = |arguments: &[&str]| {
            let command = ["dlq", "send", topic, "0:7", "--group", &group, "--json", "--yes"];
            target.run(&[&command[..], arguments].concat())
        };
        let said = send(&[]).failed(3);
        assert!(said.contains("has members") && said.contains("--member HOST:PORT"), "{said}");
        let nobody = free_address();
        let said = send(&["--member", &nobody]).failed(3);
        assert!(said.contains("no --member holds") && said.contains(&nobody), "{said}");
        let letters = format!("{topic}.dead-letter");
        let topics = target.run(&["topic", "list", "--json"]).ok().objects();
        assert!(topics.iter().all(|topic| topic["topic"] != letters.as_str()), "nothing is made");

        let sent = send(&["--member", &nobody, "--member", &stuck.address]).ok().object();
        assert_eq!(sent["member"], stuck.address.as_str());
        let letter = target.run(&["dlq", "show", &letters, "0:0", "--json"]).ok().object();
        let error = letter["error"].as_str().expect("text");
        assert!(error.ends_with("; last error: card 7 does not exist"), "{error}");
        assert!(letter["attempts"].as_u64().expect("a number") > 1, "{letter}");
        until("the commit passes it", || target.committed(&group) == [(0, 50)]);
        let again = send(&["--member", &stuck.address]).failed(3);
        assert!(again.contains("finished already") && again.contains("is written"), "{again}");
        assert_eq!(stuck.snapshot().total.dead_lettered, 1);
        stuck.stop();
    });
}
