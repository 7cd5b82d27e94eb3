//! Which partitions a command is about: `--topic TOPIC` or `--topic TOPIC:0,3`, repeatable.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use onrush_kafka::{TopicDescription, TopicPartition};

use crate::failure::Failure;

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) topic: String,
    /// None for all.
    pub(super) partitions: Option<BTreeSet<i32>>,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The name of a topic has no colon.
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, numbers)) => {
                let numbers: Option<BTreeSet<i32>> = numbers.split(',').map(number).collect();
                let numbers = numbers.ok_or("expected TOPIC or TOPIC:PARTITION,PARTITION,...")?;
                (topic, Some(numbers))
            }
        };
        if topic.is_empty() {
            return Err("the name of a topic is missing".to_owned());
        }
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

fn number(text: &str) -> Option<i32> {
    text.parse().ok().filter(|number| *number >= 0)
}

impl Scope {
    /// Whether a partition is in it.
    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        let numbered = |numbers: &BTreeSet<i32>| numbers.contains(&partition.partition);
        *self.topic == *partition.topic && self.partitions.as_ref().is_none_or(numbered)
    }

    /// Its partitions, of those that the topic has.
    pub(super) fn partitions_of(
        &self,
        topic: &TopicDescription,
    ) -> Result<Vec<TopicPartition>, Failure> {
        let Some(numbers) = &self.partitions else { return Ok(topic.partition_names().collect()) };
        let has = |number: &&i32| topic.partitions.iter().any(|p| p.partition == **number);
        if let Some(number) = numbers.iter().find(|number| !has(number)) {
            return Err(Failure::usage(format!(
                "topic {} has no partition {number}: it has {}",
                topic.name,
                topic.partitions.len()
            )));
        }
        let name: Arc<str> = Arc::from(topic.name.as_str());
        let named = |number: &i32| TopicPartition { topic: Arc::clone(&name), partition: *number };
        Ok(numbers.iter().map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_topic_or_some_of_its_partitions() {
        let scope: Scope = "t:3,0".parse().expect("valid");
        assert_eq!(scope.partitions, Some(BTreeSet::from([0, 3])));
        assert!(scope.contains(&TopicPartition::new("t", 3)));
        assert!(!scope.contains(&TopicPartition::new("t", 1)));
        assert!(!scope.contains(&TopicPartition::new("u", 3)));
        let all: Scope = "t".parse().expect("valid");
        assert!(all.contains(&TopicPartition::new("t", 9)));
        for wrong in ["", ":1", "t:", "t:a", "t:-1", "t:1,"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }
}
