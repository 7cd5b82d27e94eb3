//! What a broker can be told.

use std::time::Duration;

use crate::settings::{self, BROKER, SettingError};
use crate::{BrokerError, TimestampType};

/// When bytes are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before every acknowledgement: what was acknowledged survives a power cut.
    Always,
    /// Once per interval: a power cut loses what was acknowledged in the last one at most.
    Interval(Duration),
    /// Left to the operating system: what was acknowledged survives the end of the process, not of
    /// the machine.
    Never,
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// A fault that is built in on purpose, so that tests can show that they would notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Under [`Fsync::Always`], acknowledges and shows records that are not on the disk yet.
    AckBeforeSync,
}

/// Shortest interval between two syncs: below, [`Fsync::Always`] is the better choice.
pub const MIN_FSYNC_INTERVAL: Duration = Duration::from_millis(10);

/// The highest limit for a record batch, with its header: Kafka's `message.max.bytes` is 1 MiB by
/// default, and its users raise it.
pub const MAX_BATCH: usize = 16 * 1024 * 1024;

/// Smallest segment: below, files are made faster than they are of use.
pub const MIN_SEGMENT_BYTES: u64 = 4 * 1024;

/// Most partitions of one topic.
pub const MAX_PARTITIONS_PER_TOPIC: i32 = 1_024;

/// Most partitions of all topics together: each holds a file open.
pub const MAX_PARTITIONS: usize = 10_000;

/// Most bytes of records in one Fetch response, whatever is asked for: a response is held in memory
/// until it is sent.
pub const MAX_FETCH_BYTES: usize = 64 * 1024 * 1024;

/// Longest time that a Fetch waits for bytes, whatever is asked for.
pub const MAX_FETCH_WAIT: Duration = Duration::from_secs(300);

/// Most members of one group, whatever is configured.
pub const MAX_GROUP_SIZE: usize = 1_000;

/// Bytes of requests, and again of answers, at work over all connections: beyond, long requests wait and answers are as
/// short as a batch.
pub(crate) const MAX_AT_WORK: usize = 128 * 1024 * 1024;

const _: () = assert!(MAX_FETCH_BYTES <= MAX_AT_WORK);
const _: () = assert!(onrush_wire::limits::MAX_REQUEST < MAX_AT_WORK);

