//! One TCP connection to one broker, over which requests are pipelined.
//!
//! States: *open*, then for ever *poisoned*. A request is encoded and queued under the connection's
//! lock, so that the order of correlation ids is the order on the wire. Kafka answers a connection
//! in order: the next response belongs to the oldest request that waits, and one that took too long
//! means that everything behind it is lost too. So a time-out, a wrong correlation id, a malformed
//! frame, the peer's hang-up, or the drop of the last handle poison the connection: every request
//! that waits gets the reason, later ones get it at once, and the owner (a [`Link`](crate::link))
//! makes a new connection.
//!
//! One task drives it: reading, writing and time-outs are three loops of it, and the first one to
//! end names the reason. A response is read into one buffer of exactly its length, which is then
//! sliced, never copied.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onrush_runtime::{Executor, Instant, Net};
use onrush_wire::frame::{self, frame_len};
use onrush_wire::message::{Request, decode_response, encode_request};
use onrush_wire::{
    ApiKey, ErrorCode, KafkaString, RequestHeader, VersionRange, WireError, api_versions, message,
    negotiate,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep_until, timeout_at};

use crate::error::ClientError;
use crate::lock::lock;
use crate::string::kafka_string;

/// Most requests that may wait for answers on one connection.
pub(crate) const MAX_WAITING: usize = 256;
/// First version of ApiVersions in which the client names itself.
const SOFTWARE_NAME: i16 = 3;
/// Segments given to one vectored write.
const MAX_SLICES: usize = 64;

/// A request frame in pieces, its length prefix first.
pub(crate) type Frame = Vec<Bytes>;

/// The answer to a request: a whole response frame without its length prefix.
pub(crate) type Answer = oneshot::Receiver<Result<Bytes, ClientError>>;

/// A handle; the connection ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    versions: Versions,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.poison(&ClientError::Closed);
    }
}

/// What a broker announced.
#[derive(Debug, Default)]
struct Versions(Vec<(ApiKey, VersionRange)>);

#[derive(Debug)]
struct Shared {
    broker: String,
    client_id: KafkaString,
    max_response: usize,
    state: Mutex<State>,
    /// Something to write, or poisoned.
    queued: Notify,
    /// The oldest deadline may have changed, or poisoned.
    deadlines: Notify,
}

#[derive(Debug)]
enum State {
    Open(Pipeline),
    Poisoned(ClientError),
}

#[derive(Debug, Default)]
struct Pipeline {
    next_correlation: i32,
    unwritten: VecDeque<Bytes>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    correlation: i32,
    api: ApiKey,
    deadline: Instant,
    after: Duration,
    reply: oneshot::Sender<Result<Bytes, ClientError>>,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) broker: String,
    pub(crate) client_id: String,
    pub(crate) max_response: usize,
    pub(crate) connect_timeout: Duration,
}

impl Connection {
    /// Connects, starts the driver on `io` and negotiates versions.
    pub(crate) async fn connect(
        net: &Net,
        io: &Executor,
        endpoint: &Endpoint,
    ) -> Result<Self, ClientError> {
        let deadline = Instant::now() + endpoint.connect_timeout;
        let broker = endpoint.broker.as_str();
        let stream = timeout_at(deadline, net.connect(broker))
            .await
            .map_err(|_| ClientError::Connect {
                broker: broker.to_owned(),
                reason: format!("no answer within {:?}", endpoint.connect_timeout),
            })?
            .map_err(|error| ClientError::connect(broker, &error))?;
        let shared = Arc::new(Shared {
            broker: broker.to_owned(),
            client_id: kafka_string(endpoint.client_id.as_str()),
            max_response: endpoint.max_response,
            state: Mutex::new(State::Open(Pipeline::default())),
            queued: Notify::new(),
            deadlines: Notify::new(),
        });
        let (reader, writer) = stream.into_split();
        drop(io.spawn(drive(Arc::clone(&shared), reader, writer)));
        let mut handle = Handle { shared, versions: Versions::default() };
        handle.versions =
            handle.negotiate(deadline.saturating_duration_since(Instant::now())).await?;
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Host and port.
    pub(crate) fn broker(&self) -> &str {
        &self.handle.shared.broker
    }

    /// Whether requests still have a chance.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*lock(&self.handle.shared.state), State::Open(_))
    }

