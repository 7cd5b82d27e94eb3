//! The client against a broker: the embedded one, or those that `ONRUSH_TEST_BROKERS` names.

mod cutting;
mod fetching;
mod foreign;
mod grouping;
mod meddling;
mod omitting;
mod producing;
mod target;
mod throttling;
