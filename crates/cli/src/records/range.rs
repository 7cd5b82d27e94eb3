//! Which part of a partition is read: the grammar of `--offset`.
//!
//! | typed | from | to |
//! |---|---|---|
//! | `start` (`oldest`, `earliest`, `beginning`) | the first record | on and on |
//! | `end` (`newest`, `latest`) | the records that are yet to come | on and on |
//! | `N` or `N:` | offset N | on and on |
//! | `+N` | N after the first record | on and on |
//! | `-N` | the last N records | on and on |
//! | `A:B` | A, any of the above, or nothing for the start | before B, any of the above |
//! | `@T` or `@T:` | the first record at T or later | on and on |
//! | `@T:U` | the same; nothing for the start | before the first record at U or later; `end` |
//!
//! A range ends where the partition ended when it was looked up, if not before. Moments are those of [`super::moment`]; a
//! duration counts from now, on the right of `:` from the moment on the left.

use std::collections::BTreeMap;
use std::str::FromStr;

use onrush_kafka::{At, Client, ClientError, ListedOffset, TopicPartition};

use super::moment::Moment;

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Start,
    End,
    Exact(i64),
    AfterStart(i64),
    BeforeEnd(i64),
    Time(Moment),
}

/// A part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Bound,
    /// None reads on and on.
    pub(crate) to: Option<Bound>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = match text.strip_prefix('@') {
            Some(times) => Self::of_times(times),
            None => Self::of_offsets(text),
        };
        let range = range.ok_or_else(|| {
            "expected start, end, N, +N, -N, A:B, @TIME or @TIME:TIME, where TIME is a date, a date \
             with time and zone, milliseconds or seconds since 1970, or a duration as in @-15m"
                .to_owned()
        })?;
        match range.is_reversed() {
            true => Err("it ends before it begins; write the earlier place first".to_owned()),
            false => Ok(range),
        }
    }
}

impl Range {
    fn of_offsets(text: &str) -> Option<Self> {
        let (from, to) = match text.split_once(':') {
            None => return Some(Self { from: Bound::of_offset(text)?, to: None }),
            Some(("", "")) => return None,
            Some((from, to)) => (from, to),
        };
        let from = if from.is_empty() { Bound::Start } else { Bound::of_offset(from)? };
        let to = if to.is_empty() { None } else { Some(Bound::of_offset(to)?) };
        Some(Self { from, to })
    }

    /// Moments may have colons themselves: it is tried at each.
    fn of_times(text: &str) -> Option<Self> {
        if let Some(from) = Moment::parse(text) {
            return Some(Self { from: Bound::Time(from), to: None });
        }
        text.match_indices(':').find_map(|(at, _)| {
            let (from, to) = (&text[..at], &text[at + 1..]);
            let from =
                if from.is_empty() { Bound::Start } else { Bound::Time(Moment::parse(from)?) };
            let to = match to {
                "" if from == Bound::Start => return None,
                "" => None,
                "end" => Some(Bound::End),
                to => Some(Bound::Time(Moment::parse(to)?)),
            };
            Some(Self { from, to })
        })
    }

    /// Whether it is empty in every partition, whatever is in there.
    fn is_reversed(self) -> bool {
        match (self.from, self.to) {
            (Bound::End, Some(Bound::Start)) => true,
            (Bound::Exact(from), Some(Bound::Exact(to)))
            | (Bound::AfterStart(from), Some(Bound::AfterStart(to)))
            | (Bound::BeforeEnd(to), Some(Bound::BeforeEnd(from)))
            | (Bound::Time(Moment::At(from)), Some(Bound::Time(Moment::At(to)))) => to < from,
            (Bound::Time(Moment::After(from)), Some(Bound::Time(Moment::After(to)))) => to < from,
            (Bound::Time(Moment::At(_)), Some(Bound::Time(Moment::After(length)))) => length < 0,
            _ => false,
        }
    }

    /// With every moment in milliseconds since 1970.
    pub(crate) fn at(self, now: i64) -> Self {
        let fixed = |bound, origin| match bound {
            Bound::Time(moment) => Bound::Time(Moment::At(moment.millis(origin))),
            bound => bound,
        };
        // The right side is relative to the left one only where that one is not relative itself.
        let origin = match self.from {
            Bound::Time(Moment::At(millis)) => millis,
            _ => now,
        };
        Self { from: fixed(self.from, now), to: self.to.map(|to| fixed(to, origin)) }
    }
}

impl Bound {
    fn of_offset(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if all { text.parse().ok() } else { None }
        };
        match text {
            "start" | "oldest" | "earliest" | "beginning" => Some(Self::Start),
            "end" | "newest" | "latest" => Some(Self::End),
            text => match text.split_at_checked(1) {
                Some(("+", count)) => digits(count).map(Self::AfterStart),
                Some(("-", count)) => digits(count).map(Self::BeforeEnd),
                _ => digits(text).map(Self::Exact),
            },
        }
    }

    /// The offset in a partition that has `[start, end)`, and `timed` at the moment that was asked for.
    fn resolve(self, start: i64, end: i64, timed: i64) -> i64 {
        match self {
            Self::Start => start,
            Self::End => end,
            Self::Exact(offset) => offset.max(start),
            Self::AfterStart(count) => start.saturating_add(count),
            Self::BeforeEnd(count) => end.saturating_sub(count).max(start),
            Self::Time(_) => timed,
        }
    }
}

/// The offsets of a range in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first one wanted; it may be yet to come.
    pub(crate) from: i64,
    /// Where reading may begin: `from`, or the end of the partition if that is lower.
    pub(crate) fetch: i64,
    /// The first one not wanted any more; none reads on and on.
    pub(crate) to: Option<i64>,
}