/// Most connections at once.
pub const MAX_CONNECTIONS: usize = 4_096;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The settings of a broker. `BrokerConfig::default()` listens on a free port of the loopback
/// interface, creates no topic that is merely asked for, and is otherwise as Kafka is by default
/// where Kafka has such a setting. [`BrokerConfig::set`] takes Kafka's names.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Address that clients are told, `host:port`, when it differs from the one listened on.
    pub advertised: Option<String>,
    /// When acknowledged bytes are on the disk.
    pub fsync: Fsync,
    /// What is broken on purpose; nothing outside of tests.
    #[doc(hidden)]
    pub sabotage: Option<Sabotage>,
    /// A segment that reached this size is closed and a new one begun: `log.segment.bytes`.
    pub segment_bytes: u64,
    /// A segment whose first record is so old is closed and a new one begun: `log.roll.ms`.
    pub log_roll: Duration,
    /// A segment all of whose records are older goes: `log.retention.ms`. `None` keeps them.
    pub log_retention: Option<Duration>,
    /// A partition keeps about so many bytes: `log.retention.bytes`. `None` keeps all.
    pub log_retention_bytes: Option<u64>,
    /// How often segments are looked for that can go: `log.retention.check.interval.ms`.
    pub log_retention_check_interval: Duration,
    /// Whose time records carry: `log.message.timestamp.type`.
    pub log_timestamp_type: TimestampType,
    /// How far the time of a record may lie behind the broker's clock:
    /// `log.message.timestamp.before.max.ms`.
    pub log_timestamp_before_max: Duration,
    /// How far the time of a record may lie ahead of the broker's clock:
    /// `log.message.timestamp.after.max.ms`.
    pub log_timestamp_after_max: Duration,
    /// Longest batch that is taken, with its header: `message.max.bytes`; at most [`MAX_BATCH`].
    pub message_max_bytes: usize,
    /// Most bytes of records kept over all partitions; beyond, the oldest segments are dropped. For
    /// the in-memory disk.
    pub memory_cap: Option<u64>,
    /// The broker's id in the cluster of one.
    pub node_id: i32,
    /// Partitions of a topic whose creator does not say.
    pub default_partitions: i32,
    /// Whether a topic that is asked for and unknown is created: `auto.create.topics.enable`, but
    /// for Kafka that is the default.
    pub auto_create: bool,
    /// Whether topics can be deleted: `delete.topic.enable`.
    pub delete_topics: bool,
    /// A member of a consumer group that was silent for so long is out:
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// How often members of consumer groups are told to report:
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// Shortest session time-out that can be set on a group: `group.consumer.min.session.timeout.ms`.
    pub group_consumer_min_session_timeout: Duration,
    /// Longest session time-out that can be set on a group: `group.consumer.max.session.timeout.ms`.
    pub group_consumer_max_session_timeout: Duration,
    /// Shortest heartbeat interval that can be set on a group:
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub group_consumer_min_heartbeat_interval: Duration,
    /// Longest heartbeat interval that can be set on a group:
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub group_consumer_max_heartbeat_interval: Duration,
    /// Shortest session time-out that a member of a classic group may ask for:
    /// `group.min.session.timeout.ms`.
    pub group_min_session_timeout: Duration,
    /// Longest session time-out that a member of a classic group may ask for:
    /// `group.max.session.timeout.ms`.
    pub group_max_session_timeout: Duration,
    /// How long an empty classic group waits for more members: `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay: Duration,
    /// Most members of a group: `group.max.size`.
    pub group_max_size: usize,
    /// Longest metadata of a committed offset: `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// Longest frame that is read from a client.
    pub max_request: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            advertised: None,
            fsync: Fsync::default(),
            sabotage: None,
            segment_bytes: 1024 * 1024 * 1024,
            log_roll: WEEK,
            log_retention: Some(WEEK),
            log_retention_bytes: None,
            log_retention_check_interval: Duration::from_secs(5 * 60),
            log_timestamp_type: TimestampType::CreateTime,
            log_timestamp_before_max: settings::LONGEST,
            log_timestamp_after_max: Duration::from_secs(60 * 60),
            message_max_bytes: 1_048_588,
            memory_cap: None,
            node_id: 1,
            default_partitions: 1,
            auto_create: false,
            delete_topics: true,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            group_consumer_min_session_timeout: Duration::from_secs(45),
            group_consumer_max_session_timeout: Duration::from_secs(60),
            group_consumer_min_heartbeat_interval: Duration::from_secs(5),
            group_consumer_max_heartbeat_interval: Duration::from_secs(15),
            group_min_session_timeout: Duration::from_secs(6),
            group_max_session_timeout: Duration::from_secs(30 * 60),
            group_initial_rebalance_delay: Duration::from_secs(3),
            group_max_size: MAX_GROUP_SIZE,
            offset_metadata_max_bytes: 4_096,
            max_request: onrush_wire::limits::MAX_REQUEST,
        }
    }
}

