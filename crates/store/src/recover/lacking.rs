// SPDX-License-Identifier: Apache-2.0
//! Queues that lack something in front: finding that out, and deriving them again from the start of the log.

use std::io;
use std::sync::Arc;

use super::{Gaps, Recovery};
use crate::log::ReadMode;
use crate::queue::{Queue, Unit};
use crate::scan::says_record;

impl Recovery<'_> {
    /// Empties a queue whose first files are missing, so that it is derived again. Files go only when all that they point to is gone:
    /// so those in front of one that begins with a record that is there are missing.
    pub(super) fn lacks_front(&mut self, queue: &Arc<Queue>) -> io::Result<bool> {
        let first = queue.held.lock().bases.first().copied();
        let Some(first) = first.filter(|first| *first > 0) else {
            return Ok(false);
        };
        let units = self
            .files
            .read(queue, first / queue.unit_bytes(), 1, ReadMode::Blocking)?;
        let is_there = |unit: &&Unit| unit.pos >= self.log.min() && self.is_of_record(unit);
        let Some(unit) = units.first().filter(is_there).filter(|_| !queue.is_batch()) else {
            return Ok(false);
        };
        tracing::warn!(
            topic = queue.topic(),
            queue = queue.id(),
            pos = unit.pos,
            "the first files of a consume queue are missing; it is made anew"
        );
        self.empty(queue)?;
        Ok(true)
    }

    /// Whether a record begins where a unit says, as far as its first bytes tell. One that is damaged must not say how far the log
    /// reaches.
    pub(super) fn is_of_record(&self, unit: &Unit) -> bool {
        !unit.is_blank() && says_record(self.log, unit.pos) == Some(unit.size)
    }

    /// Reads the log once more from its start for queues that lacked something in front.
    pub(super) fn fill_lacking(&mut self, starts: &[i64; 3]) -> io::Result<()> {
        if self.lacking.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            queues = self.lacking.len(),
            from = self.log.min(),
            "consume queues are rebuilt from the start of the log"
        );
        for (key, queue) in std::mem::take(&mut self.lacking) {
            self.empty(&queue)?;
            self.newest.insert(key, -1);
        }
        let [from, trusted, reached] = *starts;
        self.dispatch_across(&[self.log.min(), from, trusted, reached], Gaps::Final)?;
        Ok(())
    }
}
