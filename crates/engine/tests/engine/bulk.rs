//! Topics with many bytes in them.

use std::sync::Arc;

use onrush_kafka::{
    AckSink, Acked, Client, Compression, FetchConfig, FetchEvent, FetchSink, Fetcher, Producer,
    ProducerConfig, TopicPartition,
};
use onrush_runtime::{Clock, Wake};
use tokio::sync::mpsc;

/// Events with values of 4 KiB: so many keys, so many partitions in turn.
pub(crate) struct Bulk {
    pub(crate) partitions: i32,
    pub(crate) events: u64,
    pub(crate) compression: Compression,
}

const VALUE_LEN: usize = 4 << 10;

impl Bulk {
    /// Writes them; a partition has every event whose number gives its own when divided.
    pub(crate) async fn write(&self, client: &Client, topic: &str) {
        let config = ProducerConfig {
            compression: self.compression,
            batch_bytes: 64 << 10,
            ..ProducerConfig::default()
        };
        let producer = Producer::start(client, config).await.unwrap();
        let (sender, mut acks) = mpsc::unbounded_channel();
        let mut appender = producer.appender(Arc::new(Acks(sender)));
        let room = Wake::new();
        appender.wake_on_room(room.clone());
        let (handle, clock) = (appender.topic(topic).unwrap(), Clock::System);
        let mut value = vec![0; VALUE_LEN];
        for number in 0..self.events {
            let partition = (number % self.partitions as u64) as i32;
            // Compressed, they are about half as long.
            noise(number, &mut value[..VALUE_LEN / 2]);
            let key = (number / 7 % 1_000).to_string();
            while appender
                .append(
                    handle,
                    Some(partition),
                    clock.wall_millis(),
                    Some(key.as_bytes()),
                    Some(&value),
                    &[],
                    clock.now(),
                )
                .is_err()
            {
                room.notified().await;
            }
        }
        appender.flush(clock.now());
        producer.close().await;
        while let Ok(acked) = acks.try_recv() {
            acked.outcome.unwrap();
        }
    }

    /// The bytes of all batches, as a reader gets them.
    pub(crate) async fn bytes(&self, client: &Client, topic: &str) -> u64 {
        let fetcher = Fetcher::start(client, FetchConfig::default());
        let (sender, mut events) = mpsc::unbounded_channel();
        let sink: Arc<dyn FetchSink> = Arc::new(Slices(sender));
        for partition in 0..self.partitions {
            let partition = TopicPartition::new(topic, partition);
            fetcher.assign(partition, 1, 0, Arc::clone(&sink));
        }
        let (mut bytes, mut unread) = (0, self.partitions);
        while unread > 0 {
            let (length, is_end) = events.recv().await.unwrap();
            bytes += length;
            unread -= i32::from(is_end);
        }
        fetcher.close().await;
        bytes
    }
}

/// Bytes that do not compress, from a number.
fn noise(number: u64, out: &mut [u8]) {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in out.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

struct Acks(mpsc::UnboundedSender<Acked>);

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        let _ = self.0.send(result);
    }
}

/// Lengths of slices, and whether each is the last one of its partition.
struct Slices(mpsc::UnboundedSender<(u64, bool)>);

impl FetchSink for Slices {
    fn deliver(&self, event: FetchEvent) {
        let FetchEvent::Records(fetched) = event else { panic!("{event:?}") };
        let last = onrush_record::batches(&fetched.records).last().unwrap().unwrap();
        let is_end = last.header.last_offset() + 1 == fetched.high_watermark;
        let _ = self.0.send((fetched.records.len() as u64, is_end));
    }
}
