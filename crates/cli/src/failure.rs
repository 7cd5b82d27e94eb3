//! How a command ends: the documented exit codes, and errors that say what to do.

use std::fmt;
use std::process::ExitCode;

/// Exit codes; they are part of the interface (`onrush --help` prints them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for was done, but its result is not right: a proof failed.
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
  1    done, but wrong: the proof failed
  2    the arguments cannot be used
  3    something outside could not be had: a port, a directory, a broker
  4    no progress for too long: gave up
  130  interrupted; what was taken was drained and committed";

/// A command's error: what happened and where, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
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

impl Failure {
    /// The operating system refused a thread.
    pub(crate) fn threads(error: std::io::Error) -> Self {
        Self::unavailable(format!(
            "cannot start a thread: {error}. Raise the limit on processes (ulimit -u)."
        ))
    }
}
