//! Durations of settings, as people write them: `500ms`, `30s`, `1m30s`, `1h`.

use std::time::Duration;

use crate::records::moment;

/// Units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads one; the error says how it is written.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unsigned = text.starts_with(|c: char| c.is_ascii_digit());
    let millis = moment::duration(text).filter(|_| unsigned);
    millis
        .and_then(|millis| u64::try_from(millis).ok())
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no duration: write 500ms, 30s, 5m or 1h"))
}

/// Writes it in the largest unit that keeps it whole.
pub(crate) fn text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = |(_, factor): &&(&str, u64)| millis >= *factor && millis.is_multiple_of(*factor);
    match UNITS.iter().find(whole) {
        Some((name, factor)) => format!("{}{name}", millis / factor),
        None => "0s".to_owned(),
    }
}

/// About how long, in the two largest units that say something: `3d 4h`, `2m 5s`, `1.5s`, `20ms`.
pub(crate) fn short(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    if millis < 10_000 {
        return format!("{:.1}s", millis as f64 / 1_000.0);
    }
    let units = &UNITS[..4];
    let first = units.iter().position(|(_, factor)| millis >= *factor).unwrap_or(3);
    let (name, factor) = units[first];
    let whole = format!("{}{name}", millis / factor);
    match units.get(first + 1) {
        Some((next, smaller)) if millis % factor >= *smaller => {
            format!("{whole} {}{next}", millis % factor / smaller)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (given, millis) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse(given), Ok(Duration::from_millis(millis)), "{given}");
            assert_eq!(text(Duration::from_millis(millis)), given);
        }
        assert_eq!(text(Duration::from_millis(90_000)), "90s");
        assert_eq!(parse("1m30s"), parse("90s"));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for given in ["", "5", "s", "5 s", "-5s", "+5s", "5S", "99999999999999999d"] {
            assert!(parse(given).unwrap_err().contains("30s"), "{given}");
        }
    }

    #[test]
    fn short_ones_have_two_units_at_most() {
        let cases = [
            (20, "20ms"),
            (1_500, "1.5s"),
            (12_345, "12s"),
            (125_000, "2m 5s"),
            (3_600_000, "1h"),
            (273_600_000, "3d 4h"),
        ];
        for (millis, text) in cases {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }
}
