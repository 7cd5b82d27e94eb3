//! Produce and Fetch are written in this crate; the schema codec is the judge of every byte, in every version.

mod schema;

use bytes::{Bytes, BytesMut};
use kacrab_protocol::generated::{fetch_request, fetch_response};
use onrush_wire::frame::PREFIX;
use onrush_wire::header::correlation_id;
use onrush_wire::produce::{ProduceRequest, ProduceResponse};
use onrush_wire::{ApiKey, KafkaString, RequestHeader, Uuid, WireError, fetch, produce, uuid};
use proptest::prelude::*;
use schema::{fetch as fetches, produce as produces};

const CORRELATION_ID: i32 = 0x0102_0304;

fn header(api: ApiKey, version: i16) -> RequestHeader {
    RequestHeader::new(api, version, CORRELATION_ID)
        .with_client_id(KafkaString::from_static("onrush"))
}

/// The body of a request frame, after its header was checked.
fn request_body(expected: &RequestHeader, frame: &Bytes) -> Bytes {
    let (header, body) = RequestHeader::decode(without_prefix(frame)).expect("header");
    assert_eq!(header, *expected);
    body
}

fn without_prefix(frame: &Bytes) -> Bytes {
    let announced = u32::from_be_bytes(frame[..PREFIX].try_into().expect("prefix"));
    assert_eq!(announced as usize, frame.len() - PREFIX);
    frame.slice(PREFIX..)
}

/// The body of a response frame, after its header was checked.
fn response_body(api: ApiKey, version: i16, frame: &Bytes) -> Bytes {
    let frame = without_prefix(frame);
    assert_eq!(correlation_id(&frame), Ok(CORRELATION_ID));
    frame.slice(4 + usize::try_from(api.response_header_version(version)).expect("0 or 1")..)
}

fn response_frame(api: ApiKey, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&CORRELATION_ID.to_be_bytes()[..]);
    frame.extend(std::iter::repeat_n(0, usize::from(api.response_header_version(version) == 1)));
    frame.extend_from_slice(body);
    frame.freeze()
}

fn whole(segments: Vec<Bytes>) -> Bytes {
    segments.concat().into()
}

