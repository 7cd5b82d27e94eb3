//! A simulated network in virtual time.
//!
//! A stream is two pipes. What is written to a pipe arrives after a drawn delay, in order, and is read in pieces of
//! drawn size. Cutting a host resets every stream that it has a part in: what was on its way is gone, and both ends see
//! `ConnectionReset`. A host that is down refuses connections. All of it happens in the one thread of the simulation;
//! the locks are never contended.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::{Random, Trace};

/// Bytes on their way in one direction before a writer has to wait.
const PIPE_CAPACITY: usize = 1 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

/// What the network does to streams.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Longest delay of a piece on its way, in milliseconds; 0 delivers at once.
    pub max_delay_millis: u64,
    /// Whether reads are cut short at random.
    pub split_reads: bool,
}

/// A network; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryNet {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    trace: Trace,
    down: BTreeMap<String, bool>,
    listeners: BTreeMap<String, (String, mpsc::Sender<(MemoryStream, String)>)>,
    streams: Vec<Link>,
    next_stream: u64,
    next_port: u32,
}

/// A stream as the network sees it: who has a part in it, and its two directions.
#[derive(Debug)]
struct Link {
    hosts: [String; 2],
    pipes: [Weak<Mutex<Pipe>>; 2],
}

impl Link {
    fn is_open(&self) -> bool {
        self.pipes[0].strong_count() > 0
    }
}

