//! A single-node Kafka to embed: it speaks Kafka's protocol on a socket and keeps Kafka's record
//! batches on a disk.
//!
//! ```text
//! socket -> server: one task per connection, one request of it at a time
//!        -> core: header, version check, dispatch (requests/*); behind one lock
//!        -> produce: header checks, offset patched in, the very bytes appended to the log;
//!                    parked fetches are counted down; under `Fsync::Always` parked until synced
//!        -> fetch: a slice of the log, or parked until enough has come
//!        -> coordinator: groups (KIP-848 and classic) and offsets, both in journals
//! syncer -> what was written, synced outside of the lock; then parked produces are answered;
//!           checkpoints and retention, log by log
//! ```
//!
//! In the data directory: `lock`, the journals `catalogue` (`topics/catalogue.rs`), `groups` (`offsets.rs`)
//! and `members` (`members.rs`), and per partition a directory `topic-N` of segment files
//! (`segment.rs`), their indexes (`segment/index.rs`) and a `checkpoint` (`checkpoint.rs`). After a crash `recovery.rs` reads
//! what stands above the checkpoint and cuts what was half written.
//!
//! Absent on purpose: transactions, fetch sessions, more than one node.
#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod core;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod journal;
mod log;
mod members;
mod offsets;
mod parked;
mod producers;
mod recovery;
mod requests;
mod segment;
mod server;
mod settings;
mod snapshot;
mod syncer;
mod topics;

pub use config::{
    BrokerConfig, Fsync, MAX_BATCH, MAX_CONNECTIONS, MAX_FETCH_BYTES, MAX_FETCH_WAIT,
    MAX_GROUP_SIZE, MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC, MIN_FSYNC_INTERVAL,
    MIN_SEGMENT_BYTES, Sabotage,
};
pub use error::BrokerError;
pub use server::Broker;
pub use settings::{SettingError, TimestampType};
