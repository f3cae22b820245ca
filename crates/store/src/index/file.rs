// SPDX-License-Identifier: Apache-2.0
//! One file of the key index.
//!
//! ```text
//! file <root>/index/<yyyyMMddHHmmssSSS>, local time of creation; 40 + 4 * slots + 20 * entries bytes
//! header 40: beginTimestamp 8 | endTimestamp 8 | beginPhyOffset 8 | endPhyOffset 8 | used slots 4 | next entry 4 (from 1)
//! slot 4:    number of the newest entry with hash % slots, 0 for none
//! entry 20:  keyHash 4 | physicalOffset 8 | seconds since beginTimestamp 4 | previous entry of the slot 4
//! ```
//!
//! Entries are appended, slots are changed in memory and written page by page, the header goes last. After an abnormal
//! end the slots are made anew from the entries, unless they are known to be those of some moment: then only the entries since
//! are entered.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, File, synced};
use crate::index::SlotsMark;

pub(super) const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
const ENTRY_BYTES: u64 = 20;
const PAGE_BYTES: u64 = 4096;
/// Room for entries that is kept between writes.
const BUFFER_KEPT: usize = 16 << 20;
/// Entries read at once when slots are made anew.
const SCAN_ENTRIES: u32 = 50_000;

/// Sizes of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) slots: u32,
    pub(crate) entries: u32,
}

impl Shape {
    pub(crate) fn file_bytes(self) -> u64 {
        self.entry_at(0) + u64::from(self.entries) * ENTRY_BYTES
    }

    fn entry_at(self, number: u32) -> u64 {
        HEADER_BYTES + u64::from(self.slots) * SLOT_BYTES + u64::from(number) * ENTRY_BYTES
    }

    fn slot_of(self, hash: u32) -> usize {
        (hash % self.slots) as usize
    }
}

/// One key of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) hash: u32,
    pub(crate) pos: i64,
    pub(crate) stored_at: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) begin_at: i64,
    pub(super) end_at: i64,
    pub(super) begin_pos: i64,
    pub(super) end_pos: i64,
    pub(super) used_slots: u32,
    /// Number of the next entry.
    pub(super) next: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[0..8].copy_from_slice(&self.begin_at.to_be_bytes());
        out[8..16].copy_from_slice(&self.end_at.to_be_bytes());
        out[16..24].copy_from_slice(&self.begin_pos.to_be_bytes());
        out[24..32].copy_from_slice(&self.end_pos.to_be_bytes());
        out[32..36].copy_from_slice(&self.used_slots.to_be_bytes());
        out[36..40].copy_from_slice(&self.next.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Header {
        let long = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0_i64, |value, byte| value << 8 | i64::from(*byte))
        };
        Header {
            begin_at: long(0),
            end_at: long(8),
            begin_pos: long(16),
            end_pos: long(24),
            used_slots: (long(32) >> 32) as u32,
            next: (long(32) as u32).max(1),
        }
    }

    /// Whether messages stored between the two times may be in the file.
    pub(super) fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        self.next > 1 && begin_ms <= self.end_at && end_ms >= self.begin_at
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u32,
    pos: i64,
    seconds: i32,
    previous: u32,
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_be_bytes());
        out.extend_from_slice(&self.pos.to_be_bytes());
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&self.previous.to_be_bytes());
    }

    fn decode(bytes: &[u8; ENTRY_BYTES as usize]) -> Entry {
        let [
            h0,
            h1,
            h2,
            h3,
            p0,
            p1,
            p2,
            p3,
            p4,
            p5,
            p6,
            p7,
            s0,
            s1,
            s2,
            s3,
            l0,
            l1,
            l2,
            l3,
        ] = *bytes;
        Entry {
            hash: u32::from_be_bytes([h0, h1, h2, h3]),
            pos: i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            seconds: i32::from_be_bytes([s0, s1, s2, s3]),
            previous: u32::from_be_bytes([l0, l1, l2, l3]),
        }
    }
}

pub(super) fn read_header(file: &dyn File) -> io::Result<Header> {
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Header::decode(&bytes))
}

