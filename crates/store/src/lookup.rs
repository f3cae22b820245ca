// SPDX-License-Identifier: Apache-2.0
//! Finding messages by store time and by key. Both may wait for the disk.

use std::io;
use std::iter;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use wire::properties::java_hash;
use wire::record::RecordHead;

use crate::draft::LogPos;
use crate::index::{Found, key_code};
use crate::log::ReadMode;
use crate::queue::Queue;
use crate::read::ReadError;
use crate::scan::{is_as_stored, stored_at};
use crate::seek::{Seek, Sought, is_of};
use crate::store::Store;

/// Damaged entries in a row that a search by time looks past one by one.
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
        // When it was stored is known even if its body is damaged.
        self.time_of(queue, offset, |_, _| true).ok().flatten()
    }

    /// As [`Store::stored_at`], and the message of a damaged entry is looked for in the log; `None` if it is lost.
    ///
    /// # Errors
    /// The disk fails, or the search is not over yet: the next call goes on with it.
    pub fn stored_at_sought(&self, queue: &Queue, offset: i64) -> Result<Option<i64>, ReadError> {
        if queue.is_batch() {
            return Ok(self.stored_at(queue, offset));
        }
        match self.time_of(queue, offset, |_, _| true)? {
            None => self.time_by_search(queue, offset, &mut Sought::new(self.config.search_bytes_max)),
            said => Ok(said),
        }
    }

    fn time_by_search(
        &self,
        queue: &Queue,
        offset: i64,
        sought: &mut Sought,
    ) -> Result<Option<i64>, ReadError> {
        let units = self.units(queue, offset, 1, ReadMode::Blocking)?;
        let Some(unit) = units.first().filter(|unit| !unit.is_blank()) else {
            return Ok(None);
        };
        match self.seek_record(queue, (offset, unit), sought)? {
            // It was read a moment ago: if not now, that is the disk.
            Seek::Found(unit) => match stored_at(&self.log, unit.pos) {
                None => Err(ReadError::Io(io::ErrorKind::Other.into())),
                said => Ok(said),
            },
            Seek::Lost => Ok(None),
            Seek::NotYet => Err(ReadError::Io(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Store time of the message that an entry names; `None` if it is not the right one, or cannot be believed.
    fn time_of(
        &self,
        queue: &Queue,
        offset: i64,
        is_believed: impl Fn(&RecordHead<'_>, &[u8]) -> bool,
    ) -> Result<Option<i64>, ReadError> {
        let units = self.units(queue, offset, 1, ReadMode::Blocking)?;
        let Some(unit) = units.first().filter(|unit| !unit.is_blank()) else {
            return Ok(None);
        };
        let record = match self.any_record_at(LogPos(unit.pos), ReadMode::Blocking) {
            Ok((record, _)) => record,
            Err(error @ ReadError::Io(_)) => return Err(error),
            Err(_) => return Ok(None),
        };
        Ok(RecordHead::scan(&record).ok().and_then(|head| {
            let is_it =
                head.stamp.queue_offset == offset && is_of(queue, &head) && is_believed(&head, &record);
            is_it.then_some(head.stamp.stored_at)
        }))
    }

    /// The offset for a time, by binary search: store times only grow. The messages of some damaged entries are looked for in the
    /// log, as a read does; where that is not enough, a lower boundary never lies behind one that may be meant. Waits for the disk.
    pub fn offset_by_time(&self, queue: &Queue, stored_ms: i64, boundary: Boundary) -> i64 {
        if queue.is_batch() {
            return self.batch_offset_by_time(queue, stored_ms, boundary);
        }
        let (min, max) = (queue.min(), queue.max());
        let sound = |offset| self.time_of(queue, offset, is_as_stored).ok().flatten();
        let is_before = |at: i64| match boundary {
            Boundary::Lower => at < stored_ms,
            Boundary::Upper => at <= stored_ms,
        };
        // The first offset stored after the time (upper) or at it (lower).
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            // Where a record is damaged others say it: the next one, or one in front of what is known.
            let near = middle..middle.saturating_add(DAMAGED_MAX);
            let twice = |steps: &i64| steps.checked_mul(2);
            let far = iter::successors(Some(DAMAGED_MAX), twice).map(|steps| middle.saturating_add(steps));
            let ahead = near.chain(far).take_while(|offset| *offset < high);
            let back = iter::successors(Some(1), twice).map(|steps| high.saturating_sub(steps));
            let back = back.take_while(|offset| *offset > middle);
            let said = ahead
                .chain(back)
                .find_map(|offset| Some((offset, sound(offset)?)));
            match said {
                Some((offset, at)) if is_before(at) => low = offset + 1,
                Some((offset, _)) => high = offset,
                // Messages that are meant may be among them.
                None => high = middle,
            }
        }
        low = self.pass_damaged(queue, low..max, boundary, is_before);
        match boundary {
            Boundary::Lower => low,
            // The reference answers 0 for a time before the first message, whatever the oldest offset is.
            Boundary::Upper if low == min => 0,
            Boundary::Upper => low - 1,
        }
    }

    /// The first of these offsets that is not known to be before a time, where the messages of damaged entries are looked for, too.
    fn pass_damaged(
        &self,
        queue: &Queue,
        offsets: Range<i64>,
        boundary: Boundary,
        is_before: impl Fn(i64) -> bool,
    ) -> i64 {
        let mut sought = Sought::new(self.config.search_bytes_max);
        let mut passed = offsets.start;
        for offset in offsets.take(DAMAGED_MAX as usize) {
            let said = match self.time_of(queue, offset, is_as_stored) {
                Ok(None) => self.time_by_search(queue, offset, &mut sought),
                said => said,
            };
            match said {
                Ok(Some(at)) if is_before(at) => passed = offset + 1,
                // Nobody can read it, and nobody is to begin with it.
                Ok(None) if boundary == Boundary::Lower => passed = offset + 1,
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => break,
            }
        }
        passed
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
    /// Messages at most; the newest.
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

/// Where to begin: beyond [`Lookup::max_bytes`] the rest is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// With what was stored first.
    OldestFirst,
    /// With what was stored last.
    NewestFirst,
}

/// What the key index found. Two keys may share a hash: the caller compares.
#[derive(Debug, Default)]
pub struct QueryHits {
    /// Records in the order of the log.
    pub records: Vec<Bytes>,
    /// Why one that should be among them is not: the first that the disk did not give.
    pub unread: Option<io::Error>,
    /// Store time of the newest indexed message.
    pub last_update_ms: i64,
    /// Its position.
    pub last_update_pos: LogPos,
}

impl Store {
    /// Looks messages up by key. Waits for the disk.
    pub fn query(&self, lookup: &Lookup<'_>) -> Result<QueryHits, ReadError> {
        let found = self.indexed(lookup)?;
        let mut hits = QueryHits {
            last_update_ms: found.end_at,
            last_update_pos: LogPos(found.end_pos),
            ..QueryHits::default()
        };
        let mut room = lookup.max_bytes;
        for pos in found.positions {
            match self.record_at(LogPos(pos)) {
                Ok(record) => match room.checked_sub(record.len()) {
                    Some(left) => {
                        room = left;
                        hits.records.push(record);
                    }
                    None => break,
                },
                Err(ReadError::Io(error)) => hits.unread = hits.unread.or(Some(error)),
                Err(_) => {}
            }
        }
        Ok(hits)
    }

    /// Shows messages by key one after the other until `see` has enough, and keeps none of them. A message that the disk
    /// does not give ends it. Waits for the disk.
    pub fn visit(
        &self,
        lookup: &Lookup<'_>,
        order: Order,
        mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut positions = self.indexed(lookup)?.positions;
        if order == Order::NewestFirst {
            positions.reverse();
        }
        let mut read_bytes = 0;
        for pos in positions {
            if read_bytes >= lookup.max_bytes {
                break;
            }
            match self.record_at(LogPos(pos)) {
                Ok(record) => {
                    read_bytes += record.len();
                    if see(&record).is_break() {
                        break;
                    }
                }
                Err(error @ ReadError::Io(_)) => return Err(error),
                // Damaged, or removed meanwhile.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What the index has, in the order of the log.
    fn indexed(&self, lookup: &Lookup<'_>) -> Result<Found, ReadError> {
        let kind = if lookup.kind == IndexKind::Tag { "T#" } else { "" };
        let hash = key_code(java_hash(&format!("{}#{kind}{}", lookup.topic, lookup.key)));
        let found = self
            .index
            .query(hash, (lookup.begin_ms, lookup.end_ms), lookup.max);
        let mut found = found.inspect_err(|error| self.note_failure("key index", error))?;
        found.positions.sort_unstable();
        Ok(found)
    }
}
