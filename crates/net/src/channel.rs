// SPDX-License-Identifier: Apache-2.0
//! The client side: a connection that we opened. It runs the same loop as a server's connection, so the other side may
//! send us requests too.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::frame::{Encoding, Frame};

use crate::conn::Conn;
use crate::limits::Limits;
use crate::peer::Peer;
use crate::server::next_id;
use crate::service::{Outcome, Service};
use crate::socket::Stream;

/// Why no connection came about.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The system refused.
    #[error("cannot connect to {0}: {1}")]
    Refused(SocketAddr, #[source] io::Error),
    /// Nobody answered.
    #[error("cannot connect to {0} within {1:?}")]
    TimedOut(SocketAddr, Duration),
}

/// A connection that we opened; ends when dropped. Dereferences to its [`Peer`].
#[derive(Debug)]
pub struct Channel {
    peer: Arc<Peer>,
    _ends: DropGuard,
}

impl Channel {
    /// Connects, with nobody at home for the requests of the other side.
    pub async fn connect(addr: SocketAddr, timeout: Duration) -> Result<Channel, ConnectError> {
        Channel::connect_with(addr, timeout, Arc::new(Deaf), Encoding::Json).await
    }

    /// Connects; `service` takes the requests that the other side sends, `encoding` is that of our headers.
    pub async fn connect_with<S: Service>(
        addr: SocketAddr,
        timeout: Duration,
        service: Arc<S>,
        encoding: Encoding,
    ) -> Result<Channel, ConnectError> {
        let (stream, local) = open(addr, timeout).await?;
        let limits = Arc::new(Limits::default());
        let (peer, pushed) = Peer::new(next_id(), (addr, local), encoding, &limits);
        let peer = Arc::new(peer);
        let stop = CancellationToken::new();
        let conn = Conn::new(service, Arc::clone(&peer), pushed, (limits, Arc::default()));
        tokio::spawn(conn.run(stream, stop.clone()));
        Ok(Channel {
            peer,
            _ends: stop.drop_guard(),
        })
    }

    /// The other end.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Deref for Channel {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

/// A connected socket that sends at once what it is given, and its own address.
pub(crate) async fn open(addr: SocketAddr, timeout: Duration) -> Result<(Stream, SocketAddr), ConnectError> {
    let stream = match tokio::time::timeout(timeout, Stream::connect(addr)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(ConnectError::Refused(addr, e)),
        Err(_) => return Err(ConnectError::TimedOut(addr, timeout)),
    };
    let local = stream.prepare().map_err(|e| ConnectError::Refused(addr, e))?;
    Ok((stream, local))
}

/// Takes no requests.
struct Deaf;

impl Service for Deaf {
    fn serve(self: &Arc<Self>, _peer: &Arc<Peer>, _frame: Frame) -> Outcome {
        Outcome::Silent
    }
}
