//! How a command ends: the documented exit codes, and errors that say what to do and have a page.

use std::fmt;
use std::io;
use std::process::ExitCode;

use onrush_broker::BrokerError;
use onrush_engine::EngineError;
use onrush_kafka::{AppendError, ClientError, ProduceError};
use onrush_runtime::Fault;

/// Exit codes; they are part of the interface (`onrush --help` prints them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing went wrong; only the reader of the output had enough.
    Done = 0,
    /// What was asked for was done, but its result is not right: a proof failed, input was malformed.
    Wrong = 1,
    /// The arguments cannot be used (clap's own code for them, too).
    Usage = 2,
    /// Something outside could not be had: a port, a directory, a broker.
    Unavailable = 3,
    /// It stopped making progress and gave up.
    Stalled = 4,
    /// Interrupted by the user; what was taken was drained and committed.
    Interrupted = 130,
}

/// The text of `--help` about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    done, but not as it must be: a proof failed, a part of the input was malformed
  2    the arguments cannot be used
  3    something outside could not be had: a port, a directory, a broker
  4    no progress for too long: gave up
  130  interrupted; what was taken was drained and committed

Errors have a code with a page: onrush explain ONR0012";

/// A command's error: what happened and where, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) fault: Fault,
}

impl Failure {
    /// A failure without a page of its own: it gets the one of its exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let fault = match exit {
            Exit::Done | Exit::Unavailable => Fault::Unavailable,
            Exit::Wrong => Fault::Wrong,
            Exit::Usage => Fault::Usage,
            Exit::Stalled => Fault::Stalled,
            Exit::Interrupted => Fault::Interrupted,
        };
        Self { exit, message: message.into(), fault }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same, under another code.
    pub(crate) fn code(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    /// The same, with what was tried put before it.
    pub(crate) fn doing(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// Data could not be written to stdout. A reader that has enough (`| head`) is no error.
    pub(crate) fn output(error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::BrokenPipe => Exit::Done,
            _ => Exit::Unavailable,
        };
        Self::new(exit, format!("cannot write the output: {error}")).code(Fault::File)
    }

    /// The operating system refused a thread.
    pub(crate) fn threads(error: io::Error) -> Self {
        Self::unavailable(format!(
            "cannot start a thread: {error}. Raise the limit on processes (ulimit -u)."
        ))
        .code(Fault::Thread)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::unavailable(error.to_string()).code(error.fault())
    }
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Self {
        Self::unavailable(error.to_string()).code(error.fault())
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Self::unavailable(error.to_string()).code(error.fault())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::unavailable(error.to_string()).code(error.fault())
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        let exit = match &error {
            BrokerError::Config { .. } => Exit::Usage,
            _ => Exit::Unavailable,
        };
        Self::new(exit, error.to_string()).code(error.fault())
    }
}
