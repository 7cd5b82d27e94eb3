//! `onrush completion`: what makes a shell complete commands, options, and the names of topics, groups and clusters.
//!
//! The script that a shell loads calls the binary again with `ONRUSH_COMPLETE` set and the words typed so far, so it knows the
//! options of the version that is installed. Names come from the cluster that the words and the environment choose; a cluster
//! that does not answer at once completes nothing, silently: a prompt must not hang or be written over.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Args, Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use onrush_kafka::ClientConfig;

use crate::cluster::{self, Session};
use crate::config::{self, Flags, Key};
use crate::failure::Failure;
use crate::stdout;

/// Set by the script, and by nobody else.
const VARIABLE: &str = "ONRUSH_COMPLETE";

/// How long a prompt may wait for names.
const PATIENCE: Duration = Duration::from_millis(700);

/// Print what makes a shell complete commands, options and names of topics and groups.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  source <(onrush completion bash)            # in ~/.bashrc
  source <(onrush completion zsh)             # in ~/.zshrc, after compinit
  onrush completion fish | source             # in ~/.config/fish/config.fish")]
pub(crate) struct Arguments {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// A kind of name, by what the help calls its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Topics,
    Groups,
    Clusters,
}

/// Answers a shell that asks for completions; `false` if none does.
pub(crate) fn answered(command: fn() -> Command) -> bool {
    let completion =
        CompleteEnv::with_factory(|| with_names(command())).var(VARIABLE).bin("onrush");
    let words: Vec<OsString> = std::env::args_os().collect();
    // What goes wrong while a prompt waits is nobody's to read.
    completion.try_complete(words, None).unwrap_or(true)
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = match arguments.shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(name).ok_or_else(|| Failure::usage("no such shell"))?;
    let written = shell.write_registration(VARIABLE, "onrush", "onrush", "onrush", &mut script);
    written.map_err(|error| Failure::output(&error))?;
    stdout::write(&script)
}

/// The commands, with completers wherever the help says TOPIC, GROUP or CLUSTER.
fn with_names(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().and_then(|names| match names {
            [name] => Names::called(name),
            _ => None,
        });
        match names {
            Some(names) => {
                argument.add(ArgValueCompleter::new(move |typed: &OsStr| names.like(typed)))
            }
            None => argument,
        }
    });
    command.mut_subcommands(with_names)
}

impl Names {
    fn called(place: &str) -> Option<Self> {
        match place {
            "TOPIC" => Some(Self::Topics),
            "GROUP" => Some(Self::Groups),
            "CLUSTER" => Some(Self::Clusters),
            _ => None,
        }
    }

    fn like(self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let typed = typed.to_string_lossy();
        let words: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let names = self.all(&flags(&words));
        // The cluster's own topics are offered to those who ask for them.
        let wanted = |name: &String| typed.starts_with('_') || !name.starts_with("__");
        let fitting = names.into_iter().filter(|name| name.starts_with(&*typed) && wanted(name));
        fitting.map(CompletionCandidate::new).collect()
    }

    fn all(self, flags: &Flags) -> BTreeSet<String> {
        if self == Self::Clusters {
            return config::cluster_names().unwrap_or_default();
        }
        let Ok(settings) = config::settings(flags) else { return BTreeSet::new() };
        let config = ClientConfig {
            connect_timeout: PATIENCE,
            request_timeout: PATIENCE,
            call_timeout: PATIENCE,
            ..settings.client()
        };
        cluster::connected(config, async |session| self.of(session).await).unwrap_or_default()
    }

    async fn of(self, session: &Session) -> Result<BTreeSet<String>, Failure> {
        let client = &session.client;
        Ok(match self {
            Self::Topics => {
                client.list_topics().await?.into_iter().map(|topic| topic.name).collect()
            }
            Self::Groups => {
                client.list_groups().await?.into_iter().map(|group| group.group).collect()
            }
            Self::Clusters => BTreeSet::new(),
        })
    }
}

/// The flags among the words typed so far that choose a cluster; the line need not be complete.
fn flags(words: &[String]) -> Flags {
    let value = |long: &str, short: &str| {
        let with_equals = format!("{long}=");
        words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(&with_equals) {
            Some(value) => Some(value.to_owned()),
            None if word == long || word == short => words.get(at + 1).cloned(),
            None => None,
        })
    };
    let values = value("--brokers", "-b").map(|brokers| (Key::Brokers, brokers));
    Flags { cluster: value("--cluster", "--cluster"), values: values.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_read_from_an_unfinished_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let typed = flags(&words("onrush consume -b b1:9092 fl"));
        assert_eq!(typed.values[&Key::Brokers], "b1:9092");
        let typed = flags(&words("onrush consume --brokers=b1:9092 --cluster staging"));
        assert_eq!(typed.values[&Key::Brokers], "b1:9092");
        assert_eq!(typed.cluster.as_deref(), Some("staging"));
        assert!(flags(&words("onrush consume --brokers")).values.is_empty());
    }
}
