//! A member that is cut off from the cluster and does not know.

use std::time::{Duration, Instant};

use crate::crew::{Crew, What};
use crate::proxy::{Link, Proxy};

/// Its partitions go to others when its session is over; what it did meanwhile does not count, and it commits none of it
/// when it is back. It goes on as a new member.
#[test]
fn a_member_that_was_cut_off_commits_nothing_of_what_it_lost() {
    let crew = Crew::new("cut-off", 8);
    crew.fill(30_000);
    let proxy = Proxy::start(&crew.address);
    let takes = |_| Duration::from_millis(4);
    let (consumer, factory) = crew.member(0, 4, takes);
    let cut_off = consumer
        .reroute(&crew.address, &proxy.address)
        .handlers(factory)
        .start()
        .expect("it joins");
    let (consumer, factory) = crew.member(1, 4, takes);
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
    crew.until_committed();
    for member in [cut_off, other] {
        member.stop().expect("it drains and leaves");
    }
    assert_eq!(crew.times().len(), 30_000, "nothing is lost");
    let revoked = crew.noted().iter().any(|note| note.member == 0 && note.what == What::Revoked);
    assert!(revoked, "its handlers were told");
}
