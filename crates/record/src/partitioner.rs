//! Where a key belongs, by the rule of Kafka's Java client.
//!
//! Every client that is to share keys with another must agree on this rule: murmur2 of the key,
//! with the sign bit cleared, modulo the number of partitions.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Murmur2 of `bytes` with Kafka's seed.
#[inline]
pub fn murmur2(bytes: &[u8]) -> u32 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ mixed >> SHIFT).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

/// The partition of `key` in a topic with this many partitions.
///
/// # Panics
/// If `partitions` is zero.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    to_positive(murmur2(key)) % partitions
}

/// The rule for one topic, with the division prepared: that by a number which is not known beforehand takes as long as the
/// hash of a short key.
#[derive(Debug, Clone, Copy)]
pub struct Partitioner {
    partitions: u32,
    /// 2^64 / partitions, rounded up, modulo 2^64.
    reciprocal: u64,
}

impl Partitioner {
    /// For a topic with this many partitions.
    ///
    /// # Panics
    /// If `partitions` is zero or negative.
    pub fn new(partitions: i32) -> Partitioner {
        assert!(partitions > 0, "a topic has a partition");
        let partitions = partitions as u32;
        let reciprocal = (u64::MAX / u64::from(partitions)).wrapping_add(1);
        Partitioner { partitions, reciprocal }
    }

    /// As [`partition_for_key`].
    #[inline]
    pub fn partition(&self, key: &[u8]) -> i32 {
        self.remainder(to_positive(murmur2(key)) as u32) as i32
    }

    /// The fraction of `hash / partitions` in 64 bits, times the partitions. Exact for all 32-bit numbers: the fraction
    /// is too large by less than 2^-32, which cannot reach the next whole number.
    #[inline]
    fn remainder(&self, hash: u32) -> u32 {
        let fraction = self.reciprocal.wrapping_mul(u64::from(hash));
        ((u128::from(fraction) * u128::from(self.partitions)) >> 64) as u32
    }
}

/// Clears the sign bit; the Java client does so too, where an absolute value could overflow.
fn to_positive(hash: u32) -> i32 {
    (hash & 0x7fff_ffff) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the Java client's own tests assert.
    const JAVA: [(&[u8], i32); 6] = [
        (b"21", -973_932_308),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        (b"abc", 479_470_107),
    ];

    #[test]
    fn murmur2_equals_the_java_client() {
        for (key, hash) in JAVA {
            assert_eq!(murmur2(key) as i32, hash, "{:?}", std::str::from_utf8(key));
        }
    }

    #[test]
    fn a_prepared_division_leaves_the_same_remainder() {
        let around = |number: u32| [number.saturating_sub(1), number, number.saturating_add(1)];
        let numbers: Vec<u32> = (0..31).flat_map(|bit| around(1 << bit)).collect();
        for partitions in numbers.iter().chain(&[3, 6, 7, 100, 1_000_003, i32::MAX as u32]) {
            let Ok(divisor @ 1..) = i32::try_from(*partitions) else { continue };
            let partitioner = Partitioner::new(divisor);
            let multiples = (0..50).flat_map(|times| around(partitions.wrapping_mul(times)));
            for hash in multiples.chain(numbers.iter().copied()) {
                assert_eq!(partitioner.remainder(hash), hash % partitions, "{hash} % {partitions}");
            }
            for (key, _) in JAVA {
                assert_eq!(partitioner.partition(key), partition_for_key(key, divisor));
            }
        }
    }

    #[test]
    fn partitions_equal_the_java_client() {
        for (key, hash) in JAVA {
            for partitions in [1, 2, 3, 6, 7, 100, i32::MAX] {
                let positive = (i64::from(hash) & 0x7fff_ffff) as i32;
                assert_eq!(partition_for_key(key, partitions), positive % partitions);
            }
        }
        assert_eq!(partition_for_key(b"foobar", 6), 0);
    }
}
