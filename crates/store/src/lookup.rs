// SPDX-License-Identifier: Apache-2.0
//! Finding messages by store time and by key. Both may wait for the disk.

use bytes::Bytes;
use wire::properties::java_hash;
use wire::record::RecordHead;

use crate::draft::LogPos;
use crate::index::key_code;
use crate::log::ReadMode;
use crate::queue::Queue;
use crate::read::ReadError;
use crate::store::Store;

/// Damaged records in a row that a search by time looks past.
const DAMAGED_MAX: i64 = 64;

/// Which side of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at or after it.
    Lower,
    /// The last message stored at or before it.
    Upper,
}

impl Store {
    /// Store time of the message at an offset. Waits for the disk.
    pub fn stored_at(&self, queue: &Queue, offset: i64) -> Option<i64> {
        if offset < queue.min() || offset >= queue.max() {
            return None;
        }
        if queue.is_batch() {
            return self.batch_stored_at(queue, offset);
        }
        let unit = *self.units(queue, offset, 1, ReadMode::Blocking).ok()?.first()?;
        if unit.is_blank() {
            return None;
        }
        // When it was stored is known even if its body is damaged.
        let (record, _) = self.any_record_at(LogPos(unit.pos), ReadMode::Blocking).ok()?;
        RecordHead::scan(&record).ok().map(|head| head.stamp.stored_at)
    }

    /// The offset for a time, by binary search: store times only grow. Waits for the disk.
    pub fn offset_by_time(&self, queue: &Queue, stored_ms: i64, boundary: Boundary) -> i64 {
        if queue.is_batch() {
            return self.batch_offset_by_time(queue, stored_ms, boundary);
        }
        let (min, max) = (queue.min(), queue.max());
        // The first offset stored after the time (upper) or at it (lower).
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            // Where a record is damaged the next one says it.
            let mut readable = middle..high.min(middle.saturating_add(DAMAGED_MAX));
            let at = readable.find_map(|offset| self.stored_at(queue, offset));
            let is_before = at.is_none_or(|at| match boundary {
                Boundary::Lower => at < stored_ms,
                Boundary::Upper => at <= stored_ms,
            });
            if is_before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match boundary {
            Boundary::Lower => low,
            // The reference answers 0 for a time before the first message, whatever the oldest offset is.
            Boundary::Upper if low == min => 0,
            Boundary::Upper => low - 1,
        }
    }
}

/// What to look up in the key index.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Key, unique id or tag.
    pub key: &'a str,
    /// Which of them.
    pub kind: IndexKind,
    /// Messages at most.
    pub max: usize,
    /// Bytes of messages at most.
    pub max_bytes: usize,
    /// Stored at or after.
    pub begin_ms: i64,
    /// Stored at or before.
    pub end_ms: i64,
}

/// Kinds of index entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// One of the user's keys.
    Key,
    /// The unique id.
    Unique,
    /// The tag.
    Tag,
}

/// What the key index found. Two keys may share a hash: the caller compares.
#[derive(Debug, Clone, Default)]
pub struct QueryHits {
    /// Records in the order of the log.
    pub records: Vec<Bytes>,
    /// Store time of the newest indexed message.
    pub last_update_ms: i64,
    /// Its position.
    pub last_update_pos: LogPos,
}

impl Store {
    /// Looks messages up by key. Waits for the disk.
    pub fn query(&self, lookup: &Lookup<'_>) -> Result<QueryHits, ReadError> {
        let kind = if lookup.kind == IndexKind::Tag { "T#" } else { "" };
        let hash = key_code(java_hash(&format!("{}#{kind}{}", lookup.topic, lookup.key)));
        let found = self
            .index
            .query(hash, (lookup.begin_ms, lookup.end_ms), lookup.max);
        let mut found = found.inspect_err(|error| self.note_failure("key index", error))?;
        found.positions.sort_unstable();
        let mut room = lookup.max_bytes;
        let mut fits = |record: &Bytes| {
            let left = room.checked_sub(record.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let records = found
            .positions
            .iter()
            .filter_map(|pos| self.record_at(LogPos(*pos)).ok())
            .take_while(|record| fits(record))
            .collect();
        Ok(QueryHits {
            records,
            last_update_ms: found.end_at,
            last_update_pos: LogPos(found.end_pos),
        })
    }
}