/// Every strict prefix ends inside a field, and one byte more is left over.
fn check_ends<T: std::fmt::Debug>(bytes: &Bytes, decode: impl Fn(Bytes) -> Result<T, WireError>) {
    for end in 0..bytes.len() {
        let cut = decode(bytes.slice(..end));
        assert!(matches!(cut, Err(WireError::Truncated { .. })), "cut at {end}: {cut:?}");
    }
    let longer = decode([&bytes[..], &[0]].concat().into());
    assert!(matches!(longer, Err(WireError::Trailing { left: 1, .. })), "{longer:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn produce_requests_are_those_of_the_codec(request in produces::request()) {
        for version in produce::VERSIONS.min..=produce::VERSIONS.max {
            let mut expected = BytesMut::new();
            produces::codec_request(&request).write(&mut expected, version).expect("codec");
            let header = header(ApiKey::PRODUCE, version);
            let body = request_body(&header, &whole(request.encode(&header).expect("encodes")));
            prop_assert_eq!(&body[..], &expected[..], "version {}", version);
            let decoded = ProduceRequest::decode(version, expected.freeze());
            prop_assert_eq!(decoded, Ok(produces::request_of(version, request.clone())));
            check_ends(&body, |body| ProduceRequest::decode(version, body));
        }
    }

    #[test]
    fn produce_responses_are_those_of_the_codec(response in produces::response()) {
        for version in produce::VERSIONS.min..=produce::VERSIONS.max {
            let mut expected = BytesMut::new();
            produces::codec_response(&response).write(&mut expected, version).expect("codec");
            let frame = response.encode(CORRELATION_ID, version).expect("encodes");
            let body = response_body(ApiKey::PRODUCE, version, &frame);
            prop_assert_eq!(&body[..], &expected[..], "version {}", version);
            let decoded = ProduceResponse::decode(version, without_prefix(&frame));
            prop_assert_eq!(decoded, Ok((CORRELATION_ID, produces::response_of(version, response.clone()))));
            check_ends(&without_prefix(&frame), |frame| ProduceResponse::decode(version, frame));
        }
    }

    #[test]
    fn fetch_requests_are_those_of_the_codec(request in fetches::request()) {
        for version in fetch::VERSIONS.min..=fetch::VERSIONS.max {
            let request = fetches::request_of(version, request.clone());
            let mut expected = BytesMut::new();
            fetches::codec_request(version, &request).write(&mut expected, version).expect("codec");
            let header = header(ApiKey::FETCH, version);
            let body = request_body(&header, &request.encode(&header).expect("encodes"));
            prop_assert_eq!(&body[..], &expected[..], "version {}", version);
            prop_assert_eq!(fetch::FetchRequest::decode(version, expected.freeze()), Ok(request));
            check_ends(&body, |body| fetch::FetchRequest::decode(version, body));
        }
    }

    #[test]
    fn fetch_responses_are_those_of_the_codec(response in fetches::response()) {
        for version in fetch::VERSIONS.min..=fetch::VERSIONS.max {
            let response = fetches::response_of(version, response.clone());
            let mut expected = BytesMut::new();
            fetches::codec_response(&response).write(&mut expected, version).expect("codec");
            let frame = whole(response.encode(CORRELATION_ID, version).expect("encodes"));
            let body = response_body(ApiKey::FETCH, version, &frame);
            prop_assert_eq!(&body[..], &expected[..], "version {}", version);
            let decoded = fetch::FetchResponse::decode(version, without_prefix(&frame));
            prop_assert_eq!(decoded, Ok((CORRELATION_ID, response)));
            check_ends(&without_prefix(&frame), |frame| fetch::FetchResponse::decode(version, frame));
        }
    }

    /// Whatever the bytes are, a decode ends in a value that encodes again, or in an error.
    #[test]
    fn corrupt_frames_give_errors_or_values(
        produce in produces::request(),
        produced in produces::response(),
        fetch in fetches::request(),
        fetched in fetches::response(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let corrupt = |frame: Bytes| {
            let mut frame = frame.to_vec();
            for (index, byte) in &noise {
                let at = index.index(frame.len());
                frame[at] = *byte;
            }
            Bytes::from(frame)
        };
        for version in 3..=18 {
            let header = header(ApiKey::PRODUCE, version);
            if let Ok(segments) = produce.encode(&header) {
                let body = corrupt(request_body(&header, &whole(segments)));
                if let Ok(request) = ProduceRequest::decode(version, body) {
                    prop_assert!(request.encode(&header).is_ok());
                }
            }
            if let Ok(frame) = produced.encode(CORRELATION_ID, version)
                && let Ok((id, response)) = ProduceResponse::decode(version, corrupt(without_prefix(&frame)))
            {
                prop_assert!(response.encode(id, version).is_ok());
            }
            let header = RequestHeader { api_key: ApiKey::FETCH, ..header };
            if let Ok(frame) = fetch.encode(&header) {
                let body = corrupt(request_body(&header, &frame));
                if let Ok(request) = fetch::FetchRequest::decode(version, body) {
                    prop_assert!(request.encode(&header).is_ok());
                }
            }
            if let Ok(segments) = fetched.encode(CORRELATION_ID, version)
                && let Ok((id, response)) = fetch::FetchResponse::decode(version, corrupt(without_prefix(&whole(segments))))
            {
                prop_assert!(response.encode(id, version).is_ok());
            }
        }
    }
}

#[test]
fn records_are_spliced_and_sliced_not_copied() {
    let records = Bytes::from(vec![7; 1000]);
    let partition = fetch::FetchedPartition {
        records: records.clone(),
        ..fetch::FetchedPartition::failed(0, onrush_wire::ErrorCode::NONE)
    };
    let topic = fetch::FetchedTopic {
        name: KafkaString::default(),
        topic_id: uuid::from_bytes([1; 16]),
        partitions: vec![partition],
    };
    let response = fetch::FetchResponse { topics: vec![topic], ..Default::default() };
    let segments = response.encode(1, 18).expect("encodes");
    assert_eq!(
        segments.iter().map(|segment| segment.as_ptr() == records.as_ptr()).collect::<Vec<_>>(),
        [false, true, false]
    );

    let frame = whole(segments).slice(PREFIX..);
    let (_, decoded) = fetch::FetchResponse::decode(18, frame.clone()).expect("decodes");
    let slice = &decoded.topics[0].partitions[0].records;
    assert_eq!(*slice, records);
    assert!(frame.as_ptr_range().contains(&slice.as_ptr()), "a slice of the frame");

    let partition = produce::PartitionProduce { index: 0, records: Some(records.clone()) };
    let topic = produce::TopicProduce {
        name: KafkaString::from_static("t"),
        topic_id: Uuid::ZERO,
        partitions: vec![partition],
    };
    let request =
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1000, topics: vec![topic] };
    let header = header(ApiKey::PRODUCE, 9);
    let segments = request.encode(&header).expect("encodes");
    assert_eq!(segments[1].as_ptr(), records.as_ptr());
    let body = request_body(&header, &whole(segments));
    let decoded = ProduceRequest::decode(9, body.clone()).expect("decodes");
    let slice = decoded.topics[0].partitions[0].records.as_ref().expect("records");
    assert!(body.as_ptr_range().contains(&slice.as_ptr()), "a slice of the frame");
}

