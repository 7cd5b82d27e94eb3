//! Named limits of what a peer can make us hold.

/// Largest request frame: what Kafka's `socket.request.max.bytes` is by default.
pub const MAX_REQUEST: usize = 100 * 1024 * 1024;

/// Largest response frame unless the client is configured otherwise: twice the 50 MiB that a fetch asks for by default,
/// so that one oversized first batch still fits.
pub const MAX_RESPONSE: usize = 100 * 1024 * 1024;

/// Largest body of a request without record batches: the commits of 1,000 partitions with full metadata.
///
/// It is held shorter than a frame because the schema codec turns such a body into structs: an empty string is one byte on
/// the wire and 32 in a vector that grows by doubling. A hostile body can so fill about a hundred times its length until it
/// is refused, and have more than that reserved: see [`RESERVED_PER_BYTE`].
pub const MAX_REQUEST_MESSAGE: usize = 4 * 1024 * 1024;

/// What the schema codec reserves at most for each byte of a body, filled or not.
///
/// For an array it reserves as many elements as the count says, or as many as there are bytes left, at each level of
/// nesting; some elements are structs of hundreds of bytes. Only what is filled ever takes memory from the machine. The
/// fuzz targets hold every message to this.
pub const RESERVED_PER_BYTE: usize = 1024;

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
