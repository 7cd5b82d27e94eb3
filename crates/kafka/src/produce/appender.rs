//! An appender: open batches of one thread, one per partition it writes to.
//!
//! A slot is *empty* or *open*. The first record opens it and reserves memory for a whole batch;
//! the record that does not fit, the end of the linger time, a flush, or a lack of memory hand the
//! batch over and leave the slot empty. Nothing here waits.

use std::sync::Arc;

use onrush_record::{BatchBuilder, Compressor, HEADER_LEN, Header, Partitioner};
use onrush_runtime::{Instant, Wake};

use super::batch::Batch;
use super::memory::Reservation;
use super::{AckSink, Acked, Handle, ProduceError};
use crate::partition::TopicPartition;

/// A topic of one appender; see [`Appender::topic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicHandle(usize);

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The producer's memory is used up. What was open has been handed over; append again when the
    /// appender's [`Wake`] was woken.
    #[error("the producer's memory is used up for the moment")]
    Full,
    /// The record does not fit into the largest batch.
    #[error("a record of {bytes} bytes does not fit into the largest batch of {limit}")]
    TooLarge {
        /// About what it takes.
        bytes: usize,
        /// What there may be.
        limit: usize,
    },
    /// The metadata does not know the topic (yet): refresh it and try again.
    #[error("topic {topic} is not known (yet); it is looked up when the metadata is refreshed")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// The topic has no such partition.
    #[error("{topic} has {partitions} partitions, there is no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// What there is.
        partitions: usize,
    },
}

/// The fields of a record, borrowed.
struct Record<'a> {
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [Header<'a>],
}

/// Appends records. For one thread at a time.
pub struct Appender {
    shared: Arc<Handle>,
    ack: Arc<dyn AckSink>,
    room: Option<Wake>,
    topics: Vec<Topic>,
    compressor: Compressor,
    next_batch: u64,
    /// See [`ProducerConfig`](super::ProducerConfig).
    batch_bytes: usize,
    /// No open batch is due before this; none is open without it.
    due: Option<Instant>,
}

struct Topic {
    name: Arc<str>,
    slots: Vec<Slot>,
    partitioner: Partitioner,
    /// Where records without a key go until that batch is full.
    sticky: usize,
}

struct Slot {
    partition: TopicPartition,
    builder: BatchBuilder,
    open: Option<Open>,
}

