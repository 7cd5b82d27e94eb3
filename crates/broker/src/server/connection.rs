//! One connection: frames in, answers out, in order.
//!
//! A peer that stops in the middle of a frame, or does not take its answer, is thrown out after [`PATIENCE`], sooner while
//! memory is short ([`Pace`]); one that says nothing between two requests, after [`MAX_IDLE`].

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use onrush_runtime::{Instant, Stream, Wake};
use onrush_wire::WireError;
use onrush_wire::frame::{PREFIX, frame_len};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Shared;
use super::memory::Held;
use super::pace::{PATIENCE, Pace};
use crate::config::MAX_AT_WORK;
use crate::core::{Outcome, Refused};
use crate::parked::ConnectionId;

/// Bytes read ahead for small requests. Longer ones are read into a buffer of their own.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes reserved for a frame before any of it came.
const RESERVED: usize = 16 * 1024;

/// Bytes reserved once those are full; beyond, memory grows with what the peer really sends.
const RESERVED_NEXT: usize = 1024 * 1024;

/// Most segments handed to the system in one write.
const MAX_SLICES: usize = 64;

/// How long a connection may be idle: Kafka's `connections.max.idle.ms` by default. Clients connect again.
const MAX_IDLE: Duration = Duration::from_secs(600);

type Reader = BufReader<tokio::io::ReadHalf<Stream>>;
type Writer = tokio::io::WriteHalf<Stream>;

/// Why a connection is closed by us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Frame(#[from] WireError),
    #[error("the peer went away in the middle of a request, {got} bytes into its {announced}")]
    HalfFrame { got: usize, announced: usize },
    #[error("no room for a request of {announced} bytes: others hold {MAX_AT_WORK}")]
    NoRoom { announced: usize },
    #[error("no room for an answer: others that are not taken hold {MAX_AT_WORK} bytes")]
    NoRoomToAnswer,
    #[error("the peer made no progress for {} s while it {doing}", PATIENCE.as_secs())]
    Stalled { doing: &'static str },
    #[error("memory is short, and the peer is too slow while it {doing}")]
    TooSlow { doing: &'static str },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Closed {
    /// Whether the peer just went away, which clients do without notice.
    pub(super) fn is_a_farewell(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
    }
}

/// Serves a connection until the peer closes it, does something wrong, or the broker stops.
pub(super) async fn serve(
    shared: &Shared,
    id: ConnectionId,
    stream: Stream,
    wake: Wake,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Closed> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(READ_AHEAD, reader);
    loop {
        let frame = tokio::select! {
            biased;
            _ = stopped.changed() => return Ok(()),
            frame = next_request(&mut reader, shared) => frame?,
        };
        let Some((frame, held)) = frame else { return Ok(()) };
        let (now, share) = (shared.now(), shared.answers.share());
        let mut outcome = shared.with_core(|core| core.handle(now, id, share, frame))?;
        drop(held);
        while let Outcome::Parked(deadline) = outcome {
            let ready = async {
                while !shared.with_core(|core| core.parked.is_ready(id)) {
                    wake.notified().await;
                }
            };
            if !wait(&mut reader, ready, deadline, &mut stopped).await {
                return Ok(());
            }
            let (now, share) = (shared.now(), shared.answers.share());
            let Some(resumed) = shared.with_core(|core| core.resume(now, id, share)) else { break };
            outcome = resumed?;
        }
        if let Outcome::Reply(segments) = outcome {
            let _held = shared.answers.hold(segments.iter().map(Bytes::len).sum());
            write_all(shared, &mut writer, segments).await?;
        }
    }
}

/// Waits until `ready` or the deadline; false if the peer went away or the broker stops.
async fn wait(
    reader: &mut Reader,
    ready: impl Future<Output = ()>,
    deadline: Instant,
    stopped: &mut watch::Receiver<bool>,
) -> bool {
    let peer_is_gone = async {
        match reader.fill_buf().await {
            Ok(ahead) if !ahead.is_empty() => std::future::pending().await,
            // The end of the stream or an error; the read that follows tells which.
            _ => {}
        }
    };
    tokio::select! {
        biased;
        _ = stopped.changed() => false,
        () = ready => true,
        () = peer_is_gone => false,
        () = tokio::time::sleep_until(deadline) => true,
    }
}

/// The next frame and its memory, once there is room for an answer; `None` when the peer closed the connection between two
/// frames or was idle for too long.
async fn next_request(
    reader: &mut Reader,
    shared: &Shared,
) -> Result<Option<(Bytes, Held)>, Closed> {
    match timeout(MAX_IDLE, reader.fill_buf()).await {
        Ok(ahead) => {
            if ahead?.is_empty() {
                return Ok(None);
            }
        }
        Err(_) => return Ok(None),
    }
    let frame = read_frame(reader, shared).await?;
    match timeout(PATIENCE, shared.answers.room()).await {
        Ok(()) => Ok(Some(frame)),
        Err(_) => Err(Closed::NoRoomToAnswer),
    }
}

async fn read_frame(reader: &mut Reader, shared: &Shared) -> Result<(Bytes, Held), Closed> {
    let memory = &shared.requests;
    let mut pace = Pace::new("sent a request", &shared.clock, memory);
    let mut prefix = [0; PREFIX];
    let mut got = 0;
    while got < PREFIX {
        match pace.step(reader.read(&mut prefix[got..])).await? {
            0 => return Err(Closed::HalfFrame { got, announced: PREFIX }),
            more => got += more,
        }
    }
    let announced = frame_len(prefix, shared.max_request)?;
    // What stands in the reader has come: behind so much, no small reservation that is copied out of at once.
    let has_come = announced > RESERVED && reader.buffer().len() + PREFIX >= RESERVED;
    let mut frame = BytesMut::with_capacity(if has_come { 0 } else { announced.min(RESERVED) });
    let mut held = memory.hold(frame.capacity());
    let mut body = reader.take(announced as u64);
    while frame.len() < announced {
        if frame.len() == frame.capacity() {
            // With a limit: half frames may hold all of the room and wait for each other.
            if timeout(PATIENCE, memory.room()).await.is_err() {
                return Err(Closed::NoRoom { announced });
            }
            pace.forgive();
            let more = RESERVED_NEXT.max(frame.len()).min(announced - frame.len());
            frame.reserve(more);
            held.grow(more);
        }
        if pace.step(body.read_buf(&mut frame)).await? == 0 {
            return Err(Closed::HalfFrame { got: frame.len(), announced });
        }
    }
    Ok((frame.freeze(), held))
}

/// Writes segments in order, several per system call.
async fn write_all(
    shared: &Shared,
    writer: &mut Writer,
    segments: Vec<Bytes>,
) -> Result<(), Closed> {
    let mut pace = Pace::new("was sent an answer", &shared.clock, &shared.answers);
    let mut first = 0;
    let mut written = 0;
    while first < segments.len() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&segments[first..]) {
            let skip = if count == 0 { written } else { 0 };
            *slice = IoSlice::new(&segment[skip..]);
            count += 1;
        }
        let mut sent = pace.step(write_some(writer, &slices[..count])).await? + written;
        while first < segments.len() && sent >= segments[first].len() {
            sent -= segments[first].len();
            first += 1;
        }
        written = sent;
    }
    pace.step(async { writer.flush().await.map(|()| 0) }).await.map(drop)
}

async fn write_some(
    writer: &mut (impl AsyncWrite + Unpin),
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    if slices.iter().all(|slice| slice.is_empty()) {
        return Ok(0);
    }
    match writer.write_vectored(slices).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        sent => Ok(sent),
    }
}
