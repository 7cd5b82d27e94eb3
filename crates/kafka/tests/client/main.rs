//! The client against a broker: the embedded one, or those that `ONRUSH_TEST_BROKERS` names.

mod cutting;
mod fetching;
mod grouping;
mod producing;
mod target;
