//! An inline handler that does not return: it costs its own lane, and nothing beside it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onrush_engine::{Context, Event, HandlerError, Mode, Place};

use crate::target::{PATIENCE, Target};

const EVENTS: u64 = 2_000;
/// Partitions 0 and 2 are on one lane, 1 and 3 on the other.
const PARTITIONS: i32 = 4;

/// Handlers of partition 0 wait behind it.
#[derive(Default)]
struct Barrier {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Barrier {
    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_a_lane_that_hangs_does_not_stop_the_commits_of_the_others() {
    let target = Target::start().await;
    let topic = target.topic("hanging", PARTITIONS).await;
    target.fill(&topic, 500, EVENTS).await;
    let ends = target.ends(&topic, PARTITIONS).await;
    let barrier = Arc::new(Barrier::default());
    let behind = Arc::clone(&barrier);
    let factory = move |_: Place| {
        let barrier = Arc::clone(&behind);
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            if event.partition == 0 {
                barrier.pass();
            }
            Ok(())
        }
    };
    let member = target.engine(target.config(&topic, Mode::Each), factory).await;
    let others = async {
        loop {
            let committed = target.committed(&topic, PARTITIONS).await;
            if [1, 3].iter().all(|at| committed[*at] == ends[*at]) {
                break committed;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let committed = tokio::time::timeout(PATIENCE / 6, others).await;
    barrier.open();
    let committed = committed.expect("commits of the other lane go on");
    assert!(committed[0] <= 0, "{committed:?}");
    member.stop().await.unwrap();
    assert_eq!(target.committed(&topic, PARTITIONS).await, ends);
}
