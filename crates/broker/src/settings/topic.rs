//! What can be set on a topic.

use std::time::Duration;

use super::value::{FLAG, FRACTION, Kind, LIMIT, int, long, millis, only, open};
use super::{Overrides, Setting, inert, set_all, setting};
use crate::BrokerConfig;
use crate::config::{MAX_BATCH, MIN_SEGMENT_BYTES};

/// The settings of a topic that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// A segment all of whose records are older goes; `None` keeps them.
    pub(crate) retention: Option<Duration>,
    /// A partition keeps about so many bytes; `None` keeps all.
    pub(crate) retention_bytes: Option<u64>,
    /// A segment that reached this size is closed and a new one begun.
    pub(crate) segment_bytes: u64,
    /// A segment whose first record is so old is closed and a new one begun, so that it can go.
    pub(crate) segment_age: Duration,
    /// Longest batch that is taken, with its header.
    pub(crate) max_message_bytes: usize,
    /// Whose time records carry.
    pub(crate) timestamp_type: TimestampType,
    /// How far the time of a record may lie behind the broker's clock.
    pub(crate) timestamp_before_max: Duration,
    /// How far the time of a record may lie ahead of the broker's clock.
    pub(crate) timestamp_after_max: Duration,
}

/// Whose time records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer's, as it came.
    #[default]
    CreateTime,
    /// The broker's, when it appended them.
    LogAppendTime,
}

/// The writing of a [`TimestampType`].
pub(super) struct Timestamps {
    pub(super) kind: Kind,
}

pub(super) const TIMESTAMPS: Timestamps = Timestamps { kind: Kind::String };

impl Timestamps {
    pub(super) fn parse(&self, text: &str) -> Result<TimestampType, String> {
        match text.trim() {
            "CreateTime" => Ok(TimestampType::CreateTime),
            "LogAppendTime" => Ok(TimestampType::LogAppendTime),
            _ => Err("must be CreateTime or LogAppendTime".to_owned()),
        }
    }

    pub(super) fn text(&self, value: &TimestampType) -> Option<String> {
        Some(format!("{value:?}"))
    }
}

impl TopicSettings {
    /// What is in force for a topic on which nothing is set.
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        Self {
            retention: config.log_retention,
            retention_bytes: config.log_retention_bytes,
            segment_bytes: config.segment_bytes,
            segment_age: config.log_roll,
            max_message_bytes: config.message_max_bytes,
            timestamp_type: config.log_timestamp_type,
            timestamp_before_max: config.log_timestamp_before_max,
            timestamp_after_max: config.log_timestamp_after_max,
        }
    }

    /// What is in force for a topic with these settings of its own.
    pub(crate) fn with(config: &BrokerConfig, overrides: &Overrides) -> Self {
        let mut settings = Self::of(config);
        set_all(TOPIC, &mut settings, overrides);
        settings.segment_bytes = config.segment_within_cap(settings.segment_bytes);
        settings
    }
}

/// The settings of topics.
pub(crate) const TOPIC: &[Setting<TopicSettings>] = &[
    inert!(
        "cleanup.policy",
        only(Kind::List, "delete", "compaction is not served"),
        "delete",
        ["log.cleanup.policy"],
        "What becomes of old segments: they are deleted."
    ),
    inert!(
        "compression.type",
        only(Kind::String, "producer", "batches are stored as they come"),
        "producer",
        ["compression.type"],
        "How batches are compressed: as the producer sent them."
    ),
    inert!(
        "delete.retention.ms",
        millis(0),
        "86400000",
        [],
        "A setting of log compaction, which is not served: acts on nothing."
    ),
    inert!(
        "file.delete.delay.ms",
        millis(0),
        "60000",
        [],
        "Files are removed at once: acts on nothing."
    ),
    inert!(
        "flush.messages",
        long(1, i64::MAX),
        "9223372036854775807",
        [],
        "When records are synced to the disk is the broker's to say: acts on nothing."
    ),
    inert!(
        "flush.ms",
        millis(0),
        "9223372036854775807",
        [],
        "When records are synced to the disk is the broker's to say: acts on nothing."
    ),
    inert!(
        "index.interval.bytes",
        int(0, i32::MAX as i64),
        "4096",
        [],
        "The interval of the index is 4096 bytes: acts on nothing."
    ),
    inert!(
        "max.compaction.lag.ms",
        millis(1),
        "9223372036854775807",
        [],
        "A setting of log compaction, which is not served: acts on nothing."
    ),
    setting!(alterable "max.message.bytes", int(0, MAX_BATCH as i64), max_message_bytes, ["message.max.bytes"],
        "The longest record batch that is taken, with its header and after compression."),
    setting!(alterable "message.timestamp.after.max.ms", millis(0), timestamp_after_max,
        ["log.message.timestamp.after.max.ms"],
        "How far the time of a record may lie ahead of the broker's clock."),
    setting!(alterable "message.timestamp.before.max.ms", millis(0), timestamp_before_max,
        ["log.message.timestamp.before.max.ms"],
        "How far the time of a record may lie behind the broker's clock."),
    setting!(alterable "message.timestamp.type", TIMESTAMPS, timestamp_type, ["log.message.timestamp.type"],
        "Whether records carry the producer's time (CreateTime) or the broker's (LogAppendTime)."),
    inert!(
        "min.cleanable.dirty.ratio",
        FRACTION,
        "0.5",
        [],
        "A setting of log compaction, which is not served: acts on nothing."
    ),
    inert!(
        "min.compaction.lag.ms",
        millis(0),
        "0",
        [],
        "A setting of log compaction, which is not served: acts on nothing."
    ),
    inert!(
        "min.insync.replicas",
        only(Kind::Int, "1", "there is one replica"),
        "1",
        ["min.insync.replicas"],
        "How many replicas must have a batch before it is acknowledged: there is one."
    ),
    inert!("preallocate", FLAG, "false", [], "Files grow as they are written: acts on nothing."),
    setting!(alterable "retention.bytes", LIMIT, retention_bytes, ["log.retention.bytes"],
        "How many bytes a partition keeps; -1 for no limit."),
    setting!(alterable "retention.ms", open(millis(0)), retention,
        ["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        "How long records are kept; -1 for ever."),
    setting!(alterable "segment.bytes", int(MIN_SEGMENT_BYTES as i64, i32::MAX as i64), segment_bytes, ["log.segment.bytes"],
        "At which size a segment file is closed and a new one begun."),
    inert!(
        "segment.index.bytes",
        int(4, i32::MAX as i64),
        "10485760",
        [],
        "The index grows with its segment: acts on nothing."
    ),
    inert!(
        "segment.jitter.ms",
        millis(0),
        "0",
        [],
        "Segments are closed without jitter: acts on nothing."
    ),
    setting!(alterable "segment.ms", millis(1), segment_age, ["log.roll.ms", "log.roll.hours"],
        "At which age a segment file is closed and a new one begun, so that it can go."),
    inert!(
        "unclean.leader.election.enable",
        FLAG,
        "false",
        [],
        "There is one replica, so no election: acts on nothing."
    ),
];
