//! The client against a broker: the embedded one, or those that `ONRUSH_TEST_BROKERS` names.

mod fetching;
mod producing;
mod target;
