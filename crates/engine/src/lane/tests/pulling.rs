//! Workers that pull: who gets a run, and what a handler that does not return holds back.

use super::*;

/// Events of one partition whose key is in the slot of `key`.
fn of_slot(bench: &Bench, key: &[u8], events: i64) -> Vec<i64> {
    let partition = bench.lane.partitions[0].as_ref().unwrap();
    let slot = |offset: i64| partition.slots.of(Some((offset % 10).to_string().as_bytes()));
    (0..events).filter(|offset| slot(*offset) == partition.slots.of(Some(key))).collect()
}

#[test]
fn trap_31_a_handler_that_does_not_return_holds_back_its_slot_and_nothing_else() {
    let mut bench = Bench::new(2, Order::Key);
    bench.script.lock().unwrap().stuck = vec![0];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 200);
    bench.settle();
    bench.fetched(0, 1, 200, 200);
    bench.settle();
    let held = of_slot(&bench, b"0", 400);
    let mut called = bench.offsets(0);
    called.sort_unstable();
    let others = (1..400).filter(|offset| !held.contains(offset));
    assert_eq!(called, std::iter::once(0).chain(others).collect::<Vec<_>>());
    assert_eq!(bench.proposals()[&0].0, 0, "the event that is stuck is not committed beyond");
}

#[test]
fn what_no_worker_has_taken_comes_back_when_the_partition_leaves() {
    let mut bench = Bench::new(1, Order::Key);
    bench.script.lock().unwrap().stuck = vec![0];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    bench.fetched(0, 1, 10, 90);
    bench.step(0);
    bench.revoke(0, Duration::from_secs(10));
    assert_eq!(bench.pool.waiting(), 0);
    bench.pass_time(Duration::from_secs(11));
    let (_, _, running) = bench.drained().expect("the deadline has passed");
    let in_hand = of_slot(&bench, b"0", 10).len() as u64;
    assert!(running <= in_hand, "{running} events count as running");
}

#[test]
fn a_slot_that_waits_for_acknowledgements_stays_with_its_emitter() {
    let mut bench = Bench::new(3, Order::Partition);
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    for round in 0..10 {
        bench.fetched(0, 1, round * 5, 5);
        bench.settle();
    }
    let written = |at: usize| bench.outlets[at].0.lock().unwrap().written.len();
    let counts: Vec<_> = (1..4).map(written).collect();
    assert_eq!(counts.iter().filter(|count| **count > 0).count(), 1, "{counts:?}");
    bench.acknowledge();
    assert_eq!(bench.proposals()[&0], (50, none()));
}

#[test]
fn events_that_block_for_too_long_are_counted() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().blocks = TIME_LIMIT + Duration::from_millis(1);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 3);
    bench.settle();
    assert_eq!(bench.snapshot().total.overdue, 3);
    bench.script.lock().unwrap().blocks = Duration::ZERO;
    bench.fetched(0, 1, 3, 3);
    bench.settle();
    assert_eq!((bench.snapshot().total.overdue, bench.snapshot().total.done), (3, 6));
}

#[test]
fn what_has_ended_is_told_before_a_call_that_may_take_long() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().stuck = vec![3];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    assert_eq!(bench.offsets(0), [0, 1, 2, 3]);
    assert_eq!(
        bench.proposals()[&0].0,
        3,
        "a worker that knows nothing of its calls tells at once"
    );
    // Quick calls are told in runs, until one in many is slow.
    let mut bench = Bench::new(1, Order::Partition);
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 400);
    bench.settle();
    bench.fetched(0, 1, 400, 100);
    bench.step(0);
    bench.step(1);
    assert_eq!(bench.offsets(0).len(), 500, "all in one go");
    bench.script.lock().unwrap().blocks = Duration::from_secs(5);
    bench.fetched(0, 1, 500, 1);
    bench.settle();
    bench.script.lock().unwrap().blocks = Duration::ZERO;
    bench.fetched(0, 1, 501, 10);
    bench.step(0);
    bench.step(1);
    bench.step(1);
    assert_eq!(bench.offsets(0).len(), 503, "the lane is told after each");
    bench.settle();
    assert_eq!(bench.proposals()[&0].0, 511);
}

#[test]
fn what_was_emitted_is_sent_before_a_call_that_may_take_very_long() {
    let mut bench = Bench::new(1, Order::Partition);
    bench.script.lock().unwrap().emit = true;
    let flushes = |bench: &Bench| bench.outlets[1].0.lock().unwrap().flushes;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 3);
    bench.settle();
    assert_eq!(flushes(&bench), 0);
    bench.script.lock().unwrap().blocks = Duration::from_secs(1);
    bench.fetched(0, 1, 3, 3);
    bench.settle();
    assert!(flushes(&bench) >= 3);
}
