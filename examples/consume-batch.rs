//! Writes many events at once: `cargo run -p onrush --example consume-batch -- localhost:9092 payments`
//!
//! A batch has what is there, up to 500 events of many keys; those of one key are in order.
use std::io::Write;
use std::num::NonZeroUsize;

use onrush::prelude::*;
use onrush::{BatchError, HandlerError};

fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "payments".to_owned());
    let (writers, rows) =
        const { (NonZeroUsize::new(4).unwrap(), NonZeroUsize::new(500).unwrap()) };
    Consumer::new(brokers)
        .group("consume-batch-example")
        .topic(topic)
        .each_batch(writers, rows, |events, _| async move {
            let mut lines = Vec::new();
            for (index, event) in events.iter().enumerate() {
                // Names the event at fault: those before it are done, and only it is tried again.
                let payment: &str =
                    event.payload().map_err(|error: HandlerError| BatchError::at(index, error))?;
                writeln!(lines, "{} {payment}", event.offset())?;
            }
            std::io::stdout().write_all(&lines)?;
            Ok(())
        })
        .run() // until Ctrl-C
}
