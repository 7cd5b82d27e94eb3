//! Ordered parallel processing of Kafka partitions.
//!
//! An event's way: [`source`] (a fetched slice becomes a batch) -> [`lane`] (walks it; [`admission`]
//! says how much may be taken) -> inline, or [`slot`] and [`worker`] -> what it emits waits in
//! [`emit`], a failure goes through [`dead_letter`] -> its outcome lands in the [`ledger`] ->
//! [`commit`] takes offset and [`completed`] set of one snapshot, written as [`metadata`]. The
//! control driver, behind [`Engine`], is the only part that awaits anything: group, commits, topics.
//!
//! Lanes and workers are sans-I/O: `run_once(now)`, mail in, mail out ([`message`]). Nothing here
//! reads configuration files, arguments or the environment, and nothing ends the process.
#![forbid(unsafe_code)]

pub mod admission;
mod age;
pub mod assignment;
mod async_handler;
mod budget;
mod buffer;
mod client;
pub mod commit;
pub mod completed;
pub mod config;
mod control;
pub mod dead_letter;
mod decode;
mod departure;
pub mod detail;
pub mod emit;
pub mod engine;
pub mod error;
pub mod failure;
mod gathering;
pub mod handler;
pub mod inbox;
mod incident;
mod inline;
pub mod lane;
pub mod ledger;
pub mod lineage;
pub mod message;
pub mod metadata;
pub mod metrics;
mod parked;
mod partition;
pub mod pool;
pub mod retry;
pub mod retry_topic;
mod sabotage;
pub mod slot;
pub mod source;
mod varint;
pub mod worker;

pub use assignment::Assignment;
pub use async_handler::{AsyncHandler, BatchContext, BatchError, BatchHandler, OwnedEvent};
#[doc(hidden)]
pub use config::Sabotage;
pub use config::{EngineConfig, Mode, Order, Start};
pub use decode::Decode;
pub use emit::EmitError;
pub use engine::{Engine, Handle, Handlers, Summary};
pub use error::{EngineError, PartitionStopped, StopReason};
pub use failure::{ErrorClass, HandlerError};
pub use handler::{Context, Event, Handler, HandlerFactory, Place};
pub use lineage::Lineage;
pub use metadata::{Metadata, MetadataError, Note};
pub use metrics::{Counts, PartitionState, Snapshot};
pub use onrush_record::{Header, Headers};
pub use retry::{Answer, BadBatch, FailurePolicy, RetryPolicy};
pub use worker::{AsyncContext, Tasks};
