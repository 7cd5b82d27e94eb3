//! The broker without sockets: a request in, an answer out.
//!
//! [`Core::handle`] takes one frame of one connection and returns the segments of the answer, or
//! says that the request is parked; a driver waits for the wake-up or the deadline and then calls
//! [`Core::resume`]. Everything that the core touches outside itself is the disk and chance, and
//! time is an argument, so it runs the same in the simulation.

use std::collections::BTreeMap;
use std::time::Duration;

use onrush_runtime::{Clock, Instant, Random, Runtime};
use onrush_wire::message::{Request, decode_request, encode_response};
use onrush_wire::{ApiKey, KafkaString, RequestHeader, VersionRange, WireError};

use bytes::Bytes;

use crate::config::host_and_port;
use crate::groups::{Group, Groups};
use crate::members::{Members, Stored};
use crate::offsets::Offsets;
use crate::parked::{ConnectionId, Parked, Waiting};
use crate::requests::api_versions;
use crate::topics::Topics;
use crate::{BrokerConfig, BrokerError};

/// The state of a broker.
#[derive(Debug)]
pub(crate) struct Core {
    /// What the broker was started with.
    pub(crate) started: BrokerConfig,
    /// What is in force.
    pub(crate) config: BrokerConfig,
    /// What clients are told to connect to.
    pub(crate) endpoint: (String, i32),
    pub(crate) random: Random,
    /// For the time of day, which records carry; what waits gets its time as an argument.
    pub(crate) clock: Clock,
    pub(crate) topics: Topics,
    pub(crate) offsets: Offsets,
    pub(crate) members: Members,
    pub(crate) groups: Groups,
    /// What members may take in memory before it is summed up again.
    pub(crate) members_room: usize,
    pub(crate) parked: Parked,
    /// From which host each connection comes.
    pub(crate) hosts: BTreeMap<ConnectionId, String>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Send these bytes, in order.
    Reply(Vec<Bytes>),
    /// The client wants no answer.
    Silent,
    /// Call [`Core::resume`] when it is ready or at the deadline.
    Parked(Instant),
}

/// The envelope of a request whose body was split off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// Most bytes of records in the answer, besides a first batch.
    pub(crate) max_answer: usize,
}

/// Who sent a request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    /// What it calls itself; empty unless the API keeps it.
    pub(crate) client_id: String,
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Malformed(#[from] WireError),
    #[error("{api} version {version} is not served{}", range_text(.served))]
    NotServed { api: ApiKey, version: i16, served: Option<VersionRange> },
}

fn range_text(served: &Option<VersionRange>) -> String {
    served.map_or(String::new(), |range| format!(" (versions {} to {} are)", range.min, range.max))
}

impl Core {
    /// Recovers everything from the disk.
    pub(crate) fn open(config: BrokerConfig, runtime: &Runtime) -> Result<Self, BrokerError> {
        let topics = Topics::open(&runtime.disk, &runtime.random, &config)?;
        let started = config;
        let config = topics.effective(&started);
        let offsets = Offsets::open(&runtime.disk, config.fsync, |place| {
            topics.log(&place.topic, place.partition).ok().map(crate::log::Log::end)
        })?;
        let members = Members::open(&runtime.disk, config.fsync)?;
        let groups =
            restored_groups(runtime.clock.now(), config.session_timeout, &offsets, &members)?;
        Ok(Self {
            started,
            config,
            endpoint: (String::new(), 0),
            random: runtime.random.clone(),
            clock: runtime.clock,
            topics,
            offsets,
            members,
            groups,
            members_room: 0,
            parked: Parked::default(),
            hosts: BTreeMap::new(),
        })
    }

    /// Sets what clients are told: what was configured, or where the broker listens.
    pub(crate) fn advertise(&mut self, listening: &str) {
        let address = self.config.advertised.as_deref().unwrap_or(listening);
        self.endpoint = host_and_port(address).unwrap_or_else(|| (address.to_owned(), 0));
    }

