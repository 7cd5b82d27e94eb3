//! `onrush produce`: records from stdin or files into a topic.

use clap::Args;

use crate::cluster::Cluster;
use crate::failure::Failure;

/// Send records to a topic.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |_session| Ok(()))
}
