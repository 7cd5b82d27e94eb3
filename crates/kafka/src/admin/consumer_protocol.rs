//! What members of a classic group tell each other through the coordinator, which does not look at
//! it: subscriptions and assignments of the protocol type `consumer`.
//!
//! ```text
//! subscription: version i16 | topics [string] | ...
//! assignment:   version i16 | topics [name string, partitions [i32]] | ...
//! ```
//!
//! Later versions only added fields behind these. The bytes come from other clients: what cannot be
//! read is nothing.

use std::sync::Arc;

use crate::partition::TopicPartition;

/// The protocol type of consumers.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription.
pub(super) fn subscribed_topics(bytes: &[u8]) -> Option<Vec<String>> {
    let mut rest = Rest(bytes);
    rest.i16()?;
    let count = rest.count()?;
    (0..count).map(|_| rest.string().map(str::to_owned)).collect()
}

/// The partitions of an assignment. A member that was assigned nothing may have no bytes at all.
pub(super) fn assigned_partitions(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = Rest(bytes);
    rest.i16()?;
    let mut assigned = Vec::new();
    for _ in 0..rest.count()? {
        let topic: Arc<str> = Arc::from(rest.string()?);
        for _ in 0..rest.count()? {
            let partition = rest.i32()?;
            assigned.push(TopicPartition { topic: Arc::clone(&topic), partition });
        }
    }
    Some(assigned)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// The count of an array; a null one is empty. An element takes at least two bytes, so that a
    /// larger count than that is a lie.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.i32()?.max(0)).ok()?;
        (count <= self.0.len() / 2).then_some(count)
    }

    fn string(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.i16()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSIGNMENT: &[u8] =
        b"\0\x03\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x01b\0\0\0\0\xff\xff\xff\xff";

    #[test]
    fn an_assignment_names_its_partitions_whatever_comes_behind() {
        let expected = vec![TopicPartition::new("a", 0), TopicPartition::new("a", 5)];
        assert_eq!(assigned_partitions(ASSIGNMENT), Some(expected));
        assert_eq!(assigned_partitions(b""), Some(Vec::new()));
    }

    #[test]
    fn a_subscription_names_its_topics() {
        let bytes = b"\0\x01\0\0\0\x02\0\x02ab\0\x01c\xff\xff\xff\xff";
        assert_eq!(subscribed_topics(bytes), Some(vec!["ab".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn bytes_that_were_changed_are_read_or_are_nothing() {
        let mut read = 0;
        for at in 0..ASSIGNMENT.len() {
            for change in 1..=u8::MAX {
                let mut bytes = ASSIGNMENT.to_vec();
                bytes[at] ^= change;
                let assigned = assigned_partitions(&bytes);
                let few = |assigned: &Vec<TopicPartition>| assigned.len() <= ASSIGNMENT.len() / 4;
                assert!(assigned.as_ref().is_none_or(few));
                read += usize::from(assigned.is_some());
            }
        }
        assert!(read > 0, "not all of it is lengths");
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_is_nothing() {
        let fields = ASSIGNMENT.len() - 4;
        for length in 1..fields {
            assert_eq!(assigned_partitions(&ASSIGNMENT[..length]), None, "{length} bytes");
        }
        assert_eq!(assigned_partitions(b"\0\0\x7f\xff\xff\xff\0\x01a"), None);
        assert_eq!(subscribed_topics(b"\0\0\0\0\0\x01\0\x01\xff"), None, "not UTF-8");
        assert_eq!(subscribed_topics(b"\0\0\0\0\0\x01\xff\xff"), None, "a null name");
    }
}
