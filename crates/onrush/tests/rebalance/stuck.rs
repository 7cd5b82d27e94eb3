//! Members that join while 1 % of handlers are slow and some never return.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::crew::Crew;

const PARTITIONS: i32 = 24;
const EVENTS: u64 = 150_000;
const CONCURRENCY: usize = 16;
const BEFORE: Duration = Duration::from_secs(3);
const DRAIN: Duration = Duration::from_secs(2);
/// The numbers of events whose handlers never return.
const STUCK: [u64; 6] = [500, 1_501, 2_502, 3_503, 4_504, 5_505];

/// The rate while members join is at least 80 % of the one before; a partition that moves rests less than 2 s beyond its
/// drain, although threads of its old owner are stuck in others; one that stays does not rest. Nothing is lost, and only what
/// was stuck is repeated.
#[test]
fn trap_07_handlers_that_do_not_return_hold_up_the_drain_of_their_partition_and_nothing_else() {
    let crew = Crew::alone("joining-stuck", PARTITIONS);
    crew.fill(EVENTS);
    crew.stick(STUCK);
    let slow = |event: u64| match event % 100 {
        7 => Duration::from_millis(400),
        _ => Duration::from_millis(1),
    };
    let start = |number| {
        let (consumer, factory) = crew.member(number, CONCURRENCY, slow);
        consumer.drain_deadline(DRAIN).handlers(factory).start().expect("it joins")
    };
    let mut members = vec![start(0), start(1)];
    crew.until("two members work", || {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(500));
        at_work.len() == 2 && at_work.values().map(Vec::len).sum::<usize>() == PARTITIONS as usize
    });
    crew.until("they are stuck", || crew.started(&STUCK) == STUCK.len());
    let (done, measured) = (crew.done(), Instant::now());
    std::thread::sleep(BEFORE);
    let joined = Instant::now();
    let rate_before = (crew.done() - done) as f64 / (joined - measured).as_secs_f64();
    let done = crew.done();
    members.extend([start(2), start(3)]);
    crew.until("four members work", || {
        let at_work = crew.at_work(Instant::now() - Duration::from_millis(500));
        at_work.len() == 4 && at_work.values().all(|partitions| partitions.len() == 6)
    });
    let (took, settled) = (joined.elapsed(), Instant::now());
    let rate = (crew.done() - done) as f64 / took.as_secs_f64();
    let (rests, gaps) = (crew.rests(joined), crew.gaps(joined, settled));
    // The coordinator takes back together what it asked a member for: the longest drain counts for all of that.
    let draining: BTreeSet<usize> = crew
        .places_of(&STUCK)
        .into_iter()
        .filter_map(|(member, partition)| rests.contains_key(&partition).then_some(member))
        .collect();
    let beyond = |(owner, rest): &(usize, Duration)| {
        rest.saturating_sub(if draining.contains(owner) { DRAIN } else { Duration::ZERO })
    };
    let longest = rests.values().map(beyond).max().unwrap_or_default();
    let gap = gaps.values().max().copied().unwrap_or_default();
    let left: u64 =
        members.iter().map(|member| member.handle().snapshot().total.left_running).sum();
    println!(
        "joining took {took:?}; {rate:.0} events/s meanwhile, {rate_before:.0} before ({:.0} %); {} partitions moved, the longest rest beyond the drain was {longest:?}; {} stayed, the longest gap was {gap:?}; {left} events were left running",
        100.0 * rate / rate_before,
        rests.len(),
        gaps.len(),
    );
    let twice = crew.started_twice();
    crew.unstick();
    members.into_iter().for_each(|member| drop(member.stop().expect("it leaves well")));
    assert!(rests.len() >= 12, "{rests:?}");
    assert!(rate >= 0.8 * rate_before, "{rate} {rate_before}");
    assert!(longest < Duration::from_secs(2), "{rests:?}");
    assert!(gap < Duration::from_secs(1), "{gaps:?}");
    assert!(twice.is_subset(&BTreeSet::from(STUCK)), "{twice:?}");
    // A member also lets go what it has had for a moment, and that drains as long.
    assert!(left >= twice.len() as u64, "{left} {twice:?}");
    crew.assert_in_order();
    assert_eq!(crew.overlaps(), twice, "those that began again ran at both");
}