    /// The highest version of `api` that both sides speak.
    pub(crate) fn version(&self, api: ApiKey) -> Result<i16, ClientError> {
        let theirs =
            self.handle.versions.0.iter().find(|(key, _)| *key == api).map(|(_, range)| *range);
        api.versions()
            .zip(theirs)
            .and_then(|(ours, theirs)| negotiate(ours, theirs))
            .ok_or_else(|| ClientError::Unsupported { broker: self.broker().to_owned(), api })
    }

    /// Sends a request that the negotiated version, of at most `cap`, may shape, and waits for the
    /// response.
    pub(crate) async fn call_capped<R: Request>(
        &self,
        timeout: Duration,
        cap: i16,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let version = self.version(R::API)?.min(cap);
        let answer = self.request(R::API, version, timeout, |header| {
            Ok(vec![encode_request(header, &request(version))?])
        })?;
        let frame = received(self.broker(), answer).await?;
        let (_, response) = decode_response(version, frame)
            .map_err(|error| ClientError::wire(self.broker(), error))?;
        Ok(response)
    }

    /// Queues a request without waiting. `encode` gets the header and returns the whole frame.
    pub(crate) fn request(
        &self,
        api: ApiKey,
        version: i16,
        timeout: Duration,
        encode: impl FnOnce(&RequestHeader) -> Result<Frame, WireError>,
    ) -> Result<Answer, ClientError> {
        self.handle.shared.enqueue(api, version, timeout, encode)
    }
}

impl Handle {
    /// ApiVersions is asked in our highest version; a broker that does not know it says so in
    /// version 0 (KIP-511).
    async fn negotiate(&self, timeout: Duration) -> Result<Versions, ClientError> {
        let broker = &self.shared.broker;
        let mut version = ApiKey::API_VERSIONS.versions().map_or(0, |range| range.max);
        loop {
            let answer = self.shared.enqueue(ApiKey::API_VERSIONS, version, timeout, |header| {
                let mut request = message::api_versions::Request::default();
                if version >= SOFTWARE_NAME {
                    request.client_software_name = KafkaString::from_static("onrush");
                    request.client_software_version =
                        KafkaString::from_static(env!("CARGO_PKG_VERSION"));
                }
                Ok(vec![encode_request(header, &request)?])
            })?;
            let frame = received(broker, answer).await?;
            let (_, response) =
                api_versions::decode(version, frame).map_err(|e| ClientError::wire(broker, e))?;
            match ErrorCode(response.error_code) {
                ErrorCode::NONE => return Ok(Versions::of(&response)),
                ErrorCode::UNSUPPORTED_VERSION if version > 0 => {
                    let theirs = api_versions::range_of(&response, ApiKey::API_VERSIONS)
                        .map_or(0, |range| range.max);
                    version = theirs.clamp(0, version - 1);
                }
                code => {
                    return Err(ClientError::answered(ApiKey::API_VERSIONS, broker.as_str(), code));
                }
            }
        }
    }
}

impl Versions {
    fn of(response: &message::api_versions::Response) -> Self {
        let range = |api: &message::api_versions::response::ApiVersion| {
            VersionRange::new(api.min_version, api.max_version)
        };
        Self(response.api_keys.iter().map(|api| (ApiKey(api.api_key), range(api))).collect())
    }
}

/// Waits for an answer. The sender is dropped unanswered only with the executor that drove the
/// connection. The answer is all that it waits for, so that it may be dropped and called again.
pub(crate) async fn received(
    broker: &str,
    answer: impl Future<Output = <Answer as Future>::Output>,
) -> Result<Bytes, ClientError> {
    answer.await.unwrap_or_else(|_| Err(ClientError::lost(broker, "the client's executor ended")))
}

impl Shared {
    fn enqueue(
        &self,
        api: ApiKey,
        version: i16,
        timeout: Duration,
        encode: impl FnOnce(&RequestHeader) -> Result<Frame, WireError>,
    ) -> Result<Answer, ClientError> {
        let mut state = lock(&self.state);
        let pipeline = match &mut *state {
            State::Open(pipeline) => pipeline,
            State::Poisoned(reason) => return Err(unsent(reason)),
        };
        if pipeline.waiting.len() >= MAX_WAITING {
            return Err(ClientError::TooManyRequests {
                broker: self.broker.clone(),
                limit: MAX_WAITING,
            });
        }
        let correlation = pipeline.next_correlation;
        let header =
            RequestHeader::new(api, version, correlation).with_client_id(self.client_id.clone());
        let frame = encode(&header).map_err(|error| ClientError::wire(&self.broker, error))?;
        pipeline.next_correlation = correlation.wrapping_add(1).max(0);
        pipeline.unwritten.extend(frame);
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + timeout;
        pipeline.waiting.push_back(Waiting { correlation, api, deadline, after: timeout, reply });
        drop(state);
        self.queued.notify_one();
        self.deadlines.notify_one();
        Ok(answer)
    }

