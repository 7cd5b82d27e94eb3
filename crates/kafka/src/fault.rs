//! Under which code a person finds an error of this client.

use onrush_runtime::Fault;
use onrush_wire::ErrorCode;

use crate::error::ClientError;
use crate::produce::{AppendError, ProduceError};

impl ClientError {
    /// Where its page is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect { .. } | Self::NoBroker { .. } => Fault::Unreachable,
            Self::Lost { .. } => Fault::ConnectionLost,
            Self::TimedOut { .. } => Fault::NoAnswer,
            Self::Wire { .. } | Self::Omitted { .. } => Fault::Protocol,
            Self::Unsupported { .. } => Fault::BrokerTooOld,
            Self::Answered { code, .. } => fault_of(*code),
            Self::UnknownTopic { .. } => Fault::UnknownTopic,
            Self::NoLeader { .. } => Fault::NoLeader,
            Self::Corrupt { .. } => Fault::CorruptBatch,
            Self::TooManyRequests { .. } => Fault::Overloaded,
            Self::GaveUp { last, .. } => last.fault(),
            Self::Closed => Fault::Closed,
        }
    }
}

impl ProduceError {
    /// Where its page is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { code, .. } => fault_of(*code),
            Self::MayHaveBeenWritten { .. } => Fault::MayHaveBeenWritten,
            Self::Expired { .. } => Fault::NotDelivered,
            Self::Seal { .. } => Fault::Bug,
            Self::Closed { .. } => Fault::Closed,
        }
    }
}

impl AppendError {
    /// Where its page is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Full => Fault::Overloaded,
            Self::TooLarge { .. } => Fault::TooLarge,
            Self::UnknownTopic { .. } | Self::UnknownPartition { .. } => Fault::UnknownTopic,
        }
    }
}

/// What a broker's error code means for a person.
#[must_use]
pub fn fault_of(code: ErrorCode) -> Fault {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => Fault::UnknownTopic,
        ErrorCode::TOPIC_ALREADY_EXISTS => Fault::TopicExists,
        ErrorCode::LEADER_NOT_AVAILABLE | ErrorCode::NOT_LEADER_OR_FOLLOWER => Fault::NoLeader,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Fault::NotAuthorized,
        ErrorCode::GROUP_ID_NOT_FOUND => Fault::UnknownGroup,
        ErrorCode::NON_EMPTY_GROUP | ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => Fault::GroupInUse,
        ErrorCode::OFFSET_OUT_OF_RANGE => Fault::Expired,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => Fault::TooLarge,
        ErrorCode::CORRUPT_MESSAGE => Fault::CorruptBatch,
        ErrorCode::KAFKA_STORAGE_ERROR => Fault::BrokerStorage,
        ErrorCode::REQUEST_TIMED_OUT => Fault::NoAnswer,
        ErrorCode::UNSUPPORTED_VERSION => Fault::BrokerTooOld,
        _ => Fault::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use onrush_wire::ApiKey;

    #[test]
    fn who_gave_up_did_so_for_its_last_error() {
        let last = ClientError::answered(ApiKey::PRODUCE, "t", ErrorCode::KAFKA_STORAGE_ERROR);
        let error = ClientError::GaveUp { after: Duration::from_secs(1), last: Box::new(last) };
        assert_eq!(error.fault(), Fault::BrokerStorage);
    }

    #[test]
    fn a_code_without_a_page_of_its_own_is_a_refusal() {
        assert_eq!(fault_of(ErrorCode(i16::MAX)), Fault::Refused);
        assert_eq!(fault_of(ErrorCode::INVALID_PARTITIONS), Fault::Refused);
        assert_eq!(fault_of(ErrorCode::GROUP_ID_NOT_FOUND), Fault::UnknownGroup);
    }
}
