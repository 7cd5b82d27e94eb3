//! Where the repository lies and which files it tracks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::process;

pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The repository this binary was built from, or when that has moved, the one cargo runs in.
    pub(crate) fn find() -> Result<Self, Failure> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        match manifest.parent() {
            Some(root) if root.join("Cargo.toml").is_file() => Ok(Self { root: root.to_owned() }),
            _ => Err(Failure::new(format!("no repository above {}", manifest.display()))),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where build products go.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => self.root.join(target),
            None => self.root.join("target"),
        }
    }

    /// `cargo` as the one that runs us, in the root.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }

    /// Files of the repository, relative to the root: tracked, or new and not ignored.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut list = Command::new("git");
        list.current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = process::capture(&mut list)?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Builds a binary of the workspace for release; where it is.
    pub(crate) fn release_build(&self, package: &str, binary: &str) -> Result<PathBuf, Failure> {
        process::run(self.cargo().args(["build", "--release", "--package", package]))?;
        Ok(self.target().join("release").join(binary))
    }

    /// A new, empty folder below `target`.
    pub(crate) fn fresh_folder(&self, relative: impl AsRef<Path>) -> Result<PathBuf, Failure> {
        let folder = self.target().join(relative);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).context(|| format!("empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }
}
