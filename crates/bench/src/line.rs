// SPDX-License-Identifier: Apache-2.0
//! The one loop that every connection runs: let the work queue its requests, write them, take the answers, hand them
//! back. It makes a broken connection again, waiting longer each time, and tells the work what was lost with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::{Pipe, PipeError};
use wire::frame::{Encoding, Frame};

use crate::clock::Alarm;
use crate::flight::Flight;
use crate::shared::Shared;

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Waits between two tries to connect.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// At least so often a connection looks whether the run has ended and whether requests are late.
const LOOK_NS: u64 = 50_000_000;
/// Bytes that wait to be written; beyond them nothing more is queued.
const QUEUED_MAX: usize = 1 << 20;

/// When the work wants to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At this time of the run.
    At(u64),
    /// When something has come.
    Answer,
    /// When what was queued has left.
    Room,
    /// Never: it has finished.
    Done,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It took too long.
    Late,
    /// The connection broke.
    Broken,
    /// The run is over, and did not wait for it.
    Ended,
}

impl Lost {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Lost::Late => "no answer in time",
            Lost::Broken => "connection broke before the answer",
            Lost::Ended => "under way when the run was ended",
        }
    }

    /// The same of what had not even left.
    pub(crate) fn reason_unwritten(self) -> &'static str {
        match self {
            Lost::Late | Lost::Ended => "not written when the run was ended",
            Lost::Broken => "connection broke before it was written",
        }
    }
}

/// Messages that are queued and not written.
pub(crate) struct Leaving {
    /// They are when so much of the connection is: [`Line::queued_until`].
    pub(crate) until: u64,
    pub(crate) due: u64,
    pub(crate) messages: u64,
    /// Of their bodies.
    pub(crate) bytes: u64,
}

/// What one connection is for.
pub(crate) trait Work: Send {
    /// What is remembered of a request until its answer comes.
    type Asked: Send;

    /// Queues what may go now.
    fn feed(&mut self, line: &mut Line<Self::Asked>, now: u64) -> Next;

    /// An answer.
    fn answered(&mut self, asked: Self::Asked, frame: &Frame, now: u64);

    /// No answer.
    fn lost(&mut self, asked: Self::Asked, why: Lost, now: u64);

    /// Some of what was queued may have left.
    fn written(&mut self, line: &Line<Self::Asked>, now: u64) {
        let _ = (line, now);
    }

    /// What was queued and has not left never will.
    fn unwritten(&mut self, why: Lost, now: u64) {
        let _ = (why, now);
    }

    /// A request of the other side.
    fn request(&mut self, frame: &Frame, now: u64) {
        let _ = (frame, now);
    }

    /// The connection is there, for the first time or again.
    fn connected(&mut self) {}

    /// Whether a broken connection need not be made again.
    fn may_rest(&self, now: u64) -> bool {
        let _ = now;
        false
    }

    /// Nothing more is sent on this connection.
    fn ended(&mut self) {}
}

/// One connection, as its work sees it.
pub(crate) struct Line<T> {
    pipe: Pipe,
    flight: Flight<T>,
    /// Bytes that were queued on this connection so far.
    queued: u64,
}

impl<T> Line<T> {
    /// Whether one more request may go.
    pub(crate) fn has_room(&self) -> bool {
        !self.flight.is_full() && self.pipe.queued() < QUEUED_MAX
    }

    /// Whether as many requests are under way as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.flight.is_full()
    }

    /// Queues a request that is answered until `deadline`.
    pub(crate) fn ask(&mut self, mut frame: Frame, asked: T, deadline: u64) {
        frame.opaque = self.flight.put(asked, deadline);
        self.queue(&frame);
    }

    /// Queues a request that is not answered.
    pub(crate) fn tell(&mut self, frame: Frame) {
        self.queue(&frame.oneway());
    }

    fn queue(&mut self, frame: &Frame) {
        let before = self.pipe.queued();
        self.pipe.queue(frame);
        self.queued += (self.pipe.queued() - before) as u64;
    }

    /// Where the last request ends, in bytes of this connection.
    pub(crate) fn queued_until(&self) -> u64 {
        self.queued
    }

    /// How much of them has left.
    pub(crate) fn written_until(&self) -> u64 {
        self.queued - self.pipe.queued() as u64
    }

    /// Answers to what is under way are not waited for.
    pub(crate) fn forget(&mut self) {
        drop(self.flight.lost());
    }

    /// Whether everything that was queued has left.
    pub(crate) fn is_written(&self) -> bool {
        self.pipe.queued() == 0
    }
}

/// Connects for the first time. That it fails ends the run before it begins.
pub(crate) async fn connect(addr: SocketAddr) -> Result<Pipe, net::ConnectError> {
    Pipe::connect(addr, CONNECT_MAX, Encoding::Json).await
}

