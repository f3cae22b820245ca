// SPDX-License-Identifier: Apache-2.0
//! All queues by topic and number, and the list of those the tidy thread has to visit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::queue::Queue;

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

/// The queues of one topic by number.
type OfTopic = BTreeMap<u32, Arc<Queue>>;

#[derive(Debug, Default)]
pub(crate) struct Queues {
    topics: RwLock<HashMap<Arc<str>, OfTopic>>,
    keys: AtomicU64,
    /// Queues with units in memory.
    listed: Mutex<Vec<Arc<Queue>>>,
}

impl Queues {
    pub(crate) fn find(&self, topic: &str, id: u32) -> Option<Arc<Queue>> {
        self.topics.read().get(topic)?.get(&id).cloned()
    }

    pub(crate) fn get(&self, topic: &str, id: u32) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, id) {
            return queue;
        }
        let mut topics = self.topics.write();
        if !topics.contains_key(topic) {
            topics.insert(Arc::from(topic), OfTopic::new());
        }
        let name = topics
            .get_key_value(topic)
            .map_or_else(|| Arc::from(topic), |(name, _)| Arc::clone(name));
        let of_topic = topics.entry(Arc::clone(&name)).or_default();
        let queue = of_topic
            .entry(id)
            .or_insert_with(|| Arc::new(Queue::new(name, id, self.keys.fetch_add(1, Ordering::Relaxed))));
        Arc::clone(queue)
    }

    pub(crate) fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics
            .read()
            .get(topic)
            .map(|queues| queues.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.topics.read().keys().cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.topics
            .read()
            .values()
            .flat_map(|queues| queues.values().cloned())
            .collect()
    }

    pub(crate) fn remove_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics
            .write()
            .remove(topic)
            .map(|queues| queues.into_values().collect())
            .unwrap_or_default()
    }

    /// Puts a queue on the tidy thread's list; its `listed` says that it is not there yet.
    pub(crate) fn list(&self, queue: &Arc<Queue>) {
        self.listed.lock().push(Arc::clone(queue));
    }

    pub(crate) fn take_listed(&self) -> Vec<Arc<Queue>> {
        std::mem::take(&mut *self.listed.lock())
    }
}
