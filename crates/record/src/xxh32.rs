//! XXH32, of which LZ4 frames carry one byte over their header.

const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];

/// Longest header of an LZ4 frame; longer inputs need rounds that a header never does.
const MAX_LEN: usize = 15;

/// XXH32 with seed 0 of fewer than 16 bytes.
pub(crate) const fn short_hash(bytes: &[u8]) -> u32 {
    assert!(bytes.len() <= MAX_LEN);
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let mut at = 0;
    while at + 4 <= bytes.len() {
        let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        hash = hash.wrapping_add(word.wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
        at += 4;
    }
    while at < bytes.len() {
        hash = hash.wrapping_add((bytes[at] as u32).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
        at += 1;
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::short_hash;

    #[test]
    fn known_vectors() {
        assert_eq!(short_hash(b""), 0x02cc_5d05);
        assert_eq!(short_hash(b"a"), 0x550d_7456);
        assert_eq!(short_hash(b"abc"), 0x32d1_53ff);
        assert_eq!(
            short_hash(&[0x60, 0x40]) >> 8 & 0xff,
            0x82,
            "the frame header that Kafka writes"
        );
    }
}
