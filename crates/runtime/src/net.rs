//! Byte streams between processes.

mod memory;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

pub use self::memory::{Faults, MemoryHost, MemoryListener, MemoryNet, MemoryStream};

/// How a process reaches others.
#[derive(Clone, Debug)]
pub enum Net {
    /// TCP.
    Tcp,
    /// A host of a simulated network.
    Memory(MemoryHost),
}

impl Net {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// The operating system's; the message names the address.
    pub async fn connect(&self, address: &str) -> io::Result<Stream> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect(address).await.map_err(named(address))?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Memory(host) => {
                host.connect(address).await.map(Stream::Memory).map_err(named(address))
            }
        }
    }

    /// Listens on `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// The operating system's (the port is in use, the address is not ours); the message names the address.
    pub async fn listen(&self, address: &str) -> io::Result<Listener> {
        match self {
            Self::Tcp => {
                TcpListener::bind(address).await.map(Listener::Tcp).map_err(named(address))
            }
            Self::Memory(host) => {
                host.listen(address).map(Listener::Memory).map_err(named(address))
            }
        }
    }
}

fn named(address: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// Takes connections.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a simulated host.
    Memory(MemoryListener),
}

impl Listener {
    /// The next connection, and who made it.
    ///
    /// # Errors
    /// The operating system's; the listener goes on (out of descriptors, a peer that went away).
    pub async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer.to_string()))
            }
            Self::Memory(listener) => {
                let (stream, peer) = listener.accept().await;
                Ok((Stream::Memory(stream), peer))
            }
        }
    }

    /// The address with the port that was taken.
    pub fn local_address(&self) -> String {
        match self {
            // A bound socket has an address; the empty string would show in the first message that names it.
            Self::Tcp(listener) => listener.local_addr().map(|a| a.to_string()).unwrap_or_default(),
            Self::Memory(listener) => listener.address().to_owned(),
        }
    }
}

/// A connection. Split it with `tokio::io::split` or [`Stream::into_split`].
#[derive(Debug)]
pub enum Stream {
    /// TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// Simulated.
    Memory(MemoryStream),
}

/// The reading half of a [`Stream`].
pub type ReadHalf = tokio::io::ReadHalf<Stream>;
/// The writing half of a [`Stream`]; shutting it down is a half-close.
pub type WriteHalf = tokio::io::WriteHalf<Stream>;

impl Stream {
    /// The two directions, for two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        tokio::io::split(self)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
