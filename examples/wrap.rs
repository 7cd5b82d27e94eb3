//! A handler around another one: `cargo run -p onrush --example wrap -- localhost:9092 payments`
//!
//! Wrappers are ordinary handlers, so they nest, keep state of their own, and work for any handler.
use std::time::Duration;

use onrush::prelude::*;
use onrush::{Assignment, Place};
use tokio::time::Instant;

/// Tells how long events took, when a partition leaves.
struct Timed<H> {
    inner: H,
    events: u32,
    time: Duration,
}

impl<H: Handler> Handler for Timed<H> {
    fn each(&mut self, event: &Event<'_>, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let start = Instant::now();
        let result = self.inner.each(event, cx);
        self.events += 1;
        self.time += start.elapsed();
        result
    }

    fn assigned(&mut self, assignment: &Assignment) {
        self.inner.assigned(assignment);
    }

    fn revoked(&mut self, assignment: &Assignment) {
        self.inner.revoked(assignment);
        let average = self.time.checked_div(self.events).unwrap_or_default();
        println!("{} events, {average:?} each", self.events);
    }
}

/// What is wrapped.
struct Print;

impl Handler for Print {
    fn each(&mut self, event: &Event<'_>, _: &mut Context<'_>) -> Result<(), HandlerError> {
        println!("{}", event.payload::<&str>()?);
        Ok(())
    }
}

fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "payments".to_owned());
    Consumer::new(brokers)
        .group("wrap-example")
        .topic(topic)
        .handlers(|_: Place| Timed { inner: Print, events: 0, time: Duration::ZERO })
        .run() // until Ctrl-C
}
