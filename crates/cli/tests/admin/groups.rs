//! `onrush group`.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use onrush::{Consumer, Context, Event, Running};
use onrush_engine::Metadata;
use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};
use serde_json::json;

use crate::detour::detour;
use crate::target::{Target, on_every_cluster};

/// What a member may take to get its first event; a healthy one takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far a command's requests are apart: enough for other commits between them.
const DELAY: Duration = Duration::from_millis(50);

/// A member of the target's group that reads its topic, and has read something.
fn member(target: &Target) -> Running {
    let (seen, events) = mpsc::channel();
    let handler = move |_: &Event<'_>, _: &mut Context<'_>| {
        let _ = seen.send(());
        Ok(())
    };
    let consumer = Consumer::new(&target.brokers).group(&target.name).topic(&target.name);
    let running = consumer.lanes(NonZeroUsize::MIN).each(handler).start().expect("it joins");
    events.recv_timeout(PATIENCE).expect("an event comes");
    running
}

#[test]
fn a_group_is_described_with_its_members_and_its_lag() {
    on_every_cluster(|target| {
        target.create(2);
        target.send(2, 10);
        let running = member(target);
        let name = target.name.as_str();
        let described = target.run(&["group", "describe", name, "--json"]).ok().object();
        assert_eq!((&described["group"], &described["kind"]), (&json!(name), &json!("consumer")));
        let members = described["members"].as_array().expect("an array");
        assert_eq!(members.len(), 1);
        assert_eq!(members[0]["topics"], json!([name]));
        let partitions = described["partitions"].as_array().expect("an array");
        assert_eq!(partitions.len(), 2);
        assert!(partitions.iter().all(|p| p["end"] == 10 && p["member"] == members[0]["member"]));
        let text = target.run(&["group", "describe", name]).ok().stdout;
        assert!(text.contains(&format!("{name}:0-1")), "{text}");
        running.stop().expect("it leaves");
        let listed = target.run(&["group", "list", "--state", "empty", "--json"]).ok().objects();
        let listed = listed.iter().find(|group| group["group"] == name).expect("listed");
        assert_eq!((&listed["kind"], &listed["state"]), (&json!("consumer"), &json!("Empty")));
        let kinds = target.run(&["group", "list", "--kind", "classic", "--json"]).ok().objects();
        assert!(kinds.iter().all(|group| group["group"] != name));
    });
}

#[test]
fn a_group_with_members_is_not_touched_and_its_members_are_named() {
    on_every_cluster(|target| {
        target.create(1);
        target.send(1, 3);
        let running = member(target);
        let name = target.name.as_str();
        let described = target.run(&["group", "describe", name, "--json"]).ok().object();
        let member = described["members"][0]["member"].as_str().expect("an id");
        let reset = ["group", "reset", name, "--to", "earliest", "--topic", name];
        for refused in [&[&reset[..], &["--yes"]].concat()[..], &["group", "delete", name, "--yes"]]
        {
            let ran = target.run(refused);
            assert_eq!(ran.stdout, "");
            let said = ran.failed(3);
            assert!(said.contains(member) && said.contains("stop them"), "{said}");
        }
        let dry = target.run(&[&reset[..], &["--dry-run"]].concat()).ok();
        assert!(dry.rows().len() == 2 && dry.stderr.contains(member), "{dry:?}");
        running.stop().expect("it leaves");
        assert_eq!(target.committed(name), [(0, 3)]);
        target.run(&[&reset[..], &["--yes"]].concat()).ok();
        assert_eq!(target.committed(name), [(0, 0)]);
        target.run(&["group", "delete", name, "--yes"]).ok();
        let said = target.run(&["group", "describe", name]).failed(3);
        assert!(said.contains("there is no group"), "{said}");
    });
}

