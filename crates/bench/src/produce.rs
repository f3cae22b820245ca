// SPDX-License-Identifier: Apache-2.0
//! Sends what is due on one connection, and notes how it was answered.

use std::collections::VecDeque;
use std::sync::Arc;

use wire::frame::Frame;

use crate::line::{Leaving, Line, Lost, Next, Work};
use crate::message::Maker;
use crate::schedule::{Due, SECOND_NS, Schedule};
use crate::shared::Shared;
use crate::tally::Measure;

/// So long after the end a connection goes on with what was due before: the last messages of a run are not lost to a
/// pause of some milliseconds, and the backlog of a server that is too slow is not worked off.
const GRACE_NS: u64 = SECOND_NS;
/// Of a larger backlog that was never sent, every so many count for all.
const SAMPLES_MAX: u64 = 1 << 20;

/// A connection that sends.
pub(crate) struct Produce {
    shared: Arc<Shared>,
    connection: usize,
    schedule: Schedule,
    maker: Maker,
    /// How long delayed messages are held, ms.
    delay_ms: u64,
    /// Of what is measured.
    leaving: VecDeque<Leaving>,
}

/// A send under way.
pub(crate) struct Sent {
    /// Its number.
    number: u64,
    due: u64,
    bytes: u64,
}

/// Ends a schedule: what was due and is not sent will not be. Its waiting counts as far as it went, so that it does not
/// look as if only the fast ones had been due.
pub(crate) fn give_up(shared: &Shared, connection: usize, schedule: &mut Schedule, measure: Measure) {
    let now = shared.clock.now();
    let (mut requests, mut unsent) = (0, 0);
    let mut tally = shared.tally(connection).lock();
    while shared.options.is_open()
        && let Some(due) = take(shared, schedule, now)
    {
        if due.at < shared.warm {
            continue;
        }
        let messages = shared.options.in_request(due.number);
        requests += 1;
        unsent += messages;
        if requests <= SAMPLES_MAX || requests % 1024 == 0 {
            let stands_for = if requests <= SAMPLES_MAX { 1 } else { 1024 };
            tally.time(measure, now.saturating_sub(due.at), messages * stands_for);
        }
    }
    if unsent > 0 {
        tally.counts.due += unsent;
        tally.failure("due, but not sent before the end", unsent);
    }
    schedule.close();
}

/// Whether a connection sends no more.
pub(crate) fn is_at_end(shared: &Shared, now: u64) -> bool {
    now >= shared.end() + GRACE_NS
}

/// What is due now.
pub(crate) fn take(shared: &Shared, schedule: &mut Schedule, now: u64) -> Option<Due> {
    if shared.options.is_open() {
        // The end may have come closer since the schedule was made.
        return schedule.take(now.min(shared.end().saturating_sub(1)));
    }
    schedule.take(now)
}

/// Closes the schedule of a connection when the end of the run has come.
pub(crate) fn close_in_time(shared: &Shared, connection: usize, schedule: &mut Schedule, measure: Measure) {
    let (now, end) = (shared.clock.now(), shared.end());
    if is_at_end(shared, now) {
        return give_up(shared, connection, schedule, measure);
    }
    let has_backlog = schedule
        .peek()
        .is_some_and(|due| shared.options.is_open() && due.at < end);
    if now >= end && !has_backlog {
        schedule.close();
    }
}

/// When a connection with that schedule goes on.
pub(crate) fn next<T>(schedule: &Schedule, line: &Line<T>) -> Next {
    match schedule.peek() {
        None => Next::Done,
        Some(_) if line.is_full() => Next::Answer,
        Some(_) if !line.has_room() => Next::Room,
        Some(due) => Next::At(due.at),
    }
}

