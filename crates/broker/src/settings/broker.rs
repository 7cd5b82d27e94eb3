//! What can be set on the broker.

use super::topic::TIMESTAMPS;
use super::value::{FLAG, Kind, LIMIT, hours, int, millis, minutes, only, open, short_millis};
use super::{Setting, inert, setting};
use crate::BrokerConfig;
use crate::config::{
    MAX_BATCH, MAX_GROUP_SIZE, MAX_PARTITIONS_PER_TOPIC, MIN_SEGMENT_BYTES, host_and_port,
};

/// The only protocol of listeners.
const PLAINTEXT: &str = "PLAINTEXT://";

/// An address as Kafka writes it: `PLAINTEXT://host:port`.
struct Listener {
    kind: Kind,
}

const LISTENER: Listener = Listener { kind: Kind::List };

impl Listener {
    fn parse(&self, text: &str) -> Result<String, String> {
        let one = text.trim().strip_prefix(PLAINTEXT).filter(|address| !address.contains(','));
        let address = one.ok_or_else(|| {
            format!("must be {PLAINTEXT}host:port; there is one listener, without encryption")
        })?;
        // Without a host it is every address of the machine.
        let address =
            if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        host_and_port(&address).ok_or_else(|| format!("{address} is not one host:port"))?;
        Ok(address)
    }
}

