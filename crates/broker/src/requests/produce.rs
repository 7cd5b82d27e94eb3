//! Produce: header checks, then an append of the very bytes that came from the socket.
//!
//! The disk in memory keeps them, and with them the whole frame that they lie in. So a batch that is
//! a small part of its frame is copied there.
//!
//! Where acknowledged means on the disk, the request is parked until the syncer has reached its batches.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use onrush_record::error::RecordError;
use onrush_record::header::{set_base_offset, set_partition_leader_epoch};
use onrush_record::{BatchHeader, RawBatch};
use onrush_runtime::Instant;
use onrush_wire::produce::{
    PartitionProduced, ProduceRequest, ProduceResponse, TOPIC_IDS, TopicProduce, TopicProduced,
};
use onrush_wire::{ErrorCode, WireError};

use crate::core::{Core, Envelope, Outcome, string, tolerant};
use crate::parked::{ConnectionId, ParkedProduce, PendingBatch, Waiting};
use crate::producers::Verdict;
use crate::settings::{TimestampType, TopicSettings};
use crate::topics::{Place, TopicRef};

mod timestamps;

use timestamps::TimeFault;

/// "None", for the time of an append.
const NO_TIME: i64 = -1;

/// The disk in memory keeps a batch in its frame if the frame is at most this many times as large:
/// so much more than its records it may hold.
const MAX_FRAME_SHARE: usize = 2;

/// However impatient a client is, the disk gets this long.
const MIN_SYNC_WAIT: Duration = Duration::from_secs(5);

/// Longest time that a Produce waits for the disk, whatever is asked for.
const MAX_SYNC_WAIT: Duration = Duration::from_secs(300);

/// The topics of a request with what is left of them when it is dropped, so that its bytes can be
/// written to.
struct Incoming {
    answer: TopicProduced,
    place: Result<Place, ErrorCode>,
    /// Partition and where its batch lies in the body.
    batches: Vec<(i32, Range<usize>)>,
}

/// What became of a batch.
struct Written {
    /// The answer, once it is synced if it has to be.
    answer: PartitionProduced,
    /// Up to which offset the log must be synced before that.
    unsynced: Option<i64>,
}

impl Core {
    pub(crate) fn produce(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let Envelope { version, correlation_id, .. } = envelope;
        let request = tolerant(body.clone(), |body| ProduceRequest::decode(version, body))?;
        let silent = request.acks == 0;
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let refusal = refusal(&request);
        let incoming: Vec<Incoming> =
            request.topics.iter().map(|topic| self.incoming(version, topic, &body)).collect();
        drop(request);
        // Nobody else has the frame now, unless it was read together with others; then it is
        // copied.
        let rest = body.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let response = ProduceResponse::default();
        let mut produce =
            ParkedProduce { correlation_id, version, silent, response, pending: Vec::new() };
        self.write_all(&mut produce, refusal, incoming, rest);
        if produce.pending.is_empty() {
            return produce.answer();
        }
        self.parked.park(connection, Waiting::Produce(produce));
        Ok(Outcome::Parked(now + timeout.clamp(MIN_SYNC_WAIT, MAX_SYNC_WAIT)))
    }

    /// Appends the batches that lie in the body, or none if there is a `refusal`, and notes what is to be answered.
    fn write_all(
        &mut self,
        produce: &mut ParkedProduce,
        refusal: Option<ErrorCode>,
        incoming: Vec<Incoming>,
        mut rest: BytesMut,
    ) {
        let kept_whole = self.topics.in_memory().then_some(rest.capacity() / MAX_FRAME_SHARE);
        let mut consumed = 0;
        for (topic_at, topic) in incoming.into_iter().enumerate() {
            produce.response.topics.push(topic.answer);
            for (partition_at, (index, range)) in topic.batches.into_iter().enumerate() {
                let _ = rest.split_to(range.start.saturating_sub(consumed).min(rest.len()));
                let batch = rest.split_to(range.len().min(rest.len()));
                consumed = range.end.max(consumed);
                let place = refusal.map_or_else(|| topic.place.clone(), Err);
                let place = place.map(|place| Place { partition: index, ..place });
                let written = place.as_ref().map_err(|error| *error);
                let written = written.and_then(|place| self.write(place, batch, kept_whole));
                let answer = match written {
                    Ok(Written { answer, unsynced }) => {
                        if let (Some(end), Ok(place)) = (unsynced, &place) {
                            let (place, answer) = (place.clone(), (topic_at, partition_at));
                            produce.pending.push(PendingBatch { place, end, answer });
                        }
                        answer
                    }
                    Err(error) => PartitionProduced::failed(index, error),
                };
                if let Some(topic) = produce.response.topics.last_mut() {
                    topic.partitions.push(answer);
                }
                if let Ok(place) = &place {
                    let (synced, written) = self.settle(place);
                    // A failed sync may have taken back what this very request wrote before.
                    produce.settle(place, synced, written);
                }
            }
        }
    }

