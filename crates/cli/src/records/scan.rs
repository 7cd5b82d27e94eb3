//! Parts of partitions, read from start to end: for commands that look at records rather than print them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use onrush_kafka::{Client, FetchConfig, FetchEvent, FetchSink, Fetched, Fetcher, TopicPartition};
use onrush_record::{Decompressor, Record, RecordError, batches, records};
use onrush_runtime::Fault;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Bytes of fetched batches that may wait to be looked at.
const BUDGET: usize = 32 << 20;
/// Most bytes of a batch after decompression.
const MAX_DECOMPRESSED: usize = 64 << 20;

/// Takes what was fetched; bounded by the fetcher's budget, because each event holds its part of it.
struct Queue(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Queue {
    fn deliver(&self, event: FetchEvent) {
        // Nobody looks any more when the scan was dropped.
        let _ = self.0.send(event);
    }
}

/// A scan on its way; every partition has something left.
pub(crate) struct Scan {
    fetcher: Fetcher,
    sink: Arc<Queue>,
    events: mpsc::UnboundedReceiver<FetchEvent>,
    left: BTreeMap<TopicPartition, Left>,
    token: u64,
    decompressor: Decompressor,
}

/// What is left of a partition.
#[derive(Debug)]
struct Left {
    token: u64,
    offsets: Range<i64>,
}

/// What was kept of some records of a partition, in order.
#[derive(Debug)]
pub(crate) struct Scanned<T> {
    pub(crate) partition: TopicPartition,
    pub(crate) kept: Vec<T>,
    /// All of the part below this was looked at.
    pub(crate) next: i64,
}

impl Scan {
    /// Begins to read these offsets.
    pub(crate) fn new(
        client: &Client,
        parts: impl IntoIterator<Item = (TopicPartition, Range<i64>)>,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let mut scan = Self {
            fetcher: Fetcher::start(
                client,
                FetchConfig { budget: BUDGET, ..FetchConfig::default() },
            ),
            sink: Arc::new(Queue(sender)),
            events,
            left: BTreeMap::new(),
            token: 0,
            decompressor: Decompressor::new(MAX_DECOMPRESSED),
        };
        for (partition, offsets) in parts {
            scan.assign(partition, offsets);
        }
        scan
    }

    fn assign(&mut self, partition: TopicPartition, offsets: Range<i64>) {
        if offsets.is_empty() {
            return;
        }
        self.token += 1;
        self.fetcher.assign(partition.clone(), self.token, offsets.start, self.sink.clone());
        self.left.insert(partition, Left { token: self.token, offsets });
    }

    /// Waits for the next records and keeps what `pick` makes of them; none when there is nothing left.
    pub(crate) async fn next<T>(
        &mut self,
        mut pick: impl FnMut(&TopicPartition, &Record<'_>) -> Result<Option<T>, RecordError>,
    ) -> Result<Option<Scanned<T>>, Failure> {
        while !self.left.is_empty() {
            // The sink keeps the channel open.
            let Some(event) = self.events.recv().await else { break };
            match event {
                FetchEvent::Records(fetched) => {
                    if let Some(scanned) = self.look(&fetched, &mut pick)? {
                        return Ok(Some(scanned));
                    }
                }
                FetchEvent::OutOfRange { partition, token, log_start, end } => {
                    let Some(left) = self.left.remove(&partition) else { continue };
                    if left.token == token {
                        // Retention was faster, or the log was cut.
                        let offsets = left.offsets.start.max(log_start)..left.offsets.end.min(end);
                        self.fetcher.unassign(&partition);
                        self.assign(partition, offsets);
                    } else {
                        self.left.insert(partition, left);
                    }
                }
                FetchEvent::Failed { partition, token, error } => {
                    if self.left.get(&partition).is_some_and(|left| left.token == token) {
                        return Err(Failure::from(error).doing(format!("cannot read {partition}")));
                    }
                }
            }
        }
        Ok(None)
    }

    fn look<T>(
        &mut self,
        fetched: &Fetched,
        pick: &mut impl FnMut(&TopicPartition, &Record<'_>) -> Result<Option<T>, RecordError>,
    ) -> Result<Option<Scanned<T>>, Failure> {
        let partition = &fetched.partition;
        let Some(left) = self.left.get_mut(partition) else { return Ok(None) };
        if left.token != fetched.token {
            return Ok(None);
        }
        let mut kept = Vec::new();
        let looked = look(fetched, &mut left.offsets, &mut self.decompressor, |record| {
            kept.extend(pick(partition, record)?);
            Ok(())
        });
        looked.map_err(|error| {
            Failure::unavailable(format!("{partition} at offset {}: {error}", left.offsets.start))
                .code(Fault::CorruptBatch)
        })?;
        let next = left.offsets.start;
        if left.offsets.is_empty() {
            self.fetcher.unassign(partition);
            self.left.remove(partition);
        }
        Ok(Some(Scanned { partition: partition.clone(), kept, next }))
    }

    /// The rest of a partition is not wanted.
    pub(crate) fn skip(&mut self, partition: &TopicPartition) {
        self.fetcher.unassign(partition);
        self.left.remove(partition);
    }

    /// Ends the connections that it has.
    pub(crate) async fn close(self) {
        self.fetcher.close().await;
    }
}

/// Visits the records of a slice that are in `offsets`, and moves their start after them.
fn look(
    fetched: &Fetched,
    offsets: &mut Range<i64>,
    decompressor: &mut Decompressor,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let mut payload = Vec::new();
    for raw in batches(&fetched.records) {
        let raw = raw?;
        if offsets.is_empty() {
            return Ok(());
        }
        let header = raw.header;
        if !header.attributes.is_control() && header.last_offset() >= offsets.start {
            raw.verify_crc()?;
            payload.clear();
            let opened = decompressor.payload(&raw, &mut payload)?;
            for record in records(opened.bytes(&raw, &payload), &header) {
                let record = record?;
                if offsets.contains(&record.offset) {
                    visit(&record)?;
                    offsets.start = record.offset + 1;
                }
            }
        }
        offsets.start = offsets.start.max(header.last_offset().saturating_add(1)).min(offsets.end);
    }
    Ok(())
}
