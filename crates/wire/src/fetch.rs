//! Fetch, versions 4 to 18: record batches of a decoded response are slices of its frame, and encoding splices the
//! caller's batches (slices of the log) into the frame without copying them.
//!
//! Version 5 adds the log start offset, 7 fetch sessions (KIP-227), 9 the leader epoch, 11 the rack and the preferred
//! replica, 12 is flexible, 13 names topics by id instead of by name (here as in Produce), 15 moves the replica into a
//! tagged field. Tagged fields of no use to a consumer or a single broker are skipped when decoding: the cluster id and
//! the replica's directory and high watermark in requests, the diverging epoch, the snapshot id and the endpoints of new
//! leaders in responses.

mod request;
mod response;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
pub use response::{AbortedTransaction, FetchResponse, FetchedPartition, FetchedTopic};

pub use crate::leader::CurrentLeader;
pub use crate::topic::TOPIC_IDS;
use crate::{ApiKey, VersionRange, WireError};

/// The versions that are decoded and encoded.
pub const VERSIONS: VersionRange = VersionRange::new(4, 18);

const LOG_START_OFFSET: i16 = 5;
const SESSIONS: i16 = 7;
const RACK: i16 = 11;

fn known(version: i16) -> Result<i16, WireError> {
    if VERSIONS.contains(version) {
        return Ok(version);
    }
    Err(WireError::UnsupportedVersion { api: ApiKey::FETCH, version })
}
