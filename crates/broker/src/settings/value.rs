//! How values of settings are written: Kafka's types, with the ranges of each setting.

use std::time::Duration;

/// Kafka's types, as DescribeConfigs numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

impl Kind {
    /// The number of the type on the wire.
    pub(crate) fn code(self) -> i8 {
        self as i8
    }
}

/// `true` or `false`.
pub(super) struct Flag {
    pub(super) kind: Kind,
}

pub(super) const FLAG: Flag = Flag { kind: Kind::Boolean };

impl Flag {
    pub(super) fn parse(&self, text: &str) -> Result<bool, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        self.parse(text).map(drop)
    }

    pub(super) fn text(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

/// A whole number between two others.
pub(super) struct Number {
    pub(super) kind: Kind,
    min: i64,
    max: i64,
}

pub(super) const fn int(min: i64, max: i64) -> Number {
    Number { kind: Kind::Int, min, max }
}

pub(super) const fn long(min: i64, max: i64) -> Number {
    Number { kind: Kind::Long, min, max }
}

impl Number {
    fn number(&self, text: &str) -> Result<i64, String> {
        let number: i64 = text.trim().parse().map_err(|_| "must be a whole number".to_owned())?;
        match number {
            _ if number < self.min => Err(format!("must be at least {}", self.min)),
            _ if number > self.max => Err(format!("must be no more than {}", self.max)),
            _ => Ok(number),
        }
    }

    pub(super) fn parse<V: TryFrom<i64>>(&self, text: &str) -> Result<V, String> {
        let number = self.number(text)?;
        V::try_from(number).map_err(|_| "is out of range".to_owned())
    }

    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        self.number(text).map(drop)
    }

    pub(super) fn text<V: Copy + TryInto<i64>>(&self, value: &V) -> Option<String> {
        Some((*value).try_into().unwrap_or(i64::MAX).to_string())
    }
}

/// A number of bytes, or -1 for no limit.
pub(super) struct Limit {
    pub(super) kind: Kind,
}

pub(super) const LIMIT: Limit = Limit { kind: Kind::Long };

impl Limit {
    pub(super) fn parse(&self, text: &str) -> Result<Option<u64>, String> {
        let number: i64 = long(-1, i64::MAX).parse(text)?;
        Ok(u64::try_from(number).ok())
    }

    pub(super) fn text(&self, value: &Option<u64>) -> Option<String> {
        let Some(bytes) = value else { return Some("-1".to_owned()) };
        Some(i64::try_from(*bytes).unwrap_or(i64::MAX).to_string())
    }
}

/// A length of time in a unit of so many milliseconds.
pub(super) struct Time {
    pub(super) kind: Kind,
    unit: u64,
    range: Number,
}

/// Milliseconds that fit into an `i32`.
pub(super) const fn short_millis(min: i64) -> Time {
    Time { kind: Kind::Int, unit: 1, range: int(min, i32::MAX as i64) }
}

pub(super) const fn millis(min: i64) -> Time {
    Time { kind: Kind::Long, unit: 1, range: long(min, i64::MAX) }
}

pub(super) const fn minutes(min: i64) -> Time {
    Time { kind: Kind::Int, unit: 60_000, range: int(min, i32::MAX as i64) }
}

pub(super) const fn hours(min: i64) -> Time {
    Time { kind: Kind::Int, unit: 3_600_000, range: int(min, i32::MAX as i64) }
}

/// The longest time that a setting can say in milliseconds.
pub(crate) const LONGEST: Duration = Duration::from_millis(i64::MAX as u64);

impl Time {
    pub(super) fn parse(&self, text: &str) -> Result<Duration, String> {
        let units: u64 = self.range.parse(text)?;
        Ok(Duration::from_millis(units.saturating_mul(self.unit)))
    }

    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        self.range.check(text)
    }

    pub(super) fn text(&self, value: &Duration) -> Option<String> {
        let units = value.as_millis() / u128::from(self.unit);
        Some(i64::try_from(units).unwrap_or(i64::MAX).to_string())
    }
}

/// A [`Time`], or -1 for one without end.
pub(super) struct OpenTime {
    pub(super) kind: Kind,
    time: Time,
}

pub(super) const fn open(time: Time) -> OpenTime {
    OpenTime { kind: time.kind, time }
}

impl OpenTime {
    pub(super) fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        if text.trim() == "-1" { Ok(None) } else { self.time.parse(text).map(Some) }
    }

    pub(super) fn text(&self, value: &Option<Duration>) -> Option<String> {
        value.as_ref().map_or_else(|| Some("-1".to_owned()), |time| self.time.text(time))
    }
}

/// The one value that is true here.
pub(super) struct Only {
    pub(super) kind: Kind,
    value: &'static str,
    because: &'static str,
}

pub(super) const fn only(kind: Kind, value: &'static str, because: &'static str) -> Only {
    Only { kind, value, because }
}

impl Only {
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        if text.trim() == self.value {
            return Ok(());
        }
        Err(format!("must be {}: {}", self.value, self.because))
    }
}

/// A fraction between 0 and 1.
pub(super) struct Fraction {
    pub(super) kind: Kind,
}

pub(super) const FRACTION: Fraction = Fraction { kind: Kind::Double };

impl Fraction {
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let within = text.trim().parse().is_ok_and(|number: f64| (0.0..=1.0).contains(&number));
        if within { Ok(()) } else { Err("must be a number from 0 to 1".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(int(1, 5).parse::<i32>(" 5 "), Ok(5));
        for (text, reason) in
            [("0", "at least 1"), ("6", "no more than 5"), ("x", "whole"), ("", "whole")]
        {
            let refused = int(1, 5).parse::<i32>(text).expect_err("out of range");
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn minus_one_is_no_limit() {
        assert_eq!(LIMIT.parse("-1"), Ok(None));
        assert_eq!(LIMIT.text(&None).as_deref(), Some("-1"));
        assert_eq!(open(millis(0)).parse("-1"), Ok(None));
        assert!(open(millis(0)).parse("-2").is_err());
    }

    #[test]
    fn units_of_time() {
        assert_eq!(hours(1).parse("168"), Ok(Duration::from_secs(168 * 3_600)));
        assert_eq!(minutes(1).text(&Duration::from_secs(120)).as_deref(), Some("2"));
        assert_eq!(millis(0).parse(&i64::MAX.to_string()), Ok(LONGEST));
        assert_eq!(millis(0).text(&LONGEST), Some(i64::MAX.to_string()));
    }
}
