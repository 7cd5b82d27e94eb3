//! A Kafka client whose data path slices instead of copying.
//!
//! The way in: [`Fetcher`] asks the leaders of assigned partitions, a loop per broker, bounded by
//! credit in bytes; a response is one buffer, and each partition's slice of it goes to the
//! partition's [`FetchSink`]. The way out: an [`Appender`] per thread writes records straight into
//! its own open batches; full ones go to the [`Producer`]'s sender, which numbers them
//! (idempotence), sends them, and repeats what failed without changing the order. Beside both:
//! [`Member`], a member of a consumer group (KIP-848), and the calls of [`Client`].
//!
//! All I/O runs on the executor that [`Client::connect`] was given, groups and commits on the one
//! that [`Member::join`] was given; code of the user never runs on either. Protocol decisions are
//! made by state machines without I/O ([`group`], [`sequence`](produce)), which take the time as an
//! argument.
#![forbid(unsafe_code)]

mod admin;
mod backoff;
mod client;
mod cluster;
pub mod config;
mod connection;
mod credit;
mod error;
mod fault;
pub mod fetch;
pub mod group;
mod link;
mod lock;
mod offsets;
mod partition;
pub mod produce;
mod string;

pub use admin::{
    At, ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, Effect,
    GroupDescription, GroupKind, GroupListing, GroupMember, ListedOffset, NewTopic, Outcomes,
    PartitionDescription, TopicDescription,
};
pub use client::Client;
pub use cluster::{MAX_TOPICS, PartitionMetadata, TopicMetadata};
pub use config::ClientConfig;
pub use credit::{Credit, Lease, Loan};
pub use error::{ClientError, Remedy, remedy_of};
pub use fault::fault_of;
pub use fetch::{FetchConfig, FetchEvent, FetchSink, Fetched, Fetcher};
pub use group::{GroupConfig, GroupEvent, Member, Tenure};
pub use offsets::{Commit, Committed};
pub use onrush_record::{Compression, Header};
pub use onrush_wire::{ErrorCode, Uuid};
pub use partition::TopicPartition;
pub use produce::{
    AckSink, Acked, Acks, AppendError, Appender, ProduceError, Producer, ProducerConfig,
    TopicHandle,
};
