// SPDX-License-Identifier: Apache-2.0
//! Fewer and larger runs: which are merged when, and how. What is made is durable, with its name, before what it was made of goes; a
//! start that finds both takes what was made.
//!
//! Runs of about one size are merged by four, so that a unit is copied some times only while it grows old. Units whose
//! messages have left the log go when the oldest runs are merged in [`Runs::trim`]; where a queue ends stays known.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::file::{Changes, ENTRY_BYTES, Extent, Run, RunEntry, RunWriter, next_born};
use super::{Runs, UNFINISHED};
use crate::disk::{File, synced};
use crate::queue::{UNIT_BYTES, Unit};
use crate::queue_batch::BATCH_UNIT_BYTES;
use crate::queues::Queues;

/// Runs of about one size that are merged.
const FAN_IN: usize = 4;
/// Runs up to this size are of the lowest level; each level is [`FAN_IN`] times the one below.
const LEVEL_BYTES: u64 = 64 << 10;
/// Bytes of a run read at once.
const READ_BYTES: usize = 1 << 20;
/// Units copied at once.
const COPY_UNITS: u32 = 10_000;

/// What is known of a run when it is decided about.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    /// Bytes of the log.
    span: i64,
}

fn level(bytes: u64) -> u32 {
    let mut level = 0;
    while LEVEL_BYTES << (2 * level) < bytes && level < 20 {
        level += 1;
    }
    level
}

/// The runs to merge next, oldest first; none that would reach over too much of the log.
fn due(sizes: &[Size], span_max: i64) -> Option<Range<usize>> {
    let mut end = sizes.len();
    let mut highest = 0;
    while end > 0 {
        // Older than larger ones counts as large.
        highest = highest.max(level(sizes[end - 1].bytes));
        let alike = sizes[..end]
            .iter()
            .rev()
            .take_while(|size| level(size.bytes) <= highest);
        let mut from = end - alike.count();
        while end - from >= FAN_IN {
            let mut span = 0;
            let fitting = sizes[from..end].iter().take_while(|size| {
                span = size.span.saturating_add(span);
                span <= span_max
            });
            match fitting.count() {
                0 | 1 => from += 1,
                count => return Some(from..from + count),
            }
        }
        end = from.min(end - 1);
    }
    None
}

impl Runs {
    /// Merges what is due, of the durable runs. To be called after a checkpoint.
    pub(crate) fn merge(&self) -> io::Result<()> {
        loop {
            let durable = self.next.lock().durable;
            let list = self.list();
            let old = list.iter().take_while(|run| run.extent.end <= durable);
            let sizes: Vec<Size> = old
                .map(|run| Size {
                    bytes: run.len(),
                    span: (run.extent.end - run.extent.begin).max(0),
                })
                .collect();
            let Some(range) = due(&sizes, self.span_max) else {
                return Ok(());
            };
            self.merge_range(range, i64::MIN)?;
        }
    }

    /// Drops the units at the front of queues that point to records before a position, and tells the queues where they
    /// begin. To be called after a checkpoint.
    pub(crate) fn trim(&self, log_min: i64, queues: &Queues) -> io::Result<()> {
        let durable = self.next.lock().durable;
        let list = self.list();
        let old = list
            .iter()
            .take_while(|run| run.extent.begin < log_min && run.extent.end <= durable);
        let count = old.count();
        if count == 0 {
            return Ok(());
        }
        let begins: HashMap<u32, i64> = self.merge_range(0..count, log_min)?.into_iter().collect();
        for queue in queues.all() {
            let mut held = queue.held.lock();
            if let Some(first) = begins.get(&held.number) {
                held.first = *first;
            }
        }
        Ok(())
    }

    /// Puts one run in the place of several. Returns the numbers of the queues in it and where each begins.
    pub(super) fn merge_range(&self, range: Range<usize>, log_min: i64) -> io::Result<Vec<(u32, i64)>> {
        let parts = self.list()[range.clone()].to_vec();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Ok(Vec::new());
        };
        let extent = Extent {
            flushes: (first.extent.flushes.0, last.extent.flushes.1),
            begin: first.extent.begin.max(log_min),
            end: last.extent.end,
        };
        let writer = RunWriter::new(&*self.disk, self.dir.join(UNFINISHED))?;
        let merge = Merge::of(&parts, self, log_min)?;
        let gone = if range.start == 0 {
            merge.gone.clone()
        } else {
            HashSet::new()
        };
        let (merged, begins) = merge.run(writer, extent)?;
        let merged = self.settle(merged)?;
        let path = merged.path.clone();
        synced(self.disk.sync_dir(&self.dir))?;
        self.replace(|list| drop(list.splice(range, [Arc::new(merged)])));
        for part in parts.iter().filter(|part| part.path != path) {
            self.disk.remove(&part.path)?;
        }
        // No run has them any more.
        self.next.lock().batches.retain(|number| !gone.contains(number));
        Ok(begins)
    }
}

