//! The jars of one Kafka version, fetched by Maven once and kept under `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::workspace::Workspace;
use crate::{host, process};

/// The version that `xtask/kafka/pom.xml` names; a test holds them together.
pub(crate) const VERSION: &str = "4.3.1";

const POM: &str = "xtask/kafka/pom.xml";

/// The folder that has them all. A copy that was cut short lies under another name and is made again.
pub(super) fn folder(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let jars = workspace.target().join(format!("kafka/libs-{VERSION}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    host::maven()?;
    eprintln!("fetching Apache Kafka {VERSION} (54 MB) ...");
    let partial = workspace.fresh_folder(format!("kafka/libs-{VERSION}.{}", std::process::id()))?;
    let moved = copy(&workspace.path(POM), &partial).and_then(|()| {
        std::fs::rename(&partial, &jars).context(|| format!("make {}", jars.display()))
    });
    if moved.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    // Another run may have been quicker.
    if jars.is_dir() { Ok(jars) } else { moved.map(|()| jars) }
}

fn copy(pom: &Path, folder: &Path) -> Result<(), Failure> {
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "--file"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()));
    // Maven reports its errors on stdout.
    let ended = process::tee(&mut maven)?;
    process::success(&maven, ended.status)
        .context(|| format!("fetch Apache Kafka {VERSION} (Maven must reach a mirror of Central)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_this_version() {
        let pom = include_str!("../../kafka/pom.xml");
        assert!(pom.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }
}
