//! Chance: identifiers, jitter, and in the simulation every decision that the seed draws.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one atomic add and a mix, so that a clone can be
//! shared by the parts of a process without a lock. It is not for secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A hasher state with a fixed seed: iteration order and collisions do not depend on chance, so that two runs of one
/// seed agree.
pub use foldhash::fast::FixedState;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A shared source of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: Arc<AtomicU64>,
}

impl Random {
    /// The same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self { state: Arc::new(AtomicU64::new(seed)) }
    }

    /// Seeded by the kernel.
    pub fn from_entropy() -> Self {
        let mut seed = [0; 8];
        // Before the kernel's pool is ready (early boot) process and time still tell runs apart.
        if rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).is_err() {
            let process = i64::from(std::process::id()) << 32;
            seed = (crate::Clock::System.wall_millis() ^ process).to_le_bytes();
        }
        Self::seeded(u64::from_le_bytes(seed))
    }

    /// A source of its own, drawn from this one: what it hands out later does not disturb this one's sequence.
    pub fn fork(&self) -> Self {
        Self::seeded(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 if `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Yes with a probability of `numerator` in `denominator`.
    pub fn chance(&self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// A version 4 UUID (RFC 9562).
    pub fn uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[6] = (bytes[6] & 0x0F) | 0x40;
        bytes[8] = (bytes[8] & 0x3F) | 0x80;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers_and_forks_are_apart() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        let fork = a.fork();
        b.fork();
        assert_ne!(fork.next_u64(), a.next_u64());
        b.next_u64();
        assert_eq!(a.next_u64(), b.next_u64());
    }

    #[test]
    fn below_stays_below() {
        let random = Random::seeded(1);
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
