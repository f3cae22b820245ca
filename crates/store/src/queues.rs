// SPDX-License-Identifier: Apache-2.0
//! All queues by topic and number, and the list of those the tidy thread has to visit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::config::Kinds;
use crate::queue::Queue;
use crate::queue_batch::QueueKind;

/// Up to so many queues are written to their files as often as the setting says.
const FEW_QUEUES: i64 = 1_000;
/// Of more than those each gets so many units with a write, on the average.
const UNITS_PER_WRITE: i64 = 64;
/// Unless this many wait: 24 bytes each.
const UNITS_WAITING_MAX: i64 = 2 << 20;
/// Longest topic a directory can be named after.
const TOPIC_BYTES_MAX: usize = 255;

/// Whether a topic can be a directory name. Topics come from peers; this keeps them inside the store.
pub(crate) fn is_directory_name(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= TOPIC_BYTES_MAX
        && topic != "."
        && topic != ".."
        && !topic.bytes().any(|byte| matches!(byte, b'/' | 0))
}

/// The queues of one topic, ascending by number: there may be a million topics with one or two each.
type OfTopic = Vec<Arc<Queue>>;

#[derive(Debug, Default)]
pub(crate) struct Queues {
    topics: RwLock<HashMap<Arc<str>, OfTopic>>,
    keys: AtomicU64,
    /// How the queues of a topic are kept.
    kinds: Kinds,
    /// Queues of compacted topics.
    compacted: Mutex<Vec<Arc<Queue>>>,
    /// Queues with units in memory.
    listed: Mutex<Vec<Arc<Queue>>>,
    /// Units that are not in a file yet.
    unwritten: AtomicI64,
    /// Held by whoever deletes a topic.
    pub(crate) deleting: Mutex<()>,
    /// Deleted topics whose files are not removed yet, oldest first.
    doomed: Mutex<Vec<Doomed>>,
}

/// A deleted topic whose files are still there.
#[derive(Debug, Clone)]
pub(crate) struct Doomed {
    pub(crate) topic: Arc<str>,
    /// The number of the queue, if not all of the topic's are deleted.
    pub(crate) only: Option<u32>,
    pub(crate) removed: Vec<Arc<Queue>>,
}

fn place_of(of_topic: &OfTopic, id: u32) -> Result<usize, usize> {
    of_topic.binary_search_by_key(&id, |queue| queue.id())
}

impl Queues {
    pub(crate) fn new(kinds: Kinds) -> Queues {
        Queues {
            kinds,
            ..Queues::default()
        }
    }

    pub(crate) fn find(&self, topic: &str, id: u32) -> Option<Arc<Queue>> {
        let topics = self.topics.read();
        let of_topic = topics.get(topic)?;
        of_topic.get(place_of(of_topic, id).ok()?).cloned()
    }

