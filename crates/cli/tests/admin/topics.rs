//! `onrush topic`.

use serde_json::{Value, json};

use crate::target::on_every_cluster;

#[test]
fn a_topic_is_created_listed_described_and_deleted() {
    on_every_cluster(|target| {
        let name = target.name.as_str();
        let config = "max.message.bytes=123456";
        let created =
            target.run(&["topic", "create", name, "-p", "3", "-r", "1", "--config", config]);
        assert_eq!(created.ok().rows()[1], [name, "3", "1", "created"]);
        assert!(target.run(&["topic", "list"]).ok().rows().contains(&vec![name, "3", "1"]));
        let listed = target.run(&["topic", "list", "--json"]).ok().objects();
        let listed = listed.iter().find(|topic| topic["topic"] == name).expect("listed");
        assert_eq!((&listed["partitions"], &listed["internal"]), (&json!(3), &json!(false)));

        target.send(2, 5);
        let described = target.run(&["topic", "describe", name, "--json"]).ok().object();
        assert_eq!(described["topic"], name);
        assert_eq!(described["id"], listed["id"]);
        let ends: Vec<_> = partitions(&described).map(|p| (&p["start"], &p["end"])).collect();
        assert_eq!(ends, [(&json!(0), &json!(5)), (&json!(0), &json!(5)), (&json!(0), &json!(0))]);
        let set = config_of(&described, "max.message.bytes");
        assert_eq!((&set["value"], &set["default"]), (&json!("123456"), &json!(false)));
        let text = target.run(&["topic", "describe", name]).ok().stdout;
        assert!(text.contains("10 in all") && text.contains("more settings have their"), "{text}");
        assert!(!text.contains("retention.bytes"), "a default: {text}");
        let text = target.run(&["topic", "describe", name, "--all"]).ok().stdout;
        let marked = |line: &str| line.starts_with("*  max.message.bytes");
        assert!(text.lines().any(marked) && text.contains("\n   retention.bytes"), "{text}");

        let deleted = target.run(&["topic", "delete", name, "--yes"]).ok();
        assert_eq!(deleted.rows()[1], [name, "3", "10"]);
        let said = target.run(&["topic", "describe", name]).failed(3);
        assert!(said.contains("there is no topic") && said.contains("onrush topic list"), "{said}");
    });
}

fn partitions(topic: &Value) -> impl Iterator<Item = &Value> {
    topic["partitions"].as_array().expect("an array").iter()
}

fn config_of<'a>(topic: &'a Value, name: &str) -> &'a Value {
    let configs = topic["configs"].as_array().expect("an array");
    configs.iter().find(|config| config["name"] == name).expect(name)
}

#[test]
fn one_topic_that_cannot_be_created_does_not_hide_the_others() {
    on_every_cluster(|target| {
        target.create(1);
        let (name, other) = (target.name.as_str(), format!("{}-other", target.name));
        let ran = target.run(&["topic", "create", name, &other, "-p", "1", "--json"]);
        assert_eq!(ran.object()["topic"], other.as_str());
        let said = ran.failed(3);
        assert!(said.contains(name) && said.contains("TOPIC_ALREADY_EXISTS"), "{said}");
        assert!(said.contains("--if-not-exists"), "{said}");
        let again =
            target.run(&["topic", "create", name, &other, "--if-not-exists", "--json"]).ok();
        assert!(again.objects().iter().all(|topic| topic["created"] == false));
        target.run(&["topic", "delete", name, &other, "--yes"]).ok();
    });
}

#[test]
fn a_dry_run_creates_nothing() {
    on_every_cluster(|target| {
        let name = target.name.as_str();
        let plan = target.run(&["topic", "create", name, "-p", "2", "--dry-run"]).ok();
        assert_eq!(plan.rows()[1], [name, "2", "default", "would", "be", "created"]);
        target.run(&["topic", "describe", name]).failed(3);
        let said = target.run(&["topic", "create", name, "-c", "no.such=1", "--dry-run"]).failed(3);
        assert!(said.contains("no.such"), "{said}");
        target.run(&["topic", "create", name, "-c", "no-value"]).failed(2);
    });
}

