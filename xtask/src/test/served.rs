//! An `onrush broker` of its own for a part, as long as that lasts.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::failure::{Context, Failure};
use crate::process;

/// A running broker.
pub(super) struct Served {
    address: String,
    /// Its stdin is what keeps it running.
    broker: Child,
}

impl Served {
    /// Starts `onrush` with these arguments of its command `broker`, on a free port.
    pub(super) fn start(mut onrush: Command, arguments: &[&str]) -> Result<Self, Failure> {
        onrush.args(["broker", "--listen", "127.0.0.1:0", "--until-stdin-closes"]).args(arguments);
        let unsaid = format!("{} does not say where it listens", process::line(&onrush));
        let spawned = onrush.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut broker = spawned.context(|| unsaid.clone())?;
        let mut line = String::new();
        if let Some(stdout) = broker.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context(|| unsaid.clone())?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Ok(Self { address: address.to_owned(), broker }),
            None => Err(Failure::new(unsaid)),
        }
    }

    /// `HOST:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.broker.stdin.take());
        // It ends of its own once its stdin is closed; there is nothing to do about one that fails.
        let _ = self.broker.wait();
    }
}
