// SPDX-License-Identifier: Apache-2.0
//! From one layout of the consume queues to the other, when a store is opened whose settings ask for it. Both hold the same units.
//!
//! What is there counts until the last step, which is one name: the first run comes last, and goes first ([`crate::runs`]). A
//! conversion that is cut short is done again by the next opening, from its start.

use std::io;
use std::sync::Arc;

use crate::config::QueueLayout;
use crate::disk::synced;
use crate::log::ReadMode;
use crate::open::{open_runs, remove_queue_files};
use crate::queue::{Queue, Unit};
use crate::queue_batch::{self, QueueKind, Span};
use crate::queue_files::Unsynced;
use crate::runs;
use crate::store::Store;

/// Units read at once.
const READ_UNITS: usize = 10_000;

impl Store {
    /// Brings the queues into the layout that the settings ask for. Only while nobody else uses the store.
    pub(crate) fn convert_queues(&mut self) -> io::Result<()> {
        let queues = self.queues.all();
        let layout = self.config.queue_layout;
        tracing::info!(
            queues = queues.len(),
            ?layout,
            "consume queues are brought into another layout"
        );
        // All units are in files and durable, up to the position that a recovery would begin at. Meanwhile there may be runs.
        let done = self
            .note_layout(QueueLayout::Compact)
            .and_then(|()| match layout {
                QueueLayout::Compact => self.fill_runs(&queues),
                QueueLayout::Files => self.fill_files(&queues),
            });
        if let Err(error) = done {
            return self.stay(&queues, error);
        }
        match layout {
            QueueLayout::Compact => remove_queue_files(&self.config, &*self.env.disk)?,
            QueueLayout::Files => {
                self.leave_runs(&queues)?;
                // In both places of the checkpoint.
                self.note_layout(QueueLayout::Files)?;
                self.note_layout(QueueLayout::Files)?;
            }
        }
        tracing::info!(
            queues = queues.len(),
            ?layout,
            "consume queues are in their new layout"
        );
        Ok(())
    }

    fn note_layout(&self, layout: QueueLayout) -> io::Result<()> {
        let mut tidy = self.tidy.lock();
        tidy.note_layout(layout);
        self.checkpoint(&mut tidy)
    }

    /// After a conversion that did not come to the step that counts: without room for both the store works as it is.
    fn stay(&mut self, queues: &[Arc<Queue>], error: io::Error) -> io::Result<()> {
        if error.kind() != io::ErrorKind::StorageFull {
            return Err(error);
        }
        let disk = &*self.env.disk;
        let layout = if self.queue_files.runs().is_some() {
            remove_queue_files(&self.config, disk)?;
            queues.iter().for_each(|queue| queue.held.lock().bases.clear());
            QueueLayout::Compact
        } else {
            runs::remove_all(disk, &self.config.root)?;
            QueueLayout::Files
        };
        tracing::warn!(
            file = %self.config.root.display(),
            %error,
            "consume queues stay in their layout; make room and start again"
        );
        self.queue_files.close_all();
        self.config.queue_layout = layout;
        self.tidy.lock().note_layout(layout);
        Ok(())
    }

    fn fill_runs(&mut self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let runs = open_runs(&self.config, &self.env.disk)?;
        let upto = self.publisher.lock().upto;
        let read = |queue: &Queue, from, end| self.units_of_files(queue, from, end);
        runs.fill(queues, (self.log.min(), upto), read)?;
        for queue in queues {
            queue.held.lock().bases = Vec::new();
        }
        runs.note_durable(upto);
        self.queue_files.set_runs(Some(runs));
        Ok(())
    }

    /// Units of a queue from an index on, some of those in front of another; where a file is missing, blank ones.
    fn units_of_files(&self, queue: &Queue, from: i64, end: i64) -> io::Result<Vec<u8>> {
        let count = usize::try_from(end - from).unwrap_or(0).min(READ_UNITS);
        let bytes = self.queue_files.bytes(queue, from, count, ReadMode::Blocking)?;
        if !bytes.is_empty() {
            return Ok(bytes);
        }
        let missing = self.queue_files.end_of_file(queue, from).min(end) - from;
        Ok(blanks(queue, missing))
    }

    fn fill_files(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let disk = &*self.env.disk;
        remove_queue_files(&self.config, disk)?;
        let mut unsynced = Unsynced::default();
        for queue in queues {
            let (mut from, end) = queue.indexes();
            if from == end && end > 0 {
                // A file says where it ends.
                self.queue_files
                    .put(queue, end - 1, &blanks(queue, 1), &mut unsynced)?;
            }
            if queue.is_batch() {
                self.put_removed(queue, from, &mut unsynced)?;
            }
            while from < end {
                let count = usize::try_from(end - from).unwrap_or(0).min(READ_UNITS);
                let mut bytes = self.queue_files.bytes(queue, from, count, ReadMode::Blocking)?;
                if bytes.is_empty() {
                    let missing = self
                        .queue_files
                        .behind_gap(queue, from, ReadMode::Blocking)?
                        .min(end)
                        - from;
                    bytes = blanks(queue, missing.min(READ_UNITS as i64));
                }
                self.queue_files.put(queue, from, &bytes, &mut unsynced)?;
                from += bytes.len() as i64 / queue.unit_bytes();
            }
        }
        unsynced.sync(disk)
    }

    fn leave_runs(&mut self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let disk = &*self.env.disk;
        runs::remove_all(disk, &self.config.root)?;
        queues.iter().for_each(|queue| queue.held.lock().number = 0);
        self.queue_files.set_runs(None);
        synced(disk.sync_dir(&self.config.root))
    }

    /// Fills the first file of a batch queue in front of its first unit, as if the messages that were there had left only the
    /// log. Who looks for the end of a queue, here as in the reference, takes a unit that nobody wrote for the end, and nobody
    /// delivers what is older than the log.
    fn put_removed(&self, queue: &Queue, first: i64, unsynced: &mut Unsynced) -> io::Result<()> {
        let begin = self.queue_files.base_of(queue, first) / queue.unit_bytes();
        let known = self.queue_files.read_batch(queue, first, 1, ReadMode::Blocking)?;
        let Some((_, kept)) = known.first() else {
            return Ok(());
        };
        let removed = Unit {
            pos: 0,
            size: 1,
            tags_code: 0,
        };
        let mut bytes = Vec::new();
        for index in begin..first {
            let span = Span {
                stored_at: kept.stored_at.saturating_sub(1),
                base: kept.base.saturating_sub(first - index).max(0),
                count: 1,
            };
            queue_batch::encode(&removed, &span, &mut bytes);
        }
        self.queue_files.put(queue, begin, &bytes, unsynced)
    }
}

/// Units that stand for nothing.
fn blanks(queue: &Queue, count: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count.max(0) {
        match queue.kind() {
            QueueKind::Plain => Unit::BLANK.encode(&mut bytes),
            QueueKind::Batch => bytes.resize(bytes.len() + queue.unit_bytes() as usize, 0),
        }
    }
    bytes
}