impl MemoryNet {
    /// A network without hosts.
    pub fn new(random: Random, faults: Faults, trace: Trace) -> Self {
        let state = State {
            random,
            faults,
            trace,
            down: BTreeMap::new(),
            listeners: BTreeMap::new(),
            streams: Vec::new(),
            next_stream: 0,
            next_port: 40_000,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The network as the host `name` sees it. Addresses are `name:port`.
    pub fn host(&self, name: &str) -> MemoryHost {
        MemoryHost { net: self.clone(), name: name.to_owned() }
    }

    /// Does this to all streams from now on, to those that are open too. What is on its way arrives as it was to.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        let pipes = state.streams.iter().flat_map(|link| &link.pipes).filter_map(Weak::upgrade);
        pipes.for_each(|pipe| lock(&pipe).faults = faults);
    }

    /// Resets every stream of `host`.
    pub fn cut(&self, host: &str) {
        let mut state = self.state();
        let mut wakers = Vec::new();
        state.streams.retain(|link| {
            let hit = link.hosts.iter().any(|end| end == host);
            for pipe in link.pipes.iter().filter(|_| hit).filter_map(Weak::upgrade) {
                lock(&pipe).reset(&mut wakers);
            }
            !hit && link.is_open()
        });
        state.trace.line(|| format!("net cut {host}"));
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes `host` off the network: its streams are reset, its listeners are gone, and it cannot connect.
    pub fn take_down(&self, host: &str) {
        {
            let mut state = self.state();
            state.down.insert(host.to_owned(), true);
            state.listeners.retain(|_, (owner, _)| owner != host);
        }
        self.cut(host);
    }

    /// Brings `host` back; it has to listen anew.
    pub fn bring_up(&self, host: &str) {
        self.state().down.remove(host);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host's view of a [`MemoryNet`].
#[derive(Clone, Debug)]
pub struct MemoryHost {
    net: MemoryNet,
    name: String,
}

impl MemoryHost {
    pub(super) async fn connect(&self, address: &str) -> io::Result<MemoryStream> {
        let delay = {
            let state = self.net.state();
            state.random.below(state.faults.max_delay_millis + 1)
        };
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let mut state = self.net.state();
        let owner = state.listeners.get(address).filter(|(_, accept)| !accept.is_closed());
        let (Some((owner, accept)), false) = (owner.cloned(), state.down.contains_key(&self.name))
        else {
            return Err(io::Error::new(ErrorKind::ConnectionRefused, "connection refused"));
        };
        let id = state.next_stream;
        state.next_stream += 1;
        let [out, back] = [0, 1].map(|direction| {
            let name = format!("{id}.{direction}");
            Arc::new(Mutex::new(Pipe::new(
                name,
                state.random.clone(),
                state.faults,
                state.trace.clone(),
            )))
        });
        let ours = MemoryStream::new(back.clone(), out.clone());
        let theirs = MemoryStream::new(out.clone(), back.clone());
        let peer = format!("{}#{id}", self.name);
        if accept.try_send((theirs, peer)).is_err() {
            return Err(io::Error::new(ErrorKind::ConnectionRefused, "backlog is full"));
        }
        state.trace.line(|| format!("net connect {id} {} {address}", self.name));
        state.streams.retain(Link::is_open);
        let pipes = [&out, &back].map(Arc::downgrade);
        state.streams.push(Link { hosts: [self.name.clone(), owner], pipes });
        Ok(ours)
    }

    pub(super) fn listen(&self, address: &str) -> io::Result<MemoryListener> {
        let mut state = self.net.state();
        let address = match address.strip_suffix(":0") {
            Some(host) => {
                state.next_port += 1;
                format!("{host}:{}", state.next_port)
            }
            None => address.to_owned(),
        };
        if state.listeners.get(&address).is_some_and(|(_, accept)| !accept.is_closed()) {
            return Err(io::Error::new(ErrorKind::AddrInUse, "address in use"));
        }
        let (accept, accepted) = mpsc::channel(BACKLOG);
        state.listeners.insert(address.clone(), (self.name.clone(), accept));
        Ok(MemoryListener { address, accepted: tokio::sync::Mutex::new(accepted) })
    }
}

/// Takes connections on a simulated host.
#[derive(Debug)]
pub struct MemoryListener {
    address: String,
    accepted: tokio::sync::Mutex<mpsc::Receiver<(MemoryStream, String)>>,
}

impl MemoryListener {
    pub(super) async fn accept(&self) -> (MemoryStream, String) {
        match self.accepted.lock().await.recv().await {
            Some(accepted) => accepted,
            // The host was taken down: nobody will ever connect here again.
            None => std::future::pending().await,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    name: String,
    random: Random,
    faults: Faults,
    trace: Trace,
    pieces: VecDeque<(Instant, Bytes)>,
    buffered: usize,
    last_arrival: Option<Instant>,
    end: End,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// The writer is done; what is on its way still arrives.
    Closed,
    /// Both ends get `ConnectionReset`.
    Reset,
}

impl Pipe {
    fn new(name: String, random: Random, faults: Faults, trace: Trace) -> Self {
        Self {
            name,
            random,
            faults,
            trace,
            pieces: VecDeque::new(),
            buffered: 0,
            last_arrival: None,
            end: End::Open,
            reader: None,
            writer: None,
        }
    }

    fn reset(&mut self, wakers: &mut Vec<Waker>) {
        self.end = End::Reset;
        self.pieces.clear();
        self.buffered = 0;
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }

    fn close(&mut self) -> Option<Waker> {
        if self.end == End::Open {
            self.end = End::Closed;
        }
        self.reader.take()
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(PIPE_CAPACITY - self.buffered);
        let delay = Duration::from_millis(self.random.below(self.faults.max_delay_millis + 1));
        let arrival = (Instant::now() + delay).max(self.last_arrival.unwrap_or_else(Instant::now));
        self.last_arrival = Some(arrival);
        self.pieces.push_back((arrival, Bytes::copy_from_slice(&bytes[..count])));
        self.buffered += count;
        self.trace.line(|| format!("net {} write {count}", self.name));
        count
    }

    /// Moves what has arrived into `buf`; if nothing has, says when the next piece will.
    fn read(&mut self, buf: &mut ReadBuf<'_>) -> Arrival {
        let now = Instant::now();
        match self.pieces.front_mut() {
            None if self.end == End::Closed => Arrival::Read,
            None => Arrival::Unknown,
            Some((at, _)) if *at > now => Arrival::At(*at),
            Some((_, piece)) => {
                let mut count = piece.len().min(buf.remaining());
                if self.faults.split_reads && count > 1 && self.random.chance(1, 8) {
                    count = 1 + self.random.below(count as u64 - 1) as usize;
                }
                buf.put_slice(&piece[..count]);
                piece.advance(count);
                if piece.is_empty() {
                    self.pieces.pop_front();
                }
                self.buffered -= count;
                Arrival::Read
            }
        }
    }
}

enum Arrival {
    Read,
    At(Instant),
    Unknown,
}

/// A simulated connection.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl MemoryStream {
    fn new(incoming: Arc<Mutex<Pipe>>, outgoing: Arc<Mutex<Pipe>>) -> Self {
        Self { incoming, outgoing, arrival: None }
    }
}

fn was_reset() -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, "connection reset (simulated)")
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let arrival = {
                let mut pipe = lock(&self.incoming);
                if pipe.end == End::Reset {
                    return Poll::Ready(Err(was_reset()));
                }
                let arrival = pipe.read(buf);
                match arrival {
                    Arrival::Read => {
                        let writer = pipe.writer.take();
                        drop(pipe);
                        if let Some(writer) = writer {
                            writer.wake();
                        }
                        return Poll::Ready(Ok(()));
                    }
                    // A cut, or a piece that comes first, must wake the reader that waits for a time.
                    Arrival::At(_) | Arrival::Unknown => pipe.reader = Some(cx.waker().clone()),
                }
                arrival
            };
            let Arrival::At(at) = arrival else { return Poll::Pending };
            let sleep = self.arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        match pipe.end {
            End::Reset => Poll::Ready(Err(was_reset())),
            End::Closed => Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, "closed"))),
            End::Open if pipe.buffered >= PIPE_CAPACITY => {
                pipe.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Open => {
                let count = pipe.write(buf);
                let reader = pipe.reader.take();
                drop(pipe);
                if let Some(reader) = reader {
                    reader.wake();
                }
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let reader = lock(&self.outgoing).close();
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        wakers.extend(lock(&self.outgoing).close());
        {
            // Nobody will read what still comes: the writer must not wait for room, and learns of it by its next write.
            let mut incoming = lock(&self.incoming);
            if incoming.end == End::Open {
                incoming.reset(&mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::Net;

    fn net(seed: u64) -> MemoryNet {
        let faults = Faults { max_delay_millis: 5, split_reads: true };
        MemoryNet::new(Random::seeded(seed), faults, Trace::off())
    }

    async fn pair(net: &MemoryNet) -> (crate::Stream, crate::Stream) {
        let listener = Net::Memory(net.host("b")).listen("b:1").await.unwrap();
        let client = Net::Memory(net.host("a")).connect("b:1").await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_whatever_the_delays_and_splits() {
        for seed in 0..50 {
            let (mut client, mut server) = pair(&net(seed)).await;
            let sent: Vec<u8> = (0..10_000_u32).map(|i| i as u8).collect();
            let write = async {
                for piece in sent.chunks(37) {
                    client.write_all(piece).await.unwrap();
                }
                client.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(write, server.read_to_end(&mut got));
            read.unwrap();
            assert_eq!(got, sent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_open_gets_as_slow_as_the_network() {
        let net = net(1);
        let (mut client, mut server) = pair(&net).await;
        net.set_faults(Faults { max_delay_millis: 1_000_000, split_reads: false });
        let start = Instant::now();
        for _ in 0..4 {
            client.write_all(b"x").await.unwrap();
        }
        server.read_exact(&mut [0; 4]).await.unwrap();
        assert!(start.elapsed() > Duration::from_secs(60), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_resets_both_ends_and_a_host_that_is_down_refuses() {
        let net = net(1);
        let (mut client, mut server) = pair(&net).await;
        client.write_all(b"lost").await.unwrap();
        net.take_down("b");
        assert_eq!(server.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let refused = Net::Memory(net.host("a")).connect("b:1").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn tcp_names_the_address_that_refused() {
        let listener = Net::Tcp.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let twice = Net::Tcp.listen(&address).await.unwrap_err();
        assert!(twice.to_string().contains(&address));
    }
}
