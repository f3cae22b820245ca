// SPDX-License-Identifier: Apache-2.0
//! Reading a queue without its records: for whoever wants to know when messages are due before it fetches them.

use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::{Queue, Unit};
use crate::read::{EXT_ADDRESS_MAX, ReadError};
use crate::store::Store;

/// One entry of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue.
    pub offset: i64,
    /// Where its message is.
    pub pos: LogPos,
    /// What it says about its message.
    pub code: EntryCode,
}

/// What an entry says about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryCode {
    /// There is no message at this offset.
    Nothing,
    /// Hash of the tag; in the delay topic the time of delivery.
    Code(i64),
    /// That stands in a file that is not kept here: only the record tells.
    Elsewhere,
}

impl Store {
    /// Entries of a queue from an offset on, at most `count`, waiting for the disk if need be. None when their file is
    /// missing, and at the end of the queue.
    pub fn entries(&self, queue: &Queue, from: i64, count: usize) -> Result<Vec<Entry>, ReadError> {
        self.entries_in(queue, from, count, ReadMode::Blocking)
    }

    /// As [`Store::entries`] but never waits: [`ReadError::NotCached`] says that that has to be called where it may.
    pub fn entries_cached(&self, queue: &Queue, from: i64, count: usize) -> Result<Vec<Entry>, ReadError> {
        self.entries_in(queue, from, count, ReadMode::Cached)
    }

    fn entries_in(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> Result<Vec<Entry>, ReadError> {
        if queue.is_batch() {
            // Nobody waits for messages of a topic with such queues.
            return Ok(Vec::new());
        }
        let left = usize::try_from(queue.max().saturating_sub(from)).unwrap_or(0);
        let units = self.units(queue, from, count.min(left), mode)?;
        let entry = |(offset, unit): (i64, &Unit)| Entry {
            offset,
            pos: LogPos(unit.pos),
            code: if unit.is_blank() {
                EntryCode::Nothing
            } else if unit.tags_code <= EXT_ADDRESS_MAX {
                EntryCode::Elsewhere
            } else {
                EntryCode::Code(unit.tags_code)
            },
        };
        Ok((from..).zip(&units).map(entry).collect())
    }
}