    /// Answers one request.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        max_answer: usize,
        frame: Bytes,
    ) -> Result<Outcome, Refused> {
        let (header, body) = RequestHeader::decode(frame)?;
        let client_id = names_its_client(header.api_key).then(|| owned(header.client_id.as_ref()));
        // The client id is a slice of the frame; dropped here, the frame belongs to the body alone.
        let envelope = Envelope {
            api: header.api_key,
            version: header.api_version,
            correlation_id: header.correlation_id,
            max_answer,
        };
        drop(header);
        let served = api_versions::served(envelope.api);
        if served.is_none_or(|range| !range.contains(envelope.version)) {
            if let (ApiKey::API_VERSIONS, Some(range)) = (envelope.api, served) {
                let frame =
                    onrush_wire::api_versions::encode_unsupported(envelope.correlation_id, range)?;
                return Ok(Outcome::Reply(vec![frame]));
            }
            let Envelope { api, version, .. } = envelope;
            return Err(Refused::NotServed { api, version, served });
        }
        let caller = Caller { connection, client_id: client_id.unwrap_or_default() };
        Ok(self.dispatch(now, caller, envelope, body)?)
    }

    fn dispatch(
        &mut self,
        now: Instant,
        caller: Caller,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Outcome, WireError> {
        let connection = caller.connection;
        let version = envelope.version;
        match envelope.api {
            ApiKey::PRODUCE => self.produce(now, connection, envelope, body),
            ApiKey::FETCH => self.fetch(now, connection, envelope, body),
            ApiKey::LIST_OFFSETS => {
                answer(envelope, body, |request| self.list_offsets(version, request))
            }
            ApiKey::METADATA => answer(envelope, body, |request| self.metadata(version, request)),
            ApiKey::CREATE_TOPICS => answer(envelope, body, |request| self.create_topics(request)),
            ApiKey::DELETE_RECORDS => {
                answer(envelope, body, |request| self.delete_records(request))
            }
            ApiKey::OFFSET_FOR_LEADER_EPOCH => {
                answer(envelope, body, |request| self.offset_for_leader_epoch(request))
            }
            ApiKey::DESCRIBE_TOPIC_PARTITIONS => {
                answer(envelope, body, |request| self.describe_topic_partitions(request))
            }
            ApiKey::DESCRIBE_LOG_DIRS => {
                answer(envelope, body, |request| self.describe_log_dirs(request))
            }
            ApiKey::CREATE_PARTITIONS => {
                answer(envelope, body, |request| self.create_partitions(request))
            }
            ApiKey::DESCRIBE_CONFIGS => {
                answer(envelope, body, |request| self.describe_configs(version, request))
            }
            ApiKey::ALTER_CONFIGS => answer(envelope, body, |request| self.alter_configs(request)),
            ApiKey::INCREMENTAL_ALTER_CONFIGS => {
                answer(envelope, body, |request| self.incremental_alter_configs(request))
            }
            ApiKey::LIST_CONFIG_RESOURCES => {
                answer(envelope, body, |request| self.list_config_resources(version, request))
            }
            ApiKey::DELETE_TOPICS => {
                answer(envelope, body, |request| self.delete_topics(version, request))
            }
            ApiKey::INIT_PRODUCER_ID => {
                answer(envelope, body, |request| self.init_producer_id(request))
            }
            ApiKey::FIND_COORDINATOR => {
                answer(envelope, body, |request| self.find_coordinator(version, request))
            }
            ApiKey::OFFSET_COMMIT => {
                answer(envelope, body, |request| self.offset_commit(now, version, request))
            }
            ApiKey::OFFSET_FETCH => {
                answer(envelope, body, |request| self.offset_fetch(now, version, request))
            }
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                let client = self.client(caller);
                answer(envelope, body, |request| {
                    self.consumer_group_heartbeat(now, client, request)
                })
            }
            ApiKey::JOIN_GROUP => self.join_group(now, caller, envelope, body),
            ApiKey::SYNC_GROUP => self.sync_group(now, connection, envelope, body),
            ApiKey::HEARTBEAT => answer(envelope, body, |request| self.heartbeat(now, request)),
            ApiKey::DESCRIBE_GROUPS => {
                answer(envelope, body, |request| self.describe_groups(now, version, request))
            }
            ApiKey::LIST_GROUPS => answer(envelope, body, |request| self.list_groups(now, request)),
            ApiKey::DELETE_GROUPS => {
                answer(envelope, body, |request| self.delete_groups(now, request))
            }
            ApiKey::OFFSET_DELETE => {
                answer(envelope, body, |request| self.offset_delete(now, request))
            }
            ApiKey::CONSUMER_GROUP_DESCRIBE => {
                answer(envelope, body, |request| self.consumer_group_describe(now, request))
            }
            ApiKey::LEAVE_GROUP => {
                answer(envelope, body, |request| self.leave_group(now, version, request))
            }
            ApiKey::DESCRIBE_CLUSTER => {
                answer(envelope, body, |request| self.describe_cluster(request))
            }
            _ => answer(envelope, body, api_versions::api_versions),
        }
    }

    /// Goes on with the parked request of a connection, which is ready or whose time is over. `None`
    /// if there is none.
    pub(crate) fn resume(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        max_answer: usize,
    ) -> Option<Result<Outcome, WireError>> {
        Some(match self.parked.take(connection)? {
            Waiting::Produce(parked) => parked.answer(),
            Waiting::Fetch(parked) => {
                let found = self.read_all(&parked.request, parked.version, max_answer);
                found.response.encode(parked.correlation_id, parked.version).map(Outcome::Reply)
            }
            Waiting::Group(parked) => self.resume_member(now, connection, parked),
        })
    }

    /// The connections whose parked request has become ready.
    pub(crate) fn take_woken(&mut self) -> Vec<ConnectionId> {
        self.parked.take_woken()
    }

    /// Takes note of a connection from `peer`, `host:port`.
    pub(crate) fn connected(&mut self, connection: ConnectionId, peer: &str) {
        let host = host_and_port(peer).map_or_else(|| peer.to_owned(), |(host, _)| host);
        self.hosts.insert(connection, host);
    }

    /// Forgets a connection.
    pub(crate) fn disconnected(&mut self, now: Instant, connection: ConnectionId) {
        self.hosts.remove(&connection);
        if let Some(Waiting::Group(parked)) = self.parked.take(connection) {
            self.abandon_member(now, connection, &parked.group);
        }
    }

    /// Forces everything to the disk and notes that nothing is missing.
    pub(crate) fn close(&mut self) -> std::io::Result<()> {
        self.topics.sync()?;
        self.offsets.sync()?;
        self.members.end()
    }
}

