// SPDX-License-Identifier: Apache-2.0
//! Sockets: the system's, or those of a network that a simulation puts in their place.
//!
//! Everything in the product that listens or connects does it here. A simulation runs many nodes on one thread, in turns, and
//! says before each turn which network the code that runs now is in ([`enter`]); without one, and on all other threads, there is
//! the system's.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, tcp};

use crate::service::BoxFuture;

/// A network as one of its hosts sees it.
pub trait Network: Send + Sync {
    /// Takes a port.
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Port>>;
    /// Connects.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Arc<dyn Line>>>;
}

/// A port that was taken; free again when dropped.
pub trait Port: Send + Sync {
    /// Which one it is.
    fn local_addr(&self) -> SocketAddr;
    /// The next connection, and from where it comes.
    fn accept(&self) -> BoxFuture<io::Result<(Arc<dyn Line>, SocketAddr)>>;
}

/// One end of a connection. Ends when the last that holds it is dropped.
pub trait Line: Send + Sync {
    /// Its address.
    fn local_addr(&self) -> SocketAddr;
    /// Takes what has come; nothing at all when the other side has ended.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;
    /// Ready when something can be written.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Writes as much as there is room for, or fails with [`io::ErrorKind::WouldBlock`].
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Says that nothing more will be written.
    fn shutdown(&self);
}

/// Connections that may wait to be taken; the system's own limit (`net.core.somaxconn`) where that is less. One more is not refused but
/// tries again after a second, so clients that all come back at once need room here (the reference has 1024).
const BACKLOG: u32 = 4096;

thread_local! {
    static NETWORK: RefCell<Option<Arc<dyn Network>>> = const { RefCell::new(None) };
}

/// Puts what runs on this thread from now on into a network; `None`: into the system's.
pub fn enter(network: Option<Arc<dyn Network>>) {
    NETWORK.set(network);
}

fn network() -> Option<Arc<dyn Network>> {
    NETWORK.with_borrow(Clone::clone)
}

/// Takes a port, port 0 any free one.
pub(crate) async fn listen(addr: SocketAddr) -> io::Result<(Listener, SocketAddr)> {
    if let Some(network) = network() {
        let port = network.listen(addr)?;
        let addr = port.local_addr();
        return Ok((Listener::Simulated(port), addr));
    }
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As a restarted server wants it: connections of the last one do not keep it from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    let listener = socket.listen(BACKLOG)?;
    let addr = listener.local_addr()?;
    Ok((Listener::System(listener), addr))
}

/// Where connections come in.
pub(crate) enum Listener {
    System(TcpListener),
    Simulated(Box<dyn Port>),
}

impl Listener {
    /// Has the system keep so many bytes of each connection until they are read. Of those that come from now on: what one is told
    /// that it may send has to do with it from its first moment.
    pub(crate) fn keep_unread(&self, bytes: usize) -> io::Result<()> {
        if let Listener::System(listener) = self {
            sockopt::set_socket_recv_buffer_size(listener, bytes)?;
        }
        Ok(())
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Listener::System(listener) => {
                let (stream, addr) = listener.accept().await?;
                Ok((Stream::System(stream), addr))
            }
            Listener::Simulated(port) => {
                let (line, addr) = port.accept().await?;
                Ok((Stream::Simulated(line), addr))
            }
        }
    }
}

/// A connection.
pub enum Stream {
    /// Of the system.
    System(TcpStream),
    /// Of a simulation.
    Simulated(Arc<dyn Line>),
}

impl Stream {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> io::Result<Stream> {
        if let Some(network) = network() {
            return Ok(Stream::Simulated(network.connect(addr).await?));
        }
        Ok(Stream::System(TcpStream::connect(addr).await?))
    }

    /// Connects to the first that answers of those known by a name.
    pub async fn connect_to(name: &str) -> io::Result<Stream> {
        let mut refused = io::Error::new(io::ErrorKind::NotFound, "nothing is known by that name");
        for addr in tokio::net::lookup_host(name).await? {
            match Stream::connect(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Its own address; from now on it sends at once what it is given.
    pub fn prepare(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::System(stream) => {
                stream.set_nodelay(true)?;
                stream.local_addr()
            }
            Stream::Simulated(line) => Ok(line.local_addr()),
        }
    }

    /// What reads and what writes, for one task.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Stream::System(stream) => {
                let (reader, writer) = stream.split();
                (Reader::System(reader), Writer::System(writer))
            }
            Stream::Simulated(line) => (Reader::Simulated(line), Writer::Simulated(line)),
        }
    }

    /// What reads and what writes, for two tasks.
    pub fn into_split(self) -> (OwnedReader, OwnedWriter) {
        match self {
            Stream::System(stream) => {
                let (reader, writer) = stream.into_split();
                (OwnedReader::System(reader), OwnedWriter::System(writer))
            }
            Stream::Simulated(line) => (
                OwnedReader::Simulated(Arc::clone(&line)),
                OwnedWriter::Simulated(line),
            ),
        }
    }
}

/// The half of a connection that reads.
pub(crate) enum Reader<'a> {
    System(tcp::ReadHalf<'a>),
    Simulated(&'a Arc<dyn Line>),
}

impl Reader<'_> {
    /// Bytes that lie in the system and can be read.
    pub(crate) fn unread(&self) -> usize {
        match self {
            Reader::System(reader) => {
                let unread = rustix::io::ioctl_fionread(reader.as_ref());
                unread.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            // What it has comes at once.
            Reader::Simulated(_) => 0,
        }
    }
}

impl AsyncRead for Reader<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Reader::System(reader) => Pin::new(reader).poll_read(cx, buf),
            Reader::Simulated(line) => line.poll_read(cx, buf),
        }
    }
}

/// The half of a connection that writes.
pub(crate) enum Writer<'a> {
    System(tcp::WriteHalf<'a>),
    Simulated(&'a Arc<dyn Line>),
}

impl Writer<'_> {
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::System(stream) => stream.try_write(bytes),
            Writer::Simulated(line) => line.try_write(&[IoSlice::new(bytes)]),
        }
    }

    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::System(stream) => stream.try_write_vectored(slices),
            Writer::Simulated(line) => line.try_write(slices),
        }
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Writer::System(stream) => stream.writable().await,
            Writer::Simulated(line) => std::future::poll_fn(|cx| line.poll_writable(cx)).await,
        }
    }
}

/// The half of a connection that reads, as long as it likes.
pub enum OwnedReader {
    /// Of the system.
    System(tcp::OwnedReadHalf),
    /// Of a simulation.
    Simulated(Arc<dyn Line>),
}

impl AsyncRead for OwnedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            OwnedReader::System(reader) => Pin::new(reader).poll_read(cx, buf),
            OwnedReader::Simulated(line) => line.poll_read(cx, buf),
        }
    }
}

/// The half of a connection that writes, as long as it likes.
pub enum OwnedWriter {
    /// Of the system.
    System(tcp::OwnedWriteHalf),
    /// Of a simulation.
    Simulated(Arc<dyn Line>),
}

impl AsyncWrite for OwnedWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            OwnedWriter::System(writer) => Pin::new(writer).poll_write_vectored(cx, slices),
            OwnedWriter::Simulated(line) => write(line, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            OwnedWriter::System(writer) => Pin::new(writer).poll_shutdown(cx),
            OwnedWriter::Simulated(line) => {
                line.shutdown();
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Writes to a line, as soon as there is room.
fn write(line: &Arc<dyn Line>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        ready!(line.poll_writable(cx))?;
        match line.try_write(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}
