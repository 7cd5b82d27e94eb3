//! Produce: header checks, then an append of the very bytes that came from the socket.
//!
//! The disk in memory keeps them, and with them the whole frame that they lie in. So a batch that is
//! a small part of its frame is copied there.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use onrush_record::error::RecordError;
use onrush_record::header::{set_base_offset, set_partition_leader_epoch};
use onrush_record::{BatchHeader, RawBatch};
use onrush_wire::produce::{
    PartitionProduced, ProduceRequest, ProduceResponse, TOPIC_IDS, TopicProduce, TopicProduced,
};
use onrush_wire::{ErrorCode, WireError};

use crate::config::MAX_BATCH;
use crate::core::{Core, Envelope, Outcome, string, tolerant};
use crate::producers::Verdict;
use crate::topics::{Place, TopicRef};

/// The disk in memory keeps a batch in its frame if the frame is at most this many times as large:
/// so much more than its records it may hold.
const MAX_FRAME_SHARE: usize = 2;

/// The topics of a request with what is left of them when it is dropped, so that its bytes can be
/// written to.
struct Incoming {
    answer: TopicProduced,
    place: Result<Place, ErrorCode>,
    /// Partition and where its batch lies in the body.
    batches: Vec<(i32, Range<usize>)>,
}

impl Core {
    pub(crate) fn produce(
        &mut self,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let request =
            tolerant(body.clone(), |body| ProduceRequest::decode(envelope.version, body))?;
        let acks = request.acks;
        let refusal = refusal(&request);
        let incoming: Vec<Incoming> = request
            .topics
            .iter()
            .map(|topic| self.incoming(envelope.version, topic, &body))
            .collect();
        drop(request);
        // Nobody else has the frame now, unless it was read together with others; then it is
        // copied.
        let mut rest = body.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let kept_whole = self.topics.in_memory().then_some(rest.capacity() / MAX_FRAME_SHARE);
        let mut consumed = 0;
        let mut response = ProduceResponse::default();
        for topic in incoming {
            let mut answer = topic.answer;
            for (index, range) in topic.batches {
                let _ = rest.split_to(range.start.saturating_sub(consumed).min(rest.len()));
                let batch = rest.split_to(range.len().min(rest.len()));
                consumed = range.end.max(consumed);
                let place = refusal.map_or_else(|| topic.place.clone(), Err);
                let written = place.and_then(|place| {
                    self.write(&Place { partition: index, ..place }, batch, kept_whole)
                });
                answer
                    .partitions
                    .push(written.unwrap_or_else(|error| PartitionProduced::failed(index, error)));
            }
            response.topics.push(answer);
        }
        match acks {
            0 => Ok(Outcome::Silent),
            _ => Ok(Outcome::Reply(vec![
                response.encode(envelope.correlation_id, envelope.version)?,
            ])),
        }
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
    ) -> Result<PartitionProduced, ErrorCode> {
        let log = self.topics.log(&place.topic, place.partition)?;
        let start = log.start();
        let mut header = match checked(&batch) {
            Ok(header) => header,
            Err(fault) => {
                let Place { topic, partition } = place;
                tracing::warn!(%topic, partition, %fault, "refused a batch");
                let error_message = Some(string(&fault.to_string()));
                let failed = PartitionProduced::failed(place.partition, fault.code());
                return Ok(PartitionProduced { error_message, ..failed });
            }
        };
        if let Verdict::Duplicate { base_offset } = log.check(&header)? {
            return Ok(PartitionProduced::written(place.partition, base_offset, start));
        }
        header.base_offset = log.end();
        header.partition_leader_epoch = self.topics.leader_epoch();
        if kept_whole.is_some_and(|least| batch.len() < least) {
            batch = BytesMut::from(&batch[..]);
        }
        set_base_offset(&mut batch, header.base_offset);
        set_partition_leader_epoch(&mut batch, header.partition_leader_epoch);
        let appended = self.topics.append(place, &header, batch.freeze())?;
        self.parked.appended(place, appended.bytes);
        Ok(PartitionProduced::written(place.partition, appended.base_offset, start))
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
    #[error("a batch of {0} bytes is above the limit of {MAX_BATCH}")]
    TooLarge(usize),
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
            Self::TooLarge(_) => ErrorCode::MESSAGE_TOO_LARGE,
            Self::Trailing(_) | Self::Invalid(_) => ErrorCode::INVALID_RECORD,
            Self::Transactional => ErrorCode::INVALID_TXN_STATE,
        }
    }
}

/// The header of the one batch in `bytes`, if it may be appended.
fn checked(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
    if bytes.len() > MAX_BATCH {
        return Err(BatchFault::TooLarge(bytes.len()));
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
        core.handle(runtime.clock.now(), 1, frame).expect("answered");
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
