//! Engines against a broker: the embedded one, or those that `ONRUSH_TEST_BROKERS` names.

mod bulk;
mod dead_letters;
mod emitting;
mod foreign;
mod groups;
mod hanging;
mod memory;
mod retries;
mod target;
mod tasks;
