//! Why an engine did not start, stopped, or stopped a partition.

use std::fmt;

use onrush_kafka::{ClientError, TopicPartition};
use onrush_record::RecordError;
use onrush_runtime::Fault;

use crate::ledger::LedgerError;

/// Why an engine ended before it was told to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The configuration cannot be run.
    #[error("{0}")]
    Config(String),
    /// A thread could not be had.
    #[error("cannot start thread {name}: {reason}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// The cluster said no.
    #[error("{doing}: {source}")]
    Client {
        /// What was tried.
        doing: &'static str,
        /// The answer.
        source: ClientError,
    },
    /// A thread of the engine itself panicked: a bug.
    #[error("{thread} panicked; this is a bug in onrush")]
    Panicked {
        /// Which one.
        thread: String,
    },
}

impl EngineError {
    /// Under which code a person finds it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config(_) => Fault::ConsumerSetting,
            Self::Thread { .. } => Fault::Thread,
            Self::Client { source, .. } => source.fault(),
            Self::Panicked { .. } => Fault::Bug,
        }
    }
}

/// A partition that is not processed any more, while the others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStopped {
    /// Which.
    pub partition: TopicPartition,
    /// Where it stands: nothing at or above this offset was lost, it will be read again.
    pub offset: i64,
    /// Why.
    pub reason: StopReason,
}

impl fmt::Display for PartitionStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, offset, reason } = self;
        write!(f, "partition {partition} is stopped at offset {offset}: {reason}")
    }
}

/// Why a partition was stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// A batch was bad twice.
    #[error("{0}; it was fetched twice, so it is bad in the log")]
    Batch(RecordError),
    /// A broken rule of the engine itself.
    #[error("{0}; this is a bug in onrush, and nothing more of the partition is committed")]
    Ledger(LedgerError),
    /// A record that was emitted cannot be written.
    #[error("what a handler emitted cannot be written: {0}")]
    Emit(String),
    /// An event cannot go to the dead letters.
    #[error(
        "the event at offset {offset} failed ({error}) and cannot go to the dead letters: {reason}"
    )]
    DeadLetter {
        /// The event.
        offset: i64,
        /// What its handler said.
        error: String,
        /// What is wrong with the dead letters.
        reason: String,
    },
    /// A handler said so, or the answer to its error is to stop.
    #[error("the handler stopped it with the event at offset {offset}: {error}")]
    Handler {
        /// The event.
        offset: i64,
        /// What its handler said.
        error: String,
    },
    /// The partition cannot be read.
    #[error("it cannot be read: {0}")]
    Fetch(ClientError),
}

impl StopReason {
    /// Under which code a person finds it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Batch(_) => Fault::CorruptBatch,
            Self::Ledger(_) => Fault::Bug,
            Self::Emit(_) => Fault::EmitRefused,
            Self::DeadLetter { .. } => Fault::DeadLetterRefused,
            Self::Handler { .. } => Fault::HandlerStopped,
            Self::Fetch(error) => error.fault(),
        }
    }
}
