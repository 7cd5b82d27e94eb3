//! What readers see of the log: all the time ([`Tail`]), and after the end ([`read_all`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onrush_kafka::{
    At, Client, FetchConfig, FetchEvent, FetchSink, Fetched, Fetcher, TopicPartition,
};
use onrush_record::{Decompressor, batches, records};
use tokio::sync::Notify;

use crate::{PARTITIONS, TOPIC};

/// Numbers by partition and offset.
pub(crate) type Logged = BTreeMap<(i32, i64), u64>;

const PATIENCE: Duration = Duration::from_secs(60);

/// A reader at the end of every partition.
pub(crate) struct Tail {
    _fetcher: Fetcher,
    seen: Arc<Seen>,
}

impl Tail {
    pub(crate) fn start(client: &Client) -> Self {
        let seen = Arc::new(Seen::default());
        Self { _fetcher: from_the_start(client, &seen), seen }
    }

    /// What it has read.
    pub(crate) fn stop(self) -> Logged {
        self.seen.lock().logged.clone()
    }
}

/// Everything that is in the log.
pub(crate) async fn read_all(client: &Client) -> Logged {
    let ends = client.list_offsets(&partitions(), At::Latest).await.expect("the ends");
    let seen = Arc::new(Seen::default());
    let fetcher = from_the_start(client, &seen);
    let complete = async {
        while ends.iter().any(|(place, end)| seen.lock().next(place.partition) < end.offset) {
            seen.changed.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("the log is read");
    fetcher.close().await;
    let logged = seen.lock().logged.clone();
    logged
}

fn partitions() -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new(TOPIC, partition)).collect()
}

fn from_the_start(client: &Client, seen: &Arc<Seen>) -> Fetcher {
    let fetcher = Fetcher::start(client, FetchConfig::default());
    for partition in partitions() {
        fetcher.assign(partition, 0, 0, seen.clone());
    }
    fetcher
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    logged: Logged,
    next: BTreeMap<i32, i64>,
}

impl State {
    fn next(&self, partition: i32) -> i64 {
        self.next.get(&partition).copied().unwrap_or(0)
    }

    fn take(&mut self, fetched: &Fetched) {
        let partition = fetched.partition.partition;
        let (mut decompressor, mut buffer) = (Decompressor::new(1 << 20), Vec::new());
        for raw in batches(&fetched.records) {
            let raw = raw.expect("whole batches");
            raw.verify_crc().expect("a checksum that is right");
            let payload = decompressor.payload(&raw, &mut buffer).expect("decompressed");
            for record in records(payload.bytes(&raw, &buffer), &raw.header) {
                let record = record.expect("a record");
                let value = record.value.and_then(|value| value.try_into().ok());
                let number = u64::from_be_bytes(value.expect("a number"));
                self.logged.insert((partition, record.offset), number);
            }
            self.next.insert(partition, raw.header.last_offset() + 1);
        }
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FetchSink for Seen {
    fn deliver(&self, event: FetchEvent) {
        // A log that was cut (where that is allowed) ends the reading of its partition.
        if let FetchEvent::Records(fetched) = event {
            self.lock().take(&fetched);
            self.changed.notify_one();
        }
    }
}
