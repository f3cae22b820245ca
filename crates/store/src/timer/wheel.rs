// SPDX-License-Identifier: Apache-2.0
//! The wheel: for each tick, where in the timer log its chain of entries begins and ends.
//!
//! ```text
//! <root>/timerwheel: slots of 32 bytes, that of a tick at (ms / precision) % slots
//! slot: ms / precision 8 | first entry 8 | last entry 8 | entries 4 | 0 4
//! ```
//!
//! A slot whose tick is another one than the asked is empty. The file is large and mostly zero: pages are read when they
//! are needed, changed ones stay in memory until [`Wheel::begin_flush`], and one bit per slot says which are still to fire.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::plan::floor;
use super::recover::MS_MAX;
use crate::disk::{Disk, File, synced};

pub(crate) const SLOT_BYTES: usize = 32;
const PAGE_BYTES: usize = 4096;
const PAGE_SLOTS: usize = PAGE_BYTES / SLOT_BYTES;
/// Unchanged pages kept in memory at most.
const PAGES_KEPT: usize = 256;
/// Read at once when the whole file is looked at.
const SCAN_BYTES: usize = 1 << 20;

/// One tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The tick, ms.
    pub(crate) at_ms: i64,
    /// Oldest entry.
    pub(crate) first: i64,
    /// Newest entry, from which the chain goes back.
    pub(crate) last: i64,
    /// Entries, less the messages taken back.
    pub(crate) count: i32,
    /// Kept as it is.
    pub(crate) magic: i32,
}

impl Slot {
    pub(crate) fn empty(at_ms: i64) -> Slot {
        Slot {
            at_ms,
            first: -1,
            last: -1,
            count: 0,
            magic: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last < 0
    }

    /// Whether it may stand at its place: of its tick, and pointing to where entries can begin.
    fn is_plausible(&self, is_its_place: bool, is_seat: impl Fn(i64) -> bool) -> bool {
        let is_cleared = self.first == -1 && self.last == -1;
        let is_chain = (0..=self.last).contains(&self.first) && is_seat(self.first) && is_seat(self.last);
        self.is_zero() || is_its_place && (is_cleared || is_chain)
    }

    fn is_zero(&self) -> bool {
        (self.at_ms, self.first, self.last, self.count) == (0, 0, 0, 0)
    }

    fn decode(bytes: &[u8], precision_ms: i64) -> Slot {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        let tail = word(24);
        Slot {
            at_ms: word(0).saturating_mul(precision_ms),
            first: word(8),
            last: word(16),
            count: (tail >> 32) as i32,
            magic: tail as i32,
        }
    }

    fn encode(&self, precision_ms: i64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let tail = (i64::from(self.count) << 32) | i64::from(self.magic as u32);
        let words = [self.at_ms / precision_ms, self.first, self.last, tail];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        bytes
    }
}

#[derive(Debug)]
struct Page {
    bytes: Arc<[u8; PAGE_BYTES]>,
    state: State,
}

/// How a page stands to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As there.
    Clean,
    Changed,
    /// As it will be there when the flush that is on its way has succeeded.
    Flushing,
}

/// Changed pages on their way to the file. They are written without the wheel, which goes on meanwhile.
#[derive(Debug)]
pub(crate) struct PageFlush {
    file: Arc<dyn File>,
    file_bytes: u64,
    /// Ascending.
    pages: Vec<(usize, Arc<[u8; PAGE_BYTES]>)>,
}

impl PageFlush {
    /// Writes the pages and makes them durable.
    pub(crate) fn run(&self) -> io::Result<()> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let mut run: Vec<u8> = Vec::new();
        for (place, (number, page)) in self.pages.iter().enumerate() {
            run.extend_from_slice(&page[..]);
            let next = self.pages.get(place + 1).map(|(number, _)| *number);
            if next != Some(number + 1) || run.len() >= SCAN_BYTES {
                let end = (((number + 1) * PAGE_BYTES) as u64).min(self.file_bytes);
                let start = ((number + 1) * PAGE_BYTES - run.len()) as u64;
                run.truncate((end - start) as usize);
                self.file.write_at(&run, start)?;
                run.clear();
            }
        }
        synced(self.file.sync())
    }
}

#[derive(Debug)]
pub(crate) struct Wheel {
    file: Arc<dyn File>,
    precision_ms: i64,
    slots: usize,
    pages: HashMap<usize, Page>,
    /// Pages that came into memory unchanged since such were dropped last: at least as many as there are.
    clean: usize,
    /// One bit per slot: it may hold entries that have not fired.
    pending: Vec<u64>,
    /// Bits that are set.
    pending_count: usize,
}