#[test]
fn what_is_done_above_and_what_expired_are_told_apart_from_lag() {
    on_every_cluster(|target| {
        target.create(2);
        target.send(2, 10);
        let name = target.name.as_str();
        let mut done = CompletedSet::empty();
        done.push(OffsetRun::new(3, 8));
        let metadata = Metadata { completed: done, notes: Vec::new() };
        target.commit(name, &[(0, 2, &metadata.encode(2, METADATA_LIMIT)), (1, 1, "mine")]);
        target.run(&["topic", "trim", name, "--before", "4", "--partition", "1", "--yes"]).ok();
        let described = target.run(&["group", "describe", name, "--json"]).ok().object();
        assert_eq!((&described["lag"], &described["done_above"]), (&json!(8 + 6), &json!(6)));
        let text = target.run(&["group", "describe", name]).ok().stdout;
        assert!(text.contains("6 done above") && text.contains("3 expired unread"), "{text}");
        let plan = target.run(&["group", "reset", name, "--shift", "0", "--dry-run"]).ok();
        assert!(plan.stdout.contains("forgets 6 done above"), "{}", plan.stdout);
    });
}

/// Ends a thread when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_group_that_keeps_up_is_never_seen_beyond_the_end() {
    on_every_cluster(|target| {
        target.create(1);
        let (name, enough) = (target.name.as_str(), AtomicBool::new(false));
        target.commit(name, &[(0, 0, "")]);
        let reroute = format!("{0}={1}", target.brokers, detour(&target.brokers, DELAY));
        std::thread::scope(|scope| {
            scope.spawn(|| target.send_and_commit(name, &enough));
            // A thread that nobody stops would be waited for, also by a test that has failed.
            let _stop = Stop(&enough);
            let mut seen = Vec::new();
            for _ in 0..5 {
                let describe = ["group", "describe", name, "--json", "--reroute", &reroute];
                let described = target.run(&describe).ok().object();
                let partition = &described["partitions"][0];
                let number = |key: &str| partition[key].as_i64().expect("a number");
                seen.push((number("committed"), number("end")));
            }
            assert!(seen.iter().all(|(committed, end)| committed <= end), "{seen:?}");
            assert!(seen[0].0 < seen[4].0, "it went on meanwhile: {seen:?}");
        });
    });
}

#[test]
fn a_group_is_set_to_places_times_and_shifts() {
    on_every_cluster(|target| {
        target.create(2);
        target.send(2, 10);
        let name = target.name.as_str();
        target.commit(name, &[(0, 5, "")]);
        let reset = |goal: &[&str]| {
            target.run(&[&["group", "reset", name], goal, &["--yes"]].concat()).ok();
            target.committed(name)
        };
        assert_eq!(reset(&["--to", "latest"]), [(0, 10), (1, 10)], "all partitions of its topics");
        assert_eq!(reset(&["--shift", "-3", "--topic", &format!("{name}:1")]), [(0, 10), (1, 7)]);
        assert_eq!(reset(&["--shift", "-20"]), [(0, 0), (1, 0)], "not before the start");
        assert_eq!(reset(&["--to", "1970-01-01T00:00:06.500Z"]), [(0, 6), (1, 6)]);
        assert_eq!(reset(&["--to", "-2"]), [(0, 8), (1, 8)]);
        assert_eq!(reset(&["--to", "-15m"]), [(0, 10), (1, 10)], "nothing is so young");
        assert_eq!(reset(&["--to", "+1"]), [(0, 1), (1, 1)]);
        assert_eq!(reset(&["--to", "99"]), [(0, 10), (1, 10)], "not after the end");
        assert_eq!(reset(&["--to", "earliest"]), [(0, 0), (1, 0)]);
    });
}

#[test]
fn a_plan_is_shown_before_it_is_made() {
    on_every_cluster(|target| {
        target.create(1);
        target.send(1, 10);
        let name = target.name.as_str();
        target.commit(name, &[(0, 5, "")]);
        let dry = target.run(&["group", "reset", name, "--to", "2", "--dry-run"]).ok();
        let row = [name, "0", "5", "2", "-3", "10"];
        assert_eq!(
            dry.rows(),
            [vec!["TOPIC", "PARTITION", "CURRENT", "NEW", "CHANGE", "END"], row.to_vec()]
        );
        let refused = target.run(&["group", "reset", name, "--to", "2"]);
        assert_eq!(refused.rows()[1], row);
        assert!(refused.failed(2).contains("--yes"));
        let refused = target.run(&["group", "reset", name, "--to", "2", "--json"]);
        assert_eq!(refused.object()["applied"], false);
        assert_eq!(target.committed(name), [(0, 5)]);
        let done =
            target.run(&["group", "reset", name, "--to", "2", "--json", "--yes"]).ok().object();
        let partition = json!({"topic": name, "partition": 0, "current": 5, "new": 2, "start": 0, "end": 10,
            "wanted": 2, "changes": true});
        assert_eq!(done, json!({"group": name, "applied": true, "partitions": [partition]}));
        assert_eq!(target.committed(name), [(0, 2)]);
        let same = target.run(&["group", "reset", name, "--to", "2"]).ok();
        assert!(same.stderr.contains("nothing to change"), "{}", same.stderr);
    });
}

