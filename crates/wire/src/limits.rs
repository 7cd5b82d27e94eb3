//! Named limits of what a peer can make us hold.

use crate::ApiKey;

/// Largest request frame: what Kafka's `socket.request.max.bytes` is by default.
pub const MAX_REQUEST: usize = 100 * 1024 * 1024;

/// Largest response frame unless the client is configured otherwise: twice the 50 MiB that a fetch asks for by default,
/// so that one oversized first batch still fits.
pub const MAX_RESPONSE: usize = 100 * 1024 * 1024;

/// Largest body of a request that carries more than names: the commits of 1,000 partitions with full metadata.
///
/// It is held shorter than a frame because the schema codec turns such a body into structs: an empty string is one byte on
/// the wire and 32 in a vector that grows by doubling. A hostile body can so fill about a hundred times its length until it
/// is refused, and have more than that reserved: see [`max_reserved`].
pub const MAX_REQUEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Largest body of a request that only names things: 10,000 topics or groups with long names.
pub const MAX_NAMES_MESSAGE: usize = 1024 * 1024;

/// Largest body of a request without record batches.
#[must_use]
pub const fn max_request_message(api: ApiKey) -> usize {
    match api {
        ApiKey::OFFSET_COMMIT
        | ApiKey::TXN_OFFSET_COMMIT
        | ApiKey::JOIN_GROUP
        | ApiKey::SYNC_GROUP
        | ApiKey::CREATE_TOPICS
        | ApiKey::ALTER_CONFIGS
        | ApiKey::INCREMENTAL_ALTER_CONFIGS => MAX_REQUEST_MESSAGE,
        _ => MAX_NAMES_MESSAGE,
    }
}

/// What the schema codec reserves at most for a body of `length` bytes, filled or not.
///
/// For an array it reserves as many elements as its count says, but no more than 1,024 and than there are bytes left, at each
/// level of nesting; some elements are structs of hundreds of bytes. For tagged fields it reserves as many as there are bytes
/// left. Beyond that, memory grows with what is really there. Only what is filled ever takes memory from the machine. The
/// fuzz targets hold every message to this.
#[must_use]
pub const fn max_reserved(length: usize) -> usize {
    const ARRAYS: usize = 4 * 1024 * 1024;
    let arrays = length.saturating_mul(1024);
    let arrays = if arrays < ARRAYS { arrays } else { ARRAYS };
    arrays + length.saturating_mul(256)
}

/// Largest body of a response without record batches: the metadata of 200,000 partitions. See [`MAX_REQUEST_MESSAGE`].
pub const MAX_RESPONSE_MESSAGE: usize = 16 * 1024 * 1024;

/// Most array elements (topics, partitions, aborted transactions, ...) in one Produce or Fetch message, all arrays
/// counted together.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Elements reserved before the first one was read; a longer array grows as its elements arrive.
pub(crate) const MAX_RESERVED: usize = 1024;

const _: () =
    assert!(MAX_NAMES_MESSAGE <= MAX_REQUEST_MESSAGE && MAX_REQUEST_MESSAGE <= MAX_REQUEST);
const _: () = assert!(MAX_RESPONSE_MESSAGE <= MAX_RESPONSE);
const _: () = assert!(MAX_RESERVED <= MAX_ELEMENTS);
