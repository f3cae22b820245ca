// SPDX-License-Identifier: Apache-2.0
//! The key index: from a hash of `topic#key` (unique id, user key) or `topic#T#tag` to log positions, in the
//! reference's files ([`mod@file`] draws them).
//!
//! A publisher only appends to `pending`. Entries are put into their slots in groups, where the cache misses of one
//! group overlap, by the tidy thread or by the publisher that finds too many. All of it can be derived from the log
//! again, and is after an abnormal end, from the last checkpoint on. A short checkpoint makes only entries durable.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::calendar::calendar;
use crate::disk::{Disk, File, synced};
use crate::env::Clock;
use crate::index::file::{Current, Header, Place, Put, Question, Shape, Trust};

pub(crate) mod file;

/// Pending entries at which a publisher puts them away itself, if nobody is at the files.
const PENDING_MANY: usize = 8192;
/// Pending entries at which it waits for the files.
const PENDING_MAX: usize = 1 << 20;
/// Entries one query looks at: a key that all messages share must not keep a thread for minutes.
const STEPS_MAX: u32 = 1 << 20;

/// Where the index stands, as the checkpoint keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct IndexMark {
    /// Name of the file being filled, as a number; 0 for none.
    pub(crate) name: i64,
    /// Its next entry.
    pub(crate) next: u32,
    /// Position of the newest record that is indexed; -1 for none.
    pub(crate) end_pos: i64,
}

/// What the slots in the newest file are, whatever entries came since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SlotsMark {
    /// They know the entries below this number.
    pub(crate) next: u32,
    /// Their sum.
    pub(crate) crc: u32,
}

/// What a flush has made durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flushed {
    pub(crate) mark: IndexMark,
    pub(crate) slots: Option<SlotsMark>,
    /// Slots and header too, and not only entries.
    pub(crate) is_whole: bool,
}

#[derive(Debug)]
pub(crate) struct KeyIndex {
    is_enabled: bool,
    pending: Mutex<Vec<Put>>,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Sealed {
    name: i64,
    path: PathBuf,
    header: Header,
}

struct Files {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    shape: Shape,
    /// Full files, oldest first.
    sealed: Vec<Sealed>,
    current: Option<Current>,
    /// Full files that are written and not durable yet.
    unsynced: Vec<Arc<dyn File>>,
    is_dir_unsynced: bool,
    /// Empty, for its room.
    scratch: Vec<Put>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("sealed", &self.sealed)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

/// Where the index lives and what it is made of.
pub(crate) struct IndexPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
    pub(crate) is_enabled: bool,
}

/// Positions found, and how far the index is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) positions: Vec<i64>,
    pub(crate) end_at: i64,
    pub(crate) end_pos: i64,
}

/// What the index keeps of a Java hash.
pub(crate) fn key_code(hash: i32) -> u32 {
    hash.checked_abs().unwrap_or(0).unsigned_abs()
}

/// The name of an index file as a number, when it is one.
pub(crate) fn parse_name(name: &str) -> Option<i64> {
    (name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())
        .flatten()
}