#[test]
fn a_group_goes_where_a_file_or_another_group_is() {
    on_every_cluster(|target| {
        target.create(3);
        target.send(3, 10);
        let name = target.name.as_str();
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(file, "# saved\n{name} 0 4\n{name},1,11\n").expect("written");
        let path = file.path().to_str().expect("UTF-8").to_owned();
        let path = path.as_str();
        let plan = target.run(&["group", "reset", name, "--to-file", path, "--yes"]).ok();
        assert!(plan.stdout.contains("11 is after the end"), "{}", plan.stdout);
        assert_eq!(target.committed(name), [(0, 4), (1, 10)]);
        let saved = target.run(&["group", "describe", name, "--offsets"]).ok();
        assert_eq!(saved.stdout, format!("{name} 0 4\n{name} 1 10\n"), "what --to-file takes");
        let other = format!("{name}-other");
        target.run(&["group", "reset", &other, "--to-group", name, "--yes"]).ok();
        assert_eq!(target.committed(&other), [(0, 4), (1, 10)]);
        let said =
            target.run(&["group", "reset", name, "--to-group", "admin-nobody", "--yes"]).failed(3);
        assert!(said.contains("there is no group admin-nobody"), "{said}");

        write!(file, "{name} 0 5\n{name} x 5\n").expect("written");
        let said = target.run(&["group", "reset", name, "--to-file", path, "--yes"]).failed(2);
        assert!(
            said.contains("line 4") && said.contains("line 5") && said.contains(path),
            "{said}"
        );
        let said = target.run(&["group", "reset", name, "--to-file", "/no/such/file"]).failed(3);
        assert!(said.contains("/no/such/file"), "{said}");
    });
}

#[test]
fn a_group_that_has_nothing_needs_a_topic() {
    on_every_cluster(|target| {
        target.create(1);
        let name = target.name.as_str();
        let said = target.run(&["group", "reset", name, "--to", "earliest", "--yes"]).failed(3);
        assert!(said.contains("there is no group"), "{said}");
        target.run(&["group", "reset", name, "--to", "earliest", "--topic", name, "--yes"]).ok();
        assert_eq!(target.committed(name), [(0, 0)]);
        target
            .run(&["group", "reset", name, "--to", "0", "--topic", &format!("{name}:1")])
            .failed(2);
        target
            .run(&["group", "reset", name, "--to", "0", "--topic", "admin-never-there"])
            .failed(3);
        target.run(&["group", "reset", name]).failed(2);
        target.run(&["group", "reset", name, "--to", "0", "--shift", "1"]).failed(2);
    });
}

#[test]
fn a_group_or_its_offsets_of_a_topic_are_deleted() {
    on_every_cluster(|target| {
        target.create(3);
        let name = target.name.as_str();
        target.commit(name, &[(0, 0, ""), (1, 0, ""), (2, 0, "")]);
        let scope = format!("{name}:0,2");
        let dry = target.run(&["group", "delete", name, "--topic", &scope, "--dry-run"]).ok();
        assert_eq!(dry.rows()[1].last(), Some(&"2"));
        target.run(&["group", "delete", name, "--topic", &scope, "--yes"]).ok();
        assert_eq!(target.committed(name), [(1, 0)]);
        assert!(target.run(&["group", "delete", name]).failed(2).contains("no terminal"));
        let deleted = target.run(&["group", "delete", name, "--yes", "--json"]).ok().object();
        assert_eq!((&deleted["deleted"], &deleted["kind"]), (&json!(true), &json!("classic")));
        assert_eq!(target.committed(name), []);
        let said = target.run(&["group", "delete", name, "--yes"]).failed(3);
        assert!(said.contains("there is no group"), "{said}");
    });
}
