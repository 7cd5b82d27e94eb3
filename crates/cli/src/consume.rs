//! `onrush consume`: records of a topic to stdout.

use clap::Args;

use crate::cluster::Cluster;
use crate::failure::Failure;

/// Print the records of a topic.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.cluster.run(async |_session| Ok(()))
}
