//! Headers of requests and responses.

use bytes::{BufMut, Bytes};

use crate::primitive::{Encoding, Reader, Writer};
use crate::{ApiKey, KafkaString, WireError};

/// What comes before the body of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked.
    pub api_key: ApiKey,
    /// The version of the body.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// Who asks, for the server's logs and quotas.
    pub client_id: Option<KafkaString>,
}

impl RequestHeader {
    /// A header without a client id.
    #[must_use]
    pub fn new(api_key: ApiKey, api_version: i16, correlation_id: i32) -> Self {
        Self { api_key, api_version, correlation_id, client_id: None }
    }

    /// The same with a client id.
    #[must_use]
    pub fn with_client_id(self, client_id: KafkaString) -> Self {
        Self { client_id: Some(client_id), ..self }
    }

    /// Splits a request frame (without its length prefix) into header and body.
    ///
    /// # Errors
    /// The header is malformed.
    pub fn decode(frame: Bytes) -> Result<(Self, Bytes), WireError> {
        // The client id has a fixed-width length in every header version; only the tagged fields are new in 2.
        let mut reader = Reader::new(frame, Encoding::Fixed);
        let api_key = ApiKey(reader.i16("api key")?);
        let api_version = reader.i16("api version")?;
        let correlation_id = reader.i32("correlation id")?;
        let client_id = reader.nullable_string("client id")?;
        if api_key.request_header_version(api_version) >= 2 {
            reader.set_encoding(Encoding::Compact);
            reader.no_tags()?;
        }
        Ok((Self { api_key, api_version, correlation_id, client_id }, reader.rest()))
    }

    /// A frame that starts with this header, to be followed by a body of `message`.
    pub(crate) fn begin(&self, message: ApiKey) -> Result<Writer, WireError> {
        if self.api_key != message {
            return Err(WireError::WrongApi { header: self.api_key, message });
        }
        let mut writer = Writer::frame(Encoding::Fixed);
        writer.i16(self.api_key.0);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_ref(), "client id")?;
        writer.set_encoding(Encoding::flexible(self.api_key.is_flexible(self.api_version)));
        writer.no_tags();
        Ok(writer)
    }
}

/// The correlation id of a response frame (without its length prefix): enough to find the request it answers, and with
/// it the API and version to decode the rest by.
///
/// # Errors
/// The frame is shorter than a correlation id.
pub fn correlation_id(frame: &Bytes) -> Result<i32, WireError> {
    Reader::new(frame.clone(), Encoding::Fixed).i32("correlation id")
}

/// A frame that starts with the header of a response.
pub(crate) fn begin_response(correlation_id: i32, api: ApiKey, version: i16) -> Writer {
    let mut writer = Writer::frame(Encoding::Fixed);
    writer.head().put_i32(correlation_id);
    if api.response_header_version(version) == 1 {
        writer.varint(0);
    }
    writer.set_encoding(Encoding::flexible(api.is_flexible(version)));
    writer
}

/// A reader behind the header of a response frame, and the correlation id.
pub(crate) fn open_response(
    frame: Bytes,
    api: ApiKey,
    version: i16,
) -> Result<(i32, Reader), WireError> {
    let mut reader = Reader::new(frame, Encoding::Fixed);
    let correlation_id = reader.i32("correlation id")?;
    if api.response_header_version(version) == 1 {
        reader.set_encoding(Encoding::Compact);
        reader.no_tags()?;
    }
    reader.set_encoding(Encoding::flexible(api.is_flexible(version)));
    Ok((correlation_id, reader))
}
