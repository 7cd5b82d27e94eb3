//! Memory that a parse holds, counted by the allocator of every program that links this crate.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Runs `parse`.
///
/// # Panics
/// It held more than `limit` bytes at any time. Other threads are counted too: there must be none.
pub fn bounded<T>(limit: usize, parse: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let parsed = parse();
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(held <= limit, "held {held} bytes of memory, the limit is {limit}");
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        // Other tests of this process may hold memory at the same time, but not so much.
        const MUCH: usize = 64 << 20;
        bounded(MUCH, || drop(vec![0_u8; 1 << 10]));
        let caught = std::panic::catch_unwind(|| bounded(MUCH, || drop(vec![0_u8; 2 * MUCH])));
        assert!(caught.is_err());
    }
}
