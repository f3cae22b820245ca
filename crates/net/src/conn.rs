// SPDX-License-Identifier: Apache-2.0
//! One connection: reads frames, serves them, writes the answers. It owns all requests of its peer; when the peer
//! goes, they go.
//!
//! All frames that arrived together are served before anything is written ([`Service::settle`] in between), so that a
//! pipelined connection costs one read, one append and one write per batch, and no task or wake-up per request. Where
//! many connections are busy, each lets the others be served before it settles ([`Crowd`]): what they all appended is
//! then written at once.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wire::frame::{Frame, FrameError};

use crate::budget::{Portion, STEP};
use crate::gates::Gates;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::peer::{Peer, Pushed};
use crate::service::{BoxFuture, Due, Late, Level, Manner, Outcome, Service};
use crate::socket::{Reader, Stream, Writer};
use crate::tally::{Asked, Done, Tally, Timed};
use crate::waiting::Waiting;

/// Bytes that are taken from one connection before the others get their turn. Without it one that sends without pause keeps
/// its thread until the runtime takes it away, which is after a hundred large reads.
const UNBROKEN_BYTES: usize = 256 * 1024;
/// Most requests that are taken together.
const GROUP_MAX: usize = 64;
/// The idle time is checked in this many steps.
const IDLE_STEPS: u32 = 4;
/// What a request costs that is held, with a frame of up to this size.
const HELD_BYTES: usize = 1024;
/// It may hold so many times as much in these as may wait for it in answers.
const HELD_SHARES: usize = 4;
/// So many it may always hold: pulls of a client that reads 2,000 queues, and what else it asks.
const HELD_MIN: usize = 2560;
/// And one that keeps other threads busy, or whose answer waits to be taken: the size of a large one. What an answer has beyond
/// it is counted when it is finished ([`Peer::finished`]).
pub(crate) const TURN_BYTES: usize = 256 * 1024;

/// Connections served since a connection was served itself, from which on it waits for the others.
const CROWD: u64 = 4;

/// What moves a connection.
#[derive(Debug, Default)]
struct Since {
    has_read: bool,
    has_frame: bool,
    has_written: bool,
    /// For how many steps nothing moved, no frame became complete, and nothing was read of what waits.
    idle: u32,
    unfinished: u32,
    unread: u32,
}

/// Counts how often connections of a server were served.
#[derive(Debug, Default)]
pub(crate) struct Crowd(AtomicU64);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("closed by us")]
    ByUs,
    #[error("idle")]
    Idle,
    #[error("a frame is not complete after {0:?}")]
    Unfinished(Duration),
    #[error("{0} bytes of answers wait, of which nothing was read for {1:?}")]
    Unread(usize, Duration),
    #[error(transparent)]
    Malformed(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) struct Conn<S: Service> {
    service: Arc<S>,
    peer: Arc<Peer>,
    limits: Arc<Limits>,
    crowd: Arc<Crowd>,
    /// What the crowd had counted when this connection was served last.
    counted: u64,
    inbox: Inbox,
    outbox: Outbox,
    gated: Gates,
    /// When it was looked last whether they are due.
    looked: Instant,
    held: FuturesUnordered<Timed>,
    /// What their frames have beyond [`HELD_BYTES`].
    held_bytes: usize,
    /// Ends when gated answers of this level may be due.
    progress: Option<(Level, BoxFuture<()>)>,
    pushed: mpsc::Receiver<Pushed>,
    /// Bytes taken since others had their turn.
    taken_bytes: usize,
    /// How long they had waited to be read.
    waiting: Waiting,
    /// What has happened since the last step of the idle time.
    since: Since,
    /// What all of this takes, as the budget knows it.
    portion: Portion,
    /// What may wait for it, as the budget is now.
    share: usize,
    /// From so many bytes of answers on no more are made.
    reply_bytes_max: usize,
    /// How many turns its peer has now.
    turns: usize,
    /// Requests that are taken together, and what is known of each.
    group: Vec<Frame>,
    group_asked: VecDeque<(Asked, usize)>,
    /// Complete frames may lie in `inbox`, left there because a limit was reached.
    backlog: bool,
    /// How requests ended whose answers are in the outbox.
    tally: Tally,
}

