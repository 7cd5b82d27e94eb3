//! What a bed lets happen.

use std::time::Duration;

use onrush::prelude::*;
use onrush::testing::{Outcome, TestBed};
use onrush::{BatchError, Header, OwnedEvent, Start};

use crate::payments::{Bank, amount, assert_paid_once, billing, customer, paying, send, workers};

#[test]
fn events_come_and_are_done() {
    let (test, bank, app) = paying(0, 6);
    send(&test, 500, 20);
    test.settle();
    assert_paid_once(&bank, 500, 20);
    app.assert_all_done();
    app.assert_key_order();
    let outcomes = app.outcomes();
    assert_eq!((outcomes.done, outcomes.dead_lettered, outcomes.open), (500, 0, 0));
    assert_eq!((outcomes.retried, outcomes.repeated), (0, 0));
    let committed: i64 = test.committed("billing", "payments").into_iter().flatten().sum();
    assert_eq!(committed, 500);
    assert_eq!(app.stop().total.done, 500);
}

#[test]
fn keys_headers_and_their_absence_come_as_they_were_sent() {
    let test = TestBed::new();
    test.topic("payments", 2);
    test.topic("copies", 1);
    test.run(billing().each(|event, cx| {
        let headers = event.headers.collect::<Result<Vec<_>, _>>()?;
        Ok(cx.emit("copies", event.key, event.value, &headers)?)
    }));
    let trace = Header { key: "trace", value: Some(b"1") };
    let sent = test.send_with("payments", Some(b"alice"), None, &[trace]);
    assert_eq!((sent.offset, sent.header("trace")), (0, Some(&b"1"[..])));
    test.settle();
    let copies = test.records("copies");
    assert_eq!((&copies[0].key, &copies[0].value), (&sent.key, &None));
    assert_eq!((&copies[0].headers, copies[0].timestamp), (&sent.headers, sent.timestamp));
}