/// The settings of the broker. Of those that act on one field the last one wins.
pub(crate) const BROKER: &[Setting<BrokerConfig>] = &[
    Setting {
        name: "advertised.listeners",
        kind: LISTENER.kind,
        alterable: false,
        synonyms: &[],
        text: "The address that clients are told, when it differs from the one listened on.",
        read: |config| {
            let address = config.advertised.as_ref();
            address.map(|address| format!("{PLAINTEXT}{address}"))
        },
        write: |config, text| {
            config.advertised = Some(LISTENER.parse(text)?);
            Ok(())
        },
    },
    setting!(fixed "auto.create.topics.enable", FLAG, auto_create, [],
        "Whether a topic that is asked for and unknown is created."),
    inert!(
        "compression.type",
        only(Kind::String, "producer", "batches are stored as they come"),
        "producer",
        [],
        "How batches are compressed: as the producer sent them."
    ),
    inert!(
        "default.replication.factor",
        only(Kind::Int, "1", "there is one broker"),
        "1",
        [],
        "How many replicas a topic has whose creator does not say: there is one broker."
    ),
    setting!(fixed "delete.topic.enable", FLAG, delete_topics, [], "Whether topics can be deleted."),
    setting!(fixed "group.consumer.heartbeat.interval.ms", short_millis(1), heartbeat_interval, [],
        "How often members of consumer groups are told to report."),
    setting!(fixed "group.consumer.max.heartbeat.interval.ms", short_millis(1), group_consumer_max_heartbeat_interval, [],
        "The longest consumer.heartbeat.interval.ms of a group."),
    setting!(fixed "group.consumer.max.session.timeout.ms", short_millis(1), group_consumer_max_session_timeout, [],
        "The longest consumer.session.timeout.ms of a group."),
    setting!(fixed "group.consumer.min.heartbeat.interval.ms", short_millis(1), group_consumer_min_heartbeat_interval, [],
        "The shortest consumer.heartbeat.interval.ms of a group."),
    setting!(fixed "group.consumer.min.session.timeout.ms", short_millis(1), group_consumer_min_session_timeout, [],
        "The shortest consumer.session.timeout.ms of a group."),
    setting!(fixed "group.consumer.session.timeout.ms", short_millis(1), session_timeout, [],
        "A member of a consumer group that was silent for so long is out."),
    setting!(fixed "group.initial.rebalance.delay.ms", short_millis(0), group_initial_rebalance_delay, [],
        "How long an empty classic group waits for more members."),
    setting!(fixed "group.max.session.timeout.ms", short_millis(1), group_max_session_timeout, [],
        "The longest session time-out that a member of a classic group may ask for."),
    setting!(fixed "group.max.size", int(1, MAX_GROUP_SIZE as i64), group_max_size, [],
        "Most members of a group."),
    setting!(fixed "group.min.session.timeout.ms", short_millis(1), group_min_session_timeout, [],
        "The shortest session time-out that a member of a classic group may ask for."),
    Setting {
        name: "listeners",
        kind: LISTENER.kind,
        alterable: false,
        synonyms: &[],
        text: "The address to listen on; port 0 takes a free one.",
        read: |config| Some(format!("{PLAINTEXT}{}", config.listen)),
        write: |config, text| {
            config.listen = LISTENER.parse(text)?;
            Ok(())
        },
    },
    inert!(
        "log.cleanup.policy",
        only(Kind::List, "delete", "compaction is not served"),
        "delete",
        [],
        "What becomes of old segments: they are deleted."
    ),
    setting!(alterable "log.message.timestamp.after.max.ms", millis(0), log_timestamp_after_max, [],
        "How far the time of a record may lie ahead of the broker's clock."),
    setting!(alterable "log.message.timestamp.before.max.ms", millis(0), log_timestamp_before_max, [],
        "How far the time of a record may lie behind the broker's clock."),
    setting!(alterable "log.message.timestamp.type", TIMESTAMPS, log_timestamp_type, [],
        "Whether records carry the producer's time (CreateTime) or the broker's (LogAppendTime)."),
    setting!(alterable "log.retention.bytes", LIMIT, log_retention_bytes, [],
        "How many bytes a partition keeps; -1 for no limit."),
    setting!(fixed "log.retention.check.interval.ms", millis(1), log_retention_check_interval, [],
        "How often the broker looks for segments that can go."),
    Setting {
        name: "log.retention.hours",
        read: |_| None,
        ..setting!(fixed "", open(hours(1)), log_retention, [],
            "How long records are kept, in hours; log.retention.minutes and log.retention.ms go before.")
    },
    Setting {
        name: "log.retention.minutes",
        read: |_| None,
        ..setting!(fixed "", open(minutes(1)), log_retention, [],
            "How long records are kept, in minutes; log.retention.ms goes before.")
    },
    setting!(alterable "log.retention.ms", open(millis(1)), log_retention, [],
        "How long records are kept; -1 for ever."),
    Setting {
        name: "log.roll.hours",
        read: |_| None,
        ..setting!(fixed "", hours(1), log_roll, [],
            "At which age a segment file is closed and a new one begun, in hours; log.roll.ms goes before.")
    },
    setting!(alterable "log.roll.ms", millis(1), log_roll, [],
        "At which age a segment file is closed and a new one begun, so that it can go."),
    setting!(alterable "log.segment.bytes", int(MIN_SEGMENT_BYTES as i64, i32::MAX as i64), segment_bytes, [],
        "At which size a segment file is closed and a new one begun."),
    setting!(alterable "message.max.bytes", int(0, MAX_BATCH as i64), message_max_bytes, [],
        "The longest record batch that is taken, with its header and after compression."),
    inert!(
        "min.insync.replicas",
        only(Kind::Int, "1", "there is one broker"),
        "1",
        [],
        "How many replicas must have a batch before it is acknowledged: there is one."
    ),
    setting!(fixed "node.id", int(0, i32::MAX as i64), node_id, [], "The broker's id."),
    setting!(fixed "num.partitions", int(1, MAX_PARTITIONS_PER_TOPIC as i64), default_partitions, [],
        "Partitions of a topic whose creator does not say."),
    setting!(fixed "offset.metadata.max.bytes", int(0, i32::MAX as i64), offset_metadata_max_bytes, [],
        "The longest metadata of a committed offset."),
    setting!(fixed "socket.request.max.bytes", int(1, onrush_wire::limits::MAX_REQUEST as i64), max_request, [],
        "The longest request that is read from a client."),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn listeners_are_one_plain_address() {
        assert_eq!(LISTENER.parse("PLAINTEXT://:9092").as_deref(), Ok("0.0.0.0:9092"));
        assert_eq!(LISTENER.parse("PLAINTEXT://[::1]:0").as_deref(), Ok("[::1]:0"));
        for refused in ["localhost:9092", "SSL://a:1", "PLAINTEXT://a:1,CONTROLLER://b:2"] {
            assert!(LISTENER.parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_finer_unit_wins_in_whatever_order() {
        let names =
            [("log.retention.ms", "5"), ("log.retention.hours", "1"), ("log.roll.hours", "2")];
        let mut config = BrokerConfig::default();
        config.set(names).expect("taken");
        assert_eq!(config.log_retention, Some(Duration::from_millis(5)));
        assert_eq!(config.log_roll, Duration::from_secs(7_200));
    }
}
