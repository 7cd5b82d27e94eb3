//! Kafka's wire protocol: frames, API versions, error codes, and the schemas of requests and responses.
//!
//! On the socket every message is a *frame*: a big-endian `i32` length, then that many bytes. A request frame is a
//! request header (API key, API version, correlation id, client id) and the body; a response frame is a response header
//! (correlation id) and the body. From some version on an API is *flexible*: lengths are varints, and headers and structs
//! end in a section of tagged fields ([`api`] knows which).
//!
//! This is the only crate that names the schema codec. [`message`] wraps its generated structs; [`produce`] and [`fetch`]
//! are written here, because those two carry record batches: they slice a frame instead of copying from it, and encode
//! into segments for a vectored write instead of one buffer.
//!
//! Nothing here does I/O. Bytes of a peer are never trusted: a decode takes exactly the bytes there are or returns a
//! [`WireError`] that tells where it stopped, and what it allocates is bounded by the limits in [`limits`].
#![forbid(unsafe_code)]

pub mod api;
pub mod api_versions;
pub mod error;
mod error_code;
pub mod fetch;
pub mod frame;
pub mod header;
mod leader;
pub mod limits;
pub mod message;
mod primitive;
pub mod produce;
mod topic;
pub mod uuid;

pub use api::{ApiKey, VersionRange, negotiate};
pub use error::WireError;
pub use error_code::ErrorCode;
pub use header::RequestHeader;
pub use kacrab_protocol::KafkaString;
pub use leader::CurrentLeader;
pub use uuid::Uuid;
