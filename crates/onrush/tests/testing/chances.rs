//! What a seed draws.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use onrush::testing::seeds;

use crate::payments::{billing, paying, send, workers};

/// A run in which much is up to chance, and its history.
fn eventful(seed: u64) -> String {
    let (test, _, app) = paying(seed, 4);
    app.slow(|event| Duration::from_millis(event.offset as u64 % 3));
    send(&test, 60, 6);
    let second = app.add_member();
    send(&test, 60, 6);
    second.crash();
    test.settle();
    app.assert_all_done();
    app.assert_key_order();
    test.history()
}

#[test]
fn a_seed_does_the_same_again_and_another_one_something_else() {
    let histories: Vec<_> = (0..3).map(eventful).collect();
    for (seed, history) in (0..).zip(&histories) {
        assert_eq!(*history, eventful(seed));
    }
    assert!(histories[0] != histories[1] && histories[1] != histories[2]);
}

#[test]
fn every_seed_is_run_until_one_fails() {
    let mut ran = Vec::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        seeds(0..10, |seed| {
            ran.push(seed);
            assert!(seed < 3);
        });
    }));
    assert!(failed.is_err());
    assert_eq!(ran, [0, 1, 2, 3]);
}

#[test]
fn crashes_rebalances_and_slow_calls_lose_and_reorder_nothing() {
    seeds(0..6, |seed| {
        let test = onrush::testing::TestBed::seeded(seed);
        test.topic("payments", 6);
        let app = test.run(billing().each_blocking(workers(4), |_, _| Ok(())));
        app.slow(|event| Duration::from_millis(event.offset as u64 * 13 % 40));
        send(&test, 200, 20);
        let second = app.add_member();
        send(&test, 100, 20);
        if seed % 2 == 0 {
            second.crash()
        } else {
            drop(second.stop())
        }
        app.restart();
        test.settle();
        app.assert_all_done();
        app.assert_key_order();
    });
}
