//! The 336,776 flights that left New York in 2013, built into the command (`data/README.md` has source and licence).
//!
//! The CSV file is kept byte for byte, compressed with zstd. It has no quoted fields, so a line is split at its commas.
use std::collections::BTreeMap;

use super::series::Series;

/// `data/flights.csv.zst`, written by `data/make.py`.
const COMPRESSED: &[u8] = include_bytes!("../../../../data/flights.csv.zst");

/// The exact size of the CSV file, and so the limit of its decompression.
const CSV_BYTES: usize = 31_053_850;

/// The first line of the CSV file.
const HEADER: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,\
    carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour";

/// Columns of a line, separated by commas.
const COLUMNS: usize = 19;

/// How the file writes that there is no value.
const ABSENT: &str = "NA";

/// One line of the file: what the demo uses of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Scheduled departure, seconds since 1970-01-01T00:00:00Z.
    pub(crate) scheduled: i64,
    /// Minutes late, negative when early; `None` when it was cancelled.
    pub(crate) delay: Option<i16>,
    /// Flight number.
    pub(crate) flight: u16,
    /// Miles.
    pub(crate) distance: u16,
    /// Carrier and origin.
    pub(crate) series: Series,
    /// Index of the aircraft, if it is known; [`Flights::tail`] is its registration.
    pub(crate) aircraft: Option<u16>,
    dest: u16,
}

/// All flights in the order of scheduled departure, then line.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Vec<Flight>,
    tails: Vec<Box<str>>,
    dests: Vec<Box<str>>,
}

/// The flights could not be read: the command was built from a damaged `data/flights.csv.zst`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlightsError {
    /// Not a zstd frame, or not of the right length.
    #[error(
        "the built-in flights do not decompress: {0}; rebuild from an intact data/flights.csv.zst"
    )]
    Compressed(#[from] std::io::Error),
    /// Not text.
    #[error("the built-in flights are not UTF-8: {0}")]
    Text(#[from] std::str::Utf8Error),
    /// Other columns than expected.
    #[error("the built-in flights start with another header than expected: {0:?}")]
    Header(String),
    /// A line with too few or too many columns.
    #[error("flights, line {line}: {found} columns, expected {COLUMNS}")]
    Columns {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        found: usize,
    },
    /// A value that does not fit its column.
    #[error("flights, line {line}: {column} is {value:?}, which is not valid")]
    Value {
        /// Counted from 1.
        line: usize,
        /// The name of the column.
        column: &'static str,
        /// What is there.
        value: String,
    },
}

/// The CSV file as it was.
pub(crate) fn csv() -> Result<Vec<u8>, FlightsError> {
    Ok(zstd::bulk::decompress(COMPRESSED, CSV_BYTES)?)
}

impl Flights {
    /// Decompresses, parses and sorts the built-in file.
    pub(crate) fn load() -> Result<Self, FlightsError> {
        Self::parse(std::str::from_utf8(&csv()?)?)
    }

    fn parse(csv: &str) -> Result<Self, FlightsError> {
        let mut lines = csv.lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(FlightsError::Header(header.to_owned()));
        }
        let mut tails = Names::default();
        let mut dests = Names::default();
        let mut flights = Vec::with_capacity(csv.len() / 90);
        for (index, text) in lines.enumerate() {
            let line = Line::split(index + 2, text)?;
            flights.push(line.flight(&mut tails, &mut dests)?);
        }
        flights.sort_by_key(|flight| flight.scheduled); // stable: equal departures stay in the order of their lines
        Ok(Self { flights, tails: tails.list, dests: dests.list })
    }

    /// The flights in the order of the replay.
    pub(crate) fn all(&self) -> &[Flight] {
        &self.flights
    }

    /// The registration of the aircraft: the key of the event.
    pub(crate) fn tail(&self, flight: &Flight) -> Option<&str> {
        flight.aircraft.map(|index| &*self.tails[usize::from(index)])
    }

    /// Where the flight went.
    pub(crate) fn dest(&self, flight: &Flight) -> &str {
        &self.dests[usize::from(flight.dest)]
    }

    /// How many aircraft there are; their indices are dense from 0.
    pub(crate) fn aircraft(&self) -> usize {
        self.tails.len()
    }
}

/// Texts that occur often, kept once.
#[derive(Default)]
struct Names<'a> {
    index: BTreeMap<&'a str, u16>,
    list: Vec<Box<str>>,
}

impl<'a> Names<'a> {
    /// The index of a text, or `None` when there are more texts than indices.
    fn intern(&mut self, text: &'a str) -> Option<u16> {
        if let Some(&known) = self.index.get(text) {
            return Some(known);
        }
        let new = u16::try_from(self.list.len()).ok()?;
        self.index.insert(text, new);
        self.list.push(text.into());
        Some(new)
    }
}

/// A line cut into its columns.
struct Line<'a> {
    number: usize,
    columns: [&'a str; COLUMNS],
}

impl<'a> Line<'a> {
    fn split(number: usize, text: &'a str) -> Result<Self, FlightsError> {
        let mut columns = [""; COLUMNS];
        let mut found = 0;
        for value in text.split(',') {
            if let Some(column) = columns.get_mut(found) {
                *column = value;
            }
            found += 1;
        }
        if found == COLUMNS {
            Ok(Self { number, columns })
        } else {
            Err(FlightsError::Columns { line: number, found })
        }
    }