/// What a query asks of one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) hash: u32,
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    pub(super) max: usize,
}

/// A file to search, up to the end its header says.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// When it is open already.
    pub(super) file: Option<Arc<dyn File>>,
    pub(super) shape: Shape,
    pub(super) header: Header,
    /// The newest entry of the slot, when it is known already.
    pub(super) first: Option<u32>,
}

impl Place {
    /// Adds the positions that match, newest first, as long as there are steps.
    pub(super) fn search(
        &self,
        disk: &dyn Disk,
        question: &Question,
        (found, steps): (&mut Vec<i64>, &mut u32),
    ) -> io::Result<()> {
        if found.len() >= question.max {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => match disk.open(&self.path) {
                // Its messages are too old and it was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            },
        };
        let mut number = match self.first {
            Some(first) => first,
            None => self.newest(&*file, question.hash)?,
        };
        let mut bound = self.header.next;
        while number > 0 && number < bound && found.len() < question.max && *steps > 0 {
            *steps -= 1;
            let mut bytes = [0; ENTRY_BYTES as usize];
            file.read_exact_at(&mut bytes, self.shape.entry_at(number))?;
            let entry = Entry::decode(&bytes);
            let stored_at = self
                .header
                .begin_at
                .saturating_add(i64::from(entry.seconds) * 1000);
            if entry.seconds < 0 {
                break;
            }
            if entry.hash == question.hash
                && (question.begin_ms..=question.end_ms).contains(&stored_at)
                && !found.contains(&entry.pos)
            {
                found.push(entry.pos);
            }
            if stored_at < question.begin_ms {
                break;
            }
            // A chain only goes back; anything else is damage and would go round in circles.
            bound = number;
            number = entry.previous;
        }
        Ok(())
    }

    fn newest(&self, file: &dyn File, hash: u32) -> io::Result<u32> {
        let mut slot = [0; SLOT_BYTES as usize];
        let at = HEADER_BYTES + self.shape.slot_of(hash) as u64 * SLOT_BYTES;
        file.read_exact_at(&mut slot, at)?;
        Ok(u32::from_be_bytes(slot))
    }
}

/// What is wrong with a file that was left in order, with the places; and how many entries it has.
pub(crate) fn faults_of(file: &dyn File, shape: Shape) -> io::Result<(u32, Vec<(u64, String)>)> {
    let header = read_header(file)?;
    let mut faults = Vec::new();
    if header.next > shape.entries || header.begin_pos > header.end_pos {
        faults.push((0, "the header says what cannot be".to_owned()));
        return Ok((0, faults));
    }
    let mut slots = vec![0; shape.slots as usize];
    let (mut number, mut pos) = (1, header.begin_pos);
    while number < header.next {
        let count = SCAN_ENTRIES.min(header.next - number);
        let mut bytes = vec![0; count as usize * ENTRY_BYTES as usize];
        file.read_exact_at(&mut bytes, shape.entry_at(number))?;
        for entry in bytes
            .as_chunks::<{ ENTRY_BYTES as usize }>()
            .0
            .iter()
            .map(Entry::decode)
        {
            let slot = shape.slot_of(entry.hash);
            let is_sound = entry.pos >= pos
                && entry.pos <= header.end_pos
                && entry.seconds >= 0
                && slots.get(slot) == Some(&entry.previous);
            if !is_sound {
                faults.push((
                    shape.entry_at(number),
                    format!("entry {number} does not fit the others"),
                ));
            }
            pos = pos.max(entry.pos.min(header.end_pos));
            if let Some(slot) = slots.get_mut(slot) {
                *slot = number;
            }
            number += 1;
        }
    }
    let mut bytes = vec![0; slots.len() * SLOT_BYTES as usize];
    file.read_exact_at(&mut bytes, HEADER_BYTES)?;
    for (nth, (expected, slot)) in slots.iter().zip(bytes.as_chunks::<4>().0).enumerate() {
        if u32::from_be_bytes(*slot) != *expected {
            let at = HEADER_BYTES + nth as u64 * SLOT_BYTES;
            faults.push((at, format!("slot {nth} does not lead to its newest entry")));
        }
    }
    Ok((header.next - 1, faults))
}

/// An entry, as whoever compares it with its message sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walked {
    pub(crate) hash: u32,
    pub(crate) pos: i64,
    pub(crate) seconds: i32,
    /// Its place in the file.
    pub(crate) at: u64,
}

