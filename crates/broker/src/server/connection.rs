//! One connection: frames in, answers out, in order.

use std::io::{self, IoSlice};

use bytes::{Bytes, BytesMut};
use onrush_runtime::{Instant, Stream, Wake};
use onrush_wire::WireError;
use onrush_wire::frame::{PREFIX, frame_len};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;

use super::Shared;
use crate::core::{Outcome, Refused};
use crate::parked::ConnectionId;

/// Bytes read ahead for small requests. Longer ones are read into a buffer of their own.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes reserved for a frame before any of it came; beyond, memory grows with what the peer really
/// sends.
const RESERVED: usize = 1024 * 1024;

/// Most segments handed to the system in one write.
const MAX_SLICES: usize = 64;

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
            frame = read_frame(&mut reader, shared.max_request) => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        let now = shared.now();
        let mut outcome = shared.with_core(|core| core.handle(now, id, frame))?;
        while let Outcome::Parked(deadline) = outcome {
            let ready = async {
                while !shared.with_core(|core| core.parked.is_ready(id)) {
                    wake.notified().await;
                }
            };
            if !wait(&mut reader, ready, deadline, &mut stopped).await {
                return Ok(());
            }
            let Some(resumed) = shared.with_core(|core| core.resume(shared.now(), id)) else {
                break;
            };
            outcome = resumed?;
        }
        if let Outcome::Reply(segments) = outcome {
            write_all(&mut writer, segments).await?;
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

/// The next frame, or `None` when the peer closed the connection between two.
async fn read_frame(reader: &mut Reader, max: usize) -> Result<Option<Bytes>, Closed> {
    let mut prefix = [0; PREFIX];
    let mut got = 0;
    while got < PREFIX {
        match reader.read(&mut prefix[got..]).await? {
            0 if got == 0 => return Ok(None),
            0 => return Err(Closed::HalfFrame { got, announced: PREFIX }),
            more => got += more,
        }
    }
    let announced = frame_len(prefix, max)?;
    let mut frame = BytesMut::with_capacity(announced.min(RESERVED));
    let mut body = reader.take(announced as u64);
    while frame.len() < announced {
        if body.read_buf(&mut frame).await? == 0 {
            return Err(Closed::HalfFrame { got: frame.len(), announced });
        }
    }
    Ok(Some(frame.freeze()))
}

/// Writes segments in order, several per system call.
async fn write_all(writer: &mut Writer, segments: Vec<Bytes>) -> io::Result<()> {
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
        let mut sent = write_some(writer, &slices[..count]).await? + written;
        while first < segments.len() && sent >= segments[first].len() {
            sent -= segments[first].len();
            first += 1;
        }
        written = sent;
    }
    writer.flush().await
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
