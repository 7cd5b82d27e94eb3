//! The same test for many seeds.

/// Runs `test` with each seed, and names the one that fails.
///
/// ```
/// use onrush::testing::{TestBed, seeds};
///
/// seeds(0..3, |seed| {
///     let test = TestBed::seeded(seed);
///     test.topic("payments", 1);
///     assert_eq!(test.send("payments", "alice", "10").offset, 0);
/// });
/// ```
pub fn seeds(seeds: impl IntoIterator<Item = u64>, mut test: impl FnMut(u64)) {
    for seed in seeds {
        let _named = Named(seed);
        test(seed);
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0} fails; run it alone with seeds([{0}], ..)", self.0);
        }
    }
}
