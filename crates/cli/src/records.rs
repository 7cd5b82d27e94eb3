//! Records as bytes outside of Kafka: what `onrush consume` writes and `onrush produce` reads.
//!
//! | format | a record is | carries | read by | written by |
//! |---|---|---|---|---|
//! | `raw` | what stands before a delimiter | value, maybe a key | [`raw`] | [`raw`] |
//! | `json` | a line with an *envelope* | everything | [`envelope`] | [`envelope`] |
//! | `csv` | a row of a table with a header row | the row as a JSON object, maybe a key | [`rows`] | |
//! | `length` | two lengths with bytes after each | key, value | [`lengths`] | [`lengths`] |
//!
//! # The envelope
//! One JSON object a line, with everything that a record has:
//!
//! ```json
//! {"topic":"flights","partition":3,"offset":17,"timestamp":1754006400000,"timestamp_type":"create",
//!  "key":"N14228","value":{"base64":"AP8="},"headers":[{"key":"source","value":null}]}
//! ```
//!
//! - Bytes (`key`, `value`, the `value` of a header) are a string where they are UTF-8, `{"base64": "…"}` where they are not,
//!   and `null` where there are none: so a tombstone (`null`) and an empty value (`""`) differ, and every record has exactly
//!   one envelope.
//! - `headers` keep their order and their duplicates. A header's `key` is always a string.
//! - `timestamp` is in milliseconds since 1970; `timestamp_type` is `create`, or `append` where it is the broker's.
//!
//! What is written is read back to the same key, value, headers, partition and timestamp. Reading wants `value`, so that a
//! field that was forgotten or misspelt does not become a tombstone, and refuses fields that it does not know. All else may be
//! left out: no `key` is none, no `headers` are none, no `partition` leaves it to the key, no `timestamp` is the time of
//! sending. `topic`, `offset` and `timestamp_type` are taken and mean nothing: the command says where records go, the broker
//! what offset they get. Blank lines are skipped.
//!
//! `docs/records.md` says all this to users.

pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod envelope;
pub(crate) mod filter;
pub(crate) mod lengths;
pub(crate) mod malformed;
pub(crate) mod moment;
pub(crate) mod range;
pub(crate) mod raw;
pub(crate) mod rows;
pub(crate) mod scan;

use onrush_kafka::Header;

/// A record that was read, borrowed from the input and its decoder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<Header<'a>>,
    pub(crate) partition: Option<i32>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

/// How far a decoder came: bytes of the input that are done with, and the record in them. Without either it wants more
/// bytes, or has reached the end.
#[derive(Debug, Default)]
pub(crate) struct Step<'a> {
    pub(crate) consumed: usize,
    pub(crate) record: Option<Fields<'a>>,
}