#[test]
fn a_member_that_joins_and_one_that_leaves_move_partitions_without_repeats() {
    let (test, bank) = (TestBed::seeded(1), Bank::default());
    test.topic("payments", 6);
    let to = bank.clone();
    let app = test.run(billing().each_blocking(workers(2), move |event, _| {
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    app.slow(|_| Duration::from_millis(100));
    send(&test, 300, 10);
    let second = app.add_member();
    second.slow(|_| Duration::from_millis(100));
    assert_eq!((app.partitions().len(), second.partitions().len()), (3, 3));
    test.advance(Duration::from_secs(1));
    app.stop();
    test.settle();
    assert_eq!(second.partitions().len(), 6);
    assert_paid_once(&bank, 300, 10);
    second.assert_all_done();
    let by = |name: &str| second.calls().iter().filter(|call| call.app == name).count();
    let (first, second) = (by("billing-1"), by("billing-2"));
    assert!(first > 10 && second > 10, "{first} and {second} calls");
}

#[test]
fn a_crash_repeats_what_was_not_committed_and_loses_nothing() {
    let (test, bank, app) = paying(2, 2);
    send(&test, 100, 5);
    test.advance(Duration::from_millis(200)); // run, and not committed yet
    assert!(bank.payments() > 0);
    app.crash();
    assert!(app.snapshot().is_none());
    let before = test.now();
    app.restart();
    assert!(test.now() - before > Duration::from_secs(40), "the group waits for the one that died");
    test.settle();
    app.assert_all_done();
    app.assert_key_order();
    assert!(app.outcomes().repeated > 0);
    assert!(bank.payments() > 100);
}

#[test]
fn the_group_notices_a_crash_in_virtual_time() {
    let (test, _, app) = paying(3, 4);
    let survivor = app.add_member();
    app.crash();
    send(&test, 50, 5);
    test.advance(Duration::from_secs(20));
    assert_eq!(survivor.partitions().len(), 2);
    test.settle();
    assert_eq!(survivor.partitions().len(), 4);
    survivor.assert_all_done();
}

#[test]
fn a_member_that_is_cut_off_is_out_and_does_not_commit_when_it_is_back() {
    let (test, _, app) = paying(4, 2);
    let other = app.add_member();
    app.cut_off();
    send(&test, 40, 8);
    test.settle();
    let committed = test.committed("billing", "payments");
    app.reconnect();
    test.settle();
    test.advance(Duration::from_secs(60));
    assert_eq!(test.committed("billing", "payments"), committed);
    assert_eq!((app.partitions().len(), other.partitions().len()), (1, 1));
}

#[test]
fn an_event_that_was_written_twice_comes_twice() {
    let (test, bank, app) = paying(5, 6);
    let payment = test.send("payments", "alice", "10");
    let again = test.duplicate(&payment);
    assert_eq!((again.partition, again.offset), (payment.partition, payment.offset + 1));
    test.settle();
    assert_eq!(bank.account("alice"), [10, 10]);
    assert_eq!(app.outcomes().repeated, 0, "to the engine these are two events");
}

#[test]
fn a_group_that_is_rewound_runs_all_again() {
    let (test, bank, app) = paying(6, 3);
    app.add_member();
    send(&test, 30, 3);
    test.settle();
    test.rewind("billing");
    test.settle();
    assert_eq!((app.outcomes().repeated, bank.payments()), (30, 60));
}

#[test]
fn handlers_on_lanes_and_on_workers_take_the_time_that_they_are_given() {
    for concurrency in [None, Some(4)] {
        let test = TestBed::new();
        test.topic("payments", 1);
        let consumer = billing();
        let app = test.run(match concurrency {
            None => consumer.each(|_, _| Ok(())),
            Some(count) => consumer.each_blocking(workers(count), |_, _| Ok(())),
        });
        app.slow(|_| Duration::from_secs(10));
        let begin = test.now();
        send(&test, 12, 12);
        test.advance(Duration::from_secs(5));
        assert_eq!(app.outcomes().done, 0, "with {concurrency:?} workers");
        test.settle();
        app.assert_all_done();
        let took = (test.now() - begin).as_secs();
        let expected = if concurrency.is_some() { 30..100 } else { 120..140 };
        assert!(expected.contains(&took), "{took} s with {concurrency:?} workers");
    }
}

#[test]
fn a_broker_that_was_away_has_kept_everything() {
    let (test, bank, app) = paying(7, 3);
    send(&test, 100, 10);
    test.broker_down();
    test.advance(Duration::from_secs(30));
    test.broker_up();
    test.send("payments", "alice", "10");
    test.settle();
    app.assert_all_done();
    assert_eq!(app.outcomes().done, 101);
    assert_eq!(bank.account("alice"), [10]);
}

#[test]
fn a_slow_network_slows_everything_and_changes_nothing() {
    let (test, bank, _app) = paying(8, 2);
    test.slow_network(Duration::from_secs(1));
    let begin = test.now();
    send(&test, 20, 4);
    test.settle();
    assert!(test.now() - begin > Duration::from_secs(2));
    assert_paid_once(&bank, 20, 4);
}

#[test]
fn failures_and_panics_end_in_the_dead_letters_with_their_reasons() {
    let (test, bank) = (TestBed::new(), Bank::default());
    test.topic("payments", 1);
    let to = bank.clone();
    let app = test.run(billing().each(move |event, _| {
        assert!(customer(event) != "mallory", "mallory again");
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    test.send_all(
        "payments",
        [("alice", "10"), ("bob", "ten"), ("mallory", "30"), ("alice", "40")],
    );
    test.settle();
    assert_eq!(bank.account("alice"), [10, 40]);
    let letters = test.dead_letters("payments");
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(letters[0].error, "invalid digit found in string");
    assert!(letters[1].error.contains("mallory again"), "{}", letters[1].error);
    assert!(letters.iter().all(|letter| letter.attempts >= 1 && letter.code.starts_with("ONR")));
    let outcomes = app.outcomes();
    assert_eq!((outcomes.done, outcomes.dead_lettered, outcomes.open), (2, 2, 0));
    assert_eq!(outcomes.events[1].outcome, Outcome::DeadLettered);
    assert_eq!(outcomes.events[1].failures, outcomes.events[1].calls);
}

#[test]
fn consumers_that_feed_each_other_settle_together() {
    let test = TestBed::new();
    test.topic("payments", 3);
    test.topic("receipts", 2);
    test.run(billing().each(|event, cx| Ok(cx.emit("receipts", event.key, event.value, &[])?)));
    let bank = Bank::default();
    let to = bank.clone();
    let mail = Consumer::new("localhost:9092").group("mail").topic("receipts");
    let mail = test.run(mail.each(move |event, _| {
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    send(&test, 200, 10);
    test.settle();
    assert_paid_once(&bank, 200, 10);
    mail.assert_all_done();
    assert_eq!(test.records("receipts").len(), 200);
}

#[test]
fn a_group_that_begins_at_the_end_settles_without_what_was_before() {
    let (test, bank) = (TestBed::new(), Bank::default());
    test.topic("payments", 1);
    test.send("payments", "alice", "10");
    let to = bank.clone();
    test.run(billing().start_at(Start::Latest).each(move |event, _| {
        to.pay(customer(event), amount(event)?);
        Ok(())
    }));
    test.settle();
    test.send("payments", "alice", "20");
    test.settle();
    assert_eq!(bank.account("alice"), [20]);
}

#[test]
fn handlers_that_are_awaited_are_seen_and_slowed_as_those_that_are_called() {
    for at_once in [None, Some(8)] {
        let (test, bank) = (TestBed::new(), Bank::default());
        test.topic("payments", 2);
        let to = bank.clone();
        let pay = move |event: &OwnedEvent| -> Result<(), HandlerError> {
            to.pay(customer(&event.borrowed()), amount(&event.borrowed())?);
            Ok(())
        };
        let app = test.run(match at_once {
            None => billing().each_async(workers(4), move |event, _| {
                let paid = pay(&event);
                async move { paid }
            }),
            Some(most) => billing().each_batch(workers(4), workers(most), move |events, _| {
                let pay = pay.clone();
                async move {
                    for (index, event) in events.iter().enumerate() {
                        pay(event).map_err(|error| BatchError::at(index, error))?;
                    }
                    Ok(())
                }
            }),
        });
        app.slow(|_| Duration::from_secs(1));
        send(&test, 60, 6);
        test.send("payments", "bob", "ten");
        test.advance(Duration::from_millis(500));
        assert_eq!(app.outcomes().done, 0, "{at_once:?} at once");
        test.settle();
        assert_paid_once(&bank, 60, 6);
        app.assert_key_order();
        let outcomes = app.outcomes();
        assert_eq!((outcomes.done, outcomes.dead_lettered, outcomes.open), (60, 1, 0));
        assert!(outcomes.retried == 1 && outcomes.repeated == 0, "{outcomes:?}");
        let failed = app.calls().into_iter().find(|call| call.result.is_err());
        let error = failed.and_then(|call| call.result.err()).unwrap_or_default();
        assert!(error.contains("invalid digit"), "{error}");
    }
}

#[test]
fn a_call_that_takes_too_long_is_cancelled_in_virtual_time() {
    let test = TestBed::new();
    test.topic("payments", 1);
    let consumer = billing().time_limit(Duration::from_secs(10));
    let app = test.run(consumer.each_async(workers(1), |_, _| async {
        std::future::pending::<()>().await;
        Ok(())
    }));
    test.send("payments", "alice", "10");
    test.settle();
    assert_eq!(app.outcomes().dead_lettered, 1);
    assert!(app.calls().iter().all(|call| call.result == Err("it was cancelled".to_owned())));
    assert!(test.now() > Duration::from_secs(10));
}
