//! JSON payloads.

use onrush_engine::Decode;
use serde::Deserialize;

/// A payload that is JSON: `let Json(payment) = event.payload::<Json<Payment>>()?`. Types may borrow from the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<'a, T: Deserialize<'a>> Decode<'a> for Json<T> {
    type Error = serde_json::Error;

    fn decode(bytes: &'a [u8]) -> Result<Self, Self::Error> {
        serde_json::from_slice(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Payment<'a> {
        from: &'a str,
        cents: u64,
    }

    #[test]
    fn json_is_read_in_place_and_something_else_is_an_error() {
        let bytes = br#"{"from":"alice","cents":1000}"#;
        let Json(payment) = Json::<Payment<'_>>::decode(bytes).unwrap();
        assert_eq!((payment.from, payment.cents), ("alice", 1_000));
        assert_eq!(payment.from.as_ptr(), bytes[9..].as_ptr());
        assert!(Json::<Payment<'_>>::decode(b"alice 10").is_err());
    }
}