fn restored_groups(
    now: Instant,
    session_timeout: Duration,
    offsets: &Offsets,
    members: &Members,
) -> Result<Groups, BrokerError> {
    let none = Stored::new();
    let restored = offsets.groups().map(|(id, reached)| {
        let members = members.groups().get(id).unwrap_or(&none);
        let group = Group::restored(now, session_timeout, reached, members);
        group.map(|group| (id.clone(), group)).map_err(|reason| BrokerError::Format {
            path: crate::members::FILE.to_owned(),
            position: 0,
            reason: format!("group {id}: {reason}"),
        })
    });
    restored.collect()
}

/// Whether the client id is kept by what handles this API.
fn names_its_client(api: ApiKey) -> bool {
    matches!(api, ApiKey::JOIN_GROUP | ApiKey::CONSUMER_GROUP_HEARTBEAT)
}

fn owned(text: Option<&KafkaString>) -> String {
    text.map_or_else(String::new, KafkaString::to_string)
}

/// Decodes, handles and encodes.
pub(crate) fn answer<R: Request>(
    envelope: Envelope,
    body: Bytes,
    handle: impl FnOnce(R) -> R::Response,
) -> Result<Outcome, WireError> {
    let request = tolerant(body, |body| decode_request(envelope.version, body))?;
    let response = handle(request);
    let frame = encode_response(envelope.correlation_id, envelope.version, &response)?;
    Ok(Outcome::Reply(vec![frame]))
}

/// Decodes a request without minding bytes behind its last field: brokers never did, and librdkafka
/// sends some.
pub(crate) fn tolerant<R>(
    body: Bytes,
    decode: impl Fn(Bytes) -> Result<R, WireError>,
) -> Result<R, WireError> {
    match decode(body.clone()) {
        Err(WireError::Trailing { left, .. }) => {
            decode(body.slice(..body.len().saturating_sub(left)))
        }
        decoded => decoded,
    }
}

/// A protocol string of its own.
pub(crate) fn string(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}
