// SPDX-License-Identifier: Apache-2.0
//! Finding in the log what a damaged entry of a queue should point to. Records of a queue lie in the log in the order of their
//! offsets: so that of an entry lies between those of its neighbours, and only there is looked.
//!
//! Neighbours may lie far from each other. A read searches so many bytes at most ([`crate::StoreConfig::search_bytes_max`]); where
//! that is not enough it ends in front of the entry, and the next one goes on where it came to. No message counts as lost
//! before all of the stretch was searched.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use parking_lot::Mutex;
use wire::record::RecordHead;

use crate::draft::LogPos;
use crate::log::ReadMode;
use crate::queue::{Queue, Unit};
use crate::read::EXT_ADDRESS_MAX;
use crate::scan::{Scanner, Verify, is_as_stored, says_record};
use crate::store::Store;

/// Neighbours that are tried on either side: as many as a damaged page of a file holds, and more.
const NEIGHBOURS_MAX: i64 = 1024;
/// As many are tried at each of the places further in front.
const NEIGHBOURS_FAR: i64 = 8;
/// Searches that are kept for later reads.
const SEARCHES_MAX: usize = 16;

/// What the log holds between two neighbours.
#[derive(Debug, Clone)]
struct Search {
    queue: u64,
    /// For the offsets from this one on,
    offset: i64,
    /// and in front of this: what is not found there is lost.
    below: i64,
    /// What is found at this offset or behind it is of an earlier topic of the name.
    ahead: i64,
    /// The log was searched up to here, and is to be searched up to there.
    at: i64,
    to: i64,
    found: BTreeMap<i64, Unit>,
}

impl Search {
    fn is_for(&self, queue: &Queue, offset: i64) -> bool {
        self.queue == queue.key && (self.offset..self.below).contains(&offset)
    }

    /// What is too far from what was asked for is not kept.
    fn has_room_for(&self, offset: i64) -> bool {
        (self.offset..self.offset + 2 * NEIGHBOURS_MAX).contains(&offset)
    }
}

/// The searches that the last reads have made.
#[derive(Debug, Default)]
pub(crate) struct Searches(Mutex<VecDeque<Search>>);

impl Searches {
    fn of(&self, queue: &Queue, offset: i64) -> Option<Search> {
        let searches = self.0.lock();
        let found = searches.iter().rev().find(|search| search.is_for(queue, offset));
        found.cloned()
    }

    fn keep(&self, search: Search) {
        let mut searches = self.0.lock();
        let is_same = |other: &Search| (other.queue, other.offset) == (search.queue, search.offset);
        // Another reader may have come further.
        if searches
            .iter()
            .any(|other| is_same(other) && other.at > search.at)
        {
            return;
        }
        searches.retain(|other| !is_same(other));
        if searches.len() >= SEARCHES_MAX {
            searches.pop_front();
        }
        searches.push_back(search);
    }
}

/// What one read searches.
#[derive(Debug)]
pub(crate) struct Sought {
    search: Option<Search>,
    /// So many bytes more.
    room: i64,
}

impl Sought {
    pub(crate) fn new(bytes_max: u64) -> Sought {
        Sought {
            search: None,
            room: i64::try_from(bytes_max).unwrap_or(i64::MAX),
        }
    }
}

/// What became of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seek {
    Found(Unit),
    /// The record itself is what is damaged.
    Lost,
    /// The next read goes on.
    NotYet,
}

impl Store {
    /// The entry that the offset of a damaged one should have, by what the log holds; others beside it are noted. Offsets are
    /// asked for in their order. Waits for the disk.
    pub(crate) fn seek_record(
        &self,
        queue: &Queue,
        (offset, entry): (i64, &Unit),
        sought: &mut Sought,
    ) -> io::Result<Seek> {
        // Entries of batch queues stand for many offsets, and are made anew by a repair.
        if queue.is_batch() {
            return Ok(Seek::Lost);
        }
        if let Some(unit) = self.unit_at(queue, offset, entry.pos) {
            return Ok(Seek::Found(unit));
        }
        let mut search = sought.search.take().filter(|search| search.is_for(queue, offset));
        if search.is_none() {
            search = self.searches.of(queue, offset);
        }
        if search.is_none() {
            search = self.search(queue, (offset, entry))?;
        }
        let Some(mut search) = search else {
            return Ok(Seek::Lost);
        };
        if search.at < search.to {
            let begin = search.at;
            let done = self.search_on(queue, &mut search, begin.saturating_add(sought.room));
            sought.room -= (search.at - begin).min(sought.room);
            self.searches.keep(search.clone());
            done?;
        }
        let found = match search.found.get(&offset) {
            _ if search.at < search.to => Seek::NotYet,
            Some(unit) => Seek::Found(*unit),
            None => Seek::Lost,
        };
        sought.search = Some(search);
        Ok(found)
    }

    /// Where to search; nowhere when the entry is right and its record damaged.
    fn search(&self, queue: &Queue, (offset, entry): (i64, &Unit)) -> io::Result<Option<Search>> {
        let is_its_own = says_record(&self.log, entry.pos) == Some(entry.size);
        if is_its_own && entry.is_written() && self.is_between_neighbours(queue, offset, entry)? {
            return Ok(None);
        }
        let (min, max) = (queue.min(), queue.max());
        let mut from = self.neighbour(queue, (min..offset).rev())?;
        // Where all of them are wrong, some that lie ever further in front.
        let mut back = NEIGHBOURS_MAX;
        while from.is_none() && offset - back > min {
            let behind = offset - back;
            from = self.neighbour(queue, (min.max(behind - NEIGHBOURS_FAR)..behind).rev())?;
            back *= 2;
        }
        let to = self.neighbour(queue, offset + 1..max)?;
        let near = max.min(offset + 1 + NEIGHBOURS_MAX).max(offset + 1);
        Ok(Some(Search {
            queue: queue.key,
            offset,
            below: to.map_or(near, |(behind, _)| behind),
            ahead: to.map_or(max, |(behind, _)| behind),
            at: from.map_or(self.log.min(), |(_, unit)| unit.pos + i64::from(unit.size)),
            to: to.map_or_else(|| self.written().0, |(_, unit)| unit.pos),
            found: BTreeMap::new(),
        }))
    }

    /// Notes the records of the queue up to a position, but those of an earlier topic of its name.
    fn search_on(&self, queue: &Queue, search: &mut Search, until: i64) -> io::Result<()> {
        let (to, until) = (search.to, until.min(search.to));
        // What was removed meanwhile is not there any more.
        let mut scanner = Scanner::new(&self.log, Verify::Body, search.at.max(self.log.min()))
            .reaching(until)
            .ending(until);
        while scanner.pos < until {
            if let Some((pos, head)) = scanner.next()? {
                // What follows a blank lies in the next file.
                if pos < to && is_of(queue, &head) {
                    let offset = head.stamp.queue_offset;
                    go_on_at(&mut search.found, offset);
                    if search.has_room_for(offset) {
                        search.found.insert(offset, unit_of(pos, &head));
                    }
                }
                search.at = scanner.pos;
                continue;
            }
            let Some((_, sound)) = scanner.pass_over()? else {
                break;
            };
            search.at = sound;
        }
        search.at = search.at.max(until);
        if search.at >= to {
            go_on_at(&mut search.found, search.ahead);
        }
        Ok(())
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

/// Whether a record says that it is one of the queue.
pub(crate) fn is_of(queue: &Queue, head: &RecordHead<'_>) -> bool {
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
