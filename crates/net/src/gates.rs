// SPDX-License-Identifier: Apache-2.0
//! Answers that wait for their tickets, encoded already: when they pass, which nearly all do, their bytes go out as one piece.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use wire::code::ResponseCode;
use wire::frame::{Decoder, Encoding, Frame};

use crate::outbox::Outbox;
use crate::service::Ticket;
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
    pub(crate) opaque: i32,
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

    /// What their frames take.
    pub(crate) fn bytes(&self) -> usize {
        self.frames.len()
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
            opaque: frame.opaque,
            bytes: self.frames.len() - before,
        });
    }

    /// How many of the first pass.
    pub(crate) fn passed(&self, is_passed: impl Fn(&Ticket) -> bool) -> usize {
        self.tickets().take_while(|ticket| is_passed(ticket)).count()
    }

    /// Moves the first so many into the outbox.
    pub(crate) fn take(&mut self, count: usize, outbox: &mut Outbox) -> impl Iterator<Item = Gated> {
        let bytes = self.gates.iter().take(count).map(|gated| gated.bytes).sum();
        outbox.extend(&self.frames[..bytes]);
        if count == self.gates.len() {
            self.frames.clear();
        } else {
            self.frames.advance(bytes);
        }
        self.gates.drain(..count)
    }

    /// Goes through all of them, in their order; `leaves` is shown each with its frame. Those that stay move together where
    /// they lie: there may be very many, and few that leave.
    pub(crate) fn sift(&mut self, mut leaves: impl FnMut(&Gated, &[u8]) -> bool) {
        let Gates { gates, frames } = self;
        let (mut from, mut to) = (0, 0);
        gates.retain(|gated| {
            let frame = from..from + gated.bytes;
            from = frame.end;
            let stays = !leaves(gated, &frames[frame.clone()]);
            if stays {
                frames.copy_within(frame, to);
                to += gated.bytes;
            }
            stays
        });
        frames.truncate(to);
    }

    /// Whether it has room that nobody would notice otherwise.
    #[cfg(test)]
    pub(crate) fn has_room(&self) -> bool {
        self.frames.capacity() > 0 || self.gates.capacity() > 0
    }

    /// Gives back the room of a burst that is over.
    pub(crate) fn give_back(&mut self) {
        if self.is_empty() {
            *self = Gates::default();
        }
    }
}

impl Gated {
    /// The answer with the code for one that is late.
    pub(crate) fn late(&self, code: ResponseCode, bytes: &[u8]) -> Frame {
        let decoder = Decoder {
            frame_bytes_max: usize::MAX,
        };
        match decoder.next(&mut BytesMut::from(bytes)) {
            Ok(Some(frame)) => Frame {
                code: code.0,
                ..frame
            },
            // It was written here, but we read less than we write; it is an answer all the same.
            _ => Frame::reply(self.opaque, code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use wire::ext::Ext;

    fn gates(answers: &[Frame]) -> Gates {
        let mut gates = Gates::default();
        for answer in answers {
            gates.push(
                answer,
                Encoding::Json,
                (Ticket::of_nothing(), Asked::by(answer, None)),
            );
        }
        gates
    }

    fn answers(opaques: std::ops::Range<i32>) -> Vec<Frame> {
        opaques.map(|n| Frame::reply(n, ResponseCode::SUCCESS)).collect()
    }

    /// Whose frames there are, in their order.
    fn left(gates: &mut Gates) -> Vec<i32> {
        let mut opaques = Vec::new();
        gates.sift(|gated, bytes| {
            let frame = Decoder::default().next(&mut BytesMut::from(bytes));
            assert!(matches!(frame, Ok(Some(frame)) if frame.opaque == gated.opaque));
            opaques.push(gated.opaque);
            false
        });
        opaques
    }

    #[test]
    fn what_stays_keeps_its_order_and_its_place_in_memory() {
        let mut gates = gates(&answers(0..100));
        let place = gates.frames.as_ptr_range();
        drop(gates.take(5, &mut Outbox::default()));
        gates.sift(|gated, _| gated.opaque % 3 == 0);
        assert_eq!(
            left(&mut gates),
            (5..100).filter(|n| n % 3 != 0).collect::<Vec<_>>()
        );
        assert!(place.contains(&gates.frames.as_ptr()));
        gates.sift(|_, _| true);
        assert!(gates.is_empty() && gates.frames.is_empty());
    }

    #[test]
    fn room_is_given_back_when_nothing_waits_in_it() {
        let mut gates = gates(&answers(0..100));
        gates.give_back();
        assert_eq!(left(&mut gates).len(), 100);
        drop(gates.take(100, &mut Outbox::default()));
        assert!(gates.has_room());
        gates.give_back();
        assert!(!gates.has_room());
    }

    #[test]
    fn a_late_answer_that_cannot_be_read_again_is_told_without_its_fields() {
        let fields: BTreeMap<String, String> = (0..5000).map(|n| (n.to_string(), "x".to_owned())).collect();
        let many = Frame {
            ext: Ext::of(&fields),
            ..Frame::reply(7, ResponseCode::SUCCESS)
        };
        let few = Frame::reply(8, ResponseCode::SUCCESS).with_body("kept");
        let mut told = Vec::new();
        gates(&[many, few]).sift(|gated, bytes| {
            let frame = gated.late(ResponseCode::FLUSH_DISK_TIMEOUT, bytes);
            told.push((frame.opaque, frame.code, frame.body));
            true
        });
        let late = ResponseCode::FLUSH_DISK_TIMEOUT.0;
        assert_eq!(told, [(7, late, "".into()), (8, late, "kept".into())]);
    }
}
