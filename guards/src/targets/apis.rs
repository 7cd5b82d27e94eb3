//! Every API whose messages there are, as functions that do not name its types.

use bytes::{Bytes, BytesMut};
use onrush_wire::fetch::{FetchRequest, FetchResponse};
use onrush_wire::frame::PREFIX;
use onrush_wire::limits::max_reserved;
use onrush_wire::message::{self, Request};
use onrush_wire::produce::{ProduceRequest, ProduceResponse};
use onrush_wire::{ApiKey, RequestHeader, WireError};

use crate::memory::bounded;

/// What a body costs at most while it is decoded, besides the limit per byte: the text of an error.
const COST: usize = 16 * 1024;

/// One API.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    /// Decodes a body, and holds it to its properties.
    pub(crate) check_request: fn(&RequestHeader, Bytes) -> Result<(), WireError>,
    /// Decodes a body to text.
    pub(crate) request_text: fn(i16, Bytes) -> Result<String, WireError>,
    /// Decodes a frame, and holds it to its properties.
    pub(crate) check_response: fn(i16, Bytes) -> Result<(), WireError>,
    /// Decodes a frame to text.
    pub(crate) response_text: fn(i16, Bytes) -> Result<String, WireError>,
}

impl Api {
    pub(crate) fn of(key: ApiKey) -> Option<&'static Self> {
        APIS.iter().find(|api| api.key == key)
    }

    const fn schema<R: Request>() -> Self {
        Self {
            key: R::API,
            check_request: |header, body| {
                let version = header.api_version;
                checked(
                    body,
                    |body| message::decode_request::<R>(version, body),
                    |request| {
                        let frame = message::encode_request(header, request)?;
                        Ok(RequestHeader::decode(frame.slice(PREFIX..))?.1)
                    },
                )
            },
            request_text: |version, body| {
                message::decode_request::<R>(version, body).map(|request| format!("{request:?}"))
            },
            check_response: |version, frame| {
                checked(
                    frame,
                    |frame| message::decode_response::<R::Response>(version, frame),
                    |(id, response)| {
                        let frame = message::encode_response(*id, version, response)?;
                        Ok(frame.slice(PREFIX..))
                    },
                )
            },
            response_text: |version, frame| {
                message::decode_response::<R::Response>(version, frame)
                    .map(|response| format!("{response:?}"))
            },
        }
    }
}

const PRODUCE: Api = Api {
    key: ApiKey::PRODUCE,
    check_request: |header, body| {
        let version = header.api_version;
        checked(
            body,
            |body| ProduceRequest::decode(version, body),
            |request| {
                let frame = whole(&request.encode(header)?);
                Ok(RequestHeader::decode(frame)?.1)
            },
        )
    },
    request_text: |version, body| {
        ProduceRequest::decode(version, body).map(|request| format!("{request:?}"))
    },
    check_response: |version, frame| {
        checked(
            frame,
            |frame| ProduceResponse::decode(version, frame),
            |(id, response)| Ok(response.encode(*id, version)?.slice(PREFIX..)),
        )
    },
    response_text: |version, frame| {
        ProduceResponse::decode(version, frame).map(|response| format!("{response:?}"))
    },
};

const FETCH: Api = Api {
    key: ApiKey::FETCH,
    check_request: |header, body| {
        let version = header.api_version;
        checked(
            body,
            |body| FetchRequest::decode(version, body),
            |request| Ok(RequestHeader::decode(request.encode(header)?.slice(PREFIX..))?.1),
        )
    },
    request_text: |version, body| {
        FetchRequest::decode(version, body).map(|request| format!("{request:?}"))
    },
    check_response: |version, frame| {
        checked(
            frame,
            |frame| FetchResponse::decode(version, frame),
            |(id, response)| Ok(whole(&response.encode(*id, version)?)),
        )
    },
    response_text: |version, frame| {
        FetchResponse::decode(version, frame).map(|response| format!("{response:?}"))
    },
};

/// Decodes; what is accepted means the same after it was encoded and decoded again.
fn checked<T: PartialEq + std::fmt::Debug>(
    bytes: Bytes,
    decode: impl Fn(Bytes) -> Result<T, WireError>,
    encode: impl Fn(&T) -> Result<Bytes, WireError>,
) -> Result<(), WireError> {
    let decoded = bounded(COST + max_reserved(bytes.len()), || decode(bytes))?;
    let encoded = match encode(&decoded) {
        Ok(encoded) => encoded,
        Err(error) => panic!("accepted, but cannot be encoded: {error}\n{decoded:?}"),
    };
    match decode(encoded) {
        Ok(again) => assert_eq!(again, decoded, "another meaning after encoding"),
        Err(error) => panic!("accepted, but refused after encoding: {error}\n{decoded:?}"),
    }
    Ok(())
}

/// The segments of a frame in one piece, without the length prefix.
fn whole(segments: &[Bytes]) -> Bytes {
    let mut frame = BytesMut::new();
    segments.iter().for_each(|segment| frame.extend_from_slice(segment));
    frame.freeze().slice(PREFIX..)
}

macro_rules! apis {
    ($($module:ident)*) => {
        /// All there are.
        pub(crate) const APIS: &[Api] =
            &[PRODUCE, FETCH, $(Api::schema::<message::$module::Request>()),*];
    };
}

apis! {
    api_versions metadata create_topics delete_topics find_coordinator init_producer_id
    list_offsets offset_commit offset_fetch offset_delete offset_for_leader_epoch
    consumer_group_heartbeat consumer_group_describe join_group sync_group heartbeat leave_group
    list_groups describe_groups delete_groups describe_configs incremental_alter_configs
    alter_configs create_partitions delete_records describe_cluster describe_log_dirs
    describe_topic_partitions add_partitions_to_txn add_offsets_to_txn end_txn txn_offset_commit
    sasl_handshake sasl_authenticate list_config_resources
}
