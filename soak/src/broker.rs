//! The broker of a run, which is killed and started again on its way.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// How long a member may be silent.
const SESSION: &str = "group.consumer.session.timeout.ms=6000";

/// See the module.
pub(crate) enum Broker {
    /// `onrush broker`, with the folder of its log.
    Embedded { onrush: PathBuf, data: PathBuf, address: String, child: Child },
    /// A cluster that whoever started us restarts when we ask on stdout, and says so on our stdin.
    Outside { address: String },
}

impl Broker {
    pub(crate) fn embedded(onrush: &Path, data: &Path) -> Result<Self, Failure> {
        let (child, address) = start(onrush, data, "127.0.0.1:0")?;
        Ok(Self::Embedded { onrush: onrush.to_owned(), data: data.to_owned(), address, child })
    }

    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Embedded { address, .. } | Self::Outside { address } => address,
        }
    }

    /// Kills it, and starts it again on what it left.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        match self {
            Self::Embedded { onrush, data, address, child } => {
                child.kill()?;
                child.wait()?;
                (*child, _) = start(onrush, data, address)?;
                Ok(())
            }
            Self::Outside { .. } => {
                let mut stdout = std::io::stdout().lock();
                writeln!(stdout, "restart")?;
                stdout.flush()?;
                let mut answer = String::new();
                std::io::stdin().lock().read_line(&mut answer)?;
                match answer.trim() {
                    "restarted" => Ok(()),
                    other => Err(format!("the broker was not restarted: {other:?}").into()),
                }
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Self::Embedded { child, .. } = self {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

fn start(onrush: &Path, data: &Path, listen: &str) -> Result<(Child, String), Failure> {
    let mut child = Command::new(onrush)
        .args(["broker", "--until-stdin-closes", "--config", SESSION, "--listen", listen, "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", onrush.display()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.trim().strip_prefix("listening on ") {
        Some(address) => Ok((child, address.to_owned())),
        None => {
            let _ = child.kill();
            Err(format!("the broker does not say where it listens: {line:?}").into())
        }
    }
}
