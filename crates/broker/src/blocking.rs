// SPDX-License-Identifier: Apache-2.0
//! Work that may wait for the disk, off the threads that serve sockets.
//!
//! Each connection has a few turns ([`Peer::turns`]); what it asks beyond waits with it, unserved. A turn ends when the
//! answer is taken, so that a peer that asks and does not read costs a few answers and keeps nobody else waiting.

use std::sync::Arc;

use net::{Answer, Fault, Peer, Reply};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use wire::code::ResponseCode;

use crate::broker::Broker;

/// Requests that bring groups or topics into being at the same time.
const CREATING_MAX: usize = 2;
/// Bytes of such requests that wait, all connections together.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Requests that bring topics and groups into being.
#[derive(Debug)]
pub(crate) struct Creating {
    turns: Semaphore,
    room: Semaphore,
}

impl Default for Creating {
    fn default() -> Creating {
        Creating {
            turns: Semaphore::new(CREATING_MAX),
            room: Semaphore::new(WAITING_BYTES_MAX),
        }
    }
}

/// Runs work on the pool of threads that may wait.
pub(crate) async fn run<T: Send + 'static>(
    peer: &Peer,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let _turn = peer.turns.acquire().await;
    // It ends early only when the process is being torn down: nobody reads the answer then.
    tokio::task::spawn_blocking(work).await.map_err(|_| stopping())
}

/// An answer that is made there.
pub(crate) fn later<T: Send + 'static>(
    peer: &Arc<Peer>,
    work: impl FnOnce() -> Result<Reply<T>, Fault> + Send + 'static,
) -> Answer<T> {
    let peer = Arc::clone(peer);
    Answer::Later(Box::pin(async move { run(&peer, work).await? }))
}

/// Runs work that brings groups or topics into being, for a request of so many bytes. They are written one after the
/// other anyway, so that a crowd of clients with new groups waits here and leaves the pool to the readers.
pub(crate) async fn create<T: Send + 'static>(
    b: &Arc<Broker>,
    (peer, bytes): (&Peer, usize),
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Result<T, Fault> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let room = b.creating.room.try_acquire_many(bytes);
    let _room = room.map_err(|_| {
        let remark = format!(
            "[OVERLOAD]system busy: {WAITING_BYTES_MAX} bytes of requests wait for topics and groups to be created"
        );
        Fault::new(ResponseCode::SYSTEM_BUSY, remark)
    })?;
    let _turn = peer.turns.acquire().await;
    let b = Arc::clone(b);
    // A task of its own: a turn that falls to a connection which is not served now would be lost to all others.
    let task = tokio::spawn(async move {
        let turn = b.creating.turns.acquire().await;
        let made = tokio::task::spawn_blocking({
            let b = Arc::clone(&b);
            move || work(&b)
        });
        let made = made.await;
        drop(turn);
        made
    });
    let made = AbortOnDropHandle::new(task).await;
    made.and_then(|made| made).map_err(|_| stopping())
}

fn stopping() -> Fault {
    Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, "the broker is stopping")
}
