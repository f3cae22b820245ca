// SPDX-License-Identifier: Apache-2.0
//! Transactions on one connection: a half message when it is due, its end when the half is answered, and the answers to
//! the broker's questions about those whose end it was not told.

use std::collections::VecDeque;
use std::sync::Arc;

use wire::Str;
use wire::api::heartbeat::HeartBeat;
use wire::api::send::SendReceipt;
use wire::api::transaction::{CheckTransactionState, EndTransaction};
use wire::body::subscription::{HeartbeatBody, ProducerData};
use wire::code::Code;
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::record::{RecordHead, sysflag};

use crate::body::Head;
use crate::line::{Leaving, Line, Lost, Next, Work};
use crate::message::Maker;
use crate::produce::{close_in_time, give_up, is_at_end, next, take};
use crate::receive::Fate;
use crate::schedule::{SECOND_NS, Schedule};
use crate::shared::{Question, Shared};
use crate::tally::Measure;

/// A broker forgets a producer that says nothing for two minutes.
const HEARTBEAT_NS: u64 = 30 * SECOND_NS;
/// Answers to questions of the broker that wait to be written; a broker asks again.
const CHECKS_MAX: usize = 1 << 16;

/// A connection that runs transactions.
pub(crate) struct Transact {
    shared: Arc<Shared>,
    connection: usize,
    schedule: Schedule,
    maker: Maker,
    /// Ends that are to be told.
    ends: VecDeque<End>,
    /// Answers to checks.
    checked: VecDeque<EndTransaction>,
    next_beat: u64,
    /// Halves that are measured.
    leaving: VecDeque<Leaving>,
}

struct End {
    header: EndTransaction,
    number: u64,
    due: u64,
    bytes: u64,
}

/// A request under way.
pub(crate) enum Asked {
    /// A half message.
    Half {
        number: u64,
        due: u64,
        bytes: u64,
        unique: Str,
    },
    /// Its commit or rollback, sent at a time.
    End {
        number: u64,
        due: u64,
        bytes: u64,
        at: u64,
    },
    /// A heartbeat.
    Beat,
}

impl Transact {
    pub(crate) fn new(shared: &Arc<Shared>, connection: usize, schedule: Schedule, maker: Maker) -> Transact {
        Transact {
            shared: Arc::clone(shared),
            connection,
            schedule,
            maker,
            ends: VecDeque::new(),
            checked: VecDeque::new(),
            next_beat: 0,
            leaving: VecDeque::new(),
        }
    }

    fn deadline(&self, now: u64) -> u64 {
        now + self.shared.options.timeout.as_nanos() as u64
    }

    /// So that the broker knows whom to ask.
    fn heartbeat(&self) -> Frame {
        let body = HeartbeatBody {
            client_id: format!("bench@{:x}-{}", self.shared.run, self.connection).into(),
            producer_data_set: vec![ProducerData {
                group_name: self.shared.options.producer_group.as_str().into(),
            }],
            ..HeartbeatBody::default()
        };
        Frame::request(0, &HeartBeat {}).with_body(fastjson::to_vec(&body))
    }

    fn send_half(&mut self, line: &mut Line<Asked>, now: u64) -> bool {
        let Some(due) = take(&self.shared, &mut self.schedule, now) else {
            return false;
        };
        let made = self.maker.make((due.number, due.queue), due.at, now, None);
        let asked = Asked::Half {
            number: due.number,
            due: due.at,
            bytes: made.bytes,
            unique: made.unique,
        };
        line.ask(made.frame, asked, self.deadline(now));
        if Fate::of(&self.shared, due.number) == Fate::Unknown {
            self.shared.unknown_sent();
        }
        if due.at >= self.shared.warm {
            self.shared.tally(self.connection).lock().counts.due += 1;
            self.leaving.push_back(Leaving {
                until: line.queued_until(),
                due: due.at,
                messages: 1,
                bytes: made.bytes,
            });
        }
        true
    }

    fn send_end(&mut self, line: &mut Line<Asked>, now: u64) -> bool {
        let Some(end) = self.ends.pop_front() else {
            return false;
        };
        if end.header.commit_or_rollback == sysflag::COMMIT {
            self.shared.note_commit(end.number, now);
        }
        let asked = Asked::End {
            number: end.number,
            due: end.due,
            bytes: end.bytes,
            at: now,
        };
        line.ask(Frame::request(0, &end.header), asked, self.deadline(now));
        true
    }

