//! What can go wrong between this client and a cluster, and what to do about it: retry, refresh or
//! give up. The decision is made here and nowhere else.

use std::io;
use std::time::Duration;

use onrush_wire::{ApiKey, ErrorCode, WireError};

use crate::TopicPartition;

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same again, after a pause.
    Retry,
    /// The same again, after the metadata (who leads, who coordinates) was fetched anew.
    Refresh,
    /// Nothing that the client could do by itself.
    Fatal,
}

/// Why a request to the cluster failed. It is cheap to clone, since one lost connection fails many
/// requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No TCP connection came about.
    #[error("cannot connect to {broker}: {reason}; is a broker listening there?")]
    Connect {
        /// Host and port.
        broker: String,
        /// What the system said.
        reason: String,
    },
    /// None of the known brokers could be asked.
    #[error("no broker of [{brokers}] could be reached; the last one said: {last}")]
    NoBroker {
        /// All that were tried.
        brokers: String,
        /// The error of the last one.
        last: Box<ClientError>,
    },
    /// The connection broke while the request was on its way: it may have been carried out.
    #[error("lost the connection to {broker}: {reason}")]
    Lost {
        /// Host and port.
        broker: String,
        /// What broke it.
        reason: String,
    },
    /// No answer in time; the connection was given up, because answers come in order.
    #[error("{broker} did not answer {api} within {after:?}")]
    TimedOut {
        /// Host and port.
        broker: String,
        /// What was asked.
        api: ApiKey,
        /// How long we waited.
        after: Duration,
    },
    /// The peer sent what Kafka's protocol does not allow, or we could not encode a request.
    #[error("{broker}: {source}")]
    Wire {
        /// Host and port.
        broker: String,
        /// The malformed field.
        source: WireError,
    },
    /// The broker speaks no version of this API that we speak.
    #[error(
        "{broker} offers no version of {api} that this client speaks; Kafka 3.9 or newer is needed"
    )]
    Unsupported {
        /// Host and port.
        broker: String,
        /// The API.
        api: ApiKey,
    },
    /// The broker answered with an error.
    #[error("{api} of {target}: {code}{}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Answered {
        /// What was asked.
        api: ApiKey,
        /// The topic, partition or group that it was about.
        target: String,
        /// The code.
        code: ErrorCode,
        /// What the broker added.
        message: Option<String>,
    },
    /// The answer leaves out a partition that was asked about.
    #[error("the answer to {api} says nothing of {partition}")]
    Omitted {
        /// What was asked.
        api: ApiKey,
        /// Which.
        partition: TopicPartition,
    },
    /// The metadata does not know the topic.
    #[error("topic {topic} does not exist (yet); create it, or check the spelling")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// The partition has no leader in the metadata.
    #[error("{partition} has no leader at the moment")]
    NoLeader {
        /// Which.
        partition: TopicPartition,
    },
    /// Fetched bytes are no record batches, twice.
    #[error(
        "{partition} at offset {offset}: {reason}; the broker's log or the way from it is damaged"
    )]
    Corrupt {
        /// Which.
        partition: TopicPartition,
        /// What had been asked for.
        offset: i64,
        /// What is wrong with them.
        reason: String,
    },
    /// More requests wait on one connection than the named limit allows.
    #[error("{limit} requests wait for {broker} already")]
    TooManyRequests {
        /// Host and port.
        broker: String,
        /// The limit.
        limit: usize,
    },
    /// Retries were used up.
    #[error("gave up after {after:?}; the last error: {last}")]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// What the last try said.
        last: Box<ClientError>,
    },
    /// The client, fetcher, producer or member was closed.
    #[error("closed")]
    Closed,
}

impl ClientError {
    pub(crate) fn connect(broker: &str, error: &io::Error) -> Self {
        Self::Connect { broker: broker.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn lost(broker: &str, reason: impl Into<String>) -> Self {
        Self::Lost { broker: broker.to_owned(), reason: reason.into() }
    }

    pub(crate) fn wire(broker: &str, source: WireError) -> Self {
        Self::Wire { broker: broker.to_owned(), source }
    }

    pub(crate) fn answered(api: ApiKey, target: impl Into<String>, code: ErrorCode) -> Self {
        Self::Answered { api, target: target.into(), code, message: None }
    }

    /// What helps against it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Connect { .. }
            | Self::NoBroker { .. }
            | Self::Lost { .. }
            | Self::TimedOut { .. }
            | Self::Omitted { .. }
            | Self::UnknownTopic { .. }
            | Self::NoLeader { .. } => Remedy::Refresh,
            Self::TooManyRequests { .. } => Remedy::Retry,
            Self::Answered { code, .. } => remedy_of(*code),
            // A broken frame may be the network's fault, and the connection that carried it is
            // gone.
            Self::Wire { source, .. } => match source {
                WireError::UnsupportedVersion { .. }
                | WireError::WrongApi { .. }
                | WireError::TooLarge { .. } => Remedy::Fatal,
                _ => Remedy::Retry,
            },
            Self::Unsupported { .. }
            | Self::Corrupt { .. }
            | Self::GaveUp { .. }
            | Self::Closed => Remedy::Fatal,
        }
    }

    /// The broker's error code, if a broker answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            Self::GaveUp { last, .. } => last.code(),
            _ => None,
        }
    }

    /// Whether the broker may have carried out the request without our hearing of it.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::TimedOut { .. } | Self::Wire { .. })
    }
}

/// What helps against an error code.
#[must_use]
pub fn remedy_of(code: ErrorCode) -> Remedy {
    if code.refresh_metadata() {
        return Remedy::Refresh;
    }
    match code {
        ErrorCode::NOT_COORDINATOR
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_CONTROLLER => Remedy::Refresh,
        code if code.is_retriable() => Remedy::Retry,
        _ => Remedy::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies() {
        let answered = |code| ClientError::answered(ApiKey::FETCH, "t-0", code).remedy();
        assert_eq!(answered(ErrorCode::NOT_LEADER_OR_FOLLOWER), Remedy::Refresh);
        assert_eq!(answered(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), Remedy::Retry);
        assert_eq!(answered(ErrorCode::NOT_COORDINATOR), Remedy::Refresh);
        assert_eq!(answered(ErrorCode::TOPIC_AUTHORIZATION_FAILED), Remedy::Fatal);
        assert_eq!(ClientError::lost("b:1", "reset").remedy(), Remedy::Refresh);
        assert_eq!(ClientError::Closed.remedy(), Remedy::Fatal);
    }

    #[test]
    fn only_a_request_that_left_may_have_happened() {
        assert!(ClientError::lost("b:1", "reset").may_have_happened());
        assert!(
            !ClientError::Connect { broker: "b:1".into(), reason: "refused".into() }
                .may_have_happened()
        );
        assert!(
            !ClientError::answered(ApiKey::PRODUCE, "t-0", ErrorCode::NOT_LEADER_OR_FOLLOWER)
                .may_have_happened()
        );
    }
}
