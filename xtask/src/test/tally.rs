//! How many tests cargo says have run.

use crate::failure::Failure;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds up the `test result:` lines.
    pub(super) fn of(stdout: &str) -> Self {
        let mut tally = Self::default();
        for line in stdout.lines().filter(|line| line.starts_with("test result: ")) {
            tally.passed += count(line, " passed");
            tally.ignored += count(line, " ignored");
        }
        tally
    }

    /// Tests that are there but do not run, or none at all, prove nothing.
    pub(super) fn check(self) -> Result<Self, Failure> {
        if self.ignored > 0 {
            return Err(Failure::new(format!("{} tests are ignored", self.ignored)));
        }
        if self.passed == 0 {
            return Err(Failure::new("no test ran"));
        }
        Ok(self)
    }
}

/// The number right before `what`.
fn count(line: &str, what: &str) -> u64 {
    let before = line.split(what).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s\n";

    #[test]
    fn lines_are_added_up() {
        let stdout = format!("running 12 tests\n{LINE}\n   noise\n{LINE}");
        assert_eq!(Tally::of(&stdout), Tally { passed: 24, ignored: 0 });
    }

    #[test]
    fn ignored_tests_and_empty_runs_fail() {
        assert!(Tally::of(LINE).check().is_ok());
        assert!(Tally::of(&LINE.replace("0 ignored", "1 ignored")).check().is_err());
        assert!(Tally::of("").check().is_err());
    }
}
