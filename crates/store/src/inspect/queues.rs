// SPDX-License-Identifier: Apache-2.0
//! Comparing consume queues with the log, both ways: each record has its entry, and each entry its record.
//!
//! Messages of a deleted topic stay in the log. Where an entry agrees with a record, what lies in front of that at the same offset or
//! a later one is of an earlier topic of the name. Where none does, the rule is that of a start: offset 0 behind others begins a queue
//! anew, and an offset that does not follow counts only if the next record of the queue goes on behind it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use wire::record::RecordHead;

use super::derived::KeyCheck;
use super::view::View;
use super::walk::{Damage, walk};
use super::{Finding, Mend};
use crate::log::{ReadMode, file_name};
use crate::queue::{Queue, Unit};
use crate::queue_batch::{QueueKind, Span, offsets_in};
use crate::read::EXT_ADDRESS_MAX;
use crate::recover::{GAP_MAX, OFFSET_MAX, count_for};
use crate::scan::says_record;
use crate::survey::queue_dir;
use crate::tail::Deriving;

/// Entries read at once.
const CHUNK: usize = 256;
/// Entries that are remembered as wrong, at most: the others are found when these are mended.
const WRONG_MAX: usize = 2_000_000;
/// Messages that are named where they are lost.
const NAMED_MAX: usize = 8;

const MISSING: &str = "is missing";
const NEVER_WRITTEN: &str = "was never written";

/// An entry that is not what the log says.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    pub(super) queue: Arc<Queue>,
    /// Its place in the files.
    pub(super) index: i64,
    /// What it should be.
    pub(super) unit: Unit,
    /// What it should stand for.
    pub(super) span: Span,
    what: &'static str,
}

/// What a comparison has found besides findings.
pub(super) struct Compared {
    pub(super) log: (i64, i64),
    pub(super) damage: Vec<Damage>,
    pub(super) wrong: Vec<Wrong>,
}

/// Where the comparison of a queue is.
#[derive(Default)]
struct Cursor {
    /// Entries that were read, from this index on.
    from: i64,
    units: Vec<(Unit, Span)>,
    /// Of a batch queue, its first entry of a record that is in the log, and that of the next record.
    first: i64,
    next: i64,
    /// The offset behind the last record; before the first one nobody knows. And the position of that record.
    max: Option<i64>,
    pos: i64,
    /// Entries that are as they should be.
    right: u64,
    /// Entries that are not, ascending.
    wrong: Vec<Wrong>,
    /// A record that does not follow and has no entry: it waits for the next one of the queue.
    doubt: Option<Wrong>,
    /// Records at its end without an entry: there may be more of it in the log than in its files after a kill.
    behind: Vec<Wrong>,
}

impl Cursor {
    /// Whether a record has a place where the queue ends. Otherwise it has none, or is in doubt.
    fn follows(&self, wrong: &Wrong) -> Follows {
        let base = wrong.span.base;
        let room = offsets_in(wrong.queue.kind(), wrong.unit.pos - self.pos).min(GAP_MAX);
        match self.max {
            None => Follows::Yes,
            Some(max) if base == max => Follows::Yes,
            Some(max) if base == 0 || base > max && base - max <= room => Follows::Perhaps,
            Some(_) => Follows::No,
        }
    }

    /// A record has the entry at an index.
    fn go_on(&mut self, index: i64, (unit, span): (&Unit, &Span)) {
        self.next = index + 1;
        self.max = Some(span.end());
        self.pos = unit.pos;
    }

    /// What was found so far is of an earlier topic of this name.
    fn begin_anew(&mut self) {
        self.wrong.clear();
        self.behind.clear();
        self.right = 0;
        self.next = self.first;
    }

    /// Takes in what is in doubt if the next record bears it out; otherwise gives it back.
    fn resolve(&mut self, next: &Span) -> Option<Wrong> {
        let mut doubt = self.doubt.take()?;
        if !doubt.span.is_borne_out_by(next) {
            return Some(doubt);
        }
        if doubt.span.base == 0 {
            self.begin_anew();
        }
        if doubt.queue.is_batch() {
            doubt.index = self.next;
        }
        self.go_on(doubt.index, (&doubt.unit, &doubt.span));
        self.add([doubt]);
        None
    }

    /// An entry is right: what lies in front of its record in the log, at its index or a later one, is of an earlier topic.
    fn agree(&mut self, index: i64) {
        self.right += 1;
        for earlier in [&mut self.wrong, &mut self.behind] {
            while earlier.pop_if(|last| last.index >= index).is_some() {}
        }
        // Those in front are no end that is not written yet.
        let holes = std::mem::take(&mut self.behind);
        self.add(holes);
    }

