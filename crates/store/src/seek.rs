// SPDX-License-Identifier: Apache-2.0
//! Finding in the log what a damaged entry of a queue should point to. Records of a queue lie in the log in the order of their
//! offsets: so that of an entry lies between those of its neighbours, and only there is looked.

use std::collections::BTreeMap;
use std::io;

use wire::record::RecordHead;

use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::{Queue, Unit};
use crate::read::EXT_ADDRESS_MAX;
use crate::scan::{Scanner, Verify, is_as_stored, says_record};
use crate::store::Store;

/// Neighbours that are tried on either side: as many as a damaged page of a file holds, and more.
const NEIGHBOURS_MAX: i64 = 1024;
/// As much of the log is read for one entry.
const BYTES_MAX: i64 = 64 << 20;

/// What was found in the log instead of entries, from one offset to the next.
#[derive(Debug, Default)]
pub(crate) struct Sought {
    found: BTreeMap<i64, Unit>,
    /// The log was searched for every offset in front of this: what was not found there is lost.
    below: i64,
}

impl Store {
    /// The entry that the offset of a damaged one should have, by what the log holds; others beside it are noted. `None` when the
    /// record itself is what is damaged. Offsets are asked for in their order. Waits for the disk.
    pub(crate) fn seek_record(
        &self,
        queue: &Queue,
        (offset, entry): (i64, &Unit),
        sought: &mut Sought,
    ) -> io::Result<Option<Unit>> {
        // Entries of batch queues stand for many offsets, and are made anew by a repair.
        if queue.is_batch() {
            return Ok(None);
        }
        if let Some(unit) = self.unit_at(queue, offset, entry.pos) {
            return Ok(Some(unit));
        }
        if offset >= sought.below {
            self.search(queue, (offset, entry), sought)?;
        }
        Ok(sought.found.get(&offset).copied())
    }

    fn search(&self, queue: &Queue, (offset, entry): (i64, &Unit), sought: &mut Sought) -> io::Result<()> {
        let is_its_own = says_record(&self.log, entry.pos) == Some(entry.size);
        if is_its_own && entry.is_written() && self.is_between_neighbours(queue, offset, entry)? {
            return Ok(());
        }
        let from = self.neighbour(queue, (queue.min()..offset).rev())?;
        let to = self.neighbour(queue, offset + 1..queue.max())?;
        let from = from.map_or(self.log.min(), |(_, unit)| unit.pos + i64::from(unit.size));
        let (below, to) = to.map_or_else(
            || (offset + 1 + NEIGHBOURS_MAX, self.written().0),
            |(behind, unit)| (behind, unit.pos),
        );
        let until = to.min(from.saturating_add(BYTES_MAX));
        let mut found = self.records_between(queue, (from, until))?;
        // Where the search ended early, what it did not come to is searched for from there.
        let last = found.last_key_value().map_or(offset, |(last, _)| *last);
        if until < to {
            sought.below = last.max(offset) + 1;
        } else {
            sought.below = below;
            go_on_at(&mut found, below.min(queue.max()));
        }
        sought.found = found;
        Ok(())
    }

    /// The records of a queue between two positions, but those of an earlier topic of its name.
    fn records_between(&self, queue: &Queue, (from, to): (i64, i64)) -> io::Result<BTreeMap<i64, Unit>> {
        let mut found = BTreeMap::new();
        let mut scanner = Scanner::new(&self.log, Verify::Body, from)
            .reaching(to)
            .ending(to);
        while scanner.pos < to {
            if let Some((pos, head)) = scanner.next()? {
                // What follows a blank lies in the next file.
                if pos < to && is_of(queue, &head) {
                    let offset = head.stamp.queue_offset;
                    go_on_at(&mut found, offset);
                    found.insert(offset, unit_of(pos, &head));
                }
                continue;
            }
            if scanner.pass_over()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The entry for a record of the queue at an offset, if it lies at a position.
    fn unit_at(&self, queue: &Queue, offset: i64, pos: i64) -> Option<Unit> {
        let (record, _) = self.any_record_at(LogPos(pos), ReadMode::Blocking).ok()?;
        let head = RecordHead::scan(&record).ok()?;
        let is_it = head.stamp.queue_offset == offset && is_of(queue, &head) && is_as_stored(&head, &record);
        is_it.then(|| unit_of(pos, &head))
    }

    /// The first entry of these offsets that is right, and its offset.
    fn neighbour(
        &self,
        queue: &Queue,
        offsets: impl Iterator<Item = i64>,
    ) -> io::Result<Option<(i64, Unit)>> {
        for offset in offsets.take(NEIGHBOURS_MAX as usize) {
            let units = self.units(queue, offset, 1, ReadMode::Blocking)?;
            let unit = units.first().filter(|unit| unit.is_written() && !unit.is_blank());
            if let Some(unit) = unit.and_then(|unit| self.unit_at(queue, offset, unit.pos)) {
                return Ok(Some((offset, unit)));
            }
        }
        Ok(None)
    }

    /// Whether an entry is where it can be.
    fn is_between_neighbours(&self, queue: &Queue, offset: i64, entry: &Unit) -> io::Result<bool> {
        let at = |offset: i64| self.units(queue, offset, 1, ReadMode::Blocking);
        let is_behind = |unit: &Unit| unit.is_blank() || unit.pos < entry.pos;
        let is_before = |unit: &Unit| unit.is_blank() || unit.pos > entry.pos;
        let is_first = offset <= queue.min() || at(offset - 1)?.first().is_none_or(is_behind);
        let is_last = offset + 1 >= queue.max() || at(offset + 1)?.first().is_none_or(is_before);
        Ok(is_first && is_last)
    }
}

/// Behind what was found comes the record of an offset. Records lie in the order of their offsets: if what was found is ahead,
/// all of it is of a topic of the same name that was deleted, or one record says a wrong offset.
fn go_on_at(found: &mut BTreeMap<i64, Unit>, offset: i64) {
    let ahead = found.split_off(&offset);
    if ahead.len() > 1 {
        found.clear();
    }
}

fn is_of(queue: &Queue, head: &RecordHead<'_>) -> bool {
    head.parts.queue_id == queue.id() && head.parts.topic == queue.topic()
}

/// An entry that does not say which tag it has, because who reads the record sees that.
fn unit_of(pos: i64, head: &RecordHead<'_>) -> Unit {
    Unit {
        pos,
        size: head.total_size as i32,
        tags_code: EXT_ADDRESS_MAX,
    }
}
