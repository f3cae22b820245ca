// SPDX-License-Identifier: Apache-2.0
//! The last units of queues. Some point behind the end of the log: a power cut took their messages and left them, or somebody has
//! removed the newest files of the log.

use std::io;

use super::Recovery;
use crate::queue::{Queue, Unit};
use crate::scan::says_record;

/// Units at the end of a queue that are looked at for one that is right.
const LAST_UNITS: usize = 1024;

impl Recovery<'_> {
    /// The last unit of a queue that points to a record. A damaged one may point too far, and hide what lies in front of that.
    pub(super) fn last_unit(&self, queue: &Queue) -> io::Result<Option<Unit>> {
        let (first, end) = queue.indexes();
        for index in (first.max(0)..end).rev().take(LAST_UNITS) {
            let unit = self.files.unit(queue, index)?;
            let is_right =
                |unit: &Unit| unit.is_written() && says_record(self.log, unit.pos) == Some(unit.size);
            if let Some(unit) = unit.filter(is_right) {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// Takes such units off the ends of queues: else the next messages, which come to lie where they point, would be taken for damaged
    /// ones. The log was read from `from` to its end. Returns whether there were any.
    pub(super) fn cut_behind(&mut self, from: i64, end: i64) -> io::Result<bool> {
        let (mut queues, mut units) = (0, 0);
        // Runs are taken up only as far as the log is there.
        let in_files = self.files.runs().is_none();
        for queue in self.queues.all().into_iter().filter(|_| in_files) {
            let max = queue.indexes().1;
            let index = self.end_in_front(&queue, end)?;
            if index < max && self.was_read_behind(&queue, index, from)? {
                self.files.truncate(&queue, index, &mut self.unsynced)?;
                queues += 1;
                units += max - index;
            }
        }
        if units > 0 {
            tracing::warn!(
                file = %self.log.path_of(end).display(),
                end,
                queues,
                units,
                "consume queues went on behind the end of the log; what they pointed to is not there any more"
            );
        }
        Ok(units > 0)
    }

    /// Where a queue ends without the units behind its last record that point to somewhere behind the end of the log. One whose record
    /// was read is only damaged.
    fn end_in_front(&self, queue: &Queue, end: i64) -> io::Result<i64> {
        let (first, mut index) = queue.indexes();
        if queue.unwritten() > 0 {
            // What was derived from the log just now comes last.
            return Ok(index);
        }
        let taken = self.taken.get(&queue.key).copied().unwrap_or_default();
        let is_gone = |unit: &Unit| unit.is_written() && !unit.is_blank() && unit.pos >= end;
        // A batch queue knows where it ends by its last unit.
        let first = first + i64::from(queue.is_batch() && first > 0);
        while index > first {
            let Some((unit, offset)) = self.files.unit_at(queue, index - 1)? else {
                break;
            };
            if offset < taken || !is_gone(&unit) {
                break;
            }
            index -= 1;
        }
        Ok(index)
    }

    /// Whether all of the log behind the last record of a queue that ends there was read: else a unit that points nowhere may be a
    /// damaged one of a message that is there.
    fn was_read_behind(&self, queue: &Queue, index: i64, from: i64) -> io::Result<bool> {
        if from <= self.log.min() {
            return Ok(true);
        }
        if index <= queue.indexes().0 {
            return Ok(false);
        }
        let last = self.files.unit(queue, index - 1)?;
        Ok(last.is_some_and(|unit| unit.pos >= from && self.is_of_record(&unit)))
    }
}
