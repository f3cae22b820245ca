// SPDX-License-Identifier: Apache-2.0
//! Reading: from queue units to records. Adjacent records are read at once. What a unit points to is believed only when
//! size, position, topic, queue and offset agree. A damaged entry costs no message: its record is looked for in the log
//! ([`crate::seek`]). A damaged record is skipped and neither served nor stuck on.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use wire::properties::tags_code;
use wire::record::{RECORD_BYTES_MIN, RecordHead};

use crate::draft::LogPos;
use crate::filter::Filter;
use crate::log::{Origin, ReadMode};
use crate::queue::{Queue, Unit};
use crate::queue_batch::{QueueKind, Span};
use crate::record::is_intact;
use crate::seek::{Seek, Sought};
use crate::store::Store;

/// Units looked at together.
const UNITS_AT_ONCE: usize = 256;
/// A unit that claims more is checked against the record before room is made for it.
pub(crate) const SIZE_TO_CHECK: usize = 8 << 20;
/// Tag codes from here down are addresses in a ConsumeQueueExt file.
pub(crate) const EXT_ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// How much a read returns at most. The first message is returned whatever its size.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Messages.
    pub count: usize,
    /// Bytes.
    pub bytes: usize,
    /// Queue entries looked at.
    pub scan: usize,
    /// Other limits for messages far behind the end of the log.
    pub far: Option<FarLimit>,
}

/// Limits for messages that are probably not in memory.
#[derive(Debug, Clone, Copy)]
pub struct FarLimit {
    /// So many bytes of log behind a message make it far.
    pub behind_bytes: i64,
    /// Messages.
    pub count: usize,
    /// Bytes.
    pub bytes: usize,
}

impl ReadLimit {
    /// Whether a record of so many messages and bytes is too much.
    pub(crate) fn is_full(
        &self,
        count: usize,
        bytes: usize,
        (more, size): (usize, usize),
        behind: i64,
    ) -> bool {
        if count == 0 {
            return false;
        }
        let bytes = bytes.saturating_add(size);
        count + more > self.count
            || bytes > self.bytes
            || self
                .far
                .is_some_and(|far| behind > far.behind_bytes && (count >= far.count || bytes > far.bytes))
    }
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// Messages.
    Found,
    /// Entries, but none that the filter lets pass.
    NoMatch,
    /// Entries whose messages are no longer in the log.
    Removed,
    /// The file with the entries is missing; [`Batch::next_offset`] lies behind it.
    EntriesMissing,
}

/// The answer of a read.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What was found.
    pub status: ReadStatus,
    /// Records back to back.
    pub bytes: Bytes,
    /// How many.
    pub count: usize,
    /// Where to go on.
    pub next_offset: i64,
    /// [`Queue::min`] at the time.
    pub min: i64,
    /// [`Queue::max`] at the time.
    pub max: i64,
    /// Bytes of log behind the last message that was looked at, wanted or not; all of it if there was none.
    pub behind_bytes: i64,
}

/// Why there is nothing to return.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It would have to wait for the disk.
    #[error("not in memory")]
    NotCached,
    /// The topic was deleted.
    #[error("no such queue")]
    NoQueue,
    /// There never was a message.
    #[error("queue is empty")]
    Empty,
    /// The offset lies before the oldest message.
    #[error("oldest offset is {min}")]
    TooSmall {
        /// The oldest offset.
        min: i64,
        /// The offset behind the newest.
        max: i64,
    },
    /// The offset is the next to be written.
    #[error("at the end")]
    AtEnd {
        /// The oldest offset.
        min: i64,
    },
    /// The offset lies behind the next to be written.
    #[error("the end is {max}")]
    BeyondEnd {
        /// The oldest offset.
        min: i64,
        /// The offset behind the newest.
        max: i64,
    },
    /// No record starts there.
    #[error("no record at {0}")]
    NoRecord(LogPos),
    /// The disk failed.
    #[error("read: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::WouldBlock {
            ReadError::NotCached
        } else {
            ReadError::Io(error)
        }
    }
}

/// A unit with the offsets it stands for.
#[derive(Debug, Clone, Copy)]
struct Step {
    offset: i64,
    /// The offset behind.
    next: i64,
    unit: Unit,
}

impl Step {
    fn messages(&self) -> usize {
        usize::try_from(self.next - self.offset).unwrap_or(1)
    }
}

