//! What the events of a task emit, until their handler has returned.
//!
//! A task has one outbox, used again for every event: topics, keys, values and headers lie one after
//! the other in one buffer. A context writes to it only while its event is out; after that the same
//! outbox belongs to another event, and a context that somebody kept is told so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush_record::Header;
use onrush_runtime::Instant;

use crate::emit::{EmitError, Emitter, Outgoing, SPILL_LIMIT};

/// Buffers that grew above this are not kept for the next event.
const SPARE_BYTES: usize = 64 << 10;

/// What a handler that is awaited may do besides returning. It belongs to its event (or batch) and
/// ends with it.
#[derive(Debug)]
pub struct AsyncContext {
    outbox: Arc<Outbox>,
    sequence: u64,
    now: Instant,
    timestamp: i64,
    failures: u32,
}

impl AsyncContext {
    /// Writes a record to `topic`, in the partition of its key, with the event's timestamp, once the
    /// handler has returned `Ok`. The event is done when this is acknowledged.
    ///
    /// # Errors
    /// The event emitted too much, or has its outcome already.
    pub fn emit(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), EmitError> {
        self.push(0, &Outgoing { topic, timestamp: self.timestamp, key, value, headers })
    }

    /// The same for one event of a batch, by its index: with its timestamp, and only if the handler
    /// does not name it, or one before it, as failed.
    pub(crate) fn push(&self, index: u32, record: &Outgoing<'_>) -> Result<(), EmitError> {
        self.outbox.locked().push(self.sequence, index, record)
    }

    /// Which try of the event this is, here and at earlier owners of the partition: 1 is the first.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// The time at which the event started.
    pub fn now(&self) -> Instant {
        self.now
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    /// The event that is out has this number; one that is not is none's.
    sequence: u64,
    bytes: Vec<u8>,
    records: Vec<Emitted>,
    headers: Vec<(u32, Option<u32>)>,
}

/// A record: lengths of what lies in the buffer.
#[derive(Debug, Clone, Copy)]
struct Emitted {
    index: u32,
    topic: u32,
    timestamp: i64,
    key: Option<u32>,
    value: Option<u32>,
    headers: u32,
}

impl Outbox {
    /// An event starts.
    pub(crate) fn open(
        self: &Arc<Self>,
        now: Instant,
        timestamp: i64,
        failures: u32,
    ) -> AsyncContext {
        let sequence = self.locked().sequence;
        AsyncContext { outbox: Arc::clone(self), sequence, now, timestamp, failures }
    }

    /// The event has ended: its context writes no more. Whether it emitted something.
    pub(crate) fn close(&self) -> bool {
        let mut records = self.locked();
        records.sequence += 1;
        !records.records.is_empty()
    }

    /// Forgets what was emitted.
    pub(crate) fn clear(&self) {
        self.locked().clear();
    }

    /// Hands over what the events below `end` of the batch emitted, and forgets the rest.
    pub(crate) fn hand_over(
        &self,
        end: u32,
        emitter: &mut Emitter,
        now: Instant,
    ) -> Result<(), EmitError> {
        let mut records = self.locked();
        let result = records.hand_over(end, emitter, now);
        records.clear();
        result
    }