#[test]
fn tagged_fields_that_are_not_ours_are_skipped() {
    let mut request = fetch_request::FetchRequestData {
        cluster_id: Some(KafkaString::from_static("cluster")),
        ..Default::default()
    };
    let partition = fetch_request::FetchPartition {
        partition: 3,
        replica_directory_id: uuid::from_bytes([9; 16]),
        high_watermark: 5,
        ..Default::default()
    };
    request.topics =
        vec![fetch_request::FetchTopic { partitions: vec![partition], ..Default::default() }];
    let mut body = BytesMut::new();
    request.write(&mut body, 18).expect("codec");
    let decoded = fetch::FetchRequest::decode(18, body.freeze()).expect("decodes");
    assert_eq!(decoded.topics[0].partitions, [fetch::FetchPartition::consumer(3, 0, 0)]);

    let partition = fetch_response::PartitionData {
        partition_index: 3,
        diverging_epoch: fetch_response::EpochEndOffset { epoch: 1, ..Default::default() },
        current_leader: fetch_response::LeaderIdAndEpoch {
            leader_id: 2,
            leader_epoch: 7,
            ..Default::default()
        },
        snapshot_id: fetch_response::SnapshotId { epoch: 1, ..Default::default() },
        records: None,
        ..Default::default()
    };
    let response = fetch_response::FetchResponseData {
        responses: vec![fetch_response::FetchableTopicResponse {
            partitions: vec![partition],
            ..Default::default()
        }],
        node_endpoints: vec![fetch_response::NodeEndpoint::default()],
        ..Default::default()
    };
    let mut body = BytesMut::new();
    response.write(&mut body, 16).expect("codec");
    let frame = response_frame(ApiKey::FETCH, 16, &body);
    let (_, decoded) = fetch::FetchResponse::decode(16, frame).expect("decodes");
    let partition = &decoded.topics[0].partitions[0];
    assert_eq!(partition.current_leader, Some(produce::CurrentLeader { id: 2, epoch: 7 }));
    assert!(partition.records.is_empty());
}

#[test]
fn versions_outside_the_range_are_refused() {
    let refused = |api, version| WireError::UnsupportedVersion { api, version };
    for version in [-1, 2, 14, i16::MAX] {
        assert_eq!(
            ProduceRequest::decode(version, Bytes::new()),
            Err(refused(ApiKey::PRODUCE, version))
        );
        assert_eq!(
            ProduceResponse::default().encode(1, version),
            Err(refused(ApiKey::PRODUCE, version))
        );
    }
    for version in [-1, 3, 19, i16::MAX] {
        assert_eq!(
            fetch::FetchResponse::decode(version, Bytes::new()),
            Err(refused(ApiKey::FETCH, version))
        );
        let header = header(ApiKey::FETCH, version);
        assert_eq!(
            fetch::FetchRequest::default().encode(&header),
            Err(refused(ApiKey::FETCH, version))
        );
    }
    assert_eq!(
        fetch::FetchRequest::default().encode(&header(ApiKey::METADATA, 12)),
        Err(WireError::WrongApi { header: ApiKey::METADATA, message: ApiKey::FETCH })
    );
}

#[test]
fn a_length_of_two_gigabytes_is_refused() {
    // A Produce 7 whose only batch claims i32::MAX bytes.
    let mut body =
        vec![0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];
    let position = body.len();
    body.extend(i32::MAX.to_be_bytes());
    let truncated = WireError::Truncated {
        field: "records",
        position: position + 4,
        needed: i32::MAX as usize,
        left: 0,
    };
    assert_eq!(ProduceRequest::decode(7, body.into()), Err(truncated));
}
