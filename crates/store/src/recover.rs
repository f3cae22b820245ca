// SPDX-License-Identifier: Apache-2.0
//! Opening a log and what is derived from it, however the last run ended.
//!
//! * With a valid safe position (see [`crate::checkpoint`]): queues and index are cut back to what was durable then,
//!   and only the log behind it is read.
//! * Without (a directory of the reference, or one it has worked on since): by the reference's rule. After an orderly
//!   end from the file the queues reach into; else from the newest file that starts with a message the checkpoint
//!   knows to be dispatched.
//! * What queues or index lack although the log has it is derived again, from the start of the log if need be.
//!
//! Reading stops at the first thing that is no record, unless the log is known to have reached further ([`crate::reached`]), or no
//! power cut can have taken anything: then that is damage, which is told, and the next sound record is looked for. Where it
//! stops is the new end, but never in front of where the log is known to have reached: no position and no offset is given out
//! twice. What lies behind the end is zeroed, so that it can never be taken for a continuation.

mod behind;
mod lacking;
mod place;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use wire::record::{RecordHead, sysflag};

use crate::ahead::{Ahead, BATCHES_AHEAD, Batch, LogEnd, Numbers, tell_of_damage};
use crate::checkpoint::{Loaded, Safe};
use crate::compact::Compaction;
use crate::config::{FlushMode, StoreConfig};
use crate::disk::Disk;
use crate::index::KeyIndex;
use crate::log::{Log, ReadMode};
use crate::open::Parts;
use crate::queue::{End, Queue, Unit};
use crate::queue_batch::{QueueKind, Span, inner_count};
use crate::queue_files::{QueueFiles, Unsynced};
use crate::queues::{Queues, is_directory_name};
use crate::scan::{Behind, Scanner, Verify, stored_at};
use crate::survey::Survey;
use crate::tail::Deriving;
use place::{Doubt, Lost, NOWHERE};

/// Units of a queue that are read at once to find where it ends: a page of memory.
const HEAD_UNITS: usize = 200;
/// Units derived before they are written out: 80 MB. As a rule there are not so many behind a checkpoint, and those there are
/// are written when the store is open.
const UNITS_HELD: usize = 4_000_000;
/// Queue files looked through from the end when there is no safe position, as in the reference.
const FILES_LOOKED_AT: usize = 3;

/// Queue offsets from here on are damage; so are gaps larger than this.
pub(crate) const OFFSET_MAX: i64 = 1 << 48;
pub(crate) const GAP_MAX: i64 = 10_000_000;

/// What it means when a queue lacks the units in front of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gaps {
    /// They have to be derived from what was not read.
    Lacking,
    /// There is nothing more to derive them from.
    Final,
}

/// Everything recovery works on.
pub(crate) struct Recovery<'a> {
    pub(crate) config: &'a StoreConfig,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) log: &'a Log,
    pub(crate) queues: &'a Queues,
    pub(crate) files: &'a QueueFiles,
    pub(crate) index: &'a KeyIndex,
    compaction: &'a Compaction,
    pub(crate) unsynced: Unsynced,
    /// The log is known to have reached this position, if anybody says so.
    reached: Option<i64>,
    /// Whatever was written is there, so that all that cannot be read is damage.
    is_all_there: bool,
    /// Position of the newest unit of a queue, by its key.
    newest: HashMap<u64, i64>,
    /// Behind the last place of a queue that a record has which was read although the queue had something there, by its key.
    taken: HashMap<u64, i64>,
    /// Queues that lack units in front of what was read.
    lacking: HashMap<u64, Arc<Queue>>,
    /// Units in memory, and how many of them nobody has counted.
    held: usize,
    uncounted: i64,
    /// Records up to this position are in the index.
    index_end: i64,
    last: Option<Last>,
    /// Whether a queue was emptied that had been durable.
    is_emptied: bool,
    /// Whether there are records behind something that is damaged.
    has_passed_over: bool,
}

