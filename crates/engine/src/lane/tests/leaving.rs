//! Partitions that leave, are lost and come back while events of them run.

use super::*;

/// Acknowledgements of an earlier assignment, of the same offsets.
#[test]
fn trap_14_what_an_old_delivery_is_acknowledged_for_is_not_taken_from_the_new_one() {
    for workers in [0, 2] {
        let mut bench = Bench::new(workers, Order::Key);
        bench.lane.config.in_flight = 10;
        bench.script.lock().unwrap().emit = true;
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 20);
        bench.settle();
        bench.inbox.push(LaneInput::Lost(Bench::name(0)));
        bench.assign(0, 2, 0, none());
        bench.fetched(0, 2, 0, 20);
        bench.settle();
        let called = bench.offsets(0).len();
        // What the old assignment emitted was written first, so its acknowledgements come first.
        let outlets = if workers == 0 { 0..1 } else { 1..workers + 1 };
        outlets.for_each(|at| assert!(bench.acknowledge_one(at)));
        bench.settle();
        for _ in 0..10 {
            bench.acknowledge();
        }
        assert_eq!(bench.proposals()[&0], (20, none()), "{called} were called by then");
        assert_eq!(bench.snapshot().partitions[0].in_flight, 0, "nothing waits for ever");
    }
}

/// The group is rebalancing, and then the member is told that it has lost everything.
#[test]
fn trap_15_a_partition_that_is_lost_while_it_drains_is_not_committed() {
    let mut bench = Bench::new(1, Order::Key);
    bench.script.lock().unwrap().emit = true;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 6);
    bench.settle();
    bench.revoke(0, Duration::from_secs(10));
    bench.inbox.push(LaneInput::Lost(Bench::name(0)));
    bench.settle();
    bench.acknowledge();
    bench.pass_time(Duration::from_secs(20));
    assert_eq!(bench.drained(), None);
    assert!(bench.proposals().is_empty());
}

/// The last event that was started found no room for what it emitted, and was carried along.
#[test]
fn trap_16_what_waits_for_room_is_not_handed_to_a_later_assignment() {
    for workers in [0, 1] {
        let mut bench = Bench::new(workers, Order::Partition);
        bench.script.lock().unwrap().emit = true;
        let outlet = bench.outlets[workers].clone();
        outlet.0.lock().unwrap().room = 4;
        bench.assign(0, 1, 0, none());
        bench.fetched(0, 1, 0, 10);
        bench.settle();
        assert_eq!(bench.offsets(0), [0, 1, 2, 3, 4], "the last one waits");
        bench.inbox.push(LaneInput::Lost(Bench::name(0)));
        bench.assign(0, 2, 5, none());
        bench.fetched(0, 2, 5, 5);
        bench.settle();
        outlet.0.lock().unwrap().room = usize::MAX;
        for _ in 0..5 {
            bench.settle();
            bench.acknowledge();
        }
        assert_eq!(bench.offsets(0), (0..10).collect::<Vec<_>>(), "each once");
        assert_eq!(bench.proposals()[&0], (10, none()));
    }
}

/// The commit is made after the drain, not in what the drain leaves of its time.
#[test]
fn trap_45_a_drain_that_uses_up_its_time_is_committed_with_all_that_is_done() {
    let mut bench = Bench::new(4, Order::Key);
    bench.script.lock().unwrap().stuck = vec![2];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    bench.revoke(0, Duration::from_secs(10));
    bench.pass_time(Duration::from_secs(9));
    assert_eq!(bench.drained(), None);
    bench.pass_time(Duration::from_secs(1));
    let (_, proposal, running) = bench.drained().expect("its time is over");
    let proposal = proposal.expect("something is done");
    let done = Metadata::decode(proposal.offset, &proposal.metadata).unwrap().completed;
    assert_eq!((proposal.offset, running), (2, 1));
    assert_eq!(done.runs(), [OffsetRun::new(3, 9)]);
    assert_eq!(bench.snapshot().total.left_running, 1);
}

#[test]
fn what_runs_when_its_partition_is_lost_is_counted() {
    let mut bench = Bench::new(4, Order::Key);
    bench.script.lock().unwrap().stuck = vec![2, 5];
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 10);
    bench.settle();
    bench.inbox.push(LaneInput::Lost(Bench::name(0)));
    bench.settle();
    assert_eq!(bench.snapshot().total.left_running, 2);
}

#[test]
fn trap_07_a_handler_that_does_not_return_holds_up_no_drain_of_another_partition() {
    let mut bench = Bench::new(2, Order::Key);
    bench.script.lock().unwrap().stuck = vec![3];
    bench.assign(0, 1, 0, none());
    bench.assign(1, 2, 100, none());
    bench.fetched(0, 1, 3, 1);
    bench.settle();
    bench.fetched(1, 2, 100, 10);
    bench.settle();
    bench.revoke(1, Duration::from_secs(10));
    let (partition, proposal, running) = bench.drained().expect("nothing of it runs");
    assert_eq!((partition, proposal.unwrap().offset, running), (1, 110, 0));
}