#[test]
fn what_is_altered_is_shown_first() {
    on_every_cluster(|target| {
        target.create(2);
        let name = target.name.as_str();
        let alter = |more: &[&str]| {
            let change = ["topic", "alter", name, "-p", "3", "--config", "max.message.bytes=99999"];
            target.run(&[&change[..], more].concat())
        };
        let partitions_now = || {
            let described = target.run(&["topic", "describe", name, "--json"]).ok().object();
            partitions(&described).count()
        };
        let dry = alter(&["--dry-run"]).ok();
        assert_eq!(dry.rows()[1], [name, "partitions", "2", "3"]);
        assert_eq!((dry.rows()[2][1], dry.rows()[2][3]), ("max.message.bytes", "99999"));
        assert!(dry.stderr.contains("may go to another partition"), "{}", dry.stderr);
        let refused = alter(&[]);
        assert_eq!(refused.stdout, dry.stdout, "what would be is shown all the same");
        let said = refused.failed(2);
        assert!(said.contains("--yes") && said.contains("--dry-run"), "{said}");
        assert_eq!(partitions_now(), 2);

        let done = alter(&["--yes", "--json"]).ok().object();
        assert_eq!((&done["topic"], &done["applied"]), (&json!(name), &json!(true)));
        assert_eq!(partitions_now(), 3);
        assert!(alter(&["--dry-run"]).ok().stderr.contains("nothing to change"));
        let unset = ["topic", "alter", name, "--unset", "max.message.bytes", "--yes"];
        target.run(&unset).ok();
        assert!(target.run(&unset).ok().stderr.contains("nothing to change"));
    });
}

#[test]
fn alterations_that_cannot_be_are_refused_before_anybody_is_asked() {
    on_every_cluster(|target| {
        target.create(2);
        let name = target.name.as_str();
        let said = target.run(&["topic", "alter", name, "-p", "1", "--yes"]).failed(2);
        assert!(said.contains("has 2 partitions"), "{said}");
        let said = target.run(&["topic", "alter", name, "--config", "retention.ms=x"]).failed(3);
        assert!(said.contains("retention.ms") && said.contains("--all"), "{said}");
        let said =
            target.run(&["topic", "alter", name, "--unset", "retention.sm", "--yes"]).failed(2);
        assert!(said.contains("retention.sm") && said.contains("--all"), "{said}");
        let both =
            ["topic", "alter", name, "--config", "retention.ms=1", "--unset", "retention.ms"];
        target.run(&both).failed(2);
        target.run(&["topic", "alter", name]).failed(2);
    });
}

#[test]
fn a_topic_loses_its_oldest_records() {
    on_every_cluster(|target| {
        target.create(2);
        target.send(2, 10);
        let name = target.name.as_str();
        let trim =
            |more: &[&str]| target.run(&[&["topic", "trim", name, "--before"], more].concat());
        let said = trim(&["soon", "--dry-run"]).failed(2);
        assert!(said.contains("--before") && said.contains("@TIME"), "{said}");
        let dry = trim(&["1970-01-01T00:00:04.500Z", "--dry-run"]).ok();
        assert_eq!(dry.rows()[1], [name, "0", "0", "4", "10", "4"]);
        trim(&["4"]).failed(2);
        assert_eq!(target.start(0), 0);
        trim(&["1970-01-01T00:00:04.500Z", "--partition", "0", "--yes"]).ok();
        assert_eq!((target.start(0), target.start(1)), (4, 0));
        let done = trim(&["-3", "--yes", "--json"]).ok().objects();
        assert!(done.iter().all(|cut| cut["new"] == 7 && cut["applied"] == true), "{done:?}");
        assert_eq!((target.start(0), target.start(1)), (7, 7));
        assert!(trim(&["5", "--yes"]).ok().stderr.contains("nothing to delete"));
        trim(&["latest", "--yes"]).ok();
        assert_eq!((target.start(0), target.start(1)), (10, 10));
        trim(&["latest", "--partition", "7", "--yes"]).failed(2);
    });
}

#[test]
fn deletion_without_a_terminal_needs_a_yes() {
    on_every_cluster(|target| {
        target.create(1);
        let name = target.name.as_str();
        let refused = target.run(&["topic", "delete", name]);
        assert_eq!(refused.rows()[1], [name, "1", "0"]);
        assert!(refused.failed(2).contains("no terminal"));
        let refused = target.run(&["topic", "delete", name, "--json"]);
        assert_eq!(refused.object()["deleted"], false);
        assert_eq!(target.run(&["topic", "delete", name, "--dry-run"]).ok().rows()[1][0], name);
        target.run(&["topic", "describe", name]).ok();
        let deleted = target.run(&["topic", "delete", name, "--yes", "--json"]).ok().object();
        assert_eq!(deleted, json!({"topic": name, "partitions": 1, "offsets": 0, "deleted": true}));
        target.run(&["topic", "delete", name, "--yes"]).failed(3);
    });
}