    fn locked(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn push(&mut self, sequence: u64, index: u32, record: &Outgoing<'_>) -> Result<(), EmitError> {
        if sequence != self.sequence {
            return Err(EmitError::Late);
        }
        let Outgoing { topic, timestamp, key, value, headers } = *record;
        let field = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let of_headers = headers.iter().map(|header| header.key.len() + field(header.value));
        let length = topic.len() + field(key) + field(value) + of_headers.sum::<usize>();
        if self.bytes.len() + length > SPILL_LIMIT {
            return Err(EmitError::TooMuch);
        }
        let emitted = Emitted {
            index,
            topic: self.add(topic.as_bytes()),
            timestamp,
            key: key.map(|key| self.add(key)),
            value: value.map(|value| self.add(value)),
            headers: headers.len() as u32,
        };
        self.records.push(emitted);
        for header in headers {
            let lengths =
                (self.add(header.key.as_bytes()), header.value.map(|value| self.add(value)));
            self.headers.push(lengths);
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.extend_from_slice(bytes);
        // At most `SPILL_LIMIT`, as checked by the caller.
        bytes.len() as u32
    }

    fn hand_over(&self, end: u32, emitter: &mut Emitter, now: Instant) -> Result<(), EmitError> {
        let mut rest = &self.bytes[..];
        let mut lengths = self.headers.iter();
        let mut headers = Vec::new();
        let mut cut = |length: u32| {
            let (field, left) = rest.split_at(length as usize);
            rest = left;
            field
        };
        for emitted in &self.records {
            let topic = text(cut(emitted.topic));
            let key = emitted.key.map(&mut cut);
            let value = emitted.value.map(&mut cut);
            headers.clear();
            for (key, value) in lengths.by_ref().take(emitted.headers as usize) {
                headers.push(Header { key: text(cut(*key)), value: value.map(&mut cut) });
            }
            if emitted.index < end {
                let (timestamp, headers) = (emitted.timestamp, &*headers);
                emitter.emit(&Outgoing { topic, timestamp, key, value, headers }, now)?;
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.records.clear();
        self.headers.clear();
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES);
    }
}

/// What was a `&str` when it was written.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::testing::TestOutlet;

    fn outgoing<'a>(
        topic: &'a str,
        key: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
    ) -> Outgoing<'a> {
        Outgoing { topic, timestamp: 7, key, value: Some(b"value"), headers }
    }

    #[test]
    fn what_is_handed_over_is_what_was_emitted() {
        let (outbox, outlet) = (Arc::new(Outbox::default()), TestOutlet::new(9));
        let mut emitter = Emitter::new(Box::new(outlet.clone()));
        let now = Instant::now();
        let cx = outbox.open(now, 7, 0);
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "none", value: None }];
        cx.push(0, &outgoing("one", Some(b"k"), &headers)).unwrap();
        cx.push(1, &outgoing("two", None, &[])).unwrap();
        cx.push(2, &outgoing("three", None, &[])).unwrap();
        assert!(outbox.close());
        outbox.hand_over(2, &mut emitter, now).unwrap();
        let written = outlet.0.lock().unwrap().written.clone();
        let names: Vec<_> = written.iter().map(|record| &*record.topic).collect();
        assert_eq!(names, ["one", "two"], "the third belongs to an event that failed");
        assert_eq!((written[0].key.as_deref(), written[1].key.as_deref()), (Some(&b"k"[..]), None));
        assert_eq!(written[0].value.as_deref(), Some(&b"value"[..]));
        assert_eq!(written[0].headers[0], ("h".to_owned(), b"1".to_vec()));
        assert!(!outbox.close(), "what was handed over is forgotten");
    }

    #[test]
    fn trap_31_a_context_that_is_kept_does_not_write_for_a_later_event() {
        let outbox = Arc::new(Outbox::default());
        let now = Instant::now();
        let kept = outbox.open(now, 7, 0);
        assert!(!outbox.close());
        let next = outbox.open(now, 7, 2);
        assert_eq!(kept.emit("out", None, None, &[]), Err(EmitError::Late));
        next.emit("out", None, None, &[]).unwrap();
        assert_eq!(next.attempt(), 3);
        assert!(outbox.close());
    }

    #[test]
    fn one_event_may_not_emit_without_limit() {
        let outbox = Arc::new(Outbox::default());
        let cx = outbox.open(Instant::now(), 7, 0);
        let big = vec![0; SPILL_LIMIT / 2];
        cx.emit("out", None, Some(&big), &[]).unwrap();
        assert_eq!(cx.emit("out", None, Some(&big), &[]), Err(EmitError::TooMuch));
    }
}