    /// Gives a response to the request it answers, the oldest.
    fn answer(&self, frame: Bytes) -> Result<(), ClientError> {
        let correlation = onrush_wire::header::correlation_id(&frame)
            .map_err(|e| ClientError::wire(&self.broker, e))?;
        let oldest = match &mut *lock(&self.state) {
            State::Open(pipeline) => pipeline.waiting.pop_front(),
            State::Poisoned(reason) => return Err(reason.clone()),
        };
        match oldest {
            Some(waiting) if waiting.correlation == correlation => {
                // Nobody may be waiting any more, which is fine.
                let _ = waiting.reply.send(Ok(frame));
                Ok(())
            }
            Some(waiting) => {
                let reason = format!("answer {correlation} where {} was due", waiting.correlation);
                let error = ClientError::lost(&self.broker, reason);
                let _ = waiting.reply.send(Err(error.clone()));
                Err(error)
            }
            None => {
                Err(ClientError::lost(&self.broker, format!("answer {correlation} to no request")))
            }
        }
    }

    fn poison(&self, reason: &ClientError) {
        let previous = {
            let mut state = lock(&self.state);
            if matches!(*state, State::Poisoned(_)) {
                return;
            }
            std::mem::replace(&mut *state, State::Poisoned(reason.clone()))
        };
        if let State::Open(pipeline) = previous {
            for waiting in pipeline.waiting {
                let _ = waiting.reply.send(Err(reason.clone()));
            }
        }
        self.queued.notify_one();
        self.deadlines.notify_one();
    }

    fn unwritten(&self) -> Result<VecDeque<Bytes>, ClientError> {
        match &mut *lock(&self.state) {
            State::Open(pipeline) => Ok(std::mem::take(&mut pipeline.unwritten)),
            State::Poisoned(reason) => Err(reason.clone()),
        }
    }

    fn earliest_deadline(&self) -> Result<Option<(Instant, ApiKey, Duration)>, ClientError> {
        match &*lock(&self.state) {
            State::Open(pipeline) => Ok(pipeline
                .waiting
                .iter()
                .map(|w| (w.deadline, w.api, w.after))
                .min_by_key(|(deadline, ..)| *deadline)),
            State::Poisoned(reason) => Err(reason.clone()),
        }
    }
}

/// The error of a request that met a poisoned connection: it never left, which a
/// [`ClientError::Lost`] would leave open.
fn unsent(reason: &ClientError) -> ClientError {
    match reason {
        ClientError::Lost { broker, reason } => {
            ClientError::Connect { broker: broker.clone(), reason: reason.clone() }
        }
        ClientError::TimedOut { broker, .. } | ClientError::Wire { broker, .. } => {
            ClientError::Connect {
                broker: broker.clone(),
                reason: format!("the connection broke before: {reason}"),
            }
        }
        other => other.clone(),
    }
}

async fn drive(
    shared: Arc<Shared>,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
) {
    let reason = tokio::select! {
        biased;
        reason = read(&shared, reader) => reason,
        reason = write(&shared, writer) => reason,
        reason = expire(&shared) => reason,
    };
    shared.poison(&reason);
}

async fn read(shared: &Shared, mut reader: impl AsyncRead + Unpin) -> ClientError {
    loop {
        let frame = match read_frame(shared, &mut reader).await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        if let Err(error) = shared.answer(frame) {
            return error;
        }
        shared.deadlines.notify_one();
    }
}