    fn flight(&self, tails: &mut Names<'a>, dests: &mut Names<'a>) -> Result<Flight, FlightsError> {
        let delay = self.columns[5];
        let carrier = self.columns[9];
        let tail = self.columns[11];
        let dest = self.columns[13];
        Ok(Flight {
            scheduled: self.scheduled()?,
            delay: if delay == ABSENT { None } else { Some(self.parse(5, "dep_delay")?) },
            flight: self.parse(10, "flight")?,
            distance: self.parse(15, "distance")?,
            series: Series::new(carrier, self.columns[12])
                .ok_or_else(|| self.invalid(9, "carrier"))?,
            aircraft: if tail == ABSENT {
                None
            } else {
                Some(tails.intern(tail).ok_or_else(|| self.invalid(11, "tailnum"))?)
            },
            dest: dests.intern(dest).ok_or_else(|| self.invalid(13, "dest"))?,
        })
    }

    /// The hour in UTC (`2013-01-01T10:00:00Z`) and the minute, in seconds since 1970.
    fn scheduled(&self) -> Result<i64, FlightsError> {
        let invalid = || self.invalid(18, "time_hour");
        let hour = self.columns[18];
        if !hour.is_ascii() || hour.len() != 20 || &hour[13..] != ":00:00Z" {
            return Err(invalid());
        }
        let part =
            |range: std::ops::Range<usize>| hour[range].parse::<i64>().map_err(|_| invalid());
        let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
        if !(1..=12).contains(&month) {
            return Err(invalid());
        }
        let minute: i64 = self.parse(17, "minute")?;
        Ok(((days_since_1970(year, month, day) * 24 + part(11..13)?) * 60 + minute) * 60)
    }

    fn parse<T: std::str::FromStr>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<T, FlightsError> {
        self.columns[index].parse().map_err(|_| self.invalid(index, column))
    }

    fn invalid(&self, index: usize, column: &'static str) -> FlightsError {
        FlightsError::Value { line: self.number, column, value: self.columns[index].to_owned() }
    }
}

/// Days in the Gregorian calendar, for years after 1970 and before 2100.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = (year - 1969) / 4 + i64::from(year % 4 == 0 && month > 2);
    (year - 1970) * 365 + leap_days + BEFORE_MONTH[(month - 1) as usize] + day - 1
}

/// The file is read once for all tests of the demo.
#[cfg(test)]
pub(crate) fn loaded() -> &'static Flights {
    static FLIGHTS: std::sync::LazyLock<Flights> =
        std::sync::LazyLock::new(|| Flights::load().expect("the built-in flights are intact"));
    &FLIGHTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_line(line: &str) -> Result<Flights, FlightsError> {
        Flights::parse(&format!("{HEADER}\n{line}\n"))
    }

    #[test]
    fn the_year_has_its_known_counts() {
        let flights = loaded();
        let count = |test: fn(&Flight) -> bool| flights.all().iter().filter(|f| test(f)).count();
        assert_eq!(flights.all().len(), 336_776);
        assert_eq!(count(|f| f.delay.is_none()), 8_255);
        assert_eq!(count(|f| f.aircraft.is_none()), 2_512);
        assert_eq!(flights.aircraft(), 4_043);
        let delays = || flights.all().iter().filter_map(|f| f.delay);
        assert_eq!((delays().min(), delays().max()), (Some(-43), Some(1301)));
    }

    #[test]
    fn flights_are_sorted_and_the_first_is_known() {
        let flights = loaded();
        assert!(flights.all().is_sorted_by_key(|f| f.scheduled));
        let first = &flights.all()[0];
        assert_eq!(first.scheduled, 1_357_035_300); // 2013-01-01T10:15:00Z
        assert_eq!(first.delay, Some(2));
        assert_eq!((first.series.carrier(), first.series.origin()), ("UA", "EWR"));
        assert_eq!((flights.tail(first), flights.dest(first)), (Some("N14228"), "IAH"));
        assert_eq!((first.flight, first.distance), (1545, 1400));
    }

    #[test]
    fn calendar_days() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1972, 2, 29), 789),
            ((1972, 3, 1), 790),
            ((2000, 3, 1), 11_017),
            ((2013, 1, 1), 15_706),
            ((2014, 1, 1), 16_071),
        ] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let good = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
        assert!(one_line(good).is_ok());
        for (from, to, expected) in [
            (",UA,", ",XX,", "flights, line 2: carrier is \"XX\""),
            (",1545,", ",x,", "flights, line 2: flight is \"x\""),
            ("T10:", "Tab:", "flights, line 2: time_hour is \"2013-01-01Tab:00:00Z\""),
            ("-01-01T", "-13-01T", "flights, line 2: time_hour is"),
            (",5,15,", ",5,", "flights, line 2: 18 columns"),
        ] {
            let error = one_line(&good.replace(from, to)).expect_err("damaged").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(matches!(Flights::parse("a,b\n"), Err(FlightsError::Header(_))));
    }
}
