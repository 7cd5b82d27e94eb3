//! Why a broker cannot start, or stop cleanly.

use std::io;

use onrush_runtime::Fault;

/// What keeps a broker from running. Each names where and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A setting that cannot be.
    #[error("broker setting {field}: {reason}")]
    Config {
        /// The field of `BrokerConfig`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_advice(.source))]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another broker holds the data directory.
    #[error(
        "the data directory is in use by another broker ({path}: {source}); stop it or choose another directory"
    )]
    Locked {
        /// The lock file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot {action} {path}: {source}; {}", storage_advice(.source))]
    Storage {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file in the data directory that is not of this version's form although its checksum is
    /// right.
    #[error("{path} at byte {position}: {reason}; was it written by a newer version of Onrush?")]
    Format {
        /// The file.
        path: String,
        /// Where in it.
        position: u64,
        /// What is not understood.
        reason: String,
    },
    /// Bytes that were on the disk have changed, and what stands behind them is whole. Nothing was
    /// cut or removed.
    #[error("{path} at byte {position}: {reason}; the disk may be failing: {remedy}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it the damage begins.
        position: u64,
        /// What is wrong there, and why it is no torn tail.
        reason: String,
        /// What can be done.
        remedy: &'static str,
    },
}

impl BrokerError {
    /// Under which code a person finds it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config { .. } => Fault::BrokerSetting,
            Self::Listen { .. } => Fault::Listen,
            Self::Locked { .. } => Fault::DataInUse,
            Self::Storage { .. } => Fault::DataDirectory,
            Self::Format { .. } => Fault::NewerFormat,
            Self::Damaged { .. } => Fault::Damaged,
        }
    }

    /// Names what was done to which path; for `map_err`.
    pub(crate) fn storage(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { action, path, source }
    }
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses the port: stop it, or choose another port (0 takes a free one)"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher one",
        _ => "give host:port of an address of this machine",
    }
}

fn storage_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user read and write permission, or choose another directory"
        }
        io::ErrorKind::StorageFull => "make room on the disk, or choose another directory",
        io::ErrorKind::NotFound => "create the directory, or choose another one",
        _ => "check the disk and the directory",
    }
}
