//! Rules of the tree that no compiler checks, one `check` per rule, each with a canary that must be found.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure};
use crate::workspace::Workspace;

mod arrows;
mod coded_errors;
mod doc_paths;
mod example_length;
mod file_names;
mod function_length;
mod headers;
mod machine_paths;
mod sans_io;
mod select;
mod source;
mod unsafe_code;
mod words;

use arrows::Package;
use source::Source;

/// Where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// A text file that is not Rust.
struct Document {
    path: PathBuf,
    text: String,
}

/// What the checks look at: every file's path, and the text of those that are text.
#[derive(Default)]
struct Tree {
    files: Vec<PathBuf>,
    sources: Vec<Source>,
    documents: Vec<Document>,
}

impl Tree {
    fn read(workspace: &Workspace) -> Result<Self, Failure> {
        let mut tree = Self::default();
        for path in workspace.files()? {
            let bytes = std::fs::read(workspace.path(&path))
                .context(|| format!("read {}", path.display()))?;
            tree.add(path, bytes);
        }
        Ok(tree)
    }

    fn add(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.files.push(path.clone());
        let Ok(text) = String::from_utf8(bytes) else { return };
        if path.extension().is_some_and(|extension| extension == "rs") {
            self.sources.push(Source::new(path, text));
        } else {
            self.documents.push(Document { path, text });
        }
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(PathBuf::from(path), text.as_bytes().to_vec());
        }
        tree
    }

    /// Rust files of the workspace's members.
    fn members(&self) -> impl Iterator<Item = &Source> {
        const FOLDERS: [&str; 4] = ["crates", "guards", "sim", "xtask"];
        self.sources
            .iter()
            .filter(|source| FOLDERS.iter().any(|folder| source.path().starts_with(folder)))
    }

    /// Those that a person wrote; a generator has its own style.
    fn written(&self) -> impl Iterator<Item = &Source> {
        self.members().filter(|source| !source.path().to_string_lossy().ends_with("_generated.rs"))
    }

    /// `crates/NAME/src` of every crate but the binary's.
    fn libraries(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| {
            let mut parts = source.path().iter();
            parts.next().is_some_and(|part| part == "crates")
                && parts.next().is_some_and(|part| part != "cli")
                && parts.next().is_some_and(|part| part == "src")
        })
    }
}

/// Runs every check; what only deserves a look goes to stderr.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let tree = Tree::read(workspace)?;
    for finding in function_length::check(&tree) {
        eprintln!("note: {finding}");
    }
    let mut findings = Vec::new();
    for check in [
        headers::check,
        words::check,
        file_names::check,
        machine_paths::check,
        unsafe_code::check,
        select::check,
        sans_io::check,
        doc_paths::check,
        coded_errors::check,
        example_length::check,
    ] {
        findings.extend(check(&tree));
    }
    findings.extend(arrows::check(&Package::all(workspace)?));
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} findings, listed above", findings.len())))
}
