//! The list of targets.

use crate::corpus::Entry;
use crate::targets::recovery::careless;
use crate::targets::{
    batches, broker, canaries, compression, offset_metadata, recovery, requests, responses,
};

/// What a parser made of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid.
    Accepted,
    /// It is not.
    Refused,
}

impl<T, E> From<&Result<T, E>> for Verdict {
    fn from(parsed: &Result<T, E>) -> Self {
        if parsed.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// A parser with the properties that it must have.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called by, here and in `fuzz/`.
    pub name: &'static str,
    /// What it parses.
    pub about: &'static str,
    /// Whether its input consists of parts (`parts.rs`), which are then changed one by one.
    pub in_parts: bool,
    /// Parses, and panics where a property does not hold.
    pub parse: fn(&[u8]) -> Verdict,
    /// Makes valid inputs.
    pub(crate) entries: fn() -> Vec<Entry>,
}

impl Target {
    const fn new(
        name: &'static str,
        about: &'static str,
        parse: fn(&[u8]) -> Verdict,
        entries: fn() -> Vec<Entry>,
    ) -> Self {
        Self { name, about, in_parts: false, parse, entries }
    }

    const fn in_parts(self) -> Self {
        Self { in_parts: true, ..self }
    }

    /// The target or canary of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().chain(&CANARIES).find(|target| target.name == name)
    }
}

/// Every parser that sees foreign bytes.
pub const TARGETS: [Target; 10] = [
    Target::new(
        "batches",
        "record batches and the records in them",
        batches::parse,
        batches::entries,
    ),
    Target::new("gzip", "gzip members", compression::gzip, compression::gzip_entries),
    Target::new(
        "snappy",
        "snappy streams and blocks",
        compression::snappy,
        compression::snappy_entries,
    ),
    Target::new("lz4", "LZ4 frames", compression::lz4, compression::lz4_entries),
    Target::new("zstd", "Zstandard frames", compression::zstd, compression::zstd_entries),
    Target::new(
        "requests",
        "every request that the broker announces",
        requests::parse,
        requests::entries,
    ),
    Target::new(
        "responses",
        "every response that a client may decode",
        responses::parse,
        responses::entries,
    ),
    Target::new(
        "broker",
        "sessions of requests, answered by the broker",
        broker::parse,
        broker::entries,
    )
    .in_parts(),
    Target::new("recovery", "the files of a data directory", recovery::parse, recovery::entries)
        .in_parts(),
    Target::new(
        "offset-metadata",
        "completed-sets in the metadata of commits",
        offset_metadata::parse,
        offset_metadata::entries,
    ),
];

/// Targets with a planted bug, one for each property.
pub const CANARIES: [Target; 5] = [
    Target::new("canary-panic", "reads beyond the end", canaries::panics, canaries::entries),
    Target::new("canary-memory", "trusts a count", canaries::hoards, canaries::entries),
    Target::new("canary-meaning", "loses a null", canaries::forgets, canaries::entries),
    Target::new(
        "canary-tail",
        "cuts more than the torn tail of a log",
        careless::cuts_too_much,
        careless::entries,
    )
    .in_parts(),
    Target::new(
        "canary-damage",
        "cuts a log where bytes changed that were on the disk",
        careless::cuts_behind_damage,
        careless::entries,
    )
    .in_parts(),
];
