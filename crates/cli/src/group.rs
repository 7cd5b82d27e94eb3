//! `onrush group`: list, describe, reset and delete consumer groups.

use clap::Args;

use crate::cluster::Cluster;
use crate::failure::Failure;

/// Look after consumer groups.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |_session| Ok(()))
}
