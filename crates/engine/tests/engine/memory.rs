//! Partitions whose handlers stand still, beside others that go on.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onrush_engine::{Context, EngineConfig, Event, HandlerError, Mode, Order, Place};
use onrush_kafka::Compression;

use crate::bulk::Bulk;
use crate::target::{PATIENCE, Target};

/// The least that an engine takes.
const BUDGET: usize = 16 << 20;
const PARTITIONS: i32 = 4;

/// Events done by partition; those of the first wait while it is closed.
#[derive(Default)]
struct Gate {
    done: Mutex<(bool, [u64; PARTITIONS as usize])>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self, partition: i32) {
        let done = self.done.lock().unwrap();
        let mut done =
            self.opened.wait_while(done, |(is_open, _)| partition == 0 && !*is_open).unwrap();
        done.1[partition as usize] += 1;
    }

    fn open(&self) {
        self.done.lock().unwrap().0 = true;
        self.opened.notify_all();
    }

    async fn reaches(&self, wanted: [u64; PARTITIONS as usize]) {
        let all = async {
            while self.done.lock().unwrap().1 != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, all).await;
        assert!(reached.is_ok(), "{:?} of {wanted:?}", self.done.lock().unwrap().1);
    }
}

/// The log of each partition is about as long as the budget; the events of the first stand still
/// until those of the others are done.
async fn one_of_four_stands_still(compression: Compression) {
    let target = Target::start().await;
    let topic = target.topic("stands-still", PARTITIONS).await;
    let bulk = Bulk { partitions: PARTITIONS, events: 4 * 3_000, compression };
    bulk.write(&target.client, &topic).await;
    let bytes = bulk.bytes(&target.client, &topic).await;
    let mode = Mode::EachBlocking { concurrency: NonZeroUsize::new(PARTITIONS as usize).unwrap() };
    let config = EngineConfig {
        byte_budget: BUDGET,
        order: Order::Partition,
        ..target.config(&topic, mode)
    };
    let gate = Arc::new(Gate::default());
    let at = Arc::clone(&gate);
    let factory = move |_: Place| {
        let gate = Arc::clone(&at);
        move |event: &Event<'_>, _: &mut Context<'_>| -> Result<(), HandlerError> {
            gate.pass(event.partition);
            Ok(())
        }
    };
    let member = target.engine(config, factory).await;
    gate.reaches([0, 3_000, 3_000, 3_000]).await;
    let still = member.handle.snapshot();
    let first = still.partitions.iter().find(|state| state.partition.partition == 0).unwrap();
    assert!(still.memory_bytes <= still.memory_limit && still.memory_limit <= BUDGET as u64);
    assert!(still.memory_bytes >= first.queued_bytes, "what is queued counts");
    assert_eq!(first.oldest.map(|oldest| oldest.offset), Some(0), "its first event is stuck");
    gate.open();
    gate.reaches([3_000; 4]).await;
    assert_eq!(member.handle.snapshot().total.fetched, bytes, "fetched once, all of it");
    member.stop().await.unwrap();
    assert_eq!(target.committed(&topic, PARTITIONS).await, [3_000; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_35_a_partition_that_stands_still_starves_no_other() {
    one_of_four_stands_still(Compression::None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_35_nor_does_it_with_compressed_batches() {
    one_of_four_stands_still(Compression::Lz4).await;
}
