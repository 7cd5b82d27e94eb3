//! Sends the lines of stdin, keyed by their first word: `cargo run -p onrush --example produce -- localhost:9092 my-topic`
use onrush::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "payments".to_owned());
    let mut producer = Producer::connect(brokers)?;
    let mut count = 0;
    for line in std::io::stdin().lines() {
        let line = line?;
        let key = line.split_whitespace().next().map(str::as_bytes);
        producer.send(&topic, key, Some(line.as_bytes()))?;
        count += 1;
    }
    producer.flush()?; // all of them are acknowledged now
    println!("{count} events sent to {topic}");
    Ok(())
}