impl<S: Service> Conn<S> {
    pub(crate) fn new(
        service: Arc<S>,
        peer: Arc<Peer>,
        pushed: mpsc::Receiver<Pushed>,
        (limits, crowd): (Arc<Limits>, Arc<Crowd>),
    ) -> Conn<S> {
        let portion = limits.budget.join((peer.addr, &peer.closing), STEP);
        Conn {
            service,
            peer,
            inbox: Inbox::new(limits.frame_bytes_max),
            portion,
            share: usize::MAX,
            reply_bytes_max: limits.reply_bytes_max,
            turns: limits.turns_max,
            limits,
            crowd,
            counted: 0,
            outbox: Outbox::default(),
            gated: Gates::default(),
            looked: Instant::now(),
            held: FuturesUnordered::new(),
            held_bytes: 0,
            progress: None,
            pushed,
            taken_bytes: 0,
            waiting: Waiting::default(),
            since: Since {
                has_read: true,
                ..Since::default()
            },
            group: Vec::new(),
            group_asked: VecDeque::new(),
            backlog: false,
            tally: Tally::default(),
        }
    }

    /// Serves the connection until either side ends it.
    pub(crate) async fn run(mut self, mut stream: Stream, stop: CancellationToken) {
        let closing = self.peer.closing.clone();
        let ended = tokio::select! {
            biased;
            () = closing.cancelled() => Ended::ByUs,
            ended = self.exchange(&mut stream, &stop) => ended,
        };
        match &ended {
            Ended::Malformed(error) => warn!(peer = %self.peer.addr, %error, "closing: malformed frame"),
            Ended::Unfinished(_) | Ended::Unread(..) => {
                warn!(peer = %self.peer.addr, error = %ended, "closing: too slow");
            }
            other => debug!(peer = %self.peer.addr, reason = %other, "connection ended"),
        }
        self.peer.ended();
        self.service.closed(&self.peer);
    }

