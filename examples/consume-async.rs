//! Awaits something for each event: `cargo run -p onrush --example consume-async -- localhost:9092 payments payment-checks`
//!
//! A thousand events may wait at once, those of one key one after the other. An event that takes too long is cancelled and
//! tried again.
use std::num::NonZeroUsize;
use std::time::Duration;

use onrush::prelude::*;

/// What stands for a call to another service.
async fn check(payment: &str) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(format!("checked {payment}"))
}

#[tokio::main]
async fn main() -> Result<(), onrush::Error> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let from = arguments.next().unwrap_or_else(|| "payments".to_owned());
    let to = arguments.next().unwrap_or_else(|| "payment-checks".to_owned());
    Consumer::new(brokers)
        .group("consume-async-example")
        .topic(from)
        .time_limit(Duration::from_secs(5))
        .each_async(const { NonZeroUsize::new(1_000).unwrap() }, move |event, cx| {
            let to = to.clone();
            async move {
                // Bytes that are no text are not worth another try: they go to the dead letters.
                let checked = check(event.payload()?).await?;
                cx.emit(&to, event.key(), Some(checked.as_bytes()), &[])?;
                Ok(())
            }
        })
        .run_async() // until Ctrl-C
        .await
}
