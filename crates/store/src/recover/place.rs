// SPDX-License-Identifier: Apache-2.0
//! Giving a record its place in its queue. No CRC covers the offset that a record says, so one that does not follow on what the
//! queue has is believed only when the next record of the queue goes on behind it: otherwise one flipped bit would keep
//! all later messages out.

use std::io;
use std::sync::Arc;

use super::{GAP_MAX, Gaps, Known, OFFSET_MAX, Recovery};
use crate::queue::{End, Unit};
use crate::queue_batch::{Span, offsets_in};

/// Of an empty place.
pub(super) const NOWHERE: Span = Span {
    stored_at: 0,
    base: 0,
    count: 0,
};

/// A record whose offset does not follow on what its queue has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    unit: Unit,
    span: Span,
}

/// Places behind the end of a queue that damaged records said they had, one behind the other. What they say may be damaged, too: a
/// sound record that has one of them comes later, and those from there on are nobody's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lost {
    count: i64,
    /// Position of the last.
    pos: i64,
}

impl Recovery<'_> {
    pub(super) fn give(&mut self, known: &mut Known, unit: Unit, span: Span, gaps: Gaps) -> io::Result<()> {
        if unit.pos <= known.newest || self.is_lacking(known) {
            return Ok(());
        }
        if let Some(doubt) = known.doubt.take() {
            if doubt.span.is_borne_out_by(&span) {
                self.place(known, (doubt.unit, doubt.span), gaps)?;
            } else {
                refuse(
                    known,
                    (doubt.unit, doubt.span),
                    "a message at an impossible offset is in no queue",
                );
            }
        }
        let max = known.queue.max();
        let next = max + known.lost.count;
        let is_next = (max..=next).contains(&span.base);
        if !is_next && (span.base > next || span.base == 0) && is_possible(known, &unit, span.base) {
            known.doubt = Some(Doubt { unit, span });
            return Ok(());
        }
        self.place(known, (unit, span), gaps)
    }

    /// A damaged record leaves an empty place if it says that it had the next one of its queue: so the next message does not take it,
    /// which those would miss who have read further, and those behind it lack nothing. Another place is not believed.
    pub(super) fn leave_place(&self, known: &mut Known, (pos, span): (i64, Span)) {
        if span.base < known.queue.max() {
            known.taken = known.taken.max(span.base + 1);
        }
        let is_next = span.base == known.queue.max() + known.lost.count && known.doubt.is_none();
        if is_next && pos > known.newest && !self.is_lacking(known) {
            let count = known.lost.count + 1;
            known.lost = Lost { count, pos };
        }
    }

    /// Nothing follows: what is in doubt is believed.
    pub(super) fn settle_doubts(&mut self, known: &mut [Known], gaps: Gaps) -> io::Result<()> {
        for known in known {
            if let Some(Doubt { unit, span }) = known.doubt.take() {
                self.place(known, (unit, span), gaps)?;
            }
            self.settle_lost(known, i64::MAX)?;
        }
        Ok(())
    }

    /// Leaves the places of damaged records empty that lie in front of an offset. The others are not theirs.
    fn settle_lost(&mut self, known: &mut Known, offset: i64) -> io::Result<()> {
        let Lost { count, pos } = std::mem::take(&mut known.lost);
        if self.is_lacking(known) {
            return Ok(());
        }
        for _ in 0..count.min(offset - known.queue.max()) {
            known.newest = pos;
            self.push(&known.queue, Unit::BLANK, NOWHERE)?;
        }
        Ok(())
    }

    fn is_lacking(&self, known: &Known) -> bool {
        !self.lacking.is_empty() && self.lacking.contains_key(&known.queue.key)
    }

    fn place(&mut self, known: &mut Known, (unit, span): (Unit, Span), gaps: Gaps) -> io::Result<()> {
        let offset = span.base;
        if self.is_lacking(known) {
            return Ok(());
        }
        if !is_possible(known, &unit, offset) {
            refuse(
                known,
                (unit, span),
                "a message at an impossible offset is in no queue",
            );
            return Ok(());
        }
        if offset == 0 || offset >= known.queue.max() {
            self.settle_lost(known, offset)?;
        }
        let queue = &known.queue;
        let max = queue.max();
        if offset > max && gaps == Gaps::Lacking {
            tracing::warn!(
                topic = queue.topic(),
                queue = queue.id(),
                offset,
                max,
                pos = unit.pos,
                "a consume queue lacks units and is rebuilt"
            );
            self.lacking.insert(queue.key, Arc::clone(queue));
            return Ok(());
        }
        if offset == 0 && max > 0 {
            // The topic was deleted and made again: what the queue held belongs to the old one.
            self.compaction.empty(queue)?;
            self.empty(queue)?;
        } else if offset < max {
            known.taken = known.taken.max(offset + 1);
            refuse(
                known,
                (unit, span),
                "a second message at an offset is in no queue",
            );
            return Ok(());
        } else if offset > max && max == 0 {
            // Older messages are gone from the log.
            if !queue.is_batch() {
                queue.reset(End::plain(offset));
            }
        }
        while !queue.is_batch() && queue.max() < offset {
            self.push(queue, Unit::BLANK, NOWHERE)?;
        }
        known.newest = unit.pos;
        self.push(queue, unit, span)
    }
}

/// Whether a queue can go on at an offset with a record: those in between have been in the log, behind the queue's newest one.
fn is_possible(known: &Known, unit: &Unit, offset: i64) -> bool {
    let max = known.queue.max();
    if !(0..OFFSET_MAX).contains(&offset) || max != 0 && offset > max + GAP_MAX {
        return false;
    }
    let room = unit.pos - known.newest.max(0);
    offset - max <= offsets_in(known.queue.kind(), room)
}

fn refuse(known: &Known, (unit, span): (Unit, Span), why: &'static str) {
    tracing::warn!(
        topic = known.queue.topic(),
        queue = known.queue.id(),
        offset = span.base,
        max = known.queue.max(),
        pos = unit.pos,
        "{why}"
    );
}