    async fn exchange(&mut self, stream: &mut Stream, stop: &CancellationToken) -> Ended {
        let step = self.limits.idle / IDLE_STEPS;
        let mut idle = pin!(sleep_until(Instant::now() + step));
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut is_set = false;
        let mut stopping = pin!(stop.cancelled());
        let (mut reader, writer) = stream.split();
        let stream = &writer;
        loop {
            if let Err(ended) = self.work(stream).await {
                return ended;
            }
            if self.taken_bytes >= UNBROKEN_BYTES {
                self.taken_bytes = 0;
                tokio::task::yield_now().await;
            }
            // Looked at here and not only below: a peer that sends without pause wins every `select!`.
            if stop.is_cancelled() {
                return self.drain(stream).await;
            }
            // It may ring too early, for an answer that has left: setting it anew for each would be dear.
            if let Some(deadline) = self.deadline().filter(|at| !is_set || *at < alarm.deadline()) {
                alarm.as_mut().reset(deadline);
                is_set = true;
            }
            let reading = self.may_take();
            if reading {
                self.inbox.make_room();
            }
            self.portion.note(self.bytes());
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.inbox.bytes), if reading => match read {
                    Ok(0) => return Ended::ByPeer,
                    Ok(n) => {
                        self.since.has_read = true;
                        self.taken_bytes += n;
                        self.inbox.took(n);
                        self.note_wait(&reader, n);
                    }
                    Err(e) => return e.into(),
                },
                Some(done) = self.held.next(), if !self.held.is_empty() && self.may_answer() => {
                    self.reply(done);
                }
                () = poll_some(&mut self.progress) => self.progress = None,
                Some(pushed) = self.pushed.recv(), if self.may_answer() => {
                    self.outbox.push(&pushed.frame, self.peer.encoding);
                }
                ready = stream.writable(), if !self.outbox.is_empty() => if let Err(e) = ready { return e.into() },
                () = &mut alarm, if is_set => is_set = false,
                () = &mut idle => {
                    self.give_back();
                    if let Some(ended) = self.stands_still() {
                        return ended;
                    }
                    idle.as_mut().reset(Instant::now() + step);
                }
                () = &mut stopping => return self.drain(stream).await,
            }
        }
    }

    /// Takes note of how long bytes that were just read had waited. Where a read has left some, it looks now and then how many.
    fn note_wait(&mut self, reader: &Reader<'_>, bytes: usize) {
        self.peer.set_waited(self.waiting.took(bytes, Instant::now));
        let is_all = self.inbox.bytes.len() < self.inbox.bytes.capacity();
        if is_all {
            return;
        }
        let now = Instant::now();
        if self.waiting.is_due(now) {
            self.waiting.saw(reader.unread(), now);
        }
    }

    /// Serves what has arrived, lets the service write, and sends what may go out.
    async fn work(&mut self, stream: &Writer<'_>) -> Result<(), Ended> {
        loop {
            self.take_share();
            let (served, arrived) = self.serve_arrived();
            if served {
                let is_crowded = self.is_crowded();
                // Whoever has staged nothing does not write for others: a disk that hangs would keep its answers, too.
                if self.service.has_staged() {
                    if is_crowded {
                        // Others may bring more to write.
                        tokio::task::yield_now().await;
                    }
                    self.service.settle(is_crowded);
                }
            }
            self.release_gated();
            self.collect();
            let before = self.outbox.bytes();
            let written = self.outbox.write(stream);
            self.tally.report(&*self.service, written.is_ok());
            written?;
            self.since.has_written |= self.outbox.bytes() < before;
            self.portion.note(self.bytes());
            // Only now: what came before the bad frame is a request like any other.
            arrived?;
            if !self.backlog || !self.may_take() {
                return Ok(());
            }
        }
    }

    /// Whether others are so busy that it is worth while to wait for them.
    fn is_crowded(&mut self) -> bool {
        let before = self.crowd.0.fetch_add(1, Ordering::Relaxed);
        let others = before.wrapping_sub(self.counted);
        self.counted = before.wrapping_add(1);
        others >= CROWD
    }

    /// Whether any frame was served, and whether what arrived was well formed.
    fn serve_arrived(&mut self) -> (bool, Result<(), FrameError>) {
        let mut served = false;
        // One look at the clock for all that arrived together.
        let arrived = (!self.inbox.is_empty() && self.service.is_timed()).then(Instant::now);
        self.backlog = false;
        while !self.inbox.is_empty() {
            if !self.may_take() {
                self.backlog = true;
                break;
            }
            let (mut frame, bytes) = match self.inbox.next() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(malformed) => {
                    self.serve_group();
                    return (served, Err(malformed));
                }
            };
            served = true;
            self.since.has_frame = true;
            if frame.is_reply() {
                self.inbox.detach(&mut frame, bytes);
                self.peer.answered(frame);
                continue;
            }
            if self.service.keeps_frame(frame.code) {
                self.inbox.detach(&mut frame, bytes);
            }
            let bytes = bytes.saturating_sub(HELD_BYTES);
            let asked = Asked::by(&frame, arrived);
            if self.service.is_grouped(frame.code) {
                self.group.push(frame);
                self.group_asked.push_back((asked, bytes));
                if self.group.len() >= GROUP_MAX {
                    self.serve_group();
                }
                continue;
            }
            self.serve_group();
            let outcome = self.service.serve(&self.peer, frame);
            self.note((asked, bytes), outcome);
        }
        self.serve_group();
        (served, Ok(()))
    }

    fn serve_group(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let (service, peer) = (Arc::clone(&self.service), Arc::clone(&self.peer));
        let mut group = std::mem::take(&mut self.group);
        service.serve_group(&peer, &mut group, &mut |outcome| {
            if let Some(asked) = self.group_asked.pop_front() {
                self.note(asked, outcome);
            }
        });
        group.clear();
        self.group = group;
    }

    /// Notes what becomes of a request, whose frame has so many bytes beyond those of most.
    fn note(&mut self, (asked, bytes): (Asked, usize), outcome: Outcome) {
        match outcome {
            Outcome::Silent => {}
            Outcome::Oneway(code) => self.tally.add(asked, code.0, Manner::Oneway),
            Outcome::Reply(frame) => {
                // What the handler pushed to its own peer comes before the answer.
                self.take_pushed();
                self.send(asked, &frame, Manner::Sent);
            }
            Outcome::Gated(frame, ticket) => self.gated.push(&frame, self.peer.encoding, (ticket, asked)),
            Outcome::Later(future) => {
                self.held_bytes += bytes;
                self.held.push(Timed { asked, bytes, future });
            }
        }
    }

    /// Sends the gated answers that are due; arms `progress` when some are not.
    fn release_gated(&mut self) {
        self.pass_gated();
        let Some(level) = self.awaited() else {
            self.progress = None;
            return;
        };
        if self.progress.as_ref().is_none_or(|(armed, _)| *armed != level) {
            self.progress = Some((level, self.service.progress(level)));
            self.pass_gated();
        }
    }

    /// The least that a gated answer waits for.
    fn awaited(&self) -> Option<Level> {
        let mut levels = self.gated.tickets().map(|ticket| ticket.level);
        let first = levels.next()?;
        let is_same = levels.all(|level| level == first);
        Some(if is_same { first } else { Level::Written })
    }

    fn pass_gated(&mut self) {
        if !self.gated.is_empty() {
            self.looked = Instant::now();
        }
        // Mostly all pass, and their bytes move on as one piece.
        let passed = self
            .gated
            .passed(|ticket| matches!(self.service.due(ticket), Due::Passed));
        for gated in self.gated.take(passed, &mut self.outbox) {
            self.tally.add(gated.asked, gated.code, Manner::Sent);
        }
        let is_waiting = |ticket| matches!(self.service.due(ticket), Due::Waiting);
        if self.gated.tickets().all(is_waiting) {
            return;
        }
        let (service, outbox, tally) = (&self.service, &mut self.outbox, &mut self.tally);
        self.gated.sift(|gated, bytes| {
            let frame = match service.due(&gated.ticket) {
                Due::Waiting => return false,
                Due::Passed => {
                    outbox.extend(bytes);
                    tally.add(gated.asked, gated.code, Manner::Sent);
                    return true;
                }
                Due::Late(code) => gated.late(code, bytes),
                Due::Failed(fault) => fault.into_frame(gated.opaque),
            };
            outbox.push(&frame, self.peer.encoding);
            tally.add(gated.asked, frame.code, Manner::Sent);
            true
        });
    }

    /// Takes every held answer that is ready and every push: they must not wait until the peer stops sending, and they
    /// leave in one write. Looked at without a waker: `exchange` polls both again before it waits.
    fn collect(&mut self) {
        self.take_pushed();
        while self.may_answer() {
            if self.held.is_empty() {
                return;
            }
            let Some(Some(done)) = self.held.next().now_or_never() else {
                return;
            };
            self.take_pushed();
            self.reply(done);
        }
    }

    fn take_pushed(&mut self) {
        while self.may_answer() {
            let Ok(pushed) = self.pushed.try_recv() else {
                return;
            };
            self.outbox.push(&pushed.frame, self.peer.encoding);
        }
    }

    fn reply(&mut self, Done { asked, bytes, late }: Done) {
        self.held_bytes -= bytes;
        match late {
            Some(late) if asked.is_oneway => self.tally.add(asked, late.frame.code, Manner::Oneway),
            Some(Late { frame, waited: true }) => self.send(asked, &frame, Manner::SentAfterWait),
            Some(late) => self.send(asked, &late.frame, Manner::Sent),
            None => {}
        }
    }

    fn send(&mut self, asked: Asked, frame: &Frame, manner: Manner) {
        self.outbox.push(frame, self.peer.encoding);
        self.tally.add(asked, frame.code, manner);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.gated.is_empty() {
            return None;
        }
        let tickets = self.gated.tickets();
        tickets
            .filter_map(|ticket| ticket.next_deadline(self.looked))
            .min()
    }

    fn may_answer(&self) -> bool {
        self.outbox.bytes() < self.reply_bytes_max
    }

    fn may_take(&self) -> bool {
        self.may_answer()
            && self.gated.len() + self.group.len() < self.limits.gated_max
            && self.held.len() + self.group.len() < self.limits.held_max
            && self.held_bytes < self.limits.held_bytes_max
            && (self.held.len() < HELD_MIN || self.held.len() * HELD_BYTES / HELD_SHARES < self.share)
    }

    /// The less is left for all, the less may wait for one that does not read, and the less is done for it at the same time.
    fn take_share(&mut self) {
        let share = self.portion.budget().share();
        self.share = share;
        self.reply_bytes_max = share.min(self.limits.reply_bytes_max);
        let turns = (share / TURN_BYTES).min(self.limits.turns_max).max(1);
        if turns < self.turns {
            self.turns -= self.peer.turns.forget_permits(self.turns - turns);
        } else if turns > self.turns {
            self.peer.turns.add_permits(turns - self.turns);
            self.turns = turns;
        }
    }

    /// What it holds.
    fn bytes(&self) -> usize {
        let answers = self.outbox.bytes() + self.gated.bytes();
        let mut held = 0;
        if !self.held.is_empty() {
            let turns = self.turns.saturating_sub(self.peer.turns.available_permits());
            held = self.held.len() * HELD_BYTES + self.held_bytes + turns * TURN_BYTES;
        }
        self.inbox.held() + answers + held
    }

    /// Called at each step of the idle time: whether there have been too many in which nothing happened that should.
    fn stands_still(&mut self) -> Option<Ended> {
        let waited = !self.inbox.is_empty() && !self.backlog && self.may_take();
        let is_unread = !self.outbox.is_empty();
        let since = &mut self.since;
        let still = |steps: &mut u32, is_still: bool| {
            *steps = if is_still { *steps + 1 } else { 0 };
            *steps >= IDLE_STEPS
        };
        let idle = still(&mut since.idle, !since.has_read && !since.has_written);
        let unfinished = still(&mut since.unfinished, waited && !since.has_frame);
        let unread = still(&mut since.unread, is_unread && !since.has_written);
        (since.has_read, since.has_frame, since.has_written) = (false, false, false);
        if unread {
            Some(Ended::Unread(self.outbox.bytes(), self.limits.idle))
        } else if idle {
            Some(Ended::Idle)
        } else if unfinished {
            Some(Ended::Unfinished(self.limits.idle))
        } else {
            None
        }
    }

    /// Gives back the room of bursts that are over. Done each step of the idle time, whatever came in it: a heartbeat must
    /// not keep it, and a busy connection gets it again for one allocation.
    fn give_back(&mut self) {
        self.inbox.give_back();
        self.gated.give_back();
        if self.outbox.is_empty() {
            self.outbox = Outbox::default();
        }
        if self.group.is_empty() {
            (self.group, self.group_asked) = Default::default();
        }
    }

    /// The server stops: no more requests are read, held ones are dropped, gated answers get a moment.
    async fn drain(&mut self, stream: &Writer<'_>) -> Ended {
        let until = Instant::now() + self.limits.drain;
        loop {
            self.release_gated();
            self.take_pushed();
            let written = self.outbox.write(stream);
            self.tally.report(&*self.service, written.is_ok());
            match written {
                Ok(true) if self.gated.is_empty() => return Ended::ByUs,
                Ok(_) => {}
                Err(e) => return e.into(),
            }
            tokio::select! {
                () = poll_some(&mut self.progress) => self.progress = None,
                ready = stream.writable(), if !self.outbox.is_empty() => if let Err(e) = ready { return e.into() },
                () = sleep_until(until) => return Ended::ByUs,
            }
        }
    }
}

