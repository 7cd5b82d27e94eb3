//! Members that leave in order while some handlers are slow and some never return.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crew::{Crew, What};

const EVENTS: u64 = 4_000;

/// What a member finished before it let go is committed: its next owner repeats none of it. Partitions that stay go on.
#[test]
fn a_member_that_leaves_hands_over_what_it_has_not_finished_and_nothing_else() {
    let crew = Crew::new("leaving", 12);
    crew.fill(EVENTS);
    let start = |number| {
        let slow = |event: u64| match event % 100 {
            7 => Duration::from_millis(400),
            _ => Duration::from_millis(1),
        };
        let (consumer, factory) = crew.member(number, 8, slow);
        consumer.handlers(factory).start().expect("it joins")
    };
    let (first, second) = (start(0), start(1));
    crew.until("both work", || {
        crew.at_work(std::time::Instant::now() - Duration::from_millis(500)).len() == 2
            && crew.done() > 500
    });
    first.stop().expect("it drains and leaves");
    crew.until_committed();
    second.stop().expect("it drains and leaves");
    let times = crew.times();
    assert_eq!(times.len() as u64, EVENTS);
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    crew.assert_in_order();
}

/// A handler that never returns holds its partition for the drain's deadline, not for ever; the events it did not finish are
/// repeated by the next owner, and no others.
#[test]
fn trap_07_a_handler_that_never_returns_does_not_keep_its_partition() {
    let crew = Crew::new("stuck", 4);
    crew.fill(400);
    let start = |number: usize| {
        let takes = move |event: u64| match (number, event) {
            (0, 5 | 6) => Duration::from_secs(3_600),
            _ => Duration::from_millis(1),
        };
        let (consumer, factory) = crew.member(number, 8, takes);
        consumer.drain_deadline(Duration::from_secs(2)).handlers(factory).start().expect("it joins")
    };
    let first = start(0);
    crew.until("all but two are done", || crew.done() == 398);
    let second = start(1);
    first.handle().shutdown();
    crew.until("the others are done elsewhere", || crew.done() == 400);
    crew.until_committed();
    second.stop().expect("it drains and leaves");
    let twice: BTreeSet<u64> = crew
        .times()
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .map(|(number, _)| number)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    let started =
        |event: u64| crew.noted().iter().filter(|note| note.what == What::Started(event)).count();
    assert_eq!((started(5), started(6)), (2, 2));
    // Its threads are left behind in their handlers.
    std::mem::forget(first);
}
