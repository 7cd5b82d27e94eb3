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

/// Offsets by partition.
pub(crate) type Ends = BTreeMap<i32, i64>;

/// A reader at the end of every partition.
pub(crate) struct Tail {
    _fetcher: Fetcher,
    seen: Arc<Seen>,
}

impl Tail {
    pub(crate) fn start(client: &Client) -> Self {
        let seen = Arc::new(Seen::default());
        Self { _fetcher: from(client, &Ends::new(), &seen), seen }
    }

    /// What it has read.
    pub(crate) fn stop(self) -> Logged {
        self.seen.lock().logged.clone()
    }
}

/// Everything that is in the log.
pub(crate) async fn read_all(client: &Client) -> Logged {
    read_since(client, &Ends::new()).await
}

/// Where the partitions end now.
pub(crate) async fn ends(client: &Client) -> Ends {
    let ends = client.list_offsets(&partitions(), At::Latest).await.expect("the ends");
    ends.into_iter().map(|(place, end)| (place.partition, end.offset)).collect()
}

/// What came after these ends of before.
pub(crate) async fn read_since(client: &Client, before: &Ends) -> Logged {
    let ends = ends(client).await;
    let seen = Arc::new(Seen::default());
    let fetcher = from(client, before, &seen);
    let complete = async {
        let missing = |(partition, end): (&i32, &i64)| {
            seen.lock().next(*partition).max(before.get(partition).copied().unwrap_or(0)) < *end
        };
        while ends.iter().any(missing) {
            seen.changed.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("the log is read");
    fetcher.close().await;
    std::mem::take(&mut seen.lock().logged)
}

fn partitions() -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new(TOPIC, partition)).collect()
}

fn from(client: &Client, starts: &Ends, seen: &Arc<Seen>) -> Fetcher {
    let fetcher = Fetcher::start(client, FetchConfig::default());
    for partition in partitions() {
        let start = starts.get(&partition.partition).copied().unwrap_or(0);
        fetcher.assign(partition, 0, start, seen.clone());
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
                let number = record.value.and_then(|value| value.first_chunk::<8>());
                let number = u64::from_be_bytes(*number.expect("a number"));
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