impl KeyIndex {
    /// Opens the files with these names (ascending), as they were left.
    pub(crate) fn open(place: IndexPlace, names: &[i64]) -> io::Result<KeyIndex> {
        let IndexPlace {
            disk,
            clock,
            dir,
            shape,
            is_enabled,
        } = place;
        let mut files = Files {
            disk,
            clock,
            dir,
            shape,
            sealed: Vec::new(),
            current: None,
            unsynced: Vec::new(),
            is_dir_unsynced: false,
            scratch: Vec::new(),
        };
        if is_enabled {
            for name in names {
                files.adopt(*name)?;
            }
        }
        Ok(KeyIndex {
            is_enabled,
            pending: Mutex::default(),
            files: Mutex::new(files),
        })
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Adds the entries of published messages.
    pub(crate) fn push(&self, puts: &mut Vec<Put>) {
        if puts.is_empty() {
            return;
        }
        let len = {
            let mut pending = self.pending.lock();
            pending.append(puts);
            pending.len()
        };
        if len >= PENDING_MANY
            && let Some(mut files) = if len < PENDING_MAX {
                self.files.try_lock()
            } else {
                Some(self.files.lock())
            }
        {
            let may_roll = len >= PENDING_MAX;
            if let Err(error) = self.put_away(&mut files, may_roll) {
                tracing::warn!(file = %files.dir.display(), %error, "key index is behind; trying again");
            }
        }
    }

    fn put_away(&self, files: &mut Files, may_roll: bool) -> io::Result<()> {
        let mut puts = std::mem::take(&mut files.scratch);
        std::mem::swap(&mut puts, &mut *self.pending.lock());
        let mut taken = 0;
        let mut done = Ok(());
        while taken < puts.len() && done.is_ok() {
            match files.put_some(&puts[taken..], may_roll) {
                Ok(0) => break,
                Ok(some) => taken += some,
                Err(error) => done = Err(error),
            }
        }
        puts.drain(..taken);
        let mut pending = self.pending.lock();
        if puts.is_empty() {
            files.scratch = puts;
        } else {
            // In front of what came meanwhile.
            puts.append(&mut pending);
            *pending = puts;
        }
        done
    }

    /// Puts everything away and writes new entries to the file.
    pub(crate) fn write_out(&self) -> io::Result<()> {
        let mut files = self.files.lock();
        self.put_away(&mut files, true)?;
        files.current.as_mut().map_or(Ok(()), Current::write_entries)
    }

    /// Makes the entries of everything published so far durable: a recovery enters them into the slots, which change all over
    /// the file. Of a file that has none yet everything, as [`KeyIndex::flush`].
    pub(crate) fn flush_entries(&self) -> io::Result<Flushed> {
        let mut files = self.files.lock();
        self.put_away(&mut files, true)?;
        let is_settled = files.unsynced.is_empty() && !files.is_dir_unsynced;
        if let Some(current) = &mut files.current
            && is_settled
            && current.slots_mark().is_some()
        {
            current.flush_entries()?;
            return Ok(files.flushed(false));
        }
        self.flush_files(&mut files)
    }

    /// Makes everything published so far durable and says how far that is.
    pub(crate) fn flush(&self) -> io::Result<Flushed> {
        let mut files = self.files.lock();
        self.put_away(&mut files, true)?;
        self.flush_files(&mut files)
    }

    fn flush_files(&self, files: &mut Files) -> io::Result<Flushed> {
        while let Some(file) = files.unsynced.pop() {
            synced(file.sync())?;
        }
        if let Some(current) = &mut files.current {
            current.flush()?;
        }
        files.sync_names()?;
        Ok(files.flushed(true))
    }

    pub(crate) fn mark(&self) -> IndexMark {
        self.files.lock().mark()
    }

    /// End time of the newest durable entry: the checkpoint's `indexMsgTimestamp`.
    pub(crate) fn end_at(&self) -> i64 {
        let files = self.files.lock();
        match (&files.current, files.sealed.last()) {
            (Some(current), _) => current.header.end_at,
            (None, Some(last)) => last.header.end_at,
            (None, None) => 0,
        }
    }

    /// Looks up a hash, newest files first.
    pub(crate) fn query(&self, hash: u32, range: (i64, i64), max: usize) -> io::Result<Found> {
        let question = Question {
            hash,
            begin_ms: range.0,
            end_ms: range.1,
            max,
        };
        let mut found = Found::default();
        let (disk, plan) = {
            let mut files = self.files.lock();
            self.put_away(&mut files, true)?;
            (Arc::clone(&files.disk), files.plan(&question, &mut found)?)
        };
        // A chain may be long, and the files are needed to publish. What stands in them below the planned ends stays.
        let mut steps = STEPS_MAX;
        for place in plan {
            place.search(&*disk, &question, (&mut found.positions, &mut steps))?;
        }
        Ok(found)
    }

    /// After an orderly end: what the slots are is known.
    pub(crate) fn note_slots(&self, slots: Option<SlotsMark>) {
        if let Some(current) = &mut self.files.lock().current {
            current.note_slots(slots);
        }
    }

    /// Notes when the newest entry's message was stored; entries know that only to the second.
    pub(crate) fn note_end_at(&self, pos: i64, stored_at: i64) {
        if let Some(current) = &mut self.files.lock().current
            && current.header.next > 1
            && current.header.end_pos == pos
        {
            current.header.end_at = stored_at;
        }
    }

    /// Times only grow from file to file. Where those of the files do not, the messages that they begin and end with are asked
    /// by their positions: a file whose times are wrong is passed over by who looks for a key.
    pub(crate) fn correct_times(&self, stored_at: impl Fn(i64) -> Option<i64>) {
        let mut files = self.files.lock();
        let Files { sealed, current, .. } = &mut *files;
        let sealed = sealed.iter_mut().map(|file| (&*file.path, &mut file.header));
        let current = current.iter_mut().map(|file| (&*file.path, &mut file.header));
        let mut heads: Vec<_> = sealed.chain(current).filter(|(_, head)| head.next > 1).collect();
        let mut last = 1;
        let is_growing = heads.iter().all(|(_, head)| {
            let is_behind = last <= head.begin_at && head.begin_at <= head.end_at;
            last = head.end_at;
            is_behind
        });
        if is_growing {
            return;
        }
        for (path, head) in &mut heads {
            let (begin_at, end_at) = (stored_at(head.begin_pos), stored_at(head.end_pos));
            let before = **head;
            head.begin_at = begin_at.unwrap_or(head.begin_at);
            head.end_at = end_at.unwrap_or(head.end_at);
            if **head != before {
                tracing::warn!(file = %path.display(), "the times of a file of the key index are wrong, the log knows them");
            }
        }
    }

    /// After an abnormal end: keeps exactly what the checkpoint vouches for.
    pub(crate) fn cut_to_mark(&self, mark: &IndexMark, slots: Option<SlotsMark>) -> io::Result<()> {
        let mut files = self.files.lock();
        files.remove_newer(mark.name)?;
        files.reopen_last()?;
        if let Some(current) = &mut files.current
            && current.name == mark.name
            && !current.resume(mark.next, slots)?
        {
            current.rebuild(mark.next, i64::MAX, Trust::Durable)?;
        }
        Ok(())
    }

    /// After an abnormal end without a mark: trusts files that end no later than `durable_ms`. Of the others the first
    /// counts as far as its entries are plausible, but not those of its last message, which may be incomplete.
    pub(crate) fn check_newer(&self, durable_ms: i64) -> io::Result<()> {
        let mut files = self.files.lock();
        files.seal()?;
        let trusted = files
            .sealed
            .iter()
            .take_while(|file| file.header.end_at <= durable_ms && file.header.next > 1);
        let first = trusted.count();
        while files.sealed.len() > first + 1 {
            files.reopen_last()?;
            files.remove_current()?;
        }
        let mut is_trusted = files.sealed.len() <= first;
        loop {
            // The newest file that stays: its slots may have been written after its header.
            files.reopen_last()?;
            let Some(current) = &mut files.current else {
                return Ok(());
            };
            let trust = if is_trusted {
                Trust::Durable
            } else {
                Trust::Written
            };
            current.rebuild(current.header.next, i64::MAX, trust)?;
            if !is_trusted {
                current.drop_partial(current.header.end_pos)?;
            }
            if current.header.next > 1 {
                return current.forget_rest();
            }
            files.remove_current()?;
            is_trusted = true;
        }
    }

    /// Removes entries that point to `end` or behind it. What was removed since the files were opened stays removed: after another
    /// crash other messages may be at its positions.
    pub(crate) fn cut_behind(&self, end: i64) -> io::Result<()> {
        let mut files = self.files.lock();
        files.cut_behind(end)?;
        files.sync_names()
    }

    /// Removes files that only point before `log_min`, never the newest. Returns how many went.
    pub(crate) fn remove_expired(&self, log_min: i64) -> io::Result<usize> {
        let mut files = self.files.lock();
        let mut removed = 0;
        while let Some(first) = files.sealed.first()
            && first.header.end_pos < log_min
            && (files.sealed.len() > 1 || files.current.is_some())
        {
            files.disk.remove(&first.path)?;
            files.sealed.remove(0);
            files.is_dir_unsynced = true;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Files {
    fn path(&self, name: i64) -> PathBuf {
        self.dir.join(format!("{name:017}"))
    }

    fn adopt(&mut self, name: i64) -> io::Result<()> {
        self.seal()?;
        let path = self.path(name);
        let file = self.disk.open(&path)?;
        self.current = Some(Current::open(path, name, file, self.shape)?);
        Ok(())
    }

    fn mark(&self) -> IndexMark {
        match (&self.current, self.sealed.last()) {
            (Some(current), last) => {
                let before = last.map_or(-1, |last| last.header.end_pos);
                let end_pos = if current.header.next > 1 {
                    current.header.end_pos
                } else {
                    before
                };
                IndexMark {
                    name: current.name,
                    next: current.header.next,
                    end_pos,
                }
            }
            (None, Some(last)) => IndexMark {
                name: last.name,
                next: last.header.next,
                end_pos: last.header.end_pos,
            },
            (None, None) => IndexMark {
                name: 0,
                next: 0,
                end_pos: -1,
            },
        }
    }

    fn flushed(&self, is_whole: bool) -> Flushed {
        Flushed {
            mark: self.mark(),
            slots: self.current.as_ref().and_then(Current::slots_mark),
            is_whole,
        }
    }

    fn put_some(&mut self, puts: &[Put], may_roll: bool) -> io::Result<usize> {
        let is_full = self.current.as_ref().is_none_or(Current::is_full);
        if is_full {
            if !may_roll {
                return Ok(0);
            }
            self.roll()?;
        }
        match &mut self.current {
            Some(current) => current.put_all(puts),
            None => Ok(0),
        }
    }

    /// Closes the full file.
    fn seal(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current
            && current.is_dirty()
        {
            current.write_all()?;
            self.unsynced.push(Arc::clone(&current.file));
        }
        if let Some(Current {
            name, path, header, ..
        }) = self.current.take()
        {
            self.sealed.push(Sealed { name, path, header });
        }
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        self.seal()?;
        let now = self.clock.now_ms() + self.clock.utc_offset_secs() * 1000;
        let last = self.sealed.last().map_or(0, |last| last.name);
        let name = calendar(now).max(last + 1);
        let path = self.path(name);
        self.disk.make_dirs(&self.dir)?;
        let file = self.disk.create(&path, self.shape.file_bytes())?;
        self.is_dir_unsynced = true;
        self.current = Some(Current::fresh(path, name, file, self.shape));
        Ok(())
    }

    /// Makes the newest file the current one, even if it is full.
    fn reopen_last(&mut self) -> io::Result<()> {
        if self.current.is_none()
            && let Some(last) = self.sealed.pop()
        {
            let file = self.disk.open(&last.path)?;
            self.current = Some(Current::open(last.path, last.name, file, self.shape)?);
        }
        Ok(())
    }

    fn remove_current(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.take() {
            self.disk.remove(&current.path)?;
            self.is_dir_unsynced = true;
        }
        Ok(())
    }

    fn cut_behind(&mut self, end: i64) -> io::Result<()> {
        while self.mark().end_pos >= end {
            self.reopen_last()?;
            let Some(current) = &mut self.current else {
                return Ok(());
            };
            if current.header.begin_pos < end {
                current.write_entries()?;
                current.rebuild(current.header.next, end, Trust::Durable)?;
                if current.header.next > 1 {
                    return current.forget_rest();
                }
            }
            self.remove_current()?;
        }
        Ok(())
    }

    /// Makes durable which files there are.
    fn sync_names(&mut self) -> io::Result<()> {
        if self.is_dir_unsynced {
            synced(self.disk.sync_dir(&self.dir))?;
            if let Some(above) = self.dir.parent() {
                synced(self.disk.sync_dir(above))?;
            }
            self.is_dir_unsynced = false;
        }
        Ok(())
    }

    fn remove_newer(&mut self, name: i64) -> io::Result<()> {
        while self.mark().name > name {
            self.reopen_last()?;
            self.remove_current()?;
        }
        Ok(())
    }

    /// Where to look for an answer, newest first; notes how far the index is.
    fn plan(&mut self, question: &Question, found: &mut Found) -> io::Result<Vec<Place>> {
        found.end_pos = self.mark().end_pos.max(0);
        let mut plan = Vec::new();
        if let Some(current) = &mut self.current {
            found.end_at = current.header.end_at;
            if current.header.overlaps(question.begin_ms, question.end_ms) {
                plan.push(current.place(question.hash)?);
            }
            if current.header.next > 1 && current.header.begin_at < question.begin_ms {
                return Ok(plan);
            }
        }
        for sealed in self.sealed.iter().rev() {
            if found.end_at == 0 {
                found.end_at = sealed.header.end_at;
            }
            if sealed.header.overlaps(question.begin_ms, question.end_ms) {
                plan.push(Place {
                    path: sealed.path.clone(),
                    file: None,
                    shape: self.shape,
                    header: sealed.header,
                    first: None,
                });
            }
            if sealed.header.begin_at < question.begin_ms {
                break;
            }
        }
        Ok(plan)
    }
}