async fn read_frame(
    shared: &Shared,
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Bytes, ClientError> {
    let lost = |error: std::io::Error| ClientError::lost(&shared.broker, error.to_string());
    let mut prefix = [0; frame::PREFIX];
    reader.read_exact(&mut prefix).await.map_err(lost)?;
    let length = frame_len(prefix, shared.max_response)
        .map_err(|error| ClientError::wire(&shared.broker, error))?;
    let mut buffer = BytesMut::with_capacity(length).limit(length);
    while buffer.has_remaining_mut() {
        if reader.read_buf(&mut buffer).await.map_err(lost)? == 0 {
            let got = length - buffer.remaining_mut();
            return Err(ClientError::lost(
                &shared.broker,
                format!("closed after {got} of {length} bytes of a response"),
            ));
        }
    }
    Ok(buffer.into_inner().freeze())
}

async fn write(shared: &Shared, mut writer: impl AsyncWrite + Unpin) -> ClientError {
    loop {
        let mut segments = match shared.unwritten() {
            Ok(segments) => segments,
            Err(reason) => return reason,
        };
        if segments.is_empty() {
            shared.queued.notified().await;
        } else if let Err(error) = write_all(&mut writer, &mut segments).await {
            return ClientError::lost(&shared.broker, error.to_string());
        }
    }
}

async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    segments: &mut VecDeque<Bytes>,
) -> std::io::Result<()> {
    while !segments.is_empty() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = segments.len().min(MAX_SLICES);
        for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
            *slice = IoSlice::new(segment);
        }
        let written = writer.write_vectored(&slices[..count]).await?;
        if written == 0 && segments.iter().take(count).any(|segment| !segment.is_empty()) {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        advance(segments, written);
    }
    writer.flush().await
}

fn advance(segments: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = segments.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        segments.pop_front();
    }
}

async fn expire(shared: &Shared) -> ClientError {
    loop {
        match shared.earliest_deadline() {
            Err(reason) => return reason,
            Ok(None) => shared.deadlines.notified().await,
            Ok(Some((deadline, api, after))) => {
                if Instant::now() >= deadline {
                    return ClientError::TimedOut { broker: shared.broker.clone(), api, after };
                }
                tokio::select! {
                    biased;
                    () = shared.deadlines.notified() => {}
                    () = sleep_until(deadline) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_over_segments() {
        let mut segments: VecDeque<Bytes> =
            [&b"abc"[..], b"", b"defg"].map(Bytes::from_static).into();
        advance(&mut segments, 4);
        assert_eq!(segments, [Bytes::from_static(b"efg")]);
        advance(&mut segments, 3);
        assert!(segments.is_empty());
    }

    fn shared(max_response: usize) -> Arc<Shared> {
        Arc::new(Shared {
            broker: "b:1".to_owned(),
            client_id: KafkaString::from_static("test"),
            max_response,
            state: Mutex::new(State::Open(Pipeline::default())),
            queued: Notify::new(),
            deadlines: Notify::new(),
        })
    }

    fn ask(shared: &Shared, seconds: u64) -> Answer {
        let frame = |header: &RequestHeader| {
            Ok(vec![Bytes::copy_from_slice(&header.correlation_id.to_be_bytes())])
        };
        shared.enqueue(ApiKey::FETCH, 12, Duration::from_secs(seconds), frame).expect("open")
    }

    fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(4 + body.len()).expect("short");
        [&length.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_to_their_requests_and_a_hang_up_fails_the_rest() {
        let shared = shared(64);
        let (first, second, third) = (ask(&shared, 5), ask(&shared, 5), ask(&shared, 5));
        let mut bytes = response(0, b"one");
        bytes.extend(response(1, b"two"));
        bytes.extend(&response(2, b"half a response")[..9]);
        drive(Arc::clone(&shared), &bytes[..], tokio::io::sink()).await;
        assert_eq!(&first.await.expect("answered").expect("ok")[4..], b"one");
        assert_eq!(&second.await.expect("answered").expect("ok")[4..], b"two");
        let error = third.await.expect("answered").expect_err("cut");
        assert!(error.to_string().contains("closed after 5 of 19 bytes"), "{error}");
        assert!(error.may_have_happened());
        let later = shared
            .enqueue(ApiKey::FETCH, 12, Duration::from_secs(1), |_| Ok(Vec::new()))
            .expect_err("poisoned");
        assert!(!later.may_have_happened());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_poisons_the_connection() {
        let shared = shared(64);
        let (long, short) = (ask(&shared, 50), ask(&shared, 2));
        let (silent, _peer) = tokio::io::duplex(64);
        let start = Instant::now();
        drive(Arc::clone(&shared), silent, tokio::io::sink()).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        for answer in [long, short] {
            assert!(matches!(answer.await.expect("answered"), Err(ClientError::TimedOut { .. })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn absurd_lengths_and_wrong_correlation_ids_poison() {
        for bytes in [
            i32::MAX.to_be_bytes().to_vec(),
            (-5i32).to_be_bytes().to_vec(),
            response(7, b""),
            2i32.to_be_bytes().to_vec(),
        ] {
            let shared = shared(64);
            let answer = ask(&shared, 5);
            drive(Arc::clone(&shared), &bytes[..], tokio::io::sink()).await;
            assert!(answer.await.expect("answered").is_err());
        }
    }
}
