// SPDX-License-Identifier: Apache-2.0
//! What stands behind a server's sockets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use wire::code::ResponseCode;
use wire::frame::Frame;

use crate::peer::Peer;
use crate::routes::Fault;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How safe the bytes behind an answer must be before it may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// In the page cache: survives the end of the process.
    Written,
    /// On disk: survives a power loss.
    Durable,
}

/// What an answer waits for: a position of the log, in one generation of it, at a level of safety.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// The end of what was appended.
    pub pos: i64,
    /// Changes when an append failed and positions are used again.
    pub generation: u32,
    /// How safe the bytes must be.
    pub level: Level,
    /// From then on the answer goes out late, with another code (see [`Due::Late`]).
    pub deadline: Option<tokio::time::Instant>,
    /// Who else must have them.
    pub copies: Copies,
}

/// How many others must have the bytes behind an answer before it may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Nobody.
    None,
    /// There are not enough others: the answer goes out with the code for that, once the bytes are safe here.
    Missing,
    /// So many, by then; later the answer goes out late.
    Until(usize, tokio::time::Instant),
}

impl Ticket {
    /// When the answer goes out though something is missing, if that was still to come at a moment: one before
    /// [`Service::due`] was asked, so that no deadline is passed over by both.
    pub fn next_deadline(&self, now: tokio::time::Instant) -> Option<tokio::time::Instant> {
        let copies = match self.copies {
            Copies::Until(_, deadline) => Some(deadline),
            Copies::None | Copies::Missing => None,
        };
        let both = [self.deadline, copies].into_iter().flatten();
        both.filter(|deadline| *deadline > now).min()
    }
}

#[cfg(test)]
impl Ticket {
    /// One that has nothing to wait for.
    pub(crate) fn of_nothing() -> Ticket {
        Ticket {
            pos: 0,
            generation: 0,
            level: Level::Written,
            deadline: None,
            copies: Copies::None,
        }
    }
}

/// What has become of a ticket.
#[derive(Debug)]
pub enum Due {
    /// The answer may go out.
    Passed,
    /// Not yet.
    Waiting,
    /// Time is up: the answer goes out with this code.
    Late(ResponseCode),
    /// It will never be: this goes out instead of the answer.
    Failed(Fault),
}

/// An answer that took its time.
pub struct Late {
    /// What is sent.
    pub frame: Frame,
    /// Whether it waited for something to happen, and not for work to be done.
    pub waited: bool,
}

impl From<Frame> for Late {
    fn from(frame: Frame) -> Late {
        Late { frame, waited: false }
    }
}

/// What a service makes of one request.
pub enum Outcome {
    /// Nothing is sent.
    Silent,
    /// Nothing is sent because nobody waits for an answer; this would have been its code.
    Oneway(ResponseCode),
    /// Sent at once.
    Reply(Frame),
    /// Sent when the ticket is due.
    Gated(Frame, Ticket),
    /// Sent when the future ends; dropped with the connection.
    Later(BoxFuture<Option<Late>>),
}

/// How a request ended, for those who measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Its code.
    pub request: i32,
    /// The code of the answer.
    pub response: i32,
    /// What became of the answer.
    pub manner: Manner,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// It was handed to the system.
    Sent,
    /// The same, after it had waited for something to happen.
    SentAfterWait,
    /// Nobody waited for one.
    Oneway,
    /// The connection took it no more.
    Unsent,
}

/// The requests of a server. One value serves all connections.
pub trait Service: Send + Sync + 'static {
    /// Takes one request. Must not block: what waits goes into [`Outcome::Later`] or [`Outcome::Gated`].
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome;

    /// Whether requests of this code that arrive together are taken together ([`Service::serve_group`]).
    fn is_grouped(&self, code: i32) -> bool {
        let _ = code;
        false
    }

    /// Whether something of the frame of such a request may be kept while its answer takes its time. The frame then has its
    /// own copy of its bytes, so that it does not keep those of others.
    fn keeps_frame(&self, code: i32) -> bool {
        let _ = code;
        true
    }

    /// Takes requests that arrived together, one or more, and says what becomes of each, in their order.
    fn serve_group(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        frames: &mut Vec<Frame>,
        answer: &mut dyn FnMut(Outcome),
    ) {
        for frame in frames.drain(..) {
            answer(self.serve(peer, frame));
        }
    }

    /// Whether requests of administrators may come from there; those from elsewhere are refused.
    fn may_administer(&self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// Whether what this thread has served since it was last asked has to be settled.
    fn has_staged(&self) -> bool {
        true
    }

    /// Called once after all requests that arrived together were served, if they have staged anything: the moment to write it. Where it is
    /// crowded, other connections are being served at the same time.
    fn settle(&self, is_crowded: bool) {
        let _ = is_crowded;
    }

    /// Whether a gated answer may go out.
    fn due(&self, ticket: &Ticket) -> Due {
        let _ = ticket;
        Due::Passed
    }

    /// Ends when any ticket of this level may have become due; for [`Level::Written`] those of the other one too. Made before
    /// `due` is asked again, so that no progress is missed.
    fn progress(&self, level: Level) -> BoxFuture<()> {
        let _ = level;
        Box::pin(std::future::pending())
    }

    /// Whether [`Service::answered`] wants to know anything: nothing is measured otherwise.
    fn is_timed(&self) -> bool {
        false
    }

    /// So many requests that arrived together ended in the same way, and took so long.
    fn answered(&self, how: Answered, count: u32, took: Duration) {
        let _ = (how, count, took);
    }

    /// The connection has ended.
    fn closed(&self, peer: &Arc<Peer>) {
        let _ = peer;
    }
}
