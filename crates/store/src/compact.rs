// SPDX-License-Identifier: Apache-2.0
//! Compacted topics: of each key the newest message is kept, however old, and the commit log may forget it.
//!
//! The messages of such a topic are in the commit log and in a plain queue like all others. The tidy thread copies them
//! to files of their own ([`volumes`]) before it makes a checkpoint and before it removes a file of the log, and removes
//! none that holds what was not copied durably. The thread `store-compact` copies, too, in front of its own work: it
//! compares from time to time what is in these files, but for the last, and replaces them by files of the newest messages
//! ([`shelf`]). Whoever copies, or takes up files, holds `tidy`. A read takes from them what was copied, and the rest from
//! the log: offsets are those of the queue, with gaps.
//!
//! The log may have forgotten what was copied, so no copy is ever removed because something else looks shorter: a
//! recovery lets the queue go on behind its copies. They go with their topic, before its queue does and before anything
//! of a topic of the same name is made durable.
//!
//! In memory are the numbers of each file, its two descriptors, and while a queue is compacted the keys of what is new
//! in it, within a bound: what does not fit is for the next time.

mod newest;
mod shelf;
mod volumes;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wire::body::compaction::CompactionPositions;
use wire::fastjson;

use crate::config::StoreConfig;
use crate::disk::{Disk, backup_of, is_sync_failure, synced};
use crate::filter::{All, Filter};
use crate::queue::Queue;
use crate::queues::Doomed;
use crate::read::{Batch, ReadError, ReadLimit, ReadStatus};
use crate::store::Store;
use shelf::Place;
pub(crate) use shelf::Shelf;
pub(crate) use volumes::Shape;

/// Read at once to be copied.
const COPY: ReadLimit = ReadLimit {
    count: 1024,
    bytes: 1 << 20,
    scan: 4096,
    far: None,
};
const POSITIONS: &str = "position-checkpoint";

/// What all compacted queues share.
#[derive(Debug)]
pub(crate) struct Compaction {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    shape: Shape,
    memory_bytes: usize,
    /// How far queues are compacted, by the name the reference gives them.
    positions: Mutex<CompactionPositions>,
}

impl Compaction {
    pub(crate) fn open(config: &StoreConfig, disk: Arc<dyn Disk>) -> io::Result<Compaction> {
        let root = config.root.join("compaction");
        let path = root.join(POSITIONS);
        let mut positions = CompactionPositions::default();
        for candidate in [path.clone(), backup_of(&path)] {
            let bytes = disk.load(&candidate)?.filter(|bytes| !bytes.is_empty());
            // Without it files are compared once more.
            if let Some(read) = bytes.and_then(|bytes| fastjson::from_slice(&bytes).ok()) {
                positions = read;
                break;
            }
        }
        Ok(Compaction {
            disk,
            root,
            shape: Shape::of(config.compaction_file_bytes, config.compaction_queue_file_bytes),
            memory_bytes: config.compaction_memory_bytes,
            positions: Mutex::new(positions),
        })
    }

    /// Topics and numbers of the queues that have files.
    pub(crate) fn found(&self) -> io::Result<impl Iterator<Item = (String, u32)>> {
        Ok(shelf::found(&*self.disk, &self.root)?.into_iter())
    }

    /// The files of a queue, taken up when they have not been: by the start, and then by the holder of `tidy` alone.
    pub(crate) fn shelf(&self, queue: &Queue, is_abnormal: bool) -> io::Result<Arc<Shelf>> {
        if let Some(shelf) = queue.shelf.get() {
            return Ok(Arc::clone(shelf));
        }
        let place = Place::of(&self.root, queue.topic(), queue.id());
        let disk = Arc::clone(&self.disk);
        let shelf = Shelf::open((queue.topic(), queue.id()), disk, place, self.shape)?;
        shelf.load(is_abnormal)?;
        let mut positions = self.positions.lock();
        let saved = positions.queue_offset_map.get(&key_of(queue)).copied();
        // One of files that are gone says nothing about those that come.
        let position = shelf.position().max(saved.unwrap_or(-1)).min(shelf.end() - 1);
        shelf.set_position(position);
        if saved.is_some_and(|saved| saved > position) {
            if position < 0 {
                positions.queue_offset_map.remove(&key_of(queue));
            } else {
                positions.queue_offset_map.insert(key_of(queue), position);
            }
            self.write_positions(&positions)?;
        }
        Ok(Arc::clone(queue.shelf.get_or_init(|| Arc::new(shelf))))
    }

