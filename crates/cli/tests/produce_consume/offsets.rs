//! `--offset`, partitions and filters.

use std::process::Stdio;

use crate::target::{ended, on_every_cluster};

/// Ten records in partition 0, a second apart, and two in partition 1.
fn numbered() -> String {
    let line = |partition: u8, n: i64| {
        let timestamp = 1_754_006_400_000 + 1_000 * n;
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        format!(
            "{{\"partition\":{partition},\"timestamp\":{timestamp},\"key\":\"k{n}\",\"value\":\"{partition}.{n}\",\
             \"headers\":[{{\"key\":\"kind\",\"value\":\"{kind}\"}}]}}\n"
        )
    };
    (0..10).map(|n| line(0, n)).chain((0..2).map(|n| line(1, n))).collect()
}

#[test]
fn ranges_end_where_they_say() {
    on_every_cluster(2, |target| {
        target.produce(&["--json"], numbered().as_bytes()).ok();
        let cases = [
            (":end", "0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0 1.1"),
            ("8:end", "0.8 0.9"),
            (":1", "0.0 1.0"),
            ("3:5", "0.3 0.4"),
            ("+9:", "0.9"),
            ("-1:end", "0.9 1.1"),
            ("-1", "0.9 1.1"),
            ("+7:-1", "0.7 0.8"),
            ("end", ""),
            ("50:100", ""),
            ("5:500", "0.5 0.6 0.7 0.8 0.9"),
            ("@1754006407000", "0.7 0.8 0.9"),
            ("@1754006401:1754006403000", "0.1 0.2 1.1"),
            ("@2025-08-01T00:00:08Z:end", "0.8 0.9"),
            ("@2025-08-01T02:00:07.5+02:00:1s", "0.8"),
            ("@:2025-08-01T00:00:00.001Z", "0.0 1.0"),
            ("@-1h", ""),
            ("@-1h:now", ""),
        ];
        for (offset, expected) in cases {
            let ran = target.consume(&["--exit-at-end", "-o", offset]).ok();
            assert_eq!(ran.sorted().join(" "), expected, "{offset}");
        }
        let ran = target.consume(&["-e", "-p", "1,0", "-p", "1", "-o", "-2"]).ok();
        assert_eq!(ran.sorted(), ["0.8", "0.9", "1.0", "1.1"]);
        let said = target.consume(&["-e", "-p", "2"]).failed(2);
        assert!(said.contains("has 2 partitions, there is no partition 2"), "{said}");
        assert!(target.consume(&["-o", "yesterday"]).failed(2).contains("@TIME"));
    });
}

#[test]
fn filters_and_counts_choose_records() {
    on_every_cluster(2, |target| {
        target.produce(&["--json"], numbered().as_bytes()).ok();
        let chosen = |arguments: &[&str]| {
            let all = [&["-e", "-p", "0"], arguments].concat();
            target.consume(&all).ok().text().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(chosen(&["--key", "k3", "--key", "~^k[89]$"]), "0.3 0.8 0.9");
        assert_eq!(chosen(&["--header", "kind=odd"]), "0.1 0.3 0.5 0.7 0.9");
        assert_eq!(chosen(&["--header", "kind=~^e", "--key", "~[4-7]"]), "0.4 0.6");
        assert_eq!(chosen(&["--header", "other"]), "");
        assert_eq!(chosen(&["-n", "3"]), "0.0 0.1 0.2");
        assert_eq!(chosen(&["-n", "2", "--header", "kind=odd", "-o", "4"]), "0.5 0.7");
    });
}

#[test]
fn an_offset_that_is_yet_to_come_is_waited_for() {
    on_every_cluster(1, |target| {
        target.produce(&[], b"0\n1\n").ok();
        let mut consume = target.command("consume", &target.topic, &["-o", "4", "-n", "1"]);
        let child = consume.stderr(Stdio::inherit()).spawn().expect("it runs");
        target.produce(&[], b"2\n3\n4\n5\n").ok();
        assert_eq!(ended(child).ok().text(), "4\n");
    });
}

#[test]
fn several_topics_are_read_together() {
    on_every_cluster(1, |target| {
        let other = target.create(2);
        target.produce(&[], b"here\n").ok();
        target.produce_to(&other, &[], b"there\n").ok();
        assert_eq!(target.consume(&[&other, "-e"]).ok().sorted(), ["here", "there"]);
    });
}
