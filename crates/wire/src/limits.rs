//! Named limits of what a peer can make us hold.

/// Largest request frame: what Kafka's `socket.request.max.bytes` is by default.
pub const MAX_REQUEST: usize = 100 * 1024 * 1024;

/// Largest body of a request without record batches. Such a body is decoded into structs several times its size, so it
/// is held shorter than a frame; 8 MiB carry the commits of 2,000 partitions with full metadata.
pub const MAX_REQUEST_MESSAGE: usize = 8 * 1024 * 1024;

/// Largest body of a response without record batches: the metadata of some hundred thousand partitions.
pub const MAX_RESPONSE_MESSAGE: usize = 64 * 1024 * 1024;

/// Most array elements (topics, partitions, aborted transactions, ...) in one Produce or Fetch message, all arrays
/// counted together.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Elements reserved before the first one was read; a longer array grows as its elements arrive.
pub(crate) const MAX_RESERVED: usize = 1024;

const _: () = assert!(MAX_REQUEST_MESSAGE <= MAX_REQUEST);
const _: () = assert!(MAX_RESERVED <= MAX_ELEMENTS);
