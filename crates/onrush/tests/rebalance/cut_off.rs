//! A member that is cut off from the cluster and does not know, while some handlers are slow and some never return.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::crew::{Crew, What};
use crate::proxy::{Link, Proxy};

const EVENTS: u64 = 30_000;
/// The numbers of events whose handlers never return.
const STUCK: [u64; 2] = [300, 1_401];

/// Its partitions go to others when its session is over; what it did meanwhile does not count, and it commits none of it
/// when it is back. It goes on as a new member.
#[test]
fn trap_09_a_member_that_was_cut_off_commits_nothing_of_what_it_lost() {
    let crew = Crew::new("cut-off", 8);
    crew.fill(EVENTS);
    crew.stick(STUCK);
    let proxy = Proxy::start(&crew.address);
    let takes = |event: u64| match event % 100 {
        7 => Duration::from_millis(400),
        _ => Duration::from_millis(2),
    };
    let (consumer, factory) = crew.member(0, 8, takes);
    let cut_off = consumer
        .reroute(&crew.address, &proxy.address)
        .handlers(factory)
        .start()
        .expect("it joins");
    let (consumer, factory) = crew.member(1, 8, takes);
    let other = consumer.handlers(factory).start().expect("it joins");
    let working = |member: usize, partitions: usize| {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(500));
        at_work.get(&member).is_some_and(|at| at.len() >= partitions)
    };
    crew.until("both work", || working(0, 2) && working(1, 2));
    proxy.set(Link::Stalled);
    crew.until("the other one has all", || working(1, 8));
    proxy.set(Link::Up);
    proxy.cut();
    crew.until("the one that was cut off is back", || working(0, 2));
    crew.unstick();
    crew.until_committed();
    let left: u64 =
        [&cut_off, &other].iter().map(|member| member.handle().snapshot().total.left_running).sum();
    for member in [cut_off, other] {
        member.stop().expect("it drains and leaves");
    }
    let (times, overlaps) = (crew.times(), crew.overlaps());
    let repeated = times.values().filter(|times| **times > 1).count();
    println!(
        "{repeated} of {EVENTS} events were repeated, {} ran at both members at a time, {left} were counted as left running",
        overlaps.len()
    );
    assert_eq!(times.len(), EVENTS as usize, "nothing is lost");
    assert!(!overlaps.is_empty() && left > 0, "{overlaps:?} {left}");
    crew.assert_in_order();
    let revoked = crew.noted().iter().any(|note| note.member == 0 && note.what == What::Revoked);
    assert!(revoked, "its handlers were told");
}

/// Connections that are closed and can be made again within the session cost nothing.
#[test]
fn a_member_whose_connections_are_cut_goes_on_where_it_was() {
    const EVENTS: u64 = 8_000;
    let crew = Crew::new("cut-short", 8);
    crew.fill(EVENTS);
    let proxy = Proxy::start(&crew.address);
    let takes = |_| Duration::from_millis(2);
    let (consumer, factory) = crew.member(0, 4, takes);
    let cut_off = consumer
        .reroute(&crew.address, &proxy.address)
        .handlers(factory)
        .start()
        .expect("it joins");
    let (consumer, factory) = crew.member(1, 4, takes);
    let other = consumer.handlers(factory).start().expect("it joins");
    let both = || {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(500));
        (0..2).all(|member| at_work.get(&member).is_some_and(|at| at.len() == 4))
    };
    crew.until("both work", both);
    let placed = crew.at_work(Instant::now() - Duration::from_millis(500));
    let cut = Instant::now();
    for more in 1..=5 {
        let done = crew.done();
        proxy.cut();
        crew.until("it goes on", || crew.done() >= done + 100 * more);
    }
    crew.until_committed();
    let sets = |at_work: BTreeMap<usize, Vec<i32>>| -> Vec<BTreeSet<i32>> {
        at_work.into_values().map(BTreeSet::from_iter).collect()
    };
    assert_eq!(sets(crew.at_work(cut)), sets(placed), "no partition moved");
    for member in [cut_off, other] {
        member.stop().expect("it drains and leaves");
    }
    assert_eq!(crew.times().len(), EVENTS as usize);
    assert!(crew.started_twice().is_empty(), "{:?}", crew.started_twice());
    crew.assert_in_order();
}
