//! The codec's messages through this crate's functions: whole frames, exact ends, no trust in foreign bytes.

use bytes::Bytes;
use onrush_wire::frame::PREFIX;
use onrush_wire::limits::{MAX_NAMES_MESSAGE, MAX_REQUEST_MESSAGE, MAX_RESPONSE_MESSAGE};
use onrush_wire::message::{self, Message, Request};
use onrush_wire::{ApiKey, ErrorCode, KafkaString, RequestHeader, VersionRange, WireError, uuid};
use proptest::prelude::*;

fn versions<M: Message>() -> VersionRange {
    M::API.versions().expect("a known API")
}

fn header<R: Request>(version: i16) -> RequestHeader {
    RequestHeader::new(R::API, version, 77).with_client_id(KafkaString::from_static("onrush"))
}

/// What was decoded encodes to the same bytes, in every version, and neither a byte less nor one more is accepted.
/// (Values may differ: a field that a version lacks comes back as its default, or null as empty.)
fn check_round_trip<R: Request>() {
    for version in versions::<R>().min..=versions::<R>().max {
        let expected = header::<R>(version);
        let frame = message::encode_request(&expected, &R::default()).expect("encodes");
        let (header, body) = RequestHeader::decode(frame.slice(PREFIX..)).expect("header");
        assert_eq!(header, expected);
        let request = message::decode_request::<R>(version, body.clone()).expect("decodes");
        assert_eq!(message::encode_request(&header, &request), Ok(frame), "{} {version}", R::NAME);
        check_ends(&body, |body| message::decode_request::<R>(version, body).map(drop));

        let frame =
            message::encode_response(77, version, &R::Response::default()).expect("encodes");
        let unprefixed = frame.slice(PREFIX..);
        let (id, response) =
            message::decode_response::<R::Response>(version, unprefixed.clone()).expect("decodes");
        assert_eq!(
            message::encode_response(id, version, &response),
            Ok(frame),
            "{} {version}",
            R::NAME
        );
        check_ends(&unprefixed, |frame| {
            message::decode_response::<R::Response>(version, frame).map(drop)
        });
    }
}

fn check_ends(bytes: &Bytes, decode: impl Fn(Bytes) -> Result<(), WireError>) {
    for end in 0..bytes.len() {
        assert!(decode(bytes.slice(..end)).is_err(), "cut at {end} of {}", bytes.len());
    }
    let longer = decode([&bytes[..], &[0]].concat().into());
    assert!(matches!(longer, Err(WireError::Trailing { left: 1, .. })), "{longer:?}");
}

/// Foreign bytes give a value or an error in every version.
fn check_noise<R: Request>(noise: &Bytes) {
    for version in versions::<R>().min..=versions::<R>().max {
        let _ = message::decode_request::<R>(version, noise.clone());
        let _ = message::decode_response::<R::Response>(version, noise.clone());
    }
}

fn check_unknown_versions<R: Request>() {
    for version in [-1, versions::<R>().max + 1, i16::MAX] {
        let refused = WireError::UnsupportedVersion { api: R::API, version };
        assert_eq!(
            message::encode_request(&header::<R>(version), &R::default()),
            Err(refused.clone())
        );
        assert_eq!(message::decode_request::<R>(version, Bytes::new()), Err(refused));
    }
}

/// Runs a check with the request type of every API.
macro_rules! of_every_api {
    ($check:ident $arguments:tt) => {
        of_every_api! { $check $arguments
            api_versions metadata create_topics delete_topics find_coordinator
            init_producer_id list_offsets offset_commit offset_fetch offset_delete
            offset_for_leader_epoch consumer_group_heartbeat consumer_group_describe
            join_group sync_group heartbeat leave_group list_groups describe_groups
            delete_groups describe_configs incremental_alter_configs alter_configs
            create_partitions delete_records describe_cluster describe_log_dirs
            describe_topic_partitions add_partitions_to_txn add_offsets_to_txn end_txn
            txn_offset_commit sasl_handshake sasl_authenticate
        }
    };
    ($check:ident $arguments:tt $($module:ident)*) => {
        $($check::<message::$module::Request> $arguments;)*
    };
}

#[test]
fn messages_round_trip_and_end_exactly() {
    of_every_api!(check_round_trip());
}

#[test]
fn versions_outside_the_range_are_refused() {
    of_every_api!(check_unknown_versions());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(prop_oneof![any::<u8>(), 0..4u8, Just(0xff)], 0..300)) {
        of_every_api!(check_noise(&Bytes::from(noise.clone())));
        let _ = RequestHeader::decode(Bytes::from(noise));
    }
}

#[test]
fn fields_survive() {
    use message::metadata::{Response, response::*};
    let response = Response {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: KafkaString::from_static("localhost"),
            port: 9092,
            ..Default::default()
        }],
        topics: vec![MetadataResponseTopic {
            name: Some(KafkaString::from_static("orders")),
            topic_id: uuid::from_random([5; 16]),
            partitions: vec![MetadataResponsePartition {
                error_code: ErrorCode::LEADER_NOT_AVAILABLE.0,
                replica_nodes: vec![1, 2],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = message::encode_response(5, 12, &response).expect("encodes");
    assert_eq!(message::decode_response(12, frame.slice(PREFIX..)), Ok((5, response)));
}

#[test]
fn a_header_of_another_api_is_refused() {
    let header = RequestHeader::new(ApiKey::HEARTBEAT, 4, 1);
    let request = message::metadata::Request::default();
    let wrong = WireError::WrongApi { header: ApiKey::HEARTBEAT, message: ApiKey::METADATA };
    assert_eq!(message::encode_request(&header, &request), Err(wrong));
}

#[test]
fn the_header_of_a_newer_api_versions_request_is_read() {
    // Version 5: fixed-width client id, then the tagged fields of header 2.
    let frame = Bytes::from_static(b"\0\x12\0\x05\0\0\0\x09\0\x02go\0\x04kgo\x061.0\0\0");
    let (header, body) = RequestHeader::decode(frame).expect("header");
    assert_eq!(
        (header.api_key, header.api_version, header.correlation_id),
        (ApiKey::API_VERSIONS, 5, 9)
    );
    assert_eq!(header.client_id.expect("client id").as_str(), "go");
    assert_eq!(body[0], 4);
}

#[test]
fn bodies_above_the_limit_are_refused_unread() {
    let body = Bytes::from(vec![0; MAX_REQUEST_MESSAGE + 1]);
    assert!(matches!(
        message::decode_request::<message::offset_commit::Request>(9, body.clone()),
        Err(WireError::TooLarge { limit: MAX_REQUEST_MESSAGE, .. })
    ));
    assert!(matches!(
        message::decode_request::<message::offset_fetch::Request>(9, body),
        Err(WireError::TooLarge { limit: MAX_NAMES_MESSAGE, .. })
    ));
    let frame = Bytes::from(vec![0; MAX_RESPONSE_MESSAGE + 6]);
    assert!(matches!(
        message::decode_response::<message::heartbeat::Response>(4, frame),
        Err(WireError::TooLarge { limit: MAX_RESPONSE_MESSAGE, .. })
    ));
}

#[test]
fn a_schema_error_tells_where_and_why() {
    let body = Bytes::from_static(&[0, 3, b'a', b'b']);
    let error =
        message::decode_request::<message::heartbeat::Request>(3, body).expect_err("cut short");
    assert_eq!(
        error.to_string(),
        "heartbeat request version 3 at byte 2: kafka string codec failed: primitive decode failed: insufficient data: needed 3 bytes, only 2 available"
    );
}
