// SPDX-License-Identifier: Apache-2.0
//! The second port of a broker, two below its own: senders use it (`vipChannelEnabled`), so that they do not wait behind pulls.

use std::sync::Arc;
use std::time::Duration;

use net::{Answered, BoxFuture, Due, Level, Outcome, Peer, Service, Ticket};
use wire::code::Code;
use wire::frame::Frame;

use crate::broker::Broker;

/// The port that takes no pulls.
pub(crate) struct FastPort(pub(crate) Arc<Broker>);

impl Service for FastPort {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        match Code(frame.code) {
            Code::PULL_MESSAGE
            | Code::LITE_PULL_MESSAGE
            | Code::PEEK_MESSAGE
            | Code::POP_MESSAGE
            | Code::NOTIFICATION
            | Code::POLLING_INFO => net::routes::unsupported(&frame),
            _ => self.0.serve(peer, frame),
        }
    }

    fn is_grouped(&self, code: i32) -> bool {
        self.0.is_grouped(code)
    }

    fn serve_group(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        frames: &mut Vec<Frame>,
        answer: &mut dyn FnMut(Outcome),
    ) {
        self.0.serve_group(peer, frames, answer);
    }

    fn keeps_frame(&self, code: i32) -> bool {
        self.0.keeps_frame(code)
    }

    fn has_staged(&self) -> bool {
        self.0.has_staged()
    }

    fn settle(&self, is_crowded: bool) {
        self.0.settle(is_crowded);
    }

    fn due(&self, ticket: &Ticket) -> Due {
        self.0.due(ticket)
    }

    fn progress(&self, level: Level) -> BoxFuture<()> {
        self.0.progress(level)
    }

    fn is_timed(&self) -> bool {
        self.0.is_timed()
    }

    fn answered(&self, how: Answered, count: u32, took: Duration) {
        self.0.answered(how, count, took);
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.0.closed(peer);
    }
}