/// The entries of a file that was left in order, one by one.
pub(crate) struct EntryWalk {
    file: Arc<dyn File>,
    shape: Shape,
    number: u32,
    next: u32,
    begin_at: i64,
    chunk: std::vec::IntoIter<Entry>,
}

impl EntryWalk {
    pub(crate) fn new(file: Arc<dyn File>, shape: Shape) -> io::Result<EntryWalk> {
        let header = read_header(&*file)?;
        let next = header.next.min(shape.entries);
        Ok(EntryWalk {
            begin_at: header.begin_at,
            file,
            shape,
            number: 1,
            next,
            chunk: Vec::new().into_iter(),
        })
    }

    /// The seconds that stand in an entry for a message that was stored then.
    pub(crate) fn seconds_of(&self, stored_at: i64) -> i32 {
        if self.begin_at <= 0 {
            return 0;
        }
        let seconds = stored_at.saturating_sub(self.begin_at) / 1000;
        seconds.clamp(0, i64::from(i32::MAX)) as i32
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Walked>> {
        if self.chunk.as_slice().is_empty() && self.number < self.next {
            let count = SCAN_ENTRIES.min(self.next - self.number);
            let mut bytes = vec![0; count as usize * ENTRY_BYTES as usize];
            self.file
                .read_exact_at(&mut bytes, self.shape.entry_at(self.number))?;
            let entries = bytes.as_chunks::<{ ENTRY_BYTES as usize }>().0;
            self.chunk = entries.iter().map(Entry::decode).collect::<Vec<_>>().into_iter();
        }
        let found = self.chunk.next().map(|entry| Walked {
            hash: entry.hash,
            pos: entry.pos,
            seconds: entry.seconds,
            at: self.shape.entry_at(self.number),
        });
        self.number += u32::from(found.is_some());
        Ok(found)
    }
}

/// What is known of the entries of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// They were written and synced.
    Durable,
    /// They were written, at most.
    Written,
}

/// The file that is being filled.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) path: PathBuf,
    pub(super) name: i64,
    pub(super) file: Arc<dyn File>,
    pub(super) header: Header,
    shape: Shape,
    /// Empty until they are needed.
    slots: Vec<u32>,
    /// One bit per page of the slots that differs from the file.
    dirty: Vec<u64>,
    /// Entries that are not in the file yet; the first has number `buffered_from`.
    buffer: Vec<u8>,
    buffered_from: u32,
    is_header_dirty: bool,
    /// Whether entries were written and not synced.
    is_unsynced: bool,
    /// What the slots in the file are, if they are known to be durable.
    slots_mark: Option<SlotsMark>,
}

impl Current {
    pub(super) fn fresh(path: PathBuf, name: i64, file: Arc<dyn File>, shape: Shape) -> Current {
        let mut fresh = Current::with_header(path, name, file, shape);
        fresh.header = Header {
            next: 1,
            ..Header::default()
        };
        fresh.slots = vec![0; shape.slots as usize];
        fresh
    }

    fn with_header(path: PathBuf, name: i64, file: Arc<dyn File>, shape: Shape) -> Current {
        let pages = (HEADER_BYTES + u64::from(shape.slots) * SLOT_BYTES).div_ceil(PAGE_BYTES);
        Current {
            path,
            name,
            file,
            header: Header::default(),
            shape,
            slots: Vec::new(),
            dirty: vec![0; pages.div_ceil(64) as usize],
            buffer: Vec::new(),
            buffered_from: 1,
            is_header_dirty: false,
            is_unsynced: false,
            slots_mark: None,
        }
    }

    /// Opens a file that was left in order.
    pub(super) fn open(path: PathBuf, name: i64, file: Arc<dyn File>, shape: Shape) -> io::Result<Current> {
        let mut current = Current::with_header(path, name, file, shape);
        current.header = read_header(&*current.file)?;
        current.buffered_from = current.header.next;
        Ok(current)
    }

