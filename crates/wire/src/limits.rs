//! Named limits of what a peer can make us hold.

/// Largest request frame: what Kafka's `socket.request.max.bytes` is by default.
pub const MAX_REQUEST: usize = 100 * 1024 * 1024;

/// Largest response frame unless the client is configured otherwise: twice the 50 MiB that a fetch asks for by default,
/// so that one oversized first batch still fits.
pub const MAX_RESPONSE: usize = 100 * 1024 * 1024;

/// Largest body of a request without record batches: the commits of 1,000 partitions with full metadata.
///
/// It is held shorter than a frame because the schema codec turns such a body into structs: an empty string is one byte on
/// the wire and 32 in a vector that grows by doubling, and an announced count of tagged fields reserves 40 bytes for every
/// byte that is left. A hostile body can so cost about a hundred times its length until it is refused.
pub const MAX_REQUEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Largest body of a response without record batches: the metadata of 200,000 partitions. See [`MAX_REQUEST_MESSAGE`].
pub const MAX_RESPONSE_MESSAGE: usize = 16 * 1024 * 1024;

/// Most array elements (topics, partitions, aborted transactions, ...) in one Produce or Fetch message, all arrays
/// counted together.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Elements reserved before the first one was read; a longer array grows as its elements arrive.
pub(crate) const MAX_RESERVED: usize = 1024;

const _: () = assert!(MAX_REQUEST_MESSAGE <= MAX_REQUEST);
const _: () = assert!(MAX_RESPONSE_MESSAGE <= MAX_RESPONSE);
const _: () = assert!(MAX_RESERVED <= MAX_ELEMENTS);