    /// Tells those who wait for a log how far readers and writers are now, and returns that.
    pub(crate) fn settle(&mut self, place: &Place) -> (i64, i64) {
        let (shown, synced, written) = self.topics.take_shown(place);
        if shown > 0 {
            self.parked.appended(place, shown);
        }
        self.parked.settle(place, synced, written);
        (synced, written)
    }

    fn incoming(&self, version: i16, topic: &TopicProduce, body: &Bytes) -> Incoming {
        let asked = match version {
            TOPIC_IDS.. => TopicRef::Id(topic.topic_id),
            _ => TopicRef::Name(topic.name.as_str()),
        };
        let place =
            self.topics.find(asked).map(|found| Place { topic: found.name.clone(), partition: 0 });
        let batches = topic
            .partitions
            .iter()
            .map(|partition| (partition.index, range_in(body, partition.records.as_deref())))
            .collect();
        let answer = TopicProduced {
            name: string(topic.name.as_str()),
            topic_id: topic.topic_id,
            partitions: Vec::with_capacity(topic.partitions.len()),
        };
        Incoming { answer, place, batches }
    }

    /// Appends a batch, or a copy of one that is shorter than `kept_whole` bytes.
    fn write(
        &mut self,
        place: &Place,
        mut batch: BytesMut,
        kept_whole: Option<usize>,
    ) -> Result<Written, ErrorCode> {
        let settings = self.topics.find(TopicRef::Name(&place.topic))?.settings;
        let log = self.topics.log(&place.topic, place.partition)?;
        let start = log.start();
        let end = log.end();
        let now = self.clock.wall_millis();
        let mut header = match checked(&batch, &settings, now) {
            Ok(header) => header,
            Err(fault) => {
                let Place { topic, partition } = place;
                tracing::warn!(%topic, partition, %fault, "refused a batch");
                let error_message = Some(string(&fault.to_string()));
                let failed = PartitionProduced::failed(place.partition, fault.code());
                let answer = PartitionProduced { error_message, ..failed };
                return Ok(Written { answer, unsynced: None });
            }
        };
        if let Verdict::Duplicate { base_offset } = log.check(&header)? {
            let answer = PartitionProduced::written(place.partition, base_offset, start);
            let next = base_offset + i64::from(header.record_count);
            return Ok(Written { answer, unsynced: (next > end).then_some(next) });
        }
        header.base_offset = log.next_offset();
        header.partition_leader_epoch = self.topics.leader_epoch();
        if kept_whole.is_some_and(|least| batch.len() < least) {
            batch = BytesMut::from(&batch[..]);
        }
        set_base_offset(&mut batch, header.base_offset);
        set_partition_leader_epoch(&mut batch, header.partition_leader_epoch);
        let log_append_time_ms = match settings.timestamp_type {
            TimestampType::CreateTime => NO_TIME,
            TimestampType::LogAppendTime => {
                timestamps::stamp(&mut batch, &mut header, now);
                now
            }
        };
        self.topics.append(place, &header, batch.freeze())?;
        let written = PartitionProduced::written(place.partition, header.base_offset, start);
        let answer = PartitionProduced { log_append_time_ms, ..written };
        let next = header.last_offset() + 1;
        let is_shown = self.topics.log(&place.topic, place.partition)?.end() >= next;
        Ok(Written { answer, unsynced: (!is_shown).then_some(next) })
    }
}

