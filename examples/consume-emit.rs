//! Reads a topic, writes another: `cargo run -p onrush --example consume-emit -- localhost:9092 payments payment-sizes`
//!
//! An event counts as done only when what it emitted is acknowledged, so a crash repeats events and loses none.
use onrush::prelude::*;

fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let from = arguments.next().unwrap_or_else(|| "payments".to_owned());
    let to = arguments.next().unwrap_or_else(|| "payment-sizes".to_owned());
    Consumer::new(brokers)
        .group("consume-emit-example")
        .topic(from)
        .each(move |event, cx| {
            let size = event.value.map_or(0, <[u8]>::len).to_string();
            cx.emit(&to, event.key, Some(size.as_bytes()), &[])?;
            Ok(())
        })
        .run() // until Ctrl-C
}
