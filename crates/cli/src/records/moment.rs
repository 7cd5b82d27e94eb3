//! Moments as they are typed: milliseconds (13 digits) or seconds (10 digits) since 1970, a date, a date with time and zone
//! (RFC 3339), `now`, or a duration before or after another moment (`-15m`, `1h30m`).

/// Units of durations, the longer name of those that begin alike first.
const UNITS: [(&str, i64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A moment before it is known what it is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds from another moment.
    After(i64),
}

impl Moment {
    /// Reads a moment.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "now" {
            return Some(Self::After(0));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: i64 = text.parse().ok()?;
            return match text.len() {
                13 => Some(Self::At(number)),
                9 | 10 => Some(Self::At(number * SECOND)),
                _ => None,
            };
        }
        date_time(text).map(Self::At).or_else(|| duration(text).map(Self::After))
    }

    /// The moment in milliseconds since 1970, with `origin` for what is relative.
    pub(crate) fn millis(self, origin: i64) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::After(millis) => origin.saturating_add(millis),
        }
    }
}

/// A signed duration of numbers with units: `90s`, `-1h30m`, `1.5h`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (name, unit) = UNITS.into_iter().find(|(name, _)| after.starts_with(name))?;
        total = total.checked_add(scaled(number, unit)?)?;
        rest = &after[name.len()..];
    }
    Some(sign * total)
}

/// A decimal number of units.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // More digits than a millisecond of a week has are noise.
    if whole.is_empty() || part.len() > 9 {
        return None;
    }
    let part_digits = u32::try_from(part.len()).ok()?;
    let part: i64 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let whole = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    whole.checked_add(part.checked_mul(unit)? / 10_i64.pow(part_digits))
}

/// `YYYY-MM-DD`, or that with `THH:MM`, maybe `:SS` and a fraction, and `Z` or a distance from it.
fn date_time(text: &str) -> Option<i64> {
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => return self::date(date),
        (date, time) => (date, time.strip_prefix(['T', 't', ' '])?),
    };
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    Some(self::date(date)? + self::time(time)? - self::zone(zone)?)
}

/// A date of the Gregorian calendar, its first millisecond.
fn date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years are counted from March on, so that the day that is sometimes missing is a year's last. Month m of such a year
    // then begins after (153 m + 2) / 5 days; 719,468 days lie between March of the year 0 and January of 1970.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * DAY)
}

/// `HH:MM`, maybe `:SS` and a fraction.
fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':').map(|part| if part.len() == 2 { number(part) } else { None });
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None if clock.len() == text.len() => 0,
        None => return None,
    };
    // A leap second reads as the second after it.
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    number(fraction)?;
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    Some(hours * HOUR + minutes * MINUTE + seconds * SECOND + millis)
}

/// `Z`, or hours and minutes from it.
fn zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, distance) = text.split_at_checked(1)?;
    let sign = if sign == "-" { -1 } else { 1 };
    let (hours, minutes) = distance.split_once(':')?;
    if (hours.len(), minutes.len()) != (2, 2) {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

/// Digits and nothing else.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_typed() {
        let at = |text| match Moment::parse(text) {
            Some(Moment::At(millis)) => millis,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(at("1754006400123"), 1_754_006_400_123);
        assert_eq!(at("1754006400"), 1_754_006_400_000);
        assert_eq!(at("1970-01-01"), 0);
        assert_eq!(at("1969-12-31"), -86_400_000);
        assert_eq!(at("2000-02-29"), 951_782_400_000);
        assert_eq!(at("2025-08-01"), 1_754_006_400_000);
        assert_eq!(at("2025-08-01T00:00Z"), 1_754_006_400_000);
        assert_eq!(at("2025-08-01T02:30:15.5+02:00"), 1_754_008_215_500);
        assert_eq!(at("2025-07-31 19:00:00-05:00"), 1_754_006_400_000);
        assert_eq!(at("2016-12-31T23:59:60.999999Z"), at("2017-01-01T00:00:00.999Z"));
    }

    #[test]
    fn durations_are_from_another_moment() {
        let after = |text| match Moment::parse(text) {
            Some(moment @ Moment::After(_)) => moment.millis(1_000_000_000),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(after("now"), 1_000_000_000);
        assert_eq!(after("-15m"), 999_100_000);
        assert_eq!(after("1h30m"), 1_005_400_000);
        assert_eq!(after("+1.5s250ms"), 1_000_001_750);
        assert_eq!(after("-1w1d"), 1_000_000_000 - 8 * DAY);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let wrong = [
            "",
            "-",
            "5",
            "12345678901",
            "2025-13-01",
            "2025-02-29",
            "1900-02-29",
            "2025-8-1",
            "2025-08-01T",
            "2025-08-01T00:00",
            "2025-08-01T24:00Z",
            "2025-08-01T00:00.5Z",
            "2025-08-01T00:00:00.Z",
            "2025-08-01T0:00Z",
            "2025-08-01T00:00+2",
            "15",
            "1y",
            "m",
            "1.h2",
            "--1m",
            "1 m",
            "99999999999999999999s",
            "ü025-08-01",
        ];
        for text in wrong {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
