// SPDX-License-Identifier: Apache-2.0
//! Listens on a port and runs a [`Conn`] for every connection, within [`Limits`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use wire::frame::Encoding;

use crate::conn::{Conn, Crowd};
use crate::limits::Limits;
use crate::peer::Peer;
use crate::service::Service;
use crate::socket::{self, Listener, Stream};

/// The port could not be taken.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct BindError {
    /// What was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Takes ports; see [`Server::bind`].
pub struct Server;

impl Server {
    /// Takes the port. Connections wait in its backlog until [`Listening::serve`] runs. Port 0 takes a free one.
    pub async fn bind(addr: SocketAddr) -> Result<Listening, BindError> {
        match socket::listen(addr).await {
            Ok((listener, addr)) => Ok(Listening { listener, addr }),
            Err(source) => Err(BindError { addr, source }),
        }
    }
}

/// A port that is ours.
pub struct Listening {
    listener: Listener,
    addr: SocketAddr,
}

impl Listening {
    /// The address that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection, for what is spoken in another protocol.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, addr) = self.listener.accept().await?;
        stream.prepare()?;
        Ok((stream, addr))
    }

    /// Accepts and serves connections until `stop`; returns when the last one has ended.
    pub async fn serve<S: Service>(self, service: Arc<S>, limits: Limits, stop: CancellationToken) {
        let (limits, crowd) = (Arc::new(limits), Arc::new(Crowd::default()));
        let tasks = TaskTracker::new();
        if let Err(error) = self.listener.keep_unread(limits.unread_bytes) {
            warn!(listen = %self.addr, %error, "what the system keeps unread of a connection cannot be bounded");
        }
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) if tasks.len() >= limits.connections_max => {
                    drop(stream);
                    warn!(peer = %addr, limit = limits.connections_max, "refused: too many connections");
                }
                Ok((stream, addr)) => match stream.prepare() {
                    Ok(local) => {
                        let (service, limits) = (Arc::clone(&service), Arc::clone(&limits));
                        let (peer, pushed) = Peer::new(next_id(), (addr, local), Encoding::Json, &limits);
                        let shared = (limits, Arc::clone(&crowd));
                        let conn = Conn::new(service, Arc::new(peer), pushed, shared);
                        // A token of its own: looking at one that all share is a lock that all share.
                        tasks.spawn(conn.run(stream, stop.child_token()));
                    }
                    Err(error) => warn!(peer = %addr, %error, "connection was gone when it was accepted"),
                },
                Err(error) => {
                    // Out of descriptors: accepting again at once would spin.
                    warn!(listen = %self.addr, %error, "cannot accept; trying again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
