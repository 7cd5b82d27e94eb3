//! A consumer and its test: `cargo test -p onrush --example billing`
//!
//! The test runs the consumer as it is. README.md shows both.
use onrush::prelude::*;

fn billing() -> onrush::Subscription {
    Consumer::new("localhost:9092").group("billing").topic("payments").each(|event, _| {
        let amount: u32 = std::str::from_utf8(event.value.unwrap_or_default())?.parse()?;
        println!("{:?} pays {amount}", event.key);
        Ok(())
    })
}

fn main() -> Result<(), onrush::Error> {
    billing().run() // until Ctrl-C
}

#[test]
fn a_payment_that_cannot_be_read_holds_up_no_other() {
    let test = onrush::testing::TestBed::new();
    test.topic("payments", 6);
    let app = test.run(billing());
    test.send_all("payments", [("alice", "10"), ("bob", "ten"), ("carol", "30")]);
    app.add_member().crash(); // and the group has to notice, after 45 seconds
    test.settle();
    assert_eq!(app.outcomes().done, 2);
    assert_eq!(test.dead_letters("payments")[0].record.key_text(), "bob");
}