/// Runs that are being merged, oldest first.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
    /// Queues of which nothing is kept.
    gone: HashSet<u32>,
    changes: Changes,
    batches: HashSet<u32>,
    log_min: i64,
}

impl<'a> Merge<'a> {
    fn of(parts: &'a [Arc<Run>], runs: &Runs, log_min: i64) -> io::Result<Merge<'a>> {
        let mut merge = Merge {
            sources: Vec::new(),
            gone: HashSet::new(),
            changes: Changes::default(),
            batches: runs.next.lock().batches.clone(),
            log_min,
        };
        let is_oldest = parts.first().is_some_and(|part| part.extent.flushes.0 == 0);
        let mut all_born = Vec::new();
        for part in parts {
            let (source, changes) = Source::of(part)?;
            merge.sources.push(source);
            merge.gone.extend(&changes.gone);
            merge.changes.next_number = merge.changes.next_number.max(changes.next_number);
            all_born.extend(changes.born);
        }
        let mut kept = merge.gone.clone();
        let mut rest = &all_born[..];
        while let Some(born) = next_born(&mut rest) {
            if !kept.remove(&born.number) {
                born.encode(&mut merge.changes.born);
            }
        }
        // Nothing older than the oldest can speak of them.
        if !is_oldest {
            merge.changes.gone.extend(kept);
        }
        Ok(merge)
    }

    fn run(mut self, mut out: RunWriter, extent: Extent) -> io::Result<(Run, Vec<(u32, i64)>)> {
        let mut begins = Vec::new();
        while let Some(number) = self.sources.iter().filter_map(|source| source.number()).min() {
            let mut merged = RunEntry {
                number,
                count: 0,
                first: 0,
                at: out.place(),
            };
            for source in &mut self.sources {
                let Some(entry) = source.entry.filter(|entry| entry.number == number) else {
                    continue;
                };
                if !self.gone.contains(&number) {
                    let is_batch = self.batches.contains(&number);
                    source.copy(&entry, &mut merged, (is_batch, self.log_min), &mut out)?;
                }
                source.advance()?;
            }
            if !self.gone.contains(&number) {
                out.add_entry(&merged);
                if self.log_min > i64::MIN {
                    begins.push((number, merged.first));
                }
            }
        }
        Ok((out.finish(&self.changes, extent)?, begins))
    }
}

/// A run, read from its front to its end.
struct Source<'a> {
    entries: Stream<'a>,
    units: Stream<'a>,
    /// The next.
    entry: Option<RunEntry>,
}

impl<'a> Source<'a> {
    /// Reads a run whose tables are sound.
    fn of(run: &'a Run) -> io::Result<(Source<'a>, Changes)> {
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged", run.path.display()),
            )
        };
        let changes = run.changes()?.ok_or_else(damaged)?;
        let mut source = Source {
            entries: Stream::of(&*run.file, run.entries()),
            units: Stream::of(&*run.file, 0..run.entries().start),
            entry: None,
        };
        source.advance()?;
        Ok((source, changes))
    }

    fn number(&self) -> Option<u32> {
        self.entry.map(|entry| entry.number)
    }

    fn advance(&mut self) -> io::Result<()> {
        self.entry = if self.entries.is_over() {
            None
        } else {
            self.entries
                .take(ENTRY_BYTES)?
                .first_chunk()
                .map(RunEntry::decode)
        };
        Ok(())
    }

    /// Copies the units of an entry behind those of the same queue that are there, without the first ones if what they point to is gone.
    fn copy(
        &mut self,
        entry: &RunEntry,
        merged: &mut RunEntry,
        (is_batch, log_min): (bool, i64),
        out: &mut RunWriter,
    ) -> io::Result<()> {
        let unit_bytes = if is_batch { BATCH_UNIT_BYTES } else { UNIT_BYTES } as usize;
        if merged.count > 0 && merged.end() != entry.first {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "units of a queue do not follow each other",
            ));
        }
        self.units.go_to(entry.at);
        let mut left = entry.count;
        while left > 0 {
            let count = left.min(COPY_UNITS);
            left -= count;
            let units = self.units.take(count as usize * unit_bytes)?;
            let mut skip = 0;
            if merged.count == 0 {
                let is_over = |unit: &Unit| log_min > i64::MIN && (unit.is_blank() || unit.pos < log_min);
                let decoded = units
                    .chunks_exact(unit_bytes)
                    .filter_map(|unit| unit.first_chunk());
                skip = decoded.map(Unit::decode).take_while(is_over).count();
                if is_batch && skip == count as usize && left == 0 {
                    // Where it ends only its last unit tells.
                    skip -= 1;
                }
                merged.first = entry.end() - i64::from(left) - (i64::from(count) - skip as i64);
            }
            merged.count = merged
                .count
                .checked_add(count - skip as u32)
                .ok_or(io::ErrorKind::InvalidData)?;
            out.add_units(|to| to.extend_from_slice(&units[skip * unit_bytes..]));
            out.spill()?;
        }
        if merged.count == 0 {
            merged.first = entry.end();
        }
        Ok(())
    }
}