/// Runs the work on a connection until it is done, or the run is over. An error is one of this side's: the connection does
/// nothing more, and what is due on it until the end was not sent.
pub(crate) async fn drive<W: Work>(
    mut work: W,
    (pipe, addr): (Pipe, SocketAddr),
    mut alarm: Alarm,
    in_flight: usize,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let mut fault = Ok(());
    let flight = Flight::new(in_flight);
    let mut line = Line {
        pipe,
        flight,
        queued: 0,
    };
    let mut next_look = 0;
    work.connected();
    while !shared.is_over() {
        let now = shared.clock.now();
        work.written(&line, now);
        if now >= next_look {
            next_look = now + LOOK_NS;
            for asked in line.flight.expired(now) {
                work.lost(asked, Lost::Late, now);
            }
        }
        let next = work.feed(&mut line, now);
        let flushed = line.pipe.flush();
        work.written(&line, shared.clock.now());
        if next == Next::Done && line.flight.len() == 0 && line.is_written() {
            break;
        }
        let turned = match flushed {
            Ok(_) => turn(&mut line, next, (now, next_look), &mut alarm).await,
            Err(error) => Ok(Err(error)),
        };
        let turned = match turned {
            Ok(turned) => turned,
            Err(error) => {
                lose(&mut work, &mut line, Lost::Broken, &shared);
                unneeded(&work, &shared).await;
                fault = Err(error);
                break;
            }
        };
        if let Err(error) = turned.and_then(|()| take(&mut work, &mut line, &shared)) {
            lose(&mut work, &mut line, Lost::Broken, &shared);
            match again(addr, &work, (&shared, &error)).await {
                Some(pipe) => (line.pipe, line.queued) = (pipe, 0),
                None => break,
            }
            work.connected();
        }
    }
    lose(&mut work, &mut line, Lost::Ended, &shared);
    work.ended();
    fault
}

/// Tells the work of everything that is under way that it is lost.
fn lose<W: Work>(work: &mut W, line: &mut Line<W::Asked>, why: Lost, shared: &Shared) {
    let now = shared.clock.now();
    for asked in line.flight.lost() {
        work.lost(asked, why, now);
    }
    work.unwritten(why, now);
}

/// Writes what has not left, and waits until something has come or the work wants to go on.
async fn turn<T>(
    line: &mut Line<T>,
    next: Next,
    (now, next_look): (u64, u64),
    alarm: &mut Alarm,
) -> std::io::Result<Result<(), PipeError>> {
    let until = match next {
        Next::At(at) => at.min(next_look),
        Next::Room if line.is_written() => now,
        Next::Room => next_look,
        Next::Done | Next::Answer => next_look,
    };
    tokio::select! {
        biased;
        turned = line.pipe.turn() => Ok(turned),
        rung = alarm.after(until.saturating_sub(now)) => rung.map(Ok),
    }
}

/// Hands over everything that has come.
fn take<W: Work>(work: &mut W, line: &mut Line<W::Asked>, shared: &Shared) -> Result<(), PipeError> {
    let now = shared.clock.now();
    while let Some(frame) = line.pipe.frame()? {
        if !frame.is_reply() {
            work.request(&frame, now);
        } else if let Some(asked) = line.flight.take(frame.opaque) {
            work.answered(asked, &frame, now);
        }
    }
    Ok(())
}

/// A new connection in place of a broken one; `None` when it is not needed any more. What is due in the meantime waits.
async fn again<W: Work>(addr: SocketAddr, work: &W, (shared, error): (&Shared, &PipeError)) -> Option<Pipe> {
    shared.note_break(&format!("connection to {addr}: {error}"));
    tokio::select! {
        biased;
        () = unneeded(work, shared) => None,
        pipe = reconnect(addr, shared) => Some(pipe),
    }
}

/// Returns when a connection is not needed any more.
async fn unneeded<W: Work>(work: &W, shared: &Shared) {
    while !shared.is_over() && !work.may_rest(shared.clock.now()) {
        tokio::time::sleep(PAUSE_MIN).await;
    }
}

async fn reconnect(addr: SocketAddr, shared: &Shared) -> Pipe {
    let mut pause = PAUSE_MIN;
    loop {
        tokio::time::sleep(pause).await;
        match connect(addr).await {
            Ok(pipe) => {
                shared.note_reconnect();
                return pipe;
            }
            Err(error) => shared.note_break(&error.to_string()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use wire::api::heartbeat::HeartBeat;

    use super::*;
    use crate::clock::tests::broken_alarm;
    use crate::options::{Kind, Options};

    /// Asks once and waits for the answer; writes down what it is told.
    struct Once {
        shared: Arc<Shared>,
        asked: bool,
        told: tokio::sync::mpsc::UnboundedSender<(&'static str, u64)>,
    }

    impl Once {
        fn tell(&self, what: &'static str) {
            self.told.send((what, self.shared.clock.now())).unwrap();
        }
    }

    impl Work for Once {
        type Asked = ();

        fn feed(&mut self, line: &mut Line<()>, _now: u64) -> Next {
            if !self.asked {
                line.ask(Frame::request(0, &HeartBeat {}), (), u64::MAX);
            }
            self.asked = true;
            Next::Answer
        }

        fn answered(&mut self, (): (), _frame: &Frame, _now: u64) {
            self.tell("answered");
        }

        fn lost(&mut self, (): (), why: Lost, _now: u64) {
            self.tell(why.reason());
        }

        fn may_rest(&self, now: u64) -> bool {
            now >= self.shared.end()
        }

        fn ended(&mut self) {
            self.tell("ended");
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_timer_loses_what_is_under_way_and_ends_when_the_run_does() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let pipe = connect(addr).await.unwrap();
        let options = Options {
            duration: Duration::from_millis(200),
            ..Options::new(Kind::Produce)
        };
        let shared = Arc::new(Shared::new(&options, 1));
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let work = Once {
            shared: Arc::clone(&shared),
            asked: false,
            told,
        };
        let end = shared.end();
        let driven = drive(work, (pipe, addr), broken_alarm(), 1, shared).await;
        assert_eq!(driven.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(heard.recv().await.unwrap().0, Lost::Broken.reason());
        let (what, at) = heard.recv().await.unwrap();
        assert!(what == "ended" && at >= end, "{what} at {at}, the end is {end}");
    }
}