    fn add(&mut self, some: impl IntoIterator<Item = Wrong>) {
        let room = WRONG_MAX.saturating_sub(self.wrong.len());
        self.wrong.extend(some.into_iter().take(room));
    }
}

enum Follows {
    Yes,
    Perhaps,
    No,
}

struct Comparison<'a> {
    view: &'a View,
    cursors: HashMap<u64, Cursor>,
    /// Records that say offsets at which they cannot be.
    refused: Vec<Wrong>,
    /// Whether there is a record of a queue of which nothing is there.
    is_absent: bool,
    /// Entries below were durable when the last checkpoint was made.
    safe: i64,
    keys: Option<KeyCheck>,
}

pub(super) fn compare(view: &mut View) -> io::Result<Compared> {
    let mut comparison = Comparison {
        safe: view.loaded.safe.map_or(0, |safe| safe.pos),
        view,
        cursors: HashMap::new(),
        refused: Vec::new(),
        is_absent: false,
        keys: Some(KeyCheck::new(view)?),
    };
    let mut records = 0;
    let (log, mut damage) = walk(view, |pos, head| {
        records += 1;
        comparison.record(pos, head)
    })?;
    let (right, wrong) = comparison.settle();
    let faults = comparison.keys.take().map(KeyCheck::faults);
    let min = view.log_min();
    let bogus = comparison.entries_without_records(&wrong, (min, log.end), &mut damage)?;
    let lost = comparison.lost_queues();
    let refused = std::mem::take(&mut comparison.refused);
    view.totals.records = records;
    view.totals.entries = right + wrong.len() as u64;
    view.totals.queues = view.queues.all().len() as u64;
    let mut findings: Vec<Finding> = damage.iter().map(|damage| of_damage(view, damage)).collect();
    if log.is_dirty && !view.log.is_empty() {
        let (file, at) = view.place_of(log.end);
        findings.push(Finding {
            kind: "commit log",
            file,
            at: Some(at),
            what: "something that is no record lies behind the last one".to_owned(),
            lost: "what was being written when the broker ended, and was acknowledged to nobody".to_owned(),
            mend: Mend::Start,
        });
    }
    let mut wrong: Vec<Wrong> = wrong.into_iter().chain(bogus).collect();
    if view.is_log_gone()? {
        findings.push(Finding {
            kind: "commit log",
            file: view.config.commit_log_dirs.first().cloned().unwrap_or_default(),
            at: None,
            what: "there is none, but what was derived of one".to_owned(),
            lost: "all messages".to_owned(),
            mend: Mend::Repair,
        });
        wrong.clear();
    }
    findings.extend(lost);
    findings.extend(refused.iter().map(|refused| of_refused(view, refused)));
    wrong.sort_by(|one, other| {
        (one.queue.topic(), one.queue.id(), one.index).cmp(&(
            other.queue.topic(),
            other.queue.id(),
            other.index,
        ))
    });
    findings.extend(of_wrong(view, &wrong));
    findings.extend(faults.unwrap_or_default());
    view.findings.extend(findings);
    Ok(Compared {
        log: (min, log.end),
        damage,
        wrong,
    })
}

