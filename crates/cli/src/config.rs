//! Where the settings of a connection come from: a flag, a variable, the configuration file, or the default.
//!
//! Two stages. The first collects what each source says, without judging it: [`Flags`], [`Environment`] and the text of the
//! file. The second, [`resolve`], is a function of these alone: it reads all of them, names every fault with its line, and
//! hands out values that are known to be good, each with its [`Origin`].
//!
//! ```toml
//! cluster = "local"              # the one that is used when none is named
//!
//! [clusters.local]
//! brokers = "127.0.0.1:9092"
//!
//! [clusters.staging]
//! brokers = ["b1.example:9092", "b2.example:9092"]
//! request-timeout = "10s"
//! ```
//!
//! A flag goes before a variable, a variable before the file. A cluster that is named by `--cluster` goes before variables,
//! since it was asked for more explicitly; and brokers that are given more explicitly than a cluster leave the cluster out
//! altogether, so that no setting meant for one cluster is used with another.

mod command;
mod file;
mod key;
mod profiles;
mod resolve;

pub(crate) use command::{Arguments, run};
pub(crate) use file::Environment;
pub(crate) use key::{Key, Value};
pub(crate) use resolve::{Flags, Origin, Settings, resolve};

use std::collections::BTreeSet;

use crate::failure::Failure;

/// Both stages, with the process's environment and the user's file.
pub(crate) fn settings(flags: &Flags) -> Result<Settings, Failure> {
    let environment = Environment::of_process();
    let file = file::read(&environment)?;
    resolve(flags, &environment, file.as_ref())
}

/// The names of the clusters in the user's file.
pub(crate) fn cluster_names() -> Result<BTreeSet<String>, Failure> {
    let (_, profiles) = command::profiles(&Environment::of_process())?;
    Ok(profiles.clusters.into_keys().collect())
}