    pub(crate) fn get(&self, topic: &str, id: u32) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, id) {
            return queue;
        }
        self.get_as(topic, id, self.kinds.of(topic))
    }

    /// As [`Queues::get`], where files tell how the queue is kept. All queues of a topic are of one kind.
    pub(crate) fn get_as(&self, topic: &str, id: u32, kind: QueueKind) -> Arc<Queue> {
        let mut topics = self.topics.write();
        let name = topics
            .get_key_value(topic)
            .map_or_else(|| Arc::from(topic), |(name, _)| Arc::clone(name));
        let of_topic = topics.entry(Arc::clone(&name)).or_default();
        match place_of(of_topic, id) {
            Ok(place) => Arc::clone(&of_topic[place]),
            Err(place) => {
                let kind = of_topic.first().map_or(kind, |queue| queue.kind());
                let key = self.keys.fetch_add(1, Ordering::Relaxed);
                let queue = Arc::new(Queue::new(name, id, kind, key));
                of_topic.insert(place, Arc::clone(&queue));
                if self.kinds.is_compacted(topic) {
                    self.enlist_compacted(&queue);
                }
                queue
            }
        }
    }

    /// A queue of which files were found. Files of a plain queue are stale where the topic is known to have batch queues.
    pub(crate) fn get_found(&self, topic: &str, id: u32, found: QueueKind) -> Arc<Queue> {
        let kind = match self.kinds.of(topic) {
            QueueKind::Batch => QueueKind::Batch,
            QueueKind::Plain => found,
        };
        self.get_as(topic, id, kind)
    }

    /// Whether the queues of a topic are plain ones although it is known to have batch queues.
    pub(crate) fn is_misfit(&self, topic: &str) -> bool {
        let is_plain = self.of_topic(topic).iter().any(|queue| !queue.is_batch());
        is_plain && self.kinds.of(topic) == QueueKind::Batch
    }

    /// Compacts the queues of a topic from now on, if it is one that is compacted.
    pub(crate) fn note_compacted(&self, topic: &str) {
        if self.kinds.is_compacted(topic) {
            for queue in self.of_topic(topic) {
                self.enlist_compacted(&queue);
            }
        }
    }

    fn enlist_compacted(&self, queue: &Arc<Queue>) {
        let mut compacted = self.compacted.lock();
        if !queue.is_batch() && !compacted.iter().any(|known| Arc::ptr_eq(known, queue)) {
            compacted.push(Arc::clone(queue));
        }
    }

    pub(crate) fn is_compacted(&self, topic: &str) -> bool {
        self.kinds.is_compacted(topic)
    }

    /// The queues of compacted topics.
    pub(crate) fn compacted(&self) -> Vec<Arc<Queue>> {
        let mut compacted = self.compacted.lock();
        compacted.retain(|queue| !queue.is_deleted());
        compacted.clone()
    }

    pub(crate) fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics.read().get(topic).cloned().unwrap_or_default()
    }

    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.read().keys().cloned().collect()
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.topics.read().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.topics.read().values().flatten().cloned().collect()
    }

    /// Takes the queues of a topic out of the table. Until [`Queues::spare_first`] says that their files are gone a new queue
    /// of the same name has none.
    pub(crate) fn doom(&self, topic: &str) -> Vec<Arc<Queue>> {
        let mut doomed = self.doomed.lock();
        let removed = self.topics.write().remove(topic).unwrap_or_default();
        doomed.push(Doomed {
            topic: Arc::from(topic),
            only: None,
            removed: removed.clone(),
        });
        removed
    }

    /// As [`Queues::doom`], of one queue.
    pub(crate) fn doom_queue(&self, queue: &Arc<Queue>) {
        let mut doomed = self.doomed.lock();
        if let Some(of_topic) = self.topics.write().get_mut(queue.topic()) {
            of_topic.retain(|other| !Arc::ptr_eq(other, queue));
        }
        doomed.push(Doomed {
            topic: Arc::from(queue.topic()),
            only: Some(queue.id()),
            removed: vec![Arc::clone(queue)],
        });
    }

    /// The topic that was deleted first of those whose files are still there.
    pub(crate) fn first_doomed(&self) -> Option<Doomed> {
        self.doomed.lock().first().cloned()
    }

    /// The files of the first are gone.
    pub(crate) fn spare_first(&self) {
        self.doomed.lock().remove(0);
    }

    /// Puts a queue on the tidy thread's list; its `listed` says that it is not there yet.
    pub(crate) fn list(&self, queue: &Arc<Queue>) {
        self.listed.lock().push(Arc::clone(queue));
    }

    /// Lets queues go of what is written, and lists those again that hold more.
    pub(crate) fn let_go(&self, queues: Vec<Arc<Queue>>) {
        let count = queues.len();
        let busy = queues
            .into_iter()
            .filter(|queue| queue.let_go(count))
            .collect::<Vec<_>>();
        self.listed.lock().extend(busy);
    }

    pub(crate) fn take_listed(&self) -> Vec<Arc<Queue>> {
        std::mem::take(&mut *self.listed.lock())
    }

    /// Whether what is not in a file yet is worth being written. To open, write and close a file costs as much as some
    /// sends do, so that of tens of thousands of queues a unit each is not: it waits in memory for more, at most until the
    /// next checkpoint, behind which a recovery would read it from the log anyway. Runs are not written for less either.
    pub(crate) fn is_worth_writing(&self, in_runs: bool) -> bool {
        let queues = self.listed.lock().len() as i64;
        let units = self.unwritten();
        let is_enough = queues <= FEW_QUEUES || units >= queues * UNITS_PER_WRITE;
        is_enough && !in_runs || units >= UNITS_WAITING_MAX
    }

    /// How many queues there are with units in memory.
    pub(crate) fn listed(&self) -> usize {
        self.listed.lock().len()
    }

    /// Units that are not in a file yet, over all queues.
    pub(crate) fn unwritten(&self) -> i64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Counts anew what is not in a file yet: sums of differences go astray when something fails. What is published
    /// meanwhile may be counted wrongly until the next time.
    pub(crate) fn recount(&self) {
        let listed = self.listed.lock().clone();
        let alive = listed.iter().filter(|queue| !queue.is_deleted());
        let units = alive.map(|queue| queue.unwritten()).sum();
        self.unwritten.store(units, Ordering::Relaxed);
    }

    pub(crate) fn is_doomed(&self, topic: &str) -> bool {
        self.doomed.lock().iter().any(|doomed| &*doomed.topic == topic)
    }

    pub(crate) fn is_any_doomed(&self) -> bool {
        !self.doomed.lock().is_empty()
    }

    pub(crate) fn add_unwritten(&self, units: i64) {
        self.unwritten.fetch_add(units, Ordering::Relaxed);
    }
}
