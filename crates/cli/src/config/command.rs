//! `onrush config`: what holds, and the file it is written in.

use std::path::Path;

use clap::{Args, Subcommand};
use onrush_runtime::Fault;
use serde_json::json;

use super::file::{self, Environment, Found};
use super::key::Key;
use super::profiles::{Problem, Profiles};
use super::resolve::{Settings, resolve};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::stdout;

/// Show and change which cluster commands talk to.
///
/// Clusters have names in one TOML file, which `path` tells and ONRUSH_CONFIG can name. Every key is also a flag and an ONRUSH_
/// variable; a flag goes before a variable, and that before the file. A cluster named by --cluster goes before variables, and
/// brokers that are given more explicitly than a cluster leave the cluster out, with all its keys.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  onrush config add staging --brokers b1.example:9092,b2.example:9092
  onrush config use staging
  onrush config show --origin
  onrush topic list --cluster staging

The file:
  cluster = \"staging\"

  [clusters.staging]
  brokers = [\"b1.example:9092\", \"b2.example:9092\"]
  client-id = \"onrush\"
  connect-timeout = \"10s\"        # a connection and its negotiation
  request-timeout = \"30s\"        # one answer
  call-timeout = \"1m\"            # a call with all its retries
  reroute = { \"b1.example:9092\" = \"127.0.0.1:19092\" }   # the other end of a tunnel")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what holds for a command with these flags.
    Show {
        #[command(flatten)]
        cluster: Cluster,
        /// Say of each value who set it: a flag, a variable, a line of the file, or nobody.
        #[arg(long)]
        origin: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the clusters of the file; `*` marks the one that is used when none is named.
    List {
        /// Print a JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Use this cluster when none is named.
    Use {
        /// Its name in the file.
        #[arg(value_name = "CLUSTER")]
        name: String,
    },
    /// Add a cluster to the file, with the flags that are given.
    Add {
        /// Its name, new in the file.
        name: String,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Print where the file is, or would be.
    Path,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let environment = Environment::of_process();
    match &arguments.command {
        Command::Show { cluster, origin, json } => {
            let file = file::read(&environment)?;
            let settings = resolve(&cluster.flags(), &environment, file.as_ref())?;
            stdout::print(&show(&settings, *origin, *json))
        }
        Command::List { json } => {
            let (_, profiles) = profiles(&environment)?;
            stdout::print(&list(&profiles, *json))
        }
        Command::Use { name } => {
            let (found, profiles) = profiles(&environment)?;
            file::write(&found.path, &using(&found.text, &profiles, name)?)
        }
        Command::Add { name, cluster } => {
            let found = file::read_or_new(&environment)?;
            let (found, profiles) = parsed(&environment, found)?;
            let text = adding(&found.text, &profiles, name, cluster)?;
            file::write(&found.path, &text)
        }
        Command::Path => stdout::print(&format!("{}\n", path(&environment)?.display())),
    }
}

pub(super) fn path(environment: &Environment) -> Result<std::path::PathBuf, Failure> {
    environment.file().ok_or_else(|| {
        Failure::usage(format!("there is no place for a file: set HOME or {}", file::VARIABLE))
            .code(Fault::Configuration)
    })
}

/// The file with what it says; without a file there is nothing in it.
pub(super) fn profiles(environment: &Environment) -> Result<(Found, Profiles), Failure> {
    let found = match file::read(environment)? {
        Some(found) => found,
        None => Found { path: path(environment)?, text: String::new() },
    };
    parsed(environment, found)
}

fn parsed(environment: &Environment, found: Found) -> Result<(Found, Profiles), Failure> {
    match Profiles::parse(&found.text) {
        Ok(profiles) => Ok((found, profiles)),
        Err(problems) => Err(unusable(&environment.short(&found.path), &problems)),
    }
}

fn unusable(path: &str, problems: &[Problem]) -> Failure {
    let lines: Vec<_> =
        problems.iter().map(|p| format!("\n  {path}:{}: {}", p.line, p.what)).collect();
    Failure::usage(format!("the configuration cannot be used{}", lines.concat()))
        .code(Fault::Configuration)
}

fn show(settings: &Settings, origin: bool, json: bool) -> String {
    let name = settings.cluster.as_ref();
    if json {
        let value = |value: serde_json::Value, from: &dyn std::fmt::Display| match origin {
            true => json!({ "value": value, "origin": from.to_string() }),
            false => value,
        };
        let mut all = serde_json::Map::new();
        let cluster = name.map_or(serde_json::Value::Null, |(name, from)| value(json!(name), from));
        all.insert("cluster".to_owned(), cluster);
        all.extend(
            settings.all().map(|(key, set, from)| (key.name().to_owned(), value(set.json(), from))),
        );
        return format!("{}\n", serde_json::Value::from(all));
    }
    let cluster = match name {
        Some((name, from)) => ("cluster", name.clone(), from.to_string()),
        None => ("cluster", "-".to_owned(), "none is used".to_owned()),
    };
    let keys = settings
        .all()
        .map(|(key, value, from)| (key.name(), shown(value.text()), from.to_string()));
    let rows: Vec<_> = std::iter::once(cluster).chain(keys).collect();
    let width = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0);
    let line = |(key, value, from): &(&str, String, String)| match origin {
        true => format!("{key:<16} {value:<width$}  {from}\n"),
        false => format!("{key:<16} {value}\n"),
    };
    rows.iter().map(line).collect()
}

/// What is empty is shown as such.
fn shown(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn list(profiles: &Profiles, json: bool) -> String {
    let current = profiles.current.as_ref().map(|current| &current.name);
    let width = profiles.clusters.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, profile) in &profiles.clusters {
        let brokers = profile.get(&Key::Brokers).map(|(value, _)| value);
        let in_use = current == Some(name);
        text.push_str(&match json {
            true => {
                let brokers = brokers.map(super::Value::json);
                json!({ "name": name, "in_use": in_use, "brokers": brokers }).to_string()
            }
            false => {
                let mark = if in_use { '*' } else { ' ' };
                let brokers = brokers.map(super::Value::text).unwrap_or_default();
                format!("{mark} {name:<width$}  {brokers}").trim_end().to_owned()
            }
        });
        text.push('\n');
    }
    text
}

/// The file's text with another cluster in use; everything else stays, comments too.
fn using(text: &str, profiles: &Profiles, name: &str) -> Result<String, Failure> {
    if !profiles.clusters.contains_key(name) {
        let what = format!("no cluster is named `{name}`; {}", profiles.names());
        return Err(Failure::usage(what).code(Fault::UnknownCluster));
    }
    let quoted = serde_json::Value::from(name).to_string();
    Ok(match &profiles.current {
        Some(current) => {
            format!("{}{quoted}{}", &text[..current.span.start], &text[current.span.end..])
        }
        None => format!("cluster = {quoted}\n\n{text}"),
    })
}

/// The file's text with one more cluster at its end; the first one is in use at once.
fn adding(
    text: &str,
    profiles: &Profiles,
    name: &str,
    cluster: &Cluster,
) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        let what = format!("`{name}` is no name: use letters, digits, - and _");
        return Err(Failure::usage(what));
    }
    if profiles.clusters.contains_key(name) {
        let what = format!("there is a cluster named `{name}` already; change it in the file");
        return Err(Failure::usage(what).code(Fault::Configuration));
    }
    let flags = cluster.flags();
    if flags.cluster.is_some() || !flags.values.contains_key(&Key::Brokers) {
        return Err(Failure::usage("give the new cluster's --brokers, and no --cluster"));
    }
    let empty = Found { path: Path::new("").to_owned(), text: String::new() };
    let settings = resolve(&flags, &Environment::default(), Some(&empty))?;
    let mut table = format!("[clusters.{name}]\n");
    for (key, value, _) in settings.all().filter(|(key, ..)| flags.values.contains_key(key)) {
        table.push_str(&format!("{} = {}\n", key.name(), value.toml()));
    }
    let head = match profiles.clusters.is_empty() && profiles.current.is_none() {
        true => format!("cluster = \"{name}\"\n\n"),
        false => String::new(),
    };
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    Ok(format!("{head}{text}{gap}{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\ncluster = 'a' # now\n\n[clusters.a]\nbrokers = \"a:1\"\n[clusters.b]\nbrokers = \"b:1\"\n";

    #[test]
    fn another_cluster_in_use_changes_nothing_else() {
        let profiles = Profiles::parse(FILE).unwrap();
        let text = using(FILE, &profiles, "b").unwrap();
        assert_eq!(text, FILE.replace("'a' #", "\"b\" #"));
        assert_eq!(Profiles::parse(&text).unwrap().current.unwrap().name, "b");
        assert_eq!(using(FILE, &profiles, "c").unwrap_err().fault, Fault::UnknownCluster);
    }

    #[test]
    fn without_a_cluster_in_use_the_line_comes_first() {
        let file = "[clusters.a]\nbrokers = \"a:1\"\n";
        let text = using(file, &Profiles::parse(file).unwrap(), "a").unwrap();
        assert_eq!(text, format!("cluster = \"a\"\n\n{file}"));
    }

    #[test]
    fn clusters_are_listed_with_the_one_in_use() {
        let profiles = Profiles::parse(FILE).unwrap();
        assert_eq!(list(&profiles, false), "* a  a:1\n  b  b:1\n");
        let first = "{\"brokers\":[\"a:1\"],\"in_use\":true,\"name\":\"a\"}";
        assert_eq!(list(&profiles, true).lines().next(), Some(first));
    }
}
