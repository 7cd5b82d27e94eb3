//! Length-prefixed frames, without I/O: the driver reads four bytes, asks [`frame_len`], and reads that many.
//!
//! The check comes before any allocation, so a length alone never makes us hold memory above the limit.

use crate::WireError;

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// The length a prefix announces, if it is one that we accept.
///
/// # Errors
/// [`WireError::NegativeFrame`] or [`WireError::FrameTooLarge`]; after either the connection cannot be resynchronised.
pub fn frame_len(prefix: [u8; PREFIX], max: usize) -> Result<usize, WireError> {
    let announced = i32::from_be_bytes(prefix);
    let length = usize::try_from(announced).map_err(|_| WireError::NegativeFrame { announced })?;
    if length > max {
        return Err(WireError::FrameTooLarge { length, limit: max });
    }
    Ok(length)
}

/// The prefix of a frame of `length` bytes.
///
/// # Errors
/// [`WireError::FrameTooLarge`] if the length does not fit the prefix.
pub fn frame_prefix(length: usize) -> Result<[u8; PREFIX], WireError> {
    i32::try_from(length)
        .map(i32::to_be_bytes)
        .map_err(|_| WireError::FrameTooLarge { length, limit: i32::MAX as usize })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_REQUEST;

    #[test]
    fn lengths_up_to_the_limit_pass() {
        for length in [0, 1, MAX_REQUEST] {
            let prefix = frame_prefix(length).expect("fits");
            assert_eq!(frame_len(prefix, MAX_REQUEST), Ok(length));
        }
    }

    #[test]
    fn lengths_above_the_limit_and_negative_ones_are_refused() {
        assert_eq!(
            frame_len(i32::MAX.to_be_bytes(), MAX_REQUEST),
            Err(WireError::FrameTooLarge { length: i32::MAX as usize, limit: MAX_REQUEST })
        );
        assert_eq!(
            frame_len([0xff; 4], MAX_REQUEST),
            Err(WireError::NegativeFrame { announced: -1 })
        );
        // What an HTTP client or a TLS hello looks like to us.
        assert!(frame_len(*b"GET ", MAX_REQUEST).is_err());
        assert!(frame_len([0x16, 0x03, 0x01, 0x02], MAX_REQUEST).is_err());
    }

    #[test]
    fn a_frame_longer_than_the_prefix_can_say_is_refused() {
        assert!(frame_prefix(i32::MAX as usize + 1).is_err());
    }
}
