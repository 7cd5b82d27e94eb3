//! The rows of the result table: one per carrier and origin.

/// The sixteen carriers in the data, as IATA codes, sorted.
pub(crate) const CARRIERS: [&str; 16] = [
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV",
];

/// The three airports of New York, as IATA codes, sorted.
pub(crate) const ORIGINS: [&str; 3] = ["EWR", "JFK", "LGA"];

/// The carriers as numbers, in the same order: a search per event compares words, not texts.
const CARRIER_CODES: [u16; CARRIERS.len()] = {
    let mut codes = [0; CARRIERS.len()];
    let mut index = 0;
    while index < codes.len() {
        let [first, second] = *CARRIERS[index].as_bytes() else {
            panic!("a carrier has two letters")
        };
        codes[index] = u16::from_be_bytes([first, second]);
        index += 1;
    }
    codes
};

/// All flights of one carrier from one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(u8);

impl Series {
    /// How many there are; their indices are dense from 0.
    pub(crate) const COUNT: usize = CARRIERS.len() * ORIGINS.len();

    /// The series of a carrier and an origin, if the data know both.
    pub(crate) fn new(carrier: &str, origin: &str) -> Option<Self> {
        let code = u16::from_be_bytes(carrier.as_bytes().try_into().ok()?);
        let carrier = CARRIER_CODES.binary_search(&code).ok()?;
        let origin = match origin.as_bytes() {
            b"EWR" => 0,
            b"JFK" => 1,
            b"LGA" => 2,
            _ => return None,
        };
        Self::from_index(carrier * ORIGINS.len() + origin)
    }

    /// The series with this index, if there is one.
    pub(crate) fn from_index(index: usize) -> Option<Self> {
        let index = u8::try_from(index).ok()?;
        (usize::from(index) < Self::COUNT).then_some(Self(index))
    }

    /// Every series, by carrier, then origin.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// Its place among all series.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Who flies.
    pub(crate) fn carrier(self) -> &'static str {
        CARRIERS[self.index() / ORIGINS.len()]
    }

    /// From where.
    pub(crate) fn origin(self) -> &'static str {
        ORIGINS[self.index() % ORIGINS.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_again_by_its_names() {
        assert_eq!(Series::all().count(), 48);
        for series in Series::all() {
            assert_eq!(Series::new(series.carrier(), series.origin()), Some(series));
        }
    }

    #[test]
    fn unknown_names_have_no_series() {
        assert_eq!(Series::new("XX", "EWR"), None);
        assert_eq!(Series::new("UAL", "EWR"), None);
        assert_eq!(Series::new("", "EWR"), None);
        assert_eq!(Series::new("UA", "SFO"), None);
        assert_eq!(Series::from_index(48), None);
    }
}
