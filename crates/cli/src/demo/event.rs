//! The demo's event: a FlatBuffers table (`data/flight.fbs`), written from a template and read in place.
//!
//! Writing: every flight is encoded once at the start; an event is its flight's bytes with two fields stamped over,
//! its number and its date. Reading: only what is asked for is looked at, and checked while it is looked at; nothing is allocated.
use planus::ReadAsRoot;

use super::flight_generated as schema;
use super::flights::{Flight, Flights};
use super::journal::entry::{Entry, EntryError};
use super::replay::Planned;
use super::series::Series;

/// Indices of fields in the schema.
const NUMBER_FIELD: usize = 0;
const SCHEDULED_FIELD: usize = 1;

/// A template's number: anything but 0, which as the default would be left out and leave no place for the stamp.
const UNSTAMPED: u64 = u64::MAX;

/// An odd constant with no pattern in its bits (2^64 divided by the golden ratio).
const MIXER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A value that is no event of the demo.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum EventError {
    /// The bytes are not a table as in `data/flight.fbs`.
    #[error("not a flight event: {0}")]
    Malformed(#[from] planus::Error),
    /// A carrier or origin that is not in the data.
    #[error("a flight event whose carrier or origin is not in the data")]
    UnknownSeries,
    /// A number or delay beyond what the generator sends.
    #[error("a flight event that the journal cannot hold: {0}")]
    OutOfRange(#[from] EntryError),
}

/// An event as decoded: the fields that the computation uses, and the rest unread.
#[derive(Clone, Copy)]
pub(crate) struct FlightEvent<'a> {
    /// How many events the generator had sent to the partition before.
    pub(crate) number: u64,
    /// IATA code of the carrier.
    pub(crate) carrier: &'a str,
    /// IATA code of the origin.
    pub(crate) origin: &'a str,
    /// Minutes late; `None` when it was cancelled.
    pub(crate) delay: Option<i16>,
    rest: schema::FlightRef<'a>,
}

/// Reads the fields that the computation uses.
pub(crate) fn decode(value: &[u8]) -> Result<FlightEvent<'_>, EventError> {
    let rest = schema::FlightRef::read_as_root(value)?;
    Ok(FlightEvent {
        number: rest.number()?,
        carrier: rest.carrier()?,
        origin: rest.origin()?,
        delay: rest.delay()?,
        rest,
    })
}

impl FlightEvent<'_> {
    /// Where it counts in the result table.
    pub(crate) fn series(&self) -> Result<Series, EventError> {
        Series::new(self.carrier, self.origin).ok_or(EventError::UnknownSeries)
    }

    /// What a handler call notes in the journal: the fields that the computation uses, and the check of the others.
    pub(crate) fn entry(&self) -> Result<Entry, EventError> {
        Ok(Entry::new(self.number, self.series()?, self.delay, self.check()?)?)
    }

    /// Reads all other fields and makes twelve bits of them.
    pub(crate) fn check(&self) -> Result<u16, EventError> {
        let rest = &self.rest;
        let prefix = check_prefix(rest.dest()?, rest.tail()?, rest.flight()?, rest.distance()?);
        Ok(check(prefix, rest.scheduled()?))
    }
}

/// What the check of a flight's events has in common: all fields but the date, which differs between laps.
pub(crate) fn flight_check_prefix(flights: &Flights, flight: &Flight) -> u64 {
    check_prefix(flights.dest(flight), flights.tail(flight), flight.flight, flight.distance)
}

/// Completes a check: the upper twelve bits, on which every bit that went in has an influence.
pub(crate) fn check(prefix: u64, scheduled: i64) -> u16 {
    (mix(prefix, scheduled as u64) >> 52) as u16
}

fn check_prefix(dest: &str, tail: Option<&str>, flight: u16, distance: u16) -> u64 {
    let mut state = mix_text(0, dest);
    state = match tail {
        Some(tail) => mix_text(state, tail),
        None => mix(state, u64::MAX),
    };
    mix(state, u64::from(flight) | u64::from(distance) << 16)
}

/// The length, then the bytes in little-endian words, the last one filled up with zeros.
fn mix_text(state: u64, text: &str) -> u64 {
    let mut state = mix(state, text.len() as u64);
    for chunk in text.as_bytes().chunks(8) {
        let word = chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        state = mix(state, word);
    }
    state
}

fn mix(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(MIXER)
}

/// Every flight, encoded; see the module.
#[derive(Debug)]
pub(crate) struct Templates {
    bytes: Vec<u8>,
    templates: Vec<Template>,
}

/// Where a flight's event lies in the bytes, and where its stamps go.
#[derive(Clone, Copy, Debug)]
struct Template {
    start: usize,
    len: u16,
    number_at: u16,
    scheduled_at: u16,
}