/// A read on its way.
struct Reading<'a> {
    store: &'a Store,
    queue: &'a Queue,
    filter: &'a dyn Filter,
    mode: ReadMode,
    out: Vec<u8>,
    /// Messages taken.
    count: usize,
    /// Records taken.
    records: usize,
    first: i64,
    next: i64,
    /// Index of the unit at `next`, in a batch queue.
    index: i64,
    /// Position of the last record taken.
    last_pos: i64,
    /// Of the last that an entry named.
    looked_at: i64,
    removed: usize,
    /// Entries or records that cannot be read, and the position of the first.
    damaged: usize,
    damaged_pos: i64,
    /// What is being taken: the offset of its unit, or of the first of several.
    taking: i64,
    /// Entries that are wrong although their records are not.
    mended: usize,
    /// What was found in the log instead of entries.
    sought: Sought,
}

/// What a unit points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wanted,
    /// The filter does not want it.
    Unwanted,
    /// It is not what the unit says.
    Damaged,
}

impl Store {
    /// Reads messages of a queue from an offset on, waiting for the disk if need be.
    pub fn read(
        &self,
        queue: &Queue,
        from: i64,
        limit: &ReadLimit,
        filter: &dyn Filter,
    ) -> Result<Batch, ReadError> {
        match self.read_compacted(queue, from, limit, filter)? {
            Some(batch) => Ok(batch),
            None => self.read_log(queue, from, limit, filter),
        }
    }

    /// As [`Store::read`], but of a compacted topic all that the log still has.
    pub fn read_log(
        &self,
        queue: &Queue,
        from: i64,
        limit: &ReadLimit,
        filter: &dyn Filter,
    ) -> Result<Batch, ReadError> {
        self.reading(queue, from, filter, ReadMode::Blocking)?.run(limit)
    }

    /// As [`Store::read`] but never waits: [`ReadError::NotCached`] says that [`Store::read`] has to be called where
    /// it may. What is in memory in front of that is returned first.
    pub fn read_cached(
        &self,
        queue: &Queue,
        from: i64,
        limit: &ReadLimit,
        filter: &dyn Filter,
    ) -> Result<Batch, ReadError> {
        if queue.copied(from).is_some() {
            return Err(ReadError::NotCached);
        }
        self.reading(queue, from, filter, ReadMode::Cached)?.run(limit)
    }

    fn reading<'a>(
        &'a self,
        queue: &'a Queue,
        from: i64,
        filter: &'a dyn Filter,
        mode: ReadMode,
    ) -> Result<Reading<'a>, ReadError> {
        let (min, max) = (queue.min(), queue.max());
        if queue.deleted.load(Ordering::Acquire) {
            return Err(ReadError::NoQueue);
        }
        if max == 0 {
            return Err(ReadError::Empty);
        }
        if from < min {
            return Err(ReadError::TooSmall { min, max });
        }
        if from == max {
            return Err(ReadError::AtEnd { min });
        }
        if from > max {
            return Err(ReadError::BeyondEnd { min, max });
        }
        let index = match queue.kind() {
            QueueKind::Plain => from,
            QueueKind::Batch => self.batch_index(queue, mode, |span| span.end() <= from)?,
        };
        Ok(Reading {
            store: self,
            queue,
            filter,
            mode,
            out: Vec::new(),
            count: 0,
            records: 0,
            first: from,
            next: from,
            index,
            last_pos: 0,
            looked_at: 0,
            removed: 0,
            damaged: 0,
            damaged_pos: 0,
            taking: 0,
            mended: 0,
            sought: Sought::new(self.config.search_bytes_max),
        })
    }

    /// The units of a queue from an offset on, at most `count`; none when their file is missing.
    pub(crate) fn units(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<Unit>> {
        match queue.in_memory(from, count) {
            Ok(units) => Ok(units),
            Err(start) => {
                let count = count.min(usize::try_from(start - from).unwrap_or(count));
                self.queue_files.read(queue, from, count, mode)
            }
        }
    }
}

