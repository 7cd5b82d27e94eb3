//! `onrush topic`: list, create, describe, alter and delete topics.

use clap::Args;

use crate::cluster::Cluster;
use crate::failure::Failure;

/// Look after topics.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |_session| Ok(()))
}