/// An error of the request as a whole.
fn refusal(request: &ProduceRequest) -> Option<ErrorCode> {
    if !matches!(request.acks, -1..=1) {
        return Some(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    request.transactional_id.is_some().then_some(ErrorCode::INVALID_TXN_STATE)
}

/// Where `slice` lies in `body`, which it is a slice of.
fn range_in(body: &[u8], slice: Option<&[u8]>) -> Range<usize> {
    let Some(slice) = slice else { return 0..0 };
    let start = slice.as_ptr().addr().saturating_sub(body.as_ptr().addr());
    start..start + slice.len()
}

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
enum BatchFault {
    #[error(transparent)]
    Malformed(#[from] RecordError),
    #[error("a batch of {size} bytes is above the limit of {limit} (max.message.bytes)")]
    TooLarge { size: usize, limit: usize },
    #[error(transparent)]
    Time(#[from] TimeFault),
    #[error("{0} bytes stand behind the batch; a request has one batch per partition")]
    Trailing(usize),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("transactions are not served")]
    Transactional,
}

impl BatchFault {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(RecordError::UnsupportedMagic { .. }) => {
                ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
            }
            Self::Malformed(RecordError::UnknownCodec { .. }) => {
                ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
            }
            Self::Malformed(_) => ErrorCode::CORRUPT_MESSAGE,
            Self::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            Self::Trailing(_) | Self::Invalid(_) => ErrorCode::INVALID_RECORD,
            Self::Time(_) => ErrorCode::INVALID_TIMESTAMP,
            Self::Transactional => ErrorCode::INVALID_TXN_STATE,
        }
    }
}

/// The header of the one batch in `bytes`, if it may be appended at the time of day `now`.
fn checked(bytes: &[u8], settings: &TopicSettings, now: i64) -> Result<BatchHeader, BatchFault> {
    let (size, limit) = (bytes.len(), settings.max_message_bytes);
    if size > limit {
        return Err(BatchFault::TooLarge { size, limit });
    }
    let batch = RawBatch::parse(bytes)?;
    batch.verify_crc()?;
    let header = batch.header;
    if batch.bytes.len() != bytes.len() {
        return Err(BatchFault::Trailing(bytes.len() - batch.bytes.len()));
    }
    if header.attributes.is_control() {
        return Err(BatchFault::Invalid("a producer may not send control batches"));
    }
    if header.attributes.is_transactional() {
        return Err(BatchFault::Transactional);
    }
    if header.record_count < 1 || header.record_count != header.last_offset_delta.saturating_add(1)
    {
        return Err(BatchFault::Invalid(
            "the offsets of a new batch are dense, and it has a record",
        ));
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(BatchFault::Invalid("a producer id comes with an epoch and a sequence"));
    }
    timestamps::check(&batch, settings, now)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use onrush_record::{BatchBuilder, Compression, Compressor};
    use onrush_runtime::{Disk, Runtime};
    use onrush_wire::produce::PartitionProduce;
    use onrush_wire::{ApiKey, RequestHeader, Uuid};

    use super::*;
    use crate::BrokerConfig;
    use crate::config::MAX_FETCH_BYTES;
    use crate::log::{Oversized, Slice};

    fn batch(length: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, None, Some(&vec![7; length]), &[]).expect("fits");
        builder.seal(-1, -1, -1, &mut Compressor::default()).expect("sealed").freeze()
    }

    /// A request with these batches, each for its partition, as it comes from the socket.
    fn frame(batches: &[(i32, Bytes)]) -> Bytes {
        let partition = |(index, batch): &(i32, Bytes)| PartitionProduce {
            index: *index,
            records: Some(batch.clone()),
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: 1,
            timeout_ms: 0,
            topics: vec![TopicProduce {
                name: string("t"),
                topic_id: Uuid::ZERO,
                partitions: batches.iter().map(partition).collect(),
            }],
        };
        let header = RequestHeader::new(ApiKey::PRODUCE, 9, 1).with_client_id(string("client"));
        let segments = request.encode(&header).expect("encodes");
        let mut frame = BytesMut::new();
        segments.iter().for_each(|segment| frame.extend_from_slice(segment));
        // As long as it has to be, as it is read.
        Bytes::from(frame[onrush_wire::frame::PREFIX..].to_vec())
    }

    /// Whether the batch at each place lies in `frame` after it was handled.
    fn kept_in(frame: Bytes, places: &[(i32, i64)]) -> Vec<bool> {
        let runtime = Runtime::production(Disk::memory());
        let mut core = Core::open(BrokerConfig::default(), &runtime).expect("opens");
        core.topics.create(&runtime.random, "t", 2).expect("created");
        let of_frame = frame.as_ptr_range();
        core.handle(runtime.clock.now(), 1, MAX_FETCH_BYTES, frame).expect("answered");
        let kept = |(partition, offset): &(i32, i64)| {
            let log = core.topics.log("t", *partition).expect("there");
            let slice = log.read(*offset, 1, Oversized::Allowed).expect("reads");
            let Slice::Records(records) = slice else { panic!("out of range") };
            let header = BatchHeader::parse(&records).expect("a batch");
            assert_eq!((header.base_offset, header.total_len()), (*offset, records.len()));
            of_frame.contains(&records.as_ptr())
        };
        places.iter().map(kept).collect()
    }

    #[test]
    fn a_batch_goes_from_the_socket_to_the_log_and_out_again_without_a_copy() {
        assert_eq!(kept_in(frame(&[(0, batch(1_000))]), &[(0, 0)]), [true]);
        let large_first = frame(&[(0, batch(9_000)), (1, batch(100)), (0, batch(100))]);
        assert_eq!(kept_in(large_first, &[(0, 0), (1, 0), (0, 1)]), [true, false, false]);
    }

    #[test]
    fn a_small_batch_does_not_hold_a_frame_that_was_refused_otherwise() {
        let mut spoilt = BytesMut::from(&batch(100_000)[..]);
        if let Some(last) = spoilt.last_mut() {
            *last ^= 1;
        }
        let frame = frame(&[(0, batch(1_000)), (1, spoilt.freeze())]);
        assert_eq!(kept_in(frame, &[(0, 0)]), [false]);
    }
}
