// SPDX-License-Identifier: Apache-2.0
//! What is done with a message that was received, however it was read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use wire::frame::Frame;
use wire::record::{Parts, RecordHead};

use crate::body::Head;
use crate::ledger::{Came, Order};
use crate::options::Kind;
use crate::shared::Shared;
use crate::tally::{Measure, Tally};

/// One for each connection that reads.
pub(crate) struct Receiver {
    pub(crate) shared: Arc<Shared>,
    connection: usize,
}

impl Receiver {
    pub(crate) fn new(shared: &Arc<Shared>, connection: usize) -> Receiver {
        Receiver {
            shared: Arc::clone(shared),
            connection,
        }
    }

    pub(crate) fn tally(&self) -> &Mutex<Tally> {
        self.shared.tally(self.connection)
    }

    /// Takes all messages of an answer; `each` gets every record. `order` is that of the queue. The time of the request
    /// that brought them is noted when the run measures already.
    pub(crate) fn answer(
        &self,
        (frame, order): (&Frame, &mut Order),
        (asked_at, now): (u64, u64),
        mut each: impl FnMut(&RecordHead<'_>),
    ) {
        let mut rest: &[u8] = &frame.body;
        let mut seen = Seen::default();
        while !rest.is_empty() {
            let Ok(record) = RecordHead::scan(rest) else {
                self.tally()
                    .lock()
                    .failure("an answer holds what is no message", 1);
                break;
            };
            rest = rest.get(record.total_size..).unwrap_or_default();
            self.message(&record.parts, order, (now, &mut seen));
            each(&record);
        }
        self.shared.received.fetch_add(seen.all, Ordering::Relaxed);
        let mut tally = self.tally().lock();
        if now >= self.shared.warm {
            tally.counts.requests += 1;
            tally.time(Measure::Pull, now - asked_at, 1);
        }
        tally.counts.ok += seen.measured;
        tally.counts.bytes += seen.bytes;
    }

    fn message(&self, parts: &Parts<'_>, order: &mut Order, (now, seen): (u64, &mut Seen)) {
        let shared = &self.shared;
        let head = Head::read(parts.body);
        if shared.options.kind == Kind::Consume {
            seen.all += 1;
            if now >= shared.warm {
                seen.measured += 1;
                seen.bytes += parts.body.len() as u64;
            }
            if shared.options.verify {
                self.verify(head, parts.body);
            }
            return;
        }
        let Some(head) = head.filter(|head| head.run == shared.run) else {
            shared.ledger.lock().counted.foreign += 1;
            return;
        };
        if shared.options.kind == Kind::Transaction && Fate::of(shared, head.number) == Fate::Rollback {
            shared.ledger.lock().counted.forbidden += 1;
            return;
        }
        {
            let mut ledger = shared.ledger.lock();
            if ledger.came(head.number) == Came::Again {
                return;
            }
            ledger.counted.out_of_order += u64::from(order.is_broken_by(head.number));
        }
        seen.all += 1;
        if shared.options.verify {
            self.verify(Some(head), parts.body);
        }
        self.time(&head, now, (seen, parts.body.len() as u64));
    }

    fn time(&self, head: &Head, now: u64, (seen, bytes): (&mut Seen, u64)) {
        let shared = &self.shared;
        let committed = match shared.options.kind {
            Kind::Transaction => shared.commits.lock().remove(&head.number),
            _ => None,
        };
        // Of a delayed message the head says when it is promised: what was sent while it got warm counts as well.
        if shared.options.kind != Kind::Delay && head.due < shared.warm {
            return;
        }
        // Of transactions those that have ended count.
        if shared.options.kind != Kind::Transaction {
            seen.measured += 1;
            seen.bytes += bytes;
        }
        let mut tally = self.tally().lock();
        match shared.options.kind {
            Kind::Delay if now < head.due => tally.time(Measure::Early, head.due - now, 1),
            Kind::Delay => tally.time(Measure::Late, now - head.due, 1),
            _ => tally.time(Measure::EndToEnd, now.saturating_sub(head.due), 1),
        }
        if let Some(at) = committed {
            tally.time(Measure::Visible, now.saturating_sub(at), 1);
        }
    }

    fn verify(&self, head: Option<Head>, body: &[u8]) {
        match head {
            None => self.shared.ledger.lock().counted.foreign += 1,
            Some(head) if self.shared.filler.matches(&head, body) => {}
            Some(_) => self.shared.ledger.lock().counted.corrupt += 1,
        }
    }
}

/// What an answer brought.
#[derive(Default)]
struct Seen {
    all: u64,
    measured: u64,
    bytes: u64,
}

/// How a transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Committed at once.
    Commit,
    /// Rolled back at once.
    Rollback,
    /// Committed when the broker asks.
    Unknown,
}

/// Other numbers than those of the bodies.
const FATES: u64 = 0xfa7e;

impl Fate {
    /// It follows from the number, so that nobody has to keep it.
    pub(crate) fn of(shared: &Shared, number: u64) -> Fate {
        let options = &shared.options;
        let percent = crate::random::at(options.seed ^ FATES, number) % 100;
        if percent < u64::from(options.rollback) {
            Fate::Rollback
        } else if percent < u64::from(options.rollback + options.unknown) {
            Fate::Unknown
        } else {
            Fate::Commit
        }
    }
}
