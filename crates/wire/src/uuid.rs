//! Topic ids and member ids: 128 bits, shown as Kafka shows them (base64 for URLs, 22 characters).

/// A Kafka UUID. `Uuid::random` of the codec draws from the operating system; use [`from_random`] with bytes of the
/// runtime's `Random` instead, so that a simulation repeats.
pub use kacrab_protocol::KafkaUuid as Uuid;

/// A UUID of these bytes.
#[must_use]
pub const fn from_bytes(bytes: [u8; 16]) -> Uuid {
    let value = u128::from_be_bytes(bytes);
    Uuid::from_parts((value >> 64) as u64, value as u64)
}

/// A type 4 UUID made of random bytes. Like Kafka's own it is never a reserved one, and its text never starts with `-`,
/// which command lines would take for an option.
#[must_use]
pub const fn from_random(mut bytes: [u8; 16]) -> Uuid {
    const FIRST_SEXTET: u8 = 0b1111_1100;
    const DASH: u8 = 62 << 2;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    if bytes[0] & FIRST_SEXTET == DASH {
        bytes[0] ^= 0x80;
    }
    from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kafkas_base64() {
        let id = from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(id.to_string(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(Uuid::from_base64("AAECAwQFBgcICQoLDA0ODw").expect("valid"), id);
        assert_eq!(id.to_bytes()[..4], [0, 1, 2, 3]);
    }

    #[test]
    fn random_ids_are_type_4_and_never_start_with_a_dash() {
        for first in 0..=u8::MAX {
            let mut bytes = [0xff; 16];
            bytes[0] = first;
            let id = from_random(bytes);
            assert!(!id.to_string().starts_with('-'), "{id}");
            assert_eq!((id.to_bytes()[6] >> 4, id.to_bytes()[8] >> 6), (4, 0b10));
        }
        assert!(!from_random([0; 16]).is_reserved());
    }
}