    fn half_answered(
        &mut self,
        (number, due, bytes): (u64, u64, u64),
        unique: Str,
        (frame, now): (&Frame, u64),
    ) {
        let measured = due >= self.shared.warm;
        let receipt = frame.ext.read::<SendReceipt>().ok();
        let place = receipt.and_then(|receipt| {
            let (_, pos) = decode_offset_id(&receipt.msg_id)?;
            Some((receipt.queue_offset, pos))
        });
        let Some((offset, pos)) = place.filter(|_| frame.code == 0) else {
            if !self.half_failed(number) {
                return;
            }
            let mut tally = self.shared.tally(self.connection).lock();
            if frame.code == 0 {
                tally.failure("the answer to a half message names no place", 1);
            } else if measured {
                tally.answer(frame.code, frame.remark.as_deref(), 1);
            }
            return;
        };
        if measured {
            let mut tally = self.shared.tally(self.connection).lock();
            tally.time(Measure::Half, now - due, 1);
        }
        let end = match Fate::of(&self.shared, number) {
            Fate::Commit => sysflag::COMMIT,
            Fate::Rollback => sysflag::ROLLBACK,
            Fate::Unknown => return,
        };
        self.ends.push_back(End {
            header: EndTransaction {
                topic: Some(self.shared.options.topic.as_str().into()),
                producer_group: self.shared.options.producer_group.as_str().into(),
                tran_state_table_offset: offset,
                commit_log_offset: pos,
                commit_or_rollback: end,
                from_transaction_check: Some(false),
                msg_id: unique.clone(),
                transaction_id: Some(unique),
            },
            number,
            due,
            bytes,
        });
    }

    /// A half was refused, or not answered; whether that is an error.
    fn half_failed(&self, number: u64) -> bool {
        Fate::of(&self.shared, number) != Fate::Unknown || self.shared.unknown_failed(number)
    }

    fn end_answered(&mut self, (number, due, bytes): (u64, u64, u64), at: u64, (frame, now): (&Frame, u64)) {
        if frame.code == 0 && Fate::of(&self.shared, number) == Fate::Commit {
            self.shared.ledger.lock().acked(number);
        }
        if due < self.shared.warm {
            return;
        }
        let mut tally = self.shared.tally(self.connection).lock();
        tally.answer(frame.code, frame.remark.as_deref(), 1);
        if frame.code == 0 {
            tally.time(Measure::End, now - at, 1);
            tally.counts.ok += 1;
            tally.counts.bytes += bytes;
            tally.counts.requests += 2;
        }
    }

    /// The broker asks about a half. One of this run is committed if it was not to be rolled back; one of another run
    /// is rolled back, as nobody waits for it; of one that is not ours we know nothing.
    fn check(&mut self, frame: &Frame, now: u64) -> Option<()> {
        let header = frame.ext.read::<CheckTransactionState>().ok()?;
        let record = RecordHead::scan(&frame.body).ok()?;
        let head = Head::read(record.parts.body)?;
        let is_ours = head.run == self.shared.run;
        let fate = if is_ours {
            Fate::of(&self.shared, head.number)
        } else {
            Fate::Rollback
        };
        if self.checked.len() >= CHECKS_MAX {
            return None;
        }
        let question = match fate {
            Fate::Unknown => self.shared.unknown_asked(head.number),
            Fate::Commit | Fate::Rollback => Question::Again,
        };
        if question != Question::Again {
            self.shared.note_commit(head.number, now);
        }
        let mut tally = self.shared.tally(self.connection).lock();
        tally.counts.checks += 1;
        if question == Question::First && head.due >= self.shared.warm {
            tally.answer(0, None, 1);
            tally.counts.ok += 1;
            tally.counts.bytes += record.parts.body.len() as u64;
        }
        drop(tally);
        self.checked.push_back(EndTransaction {
            topic: header.topic,
            producer_group: self.shared.options.producer_group.as_str().into(),
            tran_state_table_offset: header.tran_state_table_offset,
            commit_log_offset: header.commit_log_offset,
            commit_or_rollback: if fate == Fate::Rollback {
                sysflag::ROLLBACK
            } else {
                sysflag::COMMIT
            },
            from_transaction_check: Some(true),
            msg_id: header.msg_id.unwrap_or_default(),
            transaction_id: header.transaction_id,
        });
        Some(())
    }
}

