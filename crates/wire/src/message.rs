//! Requests and responses without record batches: one module per API, with `Request` and `Response`, and in its modules
//! `request` and `response` the structs that these are made of (they can have the same names in both).
//! Strings and bytes in them are slices of the frame: who keeps one keeps the frame in memory, so what outlives the
//! request is copied out.
//!
//! [`Message`] ties them to the functions here, which read and write whole frames. Produce and Fetch have modules of their
//! own, [`produce`](crate::produce) and [`fetch`](crate::fetch).

use std::error::Error;

use bytes::{Bytes, BytesMut};
use kacrab_protocol::ProtocolError;

use crate::header::{self, RequestHeader};
use crate::limits::{MAX_RESPONSE_MESSAGE, max_request_message};
use crate::{ApiKey, WireError};

/// A top-level struct of a request or response. Implemented here for the codec's structs and nowhere else.
pub trait Message: sealed::Schema + std::fmt::Debug + Clone + Default + PartialEq {
    /// The API that it belongs to.
    const API: ApiKey;
    /// Its name in Kafka's schemas.
    const NAME: &'static str;
}

/// A request: what a client sends.
pub trait Request: Message {
    /// What the server answers.
    type Response: Response;
}

/// A response: what a server answers.
pub trait Response: Message {}

/// The frame of a request, length prefix included.
///
/// # Errors
/// The version is not known, a field is set that it does not have, or a length does not fit.
pub fn encode_request<R: Request>(header: &RequestHeader, request: &R) -> Result<Bytes, WireError> {
    let mut writer = header.begin(R::API)?;
    write(request, writer.head(), header.api_version)?;
    writer.finish_whole()
}

/// The frame of a response, length prefix included.
///
/// # Errors
/// The version is not known, a field is set that it does not have, or a length does not fit.
pub fn encode_response<R: Response>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, WireError> {
    let mut writer = header::begin_response(correlation_id, R::API, version);
    write(response, writer.head(), version)?;
    writer.finish_whole()
}

/// A request from the body that [`RequestHeader::decode`] left.
///
/// # Errors
/// The body is malformed, longer than [`max_request_message`], or has bytes left after the last field.
pub fn decode_request<R: Request>(version: i16, body: Bytes) -> Result<R, WireError> {
    read(body, version, max_request_message(R::API))
}

/// A response from its frame (without the length prefix), and its correlation id.
///
/// # Errors
/// The frame is malformed, longer than [`MAX_RESPONSE_MESSAGE`], or has bytes left after the last field.
pub fn decode_response<R: Response>(version: i16, frame: Bytes) -> Result<(i32, R), WireError> {
    let (correlation_id, reader) = header::open_response(frame, R::API, version)?;
    Ok((correlation_id, read(reader.rest(), version, MAX_RESPONSE_MESSAGE)?))
}

fn write<M: Message>(message: &M, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
    let size = message.size(version).map_err(|error| schema_error::<M>(version, 0, error))?;
    buffer.reserve(size);
    message.write(buffer, version).map_err(|error| schema_error::<M>(version, 0, error))
}

fn read<M: Message>(mut body: Bytes, version: i16, limit: usize) -> Result<M, WireError> {
    let length = body.len();
    if length > limit {
        return Err(WireError::TooLarge { field: M::NAME, length, limit });
    }
    let message = M::read(&mut body, version)
        .map_err(|error| schema_error::<M>(version, length - body.len(), error))?;
    match body.len() {
        0 => Ok(message),
        left => Err(WireError::Trailing { field: M::NAME, position: length - left, left }),
    }
}

fn schema_error<M: Message>(version: i16, position: usize, error: ProtocolError) -> WireError {
    if let ProtocolError::Version(_) = error {
        return WireError::UnsupportedVersion { api: M::API, version };
    }
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        reason.push_str(": ");
        reason.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    WireError::Schema { message: M::NAME, version, position, reason }
}

mod sealed {
    use bytes::{Bytes, BytesMut};
    use kacrab_protocol::ProtocolError;

    /// The codec's inherent functions as a trait.
    pub trait Schema: Sized {
        fn read(body: &mut Bytes, version: i16) -> Result<Self, ProtocolError>;
        fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), ProtocolError>;
        fn size(&self, version: i16) -> Result<usize, ProtocolError>;
    }
}

macro_rules! message {
    ($message:ty, $key:ident, $name:expr) => {
        impl sealed::Schema for $message {
            fn read(body: &mut Bytes, version: i16) -> Result<Self, ProtocolError> {
                <$message>::read(body, version)
            }

            fn write(&self, buffer: &mut BytesMut, version: i16) -> Result<(), ProtocolError> {
                <$message>::write(self, buffer, version)
            }

            fn size(&self, version: i16) -> Result<usize, ProtocolError> {
                self.encoded_len(version)
            }
        }

        impl Message for $message {
            const API: ApiKey = ApiKey::$key;
            const NAME: &'static str = $name;
        }
    };
}

macro_rules! messages {
    ($($module:ident $key:ident: $request_module:ident $request:ident, $response_module:ident $response:ident;)*) => {$(
        #[doc = concat!("The structs of `", stringify!($module), "`.")]
        pub mod $module {
            pub use kacrab_protocol::generated::{$request_module as request, $response_module as response};
            pub use request::$request as Request;
            pub use response::$response as Response;
        }

        message!($module::Request, $key, concat!(stringify!($module), " request"));
        message!($module::Response, $key, concat!(stringify!($module), " response"));

        impl Request for $module::Request {
            type Response = $module::Response;
        }

        impl Response for $module::Response {}
    )*};
}

