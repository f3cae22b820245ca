// SPDX-License-Identifier: Apache-2.0
//! The other end of a connection, as a service sees it: its address, and a way to send it requests of our own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::frame::{Encoding, Frame};

use crate::limits::Limits;

/// Why a frame could not be queued to a peer.
#[derive(Debug, Error)]
pub enum PushError {
    /// The connection has ended.
    #[error("the connection to {0} has ended")]
    Closed(SocketAddr),
    /// The peer does not read what it is sent.
    #[error("{0} does not read: {1} frames are queued to it")]
    Full(SocketAddr, usize),
}

/// Why a call to a peer brought no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// The request could not be queued.
    #[error(transparent)]
    Push(#[from] PushError),
    /// No answer in time.
    #[error("no answer from {0} within {1:?}")]
    TimedOut(SocketAddr, Duration),
    /// The connection ended before the answer came.
    #[error("the connection to {0} ended before it answered")]
    Ended(SocketAddr),
}

/// One connection, seen from above.
#[derive(Debug)]
pub struct Peer {
    /// Unique in this process.
    pub id: u64,
    /// The remote address.
    pub addr: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
    /// One for each of its requests that may keep other threads busy at the same time.
    pub turns: Arc<Semaphore>,
    /// The header encoding of what we send.
    pub(crate) encoding: Encoding,
    pub(crate) closing: CancellationToken,
    queue: mpsc::Sender<Frame>,
    opaque: AtomicI32,
    calls: Mutex<HashMap<i32, oneshot::Sender<Frame>>>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        (addr, local): (SocketAddr, SocketAddr),
        encoding: Encoding,
        limits: &Limits,
    ) -> (Peer, mpsc::Receiver<Frame>) {
        let (queue, frames) = mpsc::channel(limits.push_max);
        let peer = Peer {
            id,
            addr,
            local,
            turns: Arc::new(Semaphore::new(limits.turns_max)),
            encoding,
            closing: CancellationToken::new(),
            queue,
            opaque: AtomicI32::new(0),
            calls: Mutex::default(),
        };
        (peer, frames)
    }

    /// Sends a request that wants no answer (set its one-way flag) or a late answer.
    pub fn push(&self, frame: Frame) -> Result<(), PushError> {
        self.queue.try_send(frame).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => PushError::Full(self.addr, self.queue.max_capacity()),
            mpsc::error::TrySendError::Closed(_) => PushError::Closed(self.addr),
        })
    }

    /// Sends a request and waits for its answer. The frame's opaque is replaced by a fresh one.
    pub async fn call(&self, mut frame: Frame, timeout: Duration) -> Result<Frame, CallError> {
        let opaque = self.opaque.fetch_add(1, Ordering::Relaxed);
        frame.opaque = opaque;
        let (answered, answer) = oneshot::channel();
        self.calls.lock().insert(opaque, answered);
        let _forget = Forget { peer: self, opaque };
        if self.closing.is_cancelled() {
            return Err(PushError::Closed(self.addr).into());
        }
        self.push(frame)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(CallError::Ended(self.addr)),
            Err(_) => Err(CallError::TimedOut(self.addr, timeout)),
        }
    }

    /// Ends the connection: what is queued may be lost.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Whether the connection still stands.
    pub fn is_open(&self) -> bool {
        !self.closing.is_cancelled()
    }

    /// Hands an answer to the call that waits for it; one that nobody waits for is dropped.
    pub(crate) fn answered(&self, frame: Frame) {
        if let Some(waiting) = self.calls.lock().remove(&frame.opaque) {
            // The caller may have given up in this very moment.
            drop(waiting.send(frame));
        }
    }

    /// The connection has ended: nobody will answer.
    pub(crate) fn ended(&self) {
        self.closing.cancel();
        self.calls.lock().clear();
    }
}

struct Forget<'a> {
    peer: &'a Peer,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.peer.calls.lock().remove(&self.opaque);
    }
}
