//! The member of `docs/on-call.md`: it knows all cards but one, and tries that one for ever.
//! `cargo run -p onrush --features http --example on-call -- localhost:9092 127.0.0.1:9100`
use std::num::NonZeroUsize;

use onrush::prelude::*;
use onrush::{RetryPolicy, Subscription};

/// A member of the group `billing` that shows itself on `http`.
pub(crate) fn member(brokers: &str, http: &str) -> Subscription {
    Consumer::new(brokers)
        .group("billing")
        .topic("payments")
        .retry(RetryPolicy::forever())
        .http(http)
        .each_blocking(const { NonZeroUsize::new(8).unwrap() }, |event, _| match event.key {
            Some(b"card-17") => Err(HandlerError::msg("card-17 was never issued")),
            _ => Ok(()),
        })
}

fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |otherwise: &str| arguments.next().unwrap_or_else(|| otherwise.to_owned());
    let (brokers, http) = (argument("localhost:9092"), argument("127.0.0.1:9100"));
    member(&brokers, &http).run() // until Ctrl-C
}
