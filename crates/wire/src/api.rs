//! API keys, the versions that this crate can read and write of each, and the choice between peers.

use std::fmt;

/// The key of an API, as request headers and `ApiVersions` name it. Keys that the table does not know keep their number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub i16);

/// Versions from `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

impl VersionRange {
    /// From `min` to `max`.
    #[must_use]
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` lies in the range.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// The highest version that both sides know.
#[must_use]
pub const fn negotiate(ours: VersionRange, theirs: VersionRange) -> Option<i16> {
    let highest = if ours.max < theirs.max { ours.max } else { theirs.max };
    if ours.contains(highest) && theirs.contains(highest) { Some(highest) } else { None }
}

struct Api {
    key: ApiKey,
    name: &'static str,
    versions: VersionRange,
    flexible_from: i16,
}

impl ApiKey {
    /// Kafka's name of the API; `None` if the table does not know the key.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|api| api.name)
    }

    /// The versions whose schema is known; `None` for an unknown key. What a server announces may be less.
    #[must_use]
    pub fn versions(self) -> Option<VersionRange> {
        self.entry().map(|api| api.versions)
    }

    /// Whether this version has varint lengths and tagged fields. Versions above the known ones are, if the highest
    /// known one is: flexibility never went away from an API.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        self.entry().is_some_and(|api| version >= api.flexible_from)
    }

    /// The version of the request header: 1, or 2 where flexible. (Header 0 was that of ControlledShutdown 0, which is
    /// gone.)
    #[must_use]
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header: 0, or 1 where flexible; always 0 for `ApiVersions`, whose answer must be
    /// readable before the versions are known.
    #[must_use]
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != Self::API_VERSIONS && self.is_flexible(version))
    }

    /// All APIs of the table, by key.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|api| api.key)
    }

    fn entry(self) -> Option<&'static Api> {
        TABLE.binary_search_by_key(&self, |api| api.key).ok().and_then(|index| TABLE.get(index))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "API {}", self.0),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<i16> for ApiKey {
    fn from(key: i16) -> Self {
        Self(key)
    }
}

macro_rules! apis {
    ($($key:literal $constant:ident $name:literal $min:literal $max:literal $flexible_from:expr,)*) => {
        #[expect(missing_docs, reason = "the names are Kafka's and say what there is to say")]
        impl ApiKey {
            $(pub const $constant: Self = Self($key);)*
        }

        const TABLE: &[Api] = &[$(Api {
            key: ApiKey($key),
            name: $name,
            versions: VersionRange::new($min, $max),
            flexible_from: $flexible_from,
        },)*];
    };
}

// Key, constant, name, lowest and highest known version, first flexible version.
apis! {
    0 PRODUCE "Produce" 3 13 9,
    1 FETCH "Fetch" 4 18 12,
    2 LIST_OFFSETS "ListOffsets" 1 11 6,
    3 METADATA "Metadata" 0 13 9,
    8 OFFSET_COMMIT "OffsetCommit" 2 10 8,
    9 OFFSET_FETCH "OffsetFetch" 1 10 6,
    10 FIND_COORDINATOR "FindCoordinator" 0 6 3,
    11 JOIN_GROUP "JoinGroup" 0 9 6,
    12 HEARTBEAT "Heartbeat" 0 4 4,
    13 LEAVE_GROUP "LeaveGroup" 0 5 4,
    14 SYNC_GROUP "SyncGroup" 0 5 4,
    15 DESCRIBE_GROUPS "DescribeGroups" 0 6 5,
    16 LIST_GROUPS "ListGroups" 0 5 3,
    17 SASL_HANDSHAKE "SaslHandshake" 0 1 i16::MAX,
    18 API_VERSIONS "ApiVersions" 0 4 3,
    19 CREATE_TOPICS "CreateTopics" 2 7 5,
    20 DELETE_TOPICS "DeleteTopics" 1 6 4,
    21 DELETE_RECORDS "DeleteRecords" 0 2 2,
    22 INIT_PRODUCER_ID "InitProducerId" 0 6 2,
    23 OFFSET_FOR_LEADER_EPOCH "OffsetForLeaderEpoch" 2 4 4,
    24 ADD_PARTITIONS_TO_TXN "AddPartitionsToTxn" 0 5 3,
    25 ADD_OFFSETS_TO_TXN "AddOffsetsToTxn" 0 4 3,
    26 END_TXN "EndTxn" 0 5 3,
    27 WRITE_TXN_MARKERS "WriteTxnMarkers" 1 2 1,
    28 TXN_OFFSET_COMMIT "TxnOffsetCommit" 0 5 3,
    29 DESCRIBE_ACLS "DescribeAcls" 1 3 2,
    30 CREATE_ACLS "CreateAcls" 1 3 2,
    31 DELETE_ACLS "DeleteAcls" 1 3 2,
    32 DESCRIBE_CONFIGS "DescribeConfigs" 1 4 4,
    33 ALTER_CONFIGS "AlterConfigs" 0 2 2,
    34 ALTER_REPLICA_LOG_DIRS "AlterReplicaLogDirs" 1 2 2,
    35 DESCRIBE_LOG_DIRS "DescribeLogDirs" 1 5 2,
    36 SASL_AUTHENTICATE "SaslAuthenticate" 0 2 2,
    37 CREATE_PARTITIONS "CreatePartitions" 0 3 2,
    38 CREATE_DELEGATION_TOKEN "CreateDelegationToken" 1 3 2,
    39 RENEW_DELEGATION_TOKEN "RenewDelegationToken" 1 2 2,
    40 EXPIRE_DELEGATION_TOKEN "ExpireDelegationToken" 1 2 2,
    41 DESCRIBE_DELEGATION_TOKEN "DescribeDelegationToken" 1 3 2,
    42 DELETE_GROUPS "DeleteGroups" 0 2 2,
    43 ELECT_LEADERS "ElectLeaders" 0 2 2,
    44 INCREMENTAL_ALTER_CONFIGS "IncrementalAlterConfigs" 0 1 1,
    45 ALTER_PARTITION_REASSIGNMENTS "AlterPartitionReassignments" 0 1 0,
    46 LIST_PARTITION_REASSIGNMENTS "ListPartitionReassignments" 0 0 0,
    47 OFFSET_DELETE "OffsetDelete" 0 0 i16::MAX,
    48 DESCRIBE_CLIENT_QUOTAS "DescribeClientQuotas" 0 1 1,
    49 ALTER_CLIENT_QUOTAS "AlterClientQuotas" 0 1 1,
    50 DESCRIBE_USER_SCRAM_CREDENTIALS "DescribeUserScramCredentials" 0 0 0,
    51 ALTER_USER_SCRAM_CREDENTIALS "AlterUserScramCredentials" 0 0 0,
    52 VOTE "Vote" 0 2 0,
    53 BEGIN_QUORUM_EPOCH "BeginQuorumEpoch" 0 1 1,
    54 END_QUORUM_EPOCH "EndQuorumEpoch" 0 1 1,
    55 DESCRIBE_QUORUM "DescribeQuorum" 0 2 0,
    56 ALTER_PARTITION "AlterPartition" 2 3 0,
    57 UPDATE_FEATURES "UpdateFeatures" 0 2 0,
    58 ENVELOPE "Envelope" 0 0 0,
    59 FETCH_SNAPSHOT "FetchSnapshot" 0 1 0,
    60 DESCRIBE_CLUSTER "DescribeCluster" 0 2 0,
    61 DESCRIBE_PRODUCERS "DescribeProducers" 0 0 0,
    62 BROKER_REGISTRATION "BrokerRegistration" 0 4 0,
    63 BROKER_HEARTBEAT "BrokerHeartbeat" 0 2 0,
    64 UNREGISTER_BROKER "UnregisterBroker" 0 0 0,
    65 DESCRIBE_TRANSACTIONS "DescribeTransactions" 0 0 0,
    66 LIST_TRANSACTIONS "ListTransactions" 0 2 0,
    67 ALLOCATE_PRODUCER_IDS "AllocateProducerIds" 0 0 0,
    68 CONSUMER_GROUP_HEARTBEAT "ConsumerGroupHeartbeat" 0 1 0,
    69 CONSUMER_GROUP_DESCRIBE "ConsumerGroupDescribe" 0 1 0,
    70 CONTROLLER_REGISTRATION "ControllerRegistration" 0 0 0,
    71 GET_TELEMETRY_SUBSCRIPTIONS "GetTelemetrySubscriptions" 0 0 0,
    72 PUSH_TELEMETRY "PushTelemetry" 0 0 0,
    73 ASSIGN_REPLICAS_TO_DIRS "AssignReplicasToDirs" 0 0 0,
    74 LIST_CONFIG_RESOURCES "ListConfigResources" 0 1 0,
    75 DESCRIBE_TOPIC_PARTITIONS "DescribeTopicPartitions" 0 0 0,
    76 SHARE_GROUP_HEARTBEAT "ShareGroupHeartbeat" 1 1 0,
    77 SHARE_GROUP_DESCRIBE "ShareGroupDescribe" 1 1 0,
    78 SHARE_FETCH "ShareFetch" 1 2 0,
    79 SHARE_ACKNOWLEDGE "ShareAcknowledge" 1 2 0,
    80 ADD_RAFT_VOTER "AddRaftVoter" 0 1 0,
    81 REMOVE_RAFT_VOTER "RemoveRaftVoter" 0 0 0,
    82 UPDATE_RAFT_VOTER "UpdateRaftVoter" 0 0 0,
    83 INITIALIZE_SHARE_GROUP_STATE "InitializeShareGroupState" 0 0 0,
    84 READ_SHARE_GROUP_STATE "ReadShareGroupState" 0 0 0,
    85 WRITE_SHARE_GROUP_STATE "WriteShareGroupState" 0 1 0,
    86 DELETE_SHARE_GROUP_STATE "DeleteShareGroupState" 0 0 0,
    87 READ_SHARE_GROUP_STATE_SUMMARY "ReadShareGroupStateSummary" 0 1 0,
    88 STREAMS_GROUP_HEARTBEAT "StreamsGroupHeartbeat" 0 0 0,
    89 STREAMS_GROUP_DESCRIBE "StreamsGroupDescribe" 0 0 0,
    90 DESCRIBE_SHARE_GROUP_OFFSETS "DescribeShareGroupOffsets" 0 1 0,
    91 ALTER_SHARE_GROUP_OFFSETS "AlterShareGroupOffsets" 0 0 0,
    92 DELETE_SHARE_GROUP_OFFSETS "DeleteShareGroupOffsets" 0 0 0,
}

#[cfg(test)]
mod tests {
    use kacrab_protocol::version;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_agrees_with_the_schema_codec() {
        assert!(TABLE.is_sorted_by_key(|api| api.key));
        for api in TABLE {
            let theirs = version::ApiKey::from_i16(api.key.0).expect("known");
            let info = version::client_api_info(theirs);
            assert_eq!(api.name, format!("{theirs:?}"));
            assert_eq!(
                api.versions,
                VersionRange::new(info.min_version, info.max_version),
                "{}",
                api.name
            );
            for v in api.versions.min..=api.versions.max {
                assert_eq!(
                    api.key.request_header_version(v),
                    version::request_header_version(api.key.0, v)
                );
                assert_eq!(
                    api.key.response_header_version(v),
                    version::response_header_version(api.key.0, v)
                );
            }
        }
    }

    #[test]
    fn header_versions() {
        assert_eq!(ApiKey::PRODUCE.request_header_version(8), 1);
        assert_eq!(ApiKey::PRODUCE.request_header_version(9), 2);
        assert_eq!(ApiKey::FETCH.response_header_version(11), 0);
        assert_eq!(ApiKey::FETCH.response_header_version(12), 1);
        assert_eq!(ApiKey::OFFSET_DELETE.request_header_version(0), 1);
        // A client ahead of us asks for ApiVersions 5: its header is flexible, and our answer's header is not.
        assert_eq!(ApiKey::API_VERSIONS.request_header_version(5), 2);
        assert_eq!(ApiKey::API_VERSIONS.response_header_version(4), 0);
    }

    #[test]
    fn unknown_keys_keep_their_number() {
        assert_eq!(
            (ApiKey(7).name(), ApiKey(-1).versions(), ApiKey(1000).is_flexible(3)),
            (None, None, false)
        );
        assert_eq!(format!("{} {}", ApiKey(1000), ApiKey::PRODUCE), "API 1000 Produce");
    }

    #[test]
    fn negotiation_takes_the_highest_common_version() {
        let ours = VersionRange::new(4, 18);
        assert_eq!(negotiate(ours, VersionRange::new(0, 16)), Some(16));
        assert_eq!(negotiate(ours, VersionRange::new(4, 20)), Some(18));
        assert_eq!(negotiate(ours, VersionRange::new(0, 3)), None);
        assert_eq!(negotiate(ours, VersionRange::new(19, 20)), None);
        assert_eq!(negotiate(ours, VersionRange::new(9, 5)), None);
    }
}
