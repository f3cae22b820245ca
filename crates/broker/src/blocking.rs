// SPDX-License-Identifier: Apache-2.0
//! Work that may wait for the disk, off the threads that serve sockets.
//!
//! Each connection has a few turns ([`Peer::turns`]); what it asks beyond waits with it, unserved. A turn ends when the
//! work is done *and* its answer is taken (or nobody will take it): a peer that asks and does not read costs a few
//! answers, and one that asks and hangs up keeps no more threads busy than one that stays. Nothing that others need is held
//! by a future of a connection, because one that does not read is not polled.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use net::{Answer, Fault, Peer, Reply};
use store::env;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use wire::code::ResponseCode;

use crate::broker::Broker;

/// Requests that are worked on at the same time.
const WORKING_MAX: usize = 48;
/// Of them, those that bring groups or topics into being: they are written one after the other anyway.
const CREATING_MAX: usize = 2;
/// Bytes of requests that wait for such, all connections together.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How long sockets and timers may stand still with a disk that hangs.
const STALL: Duration = Duration::from_millis(20);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Workers {
    working: Arc<Semaphore>,
    creating: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Workers {
        Workers {
            working: Arc::new(Semaphore::new(WORKING_MAX)),
            creating: Arc::new(Semaphore::new(CREATING_MAX)),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
        }
    }
}

impl Workers {
    /// How many requests are worked on, and how many bring groups or topics into being.
    pub(crate) fn busy(&self) -> (usize, usize) {
        let taken = |max: usize, turns: &Semaphore| max.saturating_sub(turns.available_permits());
        (
            taken(WORKING_MAX, &self.working),
            taken(CREATING_MAX, &self.creating),
        )
    }

    /// Room for a request of so many bytes that waits for a topic or a group, as long as that is kept.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| {
            let remark = format!(
                "[OVERLOAD]system busy: {WAITING_BYTES_MAX} bytes of requests wait for topics and groups to be created"
            );
            Fault::new(ResponseCode::SYSTEM_BUSY, remark)
        })
    }
}

/// Runs work on the pool of threads that may wait.
pub(crate) async fn run<T: Send + 'static>(
    b: &Arc<Broker>,
    peer: &Peer,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    with_turn(&b.workers.working, peer, work).await
}

/// The same for work that the broker does by itself, which nobody's turns count.
pub(crate) async fn run_own<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    env::aside(work).await.map_err(|_| stopping())
}

/// An answer that is made there.
pub(crate) fn later<T: Send + 'static>(
    b: &Arc<Broker>,
    peer: &Arc<Peer>,
    work: impl FnOnce() -> Result<Reply<T>, Fault> + Send + 'static,
) -> Answer<T> {
    let (b, peer) = (Arc::clone(b), Arc::clone(peer));
    Answer::Later(Box::pin(async move {
        let maker = Arc::clone(&peer);
        let work = move || {
            let done = work();
            // It may wait here for long, and be large.
            let waiting = maker.finished(done.as_ref().map_or(0, |reply| reply.body.len()));
            (done, waiting)
        };
        let (done, _waited) = run(&b, &peer, work).await?;
        done
    }))
}

/// Runs work that brings groups or topics into being: a crowd of clients with new groups waits here and leaves the pool to
/// the readers.
pub(crate) async fn create<T: Send + 'static>(
    b: &Arc<Broker>,
    peer: &Peer,
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Result<T, Fault> {
    let broker = Arc::clone(b);
    with_turn(&b.workers.creating, peer, move || work(&broker)).await
}

/// Runs a request to its end elsewhere, or drops it with its connection.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(done) => done,
        Err(_) => Err(stopping()),
    }
}

async fn with_turn<T: Send + 'static>(
    shared: &Arc<Semaphore>,
    peer: &Peer,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let turn = Arc::clone(&peer.turns).acquire_owned().await;
    let turn = Arc::new(turn.map_err(|_| stopping())?);
    let (shared, kept) = (Arc::clone(shared), Arc::clone(&turn));
    let done = apart(async move {
        let place = shared.acquire_owned().await.map_err(|_| stopping())?;
        let work = move || {
            let done = work();
            drop((place, kept));
            done
        };
        env::aside(work).await.map_err(|_| stopping())
    });
    let done = done.await;
    drop(turn);
    done
}

/// Sees to it that sockets and timers are looked after while a thread of the runtime waits for the disk, until what is
/// returned is dropped. The runtime by itself wakes no other thread for them: the one that had them last may be the very one
/// that waits.
pub(crate) fn keep_turning(b: &Arc<Broker>, tasks: &TaskTracker) -> Sender<()> {
    let (store, runtime) = (Arc::clone(&b.store), Handle::current());
    let (running, ended) = mpsc::channel();
    if env::is_alone() {
        return running;
    }
    tasks.spawn_blocking(move || {
        while ended.recv_timeout(STALL) == Err(RecvTimeoutError::Timeout) {
            if store.is_at_disk() {
                // Any task from outside wakes a thread, which looks after everything then.
                runtime.spawn(async {});
            }
        }
    });
    running
}

/// The process is being torn down: nobody reads this.
fn stopping() -> Fault {
    Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, "the broker is stopping")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::BytesMut;
    use net::routes::outcome;
    use net::{Budget, Limits, Outcome, Server, Service};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;
    use wire::api::query::ViewMessageById;
    use wire::code::NoHeader;
    use wire::frame::{Encoding, Frame};

    use super::*;
    use crate::world::World;

    const ANSWER_BYTES: usize = 8 << 20;
    const TURNS: usize = 4;

    /// Answers all requests with as much as a frame takes, from another thread.
    struct Generous(Arc<Broker>);

    impl Service for Generous {
        fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
            let answer = later(&self.0, peer, || {
                Ok(Reply::ok(NoHeader).with_body(vec![7; ANSWER_BYTES]))
            });
            outcome::<ViewMessageById>(Ok(answer), frame.opaque, false)
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_answers_that_a_peer_asks_for_and_does_not_read_are_counted_in_full() {
        let world = World::new(1, &[]);
        let budget = Budget::of(1 << 30);
        let limits = Limits {
            turns_max: TURNS,
            reply_bytes_max: 1 << 20,
            budget: Arc::clone(&budget),
            ..Limits::default()
        };
        let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (addr, stop) = (listening.local_addr(), CancellationToken::new());
        let service = Arc::new(Generous(world.open(&[])));
        let serving = tokio::spawn(listening.serve(service, limits, stop.clone()));
        let mut greedy = TcpStream::connect(addr).await.unwrap();
        let mut all = BytesMut::new();
        for n in 0..20 {
            let frame = Frame::request(
                n,
                &ViewMessageById {
                    topic: None,
                    offset: 0,
                },
            );
            frame.encode(&mut all, Encoding::Json);
        }
        greedy.write_all(&all).await.unwrap();
        // One is on its way, and those of the other turns wait behind it.
        let in_full = (TURNS - 1) * ANSWER_BYTES;
        for _ in 0..1000 {
            if budget.held() >= in_full {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(budget.held() >= in_full, "{} of {in_full}", budget.held());
        drop(greedy);
        for _ in 0..1000 {
            if budget.held() < ANSWER_BYTES {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(budget.held() < ANSWER_BYTES, "{}", budget.held());
        stop.cancel();
        serving.await.unwrap();
    }
}
