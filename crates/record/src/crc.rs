//! CRC-32C, the checksum of a batch.

/// CRC-32C (Castagnoli) of `bytes`; the instructions are chosen at run time.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// From RFC 3720, B.4, and the catalogue's check value.
    #[test]
    fn known_vectors() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(&descending), 0x113f_db5c);
    }

    /// The library has a path per length and per instruction set; bit by bit is its check.
    #[test]
    fn equals_bit_by_bit_at_every_length() {
        let bytes: Vec<u8> =
            (0u32..2048).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in (0..600).chain([1023, 1024, 1025, 2047, 2048]) {
            assert_eq!(crc32c(&bytes[..length]), bit_by_bit(&bytes[..length]), "length {length}");
        }
    }

    fn bit_by_bit(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
            })
        })
    }
}
