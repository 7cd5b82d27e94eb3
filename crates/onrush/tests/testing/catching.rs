//! What a bed catches: handlers that do it wrong, and tests that do.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush::prelude::*;
use onrush::testing::TestBed;

use crate::payments::{Bank, amount, assert_paid_once, billing, customer, send, workers};

/// The text of the panic of what must fail.
fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it must fail");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn a_handler_that_keeps_events_and_pays_the_latest_first_is_caught_by_what_it_leaves() {
    let (test, bank) = (TestBed::new(), Bank::default());
    test.topic("payments", 1);
    let (to, kept) = (bank.clone(), Arc::new(Mutex::new(Vec::new())));
    test.run(billing().each(move |event, _| {
        let mut kept = kept.lock().expect("no panic under the lock");
        kept.push((customer(event).to_owned(), amount(event)?));
        if kept.len() == 2 {
            kept.drain(..).rev().for_each(|(customer, amount)| to.pay(&customer, amount));
        }
        Ok(())
    }));
    send(&test, 10, 1);
    test.settle();
    assert_eq!(bank.payments(), 10);
    failure(|| assert_paid_once(&bank, 10, 1));
}

#[test]
fn a_handler_that_keeps_events_loses_them_in_a_crash() {
    let (test, bank) = (TestBed::new(), Bank::default());
    test.topic("payments", 1);
    let to = bank.clone();
    let consumer = billing().handlers(move |_| {
        let (to, mut kept) = (to.clone(), BTreeMap::<String, Vec<u32>>::new());
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            let amounts = kept.entry(customer(event).to_owned()).or_default();
            amounts.push(amount(event)?);
            if amounts.len() == 4 {
                amounts.drain(..).for_each(|amount| to.pay(customer(event), amount));
            }
            Ok(())
        }
    });
    let app = test.run(consumer);
    send(&test, 7, 1);
    test.settle();
    app.crash();
    app.restart();
    send(&test, 4, 1);
    test.settle();
    app.assert_all_done(); // so the engine was told
    failure(|| assert_eq!(bank.payments(), 11));
}

#[test]
fn a_handler_that_swallows_errors_is_caught_by_the_missing_dead_letter() {
    let test = TestBed::new();
    test.topic("payments", 1);
    let app = test.run(billing().each(|event, _| {
        let _ = amount(event);
        Ok(())
    }));
    test.send("payments", "bob", "ten");
    test.settle();
    failure(|| assert_eq!(test.dead_letters("payments").len(), 1));
    failure(|| assert_eq!(app.outcomes().dead_lettered, 1));
}

#[test]
fn a_handler_that_pays_twice_is_caught_by_a_duplicate() {
    let (test, bank) = (TestBed::new(), Bank::default());
    test.topic("payments", 1);
    let to = bank.clone();
    test.run(billing().each(move |event, _| {
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    test.duplicate(&test.send("payments", "alice", "10"));
    test.settle();
    failure(|| assert_eq!(bank.account("alice"), [10]));
}

#[test]
fn a_consumer_that_gave_up_the_order_is_caught_by_its_calls() {
    let test = TestBed::new();
    test.topic("payments", 1);
    let app = test.run(billing().order(Order::None).each_blocking(workers(4), |_, _| Ok(())));
    app.slow(|event| Duration::from_millis(event.offset as u64 * 7 % 10));
    send(&test, 100, 1);
    test.settle();
    let text = failure(|| app.assert_key_order());
    assert!(text.contains("wrong order") && text.contains("customer-0"), "{text}");
}

#[test]
fn what_is_not_done_is_listed() {
    let test = TestBed::new();
    test.topic("payments", 1);
    let app = test.run(billing().each(|event, _| amount(event).map(drop)));
    test.send("payments", "alice", "10");
    test.send("payments", "bob", "ten");
    test.settle();
    let text = failure(|| app.assert_all_done());
    assert!(text.contains("1 done, 1 dead-lettered"), "{text}");
    assert!(text.contains(r#"payments-0@1 "bob"="ten" is DeadLettered"#), "{text}");
}

#[test]
fn a_group_that_does_not_settle_says_what_is_open() {
    let test = TestBed::new();
    test.topic("payments", 1);
    let app = test.run(billing().each_blocking(workers(2), |_, _| Ok(())));
    app.slow(|event| Duration::from_secs(if event.key == Some(b"alice") { 3_600 } else { 0 }));
    test.send_all("payments", [("bob", "1"), ("alice", "2"), ("bob", "3")]);
    let text = failure(|| test.settle_within(Duration::from_secs(60)));
    assert!(text.starts_with("not settled within 60s of virtual time"), "{text}");
    assert!(text.contains("billing has committed 1 of 3 in payments-0"), "{text}");
}

#[test]
fn a_topic_that_was_forgotten_is_named() {
    let test = TestBed::new();
    let text = failure(|| drop(test.run(billing().each(|_, _| Ok(())))));
    assert!(text.contains("payments") && text.contains(".topic("), "{text}");
    let text = failure(|| drop(test.send("payments", "alice", "10")));
    assert!(text.contains("payments"), "{text}");
}

#[test]
fn a_broker_that_is_down_is_named() {
    let test = TestBed::new();
    test.topic("payments", 1);
    test.broker_down();
    let text = failure(|| drop(test.send("payments", "alice", "10")));
    assert!(text.contains("broker_up"), "{text}");
    let text = failure(|| test.settle());
    assert!(text.contains("broker_up"), "{text}");
}

const FAIL: &str = "ONRUSH_TEST_SHALL_FAIL";

/// Fails only for the test below, which runs it.
#[test]
fn a_test_that_fails_when_told_to() {
    let test = TestBed::seeded(42);
    test.topic("payments", 1);
    test.run(billing().each(|event, _| amount(event).map(drop)));
    test.send("payments", "bob", "ten");
    test.settle();
    assert!(std::env::var_os(FAIL).is_none(), "as told");
}

#[test]
fn a_test_that_fails_prints_its_seed_and_what_happened() {
    let this = std::env::current_exe().expect("this test is a file");
    let failed = Command::new(this)
        .args(["--exact", "catching::a_test_that_fails_when_told_to", "--nocapture"])
        .env(FAIL, "1")
        .output()
        .expect("it runs");
    assert!(!failed.status.success());
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(text.contains("test bed with seed 42, again by TestBed::seeded(42)"), "{text}");
    assert!(text.contains("billing-1 is assigned payments-0"), "{text}");
    let call = r#"billing-1 called with payments-0 offset 0, key "bob": failed: invalid digit"#;
    assert!(text.contains(call), "{text}");
}