impl Work for Transact {
    type Asked = Asked;

    fn feed(&mut self, line: &mut Line<Asked>, now: u64) -> Next {
        close_in_time(&self.shared, self.connection, &mut self.schedule, Measure::Half);
        if now >= self.next_beat && line.has_room() {
            self.next_beat = now + HEARTBEAT_NS;
            line.ask(self.heartbeat(), Asked::Beat, self.deadline(now));
        }
        while line.has_room()
            && let Some(header) = self.checked.pop_front()
        {
            line.tell(Frame::request(0, &header));
        }
        while line.has_room() && self.send_end(line, now) {}
        while line.has_room() && self.send_half(line, now) {}
        if !self.ends.is_empty() || !self.checked.is_empty() {
            return Next::Room;
        }
        match next(&self.schedule, line) {
            // Questions may come until everything is settled.
            Next::Done if self.shared.unknown() > 0 => Next::At(self.next_beat),
            next => next,
        }
    }

    fn answered(&mut self, asked: Asked, frame: &Frame, now: u64) {
        match asked {
            Asked::Half {
                number,
                due,
                bytes,
                unique,
            } => self.half_answered((number, due, bytes), unique, (frame, now)),
            Asked::End {
                number,
                due,
                bytes,
                at,
            } => self.end_answered((number, due, bytes), at, (frame, now)),
            Asked::Beat if frame.code != 0 => {
                let code = wire::code::ResponseCode(frame.code);
                let why = format!("a heartbeat was refused with {code}");
                self.shared.tally(self.connection).lock().failure(&why, 1);
            }
            Asked::Beat => {}
        }
    }

    fn lost(&mut self, asked: Asked, why: Lost, now: u64) {
        if let Asked::Half { number, .. } = &asked
            && !self.half_failed(*number)
        {
            return;
        }
        let mut tally = self.shared.tally(self.connection).lock();
        match asked {
            Asked::Half { due, .. } if due >= self.shared.warm => {
                tally.failure(&format!("half message: {}", why.reason()), 1);
                tally.time(Measure::Half, now - due, 1);
            }
            Asked::End { due, at, .. } if due >= self.shared.warm => {
                tally.failure(&format!("end of a transaction: {}", why.reason()), 1);
                tally.time(Measure::End, now - at, 1);
            }
            Asked::Half { .. } | Asked::End { .. } => {}
            Asked::Beat if why == Lost::Ended => {}
            Asked::Beat => tally.failure(&format!("heartbeat: {}", why.reason()), 1),
        }
    }

    fn written(&mut self, line: &Line<Asked>, now: u64) {
        let written = line.written_until();
        while let Some(left) = self.leaving.pop_front_if(|next| next.until <= written) {
            let mut tally = self.shared.tally(self.connection).lock();
            tally.time(Measure::Wait, now - left.due, left.messages);
        }
    }

    fn unwritten(&mut self, _why: Lost, _now: u64) {
        self.leaving.clear();
    }

    fn request(&mut self, frame: &Frame, now: u64) {
        if frame.code == Code::CHECK_TRANSACTION_STATE.0 {
            // One that is not ours is left to whoever sent it.
            let _not_ours = self.check(frame, now);
        }
    }

    fn connected(&mut self) {
        self.next_beat = 0;
    }

    fn may_rest(&self, now: u64) -> bool {
        is_at_end(&self.shared, now) && self.shared.unknown() == 0
    }

    fn ended(&mut self) {
        give_up(&self.shared, self.connection, &mut self.schedule, Measure::Half);
        let unsent = self.ends.drain(..).filter(|end| end.due >= self.shared.warm);
        let unsent = unsent.count() as u64;
        if unsent > 0 {
            let mut tally = self.shared.tally(self.connection).lock();
            tally.failure("end of a transaction: not sent before the end", unsent);
        }
    }
}
