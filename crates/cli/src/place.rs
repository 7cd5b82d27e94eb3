//! One place in a partition, as `onrush group reset --to` and `onrush topic trim --before` take it: what `onrush consume`
//! takes for the start of a range, in more words.
//!
//! `start` or `earliest`, `end` or `latest`, `N`, `+N` (after the start), `-N` (before the end), `@TIME`; a time that can be
//! nothing else (a date, `now`, a duration such as `-15m`) also without its `@`.

use std::collections::BTreeMap;
use std::str::FromStr;

use onrush_kafka::{Client, TopicPartition};

use crate::failure::Failure;
use crate::outcome::failure;
use crate::records::moment::Moment;
use crate::records::range::{self, Bound, Range};

/// A place in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(Bound);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bound = match text {
            "earliest" => Some(Bound::Start),
            "latest" => Some(Bound::End),
            text => match text.parse::<Range>() {
                Ok(Range { from, to: None }) if !text.ends_with(':') => Some(from),
                Ok(_) => None,
                Err(_) => Moment::parse(text).map(Bound::Time),
            },
        };
        bound.map(Self).ok_or_else(|| {
            "expected earliest, latest, an offset N, +N after the start, -N before the end, or a time: @TIME, a date, a date \
             with time and zone, or a duration as in -15m"
                .to_owned()
        })
    }
}

impl Place {
    /// The offset that was typed, if it was one.
    pub(crate) const fn exact(self) -> Option<i64> {
        match self.0 {
            Bound::Exact(offset) => Some(offset),
            _ => None,
        }
    }

    /// Its offset in each of these partitions; none is outside of what the partition has.
    pub(crate) async fn offsets(
        self,
        client: &Client,
        partitions: &[TopicPartition],
        now: i64,
    ) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
        let range = Range { from: self.0, to: None }.at(now);
        let spans = range::resolve(client, partitions, range, false).await.map_err(failure)?;
        // `fetch` is `from` within the partition's end.
        Ok(spans.into_iter().map(|(partition, span)| (partition, span.fetch)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_consume_in_more_words() {
        let time = |text| Place(Bound::Time(Moment::parse(text).expect("a moment")));
        let cases = [
            ("earliest", Place(Bound::Start)),
            ("start", Place(Bound::Start)),
            ("latest", Place(Bound::End)),
            ("17", Place(Bound::Exact(17))),
            ("+17", Place(Bound::AfterStart(17))),
            ("-17", Place(Bound::BeforeEnd(17))),
            ("@-15m", time("-15m")),
            ("-15m", time("-15m")),
            ("now", time("now")),
            ("2025-08-01T10:00:00+02:00", time("2025-08-01T10:00:00+02:00")),
            ("@1754006400000", time("1754006400000")),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for wrong in ["", "soon", "1:2", "1:", ":2", "@", "@-1h:-30m"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
