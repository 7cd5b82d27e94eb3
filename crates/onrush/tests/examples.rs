//! The examples run as a user would run them: `produce` feeds `consume-emit`, whose output `consume` prints.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use onrush::testing::TestBroker;

fn example(name: &str) -> Command {
    // Test binaries are in target/PROFILE/deps, examples beside them in target/PROFILE/examples.
    let mut path: PathBuf = std::env::current_exe().expect("this test is a file");
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

fn interrupt(mut child: Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
    assert!(child.wait().expect("it ends").success(), "Ctrl-C drains, and is no error");
}

/// `cargo test --test examples` alone does not build them.
fn build_examples() {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "onrush", "--examples"])
        .status();
    assert!(built.expect("cargo is there").success());
}

#[test]
fn produce_consume_emit_and_consume() {
    build_examples();
    let broker = TestBroker::start().expect("a broker on a free port");
    broker.create_topic("payments", 2).expect("created");
    broker.create_topic("payment-sizes", 2).expect("created");

    let mut produce = example("produce");
    produce.args([broker.address(), "payments"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut produce = produce.spawn().expect("the example is built");
    let mut lines = produce.stdin.take().expect("piped");
    lines.write_all(b"alice 10\nbob 2000\n").expect("it reads");
    drop(lines);
    let produced = produce.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&produced.stdout), "2 events sent to payments\n");

    let mut emit = example("consume-emit");
    let emit = emit
        .args([broker.address(), "payments", "payment-sizes"])
        .spawn()
        .expect("the example is built");
    let mut consume = example("consume");
    consume.args([broker.address(), "payment-sizes"]).stdout(Stdio::piped());
    let mut consume = consume.spawn().expect("the example is built");
    let printed = BufReader::new(consume.stdout.take().expect("piped"));
    let mut printed: Vec<String> =
        printed.lines().take(2).map(|line| line.expect("text")).collect();
    printed.sort_by_key(|line| line.contains("bob"));
    assert!(printed[0].ends_with(r#"Some("alice") = Some("8")"#), "{printed:?}");
    assert!(printed[1].ends_with(r#"Some("bob") = Some("8")"#), "{printed:?}");
    interrupt(emit);
    interrupt(consume);
}

#[test]
fn the_readme_shows_the_example_that_is_tested() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).expect("it is there");
    let (readme, example) = (read("README.md"), read("examples/billing.rs"));
    let code =
        example.find("use onrush").map(|start| &example[start..]).expect("it uses the library");
    let (consumer, test) = code.split_once("\n#[test]").expect("it has a test");
    assert!(readme.contains(consumer), "README.md shows another consumer");
    assert!(readme.contains(&format!("#[test]{test}")), "README.md shows another test");
}
