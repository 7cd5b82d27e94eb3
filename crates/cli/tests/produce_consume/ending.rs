//! How the commands end when others end, or there is nothing to talk to.

use std::io::{BufRead, BufReader};

use crate::target::{Target, ended, name, on_every_cluster, signal};

#[test]
fn a_reader_that_has_enough_is_no_error() {
    on_every_cluster(1, |target| {
        let lines = "a value of some length\n".repeat(50_000);
        target.produce(&["-q"], lines.as_bytes()).ok();
        let mut child =
            target.command("consume", &target.topic, &["--json"]).spawn().expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut String::new()).expect("text");
        drop(stdout);
        let ran = ended(child).ok();
        assert_eq!(ran.stderr, "");
    });
}

#[test]
fn a_reader_that_leaves_is_noticed_although_no_record_comes() {
    on_every_cluster(1, |target| {
        target.produce(&["-q"], b"only\n").ok();
        for group in [vec![], vec!["--group".to_owned(), name("group")]] {
            let group: Vec<_> = group.iter().map(String::as_str).collect();
            let mut child =
                target.command("consume", &target.topic, &group).spawn().expect("it runs");
            let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
            stdout.read_line(&mut String::new()).expect("text");
            drop(stdout);
            assert_eq!(ended(child).ok().stderr, "");
        }
    });
}

#[test]
fn arguments_that_would_do_nothing_are_refused() {
    let nowhere = Target { brokers: "127.0.0.1:1".to_owned(), topic: "t".to_owned() };
    for arguments in [
        ["--json", "-Z"],
        ["--json", "-K:"],
        ["--format=csv", "-D;"],
        ["--format=raw", "--separator=;"],
    ] {
        nowhere.produce(&arguments, b"x").failed(2);
    }
    for arguments in
        [["--json", "-Z"], ["--format=length", "-D;"], ["--json", "--format=raw"], ["-n", "0"]]
    {
        nowhere.consume(&arguments).failed(2);
    }
}

#[test]
fn consuming_goes_on_until_it_is_interrupted() {
    on_every_cluster(1, |target| {
        let mut child = target.command("consume", &target.topic, &[]).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        for value in ["first", "second"] {
            target.produce(&["-q"], value.as_bytes()).ok();
            assert_eq!(lines.next().expect("a line").expect("text"), value);
        }
        signal(&child, "-TERM");
        assert!(ended(child).failed(130).contains("interrupted after 2 records"));
    });
}

#[test]
fn what_is_not_there_is_named() {
    on_every_cluster(1, |target| {
        let missing = name("missing");
        for ran in [target.produce_to(&missing, &[], b"x"), target.consume_from(&missing, &["-e"])]
        {
            let said = ran.failed(3);
            assert!(said.contains(&missing) && said.contains("ONR0018"), "{said}");
        }
    });
    // Port 1 of the loopback interface: nobody listens there.
    let nowhere = Target { brokers: "127.0.0.1:1".to_owned(), topic: "t".to_owned() };
    for ran in [nowhere.produce(&[], b"x"), nowhere.consume(&[])] {
        assert!(ran.failed(3).contains("127.0.0.1:1"));
    }
}