impl Produce {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        connection: usize,
        schedule: Schedule,
        maker: Maker,
        delay_ms: u64,
    ) -> Produce {
        Produce {
            shared: Arc::clone(shared),
            connection,
            schedule,
            maker,
            delay_ms,
            leaving: VecDeque::new(),
        }
    }

    fn send(&mut self, line: &mut Line<Sent>, due: Due, now: u64) {
        let options = &self.shared.options;
        let messages = options.in_request(due.number);
        // What a delayed message carries is when it is promised. A broker counts milliseconds, from the one in which it
        // gets the message.
        let (mark, later) = match options.later {
            Some(_) => {
                let at_ms = self.shared.clock.wall_ms(now) + self.delay_ms;
                (self.shared.clock.at_wall_ms(at_ms), Some(at_ms))
            }
            None => (due.at, None),
        };
        let made = self.maker.make((due.number, due.queue), mark, now, later);
        if options.oneway {
            line.tell(made.frame);
        } else {
            let sent = Sent {
                number: due.number,
                due: due.at,
                bytes: made.bytes,
            };
            line.ask(made.frame, sent, now + options.timeout.as_nanos() as u64);
        }
        if due.at >= self.shared.warm {
            self.shared.tally(self.connection).lock().counts.due += messages;
            self.leaving.push_back(Leaving {
                until: line.queued_until(),
                due: due.at,
                messages,
                bytes: made.bytes,
            });
        }
    }
}

impl Work for Produce {
    type Asked = Sent;

    fn feed(&mut self, line: &mut Line<Sent>, now: u64) -> Next {
        close_in_time(&self.shared, self.connection, &mut self.schedule, Measure::Send);
        while line.has_room() {
            let Some(due) = take(&self.shared, &mut self.schedule, now) else {
                break;
            };
            self.send(line, due, now);
        }
        next(&self.schedule, line)
    }

    fn answered(&mut self, sent: Sent, frame: &Frame, now: u64) {
        let options = &self.shared.options;
        let messages = options.in_request(sent.number);
        let well = frame.code == 0;
        if well && options.kind.expects() {
            let first = sent.number * u64::from(options.batch);
            let mut ledger = self.shared.ledger.lock();
            for number in first..first + messages {
                ledger.acked(number);
            }
        }
        if sent.due < self.shared.warm {
            return;
        }
        let mut tally = self.shared.tally(self.connection).lock();
        tally.answer(frame.code, frame.remark.as_deref(), messages);
        if well {
            tally.time(Measure::Send, now - sent.due, messages);
            // Where messages are read too, those that were received count.
            if !options.kind.expects() {
                tally.counts.ok += messages;
                tally.counts.bytes += sent.bytes;
                tally.counts.requests += 1;
            }
        }
    }

    fn lost(&mut self, sent: Sent, why: Lost, now: u64) {
        if sent.due < self.shared.warm {
            return;
        }
        let messages = self.shared.options.in_request(sent.number);
        let mut tally = self.shared.tally(self.connection).lock();
        tally.failure(why.reason(), messages);
        tally.time(Measure::Send, now - sent.due, messages);
    }

    fn written(&mut self, line: &Line<Sent>, now: u64) {
        let written = line.written_until();
        if self.leaving.front().is_none_or(|first| first.until > written) {
            return;
        }
        let mut tally = self.shared.tally(self.connection).lock();
        while let Some(left) = self.leaving.pop_front_if(|next| next.until <= written) {
            tally.time(Measure::Wait, now - left.due, left.messages);
            if self.shared.options.oneway {
                tally.time(Measure::Send, now - left.due, left.messages);
                tally.counts.ok += left.messages;
                tally.counts.bytes += left.bytes;
                tally.counts.requests += 1;
            }
        }
    }

    fn unwritten(&mut self, why: Lost, now: u64) {
        for left in self.leaving.drain(..) {
            // What is answered is counted with what is not answered.
            if self.shared.options.oneway {
                let mut tally = self.shared.tally(self.connection).lock();
                tally.failure(why.reason_unwritten(), left.messages);
                tally.time(Measure::Send, now - left.due, left.messages);
            }
        }
    }

    fn may_rest(&self, now: u64) -> bool {
        is_at_end(&self.shared, now)
    }

    fn ended(&mut self) {
        give_up(&self.shared, self.connection, &mut self.schedule, Measure::Send);
    }
}
