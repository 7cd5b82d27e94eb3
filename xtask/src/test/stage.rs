//! What several parts need, made by the first that asks and kept for the rest. A failure is kept too: it would only be
//! the same again, slowly.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::host;
use crate::kafka::{self, Jit, Kafka};
use crate::workspace::Workspace;

type Once<T> = Option<Result<T, Failure>>;

pub(super) struct Stage<'a> {
    workspace: &'a Workspace,
    kafka: Once<Kafka>,
    python: Once<PathBuf>,
    onrush: Once<PathBuf>,
    simulation: Once<PathBuf>,
    soak: Once<PathBuf>,
    notes: Vec<String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(workspace: &'a Workspace) -> Self {
        Self {
            workspace,
            kafka: None,
            python: None,
            onrush: None,
            simulation: None,
            soak: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn workspace(&self) -> &'a Workspace {
        self.workspace
    }

    /// A line for the end of the run.
    pub(super) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Stops what runs and hands over the notes.
    pub(super) fn end(self) -> Vec<String> {
        self.notes
    }

    /// `HOST:PORT` of a running Apache Kafka.
    pub(super) fn kafka(&mut self) -> Result<String, Failure> {
        let workspace = self.workspace;
        let options = kafka::Options { port: None, data: None, jit: Jit::Full };
        let kafka = once(&mut self.kafka, || {
            let kafka = Kafka::start(workspace, &options)?;
            println!("kafka {} ready on {}", kafka::VERSION, kafka.address());
            Ok(kafka)
        })?;
        Ok(kafka.address())
    }

    /// A Python that has what the checks import.
    pub(super) fn python(&mut self) -> Result<Command, Failure> {
        let workspace = self.workspace;
        let python = once(&mut self.python, || host::python(workspace))?;
        Ok(command(workspace, python))
    }

    /// `onrush` as a release build.
    pub(super) fn onrush(&mut self) -> Result<Command, Failure> {
        self.onrush_path().map(|path| command(self.workspace, &path))
    }

    pub(super) fn onrush_path(&mut self) -> Result<PathBuf, Failure> {
        let workspace = self.workspace;
        once(&mut self.onrush, || workspace.release_build("onrush-cli", "onrush")).cloned()
    }

    /// The simulation as a release build. Built by itself: its features are not the binary's.
    pub(super) fn simulation(&mut self) -> Result<Command, Failure> {
        let workspace = self.workspace;
        let sim =
            once(&mut self.simulation, || workspace.release_build("onrush-sim", "onrush-sim"))?;
        Ok(command(workspace, sim))
    }

    /// The soak as a release build.
    pub(super) fn soak(&mut self) -> Result<PathBuf, Failure> {
        let workspace = self.workspace;
        once(&mut self.soak, || workspace.release_build("onrush-soak", "onrush-soak")).cloned()
    }
}

fn once<T>(slot: &mut Once<T>, make: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
    slot.get_or_insert_with(make).as_ref().map_err(Clone::clone)
}

fn command(workspace: &Workspace, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace.root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_once_is_not_tried_again() {
        let mut slot: Once<u8> = None;
        assert!(once(&mut slot, || Err(Failure::new("no"))).is_err());
        assert_eq!(once(&mut slot, || Ok(1)), Err(Failure::new("no")));
    }
}
