//! What `consume --json` writes, `produce --json` takes back: key, value, headers, partition and timestamp.

use std::process::Stdio;

use serde_json::Value;

use crate::target::{Target, ended, name, on_every_cluster};

/// Envelopes of everything that is hard: bytes that are no text, null apart from empty, headers that repeat, escapes.
const HARD: &str = concat!(
    r#"{"partition":0,"timestamp":1754006400000,"key":"N1","value":"plain","headers":[]}"#,
    "\n",
    r#"{"partition":1,"timestamp":1754006400001,"key":null,"value":null,"headers":[{"key":"b","value":""},{"key":"a","value":null},{"key":"b","value":{"base64":"/wA="}}]}"#,
    "\n",
    r#"{"partition":2,"timestamp":1754006400002,"key":"","value":"","headers":[{"key":"","value":"ü"}]}"#,
    "\n",
    r#"{"partition":2,"timestamp":1,"key":{"base64":"/////w=="},"value":{"base64":"AAECA//+"},"headers":[]}"#,
    "\n",
    r#"{"partition":2,"timestamp":1754006400002,"key":"a\"b\\c\n\u0000","value":"{\"base64\":\"AA==\"}","headers":[]}"#,
    "\n",
);

const ALL: [&str; 3] = ["--json", "--offset", ":end"];

/// What identifies a record in each line, but for the topic: that is another one in a copy.
fn records(lines: &str) -> Vec<Value> {
    let mut records: Vec<Value> = lines
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("an envelope");
            record.as_object_mut().expect("an object").remove("topic").expect("a topic");
            record
        })
        .collect();
    records.sort_by_key(|record| (record["partition"].as_i64(), record["offset"].as_i64()));
    records
}

#[test]
fn a_copy_is_the_same_byte_for_byte() {
    on_every_cluster(3, |target| {
        let said = target.produce(&["--json"], HARD.as_bytes()).ok().stderr;
        assert_eq!(said.trim(), "5 records sent, 5 acknowledged");
        let first = target.consume(&ALL).ok();
        let copy = target.create(3);
        target.produce_to(&copy, &["--json", "--compression", "zstd"], &first.stdout).ok();
        let second = target.consume_from(&copy, &ALL).ok();
        assert_eq!(records(first.text()), records(second.text()));
        assert!(second.text().contains(&copy));
        // And it is what was sent, not only twice the same.
        for (sent, got) in HARD.lines().zip(records(first.text())) {
            let sent: Value = serde_json::from_str(sent).expect("an envelope");
            for field in ["partition", "timestamp", "key", "value", "headers"] {
                assert_eq!(sent[field], got[field], "{field} of {sent}");
            }
            assert_eq!(got["timestamp_type"], "create");
        }
    });
}

#[test]
fn a_pipe_copies_a_topic_of_many_batches() {
    on_every_cluster(4, |target| {
        let lines: String = (0..50_000).map(|n| format!("{n}:value {n}\n")).collect();
        target.produce(&["-K", ":", "-q", "-z", "lz4"], lines.as_bytes()).ok();
        let copy = target.create(4);
        let mut consume = target.command("consume", &target.topic, &ALL).spawn().expect("it runs");
        let mut produce = target.command("produce", &copy, &["--json"]);
        let stdout = consume.stdout.take().expect("piped");
        let produced = ended(produce.stdin(Stdio::from(stdout)).spawn().expect("it runs")).ok();
        ended(consume).ok();
        assert_eq!(produced.stderr.trim(), "50000 records sent, 50000 acknowledged");
        let all = |topic: &str| target.consume_from(topic, &ALL).ok();
        let (first, second) = (all(&target.topic), all(&copy));
        assert!(records(first.text()) == records(second.text()), "the copy differs");
        assert_eq!(target.consume_from(&copy, &["-K", ":", "-o", ":end"]).ok().sorted(), {
            let mut sent: Vec<_> = lines.lines().collect();
            sent.sort_unstable();
            sent
        });
    });
}

#[test]
fn what_is_to_be_another_in_the_copy_is() {
    on_every_cluster(3, |target| {
        target.produce(&["--json"], HARD.as_bytes()).ok();
        let envelopes = target.consume(&ALL).ok().stdout;
        let narrow = target.create(1);
        let said = target.produce_to(&narrow, &["--json"], &envelopes).failed(1);
        assert!(
            said.contains("there is no partition") && said.contains("--partition auto"),
            "{said}"
        );
        let more =
            ["--json", "--partition", "auto", "--now", "--header", "copied=yes", "--key", "k"];
        let narrow = target.create(1);
        target.produce_to(&narrow, &more, &envelopes).ok();
        let copy = records(target.consume_from(&narrow, &ALL).ok().text());
        assert_eq!(copy.len(), 5);
        for record in copy {
            assert_eq!(record["key"], "k");
            assert!(record["timestamp"].as_i64() > Some(1_754_006_400_002), "{record}");
            let headers = record["headers"].as_array().expect("a list");
            assert_eq!(headers.last().expect("one")["key"], "copied");
        }
    });
}

#[test]
fn the_brokers_time_is_told_from_the_senders() {
    on_every_cluster(1, |target| {
        let topic = name("append-time");
        let config = ["--config", "message.timestamp.type=LogAppendTime"];
        ended(
            target
                .command("topic", "create", &[&[topic.as_str()], &config[..]].concat())
                .spawn()
                .expect("it runs"),
        )
        .ok();
        target.produce_to(&topic, &["--json"], b"{\"timestamp\":1,\"value\":\"x\"}").ok();
        let record = &records(target.consume_from(&topic, &ALL).ok().text())[0];
        assert_eq!(record["timestamp_type"], "append");
        assert!(record["timestamp"].as_i64() > Some(1_754_006_400_000), "{record}");
    });
}

#[test]
fn lengths_keep_keys_and_values_whatever_their_bytes() {
    on_every_cluster(1, |target| {
        let input =
            b"\0\0\0\x01k\0\0\0\x03\n\0\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\xff\xff\xff\xff";
        target.produce(&["--format", "length", "-z", "snappy"], input).ok();
        let output = target.consume(&["--format", "length", "-o", ":end"]).ok().stdout;
        assert_eq!(output, input);
    });
}

#[test]
fn every_codec_is_written_and_read() {
    on_every_cluster(1, |target: &Target| {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            target.produce(&["--compression", codec], codec.repeat(1_000).as_bytes()).ok();
        }
        let values: Vec<_> =
            ["none", "gzip", "snappy", "lz4", "zstd"].map(|codec| codec.repeat(1_000)).to_vec();
        assert_eq!(target.consume(&["-o", ":end"]).ok().text().lines().collect::<Vec<_>>(), values);
    });
}
