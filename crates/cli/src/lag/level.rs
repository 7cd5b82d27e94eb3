//! Levels of lag, and what each asks for.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    Normal,
    Warning,
    Critical,
    Emergency,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }

    /// What to do at this level.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Normal => "nothing to do",
            Self::Warning => "look for the cause, and prepare to scale",
            Self::Critical => "scale now",
            Self::Emergency => "scale now, and consider skipping what has lost its worth",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the levels above normal begin, in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds([u64; 3]);

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[warning, critical, emergency]) if warning < critical && critical < emergency => {
                Ok(Self([warning, critical, emergency]))
            }
            _ => Err("expected three numbers, each above the one before: 10000,100000,1000000"
                .to_owned()),
        }
    }
}

impl Thresholds {
    pub(super) fn level(self, lag: u64) -> Level {
        let [warning, critical, emergency] = self.0;
        match lag {
            lag if lag >= emergency => Level::Emergency,
            lag if lag >= critical => Level::Critical,
            lag if lag >= warning => Level::Warning,
            _ => Level::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_where_they_are_said_to() {
        let levels: Thresholds = "10000,100000,1000000".parse().expect("valid");
        let cases = [
            (0, Level::Normal),
            (9_999, Level::Normal),
            (10_000, Level::Warning),
            (100_000, Level::Critical),
            (1_000_000, Level::Emergency),
        ];
        for (lag, level) in cases {
            assert_eq!(levels.level(lag), level, "{lag}");
        }
        for wrong in ["", "1,2", "3,2,1", "1,2,x", "1,1,2"] {
            assert!(wrong.parse::<Thresholds>().is_err(), "{wrong}");
        }
    }
}