impl Comparison<'_> {
    fn record(&mut self, pos: i64, head: &RecordHead<'_>) -> io::Result<()> {
        let queue = self.view.queues.get(head.parts.topic, head.parts.queue_id);
        let deriving = Deriving {
            delay_levels_ms: &self.view.config.delay_levels_ms,
            index_enabled: true,
        };
        let derived = deriving.derive(&queue, head.parts.properties, head.parts.sys_flag);
        if let Some(keys) = &mut self.keys {
            keys.record(pos, head, &derived.hashes)?;
        }
        let Some(count) = count_for(&queue, head) else {
            return Ok(());
        };
        let stored_at = head.stamp.stored_at;
        let unit = Unit {
            pos,
            size: head.total_size as i32,
            tags_code: derived.tags.at(stored_at),
        };
        let span = Span {
            stored_at,
            base: head.stamp.queue_offset,
            count,
        };
        if !(0..OFFSET_MAX).contains(&span.base) {
            return Ok(());
        }
        self.entry(queue, unit, span)
    }

    fn entry(&mut self, queue: Arc<Queue>, unit: Unit, span: Span) -> io::Result<()> {
        if self.view.extent(&queue).1 == 0 {
            // A topic that was deleted, whose messages stay in the log; or the start makes the queue, as it does after a kill.
            self.is_absent |= !self.view.is_abnormal || unit.pos < self.safe;
            return Ok(());
        }
        let is_batch = queue.is_batch();
        let cursor = match self.cursors.entry(queue.key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let first = if is_batch {
                    self.view.first_in_log(&queue)?
                } else {
                    0
                };
                unknown.insert(Cursor {
                    first,
                    next: first,
                    ..Cursor::default()
                })
            }
        };
        if let Some(doubt) = cursor.resolve(&span) {
            self.refused.push(doubt);
            self.refused.truncate(WRONG_MAX);
        }
        let mut index = if is_batch { cursor.next } else { span.base };
        let mut what = self.view.compare(cursor, &queue, (index, &unit, &span))?;
        if what.is_some() && is_batch {
            let found = self.view.batch_index(&queue, span.base)?;
            let then = self.view.compare(cursor, &queue, (found, &unit, &span))?;
            // Right or not: that is where the record has its entry, if it says so.
            let entry = cursor.units.get((found - cursor.from) as usize);
            if entry.is_some_and(|(entry, said)| entry.is_written() && said.base == span.base) {
                (index, what) = (found, then);
            }
        }
        let Some(what) = what else {
            cursor.agree(index);
            cursor.go_on(index, (&unit, &span));
            return Ok(());
        };
        let wrong = Wrong {
            queue,
            index,
            unit,
            span,
            what,
        };
        match cursor.follows(&wrong) {
            Follows::Yes => {}
            Follows::Perhaps => {
                cursor.doubt = Some(wrong);
                return Ok(());
            }
            Follows::No => {
                self.refused.push(wrong);
                self.refused.truncate(WRONG_MAX);
                return Ok(());
            }
        }
        cursor.go_on(index, (&unit, &span));
        if self.view.is_abnormal && unit.pos >= self.safe && matches!(what, MISSING | NEVER_WRITTEN) {
            cursor.behind.push(wrong);
            cursor.behind.truncate(WRONG_MAX);
        } else {
            cursor.add([wrong]);
        }
        Ok(())
    }

    /// How many entries are right, and those that are not. Nothing follows on what is in doubt: it is believed, unless it says that it is the
    /// first and the entries of others are right. After an orderly end nothing is behind.
    fn settle(&mut self) -> (u64, Vec<Wrong>) {
        let (mut right, mut wrong) = (0, Vec::new());
        for cursor in self.cursors.values_mut() {
            match cursor.doubt.take() {
                Some(doubt) if doubt.span.base == 0 && cursor.right > 0 => self.refused.push(doubt),
                Some(mut doubt) => {
                    if doubt.span.base == 0 {
                        cursor.begin_anew();
                        doubt.index = cursor.first;
                    }
                    if !self.view.is_abnormal || doubt.unit.pos < self.safe {
                        cursor.add([doubt]);
                    }
                }
                None => {}
            }
            if !self.view.is_abnormal {
                let behind = std::mem::take(&mut cursor.behind);
                cursor.add(behind);
            }
            right += cursor.right;
            wrong.append(&mut cursor.wrong);
            wrong.truncate(WRONG_MAX);
        }
        (right, wrong)
    }

    /// Queues that are gone although nobody deleted their topics: the checkpoint knows how many there were.
    fn lost_queues(&self) -> Option<Finding> {
        let all = self.view.queues.all();
        let there = all.iter().filter(|queue| self.view.extent(queue).1 > 0).count() as i64;
        let known = self.view.loaded.safe.map(|safe| safe.queues);
        let what = match known {
            _ if !self.is_absent => return None,
            Some(known) if there >= known => return None,
            None if there > 0 => return None,
            _ if there == 0 => "there are none".to_owned(),
            known => format!(
                "there are {there}, the checkpoint knows {}",
                known.unwrap_or_default()
            ),
        };
        let root = &self.view.config.root;
        let runs = self.view.files.runs().map(|runs| runs.dir().to_path_buf());
        Some(Finding {
            kind: "consume queues",
            file: runs.unwrap_or_else(|| root.join(queue_dir(QueueKind::Plain))),
            at: None,
            what,
            lost: "nothing: they are derived".to_owned(),
            mend: Mend::Start,
        })
    }

    /// Entries that no record has: of damaged ones, which are noted there, and such that never were.
    fn entries_without_records(
        &self,
        wrong: &[Wrong],
        (min, end): (i64, i64),
        damage: &mut [Damage],
    ) -> io::Result<Vec<Wrong>> {
        let wrong: HashSet<(u64, i64)> = wrong.iter().map(|wrong| (wrong.queue.key, wrong.index)).collect();
        let mut bogus = Vec::new();
        for queue in self.view.queues.all() {
            let (mut index, last) = self.view.extent(&queue);
            while index < last {
                let units = self.view.units(&queue, index)?;
                if units.is_empty() {
                    index = self.view.files.behind_gap(&queue, index, ReadMode::Blocking)?;
                    continue;
                }
                for (unit, span) in units {
                    let at = index;
                    index += 1;
                    if !unit.is_written() || unit.is_blank() || unit.pos < min {
                        continue;
                    }
                    let offset = if queue.is_batch() { span.base } else { at };
                    let place = damage
                        .iter_mut()
                        .find(|range| (range.from..range.to).contains(&unit.pos));
                    let what = match place {
                        Some(range) => {
                            let id = queue.id();
                            range.lost.push(format!("{}/{id} offset {offset}", queue.topic()));
                            if wrong.contains(&(queue.key, at)) {
                                continue;
                            }
                            "points to a damaged record"
                        }
                        None if unit.pos >= end && self.view.is_abnormal => continue,
                        None if wrong.contains(&(queue.key, at)) => continue,
                        None if self.is_of_record(&unit) => continue,
                        None => "points to no record",
                    };
                    bogus.push(Wrong {
                        queue: Arc::clone(&queue),
                        index: at,
                        unit: Unit::BLANK,
                        span,
                        what,
                    });
                    bogus.truncate(WRONG_MAX);
                }
            }
        }
        Ok(bogus)
    }

    fn is_of_record(&self, unit: &Unit) -> bool {
        let part = self.view.part_at(unit.pos);
        part.is_some_and(|log| says_record(log, unit.pos) == Some(unit.size))
    }
}

