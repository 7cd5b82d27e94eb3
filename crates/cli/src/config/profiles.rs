//! The configuration file: named clusters, and which one is used when none is named.

use std::collections::BTreeMap;
use std::ops::Range;

use super::key::{Key, Value};

/// Something in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    /// The cluster that is used when none is named.
    pub(crate) current: Option<Current>,
    pub(crate) clusters: BTreeMap<String, Profile>,
}

/// The value of `cluster`, and where its text is.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Bytes of the value, with its quotes.
    pub(crate) span: Range<usize>,
}

/// A cluster: what is set, and in which line.
pub(crate) type Profile = BTreeMap<Key, (Value, usize)>;

impl Profiles {
    /// Reads the file, or says everything that is wrong with it, in the order of lines. Where the text is no TOML at all, what
    /// stands behind that place is not known.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let root = toml_span::parse(text)
            .map_err(|error| vec![Problem::at(text, error.span.start, error.to_string())])?;
        let mut reader = Reader { text, problems: Vec::new() };
        let profiles = reader.root(&root);
        match reader.problems.is_empty() {
            true => Ok(profiles),
            false => {
                reader.problems.sort();
                Err(reader.problems)
            }
        }
    }

    /// The names that may be given, for an error.
    pub(crate) fn names(&self) -> String {
        match self.clusters.is_empty() {
            true => "there is none in the file".to_owned(),
            false => {
                let names: Vec<_> = self.clusters.keys().map(String::as_str).collect();
                format!("there are {}", names.join(", "))
            }
        }
    }
}

impl Problem {
    fn at(text: &str, position: usize, what: impl Into<String>) -> Self {
        Self { line: line(text, position), what: what.into() }
    }
}

/// Counts from 1.
fn line(text: &str, position: usize) -> usize {
    let before = text.as_bytes().iter().take(position);
    1 + before.filter(|byte| **byte == b'\n').count()
}

struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn root(&mut self, root: &toml_span::Value<'_>) -> Profiles {
        let mut profiles = Profiles::default();
        for (key, value) in root.as_table().into_iter().flatten() {
            match &*key.name {
                "cluster" => profiles.current = self.current(value),
                "clusters" => profiles.clusters = self.clusters(value),
                other => self.problem(
                    key.span.start,
                    format!("unknown key `{other}`; known are cluster and [clusters.NAME]"),
                ),
            }
        }
        let missing = profiles.current.as_ref().filter(|current| {
            // A `clusters` that cannot be read was named already.
            self.problems.is_empty() && !profiles.clusters.contains_key(&current.name)
        });
        if let Some(Current { name, span, .. }) = missing {
            let what = format!("no cluster is named `{name}`; {}", profiles.names());
            self.problem(span.start, what);
        }
        profiles
    }

    fn current(&mut self, value: &toml_span::Value<'_>) -> Option<Current> {
        let span = value.span.start..value.span.end;
        let Some(name) = value.as_str() else {
            self.problem(span.start, "`cluster` is the name of one, a string".to_owned());
            return None;
        };
        // The parser's span of a string is what stands between its quotes.
        let quoted = self.text.get(..span.start).is_some_and(|text| text.ends_with(['"', '\'']));
        let span = if quoted { span.start - 1..span.end + 1 } else { span };
        Some(Current { name: name.to_owned(), line: line(self.text, span.start), span })
    }

    fn clusters(&mut self, value: &toml_span::Value<'_>) -> BTreeMap<String, Profile> {
        let Some(table) = value.as_table() else {
            self.problem(value.span.start, "write [clusters.NAME]".to_owned());
            return BTreeMap::new();
        };
        let mut clusters = BTreeMap::new();
        for (name, value) in table {
            clusters.insert(name.name.to_string(), self.cluster(&name.name, value));
        }
        clusters
    }

    fn cluster(&mut self, name: &str, value: &toml_span::Value<'_>) -> Profile {
        let mut profile = Profile::new();
        let Some(table) = value.as_table() else {
            self.problem(value.span.start, format!("write [clusters.{name}]"));
            return profile;
        };
        for (given, value) in table {
            let position = given.span.start;
            let Some(key) = Key::named(&given.name) else {
                let known = Key::ALL.map(Key::name).join(", ");
                self.problem(position, format!("unknown key `{given}`; known are {known}"));
                continue;
            };
            match key.read(value) {
                Ok(value) => {
                    profile.insert(key, (value, line(self.text, position)));
                }
                Err(what) => self.problem(position, format!("{given}: {what}")),
            }
        }
        profile
    }

    fn problem(&mut self, position: usize, what: String) {
        self.problems.push(Problem::at(self.text, position, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(usize, String)> {
        let problems = Profiles::parse(text).unwrap_err();
        problems.into_iter().map(|problem| (problem.line, problem.what)).collect()
    }

    #[test]
    fn a_file_is_read_with_its_lines() {
        let text = "cluster = 'b'\n\n[clusters.a]\nbrokers = \"a:1,b:2\"\n\n[clusters.b]\nbrokers = [\"c:3\"]\n\
            request-timeout = \"10s\"\nreroute = { \"c:3\" = \"d:4\" }\n";
        let profiles = Profiles::parse(text).unwrap();
        let current = profiles.current.unwrap();
        assert_eq!((&*current.name, current.line), ("b", 1));
        assert_eq!(&text[current.span], "'b'");
        let (value, line) = &profiles.clusters["b"][&Key::RequestTimeout];
        assert_eq!((value.text().as_str(), *line), ("10s", 8));
        assert_eq!(profiles.clusters["a"][&Key::Brokers].0.text(), "a:1,b:2");
        assert_eq!(profiles.clusters["b"][&Key::Reroute].0.text(), "c:3=d:4");
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let text = "clutser = \"b\"\n[clusters.a]\nbroker = \"a:1\"\nrequest-timeout = 5\n\
            [clusters.b]\nbrokers = [\"c\"]\nclient-id = \"\"\n";
        let found = problems(text);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 6, 7]);
        for (problem, part) in found.iter().zip(["clutser", "broker", "30s", "host:port", "empty"])
        {
            assert!(problem.1.contains(part), "{problem:?} lacks {part}");
        }
    }

    #[test]
    fn the_cluster_in_use_must_be_there() {
        let found = problems("cluster = \"b\"\n[clusters.a]\nbrokers = \"a:1\"\n");
        assert_eq!(found, [(1, "no cluster is named `b`; there are a".to_owned())]);
    }

    #[test]
    fn what_is_no_toml_has_a_line() {
        assert_eq!(problems("\n\ncluster = b\n")[0].0, 3);
        assert_eq!(problems("[clusters.a]\nbrokers = 1\nbrokers = 2\n")[0].0, 3);
    }
}
