//! What the library's user sees when something cannot be done.

use onrush_engine::EngineError;
use onrush_kafka::{AppendError, ClientError, ProduceError};

/// Why a consumer or producer could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster could not be reached, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The consumer ended with an error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An event cannot be sent.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Events were not acknowledged.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Threads(#[source] std::io::Error),
    /// The address for HTTP cannot be had.
    #[error(
        "cannot serve HTTP on {address}: {source}; choose another address (port 0 takes a free one)"
    )]
    Http {
        /// Which.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The builder lacks something.
    #[error("{0}")]
    Incomplete(&'static str),
}