impl View {
    /// What is wrong with the entry that a record has at an index.
    fn compare(
        &self,
        cursor: &mut Cursor,
        queue: &Queue,
        (index, unit, span): (i64, &Unit, &Span),
    ) -> io::Result<Option<&'static str>> {
        if cursor.from > index || cursor.from + cursor.units.len() as i64 <= index {
            cursor.from = index;
            cursor.units = self.units(queue, index)?;
        }
        let found = cursor.units.get((index - cursor.from) as usize);
        Ok(match found {
            None => Some(MISSING),
            Some((found, _)) if !found.is_written() => Some(NEVER_WRITTEN),
            Some((found, _)) if found.is_blank() => Some("says that there is no message"),
            Some((found, _)) if found.pos != unit.pos => Some("has a wrong position"),
            Some((found, _)) if found.size != unit.size => Some("has a wrong size"),
            Some((found, _)) if !self.is_code_right(queue, found, unit) => {
                Some("has a wrong hash of the tag")
            }
            Some((_, found)) if queue.is_batch() && (found.base, found.count) != (span.base, span.count) => {
                Some("stands for wrong offsets")
            }
            Some(_) => None,
        })
    }

    /// The first entry of a batch queue whose record is not removed: files go only when all that they point to is.
    fn first_in_log(&self, queue: &Queue) -> io::Result<i64> {
        let (first, last) = self.extent(queue);
        let mut index = first;
        while index < last {
            let units = self.units(queue, index)?;
            let is_removed = |(unit, _): &&(Unit, Span)| unit.is_written() && unit.pos < self.log_min();
            let removed = units.iter().take_while(is_removed).count();
            if removed < units.len() || units.is_empty() {
                return Ok(index + removed as i64);
            }
            index += removed as i64;
        }
        Ok(first)
    }

    /// The first entry of a batch queue that does not lie in front of an offset, if they are right.
    fn batch_index(&self, queue: &Queue, offset: i64) -> io::Result<i64> {
        let (mut low, mut high) = self.extent(queue);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.files.read_batch(queue, middle, 1, ReadMode::Blocking)?;
            let is_behind = |(unit, span): &(Unit, Span)| unit.is_written() && span.end() <= offset;
            if found.first().is_some_and(is_behind) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether an entry has the code that its record gives. In the delay topic it is a time that depends on the settings; an
    /// address stands in a file that is not kept here.
    fn is_code_right(&self, queue: &Queue, found: &Unit, unit: &Unit) -> bool {
        let is_address = self.has_addresses && found.tags_code <= EXT_ADDRESS_MAX;
        queue.is_delay() || is_address || found.tags_code == unit.tags_code
    }

    /// Entries of a queue from an index on; none when their file is missing.
    pub(super) fn units(&self, queue: &Queue, index: i64) -> io::Result<Vec<(Unit, Span)>> {
        if index < queue.indexes().0 {
            return Ok(Vec::new());
        }
        if queue.is_batch() {
            return self.files.read_batch(queue, index, CHUNK, ReadMode::Blocking);
        }
        let units = self.files.read(queue, index, CHUNK, ReadMode::Blocking)?;
        let span = |offset| Span {
            stored_at: 0,
            base: offset,
            count: 1,
        };
        Ok(units
            .into_iter()
            .zip(index..)
            .map(|(unit, at)| (unit, span(at)))
            .collect())
    }

    /// The first index of a queue, and where its files end.
    pub(super) fn extent(&self, queue: &Queue) -> (i64, i64) {
        let (first, end) = queue.indexes();
        let last = queue.held.lock().bases.last().copied();
        match last {
            Some(base) => (first, self.files.end_of_file(queue, base / queue.unit_bytes())),
            None => (first, end),
        }
    }

    /// The file of an entry, and the place in it.
    pub(super) fn entry_place(&self, queue: &Queue, index: i64) -> (std::path::PathBuf, Option<u64>) {
        if let Some(runs) = self.files.runs() {
            return (runs.dir().to_path_buf(), None);
        }
        let base = self.files.base_of(queue, index);
        let at = (index * queue.unit_bytes() - base).unsigned_abs();
        (self.files.dir(queue).join(file_name(base)), Some(at))
    }
}

