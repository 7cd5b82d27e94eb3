//! A consumer under test: its events, its group, its failures and its time, in one thread and without a network.
//!
//! [`TestBed`] runs the consumer that production runs (its handler, engine, client and group) against the embedded broker, on
//! simulated network, disk and time. Time is virtual: a session time-out passes in a moment, and whatever a seed
//! draws (delays, who goes first) is drawn again by the same seed.
//!
//! ```
//! use onrush::prelude::*;
//! use onrush::testing::TestBed;
//!
//! fn receipts(brokers: &str) -> onrush::Subscription {
//!     Consumer::new(brokers).group("billing").topic("payments").each(|event, cx| {
//!         std::str::from_utf8(event.value.unwrap_or_default())?.parse::<u32>()?;
//!         cx.emit("receipts", event.key, Some(b"paid"), &[])?;
//!         Ok(())
//!     })
//! }
//!
//! let test = TestBed::new();
//! test.topic("payments", 6);
//! test.topic("receipts", 1);
//! let app = test.run(receipts("localhost:9092")); // the bed puts its own broker in the place of this one
//! test.send("payments", "alice", "10");
//! test.send("payments", "bob", "ten");
//! test.settle();
//!
//! assert_eq!(test.records("receipts")[0].key_text(), "alice");
//! assert_eq!(test.dead_letters("payments")[0].record.key_text(), "bob");
//! assert_eq!(app.outcomes().done, 1);
//! ```
//!
//! # What can happen
//! Each of these takes as much virtual time as it would take in production.
//!
//! | in production | in a test |
//! |---|---|
//! | events come | [`TestBed::send`], [`TestBed::send_all`], [`TestBed::send_with`] |
//! | an event comes twice | [`TestBed::duplicate`]: it was written twice; [`TestBed::rewind`]: the group reads all again |
//! | the group rebalances | [`App::add_member`], [`App::stop`], [`App::restart`] |
//! | a process dies | [`App::crash`], then [`App::restart`] |
//! | a process loses its network, and may not know that it is out | [`App::cut_off`], [`App::reconnect`] |
//! | what stands downstream is slow | [`App::slow`] |
//! | the network is slow | [`TestBed::slow_network`] |
//! | the broker is away | [`TestBed::broker_down`], [`TestBed::broker_up`] |
//! | time passes | [`TestBed::advance`]; [`TestBed::settle`] until nothing is unfinished |
//!
//! # What can be asserted
//! [`App::outcomes`] (done, dead-lettered, open, retried, repeated), [`App::assert_all_done`],
//! [`App::assert_key_order`], [`App::calls`], [`TestBed::records`] (what handlers emitted), [`TestBed::dead_letters`],
//! [`TestBed::committed`]. When a test fails, by whatever assertion, the bed prints its seed and what happened.
//!
//! # A rebalance under load, for a hundred seeds
//! ```
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//! use onrush::prelude::*;
//! use onrush::testing::{TestBed, seeds};
//!
//! # let few = 0..3;
//! # /*
//! seeds(0..100, |seed| {
//! # */ seeds(few, |seed| {
//!     let test = TestBed::seeded(seed);
//!     test.topic("payments", 6);
//!     let workers = NonZeroUsize::new(4).unwrap();
//!     let consumer = Consumer::new("localhost:9092").group("billing").topic("payments");
//!     let app = test.run(consumer.each_blocking(workers, |_, _| Ok(())));
//!     app.slow(|_| Duration::from_millis(50));
//!     test.send_all("payments", (0..200).map(|n| (format!("customer-{}", n % 20), n.to_string())));
//!     let second = app.add_member();
//!     second.crash();
//!     test.settle();
//!     app.assert_all_done();
//!     app.assert_key_order();
//! });
//! ```
//!
//! # Rules of the simulated machine
//! - A [`TestBed`] has a time of its own: use it in plain `#[test]` functions, outside of any async runtime.
//! - A handler that sleeps blocks the test, and no virtual time passes: let [`App::slow`] be slow in its place.
//! - Handlers run on two lanes whatever the machine has, unless [`Consumer::lanes`](crate::Consumer::lanes) was called,
//!   so that a seed does the same on every machine.
//! - The broker keeps what it acknowledged. Its settings are the defaults, and topics exist once [`TestBed::topic`]
//!   made them.
//!
//! For what needs a broker on a real port (another process, another client), there is [`TestBroker`].

mod app;
mod bed;
mod broker;
mod group;
mod history;
mod log;
mod member;
mod observed;
mod outbox;
mod outcomes;
mod seeds;

pub use app::App;
pub use bed::TestBed;
pub use broker::{TestBroker, create_topic, lag};
pub use history::Call;
pub use log::{DeadLetter, Record};
pub(crate) use observed::{ObservedBatches, ObservedEvents, ObservedHandler, Observer};
pub use onrush_broker::BrokerConfig;
pub use outcomes::{EventOutcome, Outcome, Outcomes};
pub use seeds::seeds;