/// Part of a file, read in large steps.
struct Stream<'a> {
    file: &'a dyn File,
    /// What is not in the buffer.
    rest: Range<u64>,
    buf: Vec<u8>,
    used: usize,
}

impl<'a> Stream<'a> {
    fn of(file: &'a dyn File, rest: Range<u64>) -> Stream<'a> {
        Stream {
            file,
            rest,
            buf: Vec::new(),
            used: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty() && self.used == self.buf.len()
    }

    /// Goes on at a place in the file, which nearly always is where it stands.
    fn go_to(&mut self, at: u64) {
        let left = (self.buf.len() - self.used) as u64;
        if self.rest.start - left != at {
            self.rest.start = at;
            (self.buf, self.used) = (Vec::new(), 0);
        }
    }

    /// The next bytes.
    fn take(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.buf.len() - self.used < len {
            self.buf.drain(..self.used);
            self.used = 0;
            let more = READ_BYTES.max(len - self.buf.len()) as u64;
            let more = more.min(self.rest.end.saturating_sub(self.rest.start)) as usize;
            let had = self.buf.len();
            self.buf.resize(had + more, 0);
            self.file.read_exact_at(&mut self.buf[had..], self.rest.start)?;
            self.rest.start += more as u64;
        }
        let taken = self
            .buf
            .get(self.used..self.used + len)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.used += len;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(of: &[(u64, i64)]) -> Vec<Size> {
        of.iter()
            .map(|(bytes, span)| Size {
                bytes: *bytes,
                span: *span,
            })
            .collect()
    }

    #[test]
    fn four_of_about_one_size_are_merged() {
        let (small, large) = (1_000, LEVEL_BYTES * 3);
        assert_eq!(due(&sizes(&[(small, 1); 3]), 100), None);
        assert_eq!(due(&sizes(&[(small, 1); 4]), 100), Some(0..4));
        let after = [(large, 1), (small, 1), (small, 1), (small, 1)];
        assert_eq!(due(&sizes(&after), 100), None);
        let four = [(large, 1), (large, 1), (large, 1), (large, 1), (small, 1)];
        assert_eq!(due(&sizes(&four), 100), Some(0..4));
    }

    #[test]
    fn a_small_one_among_large_ones_is_merged_with_them() {
        let large = LEVEL_BYTES * 3;
        let mixed = [(large, 1), (10, 1), (large, 1), (large, 1)];
        assert_eq!(due(&sizes(&mixed), 100), Some(0..4));
    }

    #[test]
    fn no_run_reaches_over_more_of_the_log_than_allowed() {
        let large = LEVEL_BYTES * 3;
        assert_eq!(due(&sizes(&[(large, 60); 4]), 100), None);
        assert_eq!(due(&sizes(&[(large, 40); 4]), 100), Some(0..2));
        assert_eq!(
            due(&sizes(&[(large, 90), (large, 40), (large, 40), (large, 40)]), 100),
            None
        );
    }

    #[test]
    fn runs_stay_few_while_units_are_copied_a_few_times() {
        let (mut runs, mut copied) = (Vec::new(), 0);
        for _ in 0..10_000 {
            runs.push(Size {
                bytes: 30_000,
                span: 1,
            });
            while let Some(range) = due(&runs, i64::MAX) {
                let merged: u64 = runs[range.clone()].iter().map(|size| size.bytes).sum();
                copied += merged;
                runs.splice(
                    range,
                    [Size {
                        bytes: merged,
                        span: 1,
                    }],
                );
            }
            assert!(runs.len() < 30, "{}", runs.len());
        }
        assert!(copied < 10_000 * 30_000 * 8, "{copied}");
    }
}