impl BrokerConfig {
    /// Sets what Kafka calls so, whatever the order: where Kafka has several names for one thing, the
    /// finer unit wins.
    ///
    /// # Errors
    /// All that is wrong with names and values; then nothing was set.
    pub fn set<'a>(
        &mut self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Vec<SettingError>> {
        let mut config = self.clone();
        let mut errors = Vec::new();
        let mut named = settings::Overrides::new();
        for (name, value) in settings {
            match settings::set(BROKER, &mut config, name, value) {
                Ok(()) => drop(named.insert(name.to_owned(), value.to_owned())),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        settings::set_all(BROKER, &mut config, &named);
        *self = config;
        Ok(())
    }

    /// The settings with what was altered while the broker ran.
    pub(crate) fn with(&self, overrides: &settings::Overrides) -> Self {
        let mut config = self.clone();
        settings::set_all(BROKER, &mut config, overrides);
        config.segment_bytes = config.segment_within_cap(config.segment_bytes);
        config
    }

    /// The size of a segment that was asked for, or what the memory has room for.
    pub(crate) fn segment_within_cap(&self, asked: u64) -> u64 {
        // A partition keeps at least its active segment, so that must be small against the cap.
        let fitting = self.memory_cap.map_or(asked, |cap| asked.min(cap / 16));
        fitting.max(MIN_SEGMENT_BYTES)
    }

    /// Checks what belongs together.
    pub(crate) fn validated(mut self) -> Result<Self, BrokerError> {
        let partitions = 1..=MAX_PARTITIONS_PER_TOPIC;
        if !partitions.contains(&self.default_partitions) {
            return Err(invalid(
                "default_partitions (num.partitions)",
                format!("must be 1 to {MAX_PARTITIONS_PER_TOPIC}"),
            ));
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
            return Err(invalid(
                "heartbeat_interval (group.consumer.heartbeat.interval.ms)",
                "must be above zero and below session_timeout (group.consumer.session.timeout.ms), or members expire between two reports".to_owned(),
            ));
        }
        if matches!(self.fsync, Fsync::Interval(interval) if interval < MIN_FSYNC_INTERVAL) {
            let reason =
                format!("the interval must be at least {} ms", MIN_FSYNC_INTERVAL.as_millis());
            return Err(invalid("fsync", reason));
        }
        if let Some(advertised) = &self.advertised {
            host_and_port(advertised).ok_or_else(|| {
                invalid(
                    "advertised (advertised.listeners)",
                    format!("{advertised} is not host:port"),
                )
            })?;
        }
        if self.message_max_bytes > MAX_BATCH {
            return Err(invalid(
                "message_max_bytes (message.max.bytes)",
                format!("must be at most {MAX_BATCH}"),
            ));
        }
        for (field, min, max) in self.ranges() {
            if min > max {
                return Err(invalid(field, "must not be above the longest".to_owned()));
            }
        }
        self.segment_bytes = self.segment_within_cap(self.segment_bytes);
        Ok(self)
    }

    /// The shortest and longest of what others choose.
    fn ranges(&self) -> [(&'static str, Duration, Duration); 3] {
        [
            (
                "group_min_session_timeout (group.min.session.timeout.ms)",
                self.group_min_session_timeout,
                self.group_max_session_timeout,
            ),
            (
                "group_consumer_min_session_timeout (group.consumer.min.session.timeout.ms)",
                self.group_consumer_min_session_timeout,
                self.group_consumer_max_session_timeout,
            ),
            (
                "group_consumer_min_heartbeat_interval (group.consumer.min.heartbeat.interval.ms)",
                self.group_consumer_min_heartbeat_interval,
                self.group_consumer_max_heartbeat_interval,
            ),
        ]
    }
}

impl BrokerConfig {
    /// When the records of logs are forced to the disk.
    pub(crate) fn log_fsync(&self) -> Fsync {
        match (self.fsync, self.sabotage) {
            (Fsync::Always, Some(Sabotage::AckBeforeSync)) => Fsync::default(),
            (fsync, _) => fsync,
        }
    }
}

/// Splits `host:port`; an IPv6 host stands in brackets, which clients do not want.
pub(crate) fn host_and_port(address: &str) -> Option<(String, i32)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), i32::from(port)))
}

fn invalid(field: &'static str, reason: String) -> BrokerError {
    BrokerError::Config { field, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(host_and_port("localhost:9092"), Some(("localhost".to_owned(), 9092)));
        assert_eq!(host_and_port("[::1]:1"), Some(("::1".to_owned(), 1)));
        assert_eq!(host_and_port("localhost"), None);
        assert_eq!(host_and_port(":9092"), None);
        assert_eq!(host_and_port("localhost:65536"), None);
    }

    #[test]
    fn heartbeats_must_fit_into_the_session() {
        let config =
            BrokerConfig { heartbeat_interval: Duration::from_secs(45), ..BrokerConfig::default() };
        let error = config.validated().expect_err("as long as the session");
        assert!(error.to_string().contains("heartbeat_interval"), "{error}");
    }

    #[test]
    fn the_shortest_is_not_above_the_longest() {
        let mut config = BrokerConfig::default();
        config.set([("group.min.session.timeout.ms", "1800001")]).expect("in its own range");
        let error = config.validated().expect_err("above the longest");
        assert!(error.to_string().contains("group.min.session.timeout.ms"), "{error}");
    }

    #[test]
    fn segments_are_small_against_the_memory_cap() {
        let config = BrokerConfig { memory_cap: Some(1 << 20), ..BrokerConfig::default() };
        assert_eq!(config.validated().expect("valid").segment_bytes, 1 << 16);
    }
}
