//! Dependencies point one way, and a foreign codec stays behind `wire`. Dev-dependencies are free.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Finding;
use crate::failure::{Context, Failure};
use crate::process;
use crate::workspace::Workspace;

/// Which of our crates each of ours may use.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("onrush-runtime", &[]),
    ("onrush-record", &[]),
    ("onrush-wire", &["onrush-record"]),
    ("onrush-kafka", &["onrush-record", "onrush-runtime", "onrush-wire"]),
    ("onrush-broker", &["onrush-record", "onrush-runtime", "onrush-wire"]),
    ("onrush-engine", &["onrush-kafka", "onrush-record", "onrush-runtime"]),
    (
        "onrush",
        &["onrush-broker", "onrush-engine", "onrush-kafka", "onrush-record", "onrush-runtime"],
    ),
    (
        "onrush-cli",
        &[
            "onrush",
            "onrush-broker",
            "onrush-engine",
            "onrush-kafka",
            "onrush-record",
            "onrush-runtime",
        ],
    ),
];

/// Our crates that may be used only where the user asks for them.
const OPTIONAL: [(&str, &str); 1] = [("onrush", "onrush-broker")];

/// Foreign crates that one of ours isolates.
const ISOLATED: [(&str, &str); 1] = [("kacrab-protocol", "onrush-wire")];

/// Foreign crates that must not meet foreign bytes.
const UNFIT: [&str; 1] = ["kafka-protocol"];

pub(super) struct Package {
    name: String,
    manifest: PathBuf,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    optional: bool,
}

impl Package {
    /// The workspace's members with what they use outside their tests.
    pub(super) fn all(workspace: &Workspace) -> Result<Vec<Self>, Failure> {
        let mut metadata = workspace.cargo();
        metadata.args(["metadata", "--format-version", "1", "--no-deps"]);
        let text = process::capture(&mut metadata)?;
        let metadata: Value =
            serde_json::from_str(&text).context(|| "read what `cargo metadata` says".into())?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        Ok(packages.map(|package| Self::read(workspace.root(), package)).collect())
    }

    fn read(root: &Path, package: &Value) -> Self {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        Self {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            manifest: manifest.strip_prefix(root).unwrap_or(manifest).to_owned(),
            dependencies: dependencies
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| Dependency {
                    name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                    optional: dependency["optional"].as_bool().unwrap_or_default(),
                })
                .collect(),
        }
    }
}

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.manifest.starts_with("crates")) {
        match MAY_USE.iter().find(|(name, _)| *name == package.name) {
            Some((_, may_use)) => findings.extend(ours(package, may_use)),
            None => findings.push(finding(package, "has no row in xtask/src/tidy/arrows.rs")),
        }
        findings.extend(foreign(package));
    }
    findings
}

fn ours(package: &Package, may_use: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Dependency { name, optional } in &package.dependencies {
        if !name.starts_with("onrush") {
            continue;
        }
        if !may_use.contains(&name.as_str()) {
            findings.push(finding(package, format!("must not use {name}")));
        }
        if OPTIONAL.contains(&(&package.name, name)) && !optional {
            findings.push(finding(package, format!("may use {name} only as `optional`")));
        }
    }
    findings
}

fn foreign(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Dependency { name, .. } in &package.dependencies {
        if UNFIT.contains(&name.as_str()) {
            findings.push(finding(package, format!("must not use {name}: it trusts lengths")));
        }
        for (isolated, home) in ISOLATED {
            if name == isolated && package.name != home {
                findings.push(finding(package, format!("must not use {name}: only {home} may")));
            }
        }
    }
    findings
}

fn finding(package: &Package, what: impl Into<String>) -> Finding {
    Finding::new(&package.manifest, 1, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest: PathBuf::from("crates/x/Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|&(name, optional)| Dependency { name: name.to_owned(), optional })
                .collect(),
        }
    }

    #[test]
    fn arrows_that_point_back_are_found() {
        for (name, dependency) in [
            ("onrush-runtime", "onrush-record"),
            ("onrush-record", "onrush-wire"),
            ("onrush-kafka", "onrush-broker"),
            ("onrush-broker", "onrush-kafka"),
            ("onrush-engine", "onrush-broker"),
            ("onrush-engine", "onrush-wire"),
            ("onrush-kafka", "onrush-engine"),
            ("onrush", "onrush-cli"),
            ("onrush-record", "kacrab-protocol"),
            ("onrush-wire", "kafka-protocol"),
        ] {
            let found = check(&[package(name, &[(dependency, false)])]);
            assert_eq!(found.len(), 1, "{name} -> {dependency}");
        }
    }

    #[test]
    fn the_library_has_its_broker_by_choice_alone() {
        assert_eq!(check(&[package("onrush", &[("onrush-broker", false)])]).len(), 1);
        assert_eq!(check(&[package("onrush", &[("onrush-broker", true)])]), []);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(check(&[package("onrush-new", &[])]).len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        let json = r#"{ "name": "onrush-record", "manifest_path": "/a/crates/record/Cargo.toml",
            "dependencies": [ { "name": "kacrab-protocol", "kind": "dev", "optional": false },
                              { "name": "bytes", "kind": null, "optional": false } ] }"#;
        let package = Package::read(Path::new("/a"), &serde_json::from_str(json).unwrap());
        assert_eq!(package.manifest, Path::new("crates/record/Cargo.toml"));
        assert_eq!(package.dependencies.len(), 1);
        assert_eq!(check(&[package]), []);
    }
}
