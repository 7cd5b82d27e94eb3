//! One call of the handler, in 64 bits.
//!
//! | bits | content |
//! |---|---|
//! | 0..32 | the event's number in its partition, plus 1, so that no entry is 0 |
//! | 32..40 | index of its series (carrier and origin) |
//! | 40..52 | 0: cancelled; else the delay in minutes plus 1,024 |
//! | 52..64 | check of the other fields |
use super::super::series::Series;

const DELAY_BIAS: i32 = 1_024;
const DELAY_BITS: u32 = 12;

/// What the handler decoded, packed; equal entries are equal events of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

/// A decoded event that no generator of ours can have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// The proof is made for fewer events per partition.
    #[error("event number {0} is above the limit of a journal")]
    Number(u64),
    /// More than two days, or more than seventeen hours early.
    #[error("a delay of {0} minutes is outside of what a journal can hold")]
    Delay(i16),
}

impl Entry {
    /// Size in a journal.
    pub(crate) const BYTES: usize = 8;

    /// Packs what the handler decoded; of `check`, the lower twelve bits are kept.
    pub(crate) fn new(
        number: u64,
        series: Series,
        delay: Option<i16>,
        check: u16,
    ) -> Result<Self, EntryError> {
        let mark = number
            .checked_add(1)
            .filter(|mark| *mark <= u64::from(u32::MAX))
            .ok_or(EntryError::Number(number))?;
        let minutes = match delay {
            None => 0,
            Some(delay) => biased(delay).ok_or(EntryError::Delay(delay))?,
        };
        let check = u64::from(check & 0xfff);
        Ok(Self(mark | (series.index() as u64) << 32 | minutes << 40 | check << 52))
    }

    /// Reads an entry's bits; `None` for a place that was reserved and not written.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits & u64::from(u32::MAX) != 0).then_some(Self(bits))
    }

    /// As it stands in the journal.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The event's number in its partition.
    pub(crate) fn number(self) -> u64 {
        (self.0 & u64::from(u32::MAX)) - 1
    }

    /// Its series; `None` if there is none with this index.
    pub(crate) fn series(self) -> Option<Series> {
        Series::from_index((self.0 >> 32 & 0xff) as usize)
    }

    /// Its delay in minutes; `None` if it was cancelled.
    pub(crate) fn delay(self) -> Option<i16> {
        match (self.0 >> 40 & 0xfff) as i32 {
            0 => None,
            minutes => Some((minutes - DELAY_BIAS) as i16),
        }
    }
}

fn biased(delay: i16) -> Option<u64> {
    let minutes = i32::from(delay) + DELAY_BIAS;
    (1..1 << DELAY_BITS).contains(&minutes).then_some(minutes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for (index, number) in [(0, 0), (47, u64::from(u32::MAX) - 1), (11, 1_000_000)] {
            for delay in [None, Some(-43), Some(0), Some(1301), Some(-1023), Some(3071)] {
                let series = Series::from_index(index).expect("known");
                let entry = Entry::new(number, series, delay, 0xfff).expect("in range");
                assert_eq!(Entry::from_bits(entry.bits()), Some(entry));
                assert_eq!(entry.number(), number);
                assert_eq!(entry.series(), Some(series));
                assert_eq!(entry.delay(), delay);
                assert_eq!(entry.bits() >> 52, 0xfff);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let series = Series::from_index(0).expect("known");
        let limit = u64::from(u32::MAX);
        assert_eq!(Entry::new(limit, series, None, 0), Err(EntryError::Number(limit)));
        assert_eq!(Entry::new(u64::MAX, series, None, 0), Err(EntryError::Number(u64::MAX)));
        for delay in [-1024, 3072, i16::MIN, i16::MAX] {
            assert_eq!(Entry::new(0, series, Some(delay), 0), Err(EntryError::Delay(delay)));
        }
        assert_eq!(Entry::from_bits(0), None);
    }
}
