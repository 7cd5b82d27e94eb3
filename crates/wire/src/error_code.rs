//! Kafka's error codes and what a client does about each.

use std::fmt;

/// What an error means for the request that got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Sending the same again does not help.
    Fail,
    /// The same request may succeed later.
    Retry,
    /// As `Retry`, after the metadata (who leads what) was fetched anew.
    Refresh,
}

/// An error code of the protocol. Codes that this table does not know keep their number, so that what a newer broker
/// says can be reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether there is no error.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// `Ok` if there is no error.
    ///
    /// # Errors
    /// The code itself.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// Kafka's name of it; `None` if the table does not know the code.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| *name)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        matches!(self.class(), Class::Retry | Class::Refresh)
    }

    /// Whether the metadata that led to this request is out of date.
    #[must_use]
    pub fn refresh_metadata(self) -> bool {
        self.class() == Class::Refresh
    }

    fn class(self) -> Class {
        self.entry().map_or(Class::Fail, |(_, _, class)| *class)
    }

    /// The table has every code from -1 on, so the code is its index.
    fn entry(self) -> Option<&'static (i16, &'static str, Class)> {
        usize::try_from(i32::from(self.0) + 1).ok().and_then(|index| TABLE.get(index))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ErrorCode {}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

macro_rules! error_codes {
    ($($code:literal $name:ident $class:ident,)*) => {
        #[expect(missing_docs, reason = "the names are Kafka's and say what there is to say")]
        impl ErrorCode {
            $(pub const $name: Self = Self($code);)*
        }

        const TABLE: &[(i16, &str, Class)] = &[$(($code, stringify!($name), Class::$class),)*];
    };
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR Fail,
    0 NONE Fail,
    1 OFFSET_OUT_OF_RANGE Fail,
    2 CORRUPT_MESSAGE Retry,
    3 UNKNOWN_TOPIC_OR_PARTITION Refresh,
    4 INVALID_FETCH_SIZE Fail,
    5 LEADER_NOT_AVAILABLE Refresh,
    6 NOT_LEADER_OR_FOLLOWER Refresh,
    7 REQUEST_TIMED_OUT Retry,
    8 BROKER_NOT_AVAILABLE Fail,
    9 REPLICA_NOT_AVAILABLE Refresh,
    10 MESSAGE_TOO_LARGE Fail,
    11 STALE_CONTROLLER_EPOCH Fail,
    12 OFFSET_METADATA_TOO_LARGE Fail,
    13 NETWORK_EXCEPTION Refresh,
    14 COORDINATOR_LOAD_IN_PROGRESS Retry,
    15 COORDINATOR_NOT_AVAILABLE Retry,
    16 NOT_COORDINATOR Retry,
    17 INVALID_TOPIC_EXCEPTION Fail,
    18 RECORD_LIST_TOO_LARGE Fail,
    19 NOT_ENOUGH_REPLICAS Retry,
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Retry,
    21 INVALID_REQUIRED_ACKS Fail,
    22 ILLEGAL_GENERATION Fail,
    23 INCONSISTENT_GROUP_PROTOCOL Fail,
    24 INVALID_GROUP_ID Fail,
    25 UNKNOWN_MEMBER_ID Fail,
    26 INVALID_SESSION_TIMEOUT Fail,
    27 REBALANCE_IN_PROGRESS Fail,
    28 INVALID_COMMIT_OFFSET_SIZE Fail,
    29 TOPIC_AUTHORIZATION_FAILED Fail,
    30 GROUP_AUTHORIZATION_FAILED Fail,
    31 CLUSTER_AUTHORIZATION_FAILED Fail,
    32 INVALID_TIMESTAMP Fail,
    33 UNSUPPORTED_SASL_MECHANISM Fail,
    34 ILLEGAL_SASL_STATE Fail,
    35 UNSUPPORTED_VERSION Fail,
    36 TOPIC_ALREADY_EXISTS Fail,
    37 INVALID_PARTITIONS Fail,
    38 INVALID_REPLICATION_FACTOR Fail,
    39 INVALID_REPLICA_ASSIGNMENT Fail,
    40 INVALID_CONFIG Fail,
    41 NOT_CONTROLLER Retry,
    42 INVALID_REQUEST Fail,
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Fail,
    44 POLICY_VIOLATION Fail,
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Fail,
    46 DUPLICATE_SEQUENCE_NUMBER Fail,
    47 INVALID_PRODUCER_EPOCH Fail,
    48 INVALID_TXN_STATE Fail,
    49 INVALID_PRODUCER_ID_MAPPING Fail,
    50 INVALID_TRANSACTION_TIMEOUT Fail,
    51 CONCURRENT_TRANSACTIONS Retry,
    52 TRANSACTION_COORDINATOR_FENCED Fail,
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Fail,
    54 SECURITY_DISABLED Fail,
    55 OPERATION_NOT_ATTEMPTED Fail,
    56 KAFKA_STORAGE_ERROR Refresh,
    57 LOG_DIR_NOT_FOUND Fail,
    58 SASL_AUTHENTICATION_FAILED Fail,
    59 UNKNOWN_PRODUCER_ID Fail,
    60 REASSIGNMENT_IN_PROGRESS Fail,
    61 DELEGATION_TOKEN_AUTH_DISABLED Fail,
    62 DELEGATION_TOKEN_NOT_FOUND Fail,
    63 DELEGATION_TOKEN_OWNER_MISMATCH Fail,
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Fail,
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Fail,
    66 DELEGATION_TOKEN_EXPIRED Fail,
    67 INVALID_PRINCIPAL_TYPE Fail,
    68 NON_EMPTY_GROUP Fail,
    69 GROUP_ID_NOT_FOUND Fail,
    70 FETCH_SESSION_ID_NOT_FOUND Retry,
    71 INVALID_FETCH_SESSION_EPOCH Retry,
    72 LISTENER_NOT_FOUND Refresh,
    73 TOPIC_DELETION_DISABLED Fail,
    74 FENCED_LEADER_EPOCH Refresh,
    75 UNKNOWN_LEADER_EPOCH Retry,
    76 UNSUPPORTED_COMPRESSION_TYPE Fail,
    77 STALE_BROKER_EPOCH Fail,
    78 OFFSET_NOT_AVAILABLE Retry,
    79 MEMBER_ID_REQUIRED Fail,
    80 PREFERRED_LEADER_NOT_AVAILABLE Refresh,
    81 GROUP_MAX_SIZE_REACHED Fail,
    82 FENCED_INSTANCE_ID Fail,
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE Refresh,
    84 ELECTION_NOT_NEEDED Refresh,
    85 NO_REASSIGNMENT_IN_PROGRESS Fail,
    86 GROUP_SUBSCRIBED_TO_TOPIC Fail,
    87 INVALID_RECORD Fail,
    88 UNSTABLE_OFFSET_COMMIT Retry,
    89 THROTTLING_QUOTA_EXCEEDED Retry,
    90 PRODUCER_FENCED Fail,
    91 RESOURCE_NOT_FOUND Fail,
    92 DUPLICATE_RESOURCE Fail,
    93 UNACCEPTABLE_CREDENTIAL Fail,
    94 INCONSISTENT_VOTER_SET Fail,
    95 INVALID_UPDATE_VERSION Fail,
    96 FEATURE_UPDATE_FAILED Fail,
    97 PRINCIPAL_DESERIALIZATION_FAILURE Fail,
    98 SNAPSHOT_NOT_FOUND Fail,
    99 POSITION_OUT_OF_RANGE Fail,
    100 UNKNOWN_TOPIC_ID Refresh,
    101 DUPLICATE_BROKER_REGISTRATION Fail,
    102 BROKER_ID_NOT_REGISTERED Fail,
    103 INCONSISTENT_TOPIC_ID Refresh,
    104 INCONSISTENT_CLUSTER_ID Fail,
    105 TRANSACTIONAL_ID_NOT_FOUND Fail,
    106 FETCH_SESSION_TOPIC_ID_ERROR Retry,
    107 INELIGIBLE_REPLICA Fail,
    108 NEW_LEADER_ELECTED Fail,
    109 OFFSET_MOVED_TO_TIERED_STORAGE Fail,
    110 FENCED_MEMBER_EPOCH Fail,
    111 UNRELEASED_INSTANCE_ID Fail,
    112 UNSUPPORTED_ASSIGNOR Fail,
    113 STALE_MEMBER_EPOCH Fail,
    114 MISMATCHED_ENDPOINT_TYPE Fail,
    115 UNSUPPORTED_ENDPOINT_TYPE Fail,
    116 UNKNOWN_CONTROLLER_ID Fail,
    117 UNKNOWN_SUBSCRIPTION_ID Fail,
    118 TELEMETRY_TOO_LARGE Fail,
    119 INVALID_REGISTRATION Fail,
    120 TRANSACTION_ABORTABLE Fail,
    121 INVALID_RECORD_STATE Fail,
    122 SHARE_SESSION_NOT_FOUND Retry,
    123 INVALID_SHARE_SESSION_EPOCH Retry,
    124 FENCED_STATE_EPOCH Fail,
    125 INVALID_VOTER_KEY Fail,
    126 DUPLICATE_VOTER Fail,
    127 VOTER_NOT_FOUND Fail,
    128 INVALID_REGULAR_EXPRESSION Fail,
    129 REBOOTSTRAP_REQUIRED Fail,
    130 STREAMS_INVALID_TOPOLOGY Fail,
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Fail,
    132 STREAMS_TOPOLOGY_FENCED Fail,
    133 SHARE_SESSION_LIMIT_REACHED Retry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_code() {
        for (code, name, _) in TABLE {
            assert_eq!(ErrorCode(*code).name(), Some(*name));
        }
        assert_eq!(TABLE.len(), 135);
    }

    #[test]
    fn codes_agree_with_the_schema_codec() {
        for (code, name, _) in TABLE {
            let theirs = format!("{:?}", kacrab_protocol::generated::ErrorCode::from(*code));
            assert_eq!(name.replace('_', ""), theirs.to_uppercase());
        }
    }

    #[test]
    fn classes() {
        assert!(
            ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable()
                && ErrorCode::NOT_LEADER_OR_FOLLOWER.refresh_metadata()
        );
        assert!(
            ErrorCode::KAFKA_STORAGE_ERROR.is_retriable()
                && ErrorCode::FENCED_LEADER_EPOCH.refresh_metadata()
        );
        assert!(
            ErrorCode::REQUEST_TIMED_OUT.is_retriable()
                && !ErrorCode::REQUEST_TIMED_OUT.refresh_metadata()
        );
        assert!(
            !ErrorCode::OFFSET_METADATA_TOO_LARGE.is_retriable()
                && !ErrorCode::STALE_MEMBER_EPOCH.is_retriable()
        );
        assert!(!ErrorCode::NONE.is_retriable() && ErrorCode::NONE.ok().is_ok());
    }

    #[test]
    fn unknown_codes_keep_their_number() {
        for code in [i16::MIN, -2, 134, i16::MAX] {
            assert_eq!((ErrorCode(code).name(), ErrorCode(code).is_retriable()), (None, false));
            assert_eq!(ErrorCode(code).to_string(), format!("error {code}"));
        }
        assert_eq!(ErrorCode::OFFSET_OUT_OF_RANGE.to_string(), "OFFSET_OUT_OF_RANGE (1)");
    }
}
