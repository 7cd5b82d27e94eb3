//! Serves until Ctrl-C: `cargo run -p onrush-broker --example serve -- 127.0.0.1:9092 [DIRECTORY]`.
//! Without a directory the log is in memory, at most 1 GiB of it.

use onrush_broker::{Broker, BrokerConfig};
use onrush_runtime::{Disk, Runtime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let directory = arguments.next();
    let config = BrokerConfig {
        listen,
        auto_create: true,
        memory_cap: directory.is_none().then_some(1 << 30),
        ..BrokerConfig::default()
    };
    let disk = directory.map_or_else(|| Ok(Disk::memory()), Disk::files)?;
    let runtime = Runtime::production(disk);
    let executor = runtime.spawn.executor("broker", 2)?;
    executor.block_on(async {
        let broker = Broker::open(config, &runtime, executor.clone()).await?;
        println!("serving on {}", broker.address());
        tokio::signal::ctrl_c().await?;
        broker.close().await?;
        Ok(())
    })
}
