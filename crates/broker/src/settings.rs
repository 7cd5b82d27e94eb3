//! Kafka's settings by their names: one table each for the broker, a topic and a group.
//!
//! A row says what a setting is called, which values it takes and which field it acts on. Where a
//! name is not given, its value comes from the next place that has one:
//!
//! ```text
//! topic, group:  what was set on it -> the broker's setting that stands in for it -> ..
//! broker:        altered for this broker -> altered for the cluster -> started with -> default
//! ```
//!
//! What was altered while running stands in the catalogue (`topics/catalogue.rs`) as names and values; the
//! structs with typed fields ([`BrokerConfig`](crate::BrokerConfig), [`TopicSettings`],
//! [`GroupSettings`]) are made of it and are all that the rest of the broker sees.
//!
//! Some names are in the tables although they act on nothing here (such as those of replicas), so
//! that tools which copy a topic from another cluster can name them. They take only values that are
//! true of this broker.

mod broker;
mod group;
mod topic;
mod value;

use std::collections::BTreeMap;

pub(crate) use broker::BROKER;
pub(crate) use group::{GROUP, GroupSettings};
pub use topic::TimestampType;
pub(crate) use topic::{TOPIC, TopicSettings};
pub(crate) use value::{Kind, LONGEST};

/// Names and values that were set on one resource.
pub(crate) type Overrides = BTreeMap<String, String>;

/// Longest value: what is set is kept.
const MAX_VALUE: usize = 256;

/// How many known names the error for an unknown one gives first.
const CLOSEST: usize = 3;

/// A row of a table; `T` has the field it acts on.
pub(crate) struct Setting<T> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it can be altered while the broker runs.
    pub(crate) alterable: bool,
    /// The broker's settings that it falls back to, the first one first.
    pub(crate) synonyms: &'static [&'static str],
    pub(crate) text: &'static str,
    /// `None` for a name whose field is told under another one.
    pub(crate) read: fn(&T) -> Option<String>,
    pub(crate) write: fn(&mut T, &str) -> Result<(), String>,
}

/// Why a setting is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No such name.
    #[error("{name} is not a setting here. Closest: {}. All: {}", closest.join(", "), all.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names most like it.
        closest: Vec<&'static str>,
        /// Every name.
        all: Vec<&'static str>,
    },
    /// A value that it cannot have.
    #[error("invalid value {value} for {name}: {reason}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The row of a name.
pub(crate) fn find<T>(table: &'static [Setting<T>], name: &str) -> Option<&'static Setting<T>> {
    table.iter().find(|setting| setting.name == name)
}

/// Sets one name in `target`.
pub(crate) fn set<T>(
    table: &'static [Setting<T>],
    target: &mut T,
    name: &str,
    value: &str,
) -> Result<(), SettingError> {
    let setting = find(table, name).ok_or_else(|| unknown(table, name))?;
    let written = if value.len() > MAX_VALUE {
        Err(format!("is longer than {MAX_VALUE} bytes"))
    } else {
        (setting.write)(target, value)
    };
    written.map_err(|reason| SettingError::Invalid {
        name: setting.name,
        value: value.chars().take(MAX_VALUE).collect(),
        reason,
    })
}

/// Sets all of `overrides` in `target`, in the order of the table: of several names that act on one
/// field the last row wins.
pub(crate) fn set_all<T>(table: &'static [Setting<T>], target: &mut T, overrides: &Overrides) {
    for setting in table {
        let Some(value) = overrides.get(setting.name) else { continue };
        if let Err(reason) = (setting.write)(target, value) {
            // Checked when it was set; by another version of the broker, then.
            tracing::warn!(name = setting.name, value, reason, "a stored setting is not taken");
        }
    }
}

fn unknown<T>(table: &'static [Setting<T>], name: &str) -> SettingError {
    let mut all: Vec<&'static str> = table.iter().map(|setting| setting.name).collect();
    let mut closest = all.clone();
    closest.sort_by_key(|known| distance(known, name));
    closest.truncate(CLOSEST);
    all.sort_unstable();
    SettingError::Unknown { name: name.to_owned(), closest, all }
}

/// How many letters must be put in, taken out or changed to get from one to the other.
fn distance(known: &str, asked: &str) -> usize {
    // What is longer than any name is far from all of them.
    let asked: Vec<char> = asked.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=asked.len()).collect();
    for (at, letter) in known.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in asked.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[asked.len()]
}

/// A row whose value is a field: `setting!(fixed | alterable, name, codec, field, [synonyms], text)`.
macro_rules! setting {
    (@alterable fixed) => {
        false
    };
    (@alterable alterable) => {
        true
    };
    ($change:ident $name:literal, $codec:expr, $field:ident, [$($synonym:literal),*], $text:literal) => {
        $crate::settings::Setting {
            name: $name,
            kind: $codec.kind,
            alterable: setting!(@alterable $change),
            synonyms: &[$($synonym),*],
            text: $text,
            read: |target| $codec.text(&target.$field),
            write: |target, text| {
                target.$field = $codec.parse(text)?;
                Ok(())
            },
        }
    };
}

/// A row that takes the values of its codec and acts on nothing:
/// `inert!(name, codec, default, [synonyms], text)`.
macro_rules! inert {
    ($name:literal, $codec:expr, $default:literal, [$($synonym:literal),*], $text:literal) => {
        $crate::settings::Setting {
            name: $name,
            kind: $codec.kind,
            alterable: true,
            synonyms: &[$($synonym),*],
            text: $text,
            read: |_| Some($default.to_owned()),
            write: |_, text| $codec.check(text),
        }
    };
}

use {inert, setting};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerConfig;

    /// Every row takes back what it tells, and its synonyms are in the table of the broker.
    fn check<T>(table: &'static [Setting<T>], defaults: &mut T) {
        for setting in table {
            if let Some(value) = (setting.read)(defaults) {
                (setting.write)(defaults, &value)
                    .unwrap_or_else(|reason| panic!("{} = {value}: {reason}", setting.name));
                assert_eq!((setting.read)(defaults), Some(value), "{}", setting.name);
            }
            for synonym in setting.synonyms {
                assert!(find(BROKER, synonym).is_some(), "{synonym} of {}", setting.name);
            }
            assert_eq!(table.iter().filter(|other| other.name == setting.name).count(), 1);
            assert!(setting.text.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn the_tables_agree_with_their_defaults() {
        let mut config = BrokerConfig::default();
        check(BROKER, &mut config);
        check(TOPIC, &mut TopicSettings::of(&config));
        check(GROUP, &mut GroupSettings::of(&config));
    }

    #[test]
    fn an_unknown_name_gets_the_closest_first_and_all() {
        let error =
            set(BROKER, &mut BrokerConfig::default(), "log.retention.m", "1").expect_err("unknown");
        let SettingError::Unknown { closest, all, .. } = &error else { panic!("{error}") };
        assert_eq!(closest[0], "log.retention.ms");
        assert_eq!(all.len(), BROKER.len());
        assert!(all.is_sorted());
        assert!(error.to_string().contains("num.partitions"), "{error}");
    }

    #[test]
    fn distances() {
        for (known, asked, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("abc", "abc", 0), ("abcd", "axcde", 2)]
        {
            assert_eq!(distance(known, asked), expected, "{known} {asked}");
        }
    }
}
