//! The broker as a process that is killed and started again, at one address, over one directory.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The broker.
pub(crate) struct Daemon {
    data: PathBuf,
    arguments: &'static [&'static str],
    address: String,
    child: Option<Child>,
}

impl Daemon {
    /// With its data in `folder`. Its port is free now; nobody else is given it soon.
    #[expect(clippy::disallowed_types, reason = "a free port is asked for by hand")]
    pub(crate) fn new(folder: &Path, arguments: &'static [&'static str]) -> Self {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("a free port").to_string();
        Self { data: folder.join("data"), arguments, address, child: None }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
        command.args(["broker", "--listen", &self.address, "--data"]).arg(&self.data);
        // Warnings of a recovery are what is expected here.
        command.args(self.arguments).env("RUST_LOG", "error").stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        assert!(line.starts_with("listening on "), "the broker did not start: {line:?}");
        self.child = Some(child);
    }

    /// Its process id, while it runs.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("waited for");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
