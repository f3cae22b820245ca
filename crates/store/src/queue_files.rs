// SPDX-License-Identifier: Apache-2.0
//! The files behind the queues: written by the tidy thread, read by whoever is behind the units in memory. A bounded
//! number stays open.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::disk::{Disk, File, Unsynced as Written, synced};
use crate::log::{ReadMode, file_name, unread};
use crate::queue::{End, Queue, UNIT_BYTES, Unit};
use crate::queue_batch::{self, BATCH_UNIT_BYTES, QueueKind, Span};
use crate::runs::Runs;

/// Units encoded and written at once.
const WRITE_UNITS: usize = 50_000;
/// Files that are synced side by side; so many are open then beside those that stay open.
const SYNC_BATCH: usize = 256;

#[derive(Debug)]
pub(crate) struct QueueFiles {
    disk: Arc<dyn Disk>,
    plain: Home,
    batch: Home,
    open: Mutex<OpenFiles>,
    /// What units are in instead, in the compact layout.
    runs: Option<Runs>,
}

/// Where queues of one kind are.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) root: PathBuf,
    pub(crate) file_bytes: i64,
}

#[derive(Debug)]
struct OpenFiles {
    max: usize,
    clock: u64,
    /// By queue and first byte, with the time of the last use.
    files: HashMap<(u64, i64), (Arc<dyn File>, u64)>,
}

/// What was written and is not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    files: HashMap<(u64, i64), Arc<dyn File>>,
    /// Files that are opened again to be synced, so that a bounded number stays open.
    paths: HashMap<(u64, i64), PathBuf>,
    dirs: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len() + self.paths.len()
    }

    /// Whether there is nothing, neither content nor names.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.dirs.is_empty()
    }

    /// Makes it all durable. What fails stays for the next time.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        loop {
            let mut batch = Vec::new();
            for (key, file) in self.files.iter().take(SYNC_BATCH) {
                batch.push((Some(*key), Written::File(Arc::clone(file))));
            }
            let mut gone = Vec::new();
            for (key, path) in self.paths.iter().take(SYNC_BATCH - batch.len()) {
                match disk.open(path) {
                    Ok(file) => batch.push((Some(*key), Written::File(file))),
                    // Somebody removed it, and there is nothing left to sync.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => gone.push(*key),
                    Err(error) => return Err(error),
                }
            }
            gone.iter().for_each(|key| drop(self.paths.remove(key)));
            // Directories come last, as before.
            if batch.is_empty() && gone.is_empty() {
                let dirs = self.dirs.iter().take(SYNC_BATCH);
                batch.extend(dirs.map(|dir| (None, Written::Dir(dir.clone()))));
                if batch.is_empty() {
                    return Ok(());
                }
            }
            let things: Vec<Written> = batch.iter().map(|(_, thing)| thing.clone()).collect();
            let mut failed = None;
            for ((key, thing), done) in batch.into_iter().zip(disk.sync_many(&things)) {
                match (synced(done), key, thing) {
                    (Err(error), ..) => failed = Some(error),
                    (Ok(()), Some(key), _) => {
                        self.files.remove(&key);
                        self.paths.remove(&key);
                    }
                    (Ok(()), None, Written::Dir(dir)) => drop(self.dirs.remove(&dir)),
                    (Ok(()), None, Written::File(_)) => {}
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }

    /// Forgets the files of a queue that is deleted.
    pub(crate) fn forget(&mut self, queue: &Queue) {
        self.files.retain(|(key, _), _| *key != queue.key);
        self.paths.retain(|(key, _), _| *key != queue.key);
    }

    fn forget_file(&mut self, key: (u64, i64)) {
        self.files.remove(&key);
        self.paths.remove(&key);
    }

    /// Forgets directories below a removed one.
    pub(crate) fn forget_dirs(&mut self, below: &Path) {
        self.dirs.retain(|dir| !dir.starts_with(below));
    }

    pub(crate) fn add_dir(&mut self, dir: PathBuf) {
        self.dirs.insert(dir);
    }
}

