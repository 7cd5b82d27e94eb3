//! Where a run keeps its log, its journals and its results.

use std::path::{Path, PathBuf};

use super::run::failed;
use crate::failure::Failure;

/// Where a run keeps its log and journals.
pub(super) enum Folder {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    pub(super) fn of(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(keep) = keep else {
            let made = tempfile::Builder::new().prefix("onrush-demo-").tempdir();
            return made.map(Self::Temporary).map_err(failed("make a temporary directory"));
        };
        std::fs::create_dir_all(keep)
            .map_err(|e| Failure::unavailable(format!("cannot make {}: {e}", keep.display())))?;
        let empty = std::fs::read_dir(keep).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            Ok(Self::Kept(keep.to_owned()))
        } else {
            Err(Failure::usage(format!(
                "{} is not empty: give --keep a new directory",
                keep.display()
            )))
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the command is a driver")]
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path().join(name);
        std::fs::write(&path, text)
            .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))
    }
}
