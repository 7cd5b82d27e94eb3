//! Which dead letters a command is about.

use std::collections::BTreeMap;
use std::ops::Range as Offsets;
use std::str::FromStr;

use clap::Args;
use onrush_engine::dead_letter::{CODE, ERROR};
use onrush_kafka::{Client, TopicPartition};
use onrush_record::Record;

use super::letter::Letter;
use crate::failure::Failure;
use crate::outcome::failure;
use crate::records::filter::{Filter, HeaderMatcher, Matcher};
use crate::records::range::{self, Bound, Range};
use crate::records::scan::Scan;

/// The arguments that say it.
#[derive(Clone, Debug, Args)]
pub(super) struct Selection {
    /// Only these letters, PARTITION:OFFSET of the dead-letter topic (repeatable).
    #[arg(long = "at", value_name = "PARTITION:OFFSET", conflicts_with_all = ["offset", "keys", "headers", "errors", "code", "origin"])]
    pub(super) at: Vec<Place>,
    /// Only this part of each partition of the dead-letter topic, as in `onrush consume --offset`.
    #[arg(long, short, value_name = "OFFSET", allow_hyphen_values = true)]
    offset: Option<Range>,
    /// Only events with this key, VALUE or ~REGEX (repeatable: any of them).
    #[arg(long = "key", short = 'k', value_name = "VALUE|~REGEX")]
    keys: Vec<Matcher>,
    /// Only events with this header, NAME, NAME=VALUE or NAME=~REGEX (repeatable: all of them).
    #[arg(long = "header", short = 'H', value_name = "NAME[=VALUE|=~REGEX]")]
    headers: Vec<HeaderMatcher>,
    /// Only events whose handler said this, TEXT or ~REGEX (repeatable: any of them).
    #[arg(long = "error", value_name = "TEXT|~REGEX")]
    errors: Vec<Matcher>,
    /// Only letters with this code.
    #[arg(long, value_name = "ONRnnnn")]
    code: Option<String>,
    /// Only events of this topic, or of one partition of it.
    #[arg(long, value_name = "TOPIC[:N]")]
    origin: Option<OriginScope>,
}

/// `PARTITION:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.split_once(':').and_then(|(partition, offset)| {
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self { partition, offset })
        });
        place.ok_or_else(|| {
            "expected PARTITION:OFFSET as `onrush dlq list` shows it, such as 0:17".to_owned()
        })
    }
}

#[derive(Clone, Debug)]
struct OriginScope {
    topic: String,
    partition: Option<i32>,
}

impl FromStr for OriginScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => Ok(Self { topic: text.to_owned(), partition: None }),
            Some((topic, partition)) => match partition.parse() {
                Ok(partition @ 0..) => {
                    Ok(Self { topic: topic.to_owned(), partition: Some(partition) })
                }
                _ => Err("expected TOPIC or TOPIC:PARTITION".to_owned()),
            },
        }
    }
}

impl Selection {
    /// These letters, and no others.
    pub(super) fn of(at: Vec<Place>) -> Self {
        Self {
            at,
            offset: None,
            keys: Vec::new(),
            headers: Vec::new(),
            errors: Vec::new(),
            code: None,
            origin: None,
        }
    }

    /// Whether letters are told apart by what they are, not only by where.
    pub(super) fn picks(&self) -> bool {
        let by_content = self.keys.len() + self.headers.len() + self.errors.len() > 0;
        by_content || self.code.is_some() || self.origin.is_some() || self.offset.is_some()
    }

    /// The letter of this record, if it is meant.
    pub(super) fn letter(
        &self,
        partition: &TopicPartition,
        record: &Record<'_>,
    ) -> Result<Option<Letter>, onrush_record::RecordError> {
        let filter = Filter { keys: self.keys.clone(), headers: self.headers.clone() };
        if !filter.accepts(record)? {
            return Ok(None);
        }
        let letter = Letter::of(partition, record)?;
        Ok(self.accepts(&letter).then_some(letter))
    }

    fn accepts(&self, letter: &Letter) -> bool {
        let said = letter.text(ERROR);
        let said = said.as_ref().map(String::as_bytes);
        let error_is_met =
            self.errors.is_empty() || self.errors.iter().any(|error| error.is_met(said));
        let code_is_met =
            self.code.as_ref().is_none_or(|code| letter.text(CODE).as_ref() == Some(code));
        let origin_is_met = self.origin.as_ref().is_none_or(|scope| {
            letter.origin.as_ref().is_some_and(|origin| {
                origin.topic == scope.topic
                    && scope.partition.is_none_or(|partition| partition == origin.partition)
            })
        });
        let place = Place { partition: letter.partition.partition, offset: letter.offset };
        let is_at = self.at.is_empty() || self.at.contains(&place);
        error_is_met && code_is_met && origin_is_met && is_at
    }

    /// The offsets of a dead-letter topic in which they are, up to its end of now.
    pub(super) async fn parts(
        &self,
        client: &Client,
        topic: &str,
        now: i64,
    ) -> Result<BTreeMap<TopicPartition, Offsets<i64>>, Failure> {
        let metadata = client.metadata(&[topic]).await.map_err(failure)?;
        let count = metadata.first().map_or(0, |topic| topic.partitions.len());
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if let Some(place) = self.at.iter().find(|place| place.partition >= count) {
            return Err(Failure::usage(format!(
                "{topic} has {count} partitions, there is no partition {}",
                place.partition
            )));
        }
        let partitions: Vec<_> = (0..count).map(|n| TopicPartition::new(topic, n)).collect();
        let range = self.offset.unwrap_or(Range { from: Bound::Start, to: None });
        let spans =
            range::resolve(client, &partitions, range.at(now), true).await.map_err(failure)?;
        let part = |(partition, span): (TopicPartition, range::Span)| {
            let to = span.to.unwrap_or(span.fetch);
            let part = self.around(partition.partition, span.fetch..to.max(span.fetch));
            (partition, part)
        };
        Ok(spans.into_iter().map(part).collect())
    }

    /// As little of `part` as there must be read.
    fn around(&self, partition: i32, part: Offsets<i64>) -> Offsets<i64> {
        if self.at.is_empty() {
            return part;
        }
        let here = self.at.iter().filter(|place| place.partition == partition);
        let offsets: Vec<i64> = here.map(|place| place.offset).collect();
        match (offsets.iter().min(), offsets.iter().max()) {
            (Some(first), Some(last)) => {
                (*first).max(part.start)..last.saturating_add(1).min(part.end)
            }
            _ => part.start..part.start,
        }
    }

    /// Shows every letter in these parts, in the order in which partitions answer.
    pub(super) async fn each(
        &self,
        client: &Client,
        parts: BTreeMap<TopicPartition, Offsets<i64>>,
        mut show: impl FnMut(Letter) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut scan = Scan::new(client, parts);
        while let Some(scanned) =
            scan.next(|partition, record| self.letter(partition, record)).await?
        {
            scanned.kept.into_iter().try_for_each(&mut show)?;
        }
        scan.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_scopes_are_read() {
        assert_eq!("3:17".parse(), Ok(Place { partition: 3, offset: 17 }));
        for wrong in ["", "3", "3:", ":1", "-1:2", "1:-2", "a:b"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        let scope: OriginScope = "payments:2".parse().expect("valid");
        assert_eq!((scope.topic.as_str(), scope.partition), ("payments", Some(2)));
        assert!("payments:x".parse::<OriginScope>().is_err());
    }
}
