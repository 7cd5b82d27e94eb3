//! Members that join a loaded group.

use std::time::{Duration, Instant};

use crate::crew::Crew;

const PARTITIONS: i32 = 24;
const EVENTS: u64 = 80_000;
/// Threads of a member, and what each takes for an event: so long that the rate is theirs, not that of a busy machine.
const CONCURRENCY: usize = 8;
const TAKES: Duration = Duration::from_millis(4);
/// The rate before is that of so long.
const BEFORE: Duration = Duration::from_secs(3);

/// The rate while members join is at least 80 % of the one before, and a partition that moves rests less than 2 s from its
/// last event at the old owner to its first at the new one. Those that stay do not rest at all.
#[test]
fn trap_17_members_that_join_a_loaded_group_do_not_stop_it() {
    let crew = Crew::alone("joining", PARTITIONS);
    crew.fill(EVENTS);
    let start = |number| {
        let (consumer, factory) = crew.member(number, CONCURRENCY, |_| TAKES);
        consumer.handlers(factory).start().expect("it joins")
    };
    let mut members = vec![start(0), start(1)];
    crew.until("two members work", || {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(500));
        at_work.len() == 2 && at_work.values().map(Vec::len).sum::<usize>() == PARTITIONS as usize
    });
    let done_before = crew.done();
    let measured = Instant::now();
    std::thread::sleep(BEFORE);
    let joined = Instant::now();
    let rate_before = (crew.done() - done_before) as f64 / (joined - measured).as_secs_f64();
    let done_before = crew.done();
    members.extend([start(2), start(3)]);
    crew.until("four members work", || {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(300));
        at_work.len() == 4 && at_work.values().all(|partitions| partitions.len() == 6)
    });
    let took = joined.elapsed();
    let rate = (crew.done() - done_before) as f64 / took.as_secs_f64();
    let rests = crew.rests(joined);
    let gaps = crew.gaps(joined, Instant::now());
    let gap = gaps.values().max().copied().unwrap_or_default();
    let longest = rests.values().map(|(_, rest)| *rest).max().unwrap_or_default();
    println!(
        "joining took {took:?}; {rate:.0} events/s meanwhile, {rate_before:.0} before ({:.0} %); {} partitions moved, the longest rest was {longest:?}; {} stayed, the longest gap was {gap:?}",
        100.0 * rate / rate_before,
        rests.len(),
        gaps.len(),
    );
    members.into_iter().for_each(|member| drop(member.stop().expect("it leaves well")));
    crew.assert_in_order();
    assert!(rests.len() >= 12, "{rests:?}");
    assert!(rate >= 0.8 * rate_before, "{rate} {rate_before}");
    assert!(longest < Duration::from_secs(2), "{rests:?}");
    assert!(gaps.len() >= 10 && gap < Duration::from_millis(500), "{gaps:?}");
}
