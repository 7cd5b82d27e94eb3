//! What is shown of a partition once per commit interval.

use super::*;
use crate::detail::{Detail, SLOW_FROM};

#[test]
fn the_slot_with_most_events_and_the_slowest_event_are_shown_per_commit_interval() {
    let mut bench = Bench::new(1, Order::Key);
    bench.script.lock().unwrap().takes = 40;
    bench.assign(0, 1, 0, none());
    bench.fetched(0, 1, 0, 4_000);
    let detail = |bench: &Bench| bench.metrics.snapshot().partitions[0].detail.clone();
    bench.settle();
    assert_eq!(detail(&bench), Detail::default(), "nothing is looked up before");
    bench.pass_time(Duration::from_millis(200));
    bench.proposals();
    let shown = detail(&bench);
    let hot = shown.hot_slot.expect("events wait");
    assert!(hot.events > 3 && hot.key.is_some(), "{hot:?}");
    let slowest = shown.slowest.expect("one took long");
    assert!((SLOW_FROM..=Duration::from_millis(40)).contains(&slowest.took), "{slowest:?}");
    assert!(slowest.key.is_some() && slowest.offset < 4_000, "{slowest:?}");
    while bench.metrics.snapshot().total.done < 4_000 {
        bench.pass_time(Duration::from_secs(1));
    }
    bench.proposals();
    assert_eq!(detail(&bench).hot_slot, None, "all are done");
}