impl Reading<'_> {
    fn run(mut self, limit: &ReadLimit) -> Result<Batch, ReadError> {
        let (min, max) = (self.queue.min(), self.queue.max());
        let first = self.first;
        let log_min = self.store.log.min();
        let log_max = self.store.log.written.load(Ordering::Acquire);
        let stop = first.saturating_add(limit.scan.max(1) as i64).min(max);
        while self.next < stop {
            let count = UNITS_AT_ONCE
                .min((stop - self.next) as usize)
                .min(limit.count.max(1));
            let steps = match self.steps(count).map_err(ReadError::from) {
                Err(error) if self.may_end_at(self.next, &error) => break,
                done => done?,
            };
            if steps.is_empty() {
                if self.count == 0 {
                    return self.entries_missing(min, max, log_max);
                }
                break;
            }
            let mut wanted: Vec<Step> = Vec::with_capacity(steps.len());
            let (mut wanted_count, mut wanted_bytes) = (0, 0);
            let mut is_full = false;
            for step in steps {
                if step.next <= self.next.max(step.offset) || step.next > max {
                    // A unit of a batch queue that cannot be.
                    self.index += 1;
                    self.damaged += 1;
                    continue;
                }
                if step.offset >= stop {
                    // Behind a gap.
                    self.next = stop;
                    break;
                }
                let unit = step.unit;
                let size = usize::try_from(unit.size).unwrap_or(0);
                let (count, bytes) = (self.count + wanted_count, self.out.len() + wanted_bytes);
                // Before the filter, as in the reference: the next pull starts right behind the last message.
                is_full = limit.is_full(
                    count,
                    bytes,
                    (step.messages(), size),
                    log_max.saturating_sub(unit.pos),
                );
                if is_full {
                    break;
                }
                if !unit.is_blank() {
                    self.looked_at = unit.pos;
                }
                if !unit.is_blank() && self.may_match(&unit) {
                    if unit.pos < log_min && self.is_removed(&step, log_min)? {
                        self.removed += 1;
                    } else {
                        wanted.push(step);
                        wanted_count += step.messages();
                        wanted_bytes += size;
                    }
                }
                self.next = step.next;
                self.index += 1;
            }
            let refused = self.take(&wanted)?;
            if self.next < wanted.last().map_or(0, |step| step.next) || (is_full && refused == 0) {
                break;
            }
        }
        self.warn_of_damage(first);
        Ok(self.batch(min, max, log_max))
    }

    /// The next units, at most `count`, all of one file.
    fn steps(&self, count: usize) -> io::Result<Vec<Step>> {
        let (store, queue) = (self.store, self.queue);
        if queue.is_batch() {
            let units = store.batch_units(queue, self.index, count, self.mode)?;
            let step = |(unit, span): (Unit, Span)| Step {
                offset: span.base,
                next: if span.is_sound() { span.end() } else { span.base },
                unit,
            };
            return Ok(units.into_iter().map(step).collect());
        }
        let units = store.units(queue, self.next, count, self.mode)?;
        let step = |(offset, unit)| Step {
            offset,
            next: offset + 1,
            unit,
        };
        Ok((self.next..).zip(units).map(step).collect())
    }

    fn entries_missing(&self, min: i64, max: i64, log_max: i64) -> Result<Batch, ReadError> {
        let next_offset = match self.queue.kind() {
            QueueKind::Plain => {
                let files = &self.store.queue_files;
                files.behind_gap(self.queue, self.next, self.mode)?.min(max)
            }
            // Where the next file begins only that file knows.
            QueueKind::Batch => {
                let (store, queue, mode) = (self.store, self.queue, self.mode);
                let index = store.batch_index(queue, mode, |span| span.end() <= self.next)?;
                let units = store.batch_units(queue, index, 1, mode)?;
                let base = units.first().map_or(max, |(_, span)| span.base);
                base.max(self.next + 1).min(max)
            }
        };
        Ok(Batch {
            status: ReadStatus::EntriesMissing,
            bytes: Bytes::new(),
            count: 0,
            next_offset,
            min,
            max,
            behind_bytes: log_max.saturating_sub(self.looked_at),
        })
    }

    fn batch(self, min: i64, max: i64, log_max: i64) -> Batch {
        let status = match (self.count, self.removed) {
            (0, 0) => ReadStatus::NoMatch,
            (0, _) => ReadStatus::Removed,
            _ => ReadStatus::Found,
        };
        let behind_bytes = log_max.saturating_sub(self.looked_at);
        let bytes = Bytes::from(self.out);
        Batch {
            status,
            bytes,
            count: self.count,
            next_offset: self.next,
            min,
            max,
            behind_bytes,
        }
    }

    fn warn_of_damage(&self, from: i64) {
        let (topic, queue, to) = (self.queue.topic(), self.queue.id(), self.next);
        if self.damaged > 0 {
            let (count, pos) = (self.damaged, self.damaged_pos);
            let file = self.store.log.path_of(pos);
            let file = file.display();
            tracing::warn!(topic, queue, from, to, count, %file, pos, "damaged records are skipped; `barque store check` tells more");
        }
        if self.mended > 0 {
            let (count, file) = (self.mended, self.store.queue_files.place_of(self.queue));
            let file = file.display();
            tracing::warn!(topic, queue, from, to, count, %file, "messages of damaged entries were found in the log; `barque store repair` mends the entries");
        }
    }

    /// Whether the filter may let a unit pass, as far as the unit tells.
    fn may_match(&self, unit: &Unit) -> bool {
        unit.tags_code <= EXT_ADDRESS_MAX || self.filter.by_code(unit.tags_code) || !unit.is_written()
    }

    /// Whether what a unit says to lie before the log was removed. Units only go up: behind one whose record is there it is damaged.
    fn is_removed(&self, step: &Step, log_min: i64) -> io::Result<bool> {
        if self.queue.is_batch() {
            return Ok(true);
        }
        // One that nobody wrote does not say so.
        let mut is_removed = step.unit.is_written();
        let first = self.queue.min().max(step.offset - UNITS_AT_ONCE as i64);
        for offset in (first..step.offset).rev() {
            let before = self.store.units(self.queue, offset, 1, self.mode)?;
            let before = before
                .first()
                .filter(|unit| unit.is_written() && !unit.is_blank());
            if let Some(before) = before {
                is_removed &= before.pos < log_min;
                break;
            }
        }
        Ok(is_removed)
    }

    /// Whether a read can end in front of an offset that cannot be had now, with what it has. A disk that does not give one record
    /// keeps nobody from those in front of it, and the next read says what is wrong.
    fn may_end_at(&self, offset: i64, error: &ReadError) -> bool {
        match error {
            ReadError::NotCached => self.count > 0,
            ReadError::Io(_) => self.count > 0 || offset > self.first,
            _ => false,
        }
    }

    /// Reads the records of these units, adjacent ones at once. Returns how many were refused. Stops, with `next` set
    /// to the first that is missing, when one cannot be had now and something was read or passed over before.
    fn take(&mut self, wanted: &[Step]) -> Result<usize, ReadError> {
        let before = self.records;
        let mut rest = wanted;
        while let Some((Step { unit: first, .. }, more)) = rest.split_first() {
            let mut end = first.pos.saturating_add(i64::from(first.size));
            let adjacent = more.iter().take_while(|Step { unit, .. }| {
                let is_next =
                    unit.pos == end && self.store.log.base_of(end) == self.store.log.base_of(first.pos);
                end = end.saturating_add(i64::from(unit.size).max(1));
                is_next
            });
            let (group, others) = rest.split_at(1 + adjacent.count());
            match self.take_group(group) {
                Err(error) if self.may_end_at(self.taking, &error) => {
                    // Of a group that was taken one by one some may be there.
                    self.next = self.taking;
                    self.looked_at = self.last_pos;
                    return Ok(0);
                }
                done => done?,
            }
            rest = others;
        }
        Ok(wanted.len() - (self.records - before))
    }

    fn take_group(&mut self, group: &[Step]) -> Result<(), ReadError> {
        let Some(Step {
            unit: first, offset, ..
        }) = group.first()
        else {
            return Ok(());
        };
        self.taking = *offset;
        let bytes: usize = group
            .iter()
            .map(|step| usize::try_from(step.unit.size).unwrap_or(0))
            .sum();
        match self.is_plausible(group, bytes) {
            Ok(true) => {}
            // Only one of them may be what the disk does not give.
            Err(ReadError::Io(_)) if group.len() > 1 => return self.take_singly(group),
            done => {
                done?;
                return self.take_singly(group);
            }
        }
        let start = self.out.len();
        self.out.resize(start + bytes, 0);
        let origin = match self.store.log.read(first.pos, &mut self.out[start..], self.mode) {
            Ok(origin) => origin,
            Err(error) => {
                self.out.truncate(start);
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::WouldBlock => self.unread(group.len(), error),
                    _ if group.len() > 1 => self.take_singly(group),
                    _ => Err(error.into()),
                };
            }
        };
        let (count, records, last_pos) = (self.count, self.records, self.last_pos);
        let (mut from, mut to) = (start, start);
        for step in group {
            let unit = &step.unit;
            let size = unit.size as usize;
            match self.verdict(step, from, origin) {
                Verdict::Wanted => {
                    if from != to {
                        self.out.copy_within(from..from + size, to);
                    }
                    to += size;
                    self.count += step.messages();
                    self.records += 1;
                    self.last_pos = unit.pos;
                }
                Verdict::Unwanted => {}
                Verdict::Damaged => {
                    self.out.truncate(start);
                    (self.count, self.records, self.last_pos) = (count, records, last_pos);
                    return self.take_singly(group);
                }
            }
            from += size;
        }
        self.out.truncate(to);
        Ok(())
    }

    /// Whether there can be so many bytes of records where these units say. Room for many is made only if the records say so too.
    fn is_plausible(&self, group: &[Step], bytes: usize) -> Result<bool, ReadError> {
        let log = &self.store.log;
        let pos = group.first().map_or(-1, |first| first.unit.pos);
        let end = pos.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        let is_inside = pos >= 0
            && bytes >= RECORD_BYTES_MIN
            && end <= log.written.load(Ordering::Acquire)
            && end <= log.base_of(pos) + log.segment_bytes();
        if !is_inside || bytes < SIZE_TO_CHECK {
            return Ok(is_inside);
        }
        if self.mode == ReadMode::Cached {
            return Err(ReadError::NotCached);
        }
        for (nth, Step { unit, .. }) in group.iter().enumerate() {
            let size = usize::try_from(unit.size).unwrap_or(0);
            if (nth == 0 || size >= SIZE_TO_CHECK) && self.store.size_at(unit.pos, self.mode)? != Some(size) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// When something in a group is wrong: only that is dropped, or looked for elsewhere.
    fn take_singly(&mut self, group: &[Step]) -> Result<(), ReadError> {
        if let [step] = group {
            return self.take_sought(step);
        }
        for step in group {
            self.take_group(std::slice::from_ref(step))?;
        }
        Ok(())
    }

    /// Takes the record of a unit that is not what the unit says from where it lies in the log, if it is there.
    fn take_sought(&mut self, step: &Step) -> Result<(), ReadError> {
        if self.mode == ReadMode::Cached {
            return Err(ReadError::NotCached);
        }
        let asked = (step.offset, &step.unit);
        let unit = match self.store.seek_record(self.queue, asked, &mut self.sought)? {
            Seek::Found(unit) => unit,
            Seek::Lost => {
                self.note_damage(step);
                return Ok(());
            }
            Seek::NotYet => {
                let why =
                    "the message of a damaged entry is looked for in the log; the next read goes on with it";
                return Err(ReadError::Io(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
        };
        let (start, size) = (self.out.len(), usize::try_from(unit.size).unwrap_or(0));
        self.out.resize(start + size, 0);
        let origin = match self.store.log.read(unit.pos, &mut self.out[start..], self.mode) {
            Ok(origin) => origin,
            Err(error) => {
                self.out.truncate(start);
                return self.unread(1, error);
            }
        };
        match self.verdict(&Step { unit, ..*step }, start, origin) {
            Verdict::Wanted => {
                self.mended += 1;
                self.count += step.messages();
                self.records += 1;
                self.last_pos = unit.pos;
            }
            Verdict::Unwanted => {
                self.mended += 1;
                self.out.truncate(start);
            }
            Verdict::Damaged => {
                self.out.truncate(start);
                self.note_damage(step);
            }
        }
        Ok(())
    }

    fn note_damage(&mut self, step: &Step) {
        if self.damaged == 0 {
            self.damaged_pos = step.unit.pos;
        }
        self.damaged += 1;
    }

    /// So many records cannot be read: they may have been removed since the start of the log was looked at.
    fn unread(&mut self, count: usize, error: io::Error) -> Result<(), ReadError> {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error.into());
        }
        self.removed += count;
        Ok(())
    }

    fn verdict(&self, step: &Step, at: usize, origin: Origin) -> Verdict {
        let unit = &step.unit;
        let record = self.out.get(at..at + unit.size as usize).unwrap_or_default();
        let head = match RecordHead::scan(record) {
            Ok(head)
                if head.total_size == record.len()
                    && head.stamp.physical_offset == unit.pos
                    && head.stamp.queue_offset == step.offset
                    && head.parts.queue_id == self.queue.id()
                    && head.parts.topic == self.queue.topic()
                    && is_intact(&head, record, origin) =>
            {
                head
            }
            _ => return Verdict::Damaged,
        };
        let is_code_known = unit.tags_code > EXT_ADDRESS_MAX;
        let is_match = is_code_known || {
            let tags = wire::properties::get(head.parts.properties, wire::properties::name::TAGS);
            self.filter.by_code(tags.map_or(0, tags_code))
        };
        if is_match && self.filter.by_properties(head.parts.properties) {
            Verdict::Wanted
        } else {
            Verdict::Unwanted
        }
    }
}
