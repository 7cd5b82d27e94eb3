//! The times of records: whether they lie where the topic wants them, or are the broker's.

use std::time::Duration;

use bytes::BytesMut;
use onrush_record::{Attributes, BatchHeader, Decompressor, HEADER_LEN, RawBatch, crc32c, records};

use crate::settings::{LONGEST, TimestampType, TopicSettings};

/// Most bytes that the records of one batch may take when their times are looked at.
const MAX_DECOMPRESSED: usize = 64 * 1024 * 1024;

/// Where the checksum stands in a batch, and what it is of.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// The bit of a batch's attributes that says: the broker's time.
const LOG_APPEND: i16 = 1 << 3;

/// What is wrong with the times of a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimeFault {
    #[error("a producer may not say that the times are the broker's")]
    NotYours,
    #[error(
        "the time {time} lies more than {limit} ms ahead of the broker's clock (message.timestamp.after.max.ms)"
    )]
    Ahead { time: i64, limit: u128 },
    #[error(
        "the time {time} lies more than {limit} ms behind the broker's clock (message.timestamp.before.max.ms)"
    )]
    Behind { time: i64, limit: u128 },
    #[error("the times of the records cannot be read")]
    Unread,
}

/// Checks the times of a batch at the time of day `now`.
pub(super) fn check(
    batch: &RawBatch<'_>,
    settings: &TopicSettings,
    now: i64,
) -> Result<(), TimeFault> {
    if settings.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    if batch.header.attributes.timestamp_type_log_append() {
        return Err(TimeFault::NotYours);
    }
    let after = settings.timestamp_after_max;
    let time = batch.header.max_timestamp;
    if time > now.saturating_add(millis(after)) {
        return Err(TimeFault::Ahead { time, limit: after.as_millis() });
    }
    check_oldest(batch, settings.timestamp_before_max, now)
}

/// The header does not have the earliest time, so that all records are walked; but only where a limit
/// is set.
fn check_oldest(batch: &RawBatch<'_>, before: Duration, now: i64) -> Result<(), TimeFault> {
    if before == LONGEST {
        return Ok(());
    }
    let earliest = now.saturating_sub(millis(before));
    let mut buffer = Vec::new();
    let payload = Decompressor::new(MAX_DECOMPRESSED)
        .payload(batch, &mut buffer)
        .map_err(|_| TimeFault::Unread)?;
    for record in records(payload.bytes(batch, &buffer), &batch.header) {
        let time = record.map_err(|_| TimeFault::Unread)?.timestamp;
        // A record without a time has none to be refused.
        if (0..earliest).contains(&time) {
            return Err(TimeFault::Behind { time, limit: before.as_millis() });
        }
    }
    Ok(())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Gives all records of a batch the time `now`.
pub(super) fn stamp(batch: &mut BytesMut, header: &mut BatchHeader, now: i64) {
    let Ok(attributes) = Attributes::from_bits(header.attributes.bits() | LOG_APPEND) else {
        return;
    };
    header.attributes = attributes;
    header.max_timestamp = now;
    batch[..HEADER_LEN].copy_from_slice(&header.encode());
    header.crc = crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&header.crc.to_be_bytes());
}
