//! Engines against a broker: the embedded one, or those that `ONRUSH_TEST_BROKERS` names.

mod dead_letters;
mod emitting;
mod groups;
mod target;
mod tasks;
