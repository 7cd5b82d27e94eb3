//! The embedded broker in a process of its own: this binary's `broker` command, ended with whoever started it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// Opening a log of some gigabytes after a crash takes a while; an empty one takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Members report often, so that a hand-over does not wait for them.
const QUICK_HEARTBEATS: &str = "group.consumer.heartbeat.interval.ms=500";

/// A broker process.
#[derive(Debug)]
pub(crate) struct EmbeddedBroker {
    child: Child,
    address: String,
}

impl EmbeddedBroker {
    /// Starts a broker on a free port, with its log in `data` (or in memory).
    pub(crate) async fn start(data: Option<&Path>) -> Result<Self, Failure> {
        Self::start_with(data, &[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn start_with(
        data: Option<&Path>,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::unavailable(format!("cannot find this program's own file: {error}"))
        })?;
        let mut command = Command::new(program);
        command.args(["broker", "--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(["--config", QUICK_HEARTBEATS]).args(arguments);
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        // The pipe to its stdin is what ends it when this process dies, however it dies. Ctrl-C at the terminal goes to
        // the whole process group; the broker must outlive the members that drain.
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| {
            Failure::unavailable(format!("cannot start the embedded broker: {error}"))
        })?;
        let stdout = child.stdout.take().map(BufReader::new);
        let announced = async {
            let mut line = String::new();
            match stdout {
                Some(mut stdout) => stdout.read_line(&mut line).await.map(|_| line),
                None => Ok(line),
            }
        };
        let line = tokio::time::timeout(START_LIMIT, announced)
            .await
            .unwrap_or_else(|_| Ok(String::new()));
        let address =
            line.ok().and_then(|line| line.trim().strip_prefix("listening on ").map(str::to_owned));
        let address = address.ok_or_else(|| {
            Failure::unavailable(
                "the embedded broker did not start; what it said stands above".to_owned(),
            )
        })?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process id, while it runs.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops it in good order.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        // One that hangs is killed when it is dropped.
        let _ = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await;
    }
}
