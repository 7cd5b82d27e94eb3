//! Prints the events of a topic: `cargo run -p onrush --example consume -- localhost:9092 my-topic`
use onrush::prelude::*;

fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "payments".to_owned());
    Consumer::new(brokers)
        .group("consume-example")
        .topic(topic)
        .each(|event, _| {
            let text = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            println!(
                "{}/{} {:?} = {:?}",
                event.partition,
                event.offset,
                text(event.key),
                text(event.value)
            );
            Ok(())
        })
        .run() // until Ctrl-C
}
