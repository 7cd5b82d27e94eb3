//! Partitions that are read, whoever decided which: by the arguments or by a group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onrush_kafka::{Client, FetchConfig, FetchEvent, FetchSink, Fetcher, TopicPartition};
use onrush_runtime::Fault;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::position::Position;
use super::printer::Printer;
use crate::failure::Failure;
use crate::records::range::Span;

/// Bytes of fetched batches that may wait to be printed.
const BUDGET: usize = 32 << 20;
/// While nothing comes, it is looked whether stdout still has a reader.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// Takes what was fetched; bounded by the fetcher's budget, because each event holds its part of it.
struct Queue(mpsc::UnboundedSender<FetchEvent>);

impl FetchSink for Queue {
    fn deliver(&self, event: FetchEvent) {
        // Nobody reads any more when the command ends.
        let _ = self.0.send(event);
    }
}

/// A partition that is read.
struct Held {
    token: u64,
    position: Position,
}

/// Reads partitions and prints them.
pub(super) struct Reader {
    fetcher: Fetcher,
    sink: Arc<Queue>,
    events: mpsc::UnboundedReceiver<FetchEvent>,
    held: BTreeMap<TopicPartition, Held>,
    /// Tells a slice of this assignment from one of an earlier assignment of the partition.
    token: u64,
    pub(super) printer: Printer,
}

impl Reader {
    pub(super) fn new(client: &Client, printer: Printer) -> Self {
        let config = FetchConfig { budget: BUDGET, ..FetchConfig::default() };
        let (sender, events) = mpsc::unbounded_channel();
        Self {
            fetcher: Fetcher::start(client, config),
            sink: Arc::new(Queue(sender)),
            events,
            held: BTreeMap::new(),
            token: 0,
            printer,
        }
    }

    /// Reads this part of a partition from now on.
    pub(super) fn add(&mut self, partition: TopicPartition, span: Span) {
        self.assign(partition, Position::new(span), span.fetch);
    }

    fn assign(&mut self, partition: TopicPartition, position: Position, fetch: i64) {
        self.token += 1;
        self.held.insert(partition.clone(), Held { token: self.token, position });
        if !position.is_at_end() {
            self.fetcher.assign(partition, self.token, fetch, self.sink.clone());
        }
    }

    /// Reads a partition no more.
    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.fetcher.unassign(partition);
        self.held.remove(partition);
    }

    /// Where the partitions stand.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&TopicPartition, &Position)> {
        self.held.iter().map(|(partition, held)| (partition, &held.position))
    }

    /// Whether every partition has been read to its end, or as many records are printed as are wanted.
    pub(super) fn is_done(&self) -> bool {
        self.printer.has_enough() || self.held.values().all(|held| held.position.is_at_end())
    }

    /// Waits for what comes next, after everything that was read is written. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<FetchEvent, Failure> {
        if self.events.is_empty() {
            self.printer.flush()?;
        }
        loop {
            match timeout(READ_INTERVAL, self.events.recv()).await {
                Ok(Some(event)) => return Ok(event),
                // The sink keeps the channel open.
                Ok(None) => return std::future::pending().await,
                Err(_) => self.printer.is_read()?,
            }
        }
    }

    /// Prints what came.
    pub(super) fn take(&mut self, event: FetchEvent) -> Result<(), Failure> {
        match event {
            FetchEvent::Records(fetched) => {
                let Some(held) = self.held.get_mut(&fetched.partition) else { return Ok(()) };
                if held.token != fetched.token {
                    return Ok(());
                }
                self.printer.print(&fetched, &mut held.position)?;
                if held.position.is_at_end() {
                    self.fetcher.unassign(&fetched.partition);
                }
                Ok(())
            }
            FetchEvent::OutOfRange { partition, token, log_start, end } => {
                let held = self.held.get(&partition).filter(|held| held.token == token);
                let Some(position) = held.map(|held| held.position) else { return Ok(()) };
                self.moved(partition, position, log_start, end);
                Ok(())
            }
            FetchEvent::Failed { partition, token, error } => {
                match self.held.get(&partition).filter(|held| held.token == token) {
                    Some(_) => Err(Failure::from(error).doing(format!("cannot read {partition}"))),
                    None => Ok(()),
                }
            }
        }
    }

    /// The log does not have the offset any more: it goes on with what the log has, and says what is missing.
    fn moved(&mut self, partition: TopicPartition, position: Position, log_start: i64, end: i64) {
        let next = position.next;
        if next < log_start {
            tracing::warn!(%partition, from = next, to = log_start, code = %Fault::Expired, "records were deleted before they could be read");
        } else {
            tracing::warn!(%partition, from = end, to = next, code = %Fault::LogCut, "the log ends below what was read of it");
        }
        let position = position.moved(log_start, end);
        self.assign(partition, position, position.next);
    }

    pub(super) async fn close(self) {
        self.fetcher.close().await;
    }
}
