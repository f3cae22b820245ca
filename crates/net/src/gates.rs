// SPDX-License-Identifier: Apache-2.0
//! Answers that wait for their tickets, encoded already: when they pass, which nearly all do, their bytes go out as one piece.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use wire::frame::{Decoder, Encoding, Frame};

use crate::outbox::Outbox;
use crate::service::{Due, Ticket};
use crate::tally::Asked;

/// The answers of one connection, in the order of their requests.
#[derive(Default)]
pub(crate) struct Gates {
    gates: VecDeque<Gated>,
    /// The frames of all of them.
    frames: BytesMut,
}

/// An answer that waits.
pub(crate) struct Gated {
    pub(crate) ticket: Ticket,
    pub(crate) asked: Asked,
    /// The code of the answer if it passes.
    pub(crate) code: i32,
    /// The length of its frame.
    bytes: usize,
}

impl Gates {
    pub(crate) fn len(&self) -> usize {
        self.gates.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    pub(crate) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.gates.iter().map(|gated| &gated.ticket)
    }

    pub(crate) fn push(&mut self, frame: &Frame, encoding: Encoding, (ticket, asked): (Ticket, Asked)) {
        let before = self.frames.len();
        frame.encode(&mut self.frames, encoding);
        self.gates.push_back(Gated {
            ticket,
            asked,
            code: frame.code,
            bytes: self.frames.len() - before,
        });
    }

    /// Puts back what was popped, behind all others.
    pub(crate) fn push_encoded(&mut self, gated: Gated, bytes: &[u8]) {
        self.frames.extend_from_slice(bytes);
        self.gates.push_back(gated);
    }

    /// How many of the first pass.
    pub(crate) fn passed(&self, is_passed: impl Fn(&Ticket) -> bool) -> usize {
        self.tickets().take_while(|ticket| is_passed(ticket)).count()
    }

    /// Moves the first so many into the outbox.
    pub(crate) fn take(&mut self, count: usize, outbox: &mut Outbox) -> impl Iterator<Item = Gated> {
        let bytes = self.gates.iter().take(count).map(|gated| gated.bytes).sum();
        if count == self.gates.len() {
            outbox.extend(&self.frames);
            self.frames.clear();
        } else {
            outbox.extend(&self.frames.split_to(bytes));
        }
        self.gates.drain(..count)
    }

    pub(crate) fn pop(&mut self) -> Option<(Gated, Bytes)> {
        let gated = self.gates.pop_front()?;
        let bytes = self.frames.split_to(gated.bytes).freeze();
        Some((gated, bytes))
    }
}

impl Gated {
    /// The frame that goes out, given what became of the ticket.
    pub(crate) fn told(&self, due: Due, bytes: &[u8]) -> Option<Frame> {
        // What was encoded here is a frame.
        let decoder = Decoder {
            frame_bytes_max: usize::MAX,
        };
        let frame = decoder.next(&mut BytesMut::from(bytes)).ok()??;
        Some(match due {
            Due::Passed | Due::Waiting => frame,
            Due::Late(code) => Frame {
                code: code.0,
                ..frame
            },
            Due::Failed(fault) => fault.into_frame(frame.opaque),
        })
    }
}
