//! The handshake of versions, which must work before either side knows the other's.
//!
//! A client asks with the highest version it knows. A server that does not know that one answers with a body of version
//! 0, error `UNSUPPORTED_VERSION`, and one entry: the range of `ApiVersions` itself (KIP-511); the client then asks again.

use bytes::Bytes;

use crate::message::api_versions::Response;
use crate::message::api_versions::response::ApiVersion;
use crate::message::{decode_response, encode_response};
use crate::{ApiKey, ErrorCode, VersionRange, WireError};

/// The frame that answers an `ApiVersions` request of a version outside `announced`.
///
/// # Errors
/// None that this message can have; the signature is that of every encoder.
pub fn encode_unsupported(
    correlation_id: i32,
    announced: VersionRange,
) -> Result<Bytes, WireError> {
    let itself = ApiVersion {
        api_key: ApiKey::API_VERSIONS.0,
        min_version: announced.min,
        max_version: announced.max,
        ..ApiVersion::default()
    };
    let response = Response {
        error_code: ErrorCode::UNSUPPORTED_VERSION.0,
        api_keys: vec![itself],
        ..Response::default()
    };
    encode_response(correlation_id, 0, &response)
}

/// The answer to an `ApiVersions` request of `version`, in whichever version it came: if its error is
/// `UNSUPPORTED_VERSION`, the body is of version 0.
///
/// # Errors
/// The frame is malformed.
pub fn decode(version: i16, frame: Bytes) -> Result<(i32, Response), WireError> {
    const ERROR: std::ops::Range<usize> = 4..6;
    let refused = frame.get(ERROR) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
    decode_response(if refused { 0 } else { version }, frame)
}

/// What the answer says of one API.
#[must_use]
pub fn range_of(response: &Response, api: ApiKey) -> Option<VersionRange> {
    let entry = response.api_keys.iter().find(|entry| entry.api_key == api.0)?;
    Some(VersionRange::new(entry.min_version, entry.max_version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PREFIX;

    #[test]
    fn a_refusal_is_a_version_0_body_with_one_entry() {
        let frame = encode_unsupported(7, VersionRange::new(0, 4)).expect("encodes");
        assert_eq!(&frame[..], [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
        let (correlation_id, response) = decode(5, frame.slice(PREFIX..)).expect("decodes");
        assert_eq!(correlation_id, 7);
        assert_eq!(range_of(&response, ApiKey::API_VERSIONS), Some(VersionRange::new(0, 4)));
        assert_eq!(range_of(&response, ApiKey::PRODUCE), None);
    }

    #[test]
    fn an_answer_is_decoded_in_the_version_asked() {
        let produce =
            ApiVersion { api_key: 0, min_version: 3, max_version: 13, ..ApiVersion::default() };
        let response = Response { api_keys: vec![produce], ..Response::default() };
        let frame = encode_response(1, 4, &response).expect("encodes");
        assert_eq!(decode(4, frame.slice(PREFIX..)), Ok((1, response)));
    }
}
