//! What a user writes who awaits: handlers that run as tasks on the user's own runtime.
//!
//! A task has a handler of its own and gives it one event after the other ([`AsyncHandler`]), or
//! several at once ([`BatchHandler`]). An event is done when the future that was returned for it has
//! returned `Ok` and what it emitted is acknowledged; there is no other way to complete one, so
//! none can be leaked (trap 31). A future that is dropped before (its time is up, or its partition
//! has gone) emits nothing.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use onrush_record::{Header, Headers};

use crate::assignment::{Assignment, Holding};
use crate::emit::{EmitError, Outgoing};
use crate::failure::HandlerError;
use crate::handler::Event;
use crate::lineage::event_time;
use crate::slot::Round;
use crate::worker::AsyncContext;
use crate::worker::progress::Started;

/// An event that may be kept and sent to other threads. It keeps its batch in memory, and copies
/// nothing.
#[derive(Debug, Clone)]
pub struct OwnedEvent {
    holding: Arc<Holding>,
    round: Arc<Round>,
    position: u32,
    /// Of its batch.
    index: u32,
    failures: u32,
    offset: i64,
    timestamp: i64,
}

impl OwnedEvent {
    #[inline]
    pub(crate) fn new(started: &Started<'_>, index: u32, failures: u32) -> Self {
        Self {
            holding: Arc::clone(started.holding),
            round: Arc::clone(started.round),
            position: started.position,
            index,
            failures,
            offset: started.record.offset,
            timestamp: event_time(started.holding, &started.record),
        }
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> Event<'_> {
        match self.round.batch.record_at(self.position) {
            Ok(record) => Event::new(&self.holding, &record),
            // It was read before, and a batch does not change.
            Err(_) => Event {
                topic: self.topic(),
                partition: self.partition(),
                offset: self.offset,
                timestamp: self.timestamp,
                key: None,
                value: None,
                headers: Headers::default(),
                epoch: self.epoch(),
                is_retry_topic: self.holding.is_retry_topic,
            },
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.holding.assignment.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.holding.assignment.partition
    }

    /// Its place in the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since 1970.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The key; events without one have no order among each other.
    pub fn key(&self) -> Option<&[u8]> {
        self.borrowed().key
    }

    /// The value; none is a tombstone in a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.borrowed().value
    }

    /// The headers.
    pub fn headers(&self) -> Headers<'_> {
        self.borrowed().headers
    }

    /// The member epoch under which the partition is held: a sink may fence by it.
    pub fn epoch(&self) -> i32 {
        self.holding.assignment.epoch
    }

    /// Which try of the event this is, here and at earlier owners of the partition: 1 is the first.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }
}

/// Processes events, awaiting what it needs. Each task has one of its own, so its state needs no
/// lock.
pub trait AsyncHandler: Send {
    /// Processes one event. When the future returns `Ok`, and what it emitted is acknowledged, the
    /// event is done.
    ///
    /// A panic is caught and counts as an error. The future may be dropped at any await: when its
    /// time is up, and when its partition has gone.
    fn each(
        &mut self,
        event: OwnedEvent,
        cx: AsyncContext,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Events of this partition may come from now on; see
    /// [`Handler::assigned`](crate::Handler::assigned).
    fn assigned(&mut self, _assignment: &Assignment) {}

    /// No event of this partition comes any more; what was finished is committed.
    fn revoked(&mut self, _assignment: &Assignment) {}

    /// Whether [`AsyncHandler::assigned`] and [`AsyncHandler::revoked`] do something. If not, a
    /// partition that leaves does not wait for this task to end what it does for another one.
    fn has_hooks(&self) -> bool {
        true
    }
}

impl<H, F, E> AsyncHandler for H
where
    H: FnMut(OwnedEvent, AsyncContext) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Into<HandlerError>,
{
    fn each(
        &mut self,
        event: OwnedEvent,
        cx: AsyncContext,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let processed = self(event, cx);
        async move { processed.await.map_err(Into::into) }
    }

    fn has_hooks(&self) -> bool {
        false
    }
}

/// Processes several events at once, of many keys and partitions; those of a key are in order.
pub trait BatchHandler: Send {
    /// Processes these events. `Ok` is for all of them. An error may name the first event that
    /// failed: those before it are done, those after it come again. If it names none (by `?`, a
    /// panic, or time), each event is tried alone, which finds the one at fault.
    fn batch(
        &mut self,
        events: Vec<OwnedEvent>,
        cx: BatchContext,
    ) -> impl Future<Output = Result<(), BatchError>> + Send;

    /// See [`AsyncHandler::assigned`].
    fn assigned(&mut self, _assignment: &Assignment) {}

    /// See [`AsyncHandler::revoked`].
    fn revoked(&mut self, _assignment: &Assignment) {}

    /// See [`AsyncHandler::has_hooks`].
    fn has_hooks(&self) -> bool {
        true
    }
}

impl<H, F, E> BatchHandler for H
where
    H: FnMut(Vec<OwnedEvent>, BatchContext) -> F + Send,
    F: Future<Output = Result<(), E>> + Send,
    E: Into<BatchError>,
{
    fn batch(
        &mut self,
        events: Vec<OwnedEvent>,
        cx: BatchContext,
    ) -> impl Future<Output = Result<(), BatchError>> + Send {
        let processed = self(events, cx);
        async move { processed.await.map_err(Into::into) }
    }

    fn has_hooks(&self) -> bool {
        false
    }
}

/// Why a batch could not be processed as a whole.
pub struct BatchError {
    pub(crate) index: Option<usize>,
    pub(crate) error: HandlerError,
}

impl BatchError {
    /// The event with this index failed: those before it are done.
    pub fn at(index: usize, error: impl Into<HandlerError>) -> Self {
        Self { index: Some(index), error: error.into() }
    }

    /// Some event failed, and nobody knows which.
    pub fn whole(error: impl Into<HandlerError>) -> Self {
        Self { index: None, error: error.into() }
    }

    /// The event that failed, if it is known.
    pub fn index(&self) -> Option<usize> {
        self.index
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for BatchError {
    fn from(error: E) -> Self {
        Self::whole(error)
    }
}

impl From<HandlerError> for BatchError {
    fn from(error: HandlerError) -> Self {
        Self::whole(error)
    }
}

impl fmt::Debug for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchError")
            .field("index", &self.index)
            .field("error", &self.error)
            .finish()
    }
}

/// What a handler of batches may do besides returning.
#[derive(Debug)]
pub struct BatchContext(pub(crate) AsyncContext);

impl BatchContext {
    /// Writes a record on behalf of an event of the batch, with its timestamp; see
    /// [`AsyncContext::emit`]. Of a batch that fails, only what was emitted for the events before
    /// the one at fault is written.
    ///
    /// # Errors
    /// The batch emitted too much, or has its outcome already.
    pub fn emit(
        &self,
        event: &OwnedEvent,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), EmitError> {
        let record = Outgoing { topic, timestamp: event.timestamp, key, value, headers };
        self.0.push(event.index, &record)
    }
}