struct Open {
    id: u64,
    since: Instant,
    reservation: Reservation,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender")
            .field("next_batch", &self.next_batch)
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl Appender {
    pub(super) fn new(shared: Arc<Handle>, ack: Arc<dyn AckSink>) -> Self {
        let batch_bytes = shared.config.batch_bytes;
        Self {
            shared,
            ack,
            room: None,
            topics: Vec::new(),
            compressor: Compressor::new(),
            next_batch: 0,
            batch_bytes,
            due: None,
        }
    }

    /// Wakes `room` when memory may be free again after [`AppendError::Full`].
    pub fn wake_on_room(&mut self, room: Wake) {
        self.room = Some(room);
    }

    /// A handle of the topic, if the metadata knows it; partitions that were added since are taken
    /// over.
    ///
    /// # Errors
    /// [`AppendError::UnknownTopic`]; see [`Client::refresh`](crate::Client::refresh).
    pub fn topic(&mut self, name: &str) -> Result<TopicHandle, AppendError> {
        let known = self.shared.client.topic(name).filter(|topic| !topic.partitions.is_empty());
        let known = known.ok_or_else(|| AppendError::UnknownTopic { topic: name.to_owned() })?;
        let index = match self.topics.iter().position(|topic| *topic.name == *name) {
            Some(index) => index,
            None => {
                self.topics.push(Topic {
                    name: Arc::clone(&known.name),
                    slots: Vec::new(),
                    partitioner: Partitioner::new(1),
                    sticky: 0,
                });
                self.topics.len() - 1
            }
        };
        let config = &self.shared.config;
        if let Some(topic) = self.topics.get_mut(index) {
            for partition in topic.slots.len()..known.partitions.len() {
                topic.slots.push(Slot {
                    partition: TopicPartition::new(
                        Arc::clone(&topic.name),
                        i32::try_from(partition).unwrap_or(i32::MAX),
                    ),
                    builder: BatchBuilder::with_capacity(config.compression, config.batch_bytes),
                    open: None,
                });
            }
            topic.partitioner =
                Partitioner::new(i32::try_from(topic.slots.len()).unwrap_or(i32::MAX));
            topic.move_on(self.shared.client.random());
        }
        Ok(TopicHandle(index))
    }

    /// Appends a record; to `partition`, or to the one of its key, or without a key to the one that
    /// is being filled. Returns the number of the batch that it went into.
    ///
    /// # Errors
    /// The record was not appended; see [`AppendError`].
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a record, borrowed, in the order of the wire"
    )]
    pub fn append(
        &mut self,
        topic: TopicHandle,
        partition: Option<i32>,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        now: Instant,
    ) -> Result<u64, AppendError> {
        let record = Record { timestamp, key, value, headers };
        let size = BatchBuilder::estimate(key, value, headers);
        let index = self.slot_index(topic, partition, key)?;
        if let Some(slot) =
            self.topics.get_mut(topic.0).and_then(|topic| topic.slots.get_mut(index))
            && let Some(open) = &slot.open
            && slot.builder.len() + size <= self.batch_bytes
        {
            let id = open.id;
            return slot.append(&record, size).map(|()| id);
        }
        self.append_to_new(topic, index, partition, &record, size, now)
    }

    /// Appends to a batch that is opened for it, after the slot's full one was handed over.
    #[cold]
    fn append_to_new(
        &mut self,
        topic: TopicHandle,
        mut index: usize,
        partition: Option<i32>,
        record: &Record<'_>,
        size: usize,
        now: Instant,
    ) -> Result<u64, AppendError> {
        let limit = self.shared.config.max_batch_bytes;
        if size + HEADER_LEN > limit {
            return Err(AppendError::TooLarge { bytes: size, limit });
        }
        self.hand_over(topic.0, index);
        if partition.is_none() && record.key.is_none() {
            // Records without a key move on to another partition, whose batch may be open, and full
            // for this one.
            index = self.slot_index(topic, None, None)?;
            let room =
                |slot: &Slot| slot.open.is_none() || slot.builder.len() + size <= self.batch_bytes;
            if !self.slot(topic, index).is_some_and(room) {
                self.hand_over(topic.0, index);
            }
        }
        let id = match self.slot(topic, index).and_then(|slot| slot.open.as_ref()) {
            Some(open) => open.id,
            None => self.open(topic, index, self.batch_bytes.max(size + HEADER_LEN), now)?,
        };
        match self.topics.get_mut(topic.0).and_then(|topic| topic.slots.get_mut(index)) {
            Some(slot) => slot.append(record, size).map(|()| id),
            None => Err(AppendError::UnknownTopic { topic: format!("{topic:?}") }),
        }
    }

    /// Hands over all open batches.
    pub fn flush(&mut self, _now: Instant) {
        self.hand_over_all();
    }

    fn hand_over_all(&mut self) {
        for topic in 0..self.topics.len() {
            for slot in 0..self.topics.get(topic).map_or(0, |topic| topic.slots.len()) {
                self.hand_over(topic, slot);
            }
        }
        self.due = None;
    }

    /// Hands over the batches that lingered long enough; says when the next one will have.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        if self.due.is_none_or(|due| due > now) {
            return self.due;
        }
        let linger = self.shared.config.linger;
        self.due = None;
        for topic in 0..self.topics.len() {
            for slot in 0..self.topics.get(topic).map_or(0, |topic| topic.slots.len()) {
                match self
                    .slot(TopicHandle(topic), slot)
                    .and_then(|slot| slot.open.as_ref())
                    .map(|open| open.since + linger)
                {
                    Some(due) if due <= now => self.hand_over(topic, slot),
                    Some(due) => {
                        self.due = Some(self.due.map_or(due, |earliest| earliest.min(due)))
                    }
                    None => {}
                }
            }
        }
        self.due
    }

    fn slot(&self, topic: TopicHandle, index: usize) -> Option<&Slot> {
        self.topics.get(topic.0)?.slots.get(index)
    }

    #[inline]
    fn slot_index(
        &self,
        handle: TopicHandle,
        partition: Option<i32>,
        key: Option<&[u8]>,
    ) -> Result<usize, AppendError> {
        // Handles come from `topic`, which never takes one back.
        let topic = self
            .topics
            .get(handle.0)
            .ok_or_else(|| AppendError::UnknownTopic { topic: format!("{handle:?}") })?;
        match (partition, key) {
            (Some(partition), _) => match usize::try_from(partition) {
                Ok(index) if index < topic.slots.len() => Ok(index),
                _ => Err(AppendError::UnknownPartition {
                    topic: topic.name.to_string(),
                    partition,
                    partitions: topic.slots.len(),
                }),
            },
            (None, Some(key)) => Ok(usize::try_from(topic.partitioner.partition(key)).unwrap_or(0)),
            (None, None) => Ok(topic.sticky),
        }
    }

    #[cold]
    fn open(
        &mut self,
        topic: TopicHandle,
        index: usize,
        bytes: usize,
        now: Instant,
    ) -> Result<u64, AppendError> {
        let Some(reservation) = self.shared.memory.reserve(bytes, self.room.as_ref()) else {
            // Memory of open batches comes back only when they are sent.
            self.hand_over_all();
            return Err(AppendError::Full);
        };
        let id = self.next_batch;
        self.next_batch += 1;
        if let Some(slot) =
            self.topics.get_mut(topic.0).and_then(|topic| topic.slots.get_mut(index))
        {
            slot.open = Some(Open { id, since: now, reservation });
        }
        let due = now + self.shared.config.linger;
        self.due = Some(self.due.map_or(due, |earliest| earliest.min(due)));
        Ok(id)
    }

    #[cold]
    fn hand_over(&mut self, topic: usize, index: usize) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let Some(slot) = topic.slots.get_mut(index) else { return };
        let Some(Open { id, since, mut reservation }) = slot.open.take() else { return };
        let partition = slot.partition.clone();
        let count = u32::try_from(slot.builder.record_count()).unwrap_or(0);
        let ack = Arc::clone(&self.ack);
        match slot.builder.seal_unnumbered(&mut self.compressor) {
            Ok(sealed) => {
                // What is alive is the buffer, not only what is written in it.
                reservation.shrink(sealed.capacity());
                let bytes = sealed.freeze();
                self.shared.hand_over(Batch {
                    id,
                    partition,
                    bytes,
                    count,
                    since,
                    ack,
                    reservation: Some(reservation),
                });
            }
            Err(error) => {
                let config = &self.shared.config;
                slot.builder = BatchBuilder::with_capacity(config.compression, config.batch_bytes);
                let outcome = Err(ProduceError::Seal {
                    partition: partition.clone(),
                    reason: error.to_string(),
                });
                ack.acked(Acked { batch: id, partition, outcome, count });
            }
        }
        if index == topic.sticky {
            topic.move_on(self.shared.client.random());
        }
    }
}

/// No record vanishes unheard: what is open is handed over, and its sink told.
impl Drop for Appender {
    fn drop(&mut self) {
        self.hand_over_all();
    }
}

impl Slot {
    fn append(&mut self, record: &Record<'_>, size: usize) -> Result<(), AppendError> {
        let limit = self.builder.len();
        self.builder
            .append(record.timestamp, record.key, record.value, record.headers)
            .map_err(|_| AppendError::TooLarge { bytes: size, limit })
    }
}

impl Topic {
    /// Records without a key go to another partition from now on.
    fn move_on(&mut self, random: &onrush_runtime::Random) {
        let count = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        self.sticky = usize::try_from(random.below(count)).unwrap_or(0);
    }
}