    /// Makes durable how far queues are compacted.
    fn save(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let mut positions = self.positions.lock();
        for queue in queues.iter().filter(|queue| !queue.is_deleted()) {
            if let Some(shelf) = queue.shelf.get().filter(|shelf| shelf.position() >= 0) {
                positions.queue_offset_map.insert(key_of(queue), shelf.position());
            }
        }
        self.write_positions(&positions)
    }

    fn write_positions(&self, positions: &CompactionPositions) -> io::Result<()> {
        let path = self.root.join(POSITIONS);
        self.disk.replace(&path, &fastjson::to_vec_pretty(positions))
    }

    /// Forgets positions, durably: they must not outlive the files they are of.
    fn forget_positions(&self, is_gone: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut positions = self.positions.lock();
        let before = positions.queue_offset_map.len();
        positions.queue_offset_map.retain(|key, _| !is_gone(key));
        if positions.queue_offset_map.len() == before {
            return Ok(());
        }
        self.write_positions(&positions)
    }

    /// Whether there are files of a topic.
    pub(crate) fn has(&self, topic: &str) -> io::Result<bool> {
        for dir in shelf::DIRS {
            if self.disk.entry(&self.root.join(dir).join(topic))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what was copied of a queue that has begun anew. Only at the start.
    pub(crate) fn empty(&self, queue: &Queue) -> io::Result<()> {
        let Some(shelf) = queue.shelf.get() else {
            return Ok(());
        };
        let gone = key_of(queue);
        self.forget_positions(|key| key == gone)?;
        shelf.empty()
    }

    /// Removes everything of a topic, or of one of its queues.
    pub(crate) fn remove(&self, doomed: &Doomed) -> io::Result<()> {
        let Doomed { topic, only, removed } = doomed;
        for queue in removed {
            if let Some(shelf) = queue.shelf.get() {
                shelf.retire();
            }
        }
        let only = only.map(|id| id.to_string());
        let is_gone = |id: &str| only.as_ref().is_none_or(|only| only == id);
        self.forget_positions(|key| {
            key.rsplit_once('_')
                .is_some_and(|(of, id)| of == &**topic && is_gone(id))
        })?;
        for dir in shelf::DIRS {
            let root = self.root.join(dir);
            let (above, dir) = match &only {
                None => (root.clone(), root.join(&**topic)),
                Some(id) => (root.join(&**topic), root.join(&**topic).join(id)),
            };
            if self.disk.entry(&dir)?.is_some() {
                self.disk.remove_tree(&dir)?;
                synced(self.disk.sync_dir(&above))?;
            }
        }
        Ok(())
    }
}

fn key_of(queue: &Queue) -> String {
    format!("{}_{}", queue.topic(), queue.id())
}

impl Store {
    /// Copies what is new in compacted topics, durably. Returns the position in front of which nothing is left to copy:
    /// a queue that cannot be copied holds back its own part of the log, and nobody else. Only for the holder of `tidy`.
    pub(crate) fn copy_compacted(&self) -> io::Result<i64> {
        let mut copied = self.publisher.lock().upto;
        // The ends are those of before the flush: no copy is more durable than what it is of, or its offset would be
        // given to another message.
        let queues = self.queues.compacted().into_iter();
        let queues: Vec<(Arc<Queue>, i64)> = queues.map(|queue| (Arc::clone(&queue), queue.max())).collect();
        if queues.is_empty() {
            return Ok(i64::MAX);
        }
        self.flush_log()?;
        for (queue, max) in queues {
            if queue.is_deleted() {
                continue;
            }
            let done = if self.queues.is_doomed(queue.topic()) {
                Err(io::Error::other("files of a deleted topic are in its place"))
            } else {
                self.copy_queue(&queue, max)
            };
            match done {
                Ok(()) => {}
                Err(error) if is_sync_failure(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(topic = queue.topic(), queue = queue.id(), %error, "messages of a compacted topic are not copied; trying again, their log files stay until then");
                    copied = copied.min(self.uncopied(&queue));
                }
            }
        }
        Ok(copied)
    }

    fn copy_queue(&self, queue: &Queue, max: i64) -> io::Result<()> {
        let shelf = self.compaction.shelf(queue, false)?;
        let mut next = shelf.end().max(queue.min());
        while next < max {
            let limit = ReadLimit {
                scan: COPY.scan.min(usize::try_from(max - next).unwrap_or(1)),
                ..COPY
            };
            let batch = match self.read_log(queue, next, &limit, &All) {
                Ok(batch) => batch,
                Err(ReadError::Io(error)) => return Err(error),
                Err(ReadError::NoQueue) => return Ok(()),
                Err(error) => return Err(io::Error::other(error)),
            };
            if batch.status == ReadStatus::EntriesMissing {
                return Err(io::Error::other("a file of the queue is missing"));
            }
            shelf.append(&batch.bytes, batch.next_offset)?;
            next = batch.next_offset.max(next + 1);
        }
        shelf.sync()
    }

    /// Where the first message of a queue lies that is not copied durably; the start of the log when that is not known.
    fn uncopied(&self, queue: &Queue) -> i64 {
        let next = queue.shelf.get().map_or(0, |shelf| shelf.durable());
        let unit = self.queue_files.unit(queue, next.max(queue.min()));
        match unit {
            Ok(Some(unit)) if unit.is_written() && !unit.is_blank() => unit.pos,
            _ => self.log.min(),
        }
    }

    /// One turn of the thread that compacts: every queue that has something new.
    pub fn turn_compact(&self) {
        if self.is_failed() {
            return;
        }
        let copied = {
            let _one_copies = self.tidy.lock();
            self.copy_compacted()
        };
        if let Err(error) = copied {
            self.note_failure("copies of compacted topics", &error);
            return;
        }
        let queues = self.queues.compacted();
        for queue in &queues {
            let is_called_off = || self.is_failed() || queue.is_deleted() || self.tail.lock().is_closed;
            let Some(shelf) = queue.shelf.get() else { continue };
            if is_called_off() {
                continue;
            }
            let done = shelf.compact(self.compaction.memory_bytes, &is_called_off, &|| {
                self.compaction.save(&queues)
            });
            match done {
                Ok(Some(position)) => {
                    tracing::info!(topic = queue.topic(), queue = queue.id(), position, "compacted");
                }
                Ok(None) => {}
                Err(error) => self.note_failure("compaction", &error),
            }
        }
    }

    /// Reads what was copied of a compacted topic; `None` for what was not.
    pub(crate) fn read_compacted(
        &self,
        queue: &Queue,
        from: i64,
        limit: &ReadLimit,
        filter: &dyn Filter,
    ) -> Result<Option<Batch>, ReadError> {
        let Some(shelf) = queue.copied(from) else {
            return Ok(None);
        };
        if queue.is_deleted() {
            return Err(ReadError::NoQueue);
        }
        let taken = shelf.read(from.max(0), limit, filter)?;
        if taken.damaged > 0 {
            let (topic, id, count) = (queue.topic(), queue.id(), taken.damaged);
            tracing::warn!(
                topic,
                queue = id,
                from,
                count,
                "damaged compacted records are skipped"
            );
        }
        Ok(Some(Batch {
            status: if taken.count > 0 {
                ReadStatus::Found
            } else {
                ReadStatus::NoMatch
            },
            bytes: Bytes::from(taken.records),
            count: taken.count,
            next_offset: taken.next,
            min: queue.min(),
            max: queue.max(),
            behind_bytes: 0,
        }))
    }
}
