//! The files of a one-node cluster: `server.properties`, its log and its data.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Options, free_port, unused};
use crate::failure::{Context, Failure};
use crate::workspace::Workspace;

pub(super) struct Node {
    pub(super) port: u16,
    controller_port: u16,
    folder: PathBuf,
    keep: Keep,
}

/// What becomes of the folder at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Data,
    Nothing,
}

impl Node {
    pub(super) fn prepare(workspace: &Workspace, options: &Options) -> Result<Self, Failure> {
        let port = match options.port {
            Some(port) => unused(port)?,
            None => free_port()?,
        };
        let controller_port = free_port()?;
        if let Some(folder) = &options.data {
            fs::create_dir_all(folder).context(|| format!("make {}", folder.display()))?;
            let folder =
                folder.canonicalize().context(|| format!("resolve {}", folder.display()))?;
            return Ok(Self { port, controller_port, folder, keep: Keep::Data });
        }
        let scratch = format!("kafka/run-{port}-{}", std::process::id());
        let folder = workspace.fresh_folder(scratch)?;
        Ok(Self { port, controller_port, folder, keep: Keep::Nothing })
    }

    /// The folder to remove at the end, if any.
    pub(super) fn scratch(&self) -> Option<&Path> {
        (self.keep == Keep::Nothing).then_some(self.folder.as_path())
    }

    pub(super) fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("kafka.log")
    }

    pub(super) fn is_formatted(&self) -> bool {
        self.data().join("meta.properties").is_file()
    }

    pub(super) fn write(&self) -> Result<(), Failure> {
        let path = self.properties();
        fs::write(&path, self.server_settings()).context(|| format!("write {}", path.display()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn server_settings(&self) -> String {
        let Self { port, controller_port, .. } = self;
        let data = self.data();
        format!(
            "\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}
auto.create.topics.enable=false

# One node holds every replica.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# A member that dies is noticed within a test's patience.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
",
            data = data.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            port: 19092,
            controller_port: 19093,
            folder: PathBuf::from("/somewhere"),
            keep: Keep::Nothing,
        }
    }

    #[test]
    fn both_listeners_stay_on_loopback() {
        let settings = node().server_settings();
        assert!(
            settings
                .contains("listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093\n")
        );
        assert!(settings.contains("log.dirs=/somewhere/data\n"));
    }

    #[test]
    fn a_given_data_folder_is_no_scratch() {
        assert_eq!(node().scratch(), Some(Path::new("/somewhere")));
        let kept = Node { keep: Keep::Data, ..node() };
        assert_eq!(kept.scratch(), None);
    }
}