impl Wheel {
    /// Opens the file, or makes it; the flag says that there was none, an empty one, or one of another size.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        slots: usize,
        precision_ms: i64,
    ) -> io::Result<(Wheel, bool)> {
        let len = (slots * SLOT_BYTES) as u64;
        let found = disk.entry(path)?.map_or(0, |entry| entry.len);
        let file = if found == 0 {
            let file = disk.create(path, len)?;
            synced(file.sync())?;
            synced(path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir)))?;
            file
        } else if found == len {
            disk.open(path)?
        } else {
            tracing::error!(
                file = %path.display(),
                bytes = found,
                expected = len,
                "the timer wheel has another size than it has; it is made anew of the timer log"
            );
            disk.remove(path)?;
            return Wheel::open(disk, path, slots, precision_ms);
        };
        let wheel = Wheel {
            file,
            precision_ms,
            slots,
            pages: HashMap::new(),
            clean: 0,
            pending: vec![0; slots.div_ceil(64)],
            pending_count: 0,
        };
        Ok((wheel, found == 0))
    }

    /// Whether the file is nothing but zeros. One to which a tick was ever written is not: slots stay when they have fired.
    pub(crate) fn is_blank(&self) -> io::Result<bool> {
        let (mut chunk, mut at) = (vec![0; SCAN_BYTES], 0);
        loop {
            let read = self.file.read_at(&mut chunk, at)?;
            if chunk
                .get(..read)
                .unwrap_or_default()
                .iter()
                .any(|byte| *byte != 0)
            {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
            at += read as u64;
        }
    }

    fn index(&self, ms: i64) -> usize {
        ms.div_euclid(self.precision_ms).rem_euclid(self.slots as i64) as usize
    }

    /// The slot of a tick; empty when the wheel holds another tick there.
    pub(crate) fn get(&mut self, ms: i64) -> io::Result<Slot> {
        let tick = floor(ms, self.precision_ms);
        let slot = self.raw(self.index(ms))?;
        // A file of zeros holds no tick at all, not even that of 1970.
        let is_its = slot.at_ms == tick && tick > 0;
        Ok(if is_its { slot } else { Slot::empty(tick) })
    }

    fn raw(&mut self, index: usize) -> io::Result<Slot> {
        let precision_ms = self.precision_ms;
        let page = self.page(index / PAGE_SLOTS)?;
        let at = index % PAGE_SLOTS * SLOT_BYTES;
        Ok(Slot::decode(
            page.bytes.get(at..).unwrap_or_default(),
            precision_ms,
        ))
    }

    /// Keeps the slot of a tick in memory until the next flush: a [`Wheel::put`] of it does not fail.
    pub(crate) fn hold(&mut self, ms: i64) -> io::Result<()> {
        let index = self.index(ms);
        self.page(index / PAGE_SLOTS)?.state = State::Changed;
        Ok(())
    }

    pub(crate) fn put(&mut self, slot: &Slot) -> io::Result<()> {
        let index = self.index(slot.at_ms);
        let bytes = slot.encode(self.precision_ms);
        let page = self.page(index / PAGE_SLOTS)?;
        let at = index % PAGE_SLOTS * SLOT_BYTES;
        // A copy, while the page as it was is being written.
        if let Some(to) = Arc::make_mut(&mut page.bytes).get_mut(at..at + SLOT_BYTES) {
            to.copy_from_slice(&bytes);
        }
        page.state = State::Changed;
        self.set_pending(index, !slot.is_empty());
        Ok(())
    }

    fn page(&mut self, number: usize) -> io::Result<&mut Page> {
        if self.clean >= PAGES_KEPT && !self.pages.contains_key(&number) {
            self.drop_clean();
        }
        match self.pages.entry(number) {
            std::collections::hash_map::Entry::Occupied(held) => Ok(held.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let mut bytes = [0; PAGE_BYTES];
                self.file.read_at(&mut bytes, (number * PAGE_BYTES) as u64)?;
                self.clean += 1;
                Ok(vacant.insert(Page {
                    bytes: Arc::new(bytes),
                    state: State::Clean,
                }))
            }
        }
    }

    fn drop_clean(&mut self) {
        self.pages.retain(|_, page| page.state != State::Clean);
        self.clean = 0;
    }

    fn set_pending(&mut self, index: usize, is_pending: bool) {
        if let Some(word) = self.pending.get_mut(index / 64) {
            let bit = 1 << (index % 64);
            let was_pending = *word & bit != 0;
            *word = if is_pending { *word | bit } else { *word & !bit };
            self.pending_count += usize::from(is_pending);
            self.pending_count -= usize::from(was_pending);
        }
    }

    /// Notes that a tick has fired. Its slot stays as it is, as in the reference.
    pub(crate) fn fired(&mut self, ms: i64) {
        self.set_pending(self.index(ms), false);
    }

    /// The first tick from `from_ms` on that has entries to fire, when all before `read_ms` have fired. All ticks that
    /// are pending lie within one turn.
    pub(crate) fn first_pending(&mut self, from_ms: i64, read_ms: i64) -> io::Result<Option<i64>> {
        if self.pending_count == 0 {
            return Ok(None);
        }
        let start = self.index(from_ms);
        let mut at = start;
        let mut looked_at = 0;
        while looked_at < self.slots {
            let word = self.pending.get(at / 64).copied().unwrap_or_default() >> (at % 64);
            if word == 0 {
                let skip = (64 - at % 64).min(self.slots - at);
                looked_at += skip;
                at = (at + skip) % self.slots;
                continue;
            }
            let skip = word.trailing_zeros() as usize;
            looked_at += skip + 1;
            at += skip;
            if looked_at > self.slots {
                break;
            }
            let slot = self.raw(at)?;
            if !slot.is_empty() && slot.at_ms >= from_ms {
                return Ok(Some(slot.at_ms));
            }
            if slot.is_empty() || slot.at_ms < read_ms {
                self.set_pending(at, false);
            }
            at = (at + 1) % self.slots;
        }
        Ok(None)
    }

    /// Whether any tick has entries that have not fired.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending_count > 0
    }

    /// Looks at every slot: those from `from_ms` on are pending, unless `is_over` says that all of it has fired. Shows
    /// the pending ones. Returns how many cannot be what was written; `is_seat` knows where entries can lie.
    pub(crate) fn survey(
        &mut self,
        from_ms: i64,
        (is_over, is_seat): (impl Fn(&Slot) -> bool, impl Fn(i64) -> bool),
        mut see: impl FnMut(&Slot),
    ) -> io::Result<usize> {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        self.pending.fill(0);
        self.pending_count = 0;
        let mut wrong = 0;
        let mut chunk = vec![0; SCAN_BYTES];
        let pages = self.slots.div_ceil(PAGE_SLOTS);
        for first in (0..pages).step_by(SCAN_BYTES / PAGE_BYTES) {
            let read = self.file.read_at(&mut chunk, (first * PAGE_BYTES) as u64)?;
            chunk.get_mut(read..).unwrap_or_default().fill(0);
            for (number, found) in (first..pages).zip(chunk.as_chunks::<PAGE_BYTES>().0) {
                let page = self.pages.get(&number).map_or(found, |page| &*page.bytes);
                // Compared at once: nearly all of the file is zero.
                if *page == ZEROS {
                    continue;
                }
                let slots = page.as_chunks::<SLOT_BYTES>().0.iter();
                let slots: Vec<Slot> = slots.map(|slot| Slot::decode(slot, self.precision_ms)).collect();
                for (index, slot) in (number * PAGE_SLOTS..self.slots).zip(slots) {
                    // A damaged one may say anything, and would keep those behind it from their time.
                    let is_sound = (1..=MS_MAX).contains(&slot.at_ms) && self.index(slot.at_ms) == index;
                    let is_pending = is_sound && slot.at_ms >= from_ms && !slot.is_empty() && !is_over(&slot);
                    if is_pending {
                        see(&slot);
                    }
                    let is_its_place = self.index(slot.at_ms) == index;
                    wrong += usize::from(!slot.is_plausible(is_its_place, &is_seat));
                    self.set_pending(index, is_pending);
                }
            }
        }
        Ok(wrong)
    }

    /// Takes what has changed, to be written; [`Wheel::end_flush`] has to follow.
    pub(crate) fn begin_flush(&mut self) -> PageFlush {
        let mut pages = Vec::new();
        for (number, page) in &mut self.pages {
            if page.state == State::Changed {
                page.state = State::Flushing;
                pages.push((*number, Arc::clone(&page.bytes)));
            }
        }
        pages.sort_unstable_by_key(|(number, _)| *number);
        PageFlush {
            file: Arc::clone(&self.file),
            file_bytes: (self.slots * SLOT_BYTES) as u64,
            pages,
        }
    }

    /// Says whether it was written.
    pub(crate) fn end_flush(&mut self, flush: &PageFlush, is_written: bool) {
        for (number, _) in &flush.pages {
            if let Some(page) = self.pages.get_mut(number)
                && page.state == State::Flushing
            {
                page.state = if is_written { State::Clean } else { State::Changed };
                self.clean += usize::from(is_written);
            }
        }
        if self.clean > PAGES_KEPT {
            self.drop_clean();
        }
    }
}
