//! The producer of a test bed's events.

use std::sync::{Arc, Mutex, PoisonError};

use onrush_kafka::{
    AckSink, Acked, AppendError, Appender, Client, ProduceError, Producer, ProducerConfig,
};
use onrush_record::Header;
use onrush_runtime::{Clock, Instant};
use tokio::sync::Notify;

use super::log::Record;
use crate::Error;

/// Sends records, and says where they went.
pub(super) struct Outbox {
    client: Client,
    producer: Producer,
    appender: Appender,
    acks: Arc<Acks>,
    clock: Clock,
}

#[derive(Default)]
struct Acks {
    acked: Mutex<Vec<Acked>>,
    changed: Notify,
}

impl AckSink for Acks {
    fn acked(&self, result: Acked) {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        self.changed.notify_one();
    }
}

impl Outbox {
    pub(super) async fn open(client: Client, clock: Clock) -> Result<Self, Error> {
        let producer = Producer::start(&client, ProducerConfig::default()).await?;
        let acks = Arc::new(Acks::default());
        let appender = producer.appender(acks.clone());
        Ok(Self { client, producer, appender, acks, clock })
    }

    /// Sends a burst of records of one topic, and fills in where each of them went; a partition below zero is that of the
    /// key.
    pub(super) async fn send(&mut self, records: &mut [Record]) -> Result<(), Error> {
        let mut sent = Vec::with_capacity(records.len());
        for record in &mut *records {
            if record.timestamp < 0 {
                record.timestamp = self.clock.wall_millis();
            }
            sent.push(self.append(record).await?);
        }
        self.appender.flush(Instant::now());
        self.producer.flush().await;
        let acked =
            std::mem::take(&mut *self.acks.acked.lock().unwrap_or_else(PoisonError::into_inner));
        for Acked { batch, partition, outcome, .. } in acked {
            let base: i64 = outcome.map_err(|error: ProduceError| Error::from(error))?;
            let of_batch = records.iter_mut().zip(&sent).filter(|(_, into)| **into == batch);
            for ((record, _), offset) in of_batch.zip(base..) {
                (record.partition, record.offset) = (partition.partition, offset);
            }
        }
        Ok(())
    }

    async fn append(&mut self, record: &Record) -> Result<u64, Error> {
        let topic = match self.appender.topic(&record.topic) {
            Ok(topic) => topic,
            Err(_) => {
                self.client.metadata(&[&record.topic]).await?;
                self.appender.topic(&record.topic)?
            }
        };
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        let partition = Some(record.partition).filter(|partition| *partition >= 0);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        loop {
            let now = Instant::now();
            let appended =
                self.appender.append(topic, partition, record.timestamp, key, value, &headers, now);
            match appended {
                Ok(batch) => return Ok(batch),
                // What is on its way makes room when it is acknowledged.
                Err(AppendError::Full) => {
                    self.appender.flush(now);
                    self.acks.changed.notified().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
