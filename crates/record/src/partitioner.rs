//! Where a key belongs, by the rule of Kafka's Java client.
//!
//! Every client that is to share keys with another must agree on this rule: murmur2 of the key,
//! with the sign bit cleared, modulo the number of partitions.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// Murmur2 of `bytes` with Kafka's seed.
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