/// Looks a range up, whose moments are fixed. With `stop`, one without an end gets the partitions' ends of now.
pub(crate) async fn resolve(
    client: &Client,
    partitions: &[TopicPartition],
    range: Range,
    stop: bool,
) -> Result<BTreeMap<TopicPartition, Span>, ClientError> {
    let starts = client.list_offsets(partitions, At::Earliest).await?;
    let ends = client.list_offsets(partitions, At::Latest).await?;
    let to = range.to.or(stop.then_some(Bound::End));
    let from_times = list_times(client, partitions, Some(range.from)).await?;
    let to_times = list_times(client, partitions, to).await?;
    let offset = |listed: &BTreeMap<TopicPartition, ListedOffset>, partition: &TopicPartition| {
        listed.get(partition).map(|listed| listed.offset).filter(|offset| *offset >= 0)
    };
    let span = |partition: &TopicPartition| {
        let start = offset(&starts, partition).unwrap_or(0);
        let end = offset(&ends, partition).unwrap_or(start).max(start);
        // Where no record is late enough, the next one to come is.
        let timed = |times| offset(times, partition).unwrap_or(end);
        let from = range.from.resolve(start, end, timed(&from_times));
        let to = to.map(|to| to.resolve(start, end, timed(&to_times)).min(end));
        (partition.clone(), Span { from, fetch: from.min(end), to })
    };
    Ok(partitions.iter().map(span).collect())
}

async fn list_times(
    client: &Client,
    partitions: &[TopicPartition],
    bound: Option<Bound>,
) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
    match bound {
        Some(Bound::Time(Moment::At(millis))) => {
            // Lower numbers have meanings of their own.
            client.list_offsets(partitions, At::Timestamp(millis.max(0))).await
        }
        _ => Ok(BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        let time = |text| Bound::Time(Moment::parse(text).expect("a moment"));
        let cases = [
            ("start", Bound::Start, None),
            ("oldest", Bound::Start, None),
            ("end", Bound::End, None),
            ("earliest", Bound::Start, None),
            ("newest", Bound::End, None),
            ("latest", Bound::End, None),
            ("47", Bound::Exact(47), None),
            ("47:", Bound::Exact(47), None),
            ("+2", Bound::AfterStart(2), None),
            ("-3", Bound::BeforeEnd(3), None),
            (":end", Bound::Start, Some(Bound::End)),
            (":10", Bound::Start, Some(Bound::Exact(10))),
            ("5:10", Bound::Exact(5), Some(Bound::Exact(10))),
            ("-3:end", Bound::BeforeEnd(3), Some(Bound::End)),
            ("+1:-1", Bound::AfterStart(1), Some(Bound::BeforeEnd(1))),
            ("@-15m", time("-15m"), None),
            ("@2025-08-01", time("2025-08-01"), None),
            ("@1754006400000:", time("1754006400000"), None),
            ("@:2025-08-01", Bound::Start, Some(time("2025-08-01"))),
            ("@-1h:-30m", time("-1h"), Some(time("-30m"))),
            ("@2025-08-01T10:00Z:end", time("2025-08-01T10:00Z"), Some(Bound::End)),
            (
                "@2025-08-01T10:00:00+02:00:2025-08-01T10:00:01.5Z",
                time("2025-08-01T10:00:00+02:00"),
                Some(time("2025-08-01T10:00:01.5Z")),
            ),
        ];
        for (text, from, to) in cases {
            assert_eq!(text.parse(), Ok(Range { from, to }), "{text}");
        }
        for wrong in
            ["", ":", "@", "@:", "x", "1-2", "+", "-", "+-1", "@end", "@1:2", "1:2:3", "@:end:x"]
        {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_ends_before_it_begins_is_refused() {
        let reversed = [
            "5:3",
            "+2:+1",
            "-1:-3",
            "end:start",
            "@-1m:-2m",
            "@2025-08-02:2025-08-01",
            "@2025-08-02:-1h",
        ];
        for text in reversed {
            let said = text.parse::<Range>().expect_err(text);
            assert!(said.contains("before it begins"), "{text}: {said}");
        }
        for empty in ["3:3", "-1:-1", "end:end", "@now:now", "9:+1", "end:5"] {
            assert!(empty.parse::<Range>().is_ok(), "{empty}");
        }
    }

    #[test]
    fn durations_count_from_now_or_from_the_moment_on_the_left() {
        let fixed = |text: &str| text.parse::<Range>().expect("valid").at(100_000_000);
        let at = |millis| Bound::Time(Moment::At(millis));
        assert_eq!(fixed("@-1s:-500ms"), Range { from: at(99_999_000), to: Some(at(99_999_500)) });
        assert_eq!(fixed("@1000000000:1m").to, Some(at(1_000_000_060_000)));
        assert_eq!(fixed("@:-1s").to, Some(at(99_999_000)));
        assert_eq!(fixed("-3"), Range { from: Bound::BeforeEnd(3), to: None });
    }

    #[test]
    fn bounds_stay_in_the_partition_or_wait_for_what_is_to_come() {
        let resolve = |bound: Bound| bound.resolve(10, 20, 15);
        assert_eq!(resolve(Bound::Exact(3)), 10);
        assert_eq!(resolve(Bound::Exact(30)), 30);
        assert_eq!(resolve(Bound::AfterStart(5)), 15);
        assert_eq!(resolve(Bound::BeforeEnd(5)), 15);
        assert_eq!(resolve(Bound::BeforeEnd(50)), 10);
        assert_eq!(resolve(Bound::Time(Moment::At(0))), 15);
        assert_eq!((resolve(Bound::Start), resolve(Bound::End)), (10, 20));
    }
}
