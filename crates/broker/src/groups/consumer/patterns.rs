//! Subscriptions by pattern: the topics whose whole name matches a regular expression.
//!
//! Patterns come from foreign clients. The engine takes time linear in what it is matched against
//! and a bounded amount of memory; patterns are looked up again only when topics came or went, once
//! for all members of a group that share one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onrush_wire::ErrorCode;
use regex::{Regex, RegexBuilder};

use super::{Refusal, Subscribed};

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 4 * 1024;

/// Most bytes of a compiled pattern, and as much again of what matching caches.
const MAX_COMPILED: usize = 1024 * 1024;

/// Most different patterns of one group: each keeps a list of topics.
pub(super) const MAX_PATTERNS: usize = 100;

type Names = Arc<BTreeSet<Arc<str>>>;

/// The patterns of a group with the topics that match.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    matched: BTreeMap<String, Names>,
    /// Up to which change of topics this is right.
    seen: Option<u64>,
}

impl Patterns {
    /// Looks the `wanted` patterns up, as far as that may change something; true if it did.
    pub(super) fn refresh<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a str>,
        topics: &impl Subscribed,
    ) -> bool {
        let wanted: BTreeSet<&str> = wanted.collect();
        let before = self.matched.len();
        self.matched.retain(|pattern, _| wanted.contains(pattern.as_str()));
        let mut changed = self.matched.len() != before;
        let is_old = self.seen.replace(topics.changes()) != Some(topics.changes());
        for pattern in wanted {
            let known = self.matched.get(pattern);
            if known.is_some() && !is_old {
                continue;
            }
            let names = matching(pattern, topics);
            if known.is_none_or(|known| **known != names) {
                changed = true;
                self.matched.insert(pattern.to_owned(), Arc::new(names));
            }
        }
        changed
    }

    /// The topics that match a pattern.
    pub(super) fn topics(&self, pattern: Option<&str>) -> impl Iterator<Item = &str> {
        let names = pattern.and_then(|pattern| self.matched.get(pattern));
        names.into_iter().flat_map(|names| names.iter().map(|name| &**name))
    }

    /// The topics that match any pattern; some several times.
    pub(super) fn all_topics(&self) -> impl Iterator<Item = &str> {
        self.matched.values().flat_map(|names| names.iter().map(|name| &**name))
    }
}

fn matching(pattern: &str, topics: &impl Subscribed) -> BTreeSet<Arc<str>> {
    // It was checked before it was taken; one that was stored by another version may be none.
    let Ok(pattern) = compile(pattern) else { return BTreeSet::new() };
    topics.names().filter(|name| pattern.is_match(name)).cloned().collect()
}

/// Checks a pattern of a client.
pub(crate) fn check(pattern: &str) -> Result<(), Refusal> {
    let refusal = |reason: String| (ErrorCode::INVALID_REGULAR_EXPRESSION, reason);
    if pattern.len() > MAX_PATTERN {
        return Err(refusal(format!("a pattern of topics is above {MAX_PATTERN} bytes")));
    }
    compile(pattern)
        .map(drop)
        .map_err(|error| refusal(format!("{pattern} is not a valid regular expression: {error}")))
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: what closes the group below would be taken for a valid pattern otherwise.
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build()?;
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_bounded_and_whole() {
        for good in ["a.*", "^a.*$", "[a-c]{1,3}", "a|b", "(?i)A"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a".repeat(MAX_PATTERN + 1);
        for bad in ["(", "a)(b", "[z-a]", "(?:a{1000}){1000}", &long] {
            let refused = check(bad).expect_err("refused");
            assert_eq!(refused.0, ErrorCode::INVALID_REGULAR_EXPRESSION);
        }
        let matches = |pattern: &str, name: &str| compile(pattern).expect("valid").is_match(name);
        assert!(matches("a|b", "b") && matches("^a.*", "abc"));
        assert!(!matches("a|b", "ab") && !matches("^a", "ab") && !matches("b", "ab"));
    }
}