/// The last record.
#[derive(Debug, Clone, Copy)]
struct Last {
    pos: i64,
    end: i64,
    stored_at: i64,
}

/// A queue some record of which was read.
struct Known {
    queue: Arc<Queue>,
    /// Position of its newest unit.
    newest: i64,
    /// A record that has to wait for the next one of the queue.
    doubt: Option<Doubt>,
    /// Behind the last place for which a second record was read, or one whose unit is damaged.
    taken: i64,
    /// Places that may have been those of damaged records.
    lost: Lost,
}

/// How the reading of the log ended.
struct Ending {
    /// Where it began.
    from: i64,
    end: i64,
    behind: Behind,
    is_abnormal: bool,
    /// Everything below is durable, and a checkpoint says so.
    safe: Option<i64>,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) end: i64,
    /// The last record, -1 for none, and its end.
    pub(crate) last: i64,
    pub(crate) last_end: i64,
    pub(crate) last_stored_at: i64,
    pub(crate) queues: i64,
    /// As in [`Safe::units`].
    pub(crate) units: i64,
    pub(crate) unsynced: Unsynced,
    /// Whether the log may have lost its end.
    pub(crate) is_cut: bool,
    /// Everything below is durable.
    pub(crate) durable: i64,
    /// Whether the last checkpoint is good for another recovery, whatever is done now: then the next one can wait.
    pub(crate) can_wait: bool,
    /// Whether there are records behind something that is damaged.
    pub(crate) has_passed_over: bool,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(
        parts: &'a Parts,
        config: &'a StoreConfig,
        disk: &'a dyn Disk,
        survey: &Survey,
    ) -> Recovery<'a> {
        let Parts {
            log,
            queues,
            queue_files: files,
            index,
            compaction,
        } = parts;
        for found in &survey.queues {
            let queue = queues.get_found(&found.topic, found.id, found.kind);
            if queue.kind() == found.kind {
                queue.held.lock().bases.clone_from(&found.bases);
            } else {
                tracing::warn!(
                    topic = found.topic,
                    queue = found.id,
                    "files of a queue that is kept otherwise now are left alone"
                );
            }
        }
        Recovery {
            config,
            disk,
            log,
            queues,
            files,
            index,
            compaction,
            unsynced: Unsynced::default(),
            reached: None,
            is_all_there: false,
            newest: HashMap::new(),
            taken: HashMap::new(),
            lacking: HashMap::new(),
            held: 0,
            uncounted: 0,
            index_end: -1,
            last: None,
            is_emptied: false,
            has_passed_over: false,
        }
    }

    /// The same of a log that is known to have reached a position; and whether all that was written behind it is there, too.
    pub(crate) fn reaching(self, reached: Option<i64>, is_all_there: bool) -> Recovery<'a> {
        Recovery {
            reached,
            is_all_there,
            ..self
        }
    }

    pub(crate) fn run(mut self, loaded: &Loaded, is_abnormal: bool) -> io::Result<Recovered> {
        if self.log.segments().is_empty() {
            return self.start_empty();
        }
        let safe = match loaded.safe {
            Some(safe) if self.is_sound(&safe)? => Some(safe),
            _ => None,
        };
        let (from, trusted) = match &safe {
            Some(safe) => (self.cut_to_safe(safe, loaded, is_abnormal)?, safe.pos),
            None => self.cut_by_reference_rule(loaded, is_abnormal)?,
        };
        let from = from.max(self.log.min());
        let trusted = trusted.max(from);
        self.index_end = self.index.mark().end_pos;
        tracing::info!(
            from,
            safe = safe.is_some(),
            abnormal = is_abnormal,
            "recovery reads the log"
        );
        let gaps = if from <= self.log.min() {
            Gaps::Final
        } else {
            Gaps::Lacking
        };
        let reached = self.reached.unwrap_or(trusted).max(trusted);
        let starts = [from, trusted, reached];
        let (end, behind) = self.dispatch_across(&starts, gaps)?;
        self.fill_lacking(&starts)?;
        if end < trusted {
            // Nothing below was ever to be read again, so nothing may be removed there.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "log ends too early"));
        }
        self.finish(&Ending {
            from,
            end,
            behind,
            is_abnormal,
            safe: safe.map(|safe| safe.pos),
        })
    }

    /// No log: whatever the queues point to is gone.
    fn start_empty(mut self) -> io::Result<Recovered> {
        if let Some(runs) = self.files.runs() {
            runs.clear()?;
            self.unsynced.add_dir(runs.dir().to_path_buf());
        }
        for queue in self.queues.all() {
            if self.files.runs().is_none() {
                self.disk.remove_tree(&self.files.dir(&queue))?;
                queue.held.lock().bases.clear();
                self.unsynced.add_dir(self.files.root(&queue).to_path_buf());
            }
            self.follow_copies(&queue)?;
            self.files.correct_min(&queue, self.log.min())?;
            queue.next.store(queue.max(), Ordering::Relaxed);
        }
        self.index.cut_behind(0)?;
        self.recovered(0)
    }

    fn verify(&self) -> Verify {
        if self.config.demand_seals {
            Verify::Seal
        } else if self.config.check_crc_on_recover {
            Verify::Body
        } else {
            Verify::Nothing
        }
    }

    /// Whether a record ends at the safe position.
    fn is_sound(&mut self, safe: &Safe) -> io::Result<bool> {
        let min = self.log.min();
        if safe.pos > self.log.capacity_end() {
            return Ok(false);
        }
        if safe.pos <= min {
            // All that was safe is removed or nothing was.
            return Ok(true);
        }
        if safe.last < min {
            return Ok(false);
        }
        let mut scanner = Scanner::new(self.log, self.verify(), safe.last);
        let Some((pos, head)) = scanner.next()? else {
            return Ok(false);
        };
        if pos + head.total_size as i64 != safe.pos {
            return Ok(false);
        }
        self.last = Some(Last {
            pos,
            end: safe.pos,
            stored_at: head.stamp.stored_at,
        });
        Ok(true)
    }

    /// Brings queues and index back to the safe position. Returns where to read from.
    fn cut_to_safe(&mut self, safe: &Safe, loaded: &Loaded, is_abnormal: bool) -> io::Result<i64> {
        let (mut count, mut units) = (0, 0);
        self.take_up_runs(safe.pos)?;
        let mut is_lacking = false;
        for queue in self.queues.all() {
            if self.files.runs().is_none() {
                if self.lacks_front(&queue)? {
                    is_lacking = true;
                    continue;
                }
                let index = self.end_before(&queue, safe.pos)?;
                if is_abnormal {
                    self.files.truncate(&queue, index, &mut self.unsynced)?;
                } else {
                    queue.reset(self.files.end_at(&queue, index)?);
                }
            }
            count += i64::from(queue.max() > 0);
            units = queue.max().wrapping_add(units);
        }
        let mut from = safe.pos;
        if is_lacking {
            from = self.log.min();
        } else if (count, units) != (safe.queues, safe.units) {
            tracing::warn!(
                queues = count,
                expected_queues = safe.queues,
                units,
                expected_units = safe.units,
                "consume queues are incomplete, reading the whole log"
            );
            from = self.log.min();
        }
        Ok(from.min(self.cut_index(safe, loaded.times.index_ms, is_abnormal)?))
    }

    /// In the compact layout: takes up the runs that end at a position or before it. Returns where the last of them ends.
    fn take_up_runs(&mut self, upto: i64) -> io::Result<Option<i64>> {
        let Some(runs) = self.files.runs() else {
            return Ok(None);
        };
        let end = runs.load(self.queues, upto)?;
        self.unsynced.add_dir(runs.dir().to_path_buf());
        for queue in self.queues.all() {
            if queue.is_batch() {
                // Where it ends its last unit tells.
                let (first, index) = queue.indexes();
                queue.reset(self.files.end_at(&queue, index)?);
                queue.held.lock().first = first;
            }
        }
        Ok(Some(end))
    }

    /// Brings the index back to a mark. Returns where to read from for what it lacks.
    fn cut_index(&self, safe: &Safe, index_ms: i64, is_abnormal: bool) -> io::Result<i64> {
        let mark = &safe.index;
        if !self.index.is_enabled() {
            return Ok(i64::MAX);
        }
        // Even if the header is the one of then: slots may have been written since.
        let is_changed = is_abnormal || self.index.mark() != *mark;
        if mark.end_pos < 0 {
            // There was none, or it was switched off, and then its files are older than the mark.
            if is_changed {
                self.index.check_newer(index_ms)?;
            }
            let end = self.index.mark().end_pos;
            return Ok(if end < 0 { i64::MAX } else { end });
        }
        if is_changed {
            self.index.cut_to_mark(mark, safe.slots)?;
        } else {
            self.index.note_slots(safe.slots);
        }
        if let Some(last) = &self.last {
            self.index.note_end_at(last.pos, last.stored_at);
        }
        self.index.correct_times(|pos| stored_at(self.log, pos));
        let end = self.index.mark().end_pos;
        if end >= mark.end_pos {
            return Ok(i64::MAX);
        }
        tracing::warn!(
            end,
            expected = mark.end_pos,
            "key index is incomplete, reading the log from its end on"
        );
        Ok(end)
    }

    /// First index that is not written or points to `pos` or behind. Below the safe position units have no gaps.
    fn end_before(&self, queue: &Queue, pos: i64) -> io::Result<i64> {
        let bases = queue.held.lock().bases.clone();
        let Some(first) = bases.first() else { return Ok(0) };
        // Up to the first file that is missing.
        let unit_bytes = queue.unit_bytes();
        let (mut low, mut high) = (first / unit_bytes, first / unit_bytes);
        for base in &bases {
            if *base != high * unit_bytes {
                break;
            }
            high = self.files.end_of_file(queue, high);
        }
        let is_before = |unit: &Unit| unit.is_written() && unit.pos < pos;
        // Most of very many queues are short: one read for those, and then steps that grow.
        let count = usize::try_from(high - low).unwrap_or_default().min(HEAD_UNITS);
        let head = self.files.read(queue, low, count, ReadMode::Blocking)?;
        // A damaged unit in between does not end the queue.
        if head.last().is_some_and(|last| !is_before(last)) {
            return Ok(low + head.partition_point(is_before) as i64);
        }
        low += head.len() as i64;
        let mut step = HEAD_UNITS as i64;
        while low < high {
            let middle = (low + step).min(low + (high - low) / 2);
            let unit = self.files.read(queue, middle, 1, ReadMode::Blocking)?;
            if unit.first().is_some_and(is_before) {
                low = middle + 1;
                step *= 4;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Cuts queues and index without a safe position. Returns where to read from, and from where on the reference
    /// would read: below that it never looks for the end of the log.
    fn cut_by_reference_rule(&mut self, loaded: &Loaded, is_abnormal: bool) -> io::Result<(i64, i64)> {
        let mut dispatched = 0;
        if let Some(runs) = self.files.runs() {
            // What is read again below is given to the queues again, so the runs behind it are not needed.
            dispatched = runs.end();
            let upto = if is_abnormal {
                self.dispatched_file(loaded.times.dispatched_before())?
            } else {
                dispatched
            };
            dispatched = self.take_up_runs(upto)?.unwrap_or(0);
        }
        let queues = self.queues.all();
        let in_files = queues.iter().filter(|_| self.files.runs().is_none());
        let mut is_lacking = queues.is_empty();
        for queue in in_files {
            if self.lacks_front(queue)? {
                is_lacking = true;
                continue;
            }
            let (index, end) = self.end_by_scan(queue)?;
            if is_abnormal {
                self.files.truncate(queue, index, &mut self.unsynced)?;
            } else {
                queue.reset(self.files.end_at(queue, index)?);
            }
            dispatched = dispatched.max(end);
        }
        let trusted = if is_abnormal {
            self.dispatched_file(loaded.times.dispatched_before())?
        } else if queues.is_empty() {
            let segments = self.log.segments();
            let nth = segments.len().saturating_sub(FILES_LOOKED_AT);
            segments.get(nth).map_or(0, |segment| segment.base)
        } else {
            self.log.base_of(dispatched)
        };
        let mut from = if is_lacking {
            self.log.min()
        } else if self.files.runs().is_some() {
            trusted.min(dispatched)
        } else {
            trusted
        };
        if self.index.is_enabled() {
            if is_abnormal {
                self.index.check_newer(loaded.times.index_ms)?;
            }
            // No index although there are messages: all of it is missing.
            from = from.min(self.index.mark().end_pos);
        }
        Ok((from, trusted))
    }

    /// The end of a queue by reading its last files up to the first unit nobody wrote, and the end of the record
    /// the last unit points to.
    fn end_by_scan(&self, queue: &Queue) -> io::Result<(i64, i64)> {
        let bases = queue.held.lock().bases.clone();
        let Some(base) = bases.get(bases.len().saturating_sub(FILES_LOOKED_AT)) else {
            return Ok((0, 0));
        };
        let mut max = base / queue.unit_bytes();
        let mut end = 0;
        loop {
            let units = self.files.read(queue, max, 50_000, ReadMode::Blocking)?;
            let written = units.iter().take_while(|unit| unit.is_written()).count();
            if let Some(unit) = units[..written].iter().rev().find(|unit| self.is_of_record(unit)) {
                end = unit.pos.saturating_add(i64::from(unit.size));
            }
            max += written as i64;
            if written < units.len() || units.is_empty() {
                return Ok((max, end));
            }
        }
    }

    /// Start of the newest file whose first message was stored no later than `before_ms`; the first file if none was.
    fn dispatched_file(&self, before_ms: i64) -> io::Result<i64> {
        for segment in self.log.segments().iter().rev() {
            let mut scanner = Scanner::new(self.log, Verify::Nothing, segment.base);
            let first = scanner.next()?;
            let stored_at = first.map_or(0, |(_, head)| head.stamp.stored_at);
            if stored_at > 0 && stored_at <= before_ms {
                return Ok(segment.base);
            }
        }
        Ok(self.log.min())
    }

    /// As [`Recovery::dispatch_from`] from the first of these ascending positions. Where damage ends the reading before
    /// one of the others, which are known to lie inside the log or at its end, it goes on there: what is behind stays readable.
    fn dispatch_across(&mut self, starts: &[i64], gaps: Gaps) -> io::Result<(i64, Behind)> {
        let mut found: Option<(i64, Behind)> = None;
        for start in starts {
            match found {
                Some((end, _)) if end >= *start => continue,
                Some((end, _)) => {
                    self.has_passed_over = true;
                    tell_of_damage(self.log, end, *start);
                }
                None => {}
            }
            found = Some(self.dispatch_from(*start, starts, gaps)?);
        }
        found.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Reads the log to its end and gives every record to the queue and index that lack it.
    fn dispatch_from(&mut self, from: i64, starts: &[i64], gaps: Gaps) -> io::Result<LogEnd> {
        let reached = self.reached.unwrap_or(i64::MAX);
        let before = self.last.filter(|last| last.end <= from);
        let scanner = Scanner::new(self.log, self.verify(), from)
            .reaching(reached)
            .behind(before.map_or(0, |last| last.stored_at));
        let ahead = Ahead {
            scanner: if self.is_all_there {
                scanner.all_there()
            } else {
                scanner
            },
            numbers: Numbers::new(self.queues),
            deriving: Deriving {
                delay_levels_ms: &self.config.delay_levels_ms,
                index_enabled: self.index.is_enabled(),
            },
            index_end: self.index_end,
            starts,
            lost: None,
            is_over: false,
        };
        let mut known = Vec::new();
        let ended = std::thread::scope(|scope| {
            let (to, batches) = sync_channel(BATCHES_AHEAD);
            let thread = Builder::new().name("store-recover".to_owned());
            let reader = thread.spawn_scoped(scope, move || ahead.run(&to))?;
            for batch in batches {
                self.take_in(batch, &mut known, gaps)?;
            }
            reader
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that reads the log has ended")))
        })?;
        self.settle_doubts(&mut known, gaps)?;
        self.count();
        for Known {
            queue, newest, taken, ..
        } in known
        {
            self.newest.insert(queue.key, newest);
            let of_queue = self.taken.entry(queue.key).or_default();
            *of_queue = taken.max(*of_queue);
        }
        Ok(ended)
    }

    fn take_in(&mut self, mut batch: Batch, known: &mut Vec<Known>, gaps: Gaps) -> io::Result<()> {
        for (from, to) in &batch.damaged {
            self.has_passed_over = true;
            tell_of_damage(self.log, *from, *to);
        }
        let begin = batch.seen.first().map_or(0, |first| first.unit.pos);
        for queue in batch.fresh {
            let newest = match self.newest.get(&queue.key) {
                Some(newest) => *newest,
                // What runs have comes from before they end.
                None if self.files.runs().is_some_and(|runs| runs.end() <= begin) => -1,
                None => self.last_unit(&queue)?.map_or(-1, |unit| unit.pos),
            };
            known.push(Known {
                queue,
                newest,
                doubt: None,
                taken: 0,
                lost: Lost::default(),
            });
        }
        self.index.push(&mut batch.puts);
        for seen in &batch.seen {
            let (pos, stored_at) = (seen.unit.pos, seen.span.stored_at);
            if seen.is_lost {
                if let Some(known) = known.get_mut(seen.queue).filter(|_| seen.is_queued) {
                    self.leave_place(known, (pos, seen.span));
                }
                continue;
            }
            self.index_end = self.index_end.max(pos);
            // What is read again does not bring back an earlier end. Units that are written meanwhile are those up to here.
            if self.last.is_none_or(|last| last.pos <= pos) {
                let end = pos + i64::from(seen.unit.size);
                self.last = Some(Last { pos, end, stored_at });
            }
            if let Some(known) = known.get_mut(seen.queue).filter(|_| seen.is_queued) {
                self.give(known, seen.unit, seen.span, gaps)?;
            }
        }
        self.count();
        Ok(())
    }

    fn empty(&mut self, queue: &Queue) -> io::Result<()> {
        self.is_emptied = true;
        self.count();
        self.queues.add_unwritten(-queue.unwritten());
        self.files.empty(queue, &mut self.unsynced)
    }

    /// Lets a queue go on behind what was copied of it, when neither its files nor the log know that any more. Nothing
    /// new may get an offset that has a copy.
    fn follow_copies(&mut self, queue: &Arc<Queue>) -> io::Result<()> {
        let end = queue.shelf.get().map_or(0, |shelf| shelf.end());
        if queue.max() == 0 && end > 0 {
            queue.reset(End::plain(end - 1));
        }
        while queue.max() < end {
            self.push(queue, Unit::BLANK, NOWHERE)?;
        }
        self.count();
        Ok(())
    }

    fn push(&mut self, queue: &Arc<Queue>, unit: Unit, span: Span) -> io::Result<()> {
        if queue.push(unit, span) {
            self.queues.list(queue);
        }
        self.held += 1;
        self.uncounted += 1;
        if self.held >= UNITS_HELD {
            self.write_out()?;
        }
        Ok(())
    }

    fn count(&mut self) {
        self.queues.add_unwritten(std::mem::take(&mut self.uncounted));
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.count();
        self.held = 0;
        let listed = self.queues.take_listed();
        let count = listed.len();
        if let Some(runs) = self.files.runs() {
            let upto = self.last.map_or(0, |last| last.end).max(runs.end());
            if let Some(units) = runs.flush(&listed, upto)? {
                self.unsynced.add_dir(runs.dir().to_path_buf());
                self.queues.add_unwritten(-units);
            }
            self.queues.let_go(listed);
            return self.index.write_out();
        }
        for queue in listed {
            let units = self.files.write_out(&queue, &mut self.unsynced)?;
            self.queues.add_unwritten(-units);
            if queue.let_go(count) {
                self.queues.list(&queue);
            }
        }
        self.index.write_out()
    }

    /// Removes everything that lies behind the end of the log.
    fn finish(mut self, ending: &Ending) -> io::Result<Recovered> {
        let end = ending.end;
        let (is_cut, durable) = self.end_log(ending)?;
        let has_cut = self.cut_behind(ending.from, end)?;
        for queue in self.queues.all() {
            self.follow_copies(&queue)?;
            self.files.correct_min(&queue, self.log.min())?;
            queue.next.store(queue.max(), Ordering::Relaxed);
        }
        if self.index.is_enabled() {
            self.index.write_out()?;
            self.index.cut_behind(end)?;
        }
        // Nothing below the safe position has changed.
        let can_wait = ending.safe.is_some_and(|safe| ending.from >= safe) && !self.is_emptied;
        let mut found = self.recovered(end)?;
        found.is_cut = is_cut || has_cut;
        found.durable = durable;
        found.can_wait = can_wait;
        Ok(found)
    }

    /// Sees to it that nothing behind the end of the log can ever be taken for its continuation. Returns whether there was
    /// something, and up to where the log is durable.
    fn end_log(&self, ending: &Ending) -> io::Result<(bool, i64)> {
        let end = ending.end;
        let is_dirty =
            ending.behind == Behind::Garbage || ending.is_abnormal && !self.log.is_blank_behind(end)?;
        if is_dirty {
            self.log.zero(end, self.log.capacity_end())?;
        }
        let is_slow_to_sync = ending.is_abnormal && self.config.flush == FlushMode::Async;
        let durable = match ending.safe {
            // What only the system knows after a kill was promised to nobody as more than that, and a sync of all of it takes
            // longer than everything else. The flusher does it. But what lies behind damage has to be noted now.
            Some(safe) if is_slow_to_sync && !is_dirty && !self.has_passed_over => safe.min(end),
            _ if is_dirty || ending.is_abnormal => {
                self.log.sync(ending.from, self.log.capacity_end())?;
                end
            }
            _ => end,
        };
        if is_dirty || ending.is_abnormal {
            // They may lack their names after a power cut.
            self.log.remove_behind(end.max(self.log.min() + 1))?;
        }
        Ok((is_dirty, durable))
    }

    fn recovered(self, end: i64) -> io::Result<Recovered> {
        let all = self.queues.all();
        let last = self.last.unwrap_or(Last {
            pos: -1,
            end,
            stored_at: 0,
        });
        Ok(Recovered {
            end,
            last: last.pos,
            last_end: last.end,
            last_stored_at: last.stored_at,
            queues: all.iter().filter(|queue| queue.max() > 0).count() as i64,
            units: all.iter().fold(0, |units, queue| queue.max().wrapping_add(units)),
            unsynced: self.unsynced,
            is_cut: false,
            durable: end,
            can_wait: false,
            has_passed_over: self.has_passed_over,
        })
    }
}

/// How many offsets of its queue a record takes; `None` when it has no place there.
pub(crate) fn count_for(queue: &Queue, head: &RecordHead<'_>) -> Option<i16> {
    let parts = &head.parts;
    let is_inner_batch = parts.sys_flag & sysflag::INNER_BATCH != 0;
    match queue.kind() {
        _ if !sysflag::is_queued(parts.sys_flag) => None,
        // Nothing is ever appended to it; a log of another broker may have it.
        _ if !is_directory_name(parts.topic) => None,
        // The reference has no place for it either: its topic was deleted, or is another one now.
        QueueKind::Plain if is_inner_batch => None,
        QueueKind::Batch if is_inner_batch => Some(inner_count(parts.properties)),
        _ => Some(1),
    }
}
