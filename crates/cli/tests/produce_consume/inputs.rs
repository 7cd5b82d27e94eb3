//! What `onrush produce` takes, and what it says of what it does not take.

use std::io::Write;

use serde_json::{Value, json};

use crate::target::{Target, ended, name, on_every_cluster, signal};

fn envelopes(target: &Target) -> Vec<Value> {
    let lines = target.consume(&["--json", "-o", ":end"]).ok();
    lines.text().lines().map(|line| serde_json::from_str(line).expect("an envelope")).collect()
}

#[test]
fn lines_are_values_and_null_is_told_from_empty() {
    on_every_cluster(1, |target| {
        target.produce(&["-k", "key", "-H", "a=1", "-H", "b"], b"one\n\nlast").ok();
        target.produce(&["-K", "\\t", "-Z"], b"k\tv\nk\t\nbare\n").ok();
        let got: Vec<_> = envelopes(target)
            .into_iter()
            .map(|e| json!([e["key"], e["value"], e["headers"].as_array().map(Vec::len)]))
            .collect();
        let expected = json!([
            ["key", "one", 2],
            ["key", "", 2],
            ["key", "last", 2],
            ["k", "v", 0],
            ["k", null, 0],
            [null, "bare", 0]
        ]);
        assert_eq!(Value::from(got), expected);
        let headers = json!([{"key": "a", "value": "1"}, {"key": "b", "value": null}]);
        assert_eq!(envelopes(target)[0]["headers"], headers);
        let raw = target.consume(&["-o", ":end", "-K", "=", "-Z", "-D", ";"]).ok();
        assert_eq!(raw.text(), "key=one;key=;key=last;k=v;k=NULL;NULL=bare;");
    });
}

#[test]
fn a_table_becomes_objects_and_files_are_read_in_turn() {
    on_every_cluster(2, |target| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("UTF-8").to_owned()
        };
        let first = file("a.csv", "tail,delay\nN1,5\n\"N,2\",\"6\"\"\"\n");
        let second = file("b.csv", "delay,tail\r\n7,N1");
        let arguments = ["--format", "csv", "--key", "tail", "--partition", "1", &first, &second];
        target.produce(&arguments, b"").ok();
        let got: Vec<_> = envelopes(target)
            .into_iter()
            .map(|e| json!([e["partition"], e["key"], e["value"]]))
            .collect();
        let expected = json!([
            [1, "N1", "{\"tail\":\"N1\",\"delay\":\"5\"}"],
            [1, "N,2", "{\"tail\":\"N,2\",\"delay\":\"6\\\"\"}"],
            [1, "N1", "{\"delay\":\"7\",\"tail\":\"N1\"}"]
        ]);
        assert_eq!(Value::from(got), expected);
    });
}

#[test]
fn a_fault_is_named_with_file_and_line_and_what_went_before_it_is_sent() {
    on_every_cluster(1, |target| {
        let said = target
            .produce(&["--json"], b"{\"value\":\"1\"}\n{\"value\":\"2\"}\n{\"value\":3}\n")
            .failed(1);
        assert!(said.contains("stdin, line 3: invalid type: integer `3`"), "{said}");
        assert!(said.contains("2 records sent, 2 acknowledged"), "{said}");
        assert!(said.contains("ONR0005"), "{said}");
        assert_eq!(target.consume(&["-o", ":end"]).ok().text(), "1\n2\n");
        let said = target.produce(&["--format", "csv"], b"a,b\n1,2\n3\n").failed(1);
        assert!(said.contains("line 3: 1 fields, but the header row names 2"), "{said}");
        let said = target.produce(&["--format", "csv", "--key", "c"], b"a,b\n").failed(1);
        assert!(said.contains("no column \"c\"; the header row has a, b"), "{said}");
        let said = target.produce(&["--format", "length"], b"\0\0\0\x09k").failed(1);
        assert!(said.contains("byte 0: the input ends inside of a record"), "{said}");
        let large = vec![b'x'; 3_000];
        let said = target.produce(&["--max-message-bytes", "2000"], &large).failed(1);
        assert!(said.contains("line 1: a record of more than 2000 bytes"), "{said}");
        assert!(said.contains("ONR0026"), "{said}");
        let said = target.produce(&["--partition", "7"], b"x").failed(1);
        assert!(said.contains("there is no partition 7, the topic has 1"), "{said}");
        let said = target.produce(&["/nowhere/to/be/found"], b"").failed(3);
        assert!(said.contains("/nowhere/to/be/found") && said.contains("ONR0004"), "{said}");
    });
}

#[test]
fn what_the_topic_refuses_is_counted_as_not_acknowledged() {
    on_every_cluster(1, |target| {
        let topic = name("small");
        let create = [topic.as_str(), "--config", "max.message.bytes=2000"];
        ended(target.command("topic", "create", &create).spawn().expect("it runs")).ok();
        let lines = format!("{}\n", "x".repeat(500)).repeat(8);
        let said = target.produce_to(&topic, &[], lines.as_bytes()).failed(3);
        assert!(said.contains("8 records were not acknowledged"), "{said}");
        assert!(said.contains("8 records sent, 0 acknowledged"), "{said}");
        assert!(said.contains("--max-message-bytes") && said.contains("ONR0026"), "{said}");
        target.produce_to(&topic, &["--max-message-bytes", "2000"], lines.as_bytes()).ok();
        assert_eq!(target.consume_from(&topic, &["-e"]).ok().text(), lines);
    });
}

#[test]
fn records_go_out_while_the_input_is_open_and_ctrl_c_counts_them() {
    on_every_cluster(1, |target| {
        let mut child = target.command("produce", &target.topic, &[]).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"one\ntwo\nhalf").expect("it reads");
        // Ends only when the two are there, though the input has not ended.
        assert_eq!(target.consume(&["-n", "2"]).ok().text(), "one\ntwo\n");
        signal(&child, "-INT");
        let said = ended(child).failed(130);
        assert!(said.contains("2 records sent, 2 acknowledged"), "{said}");
        drop(stdin);
        assert_eq!(target.consume(&["-o", ":end"]).ok().text(), "one\ntwo\n");
    });
}

#[test]
fn a_rate_is_kept() {
    on_every_cluster(1, |target| {
        let lines = "x\n".repeat(100);
        target.produce(&["--rate", "200"], lines.as_bytes()).ok();
        let stamps: Vec<i64> =
            envelopes(target).iter().map(|e| e["timestamp"].as_i64().expect("a number")).collect();
        let took = stamps[99] - stamps[0];
        assert!((400..5_000).contains(&took), "100 records at 200/s took {took} ms");
    });
}
