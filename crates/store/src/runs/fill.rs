// SPDX-License-Identifier: Apache-2.0
//! Runs made of queues that are kept otherwise: one for each stretch of the log, so that they can go with it. The first, which says that
//! all of them count, gets its name when the others are durable.

use std::io;
use std::sync::Arc;

use super::file::{Born, Changes, Extent, Run, RunEntry, RunWriter};
use super::{NO_NUMBER, Runs, UNFINISHED};
use crate::disk::synced;
use crate::queue::{Queue, Unit};

/// A queue of which units are still to be copied.
struct Cursor<'a> {
    queue: &'a Queue,
    number: u32,
    first: i64,
    next: i64,
    end: i64,
}

impl Runs {
    /// Copies the units of queues that point into a stretch of the log, all of which are durable elsewhere. `read` gives some units of a
    /// queue from an index on, in front of another.
    pub(crate) fn fill(
        &self,
        queues: &[Arc<Queue>],
        (mut begin, upto): (i64, i64),
        read: impl Fn(&Queue, i64, i64) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let (mut cursors, mut changes) = begin_at_min(queues);
        let mut list: Vec<Run> = Vec::new();
        while list.is_empty() || begin < upto {
            let end = begin.saturating_add(self.span_max).min(upto);
            let flush = list.len() as u64;
            let extent = Extent {
                flushes: (flush, flush),
                begin,
                end,
            };
            let path = if flush == 0 {
                self.dir.join(UNFINISHED)
            } else {
                extent.path(&self.dir)
            };
            let mut out = RunWriter::new(&*self.disk, path)?;
            // What is damaged may point anywhere, and shall hold up nothing.
            let limit = if end == upto { i64::MAX } else { end };
            for cursor in &mut cursors {
                let entry = cursor.copy(limit, &mut out, &read)?;
                if entry.count > 0 || flush == 0 {
                    out.add_entry(&entry);
                }
            }
            let run = out.finish(&changes, extent)?;
            synced(run.file.sync())?;
            changes.born = Vec::new();
            list.push(run);
            begin = end;
        }
        synced(self.disk.sync_dir(&self.dir))?;
        if let Some(first) = list.first_mut() {
            let path = first.extent.path(&self.dir);
            self.disk.rename(&first.path, &path)?;
            first.path = path;
        }
        synced(self.disk.sync_dir(&self.dir))?;
        let mut next = self.next.lock();
        for cursor in cursors {
            if cursor.queue.is_batch() {
                next.batches.insert(cursor.number);
            }
            let mut held = cursor.queue.held.lock();
            (held.number, held.first) = (cursor.number, cursor.first);
        }
        next.number = changes.next_number;
        *self.list.write() = Arc::new(list.into_iter().map(Arc::new).collect());
        Ok(())
    }
}

/// All queues that have had units, from the first on that they still have.
fn begin_at_min(queues: &[Arc<Queue>]) -> (Vec<Cursor<'_>>, Changes) {
    let (mut cursors, mut changes) = (Vec::new(), Changes::default());
    let mut number = NO_NUMBER;
    for queue in queues {
        let (first, end) = queue.indexes();
        if end == 0 {
            continue;
        }
        number += 1;
        let born = Born {
            number,
            id: queue.id(),
            kind: queue.kind(),
            topic: queue.topic(),
        };
        born.encode(&mut changes.born);
        let first = if queue.is_batch() {
            first
        } else {
            queue.min().clamp(first, end)
        };
        cursors.push(Cursor {
            queue,
            number,
            first,
            next: first,
            end,
        });
    }
    changes.next_number = number + 1;
    (cursors, changes)
}

impl Cursor<'_> {
    /// Copies units up to the first that points to a position or behind it.
    fn copy(
        &mut self,
        limit: i64,
        out: &mut RunWriter,
        read: impl Fn(&Queue, i64, i64) -> io::Result<Vec<u8>>,
    ) -> io::Result<RunEntry> {
        let mut entry = RunEntry {
            number: self.number,
            count: 0,
            first: self.next,
            at: out.place(),
        };
        let unit_bytes = self.queue.unit_bytes() as usize;
        while self.next < self.end {
            let bytes = read(self.queue, self.next, self.end)?;
            let decoded = bytes
                .chunks_exact(unit_bytes)
                .filter_map(|unit| unit.first_chunk());
            let is_before = |unit: &Unit| unit.is_blank() || unit.pos < limit;
            let count = decoded.map(Unit::decode).take_while(is_before).count();
            out.add_units(|to| to.extend_from_slice(&bytes[..count * unit_bytes]));
            out.spill()?;
            entry.count += count as u32;
            self.next += count as i64;
            if count * unit_bytes < bytes.len() || bytes.is_empty() {
                break;
            }
        }
        Ok(entry)
    }
}
