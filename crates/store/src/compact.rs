// SPDX-License-Identifier: Apache-2.0
//! Compacted topics: of each key the newest message is kept, however old, and the commit log may forget it.
//!
//! The messages of such a topic are in the commit log and in a plain queue like all others. The tidy thread copies them
//! to files of their own ([`volumes`]) before it makes a checkpoint and before it removes a file of the log, so that
//! nothing is removed that was not copied durably. The thread `store-compact` copies, too, and compares from time to time what is in these
//! files, but for the last, and replaces them by files of the newest messages ([`shelf`]). A read takes from them what was
//! copied, and the rest from the log: offsets are those of the queue, with gaps.
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
use crate::disk::{Disk, backup_of};
use crate::filter::{All, Filter};
use crate::queue::Queue;
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
    /// How far queues were compacted that have not been taken up yet.
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

    /// Takes up the files of a queue, as far as they are of messages in front of its end.
    pub(crate) fn shelf(&self, queue: &Queue, is_abnormal: bool) -> io::Result<Arc<Shelf>> {
        if let Some(shelf) = queue.shelf.get() {
            return Ok(Arc::clone(shelf));
        }
        let place = Place::of(&self.root, queue.topic(), queue.id());
        let disk = Arc::clone(&self.disk);
        let shelf = Shelf::open((queue.topic(), queue.id()), disk, place, self.shape)?;
        shelf.load(queue.max(), is_abnormal)?;
        let saved = self
            .positions
            .lock()
            .queue_offset_map
            .get(&key_of(queue))
            .copied();
        shelf.set_position(shelf.position().max(saved.unwrap_or(-1)));
        Ok(Arc::clone(queue.shelf.get_or_init(|| Arc::new(shelf))))
    }

    /// Makes durable how far queues are compacted.
    fn save(&self, queues: &[Arc<Queue>]) -> io::Result<()> {
        let mut positions = self.positions.lock();
        for queue in queues {
            if let Some(shelf) = queue.shelf.get().filter(|shelf| shelf.position() >= 0) {
                positions.queue_offset_map.insert(key_of(queue), shelf.position());
            }
        }
        let path = self.root.join(POSITIONS);
        self.disk.replace(&path, &fastjson::to_vec_pretty(&*positions))
    }

    /// Removes everything of a topic.
    pub(crate) fn remove(&self, topic: &str, removed: &[Arc<Queue>]) -> io::Result<()> {
        let mut had_files = false;
        for queue in removed {
            if let Some(shelf) = queue.shelf.get() {
                shelf.retire();
                had_files = true;
            }
            self.positions.lock().queue_offset_map.remove(&key_of(queue));
        }
        if !had_files {
            return Ok(());
        }
        for dir in shelf::DIRS {
            let root = self.root.join(dir);
            if self.disk.entry(&root.join(topic))?.is_some() {
                self.disk.remove_tree(&root.join(topic))?;
                crate::disk::synced(self.disk.sync_dir(&root))?;
            }
        }
        self.save(&[])
    }
}

fn key_of(queue: &Queue) -> String {
    format!("{}_{}", queue.topic(), queue.id())
}

impl Store {
    /// Copies what is new in compacted topics, durably.
    pub(crate) fn copy_compacted(&self) -> io::Result<()> {
        let queues = self.queues.compacted();
        if queues.is_empty() {
            return Ok(());
        }
        // No copy is more durable than what it is of: its offset would be given to another message.
        self.flush_log()?;
        for queue in queues {
            if queue.is_deleted() || self.queues.is_doomed(queue.topic()) {
                continue;
            }
            let shelf = self.compaction.shelf(&queue, false)?;
            let mut next = shelf.end().max(queue.min());
            while next < queue.max() {
                let batch = match self.read_log(&queue, next, &COPY, &All) {
                    Ok(batch) => batch,
                    Err(ReadError::Io(error)) => return Err(error),
                    Err(error) => {
                        tracing::warn!(topic = queue.topic(), queue = queue.id(), %error, "not copied");
                        break;
                    }
                };
                shelf.append(&batch.bytes, batch.next_offset)?;
                next = batch.next_offset.max(next + 1);
            }
            shelf.sync()?;
        }
        Ok(())
    }

    /// One turn of the thread that compacts: every queue that has something new.
    pub fn turn_compact(&self) {
        let is_called_off = || self.is_failed() || self.tail.lock().is_closed;
        if let Err(error) = self.copy_compacted() {
            self.note_failure("copies of compacted topics", &error);
            return;
        }
        let queues = self.queues.compacted();
        for queue in &queues {
            let Some(shelf) = queue.shelf.get() else { continue };
            if is_called_off() {
                return;
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
                "damaged compacted records skipped"
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
