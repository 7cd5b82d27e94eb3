//! Onrush moves events into Apache Kafka and processes them out of it: fast, in key order, without losing one.
//!
//! ```no_run
//! use onrush::prelude::*;
//!
//! fn main() -> Result<(), onrush::Error> {
//!     Consumer::new("localhost:9092")
//!         .group("billing")
//!         .topic("payments")
//!         .each(|event, _| {
//!             println!("{:?} = {:?}", event.key, event.value);
//!             Ok(())
//!         })
//!         .run()
//! }
//! ```
//!
//! - [`Consumer`] runs a handler over the events of a consumer group: at least once, in the order of each key, committed only
//!   when everything below has an outcome. An event whose handler fails goes to a dead-letter topic.
//! - [`Producer`] sends events, idempotently.
//! - [`testing`] (feature `testing`) runs a consumer as it is in `cargo test`, through crashes, rebalances and hours of virtual
//!   time, without a network; and it has a Kafka-protocol broker, with nothing installed.
#![forbid(unsafe_code)]

mod consumer;
mod error;
pub mod health;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "json")]
mod json;
pub mod metrics;
mod producer;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "http")]
pub mod view;

pub use consumer::{AsyncRunning, Consumer, Running, Subscription};
pub use error::Error;
#[cfg(feature = "json")]
pub use json::Json;
#[doc(hidden)]
pub use onrush_engine::Sabotage;
pub use onrush_engine::{Answer, BadBatch, Lineage, RetryPolicy};
pub use onrush_engine::{
    Assignment, Context, Counts, ErrorClass, Event, Handle, Handler, HandlerError, HandlerFactory,
    Mode, Order, Place, Snapshot, Start, Summary,
};
pub use onrush_engine::{
    AsyncContext, AsyncHandler, BatchContext, BatchError, BatchHandler, Decode, OwnedEvent,
};
pub use onrush_record::{Compression, Header};
pub use producer::{Producer, ProducerBuilder};

/// What most programs use.
pub mod prelude {
    pub use crate::{Consumer, Context, Event, Handler, HandlerError, Order, Producer};
}

/// The README's example must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So must that of the page on failures.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/failures.md")]
struct Failures;
