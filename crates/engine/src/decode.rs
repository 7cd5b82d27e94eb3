//! Payloads as types: what a handler reads out of an event's bytes, without a copy where the type
//! can borrow.

use std::str::Utf8Error;

use crate::async_handler::OwnedEvent;
use crate::failure::HandlerError;
use crate::handler::Event;

/// A type that can be read out of bytes.
pub trait Decode<'a>: Sized {
    /// Why bytes are not of this type.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>>;

    /// Reads it.
    ///
    /// # Errors
    /// The bytes are something else.
    fn decode(bytes: &'a [u8]) -> Result<Self, Self::Error>;
}

impl<'a> Decode<'a> for &'a [u8] {
    type Error = std::convert::Infallible;

    fn decode(bytes: &'a [u8]) -> Result<Self, Self::Error> {
        Ok(bytes)
    }
}

impl<'a> Decode<'a> for &'a str {
    type Error = Utf8Error;

    fn decode(bytes: &'a [u8]) -> Result<Self, Self::Error> {
        std::str::from_utf8(bytes)
    }
}

impl<'a> Decode<'a> for String {
    type Error = Utf8Error;

    fn decode(bytes: &'a [u8]) -> Result<Self, Self::Error> {
        std::str::from_utf8(bytes).map(str::to_owned)
    }
}

impl<'a> Event<'a> {
    /// The value as a type.
    ///
    /// # Errors
    /// There is no value, or it is something else: of the class
    /// [`ErrorClass::Undecodable`](crate::ErrorClass::Undecodable), so trying again is no use.
    pub fn payload<T: Decode<'a>>(&self) -> Result<T, HandlerError> {
        self.payload_or_tombstone()?
            .ok_or_else(|| HandlerError::undecodable("the event has no value"))
    }

    /// The value as a type; `None` is a tombstone in a compacted topic.
    ///
    /// # Errors
    /// It is something else; see [`Event::payload`].
    pub fn payload_or_tombstone<T: Decode<'a>>(&self) -> Result<Option<T>, HandlerError> {
        let read = self.value.map(T::decode).transpose();
        read.map_err(HandlerError::undecodable)
    }
}

impl OwnedEvent {
    /// See [`Event::payload`].
    ///
    /// # Errors
    /// See [`Event::payload`].
    pub fn payload<'a, T: Decode<'a>>(&'a self) -> Result<T, HandlerError> {
        self.borrowed().payload()
    }

    /// See [`Event::payload_or_tombstone`].
    ///
    /// # Errors
    /// See [`Event::payload`].
    pub fn payload_or_tombstone<'a, T: Decode<'a>>(&'a self) -> Result<Option<T>, HandlerError> {
        self.borrowed().payload_or_tombstone()
    }
}

#[cfg(test)]
mod tests {
    use onrush_record::Headers;

    use super::*;
    use crate::failure::ErrorClass;

    fn event(value: Option<&[u8]>) -> Event<'_> {
        let (topic, headers) = ("flights", Headers::default());
        Event {
            topic,
            partition: 0,
            offset: 0,
            timestamp: 0,
            key: None,
            value,
            headers,
            epoch: 0,
            is_retry_topic: false,
        }
    }

    #[test]
    fn a_payload_is_read_in_place() {
        let bytes = b"landed".as_slice();
        let text: &str = event(Some(bytes)).payload().unwrap();
        assert_eq!((text, text.as_ptr()), ("landed", bytes.as_ptr()));
        assert_eq!(event(None).payload_or_tombstone::<&str>().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_tried_again() {
        let no_text = event(Some(&[0xff])).payload::<&str>().unwrap_err();
        let no_value = event(None).payload::<&[u8]>().unwrap_err();
        assert_eq!(no_text.class(), ErrorClass::Undecodable);
        assert_eq!(no_value.class(), ErrorClass::Undecodable);
    }
}
