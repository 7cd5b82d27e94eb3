//! Offsets in a file, as `onrush group reset --to-file` takes them.
//!
//! ```text
//! # what stands behind a # is not read
//! flights  0  1500
//! flights,1,1498
//! ```
//!
//! A line has a topic, a partition and an offset, with blanks or commas between them: what `onrush group describe --offsets`
//! writes, and what `kafka-consumer-groups --export` does, which puts a long name of a topic in quotes.

use std::collections::BTreeMap;
use std::path::Path;

use onrush_kafka::TopicPartition;
use onrush_runtime::Fault;

use crate::failure::{Exit, Failure};

/// Faults named in an error.
const MOST_NAMED: usize = 20;

pub(super) type Offsets = BTreeMap<TopicPartition, i64>;

pub(super) fn read(path: &Path) -> Result<Offsets, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the user's, read before anything starts"
    )]
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::unavailable(format!("cannot read {}: {error}", path.display())).code(Fault::File)
    })?;
    let text = String::from_utf8(bytes).map_err(|_| vec!["it is not UTF-8".to_owned()]);
    text.and_then(|text| parse(&text)).map_err(|mut faults| {
        let more = faults.len().saturating_sub(MOST_NAMED);
        faults.truncate(MOST_NAMED);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        let message = format!("{}:\n  {}", path.display(), faults.join("\n  "));
        Failure::new(Exit::Usage, message).code(Fault::Input)
    })
}

/// Reads the lines; all that is wrong is told at once.
fn parse(text: &str) -> Result<Offsets, Vec<String>> {
    let (mut offsets, mut faults) = (Offsets::new(), Vec::new());
    for (line, number) in text.lines().zip(1..) {
        let content = line.split('#').next().unwrap_or_default();
        let separators = |c: char| c.is_whitespace() || c == ',';
        let fields: Vec<&str> = content.split(separators).filter(|f| !f.is_empty()).collect();
        match entry(&fields) {
            Ok(None) => {}
            Ok(Some((partition, offset))) => {
                if offsets.insert(partition.clone(), offset).is_some() {
                    faults.push(format!("line {number}: {partition} is there twice"));
                }
            }
            Err(fault) => faults.push(format!("line {number}: {fault}")),
        }
    }
    if offsets.is_empty() && faults.is_empty() {
        faults.push("there are no offsets in it".to_owned());
    }
    if faults.is_empty() { Ok(offsets) } else { Err(faults) }
}

fn entry(fields: &[&str]) -> Result<Option<(TopicPartition, i64)>, String> {
    match fields {
        [] => Ok(None),
        [topic, partition, offset] => {
            let partition: Option<i32> = partition.parse().ok().filter(|number| *number >= 0);
            let partition = partition.ok_or("the partition is no number from 0 on")?;
            let offset: Option<i64> = offset.parse().ok().filter(|number| *number >= 0);
            let offset = offset.ok_or("the offset is no number from 0 on")?;
            Ok(Some((TopicPartition::new(topic.trim_matches('"'), partition), offset)))
        }
        fields => Err(format!("{} fields; expected topic, partition and offset", fields.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_commas_and_comments() {
        let text = "# saved\nflights  0\t1500\n\nflights,1,1498 # note\n\"a-long-name\",2,3\n";
        let offsets = parse(text).expect("valid");
        assert_eq!(offsets.get(&TopicPartition::new("flights", 0)), Some(&1_500));
        assert_eq!(offsets.get(&TopicPartition::new("flights", 1)), Some(&1_498));
        assert_eq!(offsets.get(&TopicPartition::new("a-long-name", 2)), Some(&3));
        assert_eq!(offsets.len(), 3);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_line() {
        let faults = parse("t 0 1\nt 0 2\nt x 1\nt 1\nt 1 -5\n").expect_err("wrong");
        let lines: Vec<&str> = faults.iter().map(|fault| &fault[..7]).collect();
        assert_eq!(lines, ["line 2:", "line 3:", "line 4:", "line 5:"]);
        assert!(parse("# nothing\n").is_err());
    }
}
