// SPDX-License-Identifier: Apache-2.0
//! Reading a queue without its records: for whoever wants to know when messages are due before it fetches them.

use std::io;

use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::{Queue, Unit};
use crate::read::{EXT_ADDRESS_MAX, ReadError};
use crate::store::Store;

/// Entries that are read at one go.
const PIECE: usize = 1024;

/// One entry of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue.
    pub offset: i64,
    /// Where its message is.
    pub pos: LogPos,
    /// Bytes of it there.
    pub size: u32,
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

/// An entry as it is stored, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEntry {
    /// Position of the record.
    pub pos: i64,
    /// Bytes of the record.
    pub size: i32,
    /// Hash of the tag, or what stands in its place.
    pub code: i64,
    /// The code is the address of one that stands in a file that is not kept here.
    pub is_address: bool,
}

impl StoredEntry {
    fn of(unit: &Unit) -> StoredEntry {
        StoredEntry {
            pos: unit.pos,
            size: unit.size,
            code: unit.tags_code,
            is_address: unit.tags_code <= EXT_ADDRESS_MAX,
        }
    }
}

impl Store {
    /// The entries of so many offsets of a queue from one on, as they are stored; waits for the disk. `None` where the queue
    /// has no such offset.
    pub fn stored_entries(
        &self,
        queue: &Queue,
        from: i64,
        count: i64,
    ) -> Result<Option<Vec<StoredEntry>>, ReadError> {
        if from < queue.min() || from >= queue.max() {
            return Ok(None);
        }
        let end = from.saturating_add(count.max(0)).min(queue.max());
        let entries = match queue.is_batch() {
            true => self.stored_batches(queue, from, end)?,
            false => self.stored_units(queue, from, end)?,
        };
        Ok(Some(entries))
    }

    fn stored_units(&self, queue: &Queue, from: i64, end: i64) -> io::Result<Vec<StoredEntry>> {
        let mut entries = Vec::new();
        let mut next = from;
        while next < end {
            let count = usize::try_from(end - next).unwrap_or(0).min(PIECE);
            let units = self.units(queue, next, count, ReadMode::Blocking)?;
            if units.is_empty() {
                break;
            }
            next += units.len() as i64;
            entries.extend(units.iter().map(StoredEntry::of));
        }
        Ok(entries)
    }

    /// Each entry stands for the offsets of a record.
    fn stored_batches(&self, queue: &Queue, from: i64, end: i64) -> io::Result<Vec<StoredEntry>> {
        let mode = ReadMode::Blocking;
        let mut entries = Vec::new();
        let mut index = self.batch_index(queue, mode, |span| span.end() <= from)?;
        loop {
            let units = self.batch_units(queue, index, PIECE, mode)?;
            let wanted = units.iter().take_while(|(_, span)| span.base < end);
            let before = entries.len();
            entries.extend(wanted.map(|(unit, _)| StoredEntry::of(unit)));
            let taken = entries.len() - before;
            if taken == 0 || taken < units.len() {
                return Ok(entries);
            }
            index += taken as i64;
        }
    }

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
            size: u32::try_from(unit.size).unwrap_or(0),
            code: if unit.is_blank() {
                EntryCode::Nothing
            } else if !unit.is_written() || unit.tags_code <= EXT_ADDRESS_MAX {
                // A damaged one says nothing; its message is in the log.
                EntryCode::Elsewhere
            } else {
                EntryCode::Code(unit.tags_code)
            },
        };
        Ok((from..).zip(&units).map(entry).collect())
    }
}
