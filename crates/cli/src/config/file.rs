//! Where the configuration file is, and reading and writing it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use onrush_runtime::Fault;

use crate::failure::Failure;

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "ONRUSH_CONFIG";

/// The variables that matter here, as a value, so that what depends on them can be tested.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

/// A file as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Environment {
    /// Those of this process. What is not UTF-8 is no address and no duration.
    pub(crate) fn of_process() -> Self {
        let ours =
            |name: &str| name.starts_with("ONRUSH_") || ["HOME", "XDG_CONFIG_HOME"].contains(&name);
        let texts = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(texts.filter(|(name, _)| ours(name)).collect())
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    /// An empty variable is one that is not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Where the file is, or would be.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        if let Some(path) = self.variable(VARIABLE) {
            return Some(PathBuf::from(path));
        }
        // The rules of XDG: a relative path is no setting.
        let configured = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let folder = configured.filter(|path| path.is_absolute()).or_else(|| {
            let home = self.variable("HOME")?;
            Some(Path::new(home).join(".config"))
        })?;
        Some(folder.join("onrush").join("config.toml"))
    }

    /// A path as people write it.
    pub(crate) fn short(&self, path: &Path) -> String {
        let home = self.variable("HOME").map(Path::new).filter(|home| home.parent().is_some());
        match home.and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }
}

/// The user's file, or an empty one where it would be.
pub(crate) fn read_or_new(environment: &Environment) -> Result<Found, Failure> {
    let path = super::command::path(environment)?;
    if !path.exists() {
        return Ok(Found { path, text: String::new() });
    }
    read(environment).map(|found| found.unwrap_or(Found { path, text: String::new() }))
}

/// The user's file, if there is one. One that `ONRUSH_CONFIG` names must be there.
pub(crate) fn read(environment: &Environment) -> Result<Option<Found>, Failure> {
    let Some(path) = environment.file() else { return Ok(None) };
    #[expect(clippy::disallowed_methods, reason = "the user's file is not in the data directory")]
    let bytes = std::fs::read(&path);
    match bytes.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)) {
        Ok(text) => Ok(Some(Found { path, text })),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && environment.variable(VARIABLE).is_none() =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::usage(format!(
            "cannot read the configuration file {}: {error}",
            environment.short(&path)
        ))
        .code(Fault::Configuration)),
    }
}

/// Replaces the file as a whole: who reads it meanwhile sees the old one or the new one.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, text).map_err(|error| {
        Failure::unavailable(format!("cannot write {}: {error}", path.display())).code(Fault::File)
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    // A link to a file that is kept elsewhere stays a link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_people_look_for_it() {
        let path = |variables: &[(&str, &str)]| {
            Environment::of(variables).file().map(|path| path.display().to_string())
        };
        let home = ("HOME", "/h");
        assert_eq!(path(&[home]).unwrap(), "/h/.config/onrush/config.toml");
        assert_eq!(path(&[home, ("XDG_CONFIG_HOME", "/x")]).unwrap(), "/x/onrush/config.toml");
        assert_eq!(
            path(&[home, ("XDG_CONFIG_HOME", "x")]).unwrap(),
            "/h/.config/onrush/config.toml"
        );
        assert_eq!(path(&[home, (VARIABLE, "mine.toml")]).unwrap(), "mine.toml");
        assert_eq!(path(&[home, (VARIABLE, "")]).unwrap(), "/h/.config/onrush/config.toml");
        assert_eq!(path(&[]), None);
    }

    #[test]
    fn a_path_below_home_is_shown_short() {
        let environment = Environment::of(&[("HOME", "/h")]);
        assert_eq!(environment.short(Path::new("/h/a/b")), "~/a/b");
        assert_eq!(environment.short(Path::new("/g/a/b")), "/g/a/b");
    }
}
