//! What a broker can be told.

use std::time::Duration;

use crate::BrokerError;

/// When bytes are forced to the disk before they are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before every acknowledgement: what was acknowledged survives a power cut.
    #[default]
    Always,
    /// Left to the operating system: what was acknowledged survives the end of the process, not of
    /// the machine.
    Never,
}

/// Largest record batch that is accepted, with its header: Kafka's `message.max.bytes` is 1 MiB by
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

/// Most connections at once.
pub const MAX_CONNECTIONS: usize = 4_096;

/// The settings of a broker. `BrokerConfig::default()` listens on a free port of the loopback
/// interface.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Address that clients are told, `host:port`, when it differs from the one listened on.
    pub advertised: Option<String>,
    /// When acknowledged bytes are on the disk.
    pub fsync: Fsync,
    /// A segment that reached this size is closed and a new one begun.
    pub segment_bytes: u64,
    /// Most bytes of records kept over all partitions; beyond, the oldest segments are dropped. For
    /// the in-memory disk.
    pub memory_cap: Option<u64>,
    /// The broker's id in the cluster of one.
    pub node_id: i32,
    /// Partitions of a topic whose creator does not say.
    pub default_partitions: i32,
    /// Whether a topic that is asked for and unknown is created.
    pub auto_create: bool,
    /// A group member that was silent for so long is out.
    pub session_timeout: Duration,
    /// How often group members are told to report.
    pub heartbeat_interval: Duration,
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
            segment_bytes: 256 * 1024 * 1024,
            memory_cap: None,
            node_id: 1,
            default_partitions: 1,
            auto_create: false,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
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
    /// Checks what belongs together.
    pub(crate) fn validated(mut self) -> Result<Self, BrokerError> {
        let partitions = 1..=MAX_PARTITIONS_PER_TOPIC;
        if !partitions.contains(&self.default_partitions) {
            return Err(invalid(
                "default_partitions",
                format!("must be 1 to {MAX_PARTITIONS_PER_TOPIC}"),
            ));
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval >= self.session_timeout {
            return Err(invalid(
                "heartbeat_interval",
                "must be above zero and below session_timeout, or members expire between two reports".to_owned(),
            ));
        }
        if let Some(advertised) = &self.advertised {
            host_and_port(advertised)
                .ok_or_else(|| invalid("advertised", format!("{advertised} is not host:port")))?;
        }
        if let Some(cap) = self.memory_cap {
            // A partition keeps at least its active segment, so that must be small against the cap.
            self.segment_bytes = self.segment_bytes.min(cap / 16);
        }
        self.segment_bytes = self.segment_bytes.max(MIN_SEGMENT_BYTES);
        Ok(self)
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
    fn segments_are_small_against_the_memory_cap() {
        let config = BrokerConfig { memory_cap: Some(1 << 20), ..BrokerConfig::default() };
        assert_eq!(config.validated().expect("valid").segment_bytes, 1 << 16);
    }
}
