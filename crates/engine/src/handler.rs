//! What a user writes: a handler, made by a factory for every lane or worker, called with events.

use std::time::Duration;

use onrush_record::{Header, Headers, Record};
use onrush_runtime::Instant;

use crate::assignment::{Assignment, Holding};
use crate::emit::{EmitError, Emitter, Outgoing};
use crate::failure::HandlerError;
use crate::lineage::{Lineage, event_time};

/// An event, borrowed from the batch in which it came.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; in a retry topic the time of the event that moved there.
    pub timestamp: i64,
    /// The key; events without one have no order among each other.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
    /// The member epoch under which the partition is held: a sink may fence by it.
    pub epoch: i32,
    pub(crate) is_retry_topic: bool,
}

impl<'a> Event<'a> {
    #[inline]
    pub(crate) fn new(holding: &'a Holding, record: &Record<'a>) -> Self {
        Self {
            topic: &holding.assignment.topic,
            partition: holding.assignment.partition,
            offset: record.offset,
            timestamp: event_time(holding, record),
            key: record.key,
            value: record.value,
            headers: record.headers,
            epoch: holding.assignment.epoch,
            is_retry_topic: holding.is_retry_topic,
        }
    }

    /// Where it came from first, and how often it failed since: in a retry topic that is another
    /// place than where it lies now.
    pub fn origin(&self) -> Lineage<'a> {
        Lineage::of_event(self)
    }
}

/// Processes events. Each lane or worker has one of its own, so its state needs no lock.
pub trait Handler: Send {
    /// Processes one event. When it returns `Ok`, and what it emitted is acknowledged, the event is
    /// done.
    ///
    /// A panic is caught and counts as an error; the handler is called again for other events, so
    /// what it keeps between calls should be whole at every point that may panic.
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError>;

    /// Events of this partition may come from now on. Called again, with a lower start, if the cluster
    /// lost the end of the log: what comes from there on is new.
    fn assigned(&mut self, _assignment: &Assignment) {}

    /// No event of this partition comes any more; what was finished is committed.
    fn revoked(&mut self, _assignment: &Assignment) {}
}

impl<F, E> Handler for F
where
    F: FnMut(&Event<'_>, &mut Context<'_>) -> Result<(), E> + Send,
    E: Into<HandlerError>,
{
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        self(event, cx).map_err(Into::into)
    }
}

/// Where a handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Inline, on the lane with this number.
    Lane(usize),
    /// On the worker thread with this number.
    Worker(usize),
    /// In the task with this number.
    Task(usize),
}

/// Makes handlers.
pub trait HandlerFactory: Send + Sync {
    /// A handler for one place.
    fn make(&self, place: Place) -> Box<dyn Handler>;
}

impl<F, H> HandlerFactory for F
where
    F: Fn(Place) -> H + Send + Sync,
    H: Handler + 'static,
{
    fn make(&self, place: Place) -> Box<dyn Handler> {
        Box::new(self(place))
    }
}

impl HandlerFactory for Box<dyn HandlerFactory> {
    fn make(&self, place: Place) -> Box<dyn Handler> {
        (**self).make(place)
    }
}

impl HandlerFactory for &dyn HandlerFactory {
    fn make(&self, place: Place) -> Box<dyn Handler> {
        (**self).make(place)
    }
}

/// What a handler may do besides returning.
pub struct Context<'a> {
    emitter: &'a mut Emitter,
    now: Instant,
    timestamp: i64,
    failures: u32,
    took: Option<Duration>,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(emitter: &'a mut Emitter, now: Instant) -> Self {
        Self { emitter, now, timestamp: 0, failures: 0, took: None }
    }

    /// The event failed so often before.
    #[inline]
    pub(crate) fn after(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// What is emitted next belongs to an event of this time.
    #[inline]
    pub(crate) fn turn_to(&mut self, timestamp: i64) {
        self.timestamp = timestamp;
    }

    pub(crate) fn took(&mut self) -> Option<Duration> {
        self.took.take()
    }

    pub(crate) fn emitter(&mut self) -> &mut Emitter {
        self.emitter
    }

    /// Writes a record to `topic`, in the partition of its key, with the event's timestamp. The
    /// event is done when this is acknowledged.
    ///
    /// # Errors The record can never be written, or the event emitted too much. Never for want of
    /// room or of a broker: then the record is kept, and the next event waits.
    pub fn emit(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), EmitError> {
        let record = Outgoing { topic, timestamp: self.timestamp, key, value, headers };
        self.emitter.emit(&record, self.now)
    }

    /// Which try of the event this is, here and at earlier owners of the partition: 1 is the first.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// The time at which the run began, or on a worker the event.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The event's outcome counts only after `duration`, as if the call had taken so long: virtual
    /// time for handlers on workers.
    #[doc(hidden)]
    pub fn finish_after(&mut self, duration: Duration) {
        self.took = Some(duration);
    }
}