/// Waits for the future if there is one, for ever if not.
async fn poll_some(future: &mut Option<(Level, BoxFuture<()>)>) {
    match future {
        Some((_, future)) => Pin::new(future).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Ticket;
    use bytes::BytesMut;
    use std::net::Ipv4Addr;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use wire::code::ResponseCode;
    use wire::frame::Encoding;

    /// Everything passes at once.
    struct Passing;

    impl Service for Passing {
        fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
            let reply = Frame::reply(frame.opaque, ResponseCode::SUCCESS);
            Outcome::Gated(reply, Ticket::of_nothing())
        }

        fn is_grouped(&self, _: i32) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn an_idle_connection_keeps_no_room_of_a_burst() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Stream::System(stream);
        let limits = Arc::new(Limits {
            idle: Duration::from_millis(40),
            ..Limits::default()
        });
        let (peer, pushed) = Peer::new(1, (addr, addr), Encoding::Json, &limits);
        let shared = (limits, Arc::default());
        let mut conn = Conn::new(Arc::new(Passing), Arc::new(peer), pushed, shared);
        let mut burst = BytesMut::new();
        for n in 0..200 {
            let ask = Frame {
                flag: 0,
                ..Frame::reply(n, ResponseCode::SUCCESS)
            };
            ask.encode(&mut burst, Encoding::Json);
        }
        client.write_all(&burst).await.unwrap();
        let ended = conn.exchange(&mut stream, &CancellationToken::new()).await;
        assert!(matches!(ended, Ended::Idle), "{ended}");
        assert_eq!((conn.group.capacity(), conn.group_asked.capacity()), (0, 0));
        assert!(!conn.gated.has_room());
    }
}