impl Templates {
    /// Encodes every flight once.
    pub(crate) fn new(flights: &Flights) -> Self {
        let mut builder = planus::Builder::new();
        let mut bytes = Vec::new();
        let templates = flights
            .all()
            .iter()
            .map(|flight| {
                let encoded = encode(&mut builder, flights, flight, UNSTAMPED, flight.scheduled);
                let template = Template {
                    start: bytes.len(),
                    len: encoded.len() as u16, // about a hundred bytes: the texts are codes of a few letters
                    number_at: field_position(encoded, NUMBER_FIELD),
                    scheduled_at: field_position(encoded, SCHEDULED_FIELD),
                };
                bytes.extend_from_slice(encoded);
                template
            })
            .collect();
        Self { bytes, templates }
    }

    /// The bytes of an event; they stay in place until the next stamp, so that sending copies them once.
    pub(crate) fn stamp(&mut self, planned: &Planned) -> &[u8] {
        let template = self.templates[planned.flight];
        let event = &mut self.bytes[template.start..][..usize::from(template.len)];
        event[usize::from(template.number_at)..][..8]
            .copy_from_slice(&planned.number.to_le_bytes());
        event[usize::from(template.scheduled_at)..][..8]
            .copy_from_slice(&planned.scheduled.to_le_bytes());
        event
    }
}

fn encode<'b>(
    builder: &'b mut planus::Builder,
    flights: &Flights,
    flight: &Flight,
    number: u64,
    scheduled: i64,
) -> &'b [u8] {
    builder.clear();
    let table = schema::Flight::create(
        builder,
        number,
        scheduled,
        flight.series.carrier(),
        flight.series.origin(),
        flights.dest(flight),
        flights.tail(flight),
        flight.flight,
        flight.distance,
        flight.delay,
    );
    builder.finish(table, None)
}

/// Where a field of the root table lies, in bytes of our own that have the field: the root's offset leads to the table, the
/// table's first word back to its vtable, and that holds the fields' places in the table, after two lengths.
fn field_position(bytes: &[u8], field: usize) -> u16 {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let table = word(0) as usize;
    let vtable = (table as i64 - i64::from(word(table) as i32)) as usize;
    let entry = vtable + 4 + 2 * field;
    let place = u16::from_le_bytes([bytes[entry], bytes[entry + 1]]);
    table as u16 + place
}

#[cfg(test)]
mod tests {
    use super::super::flights::loaded;
    use super::super::replay::{Replay, by_bytes};
    use super::*;

    fn expected_check(flights: &Flights, planned: &Planned) -> u16 {
        let flight = &flights.all()[planned.flight];
        check(flight_check_prefix(flights, flight), planned.scheduled)
    }

    #[test]
    fn a_stamped_template_is_the_event_encoded_anew() {
        let flights = loaded();
        let mut templates = Templates::new(flights);
        let mut builder = planus::Builder::new();
        let laps = Replay::new(flights, 2 * 336_776, 6, by_bytes(6));
        for planned in laps.step_by(997).filter(|planned| planned.number > 0) {
            let flight = &flights.all()[planned.flight];
            let fresh = encode(&mut builder, flights, flight, planned.number, planned.scheduled);
            assert_eq!(templates.stamp(&planned), fresh, "{planned:?}");
        }
    }

    #[test]
    fn an_event_decodes_to_its_flight() {
        let flights = loaded();
        let mut templates = Templates::new(flights);
        for planned in Replay::new(flights, 336_776, 6, by_bytes(6)) {
            let flight = &flights.all()[planned.flight];
            let event = decode(templates.stamp(&planned)).expect("own bytes");
            assert_eq!(event.number, planned.number);
            assert_eq!(event.delay, flight.delay);
            assert_eq!(event.series().expect("known"), flight.series);
            assert_eq!(event.check().expect("own bytes"), expected_check(flights, &planned));
        }
    }

    #[test]
    fn the_check_depends_on_every_field() {
        let base = check(check_prefix("IAH", Some("N14228"), 1545, 1400), 1_357_035_300);
        for (dest, tail, flight, distance, scheduled) in [
            ("IAD", Some("N14228"), 1545, 1400, 1_357_035_300),
            ("IAH", Some("N14229"), 1545, 1400, 1_357_035_300),
            ("IAH", None, 1545, 1400, 1_357_035_300),
            ("IAH", Some("N14228"), 1546, 1400, 1_357_035_300),
            ("IAH", Some("N14228"), 1545, 1401, 1_357_035_300),
            ("IAH", Some("N14228"), 1545, 1400, 1_357_035_360),
        ] {
            let other = check(check_prefix(dest, tail, flight, distance), scheduled);
            assert_ne!(other, base, "{dest} {tail:?} {flight} {distance} {scheduled}");
        }
    }

    #[test]
    fn damaged_bytes_are_errors_or_other_events_and_never_panic() {
        let flights = loaded();
        let mut templates = Templates::new(flights);
        let planned = Replay::new(flights, 1, 6, by_bytes(6)).next().expect("one event");
        let good = templates.stamp(&planned).to_vec();
        for cut in 0..good.len() {
            let _ = decode(&good[..cut]).and_then(|event| event.check());
        }
        assert!(decode(&[]).is_err());
        assert!(decode(&good[..8]).is_err());
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&damaged).and_then(|event| event.series().and_then(|_| event.check()));
        }
    }
}
