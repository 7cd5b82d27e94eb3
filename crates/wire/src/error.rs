//! What can be wrong with bytes of a peer, or with a message that we were asked to encode.

use crate::ApiKey;

/// Why bytes could not be decoded, or a message not encoded. Positions count from the start of the buffer that was given
/// to the decoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame's length prefix is negative.
    #[error(
        "frame length {announced} is negative; is the peer a Kafka broker or client, and without TLS?"
    )]
    NegativeFrame {
        /// What the prefix says.
        announced: i32,
    },
    /// A frame longer than we accept.
    #[error(
        "frame of {length} bytes is above the limit of {limit}; is the peer a Kafka broker or client, and without TLS?"
    )]
    FrameTooLarge {
        /// Its length.
        length: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// The bytes end inside a field.
    #[error("{field} at byte {position} needs {needed} bytes, {left} are left")]
    Truncated {
        /// Where in the schema.
        field: &'static str,
        /// Where in the bytes.
        position: usize,
        /// What the field needs.
        needed: usize,
        /// What is there.
        left: usize,
    },
    /// Bytes remain after the last field.
    #[error("{left} bytes are left after {field} at byte {position}")]
    Trailing {
        /// The message or field that had ended.
        field: &'static str,
        /// Where it ended.
        position: usize,
        /// How much is left.
        left: usize,
    },
    /// A length or count that no message can have.
    #[error("{field} at byte {position} has the length {length}")]
    BadLength {
        /// Where in the schema.
        field: &'static str,
        /// Where in the bytes.
        position: usize,
        /// What the length field says.
        length: i64,
    },
    /// More than a named limit allows.
    #[error("{field} has {length} bytes or elements, above the limit of {limit}")]
    TooLarge {
        /// Where in the schema.
        field: &'static str,
        /// What was asked for.
        length: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// A varint longer than its type.
    #[error("{field} at byte {position} is a varint of more than five bytes")]
    BadVarint {
        /// Where in the schema.
        field: &'static str,
        /// Where in the bytes.
        position: usize,
    },
    /// A string that is not UTF-8.
    #[error("{field} at byte {position} is not UTF-8")]
    BadUtf8 {
        /// Where in the schema.
        field: &'static str,
        /// Where in the bytes.
        position: usize,
    },
    /// Tagged fields that repeat or are out of order.
    #[error("tagged field {tag} at byte {position} is not above the one before it")]
    TagOrder {
        /// The offending tag.
        tag: u32,
        /// Where in the bytes.
        position: usize,
    },
    /// A version that this crate does not know.
    #[error("{api} version {version} is not known")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// A header for one API with a message of another: the caller's mistake.
    #[error("a header of {header} was given a message of {message}")]
    WrongApi {
        /// The API that the header names.
        header: ApiKey,
        /// The API that the message belongs to.
        message: ApiKey,
    },
    /// The schema codec refused.
    #[error("{message} version {version} at byte {position}: {reason}")]
    Schema {
        /// The message.
        message: &'static str,
        /// Its version.
        version: i16,
        /// Where in the bytes; 0 when encoding.
        position: usize,
        /// What the codec says.
        reason: String,
    },
}