messages! {
    api_versions API_VERSIONS: api_versions_request ApiVersionsRequestData, api_versions_response ApiVersionsResponseData;
    metadata METADATA: metadata_request MetadataRequestData, metadata_response MetadataResponseData;
    create_topics CREATE_TOPICS: create_topics_request CreateTopicsRequestData, create_topics_response CreateTopicsResponseData;
    delete_topics DELETE_TOPICS: delete_topics_request DeleteTopicsRequestData, delete_topics_response DeleteTopicsResponseData;
    find_coordinator FIND_COORDINATOR: find_coordinator_request FindCoordinatorRequestData, find_coordinator_response FindCoordinatorResponseData;
    init_producer_id INIT_PRODUCER_ID: init_producer_id_request InitProducerIdRequestData, init_producer_id_response InitProducerIdResponseData;
    list_offsets LIST_OFFSETS: list_offsets_request ListOffsetsRequestData, list_offsets_response ListOffsetsResponseData;
    offset_commit OFFSET_COMMIT: offset_commit_request OffsetCommitRequestData, offset_commit_response OffsetCommitResponseData;
    offset_fetch OFFSET_FETCH: offset_fetch_request OffsetFetchRequestData, offset_fetch_response OffsetFetchResponseData;
    offset_delete OFFSET_DELETE: offset_delete_request OffsetDeleteRequestData, offset_delete_response OffsetDeleteResponseData;
    offset_for_leader_epoch OFFSET_FOR_LEADER_EPOCH: offset_for_leader_epoch_request OffsetForLeaderEpochRequestData, offset_for_leader_epoch_response OffsetForLeaderEpochResponseData;
    consumer_group_heartbeat CONSUMER_GROUP_HEARTBEAT: consumer_group_heartbeat_request ConsumerGroupHeartbeatRequestData, consumer_group_heartbeat_response ConsumerGroupHeartbeatResponseData;
    consumer_group_describe CONSUMER_GROUP_DESCRIBE: consumer_group_describe_request ConsumerGroupDescribeRequestData, consumer_group_describe_response ConsumerGroupDescribeResponseData;
    join_group JOIN_GROUP: join_group_request JoinGroupRequestData, join_group_response JoinGroupResponseData;
    sync_group SYNC_GROUP: sync_group_request SyncGroupRequestData, sync_group_response SyncGroupResponseData;
    heartbeat HEARTBEAT: heartbeat_request HeartbeatRequestData, heartbeat_response HeartbeatResponseData;
    leave_group LEAVE_GROUP: leave_group_request LeaveGroupRequestData, leave_group_response LeaveGroupResponseData;
    list_groups LIST_GROUPS: list_groups_request ListGroupsRequestData, list_groups_response ListGroupsResponseData;
    describe_groups DESCRIBE_GROUPS: describe_groups_request DescribeGroupsRequestData, describe_groups_response DescribeGroupsResponseData;
    delete_groups DELETE_GROUPS: delete_groups_request DeleteGroupsRequestData, delete_groups_response DeleteGroupsResponseData;
    describe_configs DESCRIBE_CONFIGS: describe_configs_request DescribeConfigsRequestData, describe_configs_response DescribeConfigsResponseData;
    incremental_alter_configs INCREMENTAL_ALTER_CONFIGS: incremental_alter_configs_request IncrementalAlterConfigsRequestData, incremental_alter_configs_response IncrementalAlterConfigsResponseData;
    list_config_resources LIST_CONFIG_RESOURCES: list_config_resources_request ListConfigResourcesRequestData, list_config_resources_response ListConfigResourcesResponseData;
    alter_configs ALTER_CONFIGS: alter_configs_request AlterConfigsRequestData, alter_configs_response AlterConfigsResponseData;
    create_partitions CREATE_PARTITIONS: create_partitions_request CreatePartitionsRequestData, create_partitions_response CreatePartitionsResponseData;
    delete_records DELETE_RECORDS: delete_records_request DeleteRecordsRequestData, delete_records_response DeleteRecordsResponseData;
    describe_cluster DESCRIBE_CLUSTER: describe_cluster_request DescribeClusterRequestData, describe_cluster_response DescribeClusterResponseData;
    describe_log_dirs DESCRIBE_LOG_DIRS: describe_log_dirs_request DescribeLogDirsRequestData, describe_log_dirs_response DescribeLogDirsResponseData;
    describe_topic_partitions DESCRIBE_TOPIC_PARTITIONS: describe_topic_partitions_request DescribeTopicPartitionsRequestData, describe_topic_partitions_response DescribeTopicPartitionsResponseData;
    add_partitions_to_txn ADD_PARTITIONS_TO_TXN: add_partitions_to_txn_request AddPartitionsToTxnRequestData, add_partitions_to_txn_response AddPartitionsToTxnResponseData;
    add_offsets_to_txn ADD_OFFSETS_TO_TXN: add_offsets_to_txn_request AddOffsetsToTxnRequestData, add_offsets_to_txn_response AddOffsetsToTxnResponseData;
    end_txn END_TXN: end_txn_request EndTxnRequestData, end_txn_response EndTxnResponseData;
    txn_offset_commit TXN_OFFSET_COMMIT: txn_offset_commit_request TxnOffsetCommitRequestData, txn_offset_commit_response TxnOffsetCommitResponseData;
    sasl_handshake SASL_HANDSHAKE: sasl_handshake_request SaslHandshakeRequestData, sasl_handshake_response SaslHandshakeResponseData;
    sasl_authenticate SASL_AUTHENTICATE: sasl_authenticate_request SaslAuthenticateRequestData, sasl_authenticate_response SaslAuthenticateResponseData;
}
