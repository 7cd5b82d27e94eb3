//! `--group`: what was written is committed, nothing else.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use onrush::testing::lag;
use tempfile::NamedTempFile;

use crate::target::{ended, name, on_every_cluster, signal};

#[test]
fn a_group_goes_on_where_it_was() {
    on_every_cluster(3, |target| {
        let lines: String = (0..1_000).map(|n| format!("k{n}:{n}\n")).collect();
        target.produce(&["-K", ":"], lines.as_bytes()).ok();
        let group = name("group");
        let consume = |arguments: &[&str]| {
            let all = [&["--group", &group], arguments].concat();
            let mut lines: Vec<u32> = target
                .consume(&all)
                .ok()
                .text()
                .lines()
                .map(|line| line.parse().expect("a number"))
                .collect();
            lines.sort_unstable();
            lines
        };
        let behind = || lag(&target.brokers, &group, &target.topic).expect("it answers");
        let mut got = consume(&["-n", "300"]);
        assert_eq!((got.len(), behind()), (300, 700));
        got.extend(consume(&["-n", "300"]));
        assert_eq!(behind(), 400);
        got.extend(consume(&["--exit-at-end"]));
        assert_eq!(behind(), 0);
        got.sort_unstable();
        assert_eq!(got, (0..1_000).collect::<Vec<_>>(), "each once");
        assert!(consume(&["-e"]).is_empty());
    });
}

#[test]
fn ctrl_c_commits_what_was_written() {
    on_every_cluster(2, |target| {
        target.produce(&[], b"a\nb\nc\n").ok();
        let group = name("group");
        let mut child = target
            .command("consume", &target.topic, &["--group", &group])
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut got: Vec<_> = lines.by_ref().take(3).map(|line| line.expect("text")).collect();
        got.sort_unstable();
        assert_eq!(got, ["a", "b", "c"]);
        signal(&child, "-INT");
        let said = ended(child).failed(130);
        assert!(said.contains("interrupted after 3 records"), "{said}");
        assert_eq!(lag(&target.brokers, &group, &target.topic).expect("it answers"), 0);
    });
}

#[test]
fn where_a_new_group_begins_can_be_said() {
    on_every_cluster(1, |target| {
        target.produce(&[], b"0\n1\n2\n3\n").ok();
        let group = name("group");
        let begin = ["--group", &group, "-e", "-o", "-1"];
        assert_eq!(target.consume(&begin).ok().text(), "3\n");
        target.produce(&[], b"4\n").ok();
        assert_eq!(target.consume(&begin).ok().text(), "4\n", "its offset goes before --offset");
        target.consume(&["--group", &group, "-o", ":end"]).failed(2);
        target.consume(&["--group", &group, "-p", "0"]).failed(2);
    });
}

#[test]
fn two_members_share_the_partitions() {
    on_every_cluster(4, |target| {
        let group = name("group");
        let member = || {
            let arguments = ["--group", &group, "-n", "1"];
            target.command("consume", &target.topic, &arguments).spawn().expect("it runs")
        };
        let (first, second) = (member(), member());
        // Each ends with its first record: with one in every partition, both get one, whoever has which.
        let lines: String =
            (0..4).map(|p| format!("{{\"partition\":{p},\"value\":\"{p}\"}}\n")).collect();
        target.produce(&["--json"], lines.as_bytes()).ok();
        let (first, second) = (ended(first).ok(), ended(second).ok());
        assert_ne!(first.text(), second.text());
        assert_eq!(lag(&target.brokers, &group, &target.topic).expect("it answers"), 2);
    });
}

#[test]
fn a_member_too_many_ends_when_the_group_is_at_the_end() {
    on_every_cluster(1, |target| {
        target.produce(&[], b"1\n2\n").ok();
        let group = name("group");
        let mut first = target
            .command("consume", &target.topic, &["--group", &group])
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(first.stdout.take().expect("piped")).lines();
        assert_eq!(lines.by_ref().take(2).filter_map(Result::ok).count(), 2);
        let spare = target.consume(&["--group", &group, "-e"]).ok();
        assert_eq!(spare.text(), "", "the first has the partition");
        assert_eq!(lag(&target.brokers, &group, &target.topic).expect("it answers"), 0);
        signal(&first, "-INT");
        ended(first).failed(130);
    });
}

/// What a command has written to its file so far.
fn written(file: &NamedTempFile) -> String {
    let mut text = String::new();
    file.reopen().expect("there").read_to_string(&mut text).expect("text");
    text
}

#[test]
fn partitions_change_hands_without_a_loss_or_a_repetition() {
    on_every_cluster(4, |target| {
        let group = name("group");
        let member = |file: &NamedTempFile| {
            let mut onrush = target.command("consume", &target.topic, &["--group", &group]);
            onrush.stdout(Stdio::from(file.reopen().expect("there"))).spawn().expect("it runs")
        };
        let mut next = 0;
        let mut produce = || {
            let lines: String = (next..next + 400).map(|n| format!("{n}:{n}\n")).collect();
            next += 400;
            target.produce(&["-q", "-K", ":"], lines.as_bytes()).ok();
            next
        };
        let files = [(); 2].map(|()| NamedTempFile::new().expect("a file"));
        let first = member(&files[0]);
        while written(&files[0]).is_empty() {
            produce();
        }
        let second = member(&files[1]);
        while written(&files[1]).is_empty() {
            produce();
        }
        produce();
        signal(&first, "-INT");
        ended(first).failed(130);
        let produced = produce();
        while lag(&target.brokers, &group, &target.topic).expect("it answers") > 0 {}
        signal(&second, "-INT");
        ended(second).failed(130);
        let texts = files.map(|file| written(&file));
        let mut got: Vec<u32> =
            texts.iter().flat_map(|text| text.lines()).map(|n| n.parse().expect("whole")).collect();
        got.sort_unstable();
        assert_eq!(got, (0..produced).collect::<Vec<_>>());
    });
}
