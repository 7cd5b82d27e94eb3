//! The second stage: one value per key from all sources, or everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;

use onrush_kafka::ClientConfig;
use onrush_runtime::Fault;

use super::file::{Environment, Found};
use super::key::{Key, Value};
use super::profiles::{Profile, Profiles};
use crate::failure::Failure;

/// The variable that names a cluster.
const CLUSTER_VARIABLE: &str = "ONRUSH_CLUSTER";

/// What the flags of a command say, as they were typed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) cluster: Option<String>,
    pub(crate) values: BTreeMap<Key, String>,
}

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    File { path: String, line: usize },
    Default,
}

/// How explicitly something was said; what is more explicit goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    File,
    Variable,
    Flag,
}

/// What holds for a command.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The cluster of the file that is used, if one is.
    pub(crate) cluster: Option<(String, Origin)>,
    values: BTreeMap<Key, (Value, Origin)>,
}

impl Settings {
    /// Every key, what it is set to, and by whom.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Key, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (*key, value, origin))
    }

    pub(crate) fn origin(&self, key: Key) -> &Origin {
        &self.values[&key].1
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        for (key, value, _) in self.all() {
            match (key, value.clone()) {
                (Key::Brokers, Value::Brokers(brokers)) => config.bootstrap = brokers,
                (Key::ClientId, Value::Text(id)) => config.client_id = id,
                (Key::Reroute, Value::Reroute(reroute)) => config.reroute = reroute,
                (Key::ConnectTimeout, Value::Duration(after)) => config.connect_timeout = after,
                (Key::RequestTimeout, Value::Duration(after)) => config.request_timeout = after,
                (Key::CallTimeout, Value::Duration(after)) => config.call_timeout = after,
                // A key makes no other kind of value.
                _ => {}
            }
        }
        config
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Decides from the three sources alone.
pub(crate) fn resolve(
    flags: &Flags,
    environment: &Environment,
    file: Option<&Found>,
) -> Result<Settings, Failure> {
    let path = file.map(|file| environment.short(&file.path)).unwrap_or_default();
    let mut faults = Vec::new();
    let parsed = Profiles::parse(file.map_or("", |file| &file.text));
    let profiles = parsed.unwrap_or_else(|problems| {
        faults
            .extend(problems.iter().map(|fault| format!("{path}:{}: {}", fault.line, fault.what)));
        Profiles::default()
    });
    let variables = Key::ALL
        .into_iter()
        .filter_map(|key| Some((key, environment.variable(key.variable())?.to_owned())))
        .collect();
    let flag = read(&flags.values, |key| Origin::Flag(key.name()), &mut faults);
    let variable = read(&variables, |key| Origin::Variable(key.variable()), &mut faults);
    if !faults.is_empty() {
        return Err(refused(&faults));
    }
    let chosen = chosen(flags, environment, &profiles, &path);
    let brokers = [(&flag, Rank::Flag), (&variable, Rank::Variable)];
    let brokers = brokers.into_iter().find(|(layer, _)| layer.contains_key(&Key::Brokers));
    let chosen = chosen.filter(|(rank, ..)| brokers.is_none_or(|(_, given)| given <= *rank));
    let Some((rank, name, origin)) = chosen else {
        return Ok(Settings { cluster: None, values: first([flag, variable, Layer::new()]) });
    };
    let Some(profile) = profiles.clusters.get(&name) else {
        return Err(unknown(&name, &origin, &path, &profiles));
    };
    let profile = layer(profile, &path);
    let layers = match rank {
        Rank::Flag => [flag, profile, variable],
        Rank::Variable | Rank::File => [flag, variable, profile],
    };
    Ok(Settings { cluster: Some((name, origin)), values: first(layers) })
}

type Layer = BTreeMap<Key, (Value, Origin)>;

/// What of each key comes first.
fn first(layers: [Layer; 3]) -> Layer {
    let defaults = Key::ALL.map(|key| (key, (key.default(), Origin::Default)));
    let mut values = BTreeMap::from(defaults);
    values.extend(layers.into_iter().rev().flatten());
    values
}

fn layer(profile: &Profile, path: &str) -> Layer {
    let origin = |line: usize| Origin::File { path: path.to_owned(), line };
    profile.iter().map(|(key, (value, line))| (*key, (value.clone(), origin(*line)))).collect()
}

fn read(
    texts: &BTreeMap<Key, String>,
    origin: impl Fn(Key) -> Origin,
    faults: &mut Vec<String>,
) -> Layer {
    let mut layer = Layer::new();
    for (key, text) in texts {
        match key.parse(text) {
            Ok(value) => {
                layer.insert(*key, (value, origin(*key)));
            }
            Err(what) => faults.push(format!("{}: {what}", origin(*key))),
        }
    }
    layer
}

fn chosen(
    flags: &Flags,
    environment: &Environment,
    profiles: &Profiles,
    path: &str,
) -> Option<(Rank, String, Origin)> {
    if let Some(name) = &flags.cluster {
        return Some((Rank::Flag, name.clone(), Origin::Flag("cluster")));
    }
    if let Some(name) = environment.variable(CLUSTER_VARIABLE) {
        return Some((Rank::Variable, name.to_owned(), Origin::Variable(CLUSTER_VARIABLE)));
    }
    let current = profiles.current.as_ref()?;
    let origin = Origin::File { path: path.to_owned(), line: current.line };
    Some((Rank::File, current.name.clone(), origin))
}

fn refused(faults: &[String]) -> Failure {
    let mut text = match faults.len() {
        1 => "the configuration cannot be used".to_owned(),
        count => format!("the configuration cannot be used: {count} faults"),
    };
    for fault in faults {
        text.push_str("\n  ");
        text.push_str(fault);
    }
    Failure::usage(text).code(Fault::Configuration)
}

fn unknown(name: &str, origin: &Origin, path: &str, profiles: &Profiles) -> Failure {
    let known = match path.is_empty() {
        true => "there is no configuration file".to_owned(),
        false => format!("{} ({path})", profiles.names()),
    };
    Failure::usage(format!("no cluster is named `{name}` (from {origin}); {known}"))
        .code(Fault::UnknownCluster)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const FILE: &str = "cluster = \"a\"\n[clusters.a]\nbrokers = \"a:1\"\nclient-id = \"from-a\"\n\
        [clusters.b]\nbrokers = \"b:1\"\nrequest-timeout = \"5s\"\n";

    fn flags(cluster: Option<&str>, brokers: Option<&str>) -> Flags {
        let values = brokers.map(|brokers| (Key::Brokers, brokers.to_owned()));
        Flags { cluster: cluster.map(str::to_owned), values: values.into_iter().collect() }
    }

    fn settings(flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let file = Found { path: PathBuf::from("/c.toml"), text: FILE.to_owned() };
        resolve(flags, &Environment::of(variables), Some(&file))
    }

    /// Brokers with who said so, then the client's name, which tells the cluster.
    fn outcome(flags: &Flags, variables: &[(&str, &str)]) -> [String; 3] {
        let settings = settings(flags, variables).unwrap();
        let config = settings.client();
        let origin = settings.origin(Key::Brokers).to_string();
        [config.bootstrap.join(","), origin, config.client_id]
    }

    #[test]
    fn a_flag_goes_before_a_variable_and_that_before_the_file() {
        assert_eq!(outcome(&flags(None, None), &[]), ["a:1", "/c.toml:3", "from-a"]);
        assert_eq!(
            outcome(&flags(None, None), &[("ONRUSH_CLUSTER", "b")]),
            ["b:1", "/c.toml:6", "onrush"]
        );
        assert_eq!(
            outcome(&flags(Some("a"), None), &[("ONRUSH_CLUSTER", "b")]),
            ["a:1", "/c.toml:3", "from-a"]
        );
        assert_eq!(
            outcome(&flags(None, Some("f:1")), &[("ONRUSH_BROKERS", "v:1")]),
            ["f:1", "--brokers", "onrush"]
        );
    }

    #[test]
    fn a_cluster_that_was_asked_for_goes_before_variables() {
        let variables = [("ONRUSH_BROKERS", "v:1")];
        assert_eq!(outcome(&flags(Some("a"), None), &variables), ["a:1", "/c.toml:3", "from-a"]);
        let both = [("ONRUSH_BROKERS", "v:1"), ("ONRUSH_CLUSTER", "a")];
        assert_eq!(outcome(&flags(None, None), &both), ["v:1", "ONRUSH_BROKERS", "from-a"]);
        assert_eq!(outcome(&flags(Some("a"), Some("f:1")), &[]), ["f:1", "--brokers", "from-a"]);
    }

    #[test]
    fn brokers_that_were_asked_for_take_nothing_from_another_cluster() {
        let variable = [("ONRUSH_BROKERS", "v:1")];
        assert_eq!(outcome(&flags(None, None), &variable), ["v:1", "ONRUSH_BROKERS", "onrush"]);
        let cluster = [("ONRUSH_CLUSTER", "a")];
        assert_eq!(outcome(&flags(None, Some("f:1")), &cluster), ["f:1", "--brokers", "onrush"]);
    }

    #[test]
    fn faults_of_all_sources_are_named_at_once() {
        let text = "[clusters.a]\nbroker = \"a:1\"\n".to_owned();
        let file = Found { path: PathBuf::from("/c.toml"), text };
        let variables = Environment::of(&[("ONRUSH_CALL_TIMEOUT", "soon")]);
        let failure = resolve(&flags(None, Some("x")), &variables, Some(&file)).unwrap_err();
        assert_eq!(failure.fault, Fault::Configuration);
        let lines: Vec<&str> = failure.message.lines().collect();
        assert!(lines[0].contains("3 faults"), "{lines:?}");
        assert!(lines[1].starts_with("  /c.toml:2: unknown key `broker`"), "{lines:?}");
        assert!(lines[2].starts_with("  --brokers: `x` is not host:port"), "{lines:?}");
        assert!(lines[3].starts_with("  ONRUSH_CALL_TIMEOUT: `soon`"), "{lines:?}");
    }

    #[test]
    fn an_unknown_cluster_is_an_error_that_names_the_known() {
        let failure = settings(&flags(Some("c"), None), &[]).unwrap_err();
        assert_eq!(failure.fault, Fault::UnknownCluster);
        let said = failure.message;
        assert!(said.contains("`c` (from --cluster)") && said.contains("a, b"), "{said}");
    }
}