impl QueueFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, plain: Home, batch: Home, open_max: usize) -> QueueFiles {
        let open = OpenFiles {
            max: open_max.max(1),
            clock: 0,
            files: HashMap::new(),
        };
        QueueFiles {
            disk,
            plain,
            batch,
            open: Mutex::new(open),
            runs: None,
        }
    }

    /// The same with units in runs from now on, or in the files of the reference.
    pub(crate) fn with_runs(self, runs: Option<Runs>) -> QueueFiles {
        QueueFiles { runs, ..self }
    }

    /// As [`QueueFiles::with_runs`]. Files that are open may be gone.
    pub(crate) fn set_runs(&mut self, runs: Option<Runs>) {
        self.close_all();
        self.runs = runs;
    }

    /// The runs, in the compact layout.
    pub(crate) fn runs(&self) -> Option<&Runs> {
        self.runs.as_ref()
    }

    fn home(&self, queue: &Queue) -> &Home {
        match queue.kind() {
            QueueKind::Plain => &self.plain,
            QueueKind::Batch => &self.batch,
        }
    }

    /// The directories of topics.
    pub(crate) fn roots(&self) -> [&Path; 2] {
        [&self.plain.root, &self.batch.root]
    }

    /// The directory of the topics of its kind.
    pub(crate) fn root(&self, queue: &Queue) -> &Path {
        &self.home(queue).root
    }

    pub(crate) fn dir(&self, queue: &Queue) -> PathBuf {
        self.root(queue).join(queue.topic()).join(queue.id().to_string())
    }

    /// First byte of the file that holds the unit of an index.
    pub(crate) fn base_of(&self, queue: &Queue, index: i64) -> i64 {
        let file_bytes = self.home(queue).file_bytes;
        index * queue.unit_bytes() / file_bytes * file_bytes
    }

    /// Where the units of a queue are.
    pub(crate) fn place_of(&self, queue: &Queue) -> PathBuf {
        self.runs
            .as_ref()
            .map_or_else(|| self.dir(queue), |runs| runs.dir().to_path_buf())
    }

    /// First index behind a unit that is missing that may be there: where the next file begins.
    pub(crate) fn behind_gap(&self, queue: &Queue, index: i64, mode: ReadMode) -> io::Result<i64> {
        match &self.runs {
            Some(runs) => runs.behind_gap(queue, index, mode),
            None => Ok(self.end_of_file(queue, index)),
        }
    }

    /// First index behind the file that holds the unit of an index.
    pub(crate) fn end_of_file(&self, queue: &Queue, index: i64) -> i64 {
        (self.base_of(queue, index) + self.home(queue).file_bytes) / queue.unit_bytes()
    }

    fn open(&self, queue: &Queue, base: i64) -> io::Result<Arc<dyn File>> {
        let key = (queue.key, base);
        let mut open = self.open.lock();
        open.clock += 1;
        let now = open.clock;
        if let Some((file, used)) = open.files.get_mut(&key) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        drop(open);
        let file = self.disk.open(&self.dir(queue).join(file_name(base)))?;
        self.remember(key, &file);
        Ok(file)
    }

    fn remember(&self, key: (u64, i64), file: &Arc<dyn File>) {
        let mut open = self.open.lock();
        if open.files.len() >= open.max {
            // The older half goes at once, so that the sort is paid for by many opens.
            let mut used: Vec<u64> = open.files.values().map(|(_, used)| *used).collect();
            let middle = used.len() / 2;
            let (_, &mut limit, _) = used.select_nth_unstable(middle);
            open.files.retain(|_, (_, used)| *used > limit);
        }
        open.clock += 1;
        let now = open.clock;
        open.files.insert(key, (Arc::clone(file), now));
    }

    /// Closes all files.
    pub(crate) fn close_all(&self) {
        self.open.lock().files.clear();
    }

    /// Closes the files of a queue.
    pub(crate) fn close(&self, queue: &Queue) {
        self.open.lock().files.retain(|(key, _), _| *key != queue.key);
    }

    /// Reads units of one file, from an index on, at most `count`: an empty answer means there is no such file.
    pub(crate) fn read(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<Unit>> {
        let bytes = self.bytes(queue, from, count, mode)?;
        // Units of both kinds start alike.
        let units = bytes.chunks_exact(queue.unit_bytes() as usize);
        Ok(units
            .filter_map(|unit| unit.first_chunk())
            .map(Unit::decode)
            .collect())
    }

    /// As [`QueueFiles::read`], of a batch queue.
    pub(crate) fn read_batch(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<(Unit, Span)>> {
        let bytes = self.bytes(queue, from, count, mode)?;
        let (units, _) = bytes.as_chunks::<{ BATCH_UNIT_BYTES as usize }>();
        Ok(units.iter().map(queue_batch::decode).collect())
    }

    /// The bytes of units of one file.
    pub(crate) fn bytes(
        &self,
        queue: &Queue,
        from: i64,
        count: usize,
        mode: ReadMode,
    ) -> io::Result<Vec<u8>> {
        if let Some(runs) = &self.runs {
            return runs.bytes(queue, from, count, mode);
        }
        let base = self.base_of(queue, from);
        let count = count.min((self.end_of_file(queue, from) - from) as usize);
        let file = match self.open(queue, base) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let unit_bytes = queue.unit_bytes();
        let mut bytes = vec![0; count * unit_bytes as usize];
        let at = (from * unit_bytes - base).unsigned_abs();
        let read = match mode {
            ReadMode::Cached => file.read_at_nowait(&mut bytes, at),
            ReadMode::Blocking => file.read_at(&mut bytes, at),
        };
        let path = || self.dir(queue).join(file_name(base));
        let read = read.map_err(|error| unread(&path(), (at, bytes.len()), error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads one unit, from memory or file.
    pub(crate) fn unit(&self, queue: &Queue, index: i64) -> io::Result<Option<Unit>> {
        match queue.in_memory(index, 1) {
            Ok(units) => Ok(units.first().copied()),
            Err(_) => Ok(self.read(queue, index, 1, ReadMode::Blocking)?.first().copied()),
        }
    }

    /// A unit, if there is one, and the first offset that it is for.
    pub(crate) fn unit_at(&self, queue: &Queue, index: i64) -> io::Result<Option<(Unit, i64)>> {
        if queue.is_batch() {
            let unit = self.batch_unit(queue, index)?;
            return Ok(unit.map(|(unit, span)| (unit, span.base)));
        }
        Ok(self.unit(queue, index)?.map(|unit| (unit, index)))
    }

    /// A unit of a batch queue, if there is one.
    fn batch_unit(&self, queue: &Queue, index: i64) -> io::Result<Option<(Unit, Span)>> {
        if index < queue.indexes().0 {
            return Ok(None);
        }
        let units = match queue.in_memory_batch(index, 1) {
            Ok(units) if !units.is_empty() => units,
            // Or nobody has said yet how far the files reach.
            _ => self.read_batch(queue, index, 1, ReadMode::Blocking)?,
        };
        Ok(units.first().copied())
    }

    /// Where the last unit of a batch queue ends. A damaged one may say anything: then it follows on the one in front of it.
    fn batch_end(&self, queue: &Queue, index: i64) -> io::Result<i64> {
        let Some(last) = self.batch_unit(queue, index)? else {
            return Ok(0);
        };
        let [before, earlier] = [1, 2].map(|back| self.batch_unit(queue, index - back));
        let (before, earlier) = (before?, earlier?);
        let is_right = match (&before, &earlier) {
            (None, _) => queue_batch::can_be_first(&last),
            (Some(before), None) => queue_batch::can_follow(before, &last),
            (Some(before), Some(earlier)) => {
                queue_batch::can_follow(before, &last) || queue_batch::can_follow(earlier, &last)
            }
        };
        let end = |(_, span): &(Unit, Span)| span.base.saturating_add(i64::from(span.count.max(1)));
        Ok(match before {
            Some(before) if !is_right => end(&before).saturating_add(i64::from(last.1.count.max(1))),
            None if !is_right => i64::from(last.1.count.max(1)),
            _ => end(&last),
        })
    }

    /// Where a unit of a batch queue begins, the first of those that are left. A damaged one may say anything: then it ends where
    /// the one behind it begins.
    fn batch_begin(&self, queue: &Queue, (index, end): (i64, i64), max: i64) -> io::Result<i64> {
        let Some(first) = self.batch_unit(queue, index)? else {
            return Ok(max);
        };
        let behind = |by| {
            let is_there = index + by < end;
            let unit = is_there.then(|| self.batch_unit(queue, index + by));
            unit.transpose().map(Option::flatten)
        };
        let (next, later) = (behind(1)?, behind(2)?);
        let is_right = match (&next, &later) {
            (None, _) => queue_batch::can_be_first(&first) && first.1.end() <= max,
            (Some(next), None) => queue_batch::can_follow(&first, next),
            (Some(next), Some(later)) => {
                queue_batch::can_follow(&first, next) || queue_batch::can_follow(&first, later)
            }
        };
        let base = match next {
            _ if is_right => first.1.base,
            Some((_, next)) => next.base.saturating_sub(i64::from(first.1.count.max(1))),
            None => max.saturating_sub(i64::from(first.1.count.max(1))),
        };
        Ok(base.clamp(0, max.max(0)))
    }

    /// The offset that ends a queue whose units end at an index.
    pub(crate) fn end_at(&self, queue: &Queue, index: i64) -> io::Result<End> {
        let offset = match queue.kind() {
            QueueKind::Plain => index,
            QueueKind::Batch if index <= queue.indexes().0 => 0,
            QueueKind::Batch => self.batch_end(queue, index - 1)?,
        };
        Ok(End { index, offset })
    }

    /// Writes the units that are not in a file yet. Returns how many were.
    pub(crate) fn write_out(&self, queue: &Queue, unsynced: &mut Unsynced) -> io::Result<i64> {
        let mut units = 0;
        loop {
            let mut bytes = Vec::new();
            let from = {
                let held = queue.held.lock();
                let done = (held.written - held.start) as usize;
                // Up to the end of the file.
                let count = WRITE_UNITS.min((self.end_of_file(queue, held.written) - held.written) as usize);
                let fresh = held.units.iter().skip(done).take(count);
                match queue.kind() {
                    QueueKind::Plain => fresh.for_each(|unit| unit.encode(&mut bytes)),
                    QueueKind::Batch => fresh
                        .zip(held.spans.iter().skip(done))
                        .for_each(|(unit, span)| queue_batch::encode(unit, span, &mut bytes)),
                }
                held.written
            };
            if bytes.is_empty() {
                return Ok(units);
            }
            self.put_in_file(queue, from, &bytes, unsynced)?;
            let count = bytes.len() as i64 / queue.unit_bytes();
            queue.held.lock().written = from + count;
            units += count;
        }
    }

    /// Writes units to files, whatever the queue holds. They lie behind those that are there.
    pub(crate) fn put(
        &self,
        queue: &Queue,
        mut from: i64,
        mut bytes: &[u8],
        unsynced: &mut Unsynced,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (self.end_of_file(queue, from) - from) * queue.unit_bytes();
            let (fitting, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.put_in_file(queue, from, fitting, unsynced)?;
            from += fitting.len() as i64 / queue.unit_bytes();
            bytes = rest;
        }
        Ok(())
    }

    /// Writes units that go into one file.
    fn put_in_file(&self, queue: &Queue, from: i64, bytes: &[u8], unsynced: &mut Unsynced) -> io::Result<()> {
        let base = self.base_of(queue, from);
        let file = self.open_or_create(queue, (base, from), unsynced)?;
        file.write_at(bytes, (from * queue.unit_bytes() - base).unsigned_abs())?;
        self.sync_later(queue, base, file, unsynced);
        Ok(())
    }

    /// Notes a file that was written. Of so many that they would take too many descriptors only the path.
    fn sync_later(&self, queue: &Queue, base: i64, file: Arc<dyn File>, unsynced: &mut Unsynced) {
        let key = (queue.key, base);
        let max = self.open.lock().max;
        let has_room = unsynced.files.len() < max.div_ceil(2) && !unsynced.paths.contains_key(&key);
        if has_room || unsynced.files.contains_key(&key) {
            unsynced.files.insert(key, file);
        } else {
            unsynced.paths.insert(key, self.dir(queue).join(file_name(base)));
        }
    }

    /// The file that starts there, made if it is missing to hold units from an index on.
    fn open_or_create(
        &self,
        queue: &Queue,
        (base, first): (i64, i64),
        unsynced: &mut Unsynced,
    ) -> io::Result<Arc<dyn File>> {
        if queue.held.lock().bases.contains(&base) {
            match self.open(queue, base) {
                // Somebody removed it. The units before are lost until the queue is rebuilt; go on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        let dir = self.dir(queue);
        self.disk.make_dirs(&dir)?;
        let file = self.disk.create(
            &dir.join(file_name(base)),
            self.home(queue).file_bytes.unsigned_abs(),
        )?;
        let root = self.root(queue);
        for fresh in dir.ancestors().take_while(|above| above.starts_with(root)) {
            unsynced.add_dir(fresh.to_path_buf());
        }
        if let Some(above) = root.parent() {
            unsynced.add_dir(above.to_path_buf());
        }
        // Units in front of the first one of a file do not exist.
        let mut held = queue.held.lock();
        if !held.bases.contains(&base) {
            held.bases.push(base);
            held.bases.sort_unstable();
        }
        drop(held);
        let missing = first - base / queue.unit_bytes();
        if missing > 0 && !queue.is_batch() {
            let mut blanks = Vec::with_capacity((missing * UNIT_BYTES) as usize);
            for _ in 0..missing {
                Unit::BLANK.encode(&mut blanks);
            }
            file.write_at(&blanks, 0)?;
        }
        self.remember((queue.key, base), &file);
        Ok(file)
    }

    /// In files, removes every unit from an index on: zeroes the rest of its file and removes the files behind.
    pub(crate) fn truncate(&self, queue: &Queue, index: i64, unsynced: &mut Unsynced) -> io::Result<()> {
        let dir = self.dir(queue);
        let (end, file_bytes) = (index * queue.unit_bytes(), self.home(queue).file_bytes);
        let offset = self.end_at(queue, index)?;
        let bases = queue.held.lock().bases.clone();
        for base in bases.iter().rev() {
            // The first file stays, unless all is gone: a queue keeps its end by its last file.
            if *base >= end && (end == 0 || bases.first() != Some(base)) {
                self.disk.remove(&dir.join(file_name(*base)))?;
                self.open.lock().files.remove(&(queue.key, *base));
                unsynced.forget_file((queue.key, *base));
                unsynced.add_dir(dir.clone());
                queue.held.lock().bases.retain(|kept| kept != base);
            } else if base + file_bytes > end {
                let file = self.open(queue, *base)?;
                let at = (end - base).max(0);
                file.zero(at.unsigned_abs(), (file_bytes - at).unsigned_abs())?;
                self.sync_later(queue, *base, file, unsynced);
            }
        }
        queue.reset(offset);
        Ok(())
    }

    /// Removes all units of a queue, which begins anew.
    pub(crate) fn empty(&self, queue: &Queue, unsynced: &mut Unsynced) -> io::Result<()> {
        let Some(runs) = &self.runs else {
            return self.truncate(queue, 0, unsynced);
        };
        runs.forget(queue);
        queue.reset(End::plain(0));
        Ok(())
    }

    /// Removes files all of whose units point before `log_min`, never the last one. Returns how many went.
    pub(crate) fn remove_expired(
        &self,
        queue: &Queue,
        log_min: i64,
        unsynced: &mut Unsynced,
    ) -> io::Result<usize> {
        let mut removed = 0;
        // Runs were trimmed already, and their queues have no bases.
        loop {
            let bases = queue.held.lock().bases.clone();
            let &[first, second, ..] = bases.as_slice() else {
                return Ok(removed);
            };
            let last = self.unit(queue, second / queue.unit_bytes() - 1)?;
            if last.is_none_or(|unit| unit.is_blank() || unit.pos >= log_min) {
                return Ok(removed);
            }
            let dir = self.dir(queue);
            self.disk.remove(&dir.join(file_name(first)))?;
            self.open.lock().files.remove(&(queue.key, first));
            unsynced.forget_file((queue.key, first));
            unsynced.add_dir(dir);
            queue.held.lock().bases.retain(|base| *base != first);
            removed += 1;
        }
    }

    /// Sets the oldest offset: the first unit that points to something at or behind `log_min`.
    pub(crate) fn correct_min(&self, queue: &Queue, log_min: i64) -> io::Result<()> {
        let max = queue.max();
        let is_known = |runs: &Runs| runs.begins_at_least(log_min) && queue.shelf.get().is_none();
        if self.runs.as_ref().is_some_and(is_known) && !queue.is_batch() {
            // Nothing older is in runs, and nobody reads a million of them to see that.
            queue
                .min
                .store(queue.indexes().0.max(queue.min()), Ordering::Release);
            return Ok(());
        }
        let (first, end) = queue.indexes();
        let (mut low, mut high) = match queue.kind() {
            QueueKind::Plain => (first.max(queue.min()).min(max), max),
            QueueKind::Batch => (first, end),
        };
        let end = high;
        if low < high
            && self
                .position_from(queue, low, end)?
                .is_some_and(|pos| pos >= log_min)
        {
            // Nothing has changed, as nearly always.
            high = low;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self
                .position_from(queue, middle, end)?
                .is_none_or(|pos| pos >= log_min)
            {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let min = match queue.kind() {
            QueueKind::Plain => self.skip_blanks(queue, low, end)?,
            QueueKind::Batch if low < end => self.batch_begin(queue, (low, end), max)?,
            QueueKind::Batch => max,
        };
        queue.min.store(min, Ordering::Release);
        Ok(())
    }

    /// Position of the first record at an index or behind it, as far as units tell: one that nobody wrote does not.
    fn position_from(&self, queue: &Queue, index: i64, end: i64) -> io::Result<Option<i64>> {
        for index in index..end {
            if let Some(unit) = self.unit(queue, index)?
                && !unit.is_blank()
                && unit.is_written()
            {
                return Ok(Some(unit.pos));
            }
        }
        Ok(None)
    }

    /// The first index from `index` on that is not blank.
    fn skip_blanks(&self, queue: &Queue, mut index: i64, end: i64) -> io::Result<i64> {
        while index < end && self.unit(queue, index)?.is_none_or(|unit| unit.is_blank()) {
            index += 1;
        }
        Ok(index)
    }
}
