//! Settings of a fetcher.

use std::time::Duration;

/// Bytes of response buffers that may be alive at once.
pub const BUDGET: usize = 256 * 1024 * 1024;
/// Bytes asked for per partition: at 256 KiB a third of the bytes travels twice, because the last
/// batch is cut off.
pub const MAX_PARTITION_BYTES: usize = 1024 * 1024;
/// Bytes asked for per fetch: two full partitions, which a core's cache still holds when they are
/// walked. More is only better where the round trip is long.
pub const MAX_FETCH_BYTES: usize = 2 * 1024 * 1024;
/// The longest batch that is expected: `message.max.bytes` of a broker and its overhead. It is
/// covered by credit.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024 + 1024;
/// How long a broker may wait for `min_bytes`.
pub const MAX_WAIT: Duration = Duration::from_millis(250);
/// The same while a partition is paused, so that it is asked for soon after it goes on.
pub const PAUSED_WAIT: Duration = Duration::from_millis(100);
/// A response of this many bytes means load; then as many are waited for: a small fetch costs 4x as
/// much per record.
pub const LOADED_BYTES: usize = 256 * 1024;
/// How long they are waited for.
pub const LOADED_WAIT: Duration = Duration::from_millis(10);

/// How partitions are read.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// See [`BUDGET`].
    pub budget: usize,
    /// The part of it that is left alone for what is made of fetched data.
    pub reserve: usize,
    /// See [`MAX_PARTITION_BYTES`]; [`Fetcher::set_partition_bytes`](super::Fetcher::set_partition_bytes)
    /// lowers it.
    pub max_partition_bytes: usize,
    /// See [`MAX_FETCH_BYTES`].
    pub max_fetch_bytes: usize,
    /// See [`MAX_BATCH_BYTES`].
    pub max_batch_bytes: usize,
    /// What makes a broker answer before the wait is over.
    pub min_bytes: usize,
    /// See [`MAX_WAIT`].
    pub max_wait: Duration,
    /// See [`LOADED_BYTES`].
    pub loaded_bytes: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            budget: BUDGET,
            reserve: 0,
            max_partition_bytes: MAX_PARTITION_BYTES,
            max_fetch_bytes: MAX_FETCH_BYTES,
            max_batch_bytes: MAX_BATCH_BYTES,
            min_bytes: 1,
            max_wait: MAX_WAIT,
            loaded_bytes: LOADED_BYTES,
        }
    }
}

const _: () = assert!(MAX_FETCH_BYTES + MAX_BATCH_BYTES <= BUDGET);
const _: () =
    assert!(LOADED_BYTES <= MAX_PARTITION_BYTES && MAX_PARTITION_BYTES <= MAX_FETCH_BYTES);
