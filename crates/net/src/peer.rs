// SPDX-License-Identifier: Apache-2.0
//! The other end of a connection, as a service sees it: its address, and a way to send it requests of our own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::frame::{Encoding, Frame};

use crate::budget::Portion;
use crate::conn::TURN_BYTES;
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
    /// The same, of large ones.
    #[error("{0} does not read: {1} bytes are queued to it")]
    Heavy(SocketAddr, usize),
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
    /// How long what was read last had waited to be read, at least: milliseconds.
    waited_ms: AtomicU32,
    /// The header encoding of what we send.
    pub(crate) encoding: Encoding,
    pub(crate) closing: CancellationToken,
    queue: mpsc::Sender<Pushed>,
    /// Bytes of the queue.
    queued: Arc<Queued>,
    queued_max: usize,
    /// Bytes of answers that wait to be taken.
    finished: Arc<Queued>,
    opaque: AtomicI32,
    calls: Mutex<HashMap<i32, oneshot::Sender<Frame>>>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        (addr, local): (SocketAddr, SocketAddr),
        encoding: Encoding,
        limits: &Limits,
    ) -> (Peer, mpsc::Receiver<Pushed>) {
        let (queue, frames) = mpsc::channel(limits.push_max);
        let closing = CancellationToken::new();
        let queued = || Queued {
            bytes: AtomicUsize::new(0),
            portion: Mutex::new(limits.budget.join((addr, &closing), 0)),
        };
        let (queued, finished) = (queued(), queued());
        let peer = Peer {
            id,
            addr,
            local,
            turns: Arc::new(Semaphore::new(limits.turns_max)),
            waited_ms: AtomicU32::new(0),
            encoding,
            closing,
            queue,
            queued: Arc::new(queued),
            queued_max: limits.push_bytes_max,
            finished: Arc::new(finished),
            opaque: AtomicI32::new(0),
            calls: Mutex::default(),
        };
        (peer, frames)
    }

    /// How long the requests that are served now have waited to be read, as far as it is known: at least so long, and mostly
    /// not at all.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.waited_ms.load(Ordering::Relaxed).into())
    }

    pub(crate) fn set_waited(&self, waited: Duration) {
        let waited_ms = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
        if self.waited_ms.load(Ordering::Relaxed) != waited_ms {
            self.waited_ms.store(waited_ms, Ordering::Relaxed);
        }
    }

    /// Sends a request that wants no answer (set its one-way flag) or a late answer.
    pub fn push(&self, frame: Frame) -> Result<(), PushError> {
        self.room(frame.body.len() + frame.ext.size_hint())?.push(frame);
        Ok(())
    }

    /// Keeps a place in the queue for a frame of about so many bytes. An empty queue takes a frame of any size.
    pub fn room(&self, bytes: usize) -> Result<Room, PushError> {
        let place = self
            .queue
            .clone()
            .try_reserve_owned()
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => PushError::Full(self.addr, self.queue.max_capacity()),
                mpsc::error::TrySendError::Closed(_) => PushError::Closed(self.addr),
            })?;
        let queued = self.queued.add(bytes);
        let taken = Taken {
            queued: Arc::clone(&self.queued),
            bytes,
        };
        if queued > 0 && queued.saturating_add(bytes) > self.queued_max {
            return Err(PushError::Heavy(self.addr, queued));
        }
        Ok(Room { place, taken })
    }

    /// Counts an answer with so many bytes that another thread has made, until what is returned is dropped: its connection takes it
    /// only when it is polled, and one whose peer does not read is not. What a turn counts with is not counted again.
    #[must_use]
    pub fn finished(&self, bytes: usize) -> Taken {
        let bytes = bytes.saturating_sub(TURN_BYTES);
        self.finished.add(bytes);
        Taken {
            queued: Arc::clone(&self.finished),
            bytes,
        }
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

/// A place in the queue to a peer. It is free again when this is dropped.
#[derive(Debug)]
pub struct Room {
    place: mpsc::OwnedPermit<Pushed>,
    taken: Taken,
}

impl Room {
    /// Queues a frame there.
    pub fn push(self, frame: Frame) {
        self.place.send(Pushed {
            frame,
            _taken: self.taken,
        });
    }
}

/// A frame in the queue to a peer.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) frame: Frame,
    _taken: Taken,
}

/// How much is in the queue.
#[derive(Debug)]
struct Queued {
    bytes: AtomicUsize,
    portion: Mutex<Portion>,
}

impl Queued {
    /// How much there was before.
    fn add(&self, bytes: usize) -> usize {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.portion.lock().note(self.bytes.load(Ordering::Relaxed));
        before
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.portion.lock().note(self.bytes.load(Ordering::Relaxed));
    }
}

/// Bytes that are counted as long as this is kept.
#[derive(Debug)]
pub struct Taken {
    queued: Arc<Queued>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.queued.remove(self.bytes);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use wire::code::ResponseCode;

    use super::*;
    use crate::budget::Budget;

    fn frame(bytes: usize) -> Frame {
        Frame::reply(0, ResponseCode::SUCCESS).with_body(vec![0; bytes])
    }

    #[test]
    fn whoever_leaves_large_answers_to_wait_is_closed_when_too_much_is_held() {
        let limits = Limits {
            budget: Budget::of(16 << 20),
            ..Limits::default()
        };
        let nowhere: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
        let peer = || Peer::new(1, (nowhere, nowhere), Encoding::Json, &limits).0;
        let (greedy, honest) = (peer(), peer());
        let _large = honest.finished(5 << 20);
        let first: Vec<_> = (0..10).map(|_| greedy.finished(1 << 20)).collect();
        assert!(greedy.is_open() && limits.budget.held() > 12 << 20);
        drop(first);
        assert!(limits.budget.held() < 6 << 20, "{}", limits.budget.held());
        let _all: Vec<_> = (0..20).map(|_| greedy.finished(1 << 20)).collect();
        assert!(honest.is_open() && !greedy.is_open());
    }

    #[test]
    fn the_queue_to_a_peer_that_does_not_read_is_bounded_in_bytes() {
        let limits = Limits {
            push_bytes_max: 1000,
            ..Limits::default()
        };
        let nowhere: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
        let (peer, mut queue) = Peer::new(1, (nowhere, nowhere), Encoding::Json, &limits);
        peer.push(frame(5000)).unwrap();
        assert!(matches!(peer.push(frame(1)), Err(PushError::Heavy(_, 5000))));
        drop(queue.try_recv().unwrap());
        let room = peer.room(600).unwrap();
        assert!(peer.room(600).is_err());
        drop(room);
        peer.room(600).unwrap().push(frame(600));
        peer.push(frame(400)).unwrap();
        assert!(peer.push(frame(1)).is_err());
        let lengths = std::iter::from_fn(|| Some(queue.try_recv().ok()?.frame.body.len()));
        assert_eq!(lengths.collect::<Vec<_>>(), [600, 400]);
    }
}