fn of_damage(view: &View, damage: &Damage) -> Finding {
    let (file, at) = view.place_of(damage.from);
    let bytes = damage.to - damage.from;
    let unread = match view.unread.is_in(damage.from, damage.to) {
        true => ", the disk does not give all of it",
        false => "",
    };
    let lost = match damage.lost.as_slice() {
        [] => format!("what was in {bytes} bytes, as far as it is not in the findings about queues"),
        some if some.len() <= NAMED_MAX => some.join(", "),
        some => {
            let more = some.len() - NAMED_MAX;
            format!("{} and {more} more", some[..NAMED_MAX].join(", "))
        }
    };
    Finding {
        kind: "commit log",
        file,
        at: Some(at),
        what: format!(
            "{} ({bytes} bytes up to position {}{unread})",
            damage.what, damage.to
        ),
        lost,
        mend: Mend::Repair,
    }
}

fn of_refused(view: &View, refused: &Wrong) -> Finding {
    let (file, at) = view.place_of(refused.unit.pos);
    let (queue, offset) = (&refused.queue, refused.span.base);
    Finding {
        kind: "commit log",
        file,
        at: Some(at),
        what: format!(
            "a record of {}/{} says offset {offset}, where it cannot be",
            queue.topic(),
            queue.id()
        ),
        lost: "the message".to_owned(),
        mend: Mend::Copy,
    }
}

/// One finding for entries beside each other that are wrong in the same way.
fn of_wrong(view: &View, wrong: &[Wrong]) -> Vec<Finding> {
    let beside = |one: &Wrong, other: &Wrong| {
        Arc::ptr_eq(&one.queue, &other.queue) && other.index == one.index + 1 && one.what == other.what
    };
    let of_group = |group: &[Wrong]| {
        let first = group.first()?;
        let queue = &first.queue;
        let (file, at) = view.entry_place(queue, first.index);
        let (topic, id) = (queue.topic(), queue.id());
        let which = match group {
            [one] => format!("entry {} of {topic}/{id}", one.index),
            many => format!(
                "entries {} to {} of {topic}/{id}",
                first.index,
                first.index + many.len() as i64 - 1
            ),
        };
        let lost = match (first.unit.is_blank(), first.what) {
            (true, "points to a damaged record") => "the message, see there",
            (true, _) => "nothing: there is no such message",
            // The tag decides what a consumer with a filter gets.
            _ if first.what == "has a wrong hash of the tag" => {
                "the message, for consumers that filter by tag"
            }
            _ => "nothing: the message is found in the log",
        };
        Some(Finding {
            kind: "consume queue",
            file,
            at,
            what: format!("{which}: {}", first.what),
            lost: lost.to_owned(),
            mend: Mend::Repair,
        })
    };
    wrong.chunk_by(beside).filter_map(of_group).collect()
}
