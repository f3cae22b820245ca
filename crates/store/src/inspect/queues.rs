// SPDX-License-Identifier: Apache-2.0
//! Comparing consume queues with the log, both ways: each record has its entry, and each entry its record.

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
use crate::queue_batch::{QueueKind, Span};
use crate::read::EXT_ADDRESS_MAX;
use crate::recover::{OFFSET_MAX, count_for};
use crate::scan::says_record;
use crate::survey::queue_dir;
use crate::tail::Deriving;

/// Entries read at once.
const CHUNK: usize = 256;
/// Entries that are remembered as wrong, at most: the others are found when these are mended.
const WRONG_MAX: usize = 2_000_000;
/// Messages that are named where they are lost.
const NAMED_MAX: usize = 8;

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
    /// Of a batch queue, the entry of the next record.
    next: i64,
    /// Entries that are as they should be.
    right: u64,
    /// Records at its end without an entry: there may be more of it in the log than in its files after a kill.
    behind: Vec<Wrong>,
}

struct Comparison<'a> {
    view: &'a View,
    cursors: HashMap<u64, Cursor>,
    wrong: Vec<Wrong>,
    /// Entries below were durable when the last checkpoint was made.
    safe: i64,
    keys: Option<KeyCheck>,
}

pub(super) fn compare(view: &mut View) -> io::Result<Compared> {
    let has_queues = view.files.runs().is_some()
        || view
            .queues
            .all()
            .iter()
            .any(|queue| !queue.held.lock().bases.is_empty());
    let mut comparison = Comparison {
        safe: view.loaded.safe.map_or(0, |safe| safe.pos),
        view,
        cursors: HashMap::new(),
        wrong: Vec::new(),
        keys: Some(KeyCheck::new(view)?),
    };
    let mut records = 0;
    let (log, mut damage) = walk(view, |pos, head| {
        records += 1;
        comparison.record(pos, head)
    })?;
    comparison.settle();
    let faults = comparison.keys.take().map(KeyCheck::faults);
    let min = view.log_min();
    let bogus = comparison.entries_without_records((min, log.end), &mut damage)?;
    let Comparison { wrong, cursors, .. } = comparison;
    let right: u64 = cursors.values().map(|cursor| cursor.right).sum();
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
    if !has_queues && !wrong.is_empty() {
        wrong.clear();
        findings.push(Finding {
            kind: "consume queues",
            file: view.config.root.join(queue_dir(QueueKind::Plain)),
            at: None,
            what: "there are none".to_owned(),
            lost: "nothing: they are derived".to_owned(),
            mend: Mend::Start,
        });
    }
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
        let is_batch = queue.is_batch();
        let cursor = self.cursors.entry(queue.key).or_insert_with(|| Cursor {
            next: queue.indexes().0,
            ..Cursor::default()
        });
        let index = if is_batch { cursor.next } else { span.base };
        cursor.next = index + 1;
        if cursor.from > index || cursor.from + cursor.units.len() as i64 <= index {
            cursor.from = index;
            cursor.units = self.view.units(&queue, index)?;
        }
        let found = cursor.units.get((index - cursor.from) as usize);
        let what = match found {
            None => "is missing",
            Some((found, _)) if !found.is_written() => "was never written",
            Some((found, _)) if found.is_blank() => "says that there is no message",
            Some((found, _)) if found.pos != unit.pos => "has a wrong position",
            Some((found, _)) if found.size != unit.size => "has a wrong size",
            Some((found, _)) if !self.view.is_code_right(&queue, found, &unit) => {
                "has a wrong hash of the tag"
            }
            Some((_, found)) if is_batch && (found.base, found.count) != (span.base, span.count) => {
                "stands for wrong offsets"
            }
            Some(_) => {
                cursor.right += 1;
                // Those in front are no end that is not written yet.
                let holes = std::mem::take(&mut cursor.behind);
                add(&mut self.wrong, holes);
                return Ok(());
            }
        };
        let is_absent = found.is_none_or(|(found, _)| !found.is_written());
        let wrong = Wrong {
            queue,
            index,
            unit,
            span,
            what,
        };
        if is_absent && self.view.is_abnormal && unit.pos >= self.safe {
            cursor.behind.push(wrong);
            cursor.behind.truncate(WRONG_MAX);
        } else {
            add(&mut self.wrong, vec![wrong]);
        }
        Ok(())
    }

    /// After an orderly end nothing is behind.
    fn settle(&mut self) {
        if !self.view.is_abnormal {
            for cursor in self.cursors.values_mut() {
                add(&mut self.wrong, std::mem::take(&mut cursor.behind));
            }
        }
    }

    /// Entries that no record has: of damaged ones, which are noted there, and such that never were.
    fn entries_without_records(
        &mut self,
        (min, end): (i64, i64),
        damage: &mut [Damage],
    ) -> io::Result<Vec<Wrong>> {
        let wrong: HashSet<(u64, i64)> = self
            .wrong
            .iter()
            .map(|wrong| (wrong.queue.key, wrong.index))
            .collect();
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

fn add(to: &mut Vec<Wrong>, some: Vec<Wrong>) {
    to.extend(some);
    to.truncate(WRONG_MAX);
}

impl View {
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
        what: format!("{} ({bytes} bytes up to position {})", damage.what, damage.to),
        lost,
        mend: Mend::Repair,
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