    /// Whether there is something the file does not hold.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_header_dirty
    }

    pub(super) fn is_full(&self) -> bool {
        self.header.next >= self.shape.entries
    }

    fn load_slots(&mut self) -> io::Result<()> {
        if self.slots.is_empty() {
            self.read_slots()?;
        }
        Ok(())
    }

    /// Reads the slots and returns their sum.
    fn read_slots(&mut self) -> io::Result<u32> {
        let mut bytes = vec![0; self.shape.slots as usize * SLOT_BYTES as usize];
        self.file.read_exact_at(&mut bytes, HEADER_BYTES)?;
        let slots = bytes.as_chunks::<4>().0.iter();
        self.slots = slots.map(|slot| u32::from_be_bytes(*slot)).collect();
        Ok(crc32fast::hash(&bytes))
    }

    /// The sum of the slots, as they are written.
    fn slots_crc(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        let mut bytes = Vec::new();
        for some in self.slots.chunks(PAGE_BYTES as usize) {
            bytes.clear();
            some.iter()
                .for_each(|slot| bytes.extend_from_slice(&slot.to_be_bytes()));
            sum.update(&bytes);
        }
        sum.finalize()
    }

    /// What the slots in the file are.
    pub(super) fn slots_mark(&self) -> Option<SlotsMark> {
        self.slots_mark
    }

    /// As somebody has noted it who left the file in order.
    pub(super) fn note_slots(&mut self, mark: Option<SlotsMark>) {
        self.slots_mark = mark.filter(|mark| mark.next == self.header.next);
    }

    /// Adds entries until the file is full; returns how many went in.
    pub(super) fn put_all(&mut self, puts: &[Put]) -> io::Result<usize> {
        self.load_slots()?;
        let room = self.shape.entries.saturating_sub(self.header.next) as usize;
        for put in puts.iter().take(room) {
            self.put(put);
        }
        Ok(puts.len().min(room))
    }

    fn put(&mut self, put: &Put) {
        let number = self.header.next;
        if number <= 1 {
            self.header.begin_pos = put.pos;
            self.header.begin_at = put.stored_at;
        }
        let seconds = put.stored_at.saturating_sub(self.header.begin_at) / 1000;
        let previous = self.enter(put.hash, number);
        let seconds = if self.header.begin_at <= 0 {
            0
        } else {
            seconds.clamp(0, i64::from(i32::MAX)) as i32
        };
        Entry {
            hash: put.hash,
            pos: put.pos,
            seconds,
            previous,
        }
        .encode(&mut self.buffer);
        self.header.next = number + 1;
        self.header.end_pos = put.pos;
        self.header.end_at = put.stored_at;
        self.is_header_dirty = true;
    }

    /// Makes `number` the newest entry of its slot; returns the one before.
    fn enter(&mut self, hash: u32, number: u32) -> u32 {
        let slot = self.shape.slot_of(hash);
        let page = (HEADER_BYTES + slot as u64 * SLOT_BYTES) / PAGE_BYTES;
        self.dirty[(page / 64) as usize] |= 1 << (page % 64);
        let previous = std::mem::replace(&mut self.slots[slot], number);
        if previous == 0 || previous >= number {
            self.header.used_slots += u32::from(previous == 0);
            0
        } else {
            previous
        }
    }

    pub(super) fn write_entries(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file
                .write_at(&self.buffer, self.shape.entry_at(self.buffered_from))?;
            self.is_unsynced = true;
            self.buffered_from = self.header.next;
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT);
        }
        Ok(())
    }

    fn write_slots(&mut self) -> io::Result<()> {
        let end = HEADER_BYTES + self.slots.len() as u64 * SLOT_BYTES;
        let pages = end.div_ceil(PAGE_BYTES);
        let is_dirty = |dirty: &[u64], page: u64| dirty[(page / 64) as usize] & 1 << (page % 64) != 0;
        let mut page = 0;
        let mut bytes = Vec::new();
        while page < pages {
            let first = page;
            while page < pages && is_dirty(&self.dirty, page) && page - first < 256 {
                page += 1;
            }
            if page == first {
                page += 1;
                continue;
            }
            let from = (first * PAGE_BYTES).max(HEADER_BYTES);
            let to = (page * PAGE_BYTES).min(end);
            let slots =
                ((from - HEADER_BYTES) / SLOT_BYTES) as usize..((to - HEADER_BYTES) / SLOT_BYTES) as usize;
            bytes.clear();
            for slot in &self.slots[slots] {
                bytes.extend_from_slice(&slot.to_be_bytes());
            }
            self.file.write_at(&bytes, from)?;
        }
        self.dirty.fill(0);
        Ok(())
    }

    /// Makes entries durable, and nothing that knows them.
    pub(super) fn flush_entries(&mut self) -> io::Result<()> {
        self.write_entries()?;
        if self.is_unsynced {
            synced(self.file.sync())?;
            self.is_unsynced = false;
        }
        Ok(())
    }

    /// Writes everything and makes it durable, the header after the rest.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_header_dirty {
            return Ok(());
        }
        self.write_entries()?;
        self.slots_mark = None;
        self.write_slots()?;
        synced(self.file.sync())?;
        self.file.write_at(&self.header.encode(), 0)?;
        synced(self.file.sync())?;
        self.is_unsynced = false;
        self.is_header_dirty = false;
        self.slots_mark = Some(SlotsMark {
            next: self.header.next,
            crc: self.slots_crc(),
        });
        Ok(())
    }

    /// Writes everything; it becomes durable with a sync of the file.
    pub(super) fn write_all(&mut self) -> io::Result<()> {
        self.write_entries()?;
        self.write_slots()?;
        self.file.write_at(&self.header.encode(), 0)
    }

    /// Where to look for a hash. All entries are in the file then.
    pub(super) fn place(&mut self, hash: u32) -> io::Result<Place> {
        self.load_slots()?;
        self.write_entries()?;
        Ok(Place {
            path: self.path.clone(),
            file: Some(Arc::clone(&self.file)),
            shape: self.shape,
            header: self.header,
            first: Some(self.slots[self.shape.slot_of(hash)]),
        })
    }

    /// Keeps the entries below number `next` that point before `limit` and are plausible, and makes the slots anew.
    pub(super) fn rebuild(&mut self, next: u32, limit: i64, trust: Trust) -> io::Result<()> {
        let old = self.header;
        self.header = Header {
            next: 1,
            end_pos: old.begin_pos,
            end_at: old.begin_at,
            used_slots: 0,
            ..old
        };
        self.slots = vec![0; self.shape.slots as usize];
        self.dirty.fill(u64::MAX);
        self.is_header_dirty = true;
        self.slots_mark = None;
        self.buffer.clear();
        self.enter_entries(next, limit, trust)?;
        self.keep_end_at(&old);
        self.buffered_from = self.header.next;
        Ok(())
    }

    /// Takes the slots as they are in the file, if that is what was noted, and enters the entries since, below number `next`.
    /// `false`: they have to be made anew. The header may be torn; only where the file begins is the same in all of them.
    pub(super) fn resume(&mut self, next: u32, noted: Option<SlotsMark>) -> io::Result<bool> {
        let Some(mark) = noted.filter(|mark| (2..=next.min(self.shape.entries)).contains(&mark.next)) else {
            return Ok(false);
        };
        if self.read_slots()? != mark.crc {
            return Ok(false);
        }
        let mut bytes = [0; ENTRY_BYTES as usize];
        self.file
            .read_exact_at(&mut bytes, self.shape.entry_at(mark.next - 1))?;
        let last = Entry::decode(&bytes);
        let old = self.header;
        self.header = Header {
            end_pos: last.pos,
            end_at: old.begin_at.saturating_add(i64::from(last.seconds) * 1000),
            used_slots: self.slots.iter().filter(|slot| **slot > 0).count() as u32,
            next: mark.next,
            ..old
        };
        self.slots_mark = noted;
        self.enter_entries(next, i64::MAX, Trust::Durable)?;
        self.keep_end_at(&old);
        // A header that knows them may be in the file although the slots are not.
        self.is_header_dirty = self.header.next > mark.next || self.header != old;
        self.buffered_from = self.header.next;
        Ok(true)
    }

    /// Zeroes what is in the file behind the last entry, durably. Otherwise a crash that loses an entry to come shows the one
    /// that was in its place, which is as plausible: its message may have been at the same position.
    pub(super) fn forget_rest(&self) -> io::Result<()> {
        let from = self.shape.entry_at(self.header.next);
        self.file.zero(from, self.file.len()?.saturating_sub(from))?;
        synced(self.file.sync())
    }

    /// Entries know their time to the second. When nothing was cut, the old header knows better.
    fn keep_end_at(&mut self, old: &Header) {
        if self.header.next == old.next && self.header.end_pos == old.end_pos {
            self.header.end_at = old.end_at;
        }
    }

    /// Goes on with the entries in the file, up to number `next`, as far as they point before `limit` and are plausible.
    fn enter_entries(&mut self, next: u32, limit: i64, trust: Trust) -> io::Result<()> {
        let next = next.min(self.shape.entries);
        let begin_pos = self.header.begin_pos;
        let mut seconds = 0;
        while self.header.next < next {
            let from = self.header.next;
            let count = SCAN_ENTRIES.min(next - from);
            let mut bytes = vec![0; count as usize * ENTRY_BYTES as usize];
            let read = self.file.read_at(&mut bytes, self.shape.entry_at(from))?;
            let entries = bytes[..read].as_chunks::<{ ENTRY_BYTES as usize }>().0;
            for entry in entries.iter().map(Entry::decode) {
                let number = self.header.next;
                let is_sound = entry.pos >= self.header.end_pos
                    && entry.pos < limit
                    && entry.seconds >= 0
                    && entry.previous < number
                    && (number > 1 || entry.pos == begin_pos);
                // Any part of an entry may be missing, and an entry that lacks its hash or its link hides messages.
                let is_whole = trust == Trust::Durable
                    || entry.hash != 0
                        && entry.seconds >= seconds
                        && entry.previous == self.slots[self.shape.slot_of(entry.hash)];
                if !is_sound || !is_whole {
                    return Ok(());
                }
                seconds = entry.seconds;
                self.enter(entry.hash, number);
                self.header.next = number + 1;
                self.header.end_pos = entry.pos;
                let since = i64::from(entry.seconds) * 1000;
                self.header.end_at = self.header.begin_at.saturating_add(since);
            }
            if entries.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Drops the newest entries that point to `pos`: they may be only some of those of one message.
    pub(super) fn drop_partial(&mut self, pos: i64) -> io::Result<()> {
        if self.header.next > 1 && self.header.end_pos == pos {
            self.write_entries()?;
            self.rebuild(self.header.next, pos, Trust::Durable)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn slots_are_written_that_lack_what_the_header_in_the_file_knows() {
        let shape = Shape {
            slots: 4,
            entries: 20,
        };
        let disk = SimDisk::seeded(1);
        let file = disk.create(Path::new("/index"), shape.file_bytes()).unwrap();
        let put = |pos: i64| Put {
            hash: pos as u32,
            pos,
            stored_at: 1_000 * pos,
        };
        let mut current = Current::fresh("/index".into(), 0, Arc::clone(&file), shape);
        current.put_all(&[put(1), put(2)]).unwrap();
        current.flush().unwrap();
        let mark = current.slots_mark();
        // The header of a file that is written as a whole outlives a crash, its slots do not.
        current.put_all(&[put(3), put(5)]).unwrap();
        current.flush_entries().unwrap();
        file.write_at(&current.header.encode(), 0).unwrap();
        let open = || Current::open("/index".into(), 0, Arc::clone(&file), shape).unwrap();
        let mut found = open();
        assert_eq!(found.header, current.header);
        assert!(found.resume(5, mark).unwrap());
        assert_eq!(found.header, current.header);
        found.flush().unwrap();
        let mut written = open();
        written.load_slots().unwrap();
        assert_eq!(written.slots, [0, 4, 2, 3]);
    }
}
